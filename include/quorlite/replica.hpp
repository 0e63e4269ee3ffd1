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

#include "quorlite/options.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/error.hpp"
#include "quorlite/fsm.hpp"
#include "quorlite/detail/sqlite/group/group_writer.hpp"
#include "quorlite/detail/commit/proposer.hpp"
#include "quorlite/replica_status.hpp"
#include "quorlite/connection.hpp"
#include "quorlite/detail/sqlite/vfs.hpp"
#include "quorlite/detail/sqlite/group/write_task.hpp"
#include "quorlite/storage.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

namespace detail {

/// Counts the replicas of this process, of whatever type.
[[nodiscard]] inline std::uint64_t next_replica_number() noexcept {
  static std::atomic<std::uint64_t> count{0};
  return count.fetch_add(1) + 1;
}

}  // namespace detail

/// One replica. Runs from construction to destruction: it loads its base from the storage
/// (blocking), then starts the adapter. Adapter and storage are the caller's and must outlive it;
/// so must every connection be closed before it. All members may be called from any thread.
/// @tparam Codec go_dqlite_codec (codec/go_dqlite_codec.hpp) where log or snapshots may be a
///   go-dqlite cluster's; the same on every replica
template <consensus Consensus, storage Storage, detail::entry_codec Codec = detail::native_codec>
class replica {
 public:
  using machine_type = fsm<Consensus, Storage, Codec>;

  replica(Consensus& consensus, Storage& storage, replica_options options = {})
      : options_(options),
        consensus_(consensus),
        machine_(storage, options.machine),
        proposer_(consensus, machine_, options.commits),
        vfs_(proposer_, with_own_name(options.files)),
        writers_(consensus, vfs_, options.groups),
        flush_(*this) {
    started_ = vfs_.is_registered() ? std::error_code{} : make_error_code(errc::sqlite_failed);
    if (!started_) {
      started_ = machine_.load();
    }
    if (!started_) {
      started_ = consensus_.start(machine_);
      running_ = !started_;
    }
  }
  replica(const replica&) = delete;
  replica& operator=(const replica&) = delete;
  ~replica() { stop_adapter(); }

  /// Why it does not run, if so: the storage could not be read, or the adapter did not start.
  [[nodiscard]] std::error_code status() const noexcept { return started_; }

  /// A clean stop: stops the adapter, so that whoever waits is answered, then makes everything that
  /// is applied durable in the storage. Reads go on. Idempotent; not from the lane. Blocks. (The
  /// destructor stops the adapter and no more: the log brings the rest at the next start.)
  /// @returns errors of flush(), for the first call
  std::error_code stop() {
    if (!running_) {
      return {};
    }
    stop_adapter();
    return flush();
  }

  /// Opens a database: an ordinary sqlite3*. On the leader its COMMITs are quorum commits; on any
  /// replica it reads the committed state. A name that was never written is an empty database.
  /// @returns errc::invalid_name, errc::sqlite_failed, status(); errc::busy while the log is
  ///   replayed over a base that a crash tore (health() says so): try again
  [[nodiscard]] result<connection> open(std::string_view name, connection_options options = {}) {
    if (const std::error_code error = readiness()) {
      return failed(error);
    }
    return open_connection(vfs_, std::string(name), options);
  }

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
  ///   the answer say why. errc::busy: no turn within the patience, or another writer sits there.
  ///   Errors of open(). Else what a COMMIT says: failure::not_applied, failure::outcome_unknown
  ///   (ask outcome() about the answer's id), failure::fatal. A group that writes nothing is
  ///   answered from the tip, see docs/reference/limits.md
  template <class Closure>
  [[nodiscard]] write_answer write(std::string_view name, Closure&& closure) {
    if (const std::error_code error = readiness()) {
      return write_answer::refused(error);
    }
    const auto writer = writers_.of(name);
    if (!writer) {
      return write_answer::refused(writer.error());
    }
    detail::closure_task task(closure);
    (*writer)->write(task);
    task.rethrow();
    return std::move(task.answer);
  }

  /// Removes a database on every replica. Blocks until it is applied here. Connections to it see an
  /// empty database.
  /// @returns failure::not_applied, failure::outcome_unknown, errc::invalid_name
  [[nodiscard]] std::error_code drop(std::string_view name) {
    if (!is_database_name(name)) {
      return make_error_code(errc::invalid_name);
    }
    return proposer_.submit(detail::drop_command{name});
  }

