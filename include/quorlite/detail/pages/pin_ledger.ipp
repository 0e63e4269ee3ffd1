/// @file
/// Bodies of pin_ledger.hpp: pins are counted, found and invalidated.
#pragma once

#include "quorlite/detail/pages/pin_ledger.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/pages/page_version.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL void pin_ledger::make_room() {
  if (live_.size() == live_.capacity()) {
    live_.reserve(2 * live_.size() + 8);
  }
  if (spare_ == nullptr) {
    spare_ = std::make_unique<pin_record>();
  }
}

QUORLITE_DECL pin_record* pin_ledger::add(const database_state& state, pin_kind kind,
                                          std::uint64_t moment) noexcept {
  auto place = first_from(state.version);
  if (place == live_.end() || (*place)->at.version != state.version) {
    QUORLITE_ASSERT(spare_ != nullptr && live_.size() < live_.capacity());
    spare_->at = state;
    spare_->fate.store(pin_fate::sound, std::memory_order_relaxed);
    spare_->since = moment;
    place = live_.insert(place, spare_.release());
  }
  pin_record* const record = *place;
  if (kind == pin_kind::kept) {
    count_kept(*record);
  }
  ++record->count;
  ++pins_;
  return record;
}

QUORLITE_DECL node_list pin_ledger::remove(pin_record* record, pin_kind kind) noexcept {
  --pins_;
  --record->count;
  if (kind == pin_kind::kept) {
    uncount_kept(*record);
  }
  if (record->count != 0) {
    return {};
  }
  if (record->fate.load(std::memory_order_relaxed) == pin_fate::sound) {
    live_.erase(first_from(record->at.version));
  }
  readers_bytes_ -= record->held.size_bytes();
  spare_.reset(record);
  return std::exchange(record->held, {});
}

QUORLITE_DECL void pin_ledger::change(pin_record& record, pin_kind from, pin_kind to) noexcept {
  if (from != pin_kind::kept && to == pin_kind::kept) {
    count_kept(record);
  } else if (from == pin_kind::kept && to != pin_kind::kept) {
    uncount_kept(record);
  }
}

/// What such a record keeps is not the readers'.
QUORLITE_DECL void pin_ledger::count_kept(pin_record& record) noexcept {
  if (++record.kept == 1) {
    readers_bytes_ -= record.held.size_bytes();
  }
}

QUORLITE_DECL void pin_ledger::uncount_kept(pin_record& record) noexcept {
  if (--record.kept == 0) {
    readers_bytes_ += record.held.size_bytes();
  }
}

QUORLITE_DECL void pin_ledger::hold(pin_record& record, page_version* node) noexcept {
  record.held.push_back(node, page_place::superseded);
  readers_bytes_ += record.kept == 0 ? node->size_bytes() : 0;
}

QUORLITE_DECL pin_record* pin_ledger::oldest_reader() const noexcept {
  const auto place = std::find_if(live_.begin(), live_.end(), [](const pin_record* record) {
    return record->kept == 0 && !record->held.empty();
  });
  return place == live_.end() ? nullptr : *place;
}

QUORLITE_DECL node_list pin_ledger::end(pin_record& record) noexcept {
  QUORLITE_ASSERT(record.kept == 0);
  record.fate.store(pin_fate::ended, std::memory_order_seq_cst);
  live_.erase(first_from(record.at.version));
  readers_bytes_ -= record.held.size_bytes();
  return std::exchange(record.held, {});
}

QUORLITE_DECL pin_record* pin_ledger::any_within(version_number from,
                                                 version_number before) const noexcept {
  const auto place = first_from(from);
  return place != live_.end() && (*place)->at.version < before ? *place : nullptr;
}

QUORLITE_DECL bool pin_ledger::any_with_page(page_number number,
                                             version_number before) const noexcept {
  return std::any_of(live_.begin(), first_from(before), [number](const pin_record* record) {
    return record->at.page_count >= number.value;
  });
}

QUORLITE_DECL void pin_ledger::invalidate_above(version_number committed) noexcept {
  const auto first = first_from(version_number{committed.value + 1});
  for (auto place = first; place != live_.end(); ++place) {
    QUORLITE_ASSERT((*place)->held.empty());  // nothing above committed is ever superseded
    (*place)->fate.store(pin_fate::taken_back, std::memory_order_seq_cst);
  }
  live_.erase(first, live_.end());
}

QUORLITE_DECL std::vector<pin_record*>::const_iterator pin_ledger::first_from(
    version_number from) const noexcept {
  return std::lower_bound(live_.begin(), live_.end(), from,
                          [](const pin_record* record, version_number version) {
                            return record->at.version < version;
                          });
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
