/// @file
/// The test Raft: a deterministic cluster in one thread, and the consensus adapter that one replica
/// of it holds.
///
/// ```
/// world cluster{{.seed = 7, .replicas = 3}};
/// test_raft raft{cluster, server_id{1}};   // one for each server
/// raft.start(machine);
/// cluster.run_until([&] { return cluster.leader().has_value(); }, milliseconds{5000});
/// cluster.spawn([&] {
///   raft.propose(term, token, bytes);
///   raft.wait(signal, milliseconds{1000});  // others run meanwhile
/// });
/// cluster.run_for(milliseconds{2000});
/// ```
#pragma once

#include <cstddef>
#include <cstdint>
#include <system_error>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/testing/detail/raft/world.hpp"
#include "quorlite/testing/detail/simulation/client_scheduler.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

/// One replica's way into a simulated world. Made before or between lives of its server; one life
/// each: for a restart make another. One thread of control, as everything in that world.
///
/// After a crash the adapter is a dead letter box: proposals are settled not_applied/stopped from
/// inside propose and waits give false at once, so that the clients on their stacks can leave.
class test_raft {
 public:
  static constexpr consensus_abilities abilities{.entry_terms = true,
                                                 .contiguous = true,
                                                 .read_barrier = true,
                                                 .leadership_transfer = true,
                                                 .background_work = true};
  using signal_type = client_signal;

  /// @param cluster outlives this
  test_raft(world& cluster, server_id self) noexcept : world_(cluster), self_(self) {}
  test_raft(const test_raft&) = delete;
  test_raft& operator=(const test_raft&) = delete;
  /// Still started: the server crashes.
  ~test_raft() {
    if (is_alive()) {
      world_.crash(self_);
    }
  }

  /// Restores the server's snapshot if the machine is behind it; entries follow as events.
  /// @returns errors of begin_restore, append and finish, and errc::halted; the machine's lane was
  /// not entered,
  ///          except by an install that answered halted
  [[nodiscard]] std::error_code start(state_machine& machine) noexcept {
    QUORLITE_ASSERT(machine_ == nullptr);
    const result<std::uint64_t> life = world_.begin_life(self_, machine);
    if (!life) {
      return life.error();
    }
    life_ = *life;
    machine_ = &machine;
    return {};
  }
  void stop() noexcept {
    if (is_alive()) {
      world_.stop(self_);
    }
  }

  /// @pre started
  void propose(term expected, proposal_token token, bytes_view entry) noexcept {
    QUORLITE_ASSERT(machine_ != nullptr);
    if (is_alive()) {
      world_.node_of_adapter(self_).propose(expected, token, entry);
    } else {
      machine_->settled(token, outcome::not_applied, reason::stopped);
    }
  }
  [[nodiscard]] std::size_t max_entry_bytes() const noexcept {
    return world_.raft().max_entry_bytes;
  }

  /// Inside a client: others run meanwhile. On the main stack: the world runs. Not in an event.
  /// A limit of 0 takes a microsecond.
  [[nodiscard]] bool wait(signal_type& signal, milliseconds limit) noexcept {
    return world_.wait(signal, limit, life_, self_);
  }

  /// @pre started
  void read_barrier(proposal_token token) noexcept {
    QUORLITE_ASSERT(machine_ != nullptr);
    if (is_alive()) {
      world_.node_of_adapter(self_).read_barrier(token);
    } else {
      machine_->settled(token, outcome::not_applied, reason::stopped);
    }
  }
  void transfer_leadership() noexcept {
    if (is_alive()) {
      world_.node_of_adapter(self_).transfer_leadership(server_id{});
    }
  }
  /// The task runs as an event. After a crash it never runs, as in a process that is gone.
  void run(background_task& task) noexcept {
    if (is_alive()) {
      world_.run_in_background(self_, task);
    }
  }

  [[nodiscard]] server_id self() const noexcept { return self_; }

 private:
  [[nodiscard]] bool is_alive() const noexcept { return world_.is_alive(self_, life_); }

  world& world_;
  const server_id self_;
  std::uint64_t life_ = 0;
  state_machine* machine_ = nullptr;
};

static_assert(consensus<test_raft>);

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
