/// @file
/// Bodies of simulation: its servers and wires, how leaders are deposed, and what nodes ask for.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/testing/detail/raft/network.hpp"
#include "quorlite/testing/detail/raft/node.hpp"
#include "quorlite/testing/detail/raft/simulation.ipp"
#include "quorlite/testing/test_raft.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

// ---- servers

QUORLITE_DECL std::vector<server_id> simulation::servers() const {
  std::vector<server_id> all;
  for (const detail::raft_node& each : state_->nodes) {
    all.push_back(each.id());
  }
  return all;
}

QUORLITE_DECL std::optional<server_id> simulation::leader() const noexcept {
  const detail::raft_node* best = nullptr;
  for (const detail::raft_node& each : state_->nodes) {
    if (each.announced() && (best == nullptr || each.term() > best->term())) {
      best = &each;
    }
  }
  return best == nullptr ? std::nullopt : std::optional{best->id()};
}

QUORLITE_DECL bool simulation::running(server_id id) const noexcept { return node(id).running(); }

QUORLITE_DECL const detail::raft_node& simulation::node(server_id id) const noexcept {
  return state_->node(id);
}

QUORLITE_DECL detail::server_disk& simulation::disk_to_prepare(server_id id) {
  QUORLITE_ASSERT(!running(id));
  return state_->node(id).disk_to_prepare();
}

QUORLITE_DECL result<std::uint64_t> simulation::state::begin_boot(server_id id,
                                                                  state_machine& machine) {
  QUORLITE_ASSERT(!node(id).running());
  const std::uint64_t boot = ++boots_begun;
  boot_of(id).boot = boot;
  boot_of(id).paused_until_us = 0;
  boot_of(id).log_hangs_until_us = 0;
  if (const std::error_code error = node(id).start(machine)) {
    boot_of(id).boot = 0;
    return fail(error);
  }
  return boot;
}

/// Nobody who waited there may wait on: their stacks must come free.
QUORLITE_DECL void simulation::state::end_boot(server_id id) {
  detail::server_boot& ending = boot_of(id);
  const std::uint64_t boot = std::exchange(ending.boot, 0);
  ending.tasks.clear();
  clients.release(boot);
}

QUORLITE_DECL void simulation::state::run_tasks(server_id id) {
  detail::server_boot& boot = boot_of(id);
  while (!boot.tasks.empty()) {
    background_task* const task = boot.tasks.front();
    boot.tasks.pop_front();
    task->run();
  }
}

QUORLITE_DECL void simulation::state::crash(server_id id) {
  if (node(id).running()) {
    node(id).crash();
    end_boot(id);
  }
}

QUORLITE_DECL void simulation::crash(server_id id) { state_->crash(id); }

QUORLITE_DECL void simulation::restart(server_id id) {
  QUORLITE_ASSERT(!running(id) && static_cast<bool>(state_->on_restart));
  state_->on_restart(id);
}

QUORLITE_DECL void simulation::on_restart(detail::unique_function<void(server_id)> hook) {
  state_->on_restart = std::move(hook);
}

QUORLITE_DECL void simulation::stop(server_id id) {
  if (running(id)) {
    state_->run_tasks(id);
  }
  if (running(id)) {  // a task may crash it
    state_->node(id).stop();
    state_->end_boot(id);
  }
}

QUORLITE_DECL void simulation::pause(server_id id, milliseconds span) {
  std::uint64_t& until_us = state_->boot_of(id).paused_until_us;
  until_us = std::max(until_us, state_->now + span.value * 1000);
  state_->hash.add(state_->now, 0x9A05E, id.value, until_us);
}

QUORLITE_DECL std::uint64_t simulation::paused_until_us(server_id id) const noexcept {
  return state_->boot_of(id).paused_until_us;
}

QUORLITE_DECL void simulation::hang_log(server_id id, milliseconds span) {
  std::uint64_t& until_us = state_->boot_of(id).log_hangs_until_us;
  until_us = std::max(until_us, state_->now + span.value * 1000);
  state_->hash.add(state_->now, 0x4A4C0, id.value, until_us);
}

