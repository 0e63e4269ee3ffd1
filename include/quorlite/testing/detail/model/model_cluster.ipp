/// @file
/// Bodies of model_cluster.hpp and of its adapter.
#pragma once

#include "quorlite/testing/detail/model/model_cluster.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/adapter_kit.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/model/model_server.hpp"
#include "quorlite/testing/detail/simulation/random.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL model_cluster::model_cluster(std::size_t servers, bool threaded)
    : threaded_(threaded), servers_(servers) {
  for (std::size_t i = 0; i < servers; ++i) {
    nodes_.emplace_back(*this, i);
  }
}

// ---- the adapter of a server

QUORLITE_DECL std::error_code model_consensus::start(state_machine& machine) noexcept {
  const std::lock_guard guard(cluster_.mutex_);
  cluster_.start(server_, machine);
  return {};
}

QUORLITE_DECL void model_consensus::stop() noexcept {
  const std::lock_guard guard(cluster_.mutex_);
  cluster_.stop(server_);
}

QUORLITE_DECL void model_consensus::propose(term expected, proposal_token token,
                                            bytes_view entry) noexcept {
  const std::lock_guard guard(cluster_.mutex_);
  cluster_.propose(server_, expected, token, entry);
}

QUORLITE_DECL bool model_consensus::wait(signal_type& signal, milliseconds limit) noexcept {
  return cluster_.wait(signal, limit);
}

QUORLITE_DECL void model_consensus::read_barrier(proposal_token token) noexcept {
  const std::lock_guard guard(cluster_.mutex_);
  cluster_.ask_barrier(server_, token);
}

QUORLITE_DECL void model_consensus::transfer_leadership() noexcept {
  const std::lock_guard guard(cluster_.mutex_);
  cluster_.transfer(server_);
}

QUORLITE_DECL void model_consensus::run(background_task& task) noexcept {
  const std::lock_guard guard(cluster_.mutex_);
  cluster_.accept(server_, task);
}

QUORLITE_DECL clock_reading model_consensus::now() noexcept { return cluster_.now(server_); }

QUORLITE_DECL std::uint64_t model_consensus::random() noexcept { return cluster_.random(server_); }

// ---- from start to stop

QUORLITE_DECL void model_cluster::start(std::size_t server, state_machine& machine) {
  nodes_[server].withdrawn_ = false;
  servers_[server].boot = std::make_unique<model_boot>(machine);
  model_boot& boot = *servers_[server].boot;
  boot.pending.open(machine);
  boot.strand.open(machine, "server " + std::to_string(server));
  boot.worker.open();
  boot.applied = machine.durable().index.value;  // what follows is replayed
}

/// Tasks first: they may still ask for something. Then the loss, then the answers.
QUORLITE_DECL void model_cluster::stop(std::size_t server) {
  if (model_boot* const boot = servers_[server].boot.get()) {
    boot->worker.close();
    boot->worker.serve();
    end(*boot);
    servers_[server].ended = std::move(servers_[server].boot);
    forget(server);
  }
}

QUORLITE_DECL void model_cluster::end(model_boot& boot) {
  boot.strand.close();
  boot.pending.close();
}

// ---- what adapters ask

QUORLITE_DECL void model_cluster::propose(std::size_t server, term expected, proposal_token token,
                                          bytes_view payload) {
  model_server& self = servers_[server];
  model_boot& boot = self.latest();
  if (!boot.pending.add(token)) {
    return;  // stopped
  }
  const auto refuse = [&](settle_reason why) {
    boot.pending.settle(token, outcome::not_applied, why);
  };
  if (payload.size() > nodes_[server].max_entry_bytes()) {
    return refuse(settle_reason::too_large);
  }
  if (nodes_[server].has_withdrawn()) {
    return refuse(settle_reason::not_leader);
  }
  if (const settle_reason why = boot.strand.refusal(expected); why != settle_reason::none) {
    return refuse(why);
  }
  if (std::exchange(self.log_fails, false)) {
    return refuse(settle_reason::log_failed);
  }
  model_entry entry{expected, false, {payload.begin(), payload.end()}, token, server};
  if (self.isolated || !leads(server)) {
    boot.strays.emplace(token.value, std::move(entry));
  } else {
    append(server, std::move(entry));
  }
}

