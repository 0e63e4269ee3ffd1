/// @file
/// Bodies of page_table.hpp: how the table grows, and what is put into it.
#pragma once

#include "quorlite/detail/pages/page_table.hpp"

#include <atomic>
#include <cstdint>
#include <memory>

#include "quorlite/config.hpp"
#include "quorlite/detail/pages/page_version.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL page_table::~page_table() {
  for (auto& limb : limbs_) {
    branch* const part = limb.load(std::memory_order_relaxed);
    if (part != nullptr) {
      for (auto& twig : part->leaves) {
        delete twig.load(std::memory_order_relaxed);
      }
      delete part;
    }
  }
}

QUORLITE_DECL void page_table::make_room(page_number number) {
  auto& limb = limbs_[high_bits(number.value)];
  if (limb.load(std::memory_order_relaxed) == nullptr) {
    limb.store(std::make_unique<branch>().release(), std::memory_order_release);
    bytes_ += sizeof(branch);
  }
  auto& twig = limb.load(std::memory_order_relaxed)->leaves[middle_bits(number.value)];
  if (twig.load(std::memory_order_relaxed) == nullptr) {
    twig.store(std::make_unique<leaf>().release(), std::memory_order_release);
    bytes_ += sizeof(leaf);
  }
}

QUORLITE_DECL void page_table::set_head(page_number number, page_version* head) noexcept {
  leaf* const part = leaf_of(number);
  QUORLITE_ASSERT(part != nullptr);
  if (head != nullptr && head->version().value > part->newest.load(std::memory_order_relaxed)) {
    part->newest.store(head->version().value, std::memory_order_release);
  }
  part->heads[low_bits(number.value)].store(head, std::memory_order_release);
}

QUORLITE_DECL void page_table::set_base_hash(page_number number, std::uint64_t hash) noexcept {
  leaf* const part = leaf_of(number);
  QUORLITE_ASSERT(part != nullptr);
  part->base_hashes[low_bits(number.value)].store(hash, std::memory_order_release);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
