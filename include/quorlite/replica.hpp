/// @file
/// The handle that users hold: a consensus adapter, a storage, and SQLite on top.
#pragma once

#include <atomic>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/connection.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/core/consensus_port.hpp"
#include "quorlite/detail/sqlite/group/write_task.hpp"
#include "quorlite/error.hpp"
#include "quorlite/fsm.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/options.hpp"
#include "quorlite/replica_status.hpp"
#include "quorlite/storage.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

namespace detail {

class replica_access;
class replica_core;

/// An engine's port and the machine over a storage: all of a replica that depends on its models.
template <consensus Consensus, storage Storage>
struct joined_models {
  joined_models(Consensus& consensus, Storage& storage, const fsm_options& options)
      : engine(consensus), machine(storage, options) {}

  consensus_port_of<Consensus> engine;
  fsm<Consensus, Storage> machine;
};

/// What replica::start() does besides naming the models. @param keeps owns the others
/// @param folders that SQLite has to stay out of
[[nodiscard]] QUORLITE_API QUORLITE_DECL result<std::shared_ptr<replica_core>> start_replica(
    std::shared_ptr<void> keeps, consensus_port& engine, state_machine& applier,
    flush_port& flushes, machine_state& machine, std::vector<std::string> folders,
    const replica_options& options);

/// The folders of those that have one.
template <class... Parts>
[[nodiscard]] std::vector<std::string> folders_of(const Parts&... parts) {
  std::vector<std::string> folders;
  const auto add = [&folders](const auto& part) {
    if constexpr (keeps_a_folder<std::remove_cvref_t<decltype(part)>>) {
      folders.emplace_back(part.folder());
    }
  };
  (add(parts), ...);
  return folders;
}

[[nodiscard]] QUORLITE_API QUORLITE_DECL fsm_options
machine_options(const replica_options& options) noexcept;

}  // namespace detail

/// One replica: runs from start() to its destruction. Movable. All members of one that runs may be
/// called from any thread at a time, but for moves and the destructor. One that is empty (made by
/// default, or moved from) answers errc::stopped, and is nobody's leader.
///
/// Engine and storage are the caller's. They must outlive the replica, and no more than that: a
/// connection, a statement or a transaction that is still open when the replica ends is answered
/// with errc::stopped from then on (10250 in SQLite's words: nothing of it was applied), and keeps
/// what it needs until it is closed. A call that runs on another thread while the destructor does
/// is the caller's error; stop() first, which answers whoever waits, and join.
class QUORLITE_API replica {
 public:
  /// Empty.
  replica() noexcept;
  replica(replica&& other) noexcept;
  replica& operator=(replica&& other) noexcept;
  /// Stops the engine, and no more: the log brings what is not flushed at the next start. Blocks.
  ~replica();

  /// Loads the base from the storage, then starts the engine. Blocks on the storage.
  /// @param engine, storage must outlive the replica; one replica each
  /// @returns std::errc::invalid_argument: options that cannot be; errc::name_taken:
  ///   options.vfs_name is; errc::single_threaded_sqlite: link another SQLite; errc::corrupt,
  ///   errc::malformed (another cluster's data), errors of the storage and of the engine: nothing
  ///   runs, and options.log was told where it is known. errc::out_of_memory
  template <consensus Consensus, storage Storage>
  [[nodiscard]] static result<replica> start(Consensus& engine, Storage& storage,
                                             const replica_options& options = {});

  /// False: empty.
  explicit operator bool() const noexcept { return core_ != nullptr; }

  /// A clean stop: stops the engine, so that whoever waits is answered, then makes everything that
  /// is applied durable in the storage. Reads go on. Idempotent, also on several threads at once;
  /// not from the strand. Blocks.
  /// @returns errors of flush(), for the one call that stopped it
  std::error_code stop();

