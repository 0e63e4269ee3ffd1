/// @file
/// The model cluster in the hands of the consensus suite: the two kinds of harness there are, with
/// all faults that a test can make.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <system_error>
#include <thread>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/testing/detail/laws/consensus_harness.hpp"
#include "quorlite/testing/detail/model/model_cluster.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// In one thread: everything happens inside pump(), run_until() and the adapter's wait().
/// @tparam Cluster a model_cluster, or one that derives from it
template <class Cluster = model_cluster>
class model_harness {
 public:
  using adapter_type = model_consensus;
  static constexpr harness_faults faults{.partition = true,
                                         .crash = true,
                                         .restart = true,
                                         .compact = true,
                                         .fail_log_write = true,
                                         .repeatable = true};

  /// @param more for the constructor of the cluster
  template <class... More>
  explicit model_harness(std::size_t servers, More... more) : cluster_(servers, more...) {}

  [[nodiscard]] std::size_t size() const noexcept { return cluster_.size(); }
  [[nodiscard]] model_consensus& node(std::size_t server) noexcept { return cluster_.node(server); }
  std::error_code start(std::size_t server, state_machine& machine) {
    return node(server).start(machine);
  }
  void pump() {
    for (int i = 0; i < 100'000 && cluster_.step(); ++i) {
    }
  }
  template <class Condition>
  bool run_until(Condition condition) {
    for (int i = 0; i < 100'000 && !condition(); ++i) {
      if (!cluster_.step()) {
        break;  // nothing will happen any more
      }
    }
    return condition();
  }

  void isolate(std::size_t server) { cluster_.isolate(server); }
  void heal() { cluster_.heal(); }
  void crash(std::size_t server) { cluster_.crash(server); }
  /// The same adapter again: it may be started after a stop, and after a crash.
  std::error_code restart(std::size_t server, state_machine& machine) {
    return node(server).start(machine);
  }
  void compact(std::size_t server) { cluster_.compact(server); }
  void fail_log_write(std::size_t server) { cluster_.fail_log_write(server); }

 private:
  Cluster cluster_;
};

/// The same cluster, driven by a thread of its own, as engines with threads are.
class QUORLITE_API threaded_model_harness {
 public:
  using adapter_type = model_consensus;
  static constexpr harness_faults faults{
      .partition = true, .crash = true, .restart = true, .compact = true, .threads = true};

  explicit threaded_model_harness(std::size_t servers) : cluster_(servers, true) {
    engine_ = std::thread([this] {
      while (!ending_) {
        idle_ = cluster_.step() ? 0 : idle_ + 1;
        if (idle_ > 0) {
          std::this_thread::sleep_for(std::chrono::microseconds(100));
        }
      }
    });
  }
  threaded_model_harness(const threaded_model_harness&) = delete;
  threaded_model_harness& operator=(const threaded_model_harness&) = delete;
  ~threaded_model_harness() {
    ending_ = true;
    engine_.join();
  }

  [[nodiscard]] std::size_t size() const noexcept { return cluster_.size(); }
  [[nodiscard]] model_consensus& node(std::size_t server) noexcept { return cluster_.node(server); }
  std::error_code start(std::size_t server, state_machine& machine) {
    return node(server).start(machine);
  }
  void pump() {
    idle_ = 0;
    run_until([this] { return idle_ > 5; });
  }
  template <class Condition>
  bool run_until(Condition condition) {
    for (int i = 0; i < 50'000 && !condition(); ++i) {
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    return condition();
  }

  void isolate(std::size_t server) { cluster_.isolate(server); }
  void heal() { cluster_.heal(); }
  void crash(std::size_t server) { cluster_.crash(server); }
  std::error_code restart(std::size_t server, state_machine& machine) {
    return node(server).start(machine);
  }
  void compact(std::size_t server) { cluster_.compact(server); }

 private:
  model_cluster cluster_;
  std::atomic<int> idle_{0};
  std::atomic<bool> ending_{false};
  std::thread engine_;
};

static_assert(consensus_harness<model_harness<>>);
static_assert(consensus_harness<threaded_model_harness>);

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
