/// @file
/// Bodies of proposals.hpp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <new>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/machine/proposals.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// In order; `visit` may answer the row that it is given, and no other.
template <class Visit>
void proposal_table::for_each_row(Visit visit) {
  for (auto next = by_id_.begin(); next != by_id_.end();) {
    const row one = (next++)->second;
    visit(one);
  }
}

// ---- leadership

QUORLITE_DECL bool proposal_table::is_loss(const leadership& now) const noexcept {
  return leader_.leading && !(now.leading && leader_.term == now.term);
}

QUORLITE_DECL void proposal_table::change_leadership(const leadership& now) {
  const bool lost = is_loss(now);
  const term was = leader_.term;
  const bool is_news = lost || was != now.term || leader_.leading != now.leading ||
                       leader_.leader_hint != now.leader_hint;
  leader_.leading = now.leading && !closed_;
  leader_.term = now.term;
  try {
    leader_.leader_hint = now.leader_hint;
  } catch (const std::bad_alloc&) {
    leader_.leader_hint.clear();
  }
  if (lost) {
    lose_leadership(was);
  }
  if (leader_.leading && was != now.term) {
    next_sequence_ = 1;
  }
  if (is_news) {
    tell_watchers();
  }
}

QUORLITE_DECL void proposal_table::close() {
  closed_ = true;
  leader_.leading = false;
  for_each_row([this](const row& waiting) {
    answer(waiting, proposal_state::unknown, settle_reason::stopped);
  });
  for (const auto& [token, waiting] : by_token_) {
    if (waiting->barrier) {
      answer(waiting, proposal_state::unknown, settle_reason::stopped);
    }
  }
  tell_watchers();
}

QUORLITE_DECL void proposal_table::end() {
  ended_ = true;
  close();
}

QUORLITE_DECL void proposal_table::unwatch(port_signal& changed) noexcept {
  watchers_.erase(std::remove(watchers_.begin(), watchers_.end(), &changed), watchers_.end());
}

QUORLITE_DECL void proposal_table::tell_watchers() noexcept {
  for (port_signal* const one : watchers_) {
    one->raise();
  }
}

QUORLITE_DECL std::error_code proposal_table::may_propose(term expected) const {
  if (closed_) {
    return make_error_code(ended_ ? errc::stopped : errc::halted);
  }
  if (!leader_.leading) {
    return make_error_code(errc::not_leader);
  }
  return leader_.term == expected ? std::error_code{} : make_error_code(errc::stale_term);
}

QUORLITE_DECL result<transaction_id> proposal_table::next_id(term expected) {
  if (const std::error_code error = may_propose(expected)) {
    return fail(error);
  }
  return transaction_id{expected, next_sequence_++};
}

// ---- the rows

QUORLITE_DECL proposal_token proposal_table::add(const row& added, std::uint32_t entries) {
  const proposal_token first{next_token_};
  try {
    for (std::uint32_t i = 0; i < entries; ++i) {
      by_token_.emplace(next_token_++, added);
    }
    by_id_.emplace(added->id, added);
  } catch (const std::bad_alloc&) {
    for (std::uint64_t token = first.value; token < next_token_; ++token) {
      by_token_.erase(token);
    }
    throw std::bad_alloc();  // clang-tidy takes a bare `throw` for any exception
  }
  return first;
}

QUORLITE_DECL proposal_token proposal_table::add_token(const row& added) {
  by_token_.emplace(next_token_, added);
  return proposal_token{next_token_++};
}

QUORLITE_DECL void proposal_table::forget(proposal_token first, std::uint32_t entries) noexcept {
  for (std::uint64_t i = 0; i < entries; ++i) {
    by_token_.erase(first.value + i);
  }
}

QUORLITE_DECL proposal_token proposal_table::add_barrier(const row& added) {
  added->barrier = true;
  by_token_.emplace(next_token_, added);
  return proposal_token{next_token_++};
}

QUORLITE_DECL proposal_table::row proposal_table::find(transaction_id id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

QUORLITE_DECL proposal_table::row proposal_table::take(proposal_token token) {
  const auto found = by_token_.find(token.value);
  if (found == by_token_.end()) {
    return nullptr;
  }
  row taken = std::move(found->second);
  by_token_.erase(found);
  return taken;
}

QUORLITE_DECL void proposal_table::answer(const row& answered, proposal_state what,
                                          settle_reason why, log_position at) {
  if (by_id_.erase(answered->id) != 0 && answered->lost) {
    --lost_;
  }
  if (answered->state == proposal_state::waiting) {
    answered->state = what;
    answered->why = why;
    answered->at = at;
  }
  answered->signal.raise();
  answered->parts.tell();
}

/// Rows still inside propose() wait for what it says; hand_over() looks again.
QUORLITE_DECL void proposal_table::lose_leadership(term gone) {
  for_each_row([this, gone](const row& loser) {
    if (loser->id.term.value > gone.value || loser->lost) {
      return;
    }
    lose(loser);
    if (loser->handed_over) {
      answer_lost(loser, settle_reason::leadership_lost);
    }
  });
}

QUORLITE_DECL void proposal_table::doubt(const row& doubted, settle_reason why) {
  lose(doubted);
  doubted->why = why;
  if (doubted->handed_over) {
    answer_lost(doubted, why);
  }
}

QUORLITE_DECL bool proposal_table::refuse_part(const row& refused, proposal_token which) noexcept {
  const bool is_newest = refused->parts.newest == which && which != proposal_token{};
  if (!is_newest || refused->state != proposal_state::waiting) {
    return false;
  }
  refused->parts.refused = true;
  refused->parts.tell();
  return true;
}

QUORLITE_DECL void proposal_table::hand_over(const row& proposed) {
  proposed->handed_over = true;
  proposed->parts.newest = {};
  if (proposed->lost && by_id_.contains(proposed->id)) {
    answer_lost(proposed, proposed->why == settle_reason::none ? settle_reason::leadership_lost
                                                               : proposed->why);
  }
}

QUORLITE_DECL void proposal_table::overtake(term now) {
  if (now <= overtaken_ || lost_ == 0) {
    overtaken_ = overtaken_ < now ? now : overtaken_;
    return;
  }
  overtaken_ = now;
  for_each_row([this, now](const row& late) {
    if (late->lost && late->id.term < now) {
      answer(late, proposal_state::not_applied, settle_reason::leadership_lost);
    }
  });
}

QUORLITE_DECL std::vector<proposal_table::row> proposal_table::rows() const {
  std::vector<row> all;
  all.reserve(by_id_.size());
  for (const auto& [id, waiting] : by_id_) {
    all.push_back(waiting);
  }
  return all;
}

QUORLITE_DECL void proposal_table::lose(const row& loser) {
  lost_ += loser->lost ? 0U : 1U;
  loser->lost = true;
  loser->parts.tell();
}

QUORLITE_DECL void proposal_table::answer_lost(const row& lost, settle_reason why) {
  if (lost->id.term < overtaken_) {
    answer(lost, proposal_state::not_applied, why);
  } else if (!lost->wait_until_certain) {
    answer(lost, proposal_state::unknown, why);
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
