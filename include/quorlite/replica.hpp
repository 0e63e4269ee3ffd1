/// @file
/// The handle that users hold: a consensus adapter, a storage, and SQLite on top.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/connection.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/core/consensus_port.hpp"
#include "quorlite/detail/machine/flush_port.hpp"
#include "quorlite/detail/machine/machine_state.hpp"
#include "quorlite/detail/pages/database_state.hpp"
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

/// What a replica offers, whatever its engine and storage are: the plain part of `replica`,
/// compiled once. All members may be called from any thread.
class replica_core {
 public:
  replica_core(const replica_core&) = delete;
  replica_core& operator=(const replica_core&) = delete;

  /// Why it does not run, if so: the storage could not be read, or the adapter did not start.
  [[nodiscard]] std::error_code status() const noexcept { return started_; }

  /// A clean stop: stops the adapter, so that whoever waits is answered, then makes everything that
  /// is applied durable in the storage. Reads go on. Idempotent; not from the strand. Blocks. (The
  /// destructor stops the adapter and no more: the log brings the rest at the next start.)
  /// @returns errors of flush(), for the first call
  std::error_code stop();

  /// Opens a database: an ordinary sqlite3*. On the leader its COMMITs are quorum commits; on any
  /// replica it reads the committed state. A name that was never written is an empty database.
  /// @returns errc::invalid_name, errc::sqlite_failed, status(); errc::busy while the log is
  ///   replayed over a base that a crash tore (health() says so): try again
  [[nodiscard]] result<connection> open(std::string_view name, connection_options options = {});

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
  /// temporary tables, PRAGMAs that change the connection. It must not replace the connection's
  /// handlers, keep the sqlite3*, or call write(). `changes()` and `last_insert_rowid()` are its
  /// own after its first INSERT, UPDATE or DELETE. Functions and collations are to be registered in
  /// every run.
  /// @param name of a database, as for open()
  /// @param closure int(sqlite3*), borrowed for the call: SQLITE_OK keeps what it did, all else
  ///   undoes it
  /// @returns errc::sqlite_failed: a statement failed, or the closure gave up; code and message of
  ///   the answer say why. errc::busy: no turn within the timeout, or another writer sits
  ///   there. Errors of open(). Else what a COMMIT says: failure::not_applied,
  ///   failure::outcome_unknown (ask outcome() about the answer's id), failure::fatal. A group that
  ///   writes nothing is answered from the head, see docs/reference/limits.md
  template <class Closure>
  [[nodiscard]] write_result write(std::string_view name, Closure&& closure) {
    closure_task task(closure);
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
  /// Blocks. @returns failure::not_applied (not the leader, or no answer in time), failure::fatal
  [[nodiscard]] std::error_code read_barrier(milliseconds limit = milliseconds{10'000});

  /// Did this transaction commit? Exact behind a read_barrier on a leader of a later term than the
  /// transaction's.
  [[nodiscard]] transaction_outcome outcome(transaction_id id) const;

  [[nodiscard]] quorlite::leader_info leader() const;
  [[nodiscard]] quorlite::health health() const;
  [[nodiscard]] log_position applied() const noexcept;
  [[nodiscard]] machine_counters counters() const;
  [[nodiscard]] proposer_counters proposals() const;
  /// What write() did here: closures that were run, and the groups that they shared.
  [[nodiscard]] group_counters groups() const;

  /// What a database is now.
  struct database_status {
    std::string name;
    database_state state;
    page_store_usage memory;
  };
  [[nodiscard]] std::vector<database_status> databases();

  /// Flushes to the storage if that is due. Blocks on the storage; an adapter that runs background
  /// work is given the flush instead. Call it now and then where nothing else does, or give
  /// run_maintenance() a thread.
  /// @returns errc::storage_full: try again when there is room, leadership was handed over if that
  ///   can be done; failure::fatal: the replica has halted
  std::error_code maintain();

  /// Makes everything applied so far durable in the storage, now. Blocks.
  [[nodiscard]] std::error_code flush();

 protected:
  /// All three outlive it.
  replica_core(consensus_port& engine, state_machine& applier, machine_state& machine,
               flush_port& flushes, const replica_options& options);
  ~replica_core();

  /// False: the name of the VFS was taken.
  [[nodiscard]] bool is_registered() const noexcept { return !started_; }
  /// Starts the adapter, unless the base could not be loaded.
  void run(std::error_code loaded);
  /// One look of run_maintenance().
  void flush_if_due();

 private:
  class upkeep;
  struct parts;

  [[nodiscard]] std::error_code readiness() const;
  void write_in_group(std::string_view name, write_task& task);
  [[nodiscard]] bool is_flush_due();
  void stop_adapter();

  consensus_port& engine_;
  state_machine& applier_;
  machine_state& machine_;
  const replica_options options_;
  std::unique_ptr<parts> parts_;
  std::atomic<std::uint64_t> flushed_at_{0};
  std::atomic<bool> is_flushing_{false};
  std::error_code started_;
  bool running_ = false;
};

/// The engine's port and the machine: made before what stands on them, and gone after it.
template <consensus Consensus, storage Storage>
struct replica_base {
  consensus_port_of<Consensus> engine;
  fsm<Consensus, Storage> machine;
};

}  // namespace detail

/// One replica. Runs from construction to destruction: it loads its base from the storage
/// (blocking), then starts the adapter. Adapter and storage are the caller's and must outlive it;
/// so must every connection be closed before it. What it can do is told in replica_core, above; all
/// members may be called from any thread.
template <consensus Consensus, storage Storage>
class replica final : private detail::replica_base<Consensus, Storage>,
                      public detail::replica_core {
 public:
  using machine_type = fsm<Consensus, Storage>;

  replica(Consensus& consensus, Storage& storage, const replica_options& options = {})
      : base{detail::consensus_port_of<Consensus>(consensus),
             machine_type(storage, options.machine)},
        replica_core(base::engine, base::machine, base::machine.state(), base::machine, options),
        consensus_(consensus) {
    if (is_registered()) {
      run(base::machine.load());
    }
  }
  ~replica() = default;

  /// maintain(), by itself, on the calling thread, until `stop` is raised. Looks every `pause`,
  /// which the adapter's clock counts.
  void run_maintenance(typename Consensus::signal_type& stop,
                       milliseconds pause = milliseconds{20}) {
    do {
      flush_if_due();
    } while (!consensus_.wait(stop, pause));
  }

  /// For tools and tests that go below SQLite.
  [[nodiscard]] machine_type& machine() noexcept { return base::machine; }

 private:
  using base = detail::replica_base<Consensus, Storage>;
  Consensus& consensus_;
};

}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/replica.ipp"  // IWYU pragma: keep
#endif