QUORLITE_DECL void model_cluster::ask_barrier(std::size_t server, proposal_token token) {
  model_boot& boot = servers_[server].latest();
  if (!boot.pending.add(token)) {
    return;
  }
  if (boot.strand.announced().value == 0 || nodes_[server].has_withdrawn()) {
    boot.pending.settle(token, outcome::not_applied, settle_reason::not_leader);
  } else {
    boot.barriers.push_back({token, commit_});
  }
}

QUORLITE_DECL void model_cluster::transfer(std::size_t server) {
  if (reachable(server) && leads(server)) {
    elect_longest(server);
  }
}

QUORLITE_DECL void model_cluster::accept(std::size_t server, background_task& task) {
  servers_[server].latest().worker.put(task);
}

QUORLITE_DECL bool model_cluster::wait(thread_signal& signal, milliseconds limit) {
  if (threaded_) {
    return signal.wait(limit);
  }
  for (std::uint64_t passed = 0; !signal.wait(milliseconds{0}); ++passed) {
    if (passed >= limit.value) {
      return false;
    }
    if (!step()) {
      outside_.passed_ms +=
          limit.value - passed;  // nothing will happen any more: it is over at once
      return false;
    }
  }
  return true;
}

QUORLITE_DECL clock_reading model_cluster::now(std::size_t) {
  constexpr std::uint64_t began_us = 1'577'836'800'000'000;  // 2020-01-01T00:00Z
  const auto us_of = [](auto moment) {
    const auto since = moment.time_since_epoch();
    return static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(since).count());
  };
  if (threaded_) {
    return {.steady_us = us_of(std::chrono::steady_clock::now()),
            .utc_us = us_of(std::chrono::system_clock::now())};
  }
  const std::uint64_t passed_us = outside_.passed_ms * 1000;
  return {.steady_us = passed_us, .utc_us = began_us + passed_us};
}

QUORLITE_DECL std::uint64_t model_cluster::random(std::size_t) {
  return mix_bits(++outside_.draws);
}

// ---- what may happen to servers

QUORLITE_DECL void model_cluster::isolate(std::size_t server) {
  const std::lock_guard guard(mutex_);
  servers_[server].isolated = true;
  drop_transfer(server);
}

QUORLITE_DECL void model_cluster::heal() {
  const std::lock_guard guard(mutex_);
  for (std::size_t i = 0; i < servers_.size(); ++i) {
    servers_[i].isolated = false;
    if (leads(i)) {  // still in leadership: what waited for the quorum goes into the log
      for (auto& [token, entry] : std::exchange(servers_[i].boot->strays, {})) {
        append(i, std::move(entry));
      }
    }
  }
}

QUORLITE_DECL void model_cluster::crash(std::size_t server) {
  const std::lock_guard guard(mutex_);
  forget(server);
}

QUORLITE_DECL void model_cluster::forget(std::size_t server) {
  if (leader_ == server) {
    leader_.reset();  // leadership does not outlive its process
  }
  servers_[server].boot.reset();
}

QUORLITE_DECL void model_cluster::compact(std::size_t server) {
  const std::lock_guard guard(mutex_);
  model_server& self = servers_[server];
  self.compacted = std::max(self.compacted, std::min(compactable(self), self.held));
}

/// What lies above is needed for the replay after a restart.
QUORLITE_DECL std::uint64_t model_cluster::compactable(const model_server& server) const {
  return server.boot->machine.durable().index.value;
}

QUORLITE_DECL void model_cluster::fail_log_write(std::size_t server) {
  const std::lock_guard guard(mutex_);
  servers_[server].log_fails = true;
}

// ---- the events

QUORLITE_DECL bool model_cluster::step() {
  const std::lock_guard guard(mutex_);
  const bool happened = advance();
  outside_.passed_ms += happened ? 1 : 0;
  return happened;
}

QUORLITE_DECL bool model_cluster::advance() {
  return elect_if_needed() || spread_news() || replicate() || apply_next() || settle_a_barrier() ||
         run_a_task();
}

QUORLITE_DECL bool model_cluster::reachable(std::size_t server) const {
  const model_server& self = servers_[server];
  return self.boot != nullptr && !self.isolated && !self.boot->strand.halted() &&
         !nodes_[server].has_withdrawn();
}

/// True if a majority of all servers is reachable.
QUORLITE_DECL bool model_cluster::has_quorum() const {
  std::size_t count = 0;
  for (std::size_t i = 0; i < servers_.size(); ++i) {
    count += reachable(i) ? 1U : 0U;
  }
  return count > servers_.size() / 2;
}

