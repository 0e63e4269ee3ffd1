/// @file
/// A simulated cluster with a replica on every server, and everything that may go wrong with it:
/// for tests of applications and of this library.
///
/// ```
/// replica_cluster cluster{{.seed = 7, .replicas = 3}, {}, {.storage = server_storage::files}};
/// cluster.when(server_phase::flush_written, [&](server_id id) {
///   cluster.crash(id, crash_kind::power_lost);
///   cluster.simulation().after(milliseconds{500}, [&cluster, id] { cluster.restart(id); });
/// });
/// cluster.simulation().spawn([&] { your_application(cluster); });
/// cluster.simulation().run_for(milliseconds{60'000});
/// ```
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <system_error>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/replica.hpp"
#include "quorlite/storage/memory.hpp"
#include "quorlite/testing/detail/simulation/process_watch.hpp"
#include "quorlite/testing/detail/simulation/unique_function.hpp"
#include "quorlite/testing/faulty_disk.hpp"
#include "quorlite/testing/test_raft.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

/// Where the replicas of a simulated cluster keep their pages. The log of the test Raft is kept
/// beside it, as simulation_options::disk says.
enum class server_storage : std::uint8_t {
  memory,           ///< a memory_storage that outlives its process, as a disk without faults would
  volatile_memory,  ///< a memory_storage of the process: the next one finds nothing
  files,            ///< a file_storage on a faulty_disk
  double_write,     ///< the same, with file_options::double_write
};

/// What goes with a process. The server's log and vote stay in any case, as far as it had synced
/// them.
enum class crash_kind : std::uint8_t {
  killed,        ///< nothing but its memory: what it wrote is there for the next one
  power_lost,    ///< each unit that was not synced survives or not, by a draw of the seed; with
                 ///< double write a sector may also hold garbage
  storage_lost,  ///< the storage: the next process finds an empty one
};

/// A point in the work of a server beside its commits, for which there is commit_phase.
using detail::server_phase;

/// Stands beside the replicas of a cluster and is told what they do: what checks that must hold
/// after each step are made of. Calls come from inside a call of the engine or the storage. They
/// may read replicas; they must not throw, wait, crash a server or write.
class QUORLITE_API cluster_observer {
 public:
  cluster_observer() = default;
  cluster_observer(const cluster_observer&) = delete;
  cluster_observer& operator=(const cluster_observer&) = delete;
  virtual ~cluster_observer() = default;

  /// A call of the strand (apply, skip, install) has moved the machine of this server to here.
  /// While a process is starting, replica_cluster::hold() gives nullptr for it.
  virtual void moved(server_id server, log_position to) noexcept;
  /// That call was an install. Told before moved().
  virtual void installed(server_id server, log_position to) noexcept;
  /// The server is at this phase of a flush, a snapshot or a restore.
  virtual void reached(server_id server, server_phase what) noexcept;
};

/// What is chosen about the servers of a cluster, besides their network, Raft and replicas.
struct server_options {
  server_storage storage = server_storage::memory;  ///< of every server
  cluster_observer* observer = nullptr;             ///< outlives the cluster; nullptr: nobody looks
  /// With double write a crash may leave garbage in all of 4096 bytes, not in 512 only: for pages
  /// that are no smaller.
  bool large_sectors = false;
  /// A process whose replica has halted stays up after its engine has left, as a service does until
  /// somebody looks: its connections go on reading. crash() or stop() ends it. Otherwise it ends
  /// with its engine.
  bool halted_stay_up = false;
};

/// Servers 1 … n of a simulation, each with a storage and one process at a time, in which a replica
/// runs as in production. One thread of control, as in the simulation. Time passes only while
/// something waits or the simulation is run. What happens is a function of the options and of what
/// the test does: one seed, one run.
///
/// Network, pauses and lost leaderships are simulation()'s.
class QUORLITE_API replica_cluster {
 public:
  /// Starts every replica. @pre the names of the options' files are left to the replicas
  explicit replica_cluster(simulation_options options, replica_options each = {},
                           server_options servers = {});
  /// Clients that still wait are let go.
  ~replica_cluster();
  replica_cluster(const replica_cluster&) = delete;
  replica_cluster& operator=(const replica_cluster&) = delete;

