/// @file
/// What each call of a storage in files does. Templates, so always included.
#pragma once

#include "quorlite/detail/file_storage/basic_file_storage.hpp"

#include <algorithm>
#include <cstdint>
#include <new>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/file_storage/advance.hpp"
#include "quorlite/detail/file_storage/recovery.hpp"
#include "quorlite/detail/file_storage/writer.hpp"
#include "quorlite/detail/storage_rules/position_rules.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/options.hpp"
#include "quorlite/storage.hpp"
#include "quorlite/storage/file_system.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

template <file_system FileSystem>
result<recovery> basic_file_storage<FileSystem>::recover() noexcept try {
  if (!place_.running()) {
    place_.health().forget_damage();
    std::error_code error = closed_ ? make_error_code(errc::storage_broken) : take();
    error = error ? error : file_recovery<FileSystem>(place_).run();
    if (error) {
      return fail(storage_error(error));
    }
  }
  if (const std::error_code error = place_.check()) {
    return fail(error);
  }
  const superblock& block = place_.current();
  recovery found;
  found.at = block.at;
  found.replay_from = block.replay_from;
  found.ahead = block.ahead;
  found.ahead_history = block.ahead_history;
  found.notes = block.notes;
  found.databases.reserve(block.databases.size());
  for (const auto& line : block.databases) {
    found.databases.push_back(
        {line.name, line.page_size, line.page_count, line.hash, line.version});
  }
  return found;
} catch (const std::bad_alloc&) {
  return fail(errc::out_of_memory);
}

template <file_system FileSystem>
std::error_code basic_file_storage<FileSystem>::close() noexcept try {
  if (!place_.running()) {
    return {};
  }
  place_.stop();
  closed_ = true;
  if (const std::error_code error = place_.health().check()) {
    return error;
  }
  place_.flushing = false;  // one that is still alive can do nothing any more
  if (place_.current().ahead != place_.current().at.index) {
    return {};
  }
  if (const std::error_code error = place_.settle()) {
    return error;
  }
  if (const std::error_code error = place_.set_guards(false)) {
    return error;
  }
  return place_.write_clean(true);
} catch (const std::bad_alloc&) {
  return make_error_code(errc::out_of_memory);
}

template <file_system FileSystem>
result<file_handle<FileSystem>> basic_file_storage<FileSystem>::open(
    std::string_view name, std::uint32_t page_size) noexcept try {
  if (const std::error_code refused = refusal_of(name, page_size)) {
    return fail(refused);
  }
  auto content = place_.open(name);
  if (content->page_size() != 0 && content->page_size() != page_size) {
    return fail(errc::malformed);
  }
  return database_type(std::move(content), page_size);
} catch (const std::bad_alloc&) {
  return fail(errc::out_of_memory);
}

template <file_system FileSystem>
std::error_code basic_file_storage<FileSystem>::read(const database_type& database,
                                                     page_number page,
                                                     bytes_span into) const noexcept {
  return database.content_->read(page, into);
}

template <file_system FileSystem>
std::error_code basic_file_storage<FileSystem>::read_hashes(
    const database_type& database, page_number first,
    std::span<std::uint64_t> into) const noexcept {
  return database.content_->read_hashes(first, into);
}

template <file_system FileSystem>
result<typename basic_file_storage<FileSystem>::flush_type>
basic_file_storage<FileSystem>::begin_flush(const history_position& ahead) noexcept {
  if (const std::error_code error = place_.check()) {
    return fail(error);
  }
  if (place_.flushing || ahead.index < place_.current().at.index) {
    return fail(place_.flushing ? errc::busy : errc::malformed);
  }
  if (const std::error_code error = place_.settle()) {
    return fail(error);
  }
  place_.double_write().restart();
  return flush_type(place_, ahead);
}

template <file_system FileSystem>
std::error_code basic_file_storage<FileSystem>::commit(flush_type flush,
                                                       const base_position& position) noexcept {
  return advance(flush, position, false);
}

template <file_system FileSystem>
result<typename basic_file_storage<FileSystem>::stage_type>
basic_file_storage<FileSystem>::begin_stage() noexcept {
  if (const std::error_code error = place_.check()) {
    return fail(error);
  }
  return stage_type(place_);
}

template <file_system FileSystem>
std::error_code basic_file_storage<FileSystem>::publish(stage_type&& stage,
                                                        const base_position& position) noexcept {
  return advance(stage, position, true);
}

template <file_system FileSystem>
file_options basic_file_storage<FileSystem>::with_bounds(file_options options) noexcept {
  options.write_batch_pages = std::max<std::size_t>(options.write_batch_pages, 1);
  return options;
}

template <file_system FileSystem>
std::error_code basic_file_storage<FileSystem>::take() {
  if (const std::error_code error = place_.health().check()) {
    return error;
  }
  auto& directory = place_.directory();
  if (const auto error = directory.make_directory(place_names::own)) {
    return place_.health().after(error, place_names::own);
  }
  if (!locked_) {
    const std::error_code error = directory.lock(place_names::lock);
    if (error) {
      return error == std::errc::device_or_resource_busy
                 ? make_error_code(errc::busy)
                 : place_.health().after(error, place_names::lock);
    }
    locked_ = true;
  }
  if (const auto error = directory.make_directory(place_names::hashes)) {
    return place_.health().after(error, place_names::hashes);
  }
  return {};
}

template <file_system FileSystem>
std::error_code basic_file_storage<FileSystem>::advance(file_writer<FileSystem>& writer,
                                                        const base_position& position,
                                                        bool whole) noexcept try {
  QUORLITE_ASSERT(writer.place_ == &place_);  // of this storage, and not moved from
  return file_advance<FileSystem>(place_, writer, position, whole).run();
} catch (const std::bad_alloc&) {
  return make_error_code(errc::out_of_memory);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
