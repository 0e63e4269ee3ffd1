/// @file
/// Bodies of replayed_history.hpp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "quorlite/config.hpp"
#include "quorlite/detail/core/history_hash.hpp"
#include "quorlite/detail/machine/replayed_history.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL void replayed_history::stand_at(log_index from) noexcept {
  *this = {};
  position_.index = from;
}

QUORLITE_DECL void replayed_history::expect(const history_position& anchor) noexcept {
  if (anchor.hash == history_hash{} || anchor.index < position_.index) {
    return;
  }
  QUORLITE_ASSERT(end_ < anchors_max);
  QUORLITE_ASSERT(end_ == 0 || anchors_[end_ - 1].index <= anchor.index);
  anchors_[end_++] = anchor;
}

QUORLITE_DECL std::optional<history_gap> replayed_history::pass(log_index to) noexcept {
  std::optional<history_gap> found;
  for (; next_ != end_ && anchors_[next_].index <= to; ++next_) {
    const history_position& anchor = anchors_[next_];
    if (!is_known_) {
      is_known_ = true;
      position_.hash = anchor.hash;
    }
    if (anchor.hash == position_.hash) {
      equal_ = anchor.index;
    } else if (!found) {
      found = history_gap{equal_, anchor.index};
    }
  }
  position_.index = std::max(position_.index, to);
  return found;
}

QUORLITE_DECL std::optional<history_gap> replayed_history::add(
    log_index n, std::uint64_t length, const history_hash& digest) noexcept {
  QUORLITE_ASSERT(n > position_.index);
  const std::optional<history_gap> before = pass(log_index{n.value - 1});
  if (is_known_) {
    position_.hash = extend_history(position_.hash, n, length, digest);
  }
  const std::optional<history_gap> at = pass(n);
  return before ? before : at;
}

QUORLITE_DECL std::optional<history_gap> replayed_history::resume(
    const history_position& there) noexcept {
  let_go_below(there.index);
  position_ = there;
  is_known_ = true;
  return pass(there.index);
}

QUORLITE_DECL std::optional<history_gap> replayed_history::leap(log_index upto) noexcept {
  let_go_below(upto);
  position_ = {upto, {}};
  is_known_ = false;
  return pass(upto);  // an anchor that stands there tells it
}

QUORLITE_DECL void replayed_history::let_go_below(log_index there) noexcept {
  QUORLITE_ASSERT(there >= position_.index);
  while (next_ != end_ && anchors_[next_].index < there) {
    ++next_;
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
