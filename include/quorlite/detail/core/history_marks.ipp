/// @file
/// Bodies of history_marks.hpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "quorlite/config.hpp"
#include "quorlite/detail/core/history_marks.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL void history_marks::clear(log_index from) noexcept {
  passed_ = from.value / distance;
  size_ = 0;
}

/// A skip may go over more multiples than are kept.
QUORLITE_DECL void history_marks::mark(std::uint64_t last, const history_hash& hash) noexcept {
  const std::uint64_t more = std::min<std::uint64_t>(last - passed_, kept_max);
  for (std::uint64_t number = last - more + 1; number <= last; ++number) {
    marks_[number % kept_max] = hash;
  }
  size_ = std::min<std::size_t>(size_ + static_cast<std::size_t>(more), kept_max);
  passed_ = last;
}

QUORLITE_DECL std::optional<history_hash> history_marks::find(log_index at) const noexcept {
  const std::uint64_t number = at.value / distance;
  const bool is_kept = at.value % distance == 0 && number <= passed_ && passed_ - number < size_;
  return is_kept ? std::optional(marks_[number % kept_max]) : std::nullopt;
}

QUORLITE_DECL bool history_marks::assign(std::uint64_t newest,
                                         std::span<const history_hash> oldest_first,
                                         log_index begin, log_index at) noexcept {
  const std::size_t count = oldest_first.size();
  const std::uint64_t passed = at.value / distance;
  const std::uint64_t below = (begin.value - 1) / distance;  // the first mark comes after this one
  const bool fits = count == 0 ? newest == 0
                               : newest == passed && count <= kept_max && below < newest &&
                                     count <= newest - below;
  if (!fits) {
    return false;
  }
  passed_ = passed;
  size_ = count;
  for (std::size_t i = 0; i < count; ++i) {
    marks_[(passed - count + 1 + i) % kept_max] = oldest_first[i];
  }
  return true;
}

QUORLITE_DECL bool history_marks::operator==(const history_marks& other) const noexcept {
  bool same = size_ == other.size_ && newest() == other.newest();
  for (std::size_t i = 0; same && i < size_; ++i) {
    same = from_oldest(i) == other.from_oldest(i);
  }
  return same;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
