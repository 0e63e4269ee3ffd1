/// @file
/// Bodies of messages.hpp.
#pragma once

#include "quorlite/detail/libraft/messages.hpp"

#include <algorithm>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/log_format.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

inline void libraft_free_entries(raft_append_entries& from) noexcept {
  void* freed = nullptr;  // entries that came in one piece of memory stand together
  for (unsigned i = 0; i < from.n_entries; ++i) {
    if (void* const batch = from.entries[i].batch; batch != freed) {
      raft_free(batch);
      freed = batch;
    }
  }
  raft_free(from.entries);
}

QUORLITE_DECL void libraft_shed_entries(raft_append_entries& from) noexcept {
  if (from.n_entries != 0) {
    libraft_free_entries(from);
    from.entries = nullptr;
    from.n_entries = 0;
  }
}

QUORLITE_DECL void libraft_drop(raft_message& message) noexcept {
  if (message.type == RAFT_IO_INSTALL_SNAPSHOT) {
    raft_configuration_close(&message.install_snapshot.conf);
    raft_free(message.install_snapshot.data.base);
  }
  if (message.type == RAFT_IO_APPEND_ENTRIES) {
    libraft_free_entries(message.append_entries);
  }
}

QUORLITE_DECL void libraft_shorten(raft_message& message) noexcept {
  constexpr unsigned most = libraft_batch_entries_max / 4;
  if (message.type == RAFT_IO_APPEND_ENTRIES && message.append_entries.n_entries > most) {
    raft_append_entries& from = message.append_entries;
    void* freed = from.entries[most - 1].batch;  // in use, and as a rule by all of them
    for (unsigned i = most; i < from.n_entries; ++i) {
      if (void* const batch = from.entries[i].batch; batch != freed) {
        raft_free(batch);
        freed = batch;
      }
    }
    from.n_entries = most;
    from.leader_commit = std::min<raft_index>(from.leader_commit, from.prev_log_index + most);
  }
}

/// The disk of 0.15 works at one cut or snapshot at a time, and forgets a cut that is asked for
/// meanwhile (UvBarrier): the old entries stay, beside those that came in their place. So these
/// entries come later; the leader sends them again until they are answered. A cut is over when what
/// was appended behind it is written, and only what was appended behind it can conflict again: so
/// nobody waits for ever.
QUORLITE_DECL bool libraft_conflicts(const ::raft& engine, const raft_message& message) noexcept {
  if (message.type != RAFT_IO_APPEND_ENTRIES) {
    return false;
  }
  const raft_append_entries& from = message.append_entries;
  for (unsigned i = 0; i < from.n_entries; ++i) {
    const term here = libraft_term_at(engine.log, from.prev_log_index + 1 + i);
    if (here != term{} && here != term{from.entries[i].term}) {
      return true;
    }
  }
  return false;
}

QUORLITE_DECL void libraft_hold_answer(const ::raft& engine, raft_message& message) noexcept {
  if (message.type == RAFT_IO_APPEND_ENTRIES_RESULT && engine.state == RAFT_LEADER &&
      message.append_entries_result.rejected == 0 &&
      libraft_term_at(engine.log, engine.last_stored).value < engine.current_term) {
    message.append_entries_result.last_log_index = 0;
  }
}

/// Terms never fall along a log, and what our log begins with is committed.
[[nodiscard]] inline bool libraft_fits_below(const ::raft& engine, const raft_append_entries& from,
                                             raft_index first) noexcept {
  const raft_term most = libraft_term_at(engine.log, first).value;
  if (from.prev_log_term > most) {
    return false;
  }
  for (unsigned i = 0; i < from.n_entries && from.prev_log_index + 1 + i <= first; ++i) {
    const raft_term told = from.entries[i].term;
    if (from.prev_log_index + 1 + i == first ? told != most : told > most) {
      return false;
    }
  }
  return true;
}

QUORLITE_DECL raft_index libraft_trim(const ::raft& engine, raft_message& message) noexcept {
  if (message.type != RAFT_IO_APPEND_ENTRIES || message.append_entries.term < engine.current_term) {
    return 0;  // the engine rejects it by its first entry, which has to stay what it is
  }
  raft_append_entries& from = message.append_entries;
  const raft_index last = from.prev_log_index + from.n_entries;
  // 0.15 takes any entry up to there for one that its leader has told of.
  from.leader_commit = std::min<raft_index>(from.leader_commit, last);
  const raft_log& log = engine.log;
  const raft_index first = log.offset + (log.offset == log.snapshot.last_index ? 0 : 1);
  if (log.offset == 0 || from.prev_log_index >= first || !libraft_fits_below(engine, from, first)) {
    return 0;
  }
  if (last < first) {
    libraft_shed_entries(from);
    from.prev_log_index = 0;
    from.prev_log_term = 0;
    return last;
  }
  const auto known = static_cast<unsigned>(first - from.prev_log_index);
  from.prev_log_index = first;
  from.prev_log_term = from.entries[known - 1].term;
  if (known == from.n_entries) {
    libraft_shed_entries(from);
  } else {
    std::move(from.entries + known, from.entries + from.n_entries, from.entries);
    from.n_entries -= known;
  }
  return 0;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
