/// @file
/// Bodies of history_ring.hpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "quorlite/config.hpp"
#include "quorlite/detail/machine/history_ring.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL void history_ring::clear() noexcept {
  begin_.reset();
  entries_.clear();
  first_ = 0;
  covered_ = {};
}

QUORLITE_DECL void history_ring::begin(const history_position& at) noexcept {
  clear();
  begin_ = entry{at.index, at.hash.low};
  covered_ = at.index;
}

QUORLITE_DECL void history_ring::reserve() {
  constexpr std::size_t first_step = 64;
  if (entries_.size() == entries_.capacity() && entries_.size() < entries_max) {
    entries_.reserve(std::min(std::max(first_step, 2 * entries_.capacity()), entries_max));
  }
}

QUORLITE_DECL void history_ring::push(log_index n, std::uint64_t low) noexcept {
  QUORLITE_ASSERT(n > covered_);
  if (entries_.size() < entries_max) {
    QUORLITE_ASSERT(entries_.size() < entries_.capacity());
    entries_.push_back({n, low});
  } else {
    entries_[first_] = {n, low};
    first_ = (first_ + 1) % entries_max;
    begin_.reset();
  }
  covered_ = n;
}

QUORLITE_DECL std::optional<std::uint64_t> history_ring::low_as_of(log_index w) const noexcept {
  if (w > covered_) {
    return std::nullopt;
  }
  if (!entries_.empty() && w >= from_oldest(0).index) {
    return search(w);
  }
  return begin_ && w >= begin_->index ? std::optional(begin_->low) : std::nullopt;
}

/// Of the last entry at or below `w`. Indices ascend, so it is at most as far from the newest entry
/// as `w` is: few steps for a witness, which is usually young.
QUORLITE_DECL std::uint64_t history_ring::search(log_index w) const noexcept {
  const std::size_t last = entries_.size() - 1;
  const log_index newest = from_oldest(last).index;
  const std::uint64_t back = newest > w ? newest.value - w.value : 0;
  std::size_t low = back < last ? last - static_cast<std::size_t>(back) : 0;
  std::size_t high = from_oldest(low).index == w ? low : last;  // it is, where there are no holes
  while (low < high) {
    const std::size_t middle = low + (high - low + 1) / 2;
    if (from_oldest(middle).index <= w) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return from_oldest(low).low;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
