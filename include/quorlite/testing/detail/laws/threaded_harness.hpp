/// @file
/// The common part of harnesses whose servers run on threads and by the clock of the computer.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/testing/detail/laws/muted_machine.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// How long a threaded_harness waits.
struct harness_pace {
  /// pump() sleeps for it: so long that whatever is under way arrives, an election included.
  std::chrono::milliseconds quiet{100};
  /// run_until() gives up after it.
  std::chrono::milliseconds timeout{20'000};
};

/// Derive your harness from it: it makes the adapters, starts, crashes and restarts them, and lets
/// time go on. Yours says how an adapter is made on the place of a server, and adds the faults that
/// it declares:
///
/// @code
/// class my_harness : public quorlite::testing::threaded_harness<my_adapter> {
///  public:
///   static constexpr quorlite::testing::harness_faults faults{
///       .crash = true, .restart = true, .threads = true};
///   explicit my_harness(std::size_t servers)
///       : threaded_harness(servers, [this](std::size_t i) { return make(i); }), disks_(servers) {}
///   ~my_harness() { end_all(); }  // adapters before what they stand on
///
///  private:
///   std::unique_ptr<my_adapter> make(std::size_t i) {
///     return std::make_unique<my_adapter>(disks_[i]);
///   }
///   std::vector<my_disk> disks_;  // survive the adapters
/// };
/// @endcode
///
/// A crash is a stop that nobody hears of (muted_machine.hpp); what an adapter writes in stop() and
/// would not have written in a crash is not seen by that.
template <class Adapter>
class threaded_harness {
 public:
  /// What the suite asks for by this name.
  using adapter_type = Adapter;
  /// Makes the adapter of one server.
  using maker = std::function<std::unique_ptr<Adapter>(std::size_t server)>;

  /// @param make is first called when a server is first looked at, so it may use members of yours
  threaded_harness(std::size_t servers, maker make, harness_pace pace = {})
      : make_(std::move(make)), pace_(pace), servers_(servers) {}
  threaded_harness(const threaded_harness&) = delete;
  threaded_harness& operator=(const threaded_harness&) = delete;

  /// Servers, whether they run or not.
  [[nodiscard]] std::size_t size() const noexcept { return servers_.size(); }

  /// The adapter of a server, made if there is none yet.
  [[nodiscard]] Adapter& node(std::size_t server) {
    one& it = servers_[server];
    if (it.adapter == nullptr) {
      it.adapter = make_(server);
    }
    return *it.adapter;
  }

  /// Starts it with this machine. @returns what the adapter's start() does
  std::error_code start(std::size_t server, state_machine& machine) {
    servers_[server].between = std::make_unique<muted_machine>(machine);
    return node(server).start(*servers_[server].between);
  }

  /// Ends it without another call into its machine.
  void crash(std::size_t server) {
    servers_[server].between->mute();
    node(server).stop();
  }

  /// A new adapter on what the last one left. That one was stopped, or crashed.
  std::error_code restart(std::size_t server, state_machine& machine) {
    servers_[server].adapter.reset();
    return start(server, machine);
  }

  /// Lets the cluster's own threads work for a while. Blocks.
  void pump() { std::this_thread::sleep_for(pace_.quiet); }

  /// Blocks until the condition holds. @returns false: not within pace.timeout
  template <class Condition>
  bool run_until(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + pace_.timeout;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) {
        return condition();
      }
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    return true;
  }

 protected:
  ~threaded_harness() = default;
  void end_all() { servers_.clear(); }

 private:
  struct one {
    std::unique_ptr<muted_machine> between;  // outlives its adapter
    std::unique_ptr<Adapter> adapter;
  };
  maker make_;
  harness_pace pace_;
  std::vector<one> servers_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
