/// @file
/// What a server of the test Raft keeps through a crash: its log, its vote, its snapshot.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <utility>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/raft/configuration.hpp"
#include "quorlite/testing/detail/raft/message.hpp"
#include "quorlite/testing/detail/simulation/random.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// A configuration and the entry that it stands in; 0: the first one, which stands in none.
struct placed_configuration {
  log_index at{};
  configuration members{};
};

/// The entries after `base()`, which is where the compacted part ends. Every call is O(1) but for
/// the entries that it removes, and `last_before_term`, which is logarithmic.
///
/// A configuration is in force from the moment its entry is here, and no longer once that entry is
/// removed (Raft thesis, 4.1); the one of the compacted part is kept beside the entries.
class raft_log {
 public:
  raft_log() = default;
  /// Before the first entry. @param members of the cluster when it was made
  explicit raft_log(configuration members) : configurations_{{{}, std::move(members)}} {}

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
  [[nodiscard]] const stored_entry& at(log_index at) const noexcept;

  /// The highest entry at or below `at` whose term is below that of `at`: where a leader may look
  /// next when `at` did not fit. Terms never decrease along a log, so it is found by halving.
  [[nodiscard]] log_index last_before_term(log_index at) const noexcept;

  void append(stored_entry entry);

  /// Removes `from` and everything after it.
  void truncate_suffix(log_index from);

  /// Forgets everything up to `upto`. The caller has a snapshot that covers it.
  void compact_prefix(log_index upto);

  /// Nothing but a snapshot is left. @param members in force at its position
  void reset(log_position base, configuration members);

  // ---- who belongs to the cluster

  /// The one in force.
  [[nodiscard]] const placed_configuration& configured() const noexcept {
    return configurations_.back();
  }
  /// The one in force at an entry. @pre base().index <= at
  [[nodiscard]] const placed_configuration& configured_at(log_index at) const noexcept;
  /// Ascending; the first one is that of base().
  [[nodiscard]] const std::deque<placed_configuration>& configurations() const noexcept {
    return configurations_;
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
  void lose_unsynced(random& source);

 private:
  log_position base_;
  log_index synced_;
  std::uint64_t cuts_ = 0;
  std::deque<stored_entry> entries_;
  std::deque<placed_configuration> configurations_ = std::deque<placed_configuration>(1);
};

/// A machine's state as bytes, the entry it is as of, who belonged to the cluster then, and the
/// history that it contains.
struct stored_snapshot {
  log_position at{};
  bytes content{};
  configuration members{};
  std::shared_ptr<const snapshot_history> history{};  ///< none: it tells none
};

/// What a server's folder tells beside its log. It says no more than what was on the disk by then:
/// a log that lacks any of it was damaged.
struct folder_note {
  server_id owner{};         ///< 0: an empty folder
  std::uint64_t seal = 0;    ///< of the place where the folder was made: a copy of it has another
  quorlite::term term{};     ///< a term that was seen …
  server_id voted_for{};     ///< … and the vote in it; 0: none
  log_position end{};        ///< entries up to here were synced, a second ago or more
  history_identity begun{};  ///< of the cluster, once the entry that names it was applied
  std::uint64_t end_at_us = 0;  ///< when `end` was noted
};

/// A server's disk.
struct server_disk {
  quorlite::term term;  ///< the latest seen
  server_id voted_for;  ///< in `term`; 0: nobody
  raft_log log;
  /// Of this server only; a transfer keeps an old one alive
  std::shared_ptr<const stored_snapshot> snapshot;
  folder_note note{};

  void note_vote() noexcept {
    note.term = term;
    note.voted_for = voted_for;
  }
  void note_end(std::uint64_t now_us) noexcept {
    note.end_at_us = now_us;
    note.end = {log.synced_index(), log.term_at(log.synced_index())};
    note_vote();
  }
  /// About once a second.
  void note_end_if_due(std::uint64_t now_us) noexcept {
    if (now_us >= note.end_at_us + 1'000'000) {
      note_end(now_us);
    }
  }
  /// Before entries from here on are removed.
  void note_cut(log_index from) noexcept {
    if (const log_index before{from.value - 1}; note.end.index > before) {
      note.end = {before, log.term_at(before)};
    }
  }
  void note_begin(const state_machine& machine) noexcept {
    if (note.begun == history_identity{}) {
      note.begun = machine.base().begun;
    }
  }
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/raft/log.ipp"  // IWYU pragma: keep
#endif