  /// Opens a database: an ordinary sqlite3*. On the leader its COMMITs are quorum commits; on any
  /// replica it reads the committed state. A name that was never written is an empty database.
  /// @returns errc::invalid_name, errc::no_such_database (options.create), errc::sqlite_failed,
  ///   errc::stopped; errc::busy while the log is replayed over a base that a crash tore (health()
  ///   says so): try again. A replica that has halted in that says why it did: errc::log_too_short
  ///   for a leader whose log had lost what the base may hold
  [[nodiscard]] result<connection> open(std::string_view name,
                                        const connection_options& options = {});

  /// Group commit: runs `closure` in a transaction that it shares with the closures of other
  /// threads, each in a savepoint of its own. One entry of the log, one wait for the quorum, for
  /// all of them: many clients commit several times as often so as over connections of their own.
  /// Blocks until the transaction is committed and applied here, or never will be.
  ///
  /// The closure may run on another thread that is in write() at the same time, and more than once;
  /// only the last run counts. So what it does beside SQL belongs behind write(), and statements
  /// that it prepares end with it. It sees what closures before it did. What it throws comes out of
  /// this call, and undoes it.
  ///
  /// It may use savepoints and read-only PRAGMAs. Denied with SQLITE_AUTH: transactions, ATTACH,
  /// temporary tables, PRAGMAs that change the connection. One that goes on after a denied COMMIT
  /// or ROLLBACK is undone, with SQLITE_MISUSE; so is one that leaves a statement or a blob, or
  /// sets a hook or an authorizer. Not noticed: a statement that it leaves where the database has
  /// virtual tables, and an authorizer that it removes. Other handlers that it sets end with it or
  /// with its group. It must not keep the sqlite3*, or call write(). `changes()` and
  /// `last_insert_rowid()` are its own after its first INSERT, UPDATE or DELETE. Functions and
  /// collations are to be registered in every run.
  /// @param name of a database, as for open()
  /// @param closure int(sqlite3*), borrowed for the call: SQLITE_OK keeps what it did, all else
  ///   undoes it
  /// @returns errc::sqlite_failed: a statement failed, or the closure gave up; code and message of
  ///   the answer say why. errc::busy: no turn within the timeout, or another writer keeps the
  ///   database. Errors of open(). Else what a COMMIT says: failure::not_applied,
  ///   failure::outcome_unknown (ask outcome() about the answer's id), failure::fatal. A closure
  ///   that gave up in a group whose outcome is unknown: failure::not_applied, without an id. A
  ///   group that writes nothing is answered from the head, see docs/reference/limits.md
  template <class Closure>
  [[nodiscard]] write_result write(std::string_view name, Closure&& closure) {
    detail::closure_task task(closure);
    write_in_group(name, task);
    task.rethrow();
    return std::move(task.answer);
  }

  /// Removes a database on every replica. Blocks until it is applied here. Connections to it see an
  /// empty database.
  /// @returns failure::not_applied, failure::outcome_unknown, errc::invalid_name
  [[nodiscard]] std::error_code drop(std::string_view name);

