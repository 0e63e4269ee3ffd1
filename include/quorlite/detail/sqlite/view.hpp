/// @file
/// What one file handle sees of a database: the version it stands on, and what it saw before.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/detail/pages/page_store.hpp"
#include "quorlite/detail/pages/registry.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Big-endian numbers of the database header (sqlite.org/fileformat2.html, 1.3).
[[nodiscard]] inline std::uint32_t header_number(bytes_view page_one, std::size_t at) noexcept {
  std::uint32_t number = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    number = number << 8U | std::to_integer<std::uint32_t>(page_one[at + i]);
  }
  return number;
}
inline void set_header_number(bytes_span page_one, std::size_t at, std::uint32_t number) noexcept {
  for (std::size_t i = 0; i < 4; ++i) {
    page_one[at + i] = static_cast<std::byte>(number >> (24U - 8U * i));
  }
}
inline constexpr std::size_t header_bytes = 100;
inline constexpr std::size_t schema_cookie_at = 40;
/// The write and the read version of the file format: 1, or 2 in WAL mode.
inline constexpr std::size_t format_versions_at = 18;
inline constexpr std::byte rollback_format{1};
inline constexpr std::byte wal_format{2};

/// Stands on one version at a time, between SQLite's lock and unlock. One thread.
///
/// Page caches above a view outlive its lock. SQLite tells a stale cache by bytes 24..39 of the
/// header, and a stale schema by the cookie at 40..43. Both are counters, and after a lost
/// leadership both count through the same values again, on another history. So:
/// * in a new epoch the next look at bytes 24..39 is answered with 0xFF, which no database has;
/// * a view that stood on a state which was taken back adds 2^20 to every cookie it reads from then
///   on, and takes it off again when page 1 is written. Other handles never notice.
///
/// A database that comes from elsewhere may say in page 1 that it is in WAL mode. Here it cannot
/// be: SQLite is shown 1 for 2 at bytes 18 and 19. What is stored there stays as it was.
class database_view {
 public:
  explicit database_view(std::shared_ptr<database> target)
      : target_(std::move(target)), store_(target_->store()), seen_epoch_(store_->epoch()) {
    reader_.emplace(store_);
  }

  [[nodiscard]] database& target() const noexcept { return *target_; }
  [[nodiscard]] const std::shared_ptr<database>& shared_target() const noexcept { return target_; }
  [[nodiscard]] const std::shared_ptr<page_store>& store() const noexcept { return store_; }
  [[nodiscard]] const page_store::pin& at() const noexcept { return pin_; }
  [[nodiscard]] std::uint64_t page_count() const noexcept { return pin_ ? pin_.page_count() : 0; }
  [[nodiscard]] std::uint32_t page_size() const noexcept { return pin_ ? pin_.page_size() : 0; }

  /// Looks at what the name contains now. A drop or a restore may have replaced the store: another
  /// history, whose counters mean nothing here.
  void turn_to_current() {
    std::shared_ptr<page_store> now = target_->store();
    if (now != store_) {
      pin_.reset();
      reader_.reset();
      store_ = std::move(now);
      reader_.emplace(store_);
      forget_what_was_read(saw_pages_);
      seen_epoch_ = store_->epoch();
    }
  }
  [[nodiscard]] bool is_current() const { return target_->store() == store_; }

  void stand_on_committed() { stand_on(store_->pin_committed()); }

  /// For writers only: the tip may yet be taken back.
  void stand_on_tip() {
    stand_on(store_->pin_tip());
    const bool settled = store_->committed().version >= pin_.version();
    // In this order: a committed version of another epoch says nothing about this pin.
    if (!settled || store_->epoch() != pin_.epoch()) {
      unsettled_ = pin_.version();
    }
  }

  /// The own transaction was committed, and everything that it was built on was too. (If a host
  /// answers before that is so, the state still counts as one that may be taken back.)
  void stand_on_own(page_store::pin committed) noexcept {
    pin_ = std::move(committed);
    saw_pages_ = true;
    const bool settled = store_->committed().version >= pin_.version();
    unsettled_ = settled ? version_number{} : pin_.version();
    if (pin_.epoch() != seen_epoch_) {
      seen_epoch_ = pin_.epoch();
      reset_cache_ = true;
    }
  }

  /// True while a change of the schema is pending.
  [[nodiscard]] bool is_schema_pending() {
    const page_store::pin committed = store_->pin_committed();
    const page_store::pin tip = store_->pin_tip();
    return committed.version() != tip.version() && cookie_at(committed) != cookie_at(tip);
  }

  /// A transaction was rolled back. What SQLite remembers of bytes 24..39 may be those that it
  /// wrote: the next transaction, of anybody, has the same.
  void distrust_cache() noexcept { reset_cache_ = true; }

  void step_off() noexcept {
    pin_.reset();
    lost_ = false;
  }

  /// Committed, but not to be found here (the store was replaced meanwhile): nothing can be read
  /// until the next lock.
  void lose() noexcept {
    lost_ = true;
    reset_cache_ = true;
  }

