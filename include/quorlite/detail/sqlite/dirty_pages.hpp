/// @file
/// What a transaction has written so far, private to it: its pages, and the next state of the
/// database that they make on top of its base.
#pragma once

#include <cstddef>
#include <cstdint>
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
  [[nodiscard]] page_version* find(page_number number) const noexcept;

  /// Adds a page that is not there yet; the image is the caller's to fill.
  /// @throws std::bad_alloc, then nothing changed
  page_version& add(page_number number, std::uint32_t page_size);

  /// Drops the pages above `count`.
  void cut(std::uint64_t count) noexcept;

  void clear() noexcept;

  /// Moves the pages up to `count` out, ascending. The rest stays for give_back().
  /// @throws std::bad_alloc, then nothing changed
  [[nodiscard]] std::vector<page_block> take(std::uint64_t count);

  /// Puts pages back that take() gave out, and perhaps more of them.
  /// @pre none of them is here
  void give_back(std::vector<page_block>&& pages);

 private:
  static constexpr std::uint32_t vacant = ~std::uint32_t{0};
  static constexpr std::size_t first_places = 32;
  static constexpr std::size_t keep_places = 512;  // wiping a larger one costs too much

  void insert(page_block page);
  void index_again() noexcept;

  /// Where the number is, or belongs. The table is at most half full, so there is an end.
  [[nodiscard]] std::size_t slot_of(page_number number) const noexcept;

  std::vector<page_block> pages_;      // as they came
  std::vector<std::uint32_t> places_;  // a power of two of them, or none; indices into pages_
};

/// Bounds that are the same for all dirty pages of a VFS.
struct dirty_pages_limits {
  std::uint64_t lock_byte = limits::lock_byte_default;
  std::uint64_t write_set_bytes = 0;
};

/// A write set on top of a base, and the size of the file as SQLite has made it. One thread.
///
/// The size that goes into the entry is derived from the header of page 1, and only there: SQLite
/// shortens the file after the commit point, and plays a refused commit back over the longer one.
class dirty_pages {
 public:
  explicit dirty_pages(dirty_pages_limits bounds) noexcept : bounds_(bounds) {}

  /// Starts on a base, which the caller keeps pinned until clear(). A database without pages gets
  /// its page size from the first page that is written.
  void begin(const page_store::pin& base) noexcept;
  void clear() noexcept;

  [[nodiscard]] std::uint32_t page_size() const noexcept { return page_size_; }
  [[nodiscard]] std::uint64_t page_count() const noexcept { return page_count_; }
  /// The page as written; empty: it was not.
  [[nodiscard]] bytes_view image_of(page_number number) const noexcept;
  /// False for a page that was cut off since the base: what is not in the dirty pages is zeros
  /// then.
  [[nodiscard]] bool shows_base(page_number number) const noexcept {
    return number.value <= base_pages_;
  }

  /// Writes one page. @returns errc::unsupported: not one whole page of the database's size;
  /// errc::too_large. @throws std::bad_alloc
  [[nodiscard]] std::error_code write(std::uint64_t offset, bytes_view image, database_view& view);

  /// Sets the file's size. @returns errc::unsupported: not a multiple of the page size
  [[nodiscard]] std::error_code resize(std::uint64_t size_bytes) noexcept;

  /// False at the commit point that ends a rollback: every true commit moves the change counter,
  /// and with it page 1.
  [[nodiscard]] bool changes_anything(database_view& view) const;

  /// Page 1 is that of a database with another page size: VACUUM, or a backup, wrote it.
  [[nodiscard]] bool has_other_page_size() const noexcept;

  /// Moves the pages into `change`, with everything that an entry must carry.
  /// @returns errc::malformed: page 1 is not that of this database (another page size or count);
  /// errc::too_large. Then, or after std::bad_alloc, the dirty pages are still there.
  [[nodiscard]] std::error_code move_into(database_write& change);

  /// The commit was not even tried: everything is as before move_into(). @throws std::bad_alloc
  void move_back(database_write& change) { pages_.give_back(std::move(change.pages)); }

 private:
  static std::uint64_t stated_page_size(bytes_view one) noexcept;
  /// The count in the header is valid if the change counter stands beside it once more.
  [[nodiscard]] std::uint64_t stated_page_count(bytes_view one) const noexcept;

  const dirty_pages_limits bounds_;
  write_set pages_;
  std::uint32_t page_size_ = 0;   // 0: no page yet
  std::uint64_t page_count_ = 0;  // of the file as SQLite sees it
  std::uint64_t base_pages_ = 0;  // pages that still show through from the base
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/sqlite/dirty_pages.ipp"  // IWYU pragma: keep
#endif
