/// @file
/// Bodies of raft_node: the cluster changes, a server at a time (Raft thesis, 4).
#pragma once

#include <algorithm>

#include "quorlite/config.hpp"
#include "quorlite/testing/detail/raft/node.hpp"
#include "quorlite/testing/test_raft.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// A step is taken when the one before it is committed, and only by a leader that has committed
/// something of its own term. Else two leaders could each take another step from the same
/// configuration, and commit them by quorums without a voter in common (Ongaro, "bug in
/// single-server membership changes", raft-dev, July 2015).
QUORLITE_DECL change_result raft_node::change_configuration(configuration_change step) {
  if (!leads()) {
    return change_result::not_leader;
  }
  if (disk_.log.term_at(commit_) != disk_.term) {
    return change_result::too_early;
  }
  if (configured().at > commit_) {
    return change_result::pending;
  }
  if (leading_.transfer) {
    return change_result::busy;
  }
  const configuration next = configured().members.after(step);
  if (next == configured().members) {
    return change_result::no_change;
  }
  if (next.voters.empty()) {
    return change_result::last_voter;
  }
  if (step.kind == change_kind::promote &&
      leading_.find(step.server)->how != follower_progress::mode::replicate) {
    return change_result::behind;
  }
  append_locally(entry_kind::members, encode(next));
  leading_.follow(next, self_, disk_.log.last_index().next());
  if (environment_.is_traced()) {
    trace(("changes to " + next.text() + ", entry").c_str(), disk_.log.last_index().value);
  }
  post_outbox();
  return change_result::taken;
}

/// Thesis, 4.2.2: a leader without a vote goes on until it has committed what took it, and counts
/// itself in no quorum.
QUORLITE_DECL void raft_node::leave_if_removed() {
  if (leads() && !leading_.votes && configured().at <= commit_) {
    trace("leads no longer, without a vote since", configured().at.value);
    step_down();
  }
}

/// Voters do. So does one that is none any more as long as that is not committed: nobody else may
/// have the entries that it has (thesis, 4.2.2 and figure 4.6).
QUORLITE_DECL bool node_state::may_campaign() const noexcept {
  const log_index committed = disk_.log.configured_at(commit_).at;
  const auto& all = disk_.log.configurations();
  return std::any_of(all.begin(), all.end(), [&](const placed_configuration& each) {
    return each.at >= committed && each.members.has_voter(self_);
  });
}

/// Within the least election timeout, so that nobody has reason yet to want another one (thesis,
/// 4.2.3 and 9.6).
QUORLITE_DECL bool node_state::hears_leader() const noexcept {
  return leads() ||
         (leader_ != server_id{} &&
          environment_.now_us() < leader_heard_us_ + options_.election_timeout_min.value * 1000);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
