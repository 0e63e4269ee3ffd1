/// @file
/// Bodies of raft_node: a server comes, speaks and goes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/testing/detail/raft/node.hpp"
#include "quorlite/testing/detail/raft/start_check.hpp"
#include "quorlite/testing/test_raft.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL node_state::node_state(server_id self, const simulation_options& options,
                                     node_environment& environment, random source)
    : self_(self),
      options_(options.raft),
      compaction_(options.compaction),
      disk_options_(options.disk),
      environment_(environment),
      random_(source) {
  disk_.log = raft_log{configuration::of_voters(options.replicas)};
  disk_.note.owner = self;
  disk_.note.seal = seal_of(self);
}

QUORLITE_DECL void node_state::forget_everything() {
  machine_ = nullptr;
  role_ = raft_role::follower;
  leader_ = {};
  commit_ = {};
  applied_ = {};
  verified_ = {};
  votes_.clear();
  election_at_us_ = election_timeout_us_ = leader_heard_us_ = timer_armed_us_ = 0;
  timer_stamp_ = outbox_stamp_ = snapshot_stamp_ = withdrawal_stamp_ = 0;
  waiting_ = {};
  withdrawn_ = false;
  syncing_ = {};
  leading_ = leader_state{};
  taking_.reset();
  incoming_.reset();
  admission_ = {};
}

QUORLITE_DECL void node_state::send(server_id to, quorlite::term term,
                                    decltype(message::body) body) {
  environment_.send({.from = self_, .to = to, .term = term, .body = std::move(body)});
}

QUORLITE_DECL void node_state::trace(const char* what, std::uint64_t first, std::uint64_t second) {
  if (environment_.is_traced()) {
    char line[160];
    std::snprintf(line, sizeof line, "term %llu: %s %llu %llu",
                  static_cast<unsigned long long>(disk_.term.value), what,
                  static_cast<unsigned long long>(first), static_cast<unsigned long long>(second));
    environment_.trace_line(self_, line);
  }
}

QUORLITE_DECL std::error_code raft_node::start(state_machine& machine) {
  QUORLITE_ASSERT(!running());
  forget_everything();
  if (const std::error_code error = check_start(disk_, self_, machine, options_.checks)) {
    trace("does not start on its folder");
    return error;
  }
  machine_ = &machine;
  disk_.note_begin(machine);
  const log_index stored = disk_.snapshot == nullptr ? log_index{} : disk_.snapshot->at.index;
  if (stored > machine.durable().index) {
    if (const std::error_code error = restore_own_snapshot()) {
      machine_ = nullptr;
      return error;
    }
    applied_ = stored;
  } else {
    // Replay begins right after what the machine kept. A machine that kept more than this log has
    // entries for answers `already` when they come again.
    applied_ = std::min(machine.durable().index, disk_.log.last_index());
  }
  commit_ = applied_;
  trace("starts, applied, last", applied_.value, disk_.log.last_index().value);
  restart_election_clock(true);
  return {};
}

QUORLITE_DECL void raft_node::stop() {
  QUORLITE_ASSERT(running());
  trace("stops");
  for (const auto& each : std::exchange(waiting_, {}).oldest_first) {
    settle(each.token, outcome::not_applied, settle_reason::stopped);
  }
  if (leads()) {
    // Not "leadership lost": the callers should know that asking this server again is of no use.
    leader_state gone = std::exchange(leading_, leader_state{});
    role_ = raft_role::follower;
    for (const leader_state::proposal& each : gone.proposals) {
      settle(each.token, outcome::unknown, settle_reason::stopped);
    }
    for (const leader_state::barrier& each : gone.barriers) {
      settle(each.token, outcome::not_applied, settle_reason::stopped);
    }
    if (gone.announced) {
      machine_->leadership_changed({.term = disk_.term, .leading = false, .leader_hint = {}});
    }
  }
  disk_.log.mark_synced(disk_.log.last_index());
  disk_.note_end(environment_.now_us());
  forget_everything();
}

QUORLITE_DECL void raft_node::crash() {
  QUORLITE_ASSERT(running());
  trace("crashes, synced, last", disk_.log.synced_index().value, disk_.log.last_index().value);
  disk_.log.lose_unsynced(random_);
  disk_.note_vote();
  forget_everything();
}

