/// @file
/// The next state of a database while a transaction is still writing it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"
#include "quorlite/detail/pages/page_store.hpp"
#include "quorlite/detail/commit/vfs_host.hpp"
#include "quorlite/detail/sqlite/view.hpp"
#include "quorlite/detail/sqlite/write_set.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

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
