// The test Raft in the hands of the consensus suite.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/consensus.hpp"
#include "quorlite/testing/consensus_conformance.hpp"
#include "quorlite/testing/test_raft.hpp"

namespace quorlite::tests {

using namespace quorlite::detail;  // NOLINT: tests of this library only

// Options under which snapshots are small and come often, so that restores have several parts.
inline testing::simulation_options harness_options(std::size_t servers, std::uint64_t seed) {
  testing::simulation_options options;
  options.seed = seed;
  options.replicas = static_cast<std::uint32_t>(servers);
  options.compaction.threshold_entries = 8;
  options.compaction.trailing_entries = 2;
  options.compaction.read_bytes = 512;
  options.raft.max_entry_bytes = std::size_t{64} << 10U;
  options.raft.chunk_bytes = 512;
  return options;
}

class test_raft_harness {
 public:
  using adapter_type = testing::test_raft;
  static constexpr testing::harness_faults faults{
      .partition = true, .crash = true, .restart = true, .compact = true, .clients = true};

  explicit test_raft_harness(const testing::simulation_options& options)
      : simulation_(options), adapters_(options.replicas) {
    for (std::size_t i = 0; i < adapters_.size(); ++i) {
      adapters_[i] = std::make_unique<testing::test_raft>(simulation_, id(i));
    }
  }
  test_raft_harness(const test_raft_harness&) = delete;
  test_raft_harness& operator=(const test_raft_harness&) = delete;
  ~test_raft_harness() {
    simulation_.finish_clients();
    QUORLITE_ASSERT(!simulation_.violation());
  }

  [[nodiscard]] std::size_t size() const noexcept { return adapters_.size(); }
  [[nodiscard]] testing::test_raft& node(std::size_t server) noexcept { return *adapters_[server]; }
  std::error_code start(std::size_t server, state_machine& machine) {
    return node(server).start(machine);
  }
  // Several elections, and everything that follows from them.
  void pump() { simulation_.run_for(milliseconds{3000}); }
  template <class Condition>
  bool run_until(Condition condition) {
    return simulation_.run_until(condition, milliseconds{30000});
  }

  void isolate(std::size_t server) { simulation_.isolate(id(server)); }
  void heal() { simulation_.heal(); }
  void crash(std::size_t server) { simulation_.crash(id(server)); }
  // An adapter has one life; the former one stays for those who still hold it.
  std::error_code restart(std::size_t server, state_machine& machine) {
    auto next = std::make_unique<testing::test_raft>(simulation_, id(server));
    former_.push_back(std::exchange(adapters_[server], std::move(next)));
    return node(server).start(machine);
  }
  // Servers compact by themselves, every few entries: they only need the time.
  void compact(std::size_t /*server*/) { simulation_.run_for(milliseconds{500}); }
  void spawn(std::function<void()> body) { simulation_.spawn(std::move(body)); }

 private:
  static server_id id(std::size_t server) { return server_id{server + 1}; }

  testing::simulation simulation_;
  std::vector<std::unique_ptr<testing::test_raft>> adapters_;
  std::deque<std::unique_ptr<testing::test_raft>> former_;
};

static_assert(testing::consensus_harness<test_raft_harness>);

}  // namespace quorlite::tests
