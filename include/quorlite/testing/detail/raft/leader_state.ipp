/// @file
/// Bodies of follower_progress and leader_state.
#pragma once

#include "quorlite/testing/detail/raft/leader_state.hpp"

#include <algorithm>

#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"

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

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
