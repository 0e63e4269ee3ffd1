/// @file
/// Bodies of raft_log.
#pragma once

#include "quorlite/testing/detail/raft/log.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/raft/configuration.hpp"
#include "quorlite/testing/detail/raft/message.hpp"
#include "quorlite/testing/detail/simulation/random.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL const stored_entry& raft_log::at(log_index at) const noexcept {
  QUORLITE_ASSERT(at > base_.index && at <= last_index());
  return entries_[static_cast<std::size_t>(at.value - base_.index.value - 1)];
}

QUORLITE_DECL log_index raft_log::last_before_term(log_index at) const noexcept {
  const quorlite::term beyond = term_at(at);
  const auto first = std::lower_bound(
      entries_.begin(), entries_.end(), beyond,
      [](const stored_entry& entry, quorlite::term sought) { return entry.term < sought; });
  const auto below = static_cast<std::uint64_t>(first - entries_.begin());
  return std::min(at, log_index{base_.index.value + below});
}

QUORLITE_DECL void raft_log::append(stored_entry entry) {
  QUORLITE_ASSERT(entry.term >= term_at(last_index()));
  entries_.push_back(std::move(entry));
  if (entries_.back().kind == entry_kind::members) {
    configurations_.push_back({last_index(), decode_configuration(entries_.back().payload)});
  }
}

QUORLITE_DECL const placed_configuration& raft_log::configured_at(log_index at) const noexcept {
  QUORLITE_ASSERT(at >= base_.index);
  const auto later = std::find_if(configurations_.begin() + 1, configurations_.end(),
                                  [&](const placed_configuration& each) { return each.at > at; });
  return *(later - 1);
}

QUORLITE_DECL void raft_log::truncate_suffix(log_index from) {
  QUORLITE_ASSERT(from > base_.index);
  if (from <= last_index()) {
    entries_.resize(static_cast<std::size_t>(from.value - base_.index.value - 1));
    while (configurations_.size() > 1 && configurations_.back().at >= from) {
      configurations_.pop_back();
    }
    synced_ = std::min(synced_, last_index());
    ++cuts_;
  }
}

QUORLITE_DECL void raft_log::compact_prefix(log_index upto) {
  if (upto > base_.index) {
    const quorlite::term term = term_at(upto);
    const auto count = static_cast<std::ptrdiff_t>(upto.value - base_.index.value);
    entries_.erase(entries_.begin(), entries_.begin() + count);
    while (configurations_.size() > 1 && configurations_[1].at <= upto) {
      configurations_.pop_front();
    }
    base_ = {upto, term};
    synced_ = std::max(synced_, upto);
  }
}

QUORLITE_DECL void raft_log::reset(log_position base, configuration members) {
  entries_.clear();
  configurations_.assign(1, {base.index, std::move(members)});
  base_ = base;
  synced_ = base.index;
  ++cuts_;
}

QUORLITE_DECL void raft_log::lose_unsynced(random& source) {
  const std::uint64_t unsynced = last_index().value - synced_.value;
  if (unsynced > 0) {
    truncate_suffix(log_index{synced_.value + source.between(0, unsynced) + 1});
    synced_ = last_index();
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
