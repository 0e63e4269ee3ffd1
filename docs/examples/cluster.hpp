/// @file
/// Replicas of one database in one process, and what can happen to them: crash, partition, return.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <stdexcept>
#include <string>

#include "command_line.hpp"
#include "page_compare.hpp"
#include "quorlite/detail/pages/registry.hpp"
#include "quorlite/detail/replica/replica_access.hpp"
#include "quorlite/replica.hpp"
#include "quorlite/storage/memory.hpp"
#include "quorlite/testing/detail/raft/node.hpp"
#include "quorlite/testing/test_raft.hpp"

namespace example {

using quorlite::milliseconds;
using quorlite::server_id;
using quorlite::testing::test_raft;

inline constexpr const char* database_name = "main.db";

/// What all replicas together have done, those included that crashed meanwhile.
struct cluster_counters {
  std::uint64_t entries = 0;
  std::uint64_t entry_bytes = 0;
  std::uint64_t full_page_bytes = 0;
  std::uint64_t snapshots_installed = 0;
};

/// A simulated Raft cluster with a replica on each server. Nothing happens on its own: time passes
/// only while a COMMIT waits, or while one of the waiting functions here runs.
class cluster {
 public:
  /// @param snapshot_every so many entries: a server that missed more is sent a snapshot
  cluster(const settings& asked, std::uint64_t snapshot_every)
      : page_size_(asked.page_size), simulation_(simulation_options(asked, snapshot_every)) {
    for (std::uint64_t id = 1; id <= asked.replicas; ++id) {
      servers_.emplace_back();
      start(server_id{id});
    }
  }

  [[nodiscard]] quorlite::testing::simulation& simulation() { return simulation_; }
  [[nodiscard]] std::size_t size() const { return servers_.size(); }
  [[nodiscard]] quorlite::replica& replica(server_id id) { return at(id).replica; }
  [[nodiscard]] bool has_crashed(server_id id) const { return !simulation_.running(id); }
  [[nodiscard]] std::optional<server_id> lost() const { return lost_; }

  /// An ordinary connection. On the leader it writes, on the others it reads.
  [[nodiscard]] quorlite::connection connect(server_id id) {
    auto opened = replica(id).open(database_name, {.page_size = page_size_});
    if (!opened) {
      throw std::runtime_error(fmt::format("cannot open the database on replica {}: {}", id.value,
                                           opened.error().message()));
    }
    return std::move(*opened);
  }

  [[nodiscard]] pinned_pages pages(server_id id) {
    quorlite::detail::machine_state& state = quorlite::detail::replica_access::state(replica(id));
    return pinned_pages(state.databases().find(database_name)->store());
  }

  /// Lets time pass until there is a leader that is not cut off.
  [[nodiscard]] server_id wait_for_leader() {
    const auto elected = [this] {
      const std::optional<server_id> leader = simulation_.leader();
      return leader.has_value() && leader != lost_;
    };
    constexpr milliseconds timeout{20'000};
    if (!simulation_.run_until(elected, timeout)) {
      bring_back();  // too few are left for a quorum
      if (!simulation_.run_until(elected, timeout)) {
        throw std::runtime_error("no leader is elected");
      }
    }
    return *simulation_.leader();
  }

  void crash(server_id id) {
    simulation_.crash(id);
    lost_ = id;
  }
  void isolate(server_id id) {
    simulation_.isolate(id);
    lost_ = id;
  }
  /// The simulation has done it already, at a point where only the simulation can.
  void note_lost(server_id id) { lost_ = id; }

  /// Restarts or reconnects the server that was lost. Its connections must be closed if it crashed.
  void bring_back() {
    if (!lost_) {
      return;
    }
    const server_id id = *std::exchange(lost_, std::nullopt);
    simulation_.heal();
    if (has_crashed(id)) {
      count(at(id));
      start(id);
    }
  }

  /// Lets time pass until every replica has applied all there is. @throws if one never does
  void wait_until_even() {
    bring_back();
    const auto even = [this] {
      const std::optional<server_id> leader = simulation_.leader();
      for (std::uint64_t id = 1; leader && id <= size(); ++id) {
        if (replica(server_id{id}).applied() != replica(*leader).applied() ||
            simulation_.node(server_id{id}).commit_index() !=
                simulation_.node(*leader).commit_index()) {
          return false;
        }
      }
      return leader.has_value();
    };
    if (!simulation_.run_until(even, milliseconds{600'000})) {
      throw std::runtime_error("the replicas do not catch up: " + state_of_all());
    }
  }

  /// Gives every replica the chance to write its pages back to its storage.
  void maintain() {
    for (server& one : servers_) {
      one.replica.maintain();
    }
  }

  [[nodiscard]] cluster_counters counters() {
    cluster_counters all = gone_;
    for (server& one : servers_) {
      add(all, one);
    }
    return all;
  }

 private:
  /// One machine: its disk survives a crash, the rest does not.
  struct server {
    quorlite::memory_storage storage;
    std::optional<test_raft> raft;
    quorlite::replica replica;
    std::uint64_t own_snapshots = 0;  ///< restored from its own disk, not sent by a leader
  };

  [[nodiscard]] static quorlite::testing::simulation_options simulation_options(
      const settings& asked, std::uint64_t snapshot_every) {
    quorlite::testing::simulation_options options;
    options.seed = asked.seed;
    options.replicas = asked.replicas;
    options.network = {.drop = 0.002, .duplicate = 0.002};
    options.raft.chunk_bytes = std::size_t{64} << 10U;
    options.compaction = {.threshold_entries = snapshot_every,
                          .trailing_entries = snapshot_every / 4,
                          .read_bytes = std::size_t{256} << 10U};
    options.disk = {.sync_min_us = 50, .sync_max_us = 400};
    return options;
  }

  [[nodiscard]] server& at(server_id id) {
    return servers_[static_cast<std::size_t>(id.value - 1)];
  }

  void start(server_id id) {
    server& one = at(id);
    one.replica = {};
    one.raft.emplace(simulation_, id);
    quorlite::replica_options options;
    options.vfs_name = fmt::format("replica-{}", id.value);  // SQLite wants one for each
    options.flush_bytes = std::uint64_t{1} << 20U;
    auto started = quorlite::replica::start(*one.raft, one.storage, options);
    if (!started) {
      throw std::runtime_error(
          fmt::format("replica {} does not start: {}", id.value, started.error().message()));
    }
    one.replica = std::move(*started);
    one.own_snapshots = one.replica.metrics().machine.snapshots_installed;
  }

  /// Before a replica goes away.
  void count(server& one) { add(gone_, one); }

  static void add(cluster_counters& to, server& one) {
    const quorlite::replica_metrics counted = one.replica.metrics();
    const quorlite::proposer_counters& proposed = counted.proposed;
    to.entries += proposed.entries;
    to.entry_bytes += proposed.entry_bytes;
    to.full_page_bytes += proposed.full_page_bytes;
    to.snapshots_installed += counted.machine.snapshots_installed - one.own_snapshots;
  }

  [[nodiscard]] std::string state_of_all() {
    std::string text;
    for (std::uint64_t id = 1; id <= size(); ++id) {
      const quorlite::health health = replica(server_id{id}).health();
      text += fmt::format("replica {} has applied {}{}{}; ", id,
                          replica(server_id{id}).applied().index.value,
                          health.halted ? " and halted: " : "", health.what);
    }
    return text;
  }

  const std::uint32_t page_size_;
  quorlite::testing::simulation simulation_;  // before the servers: it outlives their adapters
  std::deque<server> servers_;
  std::optional<server_id> lost_;
  cluster_counters gone_;
};

}  // namespace example
