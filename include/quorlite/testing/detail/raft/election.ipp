/// @file
/// Bodies of raft_node: who leads (Raft paper, 5.2 and 5.4.1; thesis, 3.10, 6.2 and 9.6).
#pragma once

#include <algorithm>
#include <string>
#include <tuple>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/testing/detail/raft/node.hpp"
#include "quorlite/testing/test_raft.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// @param draw a new timeout too: at every change of role, so that a split vote does not repeat
/// itself
QUORLITE_DECL void raft_node::restart_election_clock(bool draw) {
  if (draw) {
    election_timeout_us_ = random_.between(options_.election_timeout_min.value * 1000,
                                           options_.election_timeout_max.value * 1000);
  }
  election_at_us_ = environment_.now_us() + election_timeout_us_;
  arm_timer();
}

/// One wake-up is on its way at most; one that comes too early is asked for again. So a heartbeat
/// that only moves the deadline costs nothing.
QUORLITE_DECL void raft_node::arm_timer() {
  std::uint64_t due = election_at_us_;
  if (leads()) {
    due = std::min(leading_.heartbeat_at_us, leading_.count_quorum_at_us);
    if (withdrawn_ && leading_.transfer) {
      due = std::min(due, leading_.transfer->give_up_us);  // to the point: it is silent then
    }
  }
  if (timer_armed_us_ == 0 || timer_armed_us_ > due) {
    timer_armed_us_ = std::max(due, environment_.now_us());
    timer_stamp_ = ++stamps_;
    environment_.wake_at(self_, wake_kind::timer, timer_armed_us_, timer_stamp_);
  }
}

QUORLITE_DECL void raft_node::on_timer() {
  const std::uint64_t now = environment_.now_us();
  if (leads()) {
    if (now >= leading_.count_quorum_at_us) {
      count_quorum();
    }
    if (leads() && now >= leading_.heartbeat_at_us) {
      send_heartbeats();
    }
    if (leads() && leading_.transfer && now >= leading_.transfer->give_up_us) {
      trace("gives up the transfer to", leading_.transfer->successor.value);
      leading_.transfer.reset();
      if (withdrawn_) {
        return retire();
      }
    }
  } else if (now >= election_at_us_ && may_campaign()) {
    ask_for_votes(election_kind::pre_vote);
  } else if (now >= election_at_us_) {
    leader_ = {};
    restart_election_clock(false);
  }
  if (running()) {
    disk_.note_end_if_due(environment_.now_us());
    arm_timer();
  }
}

QUORLITE_DECL void raft_node::rest_as_follower(quorlite::term seen, server_id leader) {
  const bool is_new_term = seen > disk_.term;
  const raft_role before = role_;
  role_ = raft_role::follower;
  if (before == raft_role::leader) {
    end_leadership();
  }
  const bool is_news = leader != server_id{} && leader != leader_;
  leader_ = leader;
  if (is_new_term) {
    disk_.term = seen;
    disk_.voted_for = {};
    verified_ = {};
    incoming_.reset();  // another leader's snapshot is cut into other chunks
  }
  if (is_new_term || before != raft_role::follower) {
    restart_election_clock(true);
  }
  if (is_news && running() && !withdrawn_) {
    const std::string hint = std::to_string(leader.value);
    machine_->leadership_changed({.term = disk_.term, .leading = false, .leader_hint = hint});
  }
}

/// A pre-vote asks who would vote, without disturbing anyone (thesis, 9.6); a quorum of consents is
/// followed by the election proper. Asked and counted are the voters of the configuration in force
/// here; whoever is asked answers without looking whether it is one (thesis, 4.2.2).
QUORLITE_DECL void raft_node::ask_for_votes(election_kind kind) {
  const bool pre_vote = kind == election_kind::pre_vote;
  role_ = pre_vote ? raft_role::pre_candidate : raft_role::candidate;
  leader_ = {};
  if (!pre_vote) {
    disk_.term = quorlite::term{disk_.term.value + 1};
    disk_.voted_for = self_;
    environment_.witness(*this, raft_event::votes, disk_.log.last_index());
    verified_ = {};
    incoming_.reset();
  }
  votes_.assign(configured().members.has_voter(self_) ? 1 : 0, self_);
  restart_election_clock(true);
  trace(pre_vote ? "asks who would vote, last" : "campaigns, last", disk_.log.last_index().value);
  if (votes_.size() >= quorum()) {
    pre_vote ? ask_for_votes(election_kind::vote) : become_leader();
    return;
  }
  const quorlite::term asked{disk_.term.value + (pre_vote ? 1 : 0)};
  for (const server_id each : configured().members.voters) {
    if (each != self_) {
      send(each, asked,
           vote_request{.pre_vote = pre_vote,
                        .last = disk_.log.last(),
                        .handed_over = kind == election_kind::handed_over});
    }
  }
}

/// Paper, 5.4.1: whoever misses a committed entry must not win.
[[nodiscard]] inline bool is_as_complete(log_position candidate, log_position mine) noexcept {
  return candidate.term > mine.term ||
         (candidate.term == mine.term && candidate.index >= mine.index);
}

QUORLITE_DECL void raft_node::on_message(const message& envelope, const vote_request& ask) {
  bool granted = is_as_complete(ask.last, disk_.log.last());
  if (ask.pre_vote) {
    granted = granted && envelope.term > disk_.term && !hears_leader();
  } else {
    granted = granted && (disk_.voted_for == server_id{} || disk_.voted_for == envelope.from);
    if (granted) {
      disk_.voted_for = envelope.from;
      environment_.witness(*this, raft_event::votes, disk_.log.last_index());
      restart_election_clock(false);
    }
  }
  const quorlite::term answer_term = ask.pre_vote && granted ? envelope.term : disk_.term;
  send(envelope.from, answer_term, vote_reply{.pre_vote = ask.pre_vote, .granted = granted});
}

