/// @file
/// What a server knows only while it leads: how far the others are, and who waits for what.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/raft/configuration.hpp"
#include "quorlite/testing/detail/raft/log.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// What the leader knows of one follower or learner (Raft paper, figure 2: nextIndex and
/// matchIndex).
struct follower_progress {
  enum class mode : std::uint8_t {
    probe,      ///< it is not known where the logs meet: one message at a time
    replicate,  ///< they meet: entries are sent before earlier ones are answered for
    snapshot,   ///< the entries it needs are compacted away: chunks go out
  };

  server_id server;
  bool votes = true;  ///< false: a learner, counted in no quorum
  mode how = mode::probe;
  log_index match;
  log_index next;
  log_index commit_sent;      ///< the highest commit index it was told
  bool awaits_probe = false;  ///< a probe is on its way
  bool heard = false;         ///< since the leader last counted its quorum
  std::uint64_t round = 0;    ///< the latest round of read barriers it answered

  std::shared_ptr<const stored_snapshot> sending;
  std::uint64_t sending_offset = 0;
  bool chunk_awaited = false;

  void probe_from(log_index at) noexcept;
};

/// Everything a leader has and loses when it is deposed.
struct leader_state {
  struct proposal {
    log_index index{};
    proposal_token token{};
    std::uint64_t ordinal = 0;  ///< among the commands of the term, from 1
  };
  struct barrier {
    proposal_token token{};
    log_index read_index{};
    std::uint64_t round = 0;  ///< a quorum must have answered this round of heartbeats
  };
  struct handover {
    server_id successor{};
    std::uint64_t give_up_us = 0;
    bool asked = false;  ///< timeout_now is on its way
  };

  std::vector<follower_progress> followers;  ///< ascending; all members but itself
  bool votes = true;               ///< false: the configuration in force has no vote for the leader
  std::deque<proposal> proposals;  ///< ascending, not yet applied here
  std::deque<barrier> barriers;    ///< ascending by round and by read index
  bool announced = false;          ///< the machine was told: proposals are taken
  std::uint64_t commands = 0;      ///< proposed in this term
  std::uint64_t round = 0;         ///< of heartbeats, counted up for read barriers
  std::uint64_t heartbeat_at_us = 0;
  std::uint64_t count_quorum_at_us = 0;
  /// Set by a leadership loss: no entry above it is committed in this term of leadership, which
  /// ends at the next count of the quorum even if the cut is healed before.
  log_index commit_ceiling{~std::uint64_t{0}};
  std::optional<handover> transfer;

  [[nodiscard]] follower_progress* find(server_id server) noexcept;
  /// A configuration comes into force: followers come and go with it, and votes. @param next where
  /// to look first whether the log of a new one meets the leader's
  void follow(const configuration& members, server_id self, log_index next);

  /// The highest value that a quorum has reached: those of all voters, sorted, the middle one. A
  /// leader without a vote is not among them (Raft thesis, 4.2.2).
  template <class Value, class ValueOf>
  [[nodiscard]] Value reached_by_quorum(Value own, ValueOf value_of) const {
    std::vector<Value> values;
    values.reserve(followers.size() + 1);
    if (votes) {
      values.push_back(own);
    }
    for (const follower_progress& each : followers) {
      if (each.votes) {
        values.push_back(value_of(each));
      }
    }
    const std::size_t position = (values.size() - 1) / 2;  // from below: so many may lag behind
    std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(position),
                     values.end());
    return values[position];
  }
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/raft/leader_state.ipp"  // IWYU pragma: keep
#endif
