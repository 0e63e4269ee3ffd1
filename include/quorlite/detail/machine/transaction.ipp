/// @file
/// Bodies of transaction.hpp.
#pragma once

#include "quorlite/detail/machine/transaction.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/detail/codec/snapshot.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL bool transaction::become(transaction_state next, std::string& why) {
  if (!may_become(state_, next)) {
    why = "invalid transition of a transaction from " + std::string(name_of(state_)) + " to " +
          std::string(name_of(next));
    return false;
  }
  state_ = next;
  return true;
}

QUORLITE_DECL void transaction::touch(std::string_view database) {
  if (!touches(database)) {
    databases_.emplace_back(database);
  }
}

QUORLITE_DECL void transaction::stage(part entry) {
  QUORLITE_ASSERT(state_ == transaction_state::writing);
  staged_bytes_ += entry->size();
  parts_.push_back(std::move(entry));
}

QUORLITE_DECL transaction* staged_transactions::find(transaction_id id) noexcept {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &found->second;
}

QUORLITE_DECL std::uint64_t staged_transactions::bytes_held() const noexcept {
  std::uint64_t sum = 0;
  for (const auto& [id, one] : by_id_) {
    sum += one.staged_bytes();
  }
  return sum;
}

QUORLITE_DECL std::size_t staged_transactions::entries_held() const noexcept {
  std::size_t sum = 0;
  for (const auto& [id, one] : by_id_) {
    sum += one.parts().size();
  }
  return sum;
}

QUORLITE_DECL bool staged_transactions::has_room_for(std::size_t entry_bytes,
                                                     bool begins) const noexcept {
  return by_id_.size() + (begins ? 1 : 0) <= limits::staged_transactions &&
         entries_held() < snapshot_staged_entries &&
         bytes_held() + entry_bytes <= limits::staged_bytes;
}

QUORLITE_DECL void staged_transactions::drop_others(std::string_view database, transaction_id but) {
  for (auto one = by_id_.begin(); one != by_id_.end();) {
    const bool stale = one->first != but && one->second.touches(database);
    one = stale ? by_id_.erase(one) : std::next(one);
  }
}

QUORLITE_DECL void staged_transactions::drop_older(term now) noexcept {
  while (!by_id_.empty() && by_id_.begin()->first.term < now) {
    by_id_.erase(by_id_.begin());
  }
}

QUORLITE_DECL bool staged_transactions::any_from_snapshot() const noexcept {
  return std::any_of(by_id_.begin(), by_id_.end(),
                     [](const auto& named) { return named.second.first_entry() == log_index{0}; });
}

QUORLITE_DECL history_position
staged_transactions::replay_from(history_position applied) const noexcept {
  history_position from = applied;
  for (const auto& [id, one] : by_id_) {
    if (one.first_entry() <= from.index) {
      from.index = log_index{one.first_entry().value == 0 ? 0 : one.first_entry().value - 1};
      from.hash = one.history_before();
    }
  }
  return from;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
