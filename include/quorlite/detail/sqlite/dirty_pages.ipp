/// @file
/// Bodies of dirty_pages.hpp.
#pragma once

#include "quorlite/detail/sqlite/dirty_pages.hpp"

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

QUORLITE_DECL page_version* write_set::find(page_number number) const noexcept {
  if (pages_.empty()) {
    return nullptr;
  }
  const std::uint32_t place = places_[slot_of(number)];
  return place == vacant ? nullptr : pages_[place].get();
}

QUORLITE_DECL page_version& write_set::add(page_number number, std::uint32_t page_size) {
  page_block page = make_page(number, page_size);
  page_version& added = *page;
  insert(std::move(page));
  return added;
}

QUORLITE_DECL void write_set::cut(std::uint64_t count) noexcept {
  const auto beyond = [count](const page_block& page) { return page->number().value > count; };
  const auto kept = std::remove_if(pages_.begin(), pages_.end(), beyond);
  if (kept != pages_.end()) {
    pages_.erase(kept, pages_.end());
    index_again();
  }
}

QUORLITE_DECL void write_set::clear() noexcept {
  pages_.clear();
  if (places_.size() > keep_places) {
    places_ = {};
  } else {
    std::fill(places_.begin(), places_.end(), vacant);
  }
}

QUORLITE_DECL std::vector<page_block> write_set::take(std::uint64_t count) {
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

QUORLITE_DECL void write_set::give_back(std::vector<page_block>&& pages) {
  for (page_block& page : pages) {
    insert(std::move(page));
  }
  pages.clear();
}

QUORLITE_DECL void write_set::insert(page_block page) {
  if (places_.size() < 2 * (pages_.size() + 1)) {
    places_.assign(std::max(first_places, 2 * places_.size()), vacant);
    index_again();
  }
  const page_number number = page->number();
  pages_.push_back(std::move(page));
  places_[slot_of(number)] = static_cast<std::uint32_t>(pages_.size() - 1);
}

QUORLITE_DECL void write_set::index_again() noexcept {
  std::fill(places_.begin(), places_.end(), vacant);
  for (std::size_t place = 0; place < pages_.size(); ++place) {
    places_[slot_of(pages_[place]->number())] = static_cast<std::uint32_t>(place);
  }
}

QUORLITE_DECL std::size_t write_set::slot_of(page_number number) const noexcept {
  const std::size_t mask = places_.size() - 1;
  std::size_t slot = ((number.value * 0x9E3779B1U) >> 7U) & mask;
  while (places_[slot] != vacant && pages_[places_[slot]]->number() != number) {
    slot = (slot + 1) & mask;
  }
  return slot;
}

QUORLITE_DECL void dirty_pages::begin(const page_store::pin& base) noexcept {
  page_size_ = base.page_size();
  page_count_ = base.page_count();
  base_pages_ = page_count_;
}

QUORLITE_DECL void dirty_pages::clear() noexcept {
  pages_.clear();
  page_size_ = 0;
  page_count_ = 0;
  base_pages_ = 0;
}

QUORLITE_DECL bytes_view dirty_pages::image_of(page_number number) const noexcept {
  const page_version* const page = pages_.find(number);
  return page == nullptr ? bytes_view{} : page->image();
}

QUORLITE_DECL std::error_code dirty_pages::write(std::uint64_t offset, bytes_view image,
                                                 database_view& view) {
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

QUORLITE_DECL std::error_code dirty_pages::resize(std::uint64_t size_bytes) noexcept {
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

QUORLITE_DECL bool dirty_pages::changes_anything(database_view& view) const {
  const page_version* const one = pages_.find(page_number{1});
  if (one != nullptr) {
    return base_pages_ == 0 || !view.has_page_one(one->image());
  }
  return page_count_ != view.page_count();
}

QUORLITE_DECL bool dirty_pages::has_other_page_size() const noexcept {
  const page_version* const one = pages_.find(page_number{1});
  return one != nullptr && stated_page_size(one->image()) != page_size_;
}

QUORLITE_DECL std::error_code dirty_pages::move_into(database_write& change) {
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

QUORLITE_DECL std::uint64_t dirty_pages::stated_page_size(bytes_view one) noexcept {
  return std::uint64_t{std::to_integer<std::uint32_t>(one[16])} << 8U |
         std::uint64_t{std::to_integer<std::uint32_t>(one[17])} << 16U;
}

QUORLITE_DECL std::uint64_t dirty_pages::stated_page_count(bytes_view one) const noexcept {
  const std::uint32_t count = header_number(one, 28);
  const bool valid = count != 0 && header_number(one, 24) == header_number(one, 92);
  return valid ? count : page_count_;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
