/// @file
/// What one file handle sees of a database: the version it stands on, and what it saw before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/pages/page_store.hpp"
#include "quorlite/detail/pages/registry.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Big-endian numbers of the database header (sqlite.org/fileformat2.html, 1.3).
[[nodiscard]] QUORLITE_DECL std::uint32_t header_number(bytes_view page_one,
                                                        std::size_t at) noexcept;
QUORLITE_DECL void set_header_number(bytes_span page_one, std::size_t at,
                                     std::uint32_t number) noexcept;
inline constexpr std::size_t header_bytes = 100;
inline constexpr std::size_t schema_cookie_at = 40;
/// The write and the read version of the file format: 1, or 2 in WAL mode.
inline constexpr std::size_t format_versions_at = 18;
inline constexpr std::byte rollback_format{1};
inline constexpr std::byte wal_format{2};

/// Stands on one version at a time, between SQLite's lock and unlock. One thread. In between it
/// holds nothing: a connection that nobody uses must not keep the pages of a content that a drop or
/// a restore has replaced.
///
/// Page caches above a view outlive its lock. SQLite tells a stale cache by bytes 24..39 of the
/// header, and a stale schema by the cookie at 40..43. Both are counters, and after a lost
/// leadership both count through the same values again, on another history. So:
/// * in a new history the next look at bytes 24..39 is answered with 0xFF, which no database has;
/// * a view that stood on a state which was taken back adds 2^20 to every cookie it reads from then
///   on, and takes it off again when page 1 is written. Other handles never notice.
///
/// A database that comes from elsewhere may say in page 1 that it is in WAL mode. Here it cannot
/// be: SQLite is shown 1 for 2 at bytes 18 and 19. What is stored there stays as it was. Whoever
/// copied it here has the 2 in its page cache, which is dropped.
class database_view {
 public:
  explicit database_view(std::shared_ptr<database> target);

  [[nodiscard]] database& target() const noexcept { return *target_; }
  [[nodiscard]] const std::shared_ptr<database>& shared_target() const noexcept { return target_; }
  [[nodiscard]] const std::shared_ptr<page_store>& store() const noexcept { return store_; }
  [[nodiscard]] const page_store::pin& at() const noexcept { return pin_; }
  [[nodiscard]] std::uint64_t page_count() const noexcept { return pin_ ? pin_.page_count() : 0; }
  [[nodiscard]] std::uint32_t page_size() const noexcept { return pin_ ? pin_.page_size() : 0; }

  /// Looks at what the name contains now, and holds it until step_off(). A drop or a restore may
  /// have replaced the store: another history, whose counters mean nothing here.
  void turn_to_current();
  [[nodiscard]] bool is_current() const { return target_->store() == store_; }

  void stand_on_committed() { stand_on(store_->pin_committed(pin_kind::reader)); }

  /// For writers only: the head may yet be taken back.
  void stand_on_head();

  /// The own transaction was committed, and everything that it was built on was too. (If a host
  /// answers before that is so, the state still counts as one that may be taken back.)
  void stand_on_own(page_store::pin committed) noexcept;

  /// What a COMMIT is made of is not taken away under it: what its own transaction supersedes is no
  /// reader's, and goes with its answer. @param so false: it has its answer
  void keep_for_commit(bool so) noexcept {
    if (pin_) {
      pin_.become(so ? pin_kind::kept : pin_kind::reader);
    }
  }

  /// True while a change of the schema is pending.
  [[nodiscard]] bool is_schema_pending();

  /// A transaction was rolled back. What SQLite remembers of bytes 24..39 may be those that it
  /// wrote: the next transaction, of anybody, has the same.
  void distrust_cache() noexcept { reset_cache_ = true; }

  void step_off() noexcept;

  /// Committed, but not to be found here (the store was replaced meanwhile): nothing can be read
  /// until the next lock.
  void lose() noexcept;

  /// True if what was copied out of the present state may be anything: it was taken back, or ended
  /// because readers kept too much.
  [[nodiscard]] bool is_lost() const noexcept { return lost_ || (pin_ && pin_.invalidated()); }
  /// Why. @pre is_lost()
  [[nodiscard]] std::error_code loss() const noexcept {
    return lost_ || !pin_ ? make_error_code(errc::stale_term) : pin_.why();
  }

  /// True once after the histories changed: SQLite must drop its page cache.
  [[nodiscard]] bool take_cache_reset() noexcept { return std::exchange(reset_cache_, false); }

  /// A transaction on an empty database makes its own first cookie.
  void start_empty() noexcept { cookie_offset_ = 0; }

  /// Copies a part of a page as SQLite should see it; zeros where the state has no such page.
  /// @throws std::bad_alloc @returns errors of page_store::reader::image()
  [[nodiscard]] std::error_code copy(page_number number, std::size_t within, bytes_span out);
  /// The same for a page that was found elsewhere; empty: zeros.
  void copy_part(bytes_view image, page_number number, std::size_t within,
                 bytes_span out) const noexcept;
  /// True if page 1 of the state has exactly this image.
  [[nodiscard]] bool has_page_one(bytes_view image);

  /// Page 1 as SQLite wrote it becomes page 1 as everybody may read it.
  void restore_page_one(bytes_span written);

 private:
  static constexpr std::uint32_t cookie_step = 1U << 20U;

  /// Empty: there is none, or it cannot be read; then the replica has halted, and nothing that is
  /// built on it will be committed.
  [[nodiscard]] bytes_view page_one(const page_store::reader::guard& guard,
                                    const page_store::pin& at);

  [[nodiscard]] std::uint32_t cookie_at(const page_store::pin& pin);

  void stand_on(page_store::pin pin) noexcept;

  void forget_what_was_read(bool schema_too) noexcept;

  static void hide_wal_mode(std::size_t within, bytes_span out) noexcept;

  void shift_cookie(bytes_view image, std::size_t within, bytes_span out) const noexcept;

  const std::shared_ptr<database> target_;
  std::weak_ptr<page_store> seen_;  // tells whether the store is another than last time
  std::shared_ptr<page_store> store_;
  std::optional<page_store::reader> reader_;
  page_store::pin pin_;
  history_number seen_history_;
  version_number unsettled_;  // the newest state above committed that was read; 0: none
  std::uint32_t cookie_offset_ = 0;
  bool saw_pages_ = false;
  bool reset_cache_ = false;
  bool lost_ = false;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/sqlite/view.ipp"  // IWYU pragma: keep
#endif
