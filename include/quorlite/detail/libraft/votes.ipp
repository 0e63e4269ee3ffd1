/// @file
/// Bodies of votes.hpp: who votes, for whom, and in which term.
#pragma once

#include "quorlite/detail/libraft/votes.hpp"

#include <algorithm>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/engine.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL bool libraft_is_voter(const ::raft& engine) noexcept {
  const raft_configuration& members = engine.configuration;
  return std::any_of(members.servers, members.servers + members.n, [&](const raft_server& one) {
    return one.id == engine.id && one.role == RAFT_VOTER;
  });
}

QUORLITE_DECL void libraft_forget_silent_leader(::raft& engine) noexcept {
  const raft_time now = engine.io->time(engine.io);
  if (now - engine.election_timer_start >= engine.follower_state.randomized_election_timeout) {
    engine.follower_state.current_leader.id = 0;
    engine.election_timer_start = now;
  }
}

QUORLITE_DECL bool libraft_asks_for_second_vote(const ::raft& engine,
                                                const raft_message& message) noexcept {
  const raft_request_vote& asks = message.request_vote;
  return message.type == RAFT_IO_REQUEST_VOTE && !asks.pre_vote &&
         asks.term == engine.current_term && engine.voted_for != 0 &&
         engine.voted_for != asks.candidate_id;
}

QUORLITE_DECL void libraft_tell_term(const ::raft& engine, raft_message& answer) noexcept {
  raft_request_vote_result& told = answer.request_vote_result;
  if (told.pre_vote == raft_tribool_true && !told.vote_granted) {
    told.term = std::max<raft_term>(told.term, engine.current_term);
  }
}

QUORLITE_DECL libraft_voter_for_a_message::libraft_voter_for_a_message(
    ::raft& engine, const raft_message& message) noexcept
    : engine_(engine) {
  raft_configuration_init(&members_);
  const raft_configuration& now = engine.configuration;
  if (message.type != RAFT_IO_REQUEST_VOTE || engine.state != RAFT_FOLLOWER || now.n == 0 ||
      libraft_is_voter(engine)) {
    return;
  }
  libraft_forget_silent_leader(engine);
  int code = raft_configuration_add(&members_, engine.id, engine.address, RAFT_VOTER);
  for (unsigned i = 0; i < now.n && code == 0; ++i) {
    const raft_server& one = now.servers[i];
    if (one.id != engine.id) {
      code = raft_configuration_add(&members_, one.id, one.address, one.role);
    }
  }
  if (code == 0) {
    std::swap(engine_.configuration, members_);
    is_lent_ = true;
  }
}

QUORLITE_DECL libraft_voter_for_a_message::~libraft_voter_for_a_message() {
  if (is_lent_) {
    std::swap(engine_.configuration, members_);
  }
  raft_configuration_close(&members_);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