  /// The simulation that the servers live in: time, clients, network.
  [[nodiscard]] testing::simulation& simulation() noexcept;
  /// 1 … n.
  [[nodiscard]] std::vector<server_id> servers() const;
  /// True between a start and the next crash. A replica that halted is up.
  [[nodiscard]] bool is_up(server_id id);
  /// @pre it was not taken down, nor failed to start
  [[nodiscard]] quorlite::replica& replica(server_id id);
  /// The replica of a process that runs; nullptr: none does. Whoever holds it keeps the memory of
  /// that process, and lets go of it before the cluster ends. It is dead all the same once the
  /// server crashed: it answers errc::stopped.
  [[nodiscard]] std::shared_ptr<quorlite::replica> hold(server_id id);

  // ---- what tests want all the time

  /// An ordinary connection. @pre the replica is up
  [[nodiscard]] connection connect(server_id id, std::string_view name = "app.db",
                                   connection_options options = {});
  /// Runs the simulation until somebody other than `but` leads. @returns nothing: nobody does in
  /// time
  [[nodiscard]] std::optional<server_id> wait_for_leader(
      std::optional<server_id> but = std::nullopt, milliseconds limit = milliseconds{20'000});
  /// Runs the simulation until every member whose replica is up has applied the same and nothing is
  /// under way. @returns false: not in time
  [[nodiscard]] bool wait_until_even(milliseconds limit = milliseconds{60'000});
  /// True if all members whose replicas are up have the same databases (versions, page counts,
  /// hashes), and the test Raft kept what Raft promises.
  [[nodiscard]] bool are_identical();

  // ---- processes

  /// The process is gone at once: take_down, start or restart it next, but later. Nothing
  /// happens to one that is gone already, but that it may lose more. Not from an observer.
  void crash(server_id id, crash_kind how = crash_kind::killed);
  /// Destroys the replica of a server that crashed, unless somebody holds it. Its connections are
  /// told so. @pre no client is inside a call of it, or it holds it. A millisecond after the crash
  /// none is: whoever waited there was let go
  void take_down(server_id id);
  /// A new process on what the last one left, unless one runs.
  /// @returns why it does not run: what replica::start said, for faults of its disk; errc::stopped:
  ///   it crashed while it started
  [[nodiscard]] std::error_code start(server_id id);
  /// take_down and start. @pre nothing keeps it from starting
  void restart(server_id id);
  /// An orderly end, as of a service that is stopped: the replica stops and flushes, its storage is
  /// closed, and the process is gone, as after a crash in which nothing is lost.
  /// @returns what stop() or close() said; errc::stopped: it was not up, or crashed meanwhile
  std::error_code stop(server_id id);

  // ---- disks, where the servers have files; what fails ends with the process that it was set for

  /// The disk of the process that runs, or else of the one that comes next. @pre it has files
  [[nodiscard]] faulty_disk& disk(server_id id);
  /// Another disk in the place of what a server has: what the next process finds is a copy of it.
  /// @pre no process runs there; it has files
  void exchange_disk(server_id id, const faulty_disk& by);
  /// The storage of a server with server_storage::memory, which outlives its replica.
  [[nodiscard]] memory_storage& storage(server_id id);
  /// The power of this server goes in the middle of the call of its disk that comes `after` calls
  /// from now.
  void crash_during_disk_call(server_id id, std::uint64_t after = 0);
  /// That call does nothing and gives `error`; a sync loses what it was for.
  void fail_disk_call(server_id id, std::uint64_t after = 0, std::errc error = std::errc::io_error);
  /// There is room for calls of at most `left` bytes, until heal_disk().
  void fill_disk(server_id id, std::uint64_t left = 0);
  /// From now on each call of the disk takes so long, and the server stands still meanwhile: what
  /// is sent to it waits, its timers and its other work too. Whole milliseconds of it count. Other
  /// than a failure it stays until heal_disk(), whatever process there is.
  void slow_disk(server_id id, std::uint64_t call_us);
  /// Ends failures, lack of room and slowness. A crash that was to come still does.
  void heal_disk(server_id id);

  // ---- right now, at this phase

  /// Calls `then` when a server is at this phase for the `ordinal`-th time from now, before
  /// anything else happens; once. It may crash that server, which then has done so much and no
  /// more, and cut the network. Whatever else goes through the test Raft, and take_down and start,
  /// belong into simulation::after(). It must not wait or throw.
  /// @param on only this one; nullopt: all servers count together
  void when(server_phase what, detail::unique_function<void(server_id)> then,
            std::uint64_t ordinal = 1, std::optional<server_id> on = std::nullopt);
  /// Ends every cut and disk fault, and all that was to come: crashes, lost leaderships, phases.
  /// Who is down stays so.
  void heal();

 private:
  struct state;
  const std::unique_ptr<state> state_;
};

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/simulation.ipp"  // IWYU pragma: keep
#endif
