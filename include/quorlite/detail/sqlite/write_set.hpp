/// @file
/// The pages that one transaction has written, private to it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/detail/pages/page_version.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Pages by number, in blocks that a commit moves into the page_store without a copy. One thread.
///
/// A table of places with open addressing: a transaction of three pages allocates three blocks and
/// nothing else, one that spills a million pages still finds each in constant time.
class write_set {
 public:
  [[nodiscard]] bool empty() const noexcept { return pages_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return pages_.size(); }
  /// Memory of the images.
  [[nodiscard]] std::uint64_t size_bytes() const noexcept {
    return pages_.empty() ? 0 : pages_.size() * std::uint64_t{pages_.front()->page_size()};
  }

  /// The page, or nullptr.
  [[nodiscard]] page_version* find(page_number number) const noexcept {
    if (pages_.empty()) {
      return nullptr;
    }
    const std::uint32_t place = places_[slot_of(number)];
    return place == vacant ? nullptr : pages_[place].get();
  }

  /// Adds a page that is not there yet; the image is the caller's to fill.
  /// @throws std::bad_alloc, then nothing changed
  page_version& add(page_number number, std::uint32_t page_size) {
    page_block page = make_page(number, page_size);
    page_version& added = *page;
    insert(std::move(page));
    return added;
  }

  /// Drops the pages above `count`.
  void cut(std::uint64_t count) noexcept {
    const auto beyond = [count](const page_block& page) { return page->number().value > count; };
    const auto kept = std::remove_if(pages_.begin(), pages_.end(), beyond);
    if (kept != pages_.end()) {
      pages_.erase(kept, pages_.end());
      index_again();
    }
  }

  void clear() noexcept {
    pages_.clear();
    if (places_.size() > keep_places) {
      places_ = {};
    } else {
      std::fill(places_.begin(), places_.end(), vacant);
    }
  }

  /// Moves the pages up to `count` out, ascending. The rest stays for give_back().
  /// @throws std::bad_alloc, then nothing changed
  [[nodiscard]] std::vector<page_block> take(std::uint64_t count) {
    std::vector<page_block> taken;
    taken.reserve(pages_.size());
    for (page_block& page : pages_) {
      if (page->number().value <= count) {
        taken.push_back(std::move(page));
      }
    }
    pages_.erase(std::remove(pages_.begin(), pages_.end(), nullptr), pages_.end());
    index_again();
    std::sort(taken.begin(), taken.end(), [](const page_block& a, const page_block& b) {
      return a->number() < b->number();
    });
    return taken;
  }

  /// Puts pages back that take() gave out, and perhaps more of them.
  /// @pre none of them is here
  void give_back(std::vector<page_block>&& pages) {
    for (page_block& page : pages) {
      insert(std::move(page));
    }
    pages.clear();
  }

 private:
  static constexpr std::uint32_t vacant = ~std::uint32_t{0};
  static constexpr std::size_t first_places = 32;
  static constexpr std::size_t keep_places = 512;  // wiping a larger one costs too much

  void insert(page_block page) {
    if (places_.size() < 2 * (pages_.size() + 1)) {
      places_.assign(std::max(first_places, 2 * places_.size()), vacant);
      index_again();
    }
    const page_number number = page->number();
    pages_.push_back(std::move(page));
    places_[slot_of(number)] = static_cast<std::uint32_t>(pages_.size() - 1);
  }

  void index_again() noexcept {
    std::fill(places_.begin(), places_.end(), vacant);
    for (std::size_t place = 0; place < pages_.size(); ++place) {
      places_[slot_of(pages_[place]->number())] = static_cast<std::uint32_t>(place);
    }
  }

  /// Where the number is, or belongs. The table is at most half full, so there is an end.
  [[nodiscard]] std::size_t slot_of(page_number number) const noexcept {
    const std::size_t mask = places_.size() - 1;
    std::size_t slot = ((number.value * 0x9E3779B1U) >> 7U) & mask;
    while (places_[slot] != vacant && pages_[places_[slot]]->number() != number) {
      slot = (slot + 1) & mask;
    }
    return slot;
  }

  std::vector<page_block> pages_;      // as they came
  std::vector<std::uint32_t> places_;  // a power of two of them, or none; indices into pages_
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