  /// After it returns well, this replica has applied everything that was committed before the
  /// call: reads that begin now are linearizable (Raft thesis 6.4). On the leader always; elsewhere
  /// if the adapter's barrier can be asked there. Without that ability it costs one log entry.
  /// Blocks. @returns failure::not_applied (not the leader, or no answer in time), failure::fatal
  [[nodiscard]] std::error_code read_barrier(milliseconds limit = milliseconds{10'000}) {
    if constexpr (Consensus::abilities.read_barrier) {
      const auto asked = std::make_shared<typename machine_type::proposal_type>();
      consensus_.read_barrier(machine_.enter_barrier(asked));
      static_cast<void>(consensus_.wait(asked->signal, limit));
      return machine_.conclude(asked).answer == answer::applied ? std::error_code{}
                                                                : make_error_code(errc::not_leader);
    } else {
      return proposer_.submit(detail::barrier_command{});
    }
  }

  /// Did this transaction commit? Exact behind a read_barrier on a leader of a later term than the
  /// transaction's.
  [[nodiscard]] transaction_fate outcome(transaction_id id) const { return machine_.fate_of(id); }

  [[nodiscard]] quorlite::office office() const { return machine_.office(); }
  [[nodiscard]] quorlite::health health() const { return machine_.health(); }
  [[nodiscard]] log_position applied() const noexcept { return machine_.applied(); }
  [[nodiscard]] machine_counters counters() const { return machine_.counters(); }
  [[nodiscard]] proposer_counters proposals() const { return proposer_.counters(); }
  /// What write() did here: closures that were run, and the groups that they shared.
  [[nodiscard]] group_counters groups() const { return writers_.counters(); }

  /// What a database is now.
  struct database_status {
    std::string name;
    detail::page_store::state state;
    detail::page_store_usage memory;
  };
  [[nodiscard]] std::vector<database_status> databases() {
    std::vector<database_status> all;
    for (const std::shared_ptr<database>& one : machine_.databases().existing()) {
      const std::shared_ptr<detail::page_store> store = one->store();
      all.push_back({one->name(), store->committed(), store->usage()});
    }
    return all;
  }

  /// Flushes to the storage if that is due. Blocks on the storage; an adapter that runs background
  /// work is given the flush instead. Call it now and then where nothing else does, or give
  /// run_maintenance() a thread.
  /// @returns errc::storage_full: try again when there is room, the office was handed over if that
  ///   can be done; failure::fatal: the replica has halted
  std::error_code maintain() {
    if (!is_flush_due()) {
      return {};
    }
    if constexpr (Consensus::abilities.background_work) {
      consensus_.run(flush_);
      return {};
    } else {
      return flush_.flush();
    }
  }

  /// Does the same by itself, on the calling thread, until `stop` is raised. Looks every `pause`,
  /// which the adapter's clock counts.
  void run_maintenance(typename Consensus::signal_type& stop,
                       milliseconds pause = milliseconds{20}) {
    do {
      if (is_flush_due()) {
        static_cast<void>(flush_.flush());
      }
    } while (!consensus_.wait(stop, pause));
  }

  /// Makes everything applied so far durable in the storage, now. Blocks.
  [[nodiscard]] std::error_code flush() { return machine_.flush(machine_.applied().index); }

  /// For tools and tests that go below SQLite.
  [[nodiscard]] machine_type& machine() noexcept { return machine_; }

 private:
  /// Why nothing can be opened here now, if so.
  [[nodiscard]] std::error_code readiness() const {
    if (started_) {
      return started_;
    }
    return machine_.is_redoing() ? make_error_code(errc::busy) : std::error_code{};
  }

  /// Several replicas may live in one process (tests do that): each registers a VFS of its own.
  [[nodiscard]] static vfs_options with_own_name(vfs_options files) {
    if (files.name == vfs_options{}.name) {
      files.name += '-' + std::to_string(detail::next_replica_number());
    }
    return files;
  }

  /// One flush, and what follows if there is no room for it.
  class flush_task final : public background_task {
   public:
    explicit flush_task(replica& owner) noexcept : owner_(owner) {}
    void run() noexcept override { static_cast<void>(flush()); }
    std::error_code flush() noexcept {
      const std::error_code error = owner_.flush();
      if constexpr (Consensus::abilities.leadership_transfer) {
        if (error == errc::storage_full && owner_.office().leading) {
          owner_.consensus_.transfer_leadership();  // another server may have room
        }
      }
      owner_.is_flushing_.store(false);
      return error;
    }

   private:
    replica& owner_;
  };

  /// True for one caller at a time, who has to flush then.
  [[nodiscard]] bool is_flush_due() {
    const std::uint64_t seen = machine_.counters().entry_bytes;
    const bool due = seen - flushed_at_.load() >= options_.flush_bytes ||
                     machine_.memory().dirty_bytes() > options_.machine.memory_bytes / 4;
    if (!due || is_flushing_.exchange(true)) {
      return false;
    }
    flushed_at_.store(seen);
    return true;
  }

  void stop_adapter() {
    if (std::exchange(running_, false)) {
      consensus_.stop();
    }
  }

  const replica_options options_;
  Consensus& consensus_;
  machine_type machine_;
  detail::proposer<Consensus, Storage, Codec> proposer_;
  vfs vfs_;
  detail::group_writers<Consensus> writers_;
  flush_task flush_;
  std::atomic<std::uint64_t> flushed_at_{0};
  std::atomic<bool> is_flushing_{false};
  std::error_code started_;
  bool running_ = false;
};

}  // namespace QUORLITE_ABI
}  // namespace quorlite
