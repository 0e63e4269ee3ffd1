/// @file
/// Bodies of foreign_staging.hpp.
#pragma once

#include <algorithm>
#include <memory>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/detail/legacy/foreign_staging.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL const staged_foreign* foreign_staging::find(std::string_view name) const noexcept {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &found->second;
}

QUORLITE_DECL std::error_code foreign_staging::admit(const foreign_frames& next) {
  const auto found = by_name_.find(next.name);
  if (found == by_name_.end()) {
    return {};
  }
  const staged_foreign& waiting = found->second;
  if (waiting.id < next.id) {
    by_name_.erase(found);
    return {};
  }
  const bool fits = waiting.id == next.id && !waiting.doomed &&
                    waiting.frames.front().page_size == next.page_size;
  return fits ? std::error_code{} : make_error_code(errc::malformed);
}

QUORLITE_DECL void foreign_staging::stage(transaction::part entry, foreign_frames frames,
                                          log_index at) {
  const std::string_view name = frames.name;
  auto found = by_name_.find(name);
  if (found == by_name_.end()) {
    found = by_name_.emplace(std::string(name), staged_foreign{frames.id, at, false, {}, {}}).first;
  }
  found->second.parts.push_back(std::move(entry));
  found->second.frames.push_back(std::move(frames));
}

QUORLITE_DECL void foreign_staging::refuse(const foreign_frames& refused, log_index at) {
  const auto found = by_name_.find(refused.name);
  if (found != by_name_.end() && found->second.id != refused.id) {
    return;
  }
  if (refused.commit) {
    drop(refused.name);
  } else {
    doom({refused.id, refused.name}, found == by_name_.end() ? at : found->second.first);
  }
}

QUORLITE_DECL void foreign_staging::doom(const foreign_mark& which, log_index first) {
  by_name_.insert_or_assign(std::string(which.name), staged_foreign{which.id, first, true, {}, {}});
}

QUORLITE_DECL std::error_code foreign_staging::undo(transaction_id target) {
  auto named = by_name_.end();
  for (auto entry = by_name_.begin(); entry != by_name_.end(); ++entry) {
    if (entry->second.id == target) {
      if (named != by_name_.end()) {
        return make_error_code(errc::malformed);
      }
      named = entry;
    }
  }
  if (named != by_name_.end()) {
    by_name_.erase(named);
  }
  return {};
}

QUORLITE_DECL void foreign_staging::drop(std::string_view name) {
  if (const auto found = by_name_.find(name); found != by_name_.end()) {
    by_name_.erase(found);
  }
}

QUORLITE_DECL std::size_t foreign_staging::entries_held() const noexcept {
  std::size_t sum = 0;
  for (const auto& [name, waiting] : by_name_) {
    sum += waiting.doomed ? 1 : waiting.parts.size();
  }
  return sum;
}

QUORLITE_DECL std::uint64_t foreign_staging::bytes_held() const noexcept {
  std::uint64_t sum = 0;
  for (const auto& [name, waiting] : by_name_) {
    for (const transaction::part& entry : waiting.parts) {
      sum += entry->size();
    }
  }
  return sum;
}

QUORLITE_DECL bool foreign_staging::any_from_snapshot() const noexcept {
  return std::any_of(by_name_.begin(), by_name_.end(),
                     [](const auto& named) { return named.second.first == log_index{0}; });
}

QUORLITE_DECL log_index foreign_staging::replay_from(log_index applied) const noexcept {
  log_index from = applied;
  for (const auto& [name, waiting] : by_name_) {
    if (waiting.first <= from) {
      from = log_index{waiting.first.value == 0 ? 0 : waiting.first.value - 1};
    }
  }
  return from;
}

QUORLITE_DECL void foreign_staging::capture(std::vector<transaction::part>& into) const {
  for (const auto& [name, waiting] : by_name_) {
    into.insert(into.end(), waiting.parts.begin(), waiting.parts.end());
    if (waiting.doomed) {
      auto mark = std::make_shared<bytes>();
      encode_mark_({waiting.id, name}, *mark);
      into.push_back(std::move(mark));
    }
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
