/// @file
/// Bodies of history_trail.hpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/core/history_hash.hpp"
#include "quorlite/detail/core/history_trail.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// No index is as high: nothing is known.
inline constexpr log_index history_never_known{~std::uint64_t{0}};

QUORLITE_DECL void history_trail::begin(const history_place& behind,
                                        const history_position& anchor) noexcept {
  steps_.clear();
  start_ = behind;
  anchor_ =
      anchor.index > behind.at.index && anchor.hash != history_hash{} ? anchor : history_position{};
  known_from_ = behind.is_known ? behind.at.index : history_never_known;
  begun_ = behind.begun;
}

QUORLITE_DECL void history_trail::clear() noexcept {
  steps_.clear();
  start_.reset();
}

QUORLITE_DECL history_place history_trail::place_of(const step& at) const noexcept {
  const bool begins_later = start_->begun != begun_ && at.at.index < begun_.begins_at;
  return {at.entry, at.at, at.at.index >= known_from_, begins_later ? start_->begun : begun_};
}

QUORLITE_DECL history_place history_trail::end_place() const noexcept {
  QUORLITE_ASSERT(!is_empty());
  return steps_.empty() ? *start_ : place_of(steps_.back());
}

/// @param next at the index behind the last one
QUORLITE_DECL void history_trail::push(std::uint64_t entry, history_position next) {
  const bool is_told = next.index >= known_from_;
  const bool is_anchor = !is_told && next.index == anchor_.index;
  next.hash = is_anchor ? anchor_.hash : is_told ? next.hash : history_hash{};
  steps_.push_back({entry, next});
  known_from_ = is_anchor ? next.index : known_from_;
  if (steps_.size() > steps_max) {
    start_ = place_of(steps_.front());
    steps_.pop_front();
  }
}

QUORLITE_DECL void history_trail::pass(std::uint64_t entry) {
  QUORLITE_ASSERT(!is_empty());
  push(entry, {last().index.next(), last().hash});
}

/// Before k there is no hash, so there it is known whatever was known below.
QUORLITE_DECL void history_trail::add(std::uint64_t entry, bytes_view command) {
  QUORLITE_ASSERT(!is_empty());
  const history_position before = last();
  const log_index n = before.index.next();
  const log_index begins_at = begun_.begins_at;
  if (command.empty() || begins_at == log_index{} || n < begins_at) {
    return push(entry, {n, before.hash});
  }
  const history_hash from = n == begins_at ? history_hash{} : before.hash;
  const history_hash hash = extend_history(from, n, command.size(), entry_digest(command));
  const log_index known_before = known_from_;
  known_from_ = n == begins_at ? std::min(known_from_, n) : known_from_;
  try {
    push(entry, {n, hash});
  } catch (...) {
    known_from_ = known_before;
    throw;
  }
}

QUORLITE_DECL void history_trail::add_identity(std::uint64_t entry, bytes_view command, term in,
                                               cluster_identity cluster) {
  QUORLITE_ASSERT(!is_empty() && begun_.begins_at == log_index{});
  begun_ = {last().index.next(), in, cluster};
  try {
    add(entry, command);
  } catch (...) {
    begun_ = start_->begun;
    throw;
  }
}

QUORLITE_DECL void history_trail::cut(std::uint64_t from) noexcept {
  if (is_empty()) {
    return;
  }
  if (from <= start_->entry) {
    return clear();
  }
  while (!steps_.empty() && steps_.back().entry >= from) {
    steps_.pop_back();
  }
  const log_index end = last().index;
  if (begun_ != start_->begun && end < begun_.begins_at) {
    begun_ = start_->begun;
  }
  if (end < known_from_) {
    known_from_ = start_->is_known ? start_->at.index : history_never_known;
  }
}

QUORLITE_DECL void history_trail::follow(const history_trail& other, std::uint64_t upto) {
  if (other.begin_place().at.index != last().index) {  // it has forgotten where it began
    *this = other;
    return cut(upto + 1);
  }
  known_from_ = std::min(known_from_, other.known_from_);
  begun_ = other.begun_;
  for (const step& each : other.steps_) {
    if (each.entry <= upto) {
      push(each.entry, each.at);
    }
  }
  cut(upto + 1);  // so what is not known up to there, or has not begun, is not
}

QUORLITE_DECL std::optional<std::uint64_t> history_trail::entry_of(log_index at) const noexcept {
  if (is_empty() || at < start_->at.index || at > last().index) {
    return std::nullopt;
  }
  const std::uint64_t distance = at.value - start_->at.index.value;  // each step is one index
  return distance == 0 ? start_->entry : steps_[static_cast<std::size_t>(distance - 1)].entry;
}

QUORLITE_DECL std::optional<history_place> history_trail::behind(
    std::uint64_t entry) const noexcept {
  if (is_empty() || entry < start_->entry) {
    return std::nullopt;
  }
  const auto later =
      std::upper_bound(steps_.begin(), steps_.end(), entry,
                       [](std::uint64_t sought, const step& each) { return sought < each.entry; });
  if (later != steps_.begin() && (later - 1)->entry == entry) {
    return place_of(*(later - 1));
  }
  return entry == start_->entry ? start_ : std::nullopt;
}

QUORLITE_DECL std::optional<std::uint64_t> history_trail::low_as_of(log_index w) const noexcept {
  if (is_empty() || w < start_->at.index || w > last().index || w < known_from_) {
    return std::nullopt;
  }
  const std::uint64_t distance = w.value - start_->at.index.value;  // each step is one index
  return distance == 0 ? start_->at.hash.low
                       : steps_[static_cast<std::size_t>(distance - 1)].at.hash.low;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
