/// @file
/// A simulated cluster with a replica on every server: for tests of applications and of this
/// library.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <string_view>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/replica.hpp"
#include "quorlite/storage/memory.hpp"
#include "quorlite/testing/test_raft.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

/// Servers 1 … n of a simulation, each with a storage that survives crashes. One thread of control,
/// as in the simulation. Time passes only while something waits or the simulation is run.
class QUORLITE_API replica_cluster {
 public:
  /// Starts every replica. @pre the names of the options' files are left to the replicas
  explicit replica_cluster(simulation_options options, replica_options each = {});
  /// Clients that still wait are let go.
  ~replica_cluster() { simulation_.finish_clients(); }
  replica_cluster(const replica_cluster&) = delete;
  replica_cluster& operator=(const replica_cluster&) = delete;

  /// The simulation that the servers live in: time, network, crashes.
  [[nodiscard]] testing::simulation& simulation() noexcept { return simulation_; }
  /// 1 … n.
  [[nodiscard]] std::vector<server_id> servers() const { return simulation_.servers(); }
  /// @pre it was not taken down
  [[nodiscard]] quorlite::replica& replica(server_id id) { return at(id).replica; }
  /// The storage of a server, which outlives its replica.
  [[nodiscard]] memory_storage& storage(server_id id) { return at(id).storage; }
  /// True between a start and the next crash.
  [[nodiscard]] bool is_up(server_id id) { return at(id).replica && simulation_.running(id); }

  /// An ordinary connection. @pre the replica is up
  [[nodiscard]] connection connect(server_id id, std::string_view name = "app.db",
                                   connection_options options = {});

  /// Runs the simulation until somebody other than `but` leads. @returns nothing: nobody does in
  /// time
  [[nodiscard]] std::optional<server_id> wait_for_leader(
      std::optional<server_id> but = std::nullopt, milliseconds limit = milliseconds{20'000});

  /// The process is gone: take_down or restart it next.
  void crash(server_id id) { simulation_.crash(id); }
  /// Destroys the replica of a server that crashed. Its connections are told so.
  void take_down(server_id id);
  /// A new process on the same disks. @pre crashed
  void restart(server_id id);

  /// Runs the simulation until every replica that is up has applied the same and nothing is under
  /// way.
  [[nodiscard]] bool wait_until_even(milliseconds limit = milliseconds{60'000}) {
    return simulation_.run_until([this] { return is_even(); }, limit);
  }

  /// True if all replicas that are up have the same databases (versions, page counts, hashes) and
  /// the test Raft kept what Raft promises.
  [[nodiscard]] bool are_identical();

 private:
  struct server {
    memory_storage storage;
    std::optional<test_raft> raft;
    quorlite::replica replica;
  };

  [[nodiscard]] server& at(server_id id) {
    return servers_[static_cast<std::size_t>(id.value - 1)];
  }

  void start(server_id id);

  [[nodiscard]] bool is_even();

  const replica_options each_;
  testing::simulation simulation_;  // before the servers: it outlives their adapters
  std::deque<server> servers_;
};

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/cluster.ipp"  // IWYU pragma: keep
#endif