  /// True if what was copied out of the present state may be anything: it was taken back.
  [[nodiscard]] bool is_lost() const noexcept { return lost_ || (pin_ && pin_.doomed()); }

  /// True once after the histories changed: SQLite must drop its page cache.
  [[nodiscard]] bool take_cache_reset() noexcept { return std::exchange(reset_cache_, false); }

  /// A transaction on an empty database makes its own first cookie.
  void start_empty() noexcept { cookie_offset_ = 0; }

  /// Copies a part of a page as SQLite should see it; zeros where the state has no such page.
  /// @throws std::bad_alloc @returns errors of page_store::reader::image()
  [[nodiscard]] std::error_code copy(page_number number, std::size_t within, bytes_span out) {
    const auto guard = reader_->enter();
    const result<bytes_view> image = reader_->image(guard, pin_, number);
    if (!image) {
      return image.error();
    }
    copy_part(*image, number, within, out);
    return {};
  }
  /// The same for a page that was found elsewhere; empty: zeros.
  void copy_part(bytes_view image, page_number number, std::size_t within,
                 bytes_span out) const noexcept {
    if (within + out.size() > image.size()) {
      std::fill(out.begin(), out.end(), std::byte{0});
      return;
    }
    std::memcpy(out.data(), image.data() + within, out.size());
    if (number.value == 1) {
      hide_wal_mode(within, out);
      if (cookie_offset_ != 0) {
        shift_cookie(image, within, out);
      }
    }
  }
  /// True if page 1 of the state has exactly this image.
  [[nodiscard]] bool has_page_one(bytes_view image) {
    const auto guard = reader_->enter();
    const bytes_view one = page_one(guard, pin_);
    return one.size() == image.size() && std::equal(one.begin(), one.end(), image.begin());
  }

  /// Page 1 as SQLite wrote it becomes page 1 as everybody may read it.
  void restore_page_one(bytes_span written) {
    set_header_number(written, schema_cookie_at,
                      header_number(written, schema_cookie_at) - cookie_offset_);
    const auto guard = reader_->enter();
    const bytes_view before = page_one(guard, pin_);
    for (std::size_t at = format_versions_at; !before.empty() && at < format_versions_at + 2;
         ++at) {
      if (written[at] == rollback_format && before[at] == wal_format) {
        written[at] = wal_format;
      }
    }
  }

 private:
  static constexpr std::uint32_t cookie_step = 1U << 20U;

  /// Empty: there is none, or it cannot be read; then the replica has halted, and nothing that is
  /// built on it will be committed.
  [[nodiscard]] bytes_view page_one(const page_store::reader::guard& guard,
                                    const page_store::pin& at) {
    const result<bytes_view> image = reader_->image(guard, at, page_number{1});
    return image ? *image : bytes_view{};
  }

  [[nodiscard]] std::uint32_t cookie_at(const page_store::pin& pin) {
    const auto guard = reader_->enter();
    const bytes_view one = page_one(guard, pin);
    return one.empty() ? 0 : header_number(one, schema_cookie_at);
  }

  void stand_on(page_store::pin pin) noexcept {
    pin_ = std::move(pin);
    lost_ = false;
    saw_pages_ = saw_pages_ || pin_.page_count() != 0;
    if (pin_.epoch() != seen_epoch_) {
      seen_epoch_ = pin_.epoch();
      forget_what_was_read(unsettled_ != version_number{});
    } else if (unsettled_ <= pin_.version()) {
      unsettled_ = {};
    }
  }

  void forget_what_was_read(bool schema_too) noexcept {
    reset_cache_ = true;
    unsettled_ = {};
    if (schema_too) {
      cookie_offset_ += cookie_step;
    }
  }

  static void hide_wal_mode(std::size_t within, bytes_span out) noexcept {
    for (std::size_t at = format_versions_at; at < format_versions_at + 2; ++at) {
      if (at >= within && at - within < out.size() && out[at - within] == wal_format) {
        out[at - within] = rollback_format;
      }
    }
  }

  void shift_cookie(bytes_view image, std::size_t within, bytes_span out) const noexcept {
    const std::size_t first = std::max(within, schema_cookie_at);
    const std::size_t last = std::min(within + out.size(), schema_cookie_at + 4);
    const std::uint32_t cookie = header_number(image, schema_cookie_at) + cookie_offset_;
    for (std::size_t at = first; at < last; ++at) {
      out[at - within] = static_cast<std::byte>(cookie >> (24U - 8U * (at - schema_cookie_at)));
    }
  }

  const std::shared_ptr<database> target_;
  std::shared_ptr<page_store> store_;
  std::optional<page_store::reader> reader_;
  page_store::pin pin_;
  epoch_number seen_epoch_;
  version_number unsettled_;  // the newest state above committed that was read; 0: none
  std::uint32_t cookie_offset_ = 0;
  bool saw_pages_ = false;
  bool reset_cache_ = false;
  bool lost_ = false;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
