/// @file
/// What a replica tells: who leads, its health, its counters, the fate of a transaction, the
/// answer to a write().
#pragma once

#include <cstdint>
#include <new>
#include <string>
#include <system_error>

#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

/// Who leads, as this replica knows it.
struct leader_info {
  quorlite::term term;      ///< of the leadership that was told of last
  bool leading = false;     ///< this replica may propose in `term`
  std::string leader_hint;  ///< the adapter's name for the leader; empty: not known

  friend bool operator==(const leader_info&, const leader_info&) = default;
};

/// How a replica is. A halted one applies nothing more; its files stay as they are.
struct health {
  bool halted = false;    ///< it applies nothing more
  std::error_code error;  ///< why it halted
  std::string what;       ///< database and log index where it happened
  /// After a crash: the log is being replayed over files that stand between two positions, and
  /// open() answers errc::busy until that is done. It never is if this replica has halted: then
  /// open() says why.
  bool recovering = false;
  /// Why the engine gave up, where it tells: this replica hears of nothing any more.
  std::error_code engine;
  /// Servers from which this one takes nothing any more, for their history is another one than its
  /// own, and where that showed; empty: there are none, or the engine does not tell. It goes on
  /// without them, and which side is wrong it does not know: so ok() does not look at it.
  std::string refused;

  /// Nothing is wrong here, and everything can be read.
  [[nodiscard]] bool ok() const noexcept { return !halted && !recovering && !error && !engine; }
};

/// Counted since the machine was made.
struct machine_counters {
  std::uint64_t entries = 0;              ///< applied, of all kinds
  std::uint64_t transactions = 0;         ///< committed
  std::uint64_t conflicts = 0;            ///< refused on every replica: built on another base
  std::uint64_t malformed = 0;            ///< refused on every replica: not a valid entry
  std::uint64_t entry_bytes = 0;          ///< of frames entries
  std::uint64_t page_bytes = 0;           ///< what the same pages are in full
  std::uint64_t snapshots_taken = 0;      ///< pinned for the engine
  std::uint64_t snapshots_installed = 0;  ///< that replaced the state
  std::uint64_t flushes = 0;              ///< that moved the base on
  std::uint64_t witnesses = 0;            ///< entries that told of their proposer's history
  std::uint64_t witnesses_unknown = 0;    ///< of these, of a place that is no longer known here
};

/// Counted since the start. Only what this replica proposed.
struct proposer_counters {
  std::uint64_t transactions = 0;     ///< that changed pages, whatever came of them
  std::uint64_t entries = 0;          ///< that they were cut into
  std::uint64_t entry_bytes = 0;      ///< of these entries
  std::uint64_t full_page_bytes = 0;  ///< what the pages of these entries are in full
  /// That COMMITs waited for their answers, microseconds, all of them together; 0: the adapter has
  /// no clock
  std::uint64_t waited_us = 0;
};

/// Counted since the start.
struct group_counters {
  std::uint64_t closures = 0;  ///< that were run
  std::uint64_t groups = 0;    ///< transactions that they shared
};

/// All counters of a replica, and what it holds now.
struct replica_metrics {
  machine_counters machine;        ///< what was applied here
  proposer_counters proposed;      ///< what connections of this replica proposed
  group_counters groups;           ///< what write() did here
  log_position applied;            ///< the last entry that is applied
  log_position durable;            ///< a restart replays what comes after this
  history_identity history;        ///< what this cluster's history began with; all zero: none has
  history_position history_at;     ///< equal on all replicas at one index, or they differ
  std::uint64_t memory_bytes = 0;  ///< that pages take
  std::uint64_t dirty_bytes = 0;   ///< of these, what the storage does not hold
  /// Of memory_bytes, what readers, snapshots and exports keep there that nobody else needs: old
  /// versions of pages that were changed since they began, and contents that were replaced under
  /// them. It comes on top of replica_options::memory_bytes; and what lies above it cannot go
  std::uint64_t pinned_bytes = 0;
  /// States whose readers were ended since the start: replica_options::pinned_bytes
  std::uint64_t snapshots_ended = 0;
  /// Of entries whose transaction is neither committed nor undone yet. `durable` waits for its end.
  std::uint64_t staged_bytes = 0;
  std::uint64_t open_files = 0;  ///< databases that connections have open
};

/// What a database is now, on this replica.
struct database_status {
  std::string name;                ///< as open() takes it
  std::uint32_t page_size = 0;     ///< bytes; 0: it never had a page
  std::uint64_t page_count = 0;    ///< pages
  version_number version;          ///< transactions that were committed to it
  std::uint64_t hash = 0;          ///< of all its pages: equal on all replicas at one position
  std::uint64_t memory_bytes = 0;  ///< that its pages take here
  std::uint64_t dirty_bytes = 0;   ///< of these, what the storage does not hold
  std::uint64_t pinned_bytes = 0;  ///< of these, old versions that somebody stands on
  std::uint64_t readers = 0;       ///< who stand on one of its states: transactions, snapshots
};

/// The fate of a transaction, asked by its id.
enum class transaction_outcome : std::uint8_t {
  committed,      ///< it is applied here
  not_committed,  ///< it never will be: safe to run again
  undecided,  ///< neither is certain yet: ask again after a later entry, or on the leader behind a
              ///< barrier
  expired,    ///< older than what is remembered
};

/// How a write() ended.
struct write_result {
  /// None: what the closure did is committed by a quorum and applied here.
  std::error_code error;
  /// SQLite's extended code, or what the closure returned.
  int code = 0;
  /// For people; empty if it went well.
  std::string message;
  /// Of the transaction that it shared with others: what to ask outcome() about. {0, 0}: nothing
  /// was proposed.
  transaction_id id;

  /// It is committed.
  [[nodiscard]] bool ok() const noexcept { return !error; }

  /// An answer without SQLite's.
  [[nodiscard]] static write_result refused(std::error_code why) noexcept {
    write_result answer{why, 1, {}, {}};  // SQLITE_ERROR
    try {
      answer.message = why.message();
    } catch (const std::bad_alloc&) {
      answer.message.clear();  // the error says as much
    }
    return answer;
  }
};

}  // namespace QUORLITE_ABI
}  // namespace quorlite
