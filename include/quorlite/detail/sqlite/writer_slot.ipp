/// @file
/// Bodies of writer_slot.hpp.
#pragma once

#include "quorlite/detail/sqlite/writer_slot.hpp"

#include <cstdint>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL void writer_slot::want_head() noexcept {
  wants_head_ = true;
  waited_ = false;
  waits_ = 0;
  candidate_since_ = 0;
}

QUORLITE_DECL void writer_slot::stop_wanting() noexcept {
  wants_head_ = false;
  waited_ = false;
}

QUORLITE_DECL std::uint64_t writer_slot::take_candidacy() noexcept {
  return std::exchange(candidate_since_, 0);
}

QUORLITE_DECL bool writer_slot::take_wait() noexcept { return std::exchange(waited_, false); }

QUORLITE_DECL bool writer_slot::acquire_early() {
  for (int round = 0; round < rounds; ++round) {
    const auto before = view_.store()->head().version;
    const auto history = view_.store()->history();
    const auto waited = try_acquire() ? writer_queue::waited::given : await_turn();
    if (waited == writer_queue::waited::given) {
      early_ = true;
      return true;
    }
    const bool stands = waited == writer_queue::waited::a_slice &&
                        view_.store()->head().version == before &&
                        view_.store()->history() == history;
    if (stands) {
      early_ = try_acquire();
      return early_;
    }
  }
  return false;
}

QUORLITE_DECL bool writer_slot::await_quiet() {
  for (int round = 0; round < rounds; ++round) {
    const auto before = view_.store()->committed().version;
    if (before == view_.store()->head().version) {
      return true;
    }
    host_.wait_for_quiet(view_.target(), writer_queue::slice);
    if (view_.store()->committed().version == before) {
      break;
    }
  }
  return view_.store()->committed().version == view_.store()->head().version;
}

QUORLITE_DECL std::error_code writer_slot::begin() {
  const bool mine = try_acquire();
  early_ = false;
  // A version alone can name two histories: an invalidated one is never the head.
  if (mine && (!view_.is_current() || view_.is_lost() ||
               view_.at().version() != view_.store()->head().version)) {
    give_back();
    return make_error_code(errc::stale_term);
  }
  const std::error_code error = may_write();
  if (error) {
    give_back();
    return error;
  }
  return mine ? std::error_code{} : make_error_code(errc::busy);
}

QUORLITE_DECL bool writer_slot::is_refused(const page_store::pin& head) noexcept {
  const auto ticket = host_.begin_write(*view_.store(), head);
  return !ticket.has_value() && ticket.error() != errc::stale_term;
}

QUORLITE_DECL bool writer_slot::would_be_refused() const noexcept {
  const auto store = view_.target().store();
  const auto ticket = host_.begin_write(*store, store->pin_head());
  return !ticket.has_value() && ticket.error() != errc::stale_term;
}

QUORLITE_DECL void writer_slot::was_released() noexcept {
  holds_ = false;
  early_ = false;
}

QUORLITE_DECL void writer_slot::give_back() noexcept {
  if (holds_) {
    host_.writers().release(view_.target(), this);
  }
  was_released();
}

QUORLITE_DECL bool writer_slot::try_acquire() {
  return got(host_.writers().try_acquire(view_.target(), this));
}

QUORLITE_DECL writer_queue::waited writer_slot::await_turn() noexcept {
  const auto waited = host_.writers().wait(view_.target(), this, waits_);
  got(waited == writer_queue::waited::given);
  return waited;
}

QUORLITE_DECL bool writer_slot::got(bool it) noexcept {
  holds_ = it;
  waits_ = it ? 0 : waits_;
  return it;
}

QUORLITE_DECL std::error_code writer_slot::may_write() noexcept {
  const auto ticket = host_.begin_write(*view_.store(), view_.at());
  if (!ticket.has_value()) {
    return ticket.error();
  }
  ticket_ = *ticket;
  return {};
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