QUORLITE_DECL bool model_cluster::leads(std::size_t server) const {
  return leader_ == server && servers_[server].boot != nullptr &&
         servers_[server].boot->strand.announced() == term_;
}

// ---- elections

/// Who withdrew is gone for the others at once; here it tells the loss. They elect the next.
QUORLITE_DECL bool model_cluster::elect_if_needed() {
  for (std::size_t i = 0; i < servers_.size(); ++i) {
    model_boot* const boot = servers_[i].boot.get();
    if (boot != nullptr && nodes_[i].has_withdrawn() && !std::exchange(boot->has_left, true)) {
      leave(i);
      return true;
    }
  }
  return !(leader_ && reachable(*leader_)) && elect_longest({});
}

QUORLITE_DECL void model_cluster::leave(std::size_t server) {
  servers_[server].boot->strand.withdraw();
  lose(server, settle_reason::leadership_lost);
}

QUORLITE_DECL bool model_cluster::elect_longest(std::optional<std::size_t> but) {
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < servers_.size(); ++i) {
    const bool may_lead = reachable(i) && servers_[i].reaches_its_log() && i != but;
    if (may_lead && (!best || servers_[i].held > servers_[*best].held)) {
      best = i;
    }
  }
  if (!best || !has_quorum() || servers_[*best].held < commit_) {
    return false;
  }
  elect(*best);
  return true;
}

/// What the winner does not hold is lost. It begins its term with an entry of its own; once that is
/// applied there, so is everything older, and the gain is announced.
QUORLITE_DECL void model_cluster::elect(std::size_t winner) {
  log_.resize(static_cast<std::size_t>(servers_[winner].held));
  for (std::size_t i = 0; i < servers_.size(); ++i) {
    servers_[i].held = std::min<std::uint64_t>(servers_[i].held, log_.size());
    drop_transfer(i);
  }
  term_ = term_.next();
  leader_ = winner;
  log_.push_back({term_, true, {}, {}, winner});
  servers_[winner].held = log_.size();
}

/// Whoever is in reach and has not heard of the latest election does.
QUORLITE_DECL bool model_cluster::spread_news() {
  for (std::size_t i = 0; i < servers_.size(); ++i) {
    if (!leader_ || !reachable(i) || servers_[i].boot->heard == term_) {
      continue;
    }
    model_boot& boot = *servers_[i].boot;
    boot.heard = term_;
    if (leader_ == i) {
      boot.strand.elected(term_);
    } else {
      boot.strand.follows(term_, "server " + std::to_string(*leader_));
    }
    lose(i, settle_reason::leadership_lost);
    return true;
  }
  return false;
}

/// Of an older leadership.
QUORLITE_DECL void model_cluster::lose(std::size_t server, settle_reason why) {
  model_boot& boot = *servers_[server].boot;
  boot.strays.clear();
  boot.barriers.clear();
  boot.pending.lose(why);
}

// ---- entries

QUORLITE_DECL void model_cluster::append(std::size_t server, model_entry entry) {
  entry.term = term_;
  log_.push_back(std::move(entry));
  servers_[server].held = log_.size();
}

/// One entry, or one chunk of a snapshot, to one server.
QUORLITE_DECL bool model_cluster::replicate() {
  if (!leader_ || !reachable(*leader_)) {
    return false;
  }
  model_server& source = servers_[*leader_];
  for (std::size_t i = 0; i < servers_.size(); ++i) {
    if (i == *leader_ || !receives(i)) {
      continue;
    }
    model_server& target = servers_[i];
    if (target.held < source.compacted || !target.reaches_its_log()) {
      send_chunk(source, i);
      return true;
    }
    if (target.held < source.held) {
      ++target.held;
      return true;
    }
  }
  note_committed();
  return false;
}

QUORLITE_DECL void model_cluster::note_committed() {
  std::vector<std::uint64_t> held;
  for (std::size_t i = 0; i < servers_.size(); ++i) {
    held.push_back(reachable(i) ? servers_[i].held : 0);
  }
  std::sort(held.rbegin(), held.rend());
  commit_ = std::max(commit_, held[servers_.size() / 2]);
  for (std::size_t i = 0; i < servers_.size(); ++i) {
    if (reachable(i)) {
      std::uint64_t& known = servers_[i].boot->committed;
      known = std::max(known, std::min(commit_, servers_[i].held));
    }
  }
}