QUORLITE_DECL void simulation::transfer(server_id to) {
  if (const std::optional<server_id> from = leader()) {
    state_->node(*from).transfer_leadership(to);
  }
}

QUORLITE_DECL void simulation::state::run_in_background(server_id id, background_task& task) {
  detail::server_boot& boot = boot_of(id);
  boot.tasks.push_back(&task);
  queue.post(
      now + background_random.between(1, std::max<std::uint64_t>(1, options.background_max_us)),
      detail::task_start{.server = id, .boot = boot.boot});
}

// ---- histories

QUORLITE_DECL std::vector<refused_server> simulation::refused_by(server_id id) const {
  std::vector<refused_server> all;
  for (const detail::refused_peer& each : node(id).admission().refused()) {
    all.push_back({.server = each.peer, .at = each.why.at, .compared = each.why.compared});
  }
  return all;
}

QUORLITE_DECL void simulation::readmit(server_id id, server_id refused) {
  state_->node(id).readmit(refused);
  state_->hash.add(state_->now, 0x4EAD, id.value, refused.value);
}

// ---- disks that are not what they were

QUORLITE_DECL server_id simulation::add_machine() {
  const server_id id{state_->nodes.size() + 1};
  state_->nodes.emplace_back(
      id, state_->options, static_cast<detail::node_environment&>(*state_),
      detail::random_for(state_->options.seed, detail::randomness::server, id.value));
  state_->lives.emplace_back();
  state_->network.add_server(state_->options.network);
  state_->hash.add(state_->now, 0xADD1, id.value);
  return id;
}

QUORLITE_DECL void simulation::disregard(server_id id, bool is_so) {
  state_->checker.disregard(id, is_so);
}

// ---- members

/// Of several leaders the one of the highest term; the others commit nothing any more.
QUORLITE_DECL change_result simulation::state::change(detail::configuration_change step) {
  QUORLITE_ASSERT(place(step.server) < nodes.size());
  detail::raft_node* leader = nullptr;
  for (detail::raft_node& each : nodes) {
    const bool leads = each.role() == detail::raft_role::leader;
    leader = leads && (leader == nullptr || each.term() > leader->term()) ? &each : leader;
  }
  const change_result said =
      leader == nullptr ? change_result::not_leader : leader->change_configuration(step);
  hash.add(now, 0xC0F16, static_cast<std::uint64_t>(step.kind), step.server.value,
           static_cast<std::uint64_t>(said));
  return said;
}

QUORLITE_DECL change_result simulation::add_server(server_id id) {
  return state_->change({detail::change_kind::add, id});
}
QUORLITE_DECL change_result simulation::promote(server_id id) {
  return state_->change({detail::change_kind::promote, id});
}
QUORLITE_DECL change_result simulation::demote(server_id id) {
  return state_->change({detail::change_kind::demote, id});
}
QUORLITE_DECL change_result simulation::remove_server(server_id id) {
  return state_->change({detail::change_kind::remove, id});
}

QUORLITE_DECL const configuration& simulation::members() const noexcept {
  return state_->checker.members();
}

// ---- lost leaderships

QUORLITE_DECL void simulation::depose_leader_when(commit_phase phase, std::uint64_t ordinal,
                                                  leadership_loss way) {
  QUORLITE_ASSERT(ordinal > 0);
  state_->armed.push_back({.what = phase, .ordinal = ordinal, .way = way});
}

QUORLITE_DECL void simulation::depose_nobody() noexcept { state_->armed.clear(); }

QUORLITE_DECL const std::vector<deposed_leader>& simulation::leadership_losses() const noexcept {
  return state_->deposed;
}

QUORLITE_DECL bool simulation::state::is_armed(commit_phase what,
                                               std::uint64_t ordinal) const noexcept {
  return std::any_of(armed.begin(), armed.end(), [&](const detail::armed_leadership_loss& each) {
    return each.what == what && each.ordinal == ordinal;
  });
}

