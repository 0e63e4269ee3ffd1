/// @file
/// Bodies of reclaim.hpp: slots come and go, and what nobody stands on is freed.
#pragma once

#include "quorlite/detail/pages/reclaim.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "quorlite/config.hpp"
#include "quorlite/detail/pages/page_version.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL reclaimer::~reclaimer() {
  QUORLITE_ASSERT(slots_ == nullptr);
  while (!limbo_.empty()) {
    page_deleter{}(limbo_.pop_front());
  }
}

QUORLITE_DECL void reclaimer::attach(reader_slot& slot) noexcept {
  slot.next_ = slots_;
  slot.previous_ = nullptr;
  if (slots_ != nullptr) {
    slots_->previous_ = &slot;
  }
  slots_ = &slot;
}

QUORLITE_DECL void reclaimer::detach(reader_slot& slot) noexcept {
  QUORLITE_ASSERT(slot.generation_.load(std::memory_order_relaxed) == 0);
  (slot.previous_ == nullptr ? slots_ : slot.previous_->next_) = slot.next_;
  if (slot.next_ != nullptr) {
    slot.next_->previous_ = slot.previous_;
  }
}

QUORLITE_DECL void reclaimer::retire(page_version* node) noexcept {
  node->stamp_ = generation_.load(std::memory_order_relaxed);
  limbo_bytes_ += node->size_bytes();
  limbo_.push_back(node, page_place::limbo);
}

QUORLITE_DECL std::size_t reclaimer::collect(std::size_t most) noexcept {
  if (limbo_.empty()) {
    return 0;
  }
  std::uint64_t oldest = generation_.fetch_add(1, std::memory_order_seq_cst) + 1;
  for (const reader_slot* slot = slots_; slot != nullptr; slot = slot->next_) {
    const std::uint64_t announced = slot->generation_.load(std::memory_order_seq_cst);
    if (announced != 0 && announced < oldest) {
      oldest = announced;
    }
  }
  std::size_t freed = 0;
  while (freed < most && !limbo_.empty() && limbo_.front()->stamp_ < oldest) {
    page_version* const node = limbo_.pop_front();
    limbo_bytes_ -= node->size_bytes();
    page_deleter{}(node);
    ++freed;
  }
  return freed;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