/// The leader first: followers lag behind it, as they do in life.
QUORLITE_DECL bool model_cluster::apply_next() {
  if (leader_ && apply_one(*leader_)) {
    return true;
  }
  for (std::size_t i = 0; i < servers_.size(); ++i) {
    if (apply_one(i)) {
      return true;
    }
  }
  return false;
}

QUORLITE_DECL bool model_cluster::may_apply(std::size_t server) const {
  const model_server& self = servers_[server];
  return self.boot != nullptr && !self.boot->strand.halted() && self.boot->stage == nullptr &&
         self.reaches_its_log() && self.boot->applied < std::min(self.boot->committed, self.held);
}

QUORLITE_DECL bool model_cluster::apply_one(std::size_t server) {
  if (!may_apply(server)) {
    return false;
  }
  model_boot& boot = *servers_[server].boot;
  const std::uint64_t index = ++boot.applied;
  const model_entry& entry = log_[static_cast<std::size_t>(index - 1)];
  if (deliver(server, {log_index{index}, entry.term}, entry) == apply_result::halted) {
    lose(server, settle_reason::leadership_lost);
  } else if (entry.proposer == server && !entry.no_op) {
    settle_applied(boot, entry);
  }
  return true;
}

QUORLITE_DECL apply_result model_cluster::deliver(std::size_t server, log_position at,
                                                  const model_entry& entry) {
  gated_strand& strand = servers_[server].boot->strand;
  return entry.no_op ? strand.skip(at) : strand.apply({at, entry.payload});
}

/// Nothing happens if it was proposed before a crash: nobody waits any more.
QUORLITE_DECL void model_cluster::settle_applied(model_boot& boot, const model_entry& entry) {
  boot.pending.settle(entry.token, outcome::committed);
}

// ---- snapshots

QUORLITE_DECL void model_cluster::drop_transfer(std::size_t server) {
  if (model_boot* const boot = servers_[server].boot.get()) {
    boot->reader.reset();
    boot->stage.reset();
    boot->sent_bytes = 0;
  }
}

QUORLITE_DECL void model_cluster::send_chunk(model_server& source, std::size_t target) {
  model_boot& boot = *servers_[target].boot;
  if (boot.stage == nullptr) {
    auto reader = source.boot->strand.take_snapshot();
    auto stage = boot.machine.begin_restore();
    if (!reader || !stage) {
      return;  // the next step tries again
    }
    boot.reader = std::move(*reader);
    boot.stage = std::move(*stage);
  }
  const std::uint64_t left = boot.reader->size_bytes() - boot.sent_bytes;
  bytes chunk(static_cast<std::size_t>(std::min<std::uint64_t>(left, 512)));
  if (boot.reader->read(boot.sent_bytes, chunk) || boot.stage->append(chunk)) {
    return drop_transfer(target);  // and from the beginning
  }
  boot.sent_bytes += chunk.size();
  if (boot.sent_bytes < boot.reader->size_bytes()) {
    return;
  }
  if (!boot.stage->finish()) {
    install(target);
  }
  drop_transfer(target);
}

/// It keeps no snapshot: after a restart below its log it asks for another.
QUORLITE_DECL void model_cluster::install(std::size_t server) {
  model_server& target = servers_[server];
  model_boot& boot = *target.boot;
  const log_position at = boot.reader->at();
  if (boot.strand.install(std::move(boot.stage), at) != apply_result::halted) {
    target.held = std::max(target.held, at.index.value);
    target.compacted = at.index.value;
    boot.applied = at.index.value;
    boot.committed = std::max(boot.committed, at.index.value);
  }
}

// ---- barriers and tasks

/// Leadership is still held, for a majority is in reach, and what was committed when the barrier
/// was asked is applied.
QUORLITE_DECL bool model_cluster::settle_a_barrier() {
  for (std::size_t i = 0; i < servers_.size(); ++i) {
    if (!reachable(i) || !leads(i) || servers_[i].boot->barriers.empty()) {
      continue;
    }
    model_boot& boot = *servers_[i].boot;
    if (has_quorum() && boot.applied >= boot.barriers.front().target) {
      const proposal_token token = boot.barriers.front().token;
      boot.barriers.erase(boot.barriers.begin());
      boot.pending.settle(token, outcome::committed);
      return true;
    }
  }
  return false;
}

QUORLITE_DECL bool model_cluster::run_a_task() {
  for (const model_server& server : servers_) {
    if (server.boot != nullptr && server.boot->worker.run_one()) {
      return true;
    }
  }
  return false;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