QUORLITE_DECL leadership_loss simulation::state::depose(server_id whom, commit_phase what,
                                                        std::uint64_t ordinal, log_index at) {
  const auto found =
      std::find_if(armed.begin(), armed.end(), [&](const detail::armed_leadership_loss& each) {
        return each.what == what && each.ordinal == ordinal;
      });
  QUORLITE_ASSERT(found != armed.end());
  // Who is a quorum by itself would lead on for ever, and commit nothing.
  const bool is_alone = node(whom).disk().log.configured().members.quorum() == 1;
  const leadership_loss way =
      found->way == leadership_loss::isolate && is_alone ? leadership_loss::step_down : found->way;
  armed.erase(found);
  deposed.push_back({.server = whom, .term = node(whom).term(), .command = at});
  hash.add(now, 0xDE90, whom.value, at.value, static_cast<std::uint64_t>(way));
  if (reader) {
    trace_event("leadership_loss of, at entry", whom.value, at.value, 0);
  }
  if (way == leadership_loss::crash) {
    crash(whom);
  } else if (way == leadership_loss::isolate) {
    network.isolate(whom);
  }
  return way;
}

// ---- wires and evidence

QUORLITE_DECL void simulation::partition(std::vector<server_id> one_side,
                                         std::vector<server_id> other_side) {
  state_->network.partition({std::move(one_side), std::move(other_side)});
}

QUORLITE_DECL void simulation::isolate(server_id id) { state_->network.isolate(id); }
QUORLITE_DECL void simulation::heal() { state_->network.heal(); }
QUORLITE_DECL detail::simulated_network& simulation::network() noexcept { return state_->network; }

QUORLITE_DECL std::uint64_t simulation::event_hash() const noexcept { return state_->hash.value(); }
QUORLITE_DECL std::uint64_t simulation::events() const noexcept { return state_->events; }
QUORLITE_DECL const std::optional<std::string>& simulation::violation() const noexcept {
  return state_->checker.violation();
}
QUORLITE_DECL void simulation::trace(detail::unique_function<void(std::string_view)> reader) {
  state_->reader = std::move(reader);
}

// ---- what nodes ask for

QUORLITE_DECL void simulation::state::send(detail::message what) {
  const std::uint64_t leaves_us = std::max(now, boot_of(what.from).paused_until_us);
  const detail::simulated_network::arrivals arrivals = network.send(what.from, what.to, leaves_us);
  if (arrivals.count == 2) {
    queue.post(arrivals.at_us[1], what);
  }
  if (arrivals.count > 0) {
    queue.post(arrivals.at_us[0], std::move(what));
  }
}

QUORLITE_DECL void simulation::state::wake_at(server_id whom, detail::wake_kind kind,
                                              std::uint64_t at_us, std::uint64_t stamp) {
  queue.post(at_us, detail::node_wake{.server = whom, .kind = kind, .stamp = stamp});
}

QUORLITE_DECL void simulation::state::trace_line(server_id whom, const char* text) {
  char line[240];
  const int length = std::snprintf(line, sizeof line, "%10.3f ms  server %llu %s",
                                   static_cast<double>(now) / 1000.0,
                                   static_cast<unsigned long long>(whom.value), text);
  reader(std::string_view(line, std::min(static_cast<std::size_t>(length), sizeof line - 1)));
}

QUORLITE_DECL void simulation::state::trace_event(const char* what, std::uint64_t first,
                                                  std::uint64_t second, std::uint64_t third) const {
  char line[240];
  const int length = std::snprintf(
      line, sizeof line, "%10.3f ms  %s %llu %llu %llu", static_cast<double>(now) / 1000.0, what,
      static_cast<unsigned long long>(first), static_cast<unsigned long long>(second),
      static_cast<unsigned long long>(third));
  reader(std::string_view(line, std::min(static_cast<std::size_t>(length), sizeof line - 1)));
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
