/// @file
/// What a server of the test Raft keeps through a crash: its log, its vote, its snapshot.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/raft/message.hpp"
#include "quorlite/testing/detail/simulation/random.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

/// The entries after `base()`, which is where the compacted part ends. Every call is O(1) but for
/// the entries that it removes, and `last_before_term`, which is logarithmic.
class raft_log {
 public:
  /// The last compacted entry; {0, 0} before the first compaction.
  [[nodiscard]] log_position base() const noexcept { return base_; }
  [[nodiscard]] log_index first_index() const noexcept { return log_index{base_.index.value + 1}; }
  [[nodiscard]] log_index last_index() const noexcept {
    return log_index{base_.index.value + entries_.size()};
  }
  [[nodiscard]] log_position last() const noexcept { return {last_index(), term_at(last_index())}; }

  /// @pre base().index <= at <= last_index()
  [[nodiscard]] quorlite::term term_at(log_index at) const noexcept {
    return at == base_.index ? base_.term : this->at(at).term;
  }
  /// @pre first_index() <= at <= last_index()
  [[nodiscard]] const stored_entry& at(log_index at) const noexcept {
    QUORLITE_ASSERT(at > base_.index && at <= last_index());
    return entries_[static_cast<std::size_t>(at.value - base_.index.value - 1)];
  }

  /// The highest entry at or below `at` whose term is below that of `at`: where a leader may look
  /// next when `at` did not fit. Terms never decrease along a log, so it is found by halving.
  [[nodiscard]] log_index last_before_term(log_index at) const noexcept {
    const quorlite::term beyond = term_at(at);
    const auto first = std::lower_bound(
        entries_.begin(), entries_.end(), beyond,
        [](const stored_entry& entry, quorlite::term sought) { return entry.term < sought; });
    const auto below = static_cast<std::uint64_t>(first - entries_.begin());
    return std::min(at, log_index{base_.index.value + below});
  }

  void append(stored_entry entry) {
    QUORLITE_ASSERT(entry.term >= term_at(last_index()));
    entries_.push_back(std::move(entry));
  }

  /// Removes `from` and everything after it.
  void truncate_suffix(log_index from) {
    QUORLITE_ASSERT(from > base_.index);
    if (from <= last_index()) {
      entries_.resize(static_cast<std::size_t>(from.value - base_.index.value - 1));
      synced_ = std::min(synced_, last_index());
      ++cuts_;
    }
  }

  /// Forgets everything up to `upto`. The caller has a snapshot that covers it.
  void compact_prefix(log_index upto) {
    if (upto > base_.index) {
      const quorlite::term term = term_at(upto);
      const auto count = static_cast<std::ptrdiff_t>(upto.value - base_.index.value);
      entries_.erase(entries_.begin(), entries_.begin() + count);
      base_ = {upto, term};
      synced_ = std::max(synced_, upto);
    }
  }

  /// Nothing but a snapshot is left.
  void reset(log_position base) {
    entries_.clear();
    base_ = base;
    synced_ = base.index;
    ++cuts_;
  }

  // ---- durability

  /// Entries up to here survive a crash.
  [[nodiscard]] log_index synced_index() const noexcept { return synced_; }
  /// Counts truncations: a sync that was begun before one says nothing about what was appended
  /// after it.
  [[nodiscard]] std::uint64_t cuts() const noexcept { return cuts_; }
  void mark_synced(log_index upto) noexcept {
    synced_ = std::max(synced_, std::min(upto, last_index()));
  }
  /// A crash: of the entries not yet synced any number of the first may have reached the disk, or
  /// none.
  void lose_unsynced(random& source) {
    const std::uint64_t unsynced = last_index().value - synced_.value;
    if (unsynced > 0) {
      truncate_suffix(log_index{synced_.value + source.between(0, unsynced) + 1});
      synced_ = last_index();
    }
  }

 private:
  log_position base_;
  log_index synced_;
  std::uint64_t cuts_ = 0;
  std::deque<stored_entry> entries_;
};

/// A machine's state as bytes, and the entry it is as of.
struct stored_snapshot {
  log_position at{};
  bytes content{};
};

/// A server's disk.
struct server_disk {
  quorlite::term term;  ///< the latest seen
  server_id voted_for;  ///< in `term`; 0: nobody
  raft_log log;
  std::shared_ptr<const stored_snapshot>
      snapshot;  ///< of this server only; a transfer keeps an old one alive
};

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
