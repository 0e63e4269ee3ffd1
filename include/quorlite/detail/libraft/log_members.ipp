/// @file
/// Bodies of log_members.hpp: which entry names the members, and what it says.
#pragma once

#include "quorlite/detail/libraft/log_members.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/libraft/engine.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// A format byte and the number of members; of each its id, its address with a zero behind it, and
/// a byte for its role. Zeros may follow.
QUORLITE_DECL int libraft_decode_members(bytes_view entry, raft_configuration& into) noexcept {
  constexpr std::byte format{1};
  if (entry.size() < 9 || entry[0] != format) {
    return RAFT_MALFORMED;
  }
  const auto count = load_little_endian<std::uint64_t>(entry.data() + 1);
  entry = entry.subspan(9);
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto end =
        entry.size() < 8 ? entry.end() : std::find(entry.begin() + 8, entry.end(), std::byte{0});
    if (entry.end() - end < 2) {
      return RAFT_MALFORMED;
    }
    const auto id = load_little_endian<std::uint64_t>(entry.data());
    const auto* const address = reinterpret_cast<const char*>(entry.data() + 8);
    const int role = std::to_integer<int>(end[1]);
    const int code = id == 0 ? RAFT_MALFORMED : raft_configuration_add(&into, id, address, role);
    if (code != 0) {
      return code == RAFT_NOMEM ? code : RAFT_MALFORMED;
    }
    entry = entry.subspan(static_cast<std::size_t>(end - entry.begin()) + 2);
  }
  return 0;
}

[[nodiscard]] inline int libraft_copy_members(const raft_configuration& from,
                                              raft_configuration& into) noexcept {
  int code = 0;
  for (unsigned i = 0; i < from.n && code == 0; ++i) {
    const raft_server& one = from.servers[i];
    code = raft_configuration_add(&into, one.id, one.address, one.role);
  }
  return code;
}

QUORLITE_DECL int libraft_log_members::keep(const raft_snapshot& snapshot) noexcept {
  raft_configuration copy{};
  raft_configuration_init(&copy);
  const int code = libraft_copy_members(snapshot.configuration, copy);
  if (code == 0) {
    std::swap(before_, copy);
    // A snapshot of an older version may tell a later entry than its own last one.
    before_index_ = std::min(snapshot.configuration_index, snapshot.index);
  }
  raft_configuration_close(&copy);
  return code;
}

/// The engine takes its members itself, once it is written.
QUORLITE_DECL int libraft_log_members::replace(const raft_snapshot& snapshot) noexcept {
  const int code = keep(snapshot);
  if (code == 0) {
    newest_ = before_index_;
    is_behind_ = false;
  }
  return code;
}

QUORLITE_DECL void libraft_log_members::appended(const raft_entry entries[],
                                                 unsigned count) noexcept {
  for (unsigned i = count; i > 0; --i) {
    if (entries[i - 1].type == RAFT_CHANGE) {
      newest_ = raft_last_index(engine_) - (count - i);
      // A leader has them already, for this is its own change.
      is_behind_ = is_behind_ || engine_->state == RAFT_FOLLOWER;
      return;
    }
  }
}

QUORLITE_DECL void libraft_log_members::cut(raft_index from) noexcept {
  if (newest_ >= from) {
    newest_ = newest_below(from);
    is_behind_ = true;
  }
}

/// The engine heeds each entry when it is written, hence older ones after newer ones: so this is
/// done again until the newest is written. A candidate and a leader have what they had as a
/// follower, for they heed none.
QUORLITE_DECL int libraft_log_members::follow() noexcept {
  if (engine_->state == RAFT_FOLLOWER) {
    engine_->configuration_uncommitted_index = 0;
    if (const int code = is_behind_ ? adopt() : 0; code != 0) {
      return code;
    }
  }
  is_behind_ = is_behind_ && newest_ > engine_->last_stored;
  return 0;
}

QUORLITE_DECL raft_index libraft_log_members::newest_below(raft_index end) const noexcept {
  for (raft_index at = end - 1; at > before_index_; --at) {
    const raft_entry* const entry = libraft_entry_at(engine_->log, at);
    if (entry == nullptr) {
      break;
    }
    if (entry->type == RAFT_CHANGE) {
      return at;
    }
  }
  return before_index_;
}

QUORLITE_DECL int libraft_log_members::adopt() noexcept {
  raft_configuration named{};
  raft_configuration_init(&named);
  const raft_entry* const entry =
      newest_ > before_index_ ? libraft_entry_at(engine_->log, newest_) : nullptr;
  const int code = entry != nullptr ? libraft_decode_members(libraft_bytes(entry->buf), named)
                                    : libraft_copy_members(before_, named);
  if (code == 0) {
    std::swap(engine_->configuration, named);
    engine_->configuration_index = newest_;
  }
  raft_configuration_close(&named);
  return code;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