QUORLITE_DECL void raft_node::withdraw() {
  if (running() && !std::exchange(withdrawn_, true)) {
    withdrawal_stamp_ = ++stamps_;
    const std::uint64_t most_us = leads() ? options_.withdrawal_max.value * 1000 : 0;
    const std::uint64_t takes_us = most_us == 0 ? 0 : random_.between(0, most_us);
    environment_.wake_at(self_, wake_kind::withdrawal, environment_.now_us() + takes_us,
                         withdrawal_stamp_);
  }
}

/// The machine said so by a call. A leader tells the loss and leads on, without a machine, until a
/// successor has won or the transfer has taken its time.
QUORLITE_DECL void raft_node::leave() {
  trace("withdraws, applied", applied_.value);
  if (leads()) {
    if (std::exchange(leading_.announced, false)) {
      machine_->leadership_changed({.term = disk_.term, .leading = false, .leader_hint = {}});
    }
    transfer_leadership(server_id{});
  }
  if (!leads() || !leading_.transfer) {
    retire();
  } else {
    arm_timer();
  }
}

/// Everybody is answered, and the server is silent from here on, as if it had been stopped. At once
/// where the machine answered `halted`: that entry is sent to nobody any more.
QUORLITE_DECL void raft_node::retire() {
  trace("retires, applied", applied_.value);
  stop();
  environment_.retired(self_);
}

QUORLITE_DECL void raft_node::receive(const message& what) {
  if (!running() || (withdrawn_ && !leads())) {
    return;
  }
  const std::size_t refused = admission_.refused().size();
  if (!admission_.admits(what, disk_, *machine_)) {
    if (admission_.refused().size() > refused) {
      trace("refuses for its history, from", what.from.value);
    }
    return;
  }
  const auto* const ask = std::get_if<vote_request>(&what.body);
  const auto* const consent = std::get_if<vote_reply>(&what.body);
  const bool is_only_a_question = (ask != nullptr && ask->pre_vote) ||
                                  (consent != nullptr && consent->pre_vote && consent->granted);
  if (ask != nullptr && !is_only_a_question && !ask->handed_over &&
      !configured().members.has_voter(what.from) && hears_leader()) {
    return;  // thesis, 4.2.3: who was removed and was not told must not disturb those who stay
  }
  if (what.term > disk_.term && !is_only_a_question) {
    rest_as_follower(what.term, server_id{});  // paper, 5.1: a newer term ends every role
    if (withdrawn_) {
      return retire();  // the successor has begun
    }
  } else if (what.term < disk_.term) {
    if (auto answer = refusal_of_old_term(what)) {
      send(what.from, disk_.term, *std::move(answer));
    }
    return;
  }
  if (running()) {
    std::visit([&](const auto& body) { on_message(what, body); }, what.body);
  }
}

QUORLITE_DECL void raft_node::wake(wake_kind kind, std::uint64_t stamp) {
  if (!running() || (withdrawn_ && !leads() && kind != wake_kind::withdrawal)) {
    return;
  }
  switch (kind) {
    case wake_kind::timer:
      if (stamp == timer_stamp_) {
        timer_armed_us_ = 0;
        on_timer();
      }
      break;
    case wake_kind::outbox:
      if (stamp == outbox_stamp_) {
        outbox_stamp_ = 0;
        on_outbox();
      }
      break;
    case wake_kind::disk:
      if (stamp == syncing_.stamp) {
        syncing_.stamp = 0;
        on_synced();
      }
      break;
    case wake_kind::snapshot:
      if (stamp == snapshot_stamp_) {
        on_snapshot_part();
      }
      break;
    case wake_kind::proposals:
      if (stamp == waiting_.stamp) {
        waiting_.stamp = 0;
        while (!waiting_.oldest_first.empty()) {  // a crash on the way has forgotten the rest
          const auto next = std::move(waiting_.oldest_first.front());
          waiting_.oldest_first.pop_front();
          look_at(next.expected, next.token, next.entry);
        }
      }
      break;
    case wake_kind::withdrawal:
      if (stamp == withdrawal_stamp_) {
        leave();
      }
      break;
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