  /// After it returns well, this replica has applied everything that was committed before the
  /// call: reads that begin now are linearizable (Raft thesis 6.4). On the leader always; elsewhere
  /// if the adapter's barrier can be asked there. Without that ability it costs one log entry.
  /// Blocks. @returns errc::not_leader; errc::leadership_lost: no quorum answers this leader any
  ///   more; errc::timed_out; errc::stopped; errc::halted; errc::overloaded; errc::storage_full,
  ///   errc::out_of_memory: the engine has left for want of room, and will be back
  [[nodiscard]] std::error_code read_barrier(milliseconds limit = milliseconds{10'000});

  /// Begins the history of a cluster that has none yet, because it was not founded with one: from
  /// then on every entry says what it builds on, and a replica that is of another history is
  /// noticed. On the leader, and only after every server runs a build that knows it: an older one
  /// stops there with errc::needs_upgrade until it is upgraded. Transactions that are on their way
  /// meanwhile may answer errc::conflict: run them again. Blocks until it is applied here; nothing
  /// is done if the history has begun.
  /// @returns failure::not_applied, failure::outcome_unknown: ask again
  [[nodiscard]] std::error_code upgrade();

  /// Did this transaction commit? Exact behind a read_barrier on a leader of a later term than the
  /// transaction's.
  [[nodiscard]] transaction_outcome outcome(transaction_id id) const;

  /// Who leads, as the adapter told it last. A copy.
  [[nodiscard]] leader_info leader() const;
  /// Blocks until leader() is another than `seen`, or `limit` of the adapter's clock has passed, or
  /// the replica is stopped. @returns true: it is another
  [[nodiscard]] bool wait_for_leadership_change(const leader_info& seen, milliseconds limit) const;
  /// Whether it goes on, and if not, why. A copy.
  [[nodiscard]] quorlite::health health() const;
  /// What was counted since the start, and what is held now. Not of one moment: others go on
  /// meanwhile.
  [[nodiscard]] replica_metrics metrics() const;
  /// Under which SQLite knows this replica, for other wrappers and languages in the process:
  /// `file:app.db?vfs=NAME` opens app.db. Empty: this replica is empty.
  [[nodiscard]] std::string vfs_name() const;
  /// Makes a connection that was opened by that name as good as one of open(): extended result
  /// codes, `synchronous`, `locking_mode`, and a busy handler that queues up. What it needs ends
  /// with `db`.
  /// @param db a connection without an open transaction
  /// @returns errc::unsupported: its main database is not one of ours; errc::out_of_memory,
  ///   errc::sqlite_failed, errc::stopped
  [[nodiscard]] std::error_code set_up(sqlite3* db,
                                       milliseconds busy_timeout = milliseconds{5000}) const;
  /// Every database that exists, ascending by name.
  [[nodiscard]] std::vector<database_status> databases() const;
  /// The last entry that is applied here.
  [[nodiscard]] log_position applied() const noexcept;

  /// Flushes to the storage if that is due. Blocks on the storage; an adapter that runs background
  /// work is given the flush instead. Where this replica leads, proposes to take back what a former
  /// leader left half-done of a transaction, which would keep flushes from the entries behind it.
  /// Call it now and then where nothing else does, or give run_maintenance() a thread.
  /// @returns errc::storage_full: try again when there is room, leadership was handed over if that
  ///   can be done; failure::fatal: the replica has halted
  std::error_code maintain();
  /// maintain(), by itself, on the calling thread, until `stop` is true. Looks every `pause`, which
  /// the adapter's clock counts.
  void run_maintenance(const std::atomic<bool>& stop, milliseconds pause = milliseconds{20});
  /// Makes everything applied so far durable in the storage, now. Blocks.
  [[nodiscard]] std::error_code flush();

 private:
  friend detail::replica_access;
  explicit replica(std::shared_ptr<detail::replica_core> core) noexcept;
  [[nodiscard]] static result<replica> started(result<std::shared_ptr<detail::replica_core>> core);
  void write_in_group(std::string_view name, detail::write_task& task);

  std::shared_ptr<detail::replica_core> core_;
};

// Not inline, so that what was compiled for two models can be named, and is not compiled again.
template <consensus Consensus, storage Storage>
result<replica> replica::start(Consensus& engine, Storage& storage,
                               const replica_options& options) try {
  using models = detail::joined_models<Consensus, Storage>;
  auto joined = std::make_shared<models>(engine, storage, detail::machine_options(options));
  models& of = *joined;
  return started(detail::start_replica(std::move(joined), of.engine, of.machine, of.machine,
                                       of.machine.state(), detail::folders_of(engine, storage),
                                       options));
} catch (const std::bad_alloc&) {
  return fail(errc::out_of_memory);
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/replica.ipp"  // IWYU pragma: keep
#endif
