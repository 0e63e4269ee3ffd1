/// @file
/// Bodies of follower_progress and leader_state.
#pragma once

#include "quorlite/testing/detail/raft/leader_state.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/raft/configuration.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL void follower_progress::probe_from(log_index at) noexcept {
  how = mode::probe;
  next = std::max(at, match.value == 0 ? log_index{1} : log_index{match.value + 1});
  awaits_probe = false;
  sending.reset();
}

QUORLITE_DECL follower_progress* leader_state::find(server_id server) noexcept {
  const auto found =
      std::find_if(followers.begin(), followers.end(),
                   [&](const follower_progress& each) { return each.server == server; });
  return found == followers.end() ? nullptr : &*found;
}

QUORLITE_DECL void leader_state::follow(const configuration& members, server_id self,
                                        log_index next) {
  votes = members.has_voter(self);
  std::erase_if(followers,
                [&](const follower_progress& each) { return !members.has(each.server); });
  for (const std::vector<server_id>* const list : {&members.voters, &members.learners}) {
    for (const server_id each : *list) {
      if (each != self && find(each) == nullptr) {
        follower_progress progress;
        progress.server = each;
        progress.probe_from(next);
        followers.push_back(std::move(progress));
      }
    }
  }
  for (follower_progress& each : followers) {
    each.votes = members.has_voter(each.server);
  }
  std::sort(followers.begin(), followers.end(),
            [](const follower_progress& left, const follower_progress& right) {
              return left.server < right.server;
            });
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
