/// @file
/// How a flush or a stage takes pages, and what is undone if nothing comes of it. Templates, so
/// always included.
#pragma once

#include "quorlite/detail/file_storage/writer.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/detail/file_storage/double_write.hpp"
#include "quorlite/detail/storage_rules/position_rules.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"
#include "quorlite/storage.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

template <file_system FileSystem>
file_writer<FileSystem>::file_writer(file_writer&& other) noexcept
    : place_(std::exchange(other.place_, nullptr)),
      is_flush_(other.is_flush_),
      ahead_(other.ahead_),
      failed_(other.failed_),
      batches_(std::move(other.batches_)) {}

template <file_system FileSystem>
file_writer<FileSystem>& file_writer<FileSystem>::operator=(file_writer&& other) noexcept {
  file_writer old(std::move(*this));
  place_ = std::exchange(other.place_, nullptr);
  is_flush_ = other.is_flush_;
  ahead_ = other.ahead_;
  failed_ = other.failed_;
  batches_ = std::move(other.batches_);
  return *this;
}

template <file_system FileSystem>
result<file_handle<FileSystem>> file_writer<FileSystem>::open(std::string_view name,
                                                              std::uint32_t page_size) noexcept
    try {
  if (const std::error_code refused = refusal_of(name, page_size)) {
    return fail(refused);
  }
  if (const std::error_code error = check()) {
    return fail(error);
  }
  batch fresh{std::make_shared<database_files<FileSystem>>(name), page_size, 0, true, true, {}};
  if (const std::error_code error = place_->begin(*fresh.target)) {
    return fail(error);
  }
  fresh.target->show(page_size, 0);
  database_type handle(fresh.target, page_size);
  keep(std::move(fresh));
  return handle;
} catch (const std::bad_alloc&) {
  return fail(errc::out_of_memory);
}

template <file_system FileSystem>
std::error_code file_writer<FileSystem>::write(const database_type& database,
                                               std::span<const page_view> sorted,
                                               std::uint64_t page_count) noexcept try {
  if (const std::error_code error = check()) {
    return error;
  }
  const auto joined = join(database);
  if (!joined) {
    return joined.error();
  }
  batch& into = **joined;
  if (into.target != database.content_ || into.page_size != database.page_size_ ||
      !ascend(sorted, into.page_size, page_count)) {
    return make_error_code(errc::malformed);
  }
  if (const std::error_code error = put(into, sorted)) {
    return spoil(error);
  }
  into.page_count = page_count;
  if (into.shown) {
    into.target->show(into.page_size, page_count);
  }
  return {};
} catch (const std::bad_alloc&) {
  return spoil(make_error_code(errc::out_of_memory));
}

template <file_system FileSystem>
file_writer<FileSystem>::file_writer(place_type& place, bool is_flush,
                                     const history_position& ahead) noexcept
    : place_(&place), is_flush_(is_flush), ahead_(ahead) {
  if (is_flush) {
    place.flushing = true;
  }
}

template <file_system FileSystem>
std::error_code file_writer<FileSystem>::spoil(std::error_code error) noexcept {
  const bool may_be_tried_again = error == errc::storage_full || error == errc::out_of_memory;
  failed_ = is_flush_ || !may_be_tried_again ? error : std::error_code{};
  return error;
}

template <file_system FileSystem>
void file_writer<FileSystem>::keep(batch fresh) {
  const auto known = batches_.find(fresh.target->name());
  if (known == batches_.end()) {
    // The files go if this throws: nobody else would remember them.
    const std::string name = fresh.target->name();
    try {
      batches_.emplace(name, fresh);
    } catch (const std::bad_alloc&) {
      undo(fresh);
      throw;
    }
  } else {
    undo(known->second);
    known->second = std::move(fresh);
  }
}

template <file_system FileSystem>
result<typename file_writer<FileSystem>::batch*> file_writer<FileSystem>::join(
    const database_type& database) {
  const auto known = batches_.find(database.content_->name());
  if (known != batches_.end()) {
    return &known->second;
  }
  const content& target = database.content_;
  batch fresh{target, database.page_size_, target->page_count(), false, false, {}};
  const bool living = is_flush_ && place_->is_living(target);
  const bool resized = target->page_size() != 0 && target->page_size() != fresh.page_size;
  if ((living && resized) || (!living && !(is_flush_ && place_->is_pending_create(target)))) {
    return quorlite::fail(errc::malformed);
  }
  if (!living) {
    fresh.begun = true;
    if (const std::error_code error = place_->begin(*target)) {
      return quorlite::fail(error);
    }
  }
  keep(std::move(fresh));
  return &batches_.find(target->name())->second;
}

template <file_system FileSystem>
std::error_code file_writer<FileSystem>::put(batch& into, std::span<const page_view> sorted) {
  const std::size_t batch_pages = place_->options().write_batch_pages;
  storage_health& health = place_->health();
  if (into.begun) {
    return health.after(into.target->write(sorted, into.page_size, batch_pages));
  }
  // Bytes beyond the page count are nobody's: only those below need care.
  const std::uint64_t count = into.target->page_count();
  if (!place_->options().double_write) {
    const bool overwrites = !sorted.empty() && sorted.front().number.value <= count;
    if (const auto error = overwrites ? place_->promise(ahead_) : std::error_code{}) {
      return error;
    }
    return health.after(into.target->write(sorted, into.page_size, batch_pages));
  }
  if (const auto error = place_->double_write().append(
          double_write_kind::pages, into.target->name(), sorted, into.page_size, batch_pages)) {
    return error;
  }
  into.hashes.add(*into.target, sorted);
  // New pages are written at once, too: the copy must not be the one who finds the disk full.
  // Not next to the old ones, which may share a sector with them.
  const std::uint64_t apart = count + largest_sector / limits::page_size_min;
  const auto first = std::partition_point(sorted.begin(), sorted.end(), [apart](const auto& page) {
    return page.number.value <= apart;
  });
  return health.after(
      into.target->write(sorted.subspan(static_cast<std::size_t>(first - sorted.begin())),
                         into.page_size, batch_pages, false));
}

template <file_system FileSystem>
void file_writer<FileSystem>::undo(batch& unwanted) noexcept {
  if (unwanted.begun) {
    place_->discard(*unwanted.target);
    if (!unwanted.shown) {
      unwanted.target->forget_files();  // the next flush begins it again
    }
  }
}

template <file_system FileSystem>
void file_writer<FileSystem>::release() noexcept {
  if (is_flush_ && place_ != nullptr) {
    place_->flushing = false;
  }
  place_ = nullptr;
  batches_.clear();
}

template <file_system FileSystem>
void file_writer<FileSystem>::drop() noexcept {
  if (place_ != nullptr) {
    for (auto& [name, unwanted] : batches_) {
      undo(unwanted);
    }
    release();
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
