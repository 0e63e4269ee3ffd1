/// @file
/// Bodies of test_raft. Those of simulation are in detail/raft/simulation.ipp and
/// simulation_servers.ipp.
#pragma once

#include "quorlite/config.hpp"
#include "quorlite/testing/detail/raft/node.hpp"
#include "quorlite/testing/detail/raft/simulation.ipp"
#include "quorlite/testing/detail/raft/simulation_servers.ipp"  // IWYU pragma: keep
#include "quorlite/testing/test_raft.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

QUORLITE_DECL test_raft::test_raft(simulation& cluster, server_id self) noexcept
    : simulation_(cluster), self_(self), numbers_(cluster.state_->numbers_for_adapter(self)) {}

QUORLITE_DECL test_raft::~test_raft() {
  if (is_alive()) {
    simulation_.crash(self_);
  }
}

QUORLITE_DECL std::error_code test_raft::start(state_machine& machine) noexcept {
  QUORLITE_ASSERT(machine_ == nullptr);
  withdrew_early_ = false;
  const result<std::uint64_t> boot = simulation_.state_->begin_boot(self_, machine);
  if (!boot) {
    return boot.error();
  }
  boot_ = *boot;
  machine_ = &machine;
  if (withdrew_early_) {
    withdraw();
  }
  return {};
}

QUORLITE_DECL void test_raft::stop() noexcept {
  if (is_alive()) {
    simulation_.stop(self_);
  }
}

QUORLITE_DECL void test_raft::propose(term expected, proposal_token token,
                                      bytes_view entry) noexcept {
  QUORLITE_ASSERT(machine_ != nullptr);
  if (is_alive()) {
    simulation_.state_->node(self_).propose(expected, token, entry);
  } else {
    machine_->settled(token, outcome::not_applied, settle_reason::stopped);
  }
}

QUORLITE_DECL std::size_t test_raft::max_entry_bytes() const noexcept {
  return simulation_.state_->options.raft.max_entry_bytes;
}

QUORLITE_DECL bool test_raft::wait(signal_type& signal, milliseconds limit) noexcept {
  return simulation_.state_->wait(signal, limit, boot_, self_);
}

QUORLITE_DECL void test_raft::withdraw() noexcept {
  if (is_alive()) {
    simulation_.state_->node(self_).withdraw();
  } else if (machine_ == nullptr) {
    withdrew_early_ = true;
  }
}

QUORLITE_DECL void test_raft::read_barrier(proposal_token token) noexcept {
  QUORLITE_ASSERT(machine_ != nullptr);
  if (is_alive()) {
    simulation_.state_->node(self_).read_barrier(token);
  } else {
    machine_->settled(token, outcome::not_applied, settle_reason::stopped);
  }
}

QUORLITE_DECL void test_raft::transfer_leadership() noexcept {
  if (is_alive()) {
    simulation_.state_->node(self_).transfer_leadership(server_id{});
  }
}

QUORLITE_DECL void test_raft::run(background_task& task) noexcept {
  if (is_alive()) {
    simulation_.state_->run_in_background(self_, task);
  }
}

QUORLITE_DECL clock_reading test_raft::now() noexcept {
  constexpr std::uint64_t began_us = 1'577'836'800'000'000;  // 2020-01-01T00:00Z
  const std::uint64_t passed_us = simulation_.now_us();
  return {.steady_us = passed_us, .utc_us = began_us + passed_us};
}

QUORLITE_DECL bool test_raft::is_alive() const noexcept {
  return simulation_.state_->is_alive(self_, boot_);
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
