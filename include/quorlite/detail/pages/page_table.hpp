/// @file
/// From a page's number to its newest version, and to the hash of its image in the base, without a
/// lock.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "quorlite/config.hpp"
#include "quorlite/detail/pages/page_version.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// A radix tree of three levels over the 32 bits of a page number: 11 + 11 + 10. The parts are made
/// on demand and stay until the end: 16 bytes for each page that ever was, 50 KiB for the first.
///
/// `head`, `base_hash` and `visit` run on any thread at any time. The rest: one thread at a time
/// (the store's mutex). Owns its own parts, not the page versions.
class page_table {
 public:
  page_table() = default;
  page_table(const page_table&) = delete;
  page_table& operator=(const page_table&) = delete;
  ~page_table();

  /// The newest version of a page, pending ones included; nullptr: there is none.
  [[nodiscard]] page_version* head(page_number number) const noexcept;

  /// Makes the parts that lead to `number`. @throws std::bad_alloc, with no harm done
  void make_room(page_number number);

  /// Puts another version, or none, in front. What a reader finds through it is published here.
  /// @pre make_room(number) was called
  void set_head(page_number number, page_version* head) noexcept;

  /// The hash of the page's image in the base; 0: it has none there.
  [[nodiscard]] std::uint64_t base_hash(page_number number) const noexcept;
  /// @pre make_room(number) was called
  void set_base_hash(page_number number, std::uint64_t hash) noexcept;

  /// Calls `visit(number)` in ascending order for pages from `from` up to `last`, some without any
  /// version among them; false ends it. Skips 1024 pages at once where none ever was as new as
  /// `since`.
  template <class Visit>
  void visit(std::uint64_t from, version_number since, std::uint64_t last, Visit visit) const;

  /// Memory of the table itself.
  [[nodiscard]] std::size_t size_bytes() const noexcept { return bytes_; }

 private:
  static constexpr std::uint32_t leaf_bits = 10;
  static constexpr std::uint32_t branch_bits = 11;
  static constexpr std::uint64_t leaf_pages = 1U << leaf_bits;
  static constexpr std::uint64_t branch_leaves = 1U << branch_bits;
  static constexpr std::uint64_t limbs = 1U << (32 - leaf_bits - branch_bits);

  struct leaf {
    std::array<std::atomic<page_version*>, leaf_pages> heads;
    std::array<std::atomic<std::uint64_t>, leaf_pages> base_hashes;
    std::atomic<std::uint64_t> newest{0};  // never lowered: a bound, also after a discard
  };
  struct branch {
    std::array<std::atomic<leaf*>, branch_leaves> leaves;
  };

  static constexpr std::size_t low_bits(std::uint32_t number) noexcept {
    return number % leaf_pages;
  }
  static constexpr std::size_t middle_bits(std::uint32_t number) noexcept {
    return (number >> leaf_bits) % branch_leaves;
  }
  static constexpr std::size_t high_bits(std::uint32_t number) noexcept {
    return number >> (leaf_bits + branch_bits);
  }

  [[nodiscard]] branch* branch_of(std::uint64_t number) const noexcept;
  [[nodiscard]] leaf* leaf_of(page_number number) const noexcept;

  std::array<std::atomic<branch*>, limbs> limbs_{};
  std::size_t bytes_ = sizeof(limbs_);
};

inline page_version* page_table::head(page_number number) const noexcept {
  const leaf* const part = leaf_of(number);
  return part == nullptr ? nullptr
                         : part->heads[low_bits(number.value)].load(std::memory_order_acquire);
}

inline std::uint64_t page_table::base_hash(page_number number) const noexcept {
  const leaf* const part = leaf_of(number);
  return part == nullptr
             ? 0
             : part->base_hashes[low_bits(number.value)].load(std::memory_order_acquire);
}

inline page_table::leaf* page_table::leaf_of(page_number number) const noexcept {
  const branch* const limb = branch_of(number.value);
  return limb == nullptr ? nullptr
                         : limb->leaves[middle_bits(number.value)].load(std::memory_order_acquire);
}

inline page_table::branch* page_table::branch_of(std::uint64_t number) const noexcept {
  return limbs_[high_bits(static_cast<std::uint32_t>(number))].load(std::memory_order_acquire);
}

template <class Visit>
void page_table::visit(std::uint64_t from, version_number since, std::uint64_t last,
                       Visit visit) const {
  for (std::uint64_t first = from - from % leaf_pages; first <= last;) {
    const auto* const limb = branch_of(first);
    if (limb == nullptr) {
      first += leaf_pages * branch_leaves - first % (leaf_pages * branch_leaves);
      continue;
    }
    const auto& twig = limb->leaves[middle_bits(static_cast<std::uint32_t>(first))];
    const leaf* const part = twig.load(std::memory_order_acquire);
    if (part != nullptr && part->newest.load(std::memory_order_acquire) >= since.value) {
      const std::uint64_t end = first + leaf_pages <= last ? first + leaf_pages : last + 1;
      const std::uint64_t start = from == 0 ? 1 : from;
      std::uint64_t number = first < start ? start : first;
      for (; number < end; ++number) {
        if (!visit(page_number{static_cast<std::uint32_t>(number)})) {
          return;
        }
      }
    }
    first += leaf_pages;
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/pages/page_table.ipp"  // IWYU pragma: keep
#endif
