/// @file
/// What a transaction has written so far, private to it: its pages, and the next state of the database
/// that they make on top of its base.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/commit/vfs_host.hpp"
#include "quorlite/detail/pages/page_store.hpp"
#include "quorlite/detail/pages/page_version.hpp"
#include "quorlite/detail/sqlite/view.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

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
    std::sort(taken.begin(), taken.end(),
              [](const page_block& a, const page_block& b) { return a->number() < b->number(); });
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

/// Bounds that are the same for every draft of a VFS.
struct draft_limits {
  std::uint64_t lock_byte = limits::lock_byte_default;
  std::uint64_t write_set_bytes = 0;
};

/// A write set on top of a base, and the size of the file as SQLite has made it. One thread.
///
/// The size that goes into the entry is derived from the header of page 1, and only there: SQLite
/// shortens the file after the commit point, and plays a refused commit back over the longer one.
class draft {
 public:
  explicit draft(draft_limits bounds) noexcept : bounds_(bounds) {}

  /// Starts on a base, which the caller keeps pinned until clear(). A database without pages gets
  /// its page size from the first page that is written.
  void begin(const page_store::pin& base) noexcept {
    page_size_ = base.page_size();
    page_count_ = base.page_count();
    base_pages_ = page_count_;
  }
  void clear() noexcept {
    pages_.clear();
    page_size_ = 0;
    page_count_ = 0;
    base_pages_ = 0;
  }

  [[nodiscard]] std::uint32_t page_size() const noexcept { return page_size_; }
  [[nodiscard]] std::uint64_t page_count() const noexcept { return page_count_; }
  /// The page as written; empty: it was not.
  [[nodiscard]] bytes_view image_of(page_number number) const noexcept {
    const page_version* const page = pages_.find(number);
    return page == nullptr ? bytes_view{} : page->image();
  }
  /// False for a page that was cut off since the base: what is not in the draft is zeros then.
  [[nodiscard]] bool shows_base(page_number number) const noexcept {
    return number.value <= base_pages_;
  }

  /// Writes one page. @returns errc::unsupported: not one whole page of the database's size;
  /// errc::too_large. @throws std::bad_alloc
  [[nodiscard]] std::error_code write(std::uint64_t offset, bytes_view image, database_view& view) {
    if (page_size_ == 0 && is_page_size(image.size())) {
      page_size_ = static_cast<std::uint32_t>(image.size());
    }
    if (image.size() != page_size_ || offset % page_size_ != 0 ||
        offset / page_size_ >= limits::page_count_max) {
      return make_error_code(errc::unsupported);
    }
    const page_number number{static_cast<std::uint32_t>(offset / page_size_ + 1)};
    if (number.value != lock_page(page_size_, bounds_.lock_byte)) {
      page_version* page = pages_.find(number);
      if (page == nullptr) {
        if (pages_.size_bytes() + page_size_ > bounds_.write_set_bytes) {
          return make_error_code(errc::too_large);
        }
        page = &pages_.add(number, page_size_);
      }
      std::memcpy(page->image().data(), image.data(), image.size());
      if (number.value == 1) {
        view.restore_page_one(page->image());
      }
    }
    page_count_ = std::max<std::uint64_t>(page_count_, number.value);
    return {};
  }

  /// Sets the file's size. @returns errc::unsupported: not a multiple of the page size
  [[nodiscard]] std::error_code resize(std::uint64_t size_bytes) noexcept {
    if (page_size_ == 0 ? size_bytes != 0 : size_bytes % page_size_ != 0) {
      return make_error_code(errc::unsupported);
    }
    const std::uint64_t count = page_size_ == 0 ? 0 : size_bytes / page_size_;
    if (count < page_count_) {
      pages_.cut(count);
      base_pages_ = std::min(base_pages_, count);
    }
    page_count_ = count;
    return {};
  }

  /// False at the commit point that ends a rollback: every true commit moves the change counter,
  /// and with it page 1.
  [[nodiscard]] bool changes_anything(database_view& view) const {
    const page_version* const one = pages_.find(page_number{1});
    if (one != nullptr) {
      return base_pages_ == 0 || !view.has_page_one(one->image());
    }
    return page_count_ != view.page_count();
  }

  /// Moves the pages into `change`, with everything that an entry must carry.
  /// @returns errc::malformed: page 1 is not that of this database (another page size or count);
  /// errc::too_large. Then, or after std::bad_alloc, the draft still has its pages.
  [[nodiscard]] std::error_code move_into(database_change& change) {
    const page_version* const one = pages_.find(page_number{1});
    if (one == nullptr || stated_page_size(one->image()) != page_size_) {
      return make_error_code(errc::malformed);
    }
    const std::uint64_t count = stated_page_count(one->image());
    const std::uint64_t never_data = lock_page(page_size_, bounds_.lock_byte);
    if (count > page_count_ && (count != page_count_ + 1 || count != never_data)) {
      return make_error_code(errc::malformed);
    }
    // SQLite need not write a page that it adds and leaves unused. What stands in its place on a
    // replica depends on history, unless the entry says it: zeros.
    for (std::uint64_t added = base_pages_ + 1; added <= count; ++added) {
      const page_number number{static_cast<std::uint32_t>(added)};
      if (added != never_data && pages_.find(number) == nullptr) {
        if (pages_.size_bytes() + page_size_ > bounds_.write_set_bytes) {
          return make_error_code(errc::too_large);
        }
        const bytes_span zeros = pages_.add(number, page_size_).image();
        std::memset(zeros.data(), 0, zeros.size());
      }
    }
    change.pages = pages_.take(count);
    change.page_count = count;
    return {};
  }

  /// The commit was not even tried: everything is as before move_into(). @throws std::bad_alloc
  void move_back(database_change& change) { pages_.give_back(std::move(change.pages)); }

 private:
  static std::uint64_t stated_page_size(bytes_view one) noexcept {
    return std::uint64_t{std::to_integer<std::uint32_t>(one[16])} << 8U |
           std::uint64_t{std::to_integer<std::uint32_t>(one[17])} << 16U;
  }
  /// The count in the header is valid if the change counter stands beside it once more.
  [[nodiscard]] std::uint64_t stated_page_count(bytes_view one) const noexcept {
    const std::uint32_t count = header_number(one, 28);
    const bool valid = count != 0 && header_number(one, 24) == header_number(one, 92);
    return valid ? count : page_count_;
  }

  const draft_limits bounds_;
  write_set pages_;
  std::uint32_t page_size_ = 0;   // 0: no page yet
  std::uint64_t page_count_ = 0;  // of the file as SQLite sees it
  std::uint64_t base_pages_ = 0;  // pages that still show through from the base
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
