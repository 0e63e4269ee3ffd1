/// @file
/// Operational outcomes as values: codes that say what happened, conditions that say what may be
/// concluded.
#pragma once

#include <system_error>
#include <type_traits>

#include <tl/expected.hpp>

#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

/// A value, or why there is none.
template <class T>
using result = tl::expected<T, std::error_code>;

/// Wraps an error for return from a function that gives a `result`.
[[nodiscard]] inline tl::unexpected<std::error_code> fail(std::error_code error) noexcept {
  return tl::unexpected<std::error_code>(error);
}

/// What happened.
enum class errc : int {
  // the proposal never was, and never will be, in the log
  not_leader = 1,  ///< another server leads, or nobody does yet
  stale_term,      ///< leadership changed between the transaction's begin and its commit
  overloaded,      ///< the engine has no room now; the transaction is rolled back
  busy,            ///< too much is on its way, or another writer is at it; try again
  too_large,       ///< more bytes than the engine, or a limit of the library, allows
  conflict,        ///< the entry was built on a state that is not the committed one
  stopped,         ///< the engine does not run (any more), or the replica has ended
  log_failed,      ///< the engine could not store the entry, and nobody else has it
  out_of_memory,   ///< nothing was changed; it may work when there is memory again
  // the proposal may be in the log now or later
  leadership_lost,       ///< the leader was deposed while the entry was on its way
  timed_out,             ///< no answer within the caller's limit
  stopped_in_flight,     ///< the engine was stopped before the answer
  log_failed_in_flight,  ///< the engine could not store the entry; others may hold it
  // bytes from outside
  malformed,      ///< whole, but not a thing of ours: refused alike on every replica
  corrupt,        ///< damaged on its way or at rest: a checksum differs
  needs_upgrade,  ///< written by a newer version
  // this replica
  diverged,        ///< another history than the one that stands here, or other bytes of it
  halted,          ///< this replica stopped serving; see health()
  storage_full,    ///< no room now; the work may be tried again
  storage_broken,  ///< a promise of the storage is broken: never tried again
  // callers
  invalid_name,            ///< not a database's name, see is_database_name()
  no_such_database,        ///< never opened, or dropped
  too_many_databases,      ///< limits::databases exist, or too many more names are in use here
  unsupported,             ///< this adapter or storage did not declare the ability
  name_taken,              ///< another VFS of this process has the name
  sqlite_failed,           ///< SQLite refused for a reason of its own
  single_threaded_sqlite,  ///< the SQLite of this process is one that no two threads may use
  // a start on this folder
  log_damaged,      ///< bytes or files of the log changed or are gone: nothing starts on it
  log_too_short,    ///< the log ends before the state that the storage has: part of it is gone
  log_starts_late,  ///< the log begins behind its first entry, and no snapshot has those before
  another_cluster,  ///< log, databases and folder are not of one cluster
  another_server,   ///< the folder is that of another server
  copied,           ///< the folder is a copy of a server's: two of one id would be one too many
  not_founded,      ///< an empty folder, and nobody said whether to found a cluster or to join one
  already_founded,  ///< a cluster was to be founded in a folder that takes part in one, or waits to
  // a file that is to be imported
  other_page_size,  ///< its pages are of another size than those of the database that it is to be
  // readers
  snapshot_ended,  ///< the state that a transaction reads was let go of, to have the memory
};

/// What the caller may conclude. Compare an error_code with it:
/// `if (error == failure::not_applied) retry();`
enum class failure : int {
  not_applied = 1,  ///< no replica has applied it or ever will: safe to run again
  outcome_unknown,  ///< it may be committed now or later: ask outcome(id) before running it again
  fatal,            ///< this replica cannot go on; another one can
  refused,          ///< the request itself is wrong: running it again will not help
};

/// The category of quorlite's own codes. Any thread.
[[nodiscard]] QUORLITE_API QUORLITE_DECL const std::error_category& quorlite_category() noexcept;
/// The category of the conclusions. Any thread.
[[nodiscard]] QUORLITE_API QUORLITE_DECL const std::error_category& failure_category() noexcept;

/// Lets a std::error_code be made of, and compared with, an errc.
[[nodiscard]] inline std::error_code make_error_code(errc code) noexcept {
  return {static_cast<int>(code), quorlite_category()};
}
/// Lets a std::error_code be compared with a failure.
[[nodiscard]] inline std::error_condition make_error_condition(failure condition) noexcept {
  return {static_cast<int>(condition), failure_category()};
}

/// Wraps a code of ours for return from a function that gives a `result`.
[[nodiscard]] inline tl::unexpected<std::error_code> fail(errc code) noexcept {
  return tl::unexpected<std::error_code>(make_error_code(code));
}

/// Extended result codes that SQLite itself never makes. Their primary code is SQLITE_IOERR, which
/// makes SQLite roll the transaction back; applications know the numbers from dqlite.
inline constexpr int sqlite_not_leader = 10250;       ///< not applied
inline constexpr int sqlite_outcome_unknown = 10506;  ///< it may have been applied
/// An atomic commit of several databases found no room. Unlike plain SQLITE_BUSY it has rolled the
/// transaction back: run all of it again.
inline constexpr int sqlite_busy_rolled_back = 10245;
/// The transaction has failed and cannot go on: roll it back. Of replicated databases nothing of it
/// is committed; COMMIT says why. It stands where SQLite may not pass on a failure of IOERR or
/// FULL, for which it takes the transaction back behind the application; for SQLITE_PROTOCOL, the
/// primary code of this one, it does not.
inline constexpr int sqlite_transaction_over = 10255;
/// A transaction was open for so long that readers kept more than replica_options::pinned_bytes: it
/// is over, and SQLite has taken it back. Run it again, here.
inline constexpr int sqlite_snapshot_ended = 10762;

}  // namespace QUORLITE_ABI
}  // namespace quorlite

template <>
struct std::is_error_code_enum<quorlite::errc> : std::true_type {};
template <>
struct std::is_error_condition_enum<quorlite::failure> : std::true_type {};

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/error.ipp"  // IWYU pragma: keep
#endif