QUORLITE_DECL void raft_node::on_message(const message& envelope, const vote_reply& reply) {
  const raft_role wanted = reply.pre_vote ? raft_role::pre_candidate : raft_role::candidate;
  const quorlite::term asked{disk_.term.value + (reply.pre_vote ? 1 : 0)};
  const bool counted = std::find(votes_.begin(), votes_.end(), envelope.from) != votes_.end();
  if (!reply.granted || role_ != wanted || envelope.term != asked || counted) {
    return;
  }
  votes_.push_back(envelope.from);
  if (votes_.size() >= quorum()) {
    reply.pre_vote ? ask_for_votes(election_kind::vote) : become_leader();
  }
}

QUORLITE_DECL void raft_node::on_message(const message& envelope, const timeout_now& /*ask*/) {
  if (role_ != raft_role::leader && envelope.term == disk_.term && may_campaign()) {
    ask_for_votes(election_kind::handed_over);  // the leader wants it: nobody need be asked first
  }
}

/// An append or a chunk of this term came: its sender is the term's only leader. That there is
/// another one, if this server leads, was seen at the election.
QUORLITE_DECL void raft_node::hear_leader(server_id leader) {
  rest_as_follower(disk_.term, leader);
  leader_heard_us_ = environment_.now_us();
  restart_election_clock(false);
}

QUORLITE_DECL void raft_node::become_leader() {
  role_ = raft_role::leader;
  leader_ = self_;
  votes_.clear();
  leading_ = leader_state{};
  leading_.follow(configured().members, self_, disk_.log.last_index().next());
  const std::uint64_t now = environment_.now_us();
  leading_.heartbeat_at_us = now + options_.heartbeat_interval.value * 1000;
  leading_.count_quorum_at_us = now + options_.election_timeout_min.value * 1000;
  trace("is elected, last", disk_.log.last_index().value);
  environment_.witness(*this, raft_event::elected, disk_.log.last_index());
  // Paper, 8: entries of older terms are committed only below one of its own, so it makes one.
  append_locally(entry_kind::no_op, {});
  arm_timer();
  post_outbox();
}

QUORLITE_DECL void raft_node::step_down() {
  if (leads()) {
    trace("steps down");
    rest_as_follower(disk_.term, server_id{});
    if (withdrawn_) {
      retire();
    }
  }
}

/// Everybody who waits is told, then the machine.
QUORLITE_DECL void raft_node::end_leadership() {
  leader_state gone = std::exchange(leading_, leader_state{});
  leader_ = {};
  for (const leader_state::proposal& each : gone.proposals) {
    settle(each.token, outcome::unknown, settle_reason::leadership_lost);
  }
  for (const leader_state::barrier& each : gone.barriers) {
    settle(each.token, outcome::not_applied,
           settle_reason::leadership_lost);  // nothing is in the log
  }
  if (gone.announced) {
    trace("announces its loss");
    machine_->leadership_changed({.term = disk_.term, .leading = false, .leader_hint = {}});
  }
}

/// Thesis, 6.2: a leader that cannot reach a quorum for an election timeout steps down, or its
/// clients would wait for ever.
QUORLITE_DECL void raft_node::count_quorum() {
  std::size_t heard = leading_.votes ? 1 : 0;
  for (follower_progress& each : leading_.followers) {
    heard += each.heard && each.votes ? 1 : 0;
    each.heard = false;
  }
  leading_.count_quorum_at_us = environment_.now_us() + options_.election_timeout_min.value * 1000;
  const bool is_deposed = leading_.commit_ceiling != leader_state{}.commit_ceiling;
  if (heard < quorum() || is_deposed) {
    trace("hears no quorum, only", heard);
    step_down();
  }
}

/// Told to the machine once the no-op of the term is applied, hence everything of older terms too
/// (law L1).
QUORLITE_DECL void raft_node::announce_if_due() {
  if (leads() && !leading_.announced && applied_ > log_index{} &&
      disk_.log.term_at(applied_) == disk_.term) {
    leading_.announced = true;
    const std::string hint = std::to_string(self_.value);
    trace("announces its gain, applied", applied_.value);
    machine_->leadership_changed({.term = disk_.term, .leading = true, .leader_hint = hint});
  }
}

QUORLITE_DECL void raft_node::transfer_leadership(server_id successor) {
  if (!leads() || successor == self_ || leading_.followers.empty()) {
    return;
  }
  if (successor == server_id{}) {
    const auto best =
        std::max_element(leading_.followers.begin(), leading_.followers.end(),
                         [](const follower_progress& left, const follower_progress& right) {
                           return std::tuple{left.votes, left.heard, left.match} <
                                  std::tuple{right.votes, right.heard, right.match};
                         });
    successor = best->server;
  }
  const follower_progress* const chosen = leading_.find(successor);
  if (chosen == nullptr || !chosen->votes) {
    return;  // no member, or a learner
  }
  trace("hands over to", successor.value);
  leading_.transfer = leader_state::handover{
      .successor = successor,
      .give_up_us = environment_.now_us() + options_.election_timeout_min.value * 1000};
  continue_transfer();
}

/// Thesis, 3.10: the successor must have every entry first; meanwhile no proposal is taken.
QUORLITE_DECL void raft_node::continue_transfer() {
  if (!leading_.transfer || leading_.transfer->asked) {
    return;
  }
  const follower_progress* const successor = leading_.find(leading_.transfer->successor);
  if (successor->match == disk_.log.last_index()) {
    leading_.transfer->asked = true;
    send(successor->server, disk_.term, timeout_now{});
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
