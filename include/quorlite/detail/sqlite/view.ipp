/// @file
/// Bodies of view.hpp.
#pragma once

#include "quorlite/detail/sqlite/view.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/pages/page_store.hpp"
#include "quorlite/detail/pages/registry.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL std::uint32_t header_number(bytes_view page_one, std::size_t at) noexcept {
  std::uint32_t number = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    number = number << 8U | std::to_integer<std::uint32_t>(page_one[at + i]);
  }
  return number;
}

QUORLITE_DECL void set_header_number(bytes_span page_one, std::size_t at,
                                     std::uint32_t number) noexcept {
  for (std::size_t i = 0; i < 4; ++i) {
    page_one[at + i] = static_cast<std::byte>(number >> (24U - 8U * i));
  }
}

QUORLITE_DECL database_view::database_view(std::shared_ptr<database> target)
    : target_(std::move(target)) {
  const std::shared_ptr<page_store> now = target_->store();
  seen_ = now;
  seen_history_ = now->history();
}

QUORLITE_DECL void database_view::turn_to_current() {
  std::shared_ptr<page_store> now = target_->store();
  if (now == store_) {
    return;
  }
  pin_.reset();
  reader_.reset();
  store_ = std::move(now);
  reader_.emplace(store_);
  if (store_.owner_before(seen_) || seen_.owner_before(store_)) {
    forget_what_was_read(saw_pages_);
    seen_history_ = store_->history();
    seen_ = store_;
  }
}

QUORLITE_DECL void database_view::stand_on_head() {
  stand_on(store_->pin_head(pin_kind::reader));
  const bool settled = store_->committed().version >= pin_.version();
  // In this order: a committed version of another history says nothing about this pin.
  if (!settled || store_->history() != pin_.history()) {
    unsettled_ = pin_.version();
  }
}

QUORLITE_DECL void database_view::stand_on_own(page_store::pin committed) noexcept {
  pin_ = std::move(committed);
  saw_pages_ = true;
  const bool settled = store_->committed().version >= pin_.version();
  unsettled_ = settled ? version_number{} : pin_.version();
  if (pin_.history() != seen_history_) {
    seen_history_ = pin_.history();
    reset_cache_ = true;
  }
}

QUORLITE_DECL bool database_view::is_schema_pending() {
  const page_store::pin committed = store_->pin_committed();
  const page_store::pin head = store_->pin_head();
  return committed.version() != head.version() && cookie_at(committed) != cookie_at(head);
}

QUORLITE_DECL void database_view::step_off() noexcept {
  pin_.reset();
  reader_.reset();
  store_.reset();
  lost_ = false;
}

QUORLITE_DECL void database_view::lose() noexcept {
  lost_ = true;
  reset_cache_ = true;
}

QUORLITE_DECL std::error_code database_view::copy(page_number number, std::size_t within,
                                                  bytes_span out) {
  const auto guard = reader_->enter();
  const result<bytes_view> image = reader_->image(guard, pin_, number);
  if (!image) {
    return image.error();
  }
  copy_part(*image, number, within, out);
  return {};
}

QUORLITE_DECL void database_view::copy_part(bytes_view image, page_number number,
                                            std::size_t within, bytes_span out) const noexcept {
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

QUORLITE_DECL bool database_view::has_page_one(bytes_view image) {
  const auto guard = reader_->enter();
  const bytes_view one = page_one(guard, pin_);
  return one.size() == image.size() && std::equal(one.begin(), one.end(), image.begin());
}

QUORLITE_DECL void database_view::restore_page_one(bytes_span written) {
  set_header_number(written, schema_cookie_at,
                    header_number(written, schema_cookie_at) - cookie_offset_);
  const auto guard = reader_->enter();
  const bytes_view before = page_one(guard, pin_);
  for (std::size_t at = format_versions_at; at < format_versions_at + 2; ++at) {
    reset_cache_ = reset_cache_ || written[at] == wal_format;
    if (!before.empty() && written[at] == rollback_format && before[at] == wal_format) {
      written[at] = wal_format;
    }
  }
}

QUORLITE_DECL bytes_view database_view::page_one(const page_store::reader::guard& guard,
                                                 const page_store::pin& at) {
  const result<bytes_view> image = reader_->image(guard, at, page_number{1});
  return image ? *image : bytes_view{};
}

QUORLITE_DECL std::uint32_t database_view::cookie_at(const page_store::pin& pin) {
  const auto guard = reader_->enter();
  const bytes_view one = page_one(guard, pin);
  return one.empty() ? 0 : header_number(one, schema_cookie_at);
}

QUORLITE_DECL void database_view::stand_on(page_store::pin pin) noexcept {
  pin_ = std::move(pin);
  lost_ = false;
  saw_pages_ = saw_pages_ || pin_.page_count() != 0;
  if (pin_.history() != seen_history_) {
    seen_history_ = pin_.history();
    forget_what_was_read(unsettled_ != version_number{});
  } else if (unsettled_ <= pin_.version()) {
    unsettled_ = {};
  }
}

QUORLITE_DECL void database_view::forget_what_was_read(bool schema_too) noexcept {
  reset_cache_ = true;
  unsettled_ = {};
  if (schema_too) {
    cookie_offset_ += cookie_step;
  }
}

QUORLITE_DECL void database_view::hide_wal_mode(std::size_t within, bytes_span out) noexcept {
  for (std::size_t at = format_versions_at; at < format_versions_at + 2; ++at) {
    if (at >= within && at - within < out.size() && out[at - within] == wal_format) {
      out[at - within] = rollback_format;
    }
  }
}

QUORLITE_DECL void database_view::shift_cookie(bytes_view image, std::size_t within,
                                               bytes_span out) const noexcept {
  const std::size_t first = std::max(within, schema_cookie_at);
  const std::size_t last = std::min(within + out.size(), schema_cookie_at + 4);
  const std::uint32_t cookie = header_number(image, schema_cookie_at) + cookie_offset_;
  for (std::size_t at = first; at < last; ++at) {
    out[at - within] = static_cast<std::byte>(cookie >> (24U - 8U * (at - schema_cookie_at)));
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
