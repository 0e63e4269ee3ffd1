/// @file
/// Bodies of part_sender.hpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/detail/commit/part_sender.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL part_sender::part_sender(consensus_port& engine, machine_state& machine,
                                       const machine_state::row& sent, proposal_token first,
                                       std::span<bytes> parts, std::size_t window,
                                       milliseconds timeout) noexcept
    : engine_(engine),
      machine_(machine),
      sent_(*sent),
      row_(sent),
      first_(first),
      parts_(parts),
      under_way_max_(std::max<std::size_t>(window / parts.front().size(), 1)),
      timeout_(timeout),
      token_(first) {}

// NOLINTNEXTLINE(bugprone-exception-escape): a mutex that cannot be locked ends the process
QUORLITE_DECL void part_sender::send() noexcept try {
  for (;;) {
    port_signal news(engine_);
    switch (look(news)) {
      case step::propose: propose(); break;
      case step::wait: wait(news); break;
      case step::end: return;
    }
  }
} catch (const std::bad_alloc&) {
  const auto held = machine_.hold();
  if (are_all_taken()) {
    machine_.proposals().hand_over(row_);  // it may be committed: its answer tells
  } else {
    leave(settle_reason::busy);
  }
}

QUORLITE_DECL part_sender::step part_sender::look(port_signal& news) {
  const auto held = machine_.hold();
  if (sent_.state != proposal_state::waiting || (sent_.lost && !are_all_taken())) {
    leave(why_it_is_over());
    return step::end;
  }
  note_progress();
  const bool was_refused = sent_.parts.refused;
  if (was_refused) {
    propose_again();
  } else if (next_ == parts_.size()) {
    machine_.proposals().hand_over(row_);
    return step::end;
  }
  if (!was_refused && next_ - applied_ < under_way_max_) {
    sent_.parts.newest = token_;
    return step::propose;
  }
  if (waited_ms_ >= timeout_.value) {
    leave(settle_reason::busy);
    return step::end;
  }
  sent_.parts.news = &news;
  return step::wait;
}

/// Of a lost leadership as the engine would say it of the next part.
QUORLITE_DECL settle_reason part_sender::why_it_is_over() const noexcept {
  if (sent_.why != settle_reason::none && sent_.why != settle_reason::leadership_lost) {
    return sent_.why;
  }
  return machine_.leader().leading ? settle_reason::stale_term : settle_reason::not_leader;
}

QUORLITE_DECL bool part_sender::are_all_taken() const noexcept {
  return next_ == parts_.size() && !sent_.parts.refused;
}

QUORLITE_DECL void part_sender::note_progress() noexcept {
  const std::uint32_t taken = sent_.parts.refused ? next_ - 1 : next_;
  if (std::exchange(applied_, sent_.parts.applied) != sent_.parts.applied || taken > taken_) {
    waited_ms_ = 0;
  }
  taken_ = std::max(taken_, taken);
}

/// The part before the next one was not taken.
QUORLITE_DECL void part_sender::propose_again() {
  token_ = machine_.proposals().add_token(row_);
  sent_.parts.refused = false;
  sent_.parts.newest = {};
  --next_;
}

/// Under the machine's lock. What is in the log of it is taken back as anything half-done.
QUORLITE_DECL void part_sender::leave(settle_reason why) {
  proposal_table& table = machine_.proposals();
  const auto rest = static_cast<std::uint32_t>(parts_.size()) - next_;
  if (rest != 0) {
    table.forget(token_, 1);
    table.forget(proposal_token{first_.value + next_}, rest);
  }
  machine_.give_up(row_, why);
  table.hand_over(row_);
}

QUORLITE_DECL void part_sender::wait(port_signal& news) noexcept {
  constexpr milliseconds slice{10};
  if (!news.wait(engine_, slice)) {
    waited_ms_ += slice.value;
  }
  const auto held = machine_.hold();
  sent_.parts.news = nullptr;
}

QUORLITE_DECL void part_sender::propose() noexcept {
  if (next_ != 0) {
    parts_[next_ - 1] = bytes();
  }
  engine_.propose(sent_.id.term, token_, parts_[next_]);
  ++next_;
  token_ = proposal_token{first_.value + next_};
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
