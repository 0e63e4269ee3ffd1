/// @file
/// How contents begin, and how the record and what it makes due are written. Templates, so always
/// included.
#pragma once

#include "quorlite/detail/file_storage/file_place.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/detail/file_storage/data_directory.hpp"
#include "quorlite/detail/file_storage/double_write.hpp"
#include "quorlite/detail/file_storage/superblock.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

template <file_system FileSystem>
void file_place<FileSystem>::start(superblock block, contents databases) noexcept {
  const std::lock_guard guard(mutex_);
  next_generation_ = block.next_generation;
  current_ = std::move(block);
  catalogue_.replace(databases);
  running_ = true;
}

template <file_system FileSystem>
typename file_place<FileSystem>::content file_place<FileSystem>::open(std::string_view name) {
  const std::lock_guard guard(mutex_);
  return catalogue_.open(name);
}

template <file_system FileSystem>
bool file_place<FileSystem>::is_pending_create(const content& which) const noexcept {
  const std::lock_guard guard(mutex_);
  return catalogue_.is_pending_create(which);
}

template <file_system FileSystem>
std::error_code file_place<FileSystem>::begin(database& fresh) {
  std::uint64_t generation = 0;
  bool ours = false;
  {
    const std::lock_guard guard(mutex_);
    generation = next_generation_++;
    ours = databases().contains(fresh.name()) || is_removed(fresh.name());
  }
  if (!ours) {
    if (const std::error_code error = check_vacant(fresh.name())) {
      return error;
    }
  }
  const std::string data_path = place_names::staged_data_of(generation);
  const std::string hashes_path = place_names::staged_hashes_of(generation);
  auto data = directory_.open(data_path, open_mode::truncated);
  if (!data) {
    return health_.after(data.error());
  }
  auto hashes = directory_.open(hashes_path, open_mode::truncated);
  std::error_code error = hashes ? std::error_code{} : hashes.error();
  if (!error) {
    error = fresh.begin(std::move(*data), std::move(*hashes), generation);
  }
  if (error) {
    fresh.forget_files();
    static_cast<void>(directory_.remove(data_path));
    static_cast<void>(directory_.remove(hashes_path));
  }
  return health_.after(error);
}

template <file_system FileSystem>
void file_place<FileSystem>::discard(database& unwanted) noexcept try {
  if (health_.check()) {
    return;
  }
  static_cast<void>(directory_.remove(place_names::staged_data_of(unwanted.generation())));
  static_cast<void>(directory_.remove(place_names::staged_hashes_of(unwanted.generation())));
} catch (const std::bad_alloc&) {
}

template <file_system FileSystem>
std::error_code file_place<FileSystem>::promise(const history_position& ahead) {
  if (ahead.index <= current_.ahead) {
    return {};
  }
  const history_position before{current_.ahead, current_.ahead_history};
  const bool told = current_.tells_history;
  current_.promise(ahead);
  const std::error_code error = slots_.write(current_);
  if (error) {
    current_.ahead = before.index;
    current_.ahead_history = before.hash;
    current_.tells_history = told;
  }
  return error;
}

template <file_system FileSystem>
std::uint64_t file_place<FileSystem>::next_generation() const noexcept {
  const std::lock_guard guard(mutex_);
  return next_generation_;
}

template <file_system FileSystem>
void file_place<FileSystem>::stand_at(superblock block, contents& databases) noexcept {
  const std::lock_guard guard(mutex_);
  current_ = std::move(block);
  catalogue_.replace(databases);
}

template <file_system FileSystem>
std::error_code file_place<FileSystem>::write_clean(bool clean) {
  const bool before = std::exchange(current_.clean, clean);
  const std::error_code error = slots_.write(current_);
  if (error) {
    current_.clean = before;
  }
  return error;
}

template <file_system FileSystem>
std::error_code file_place<FileSystem>::copy_double_write() {
  const double_write_extent extent = *current_.double_write;
  const auto copy = [this](double_write_kind kind, std::string_view name, std::uint32_t page_size,
                           std::span<const page_view> pages) -> std::error_code {
    const auto found = databases().find(name);
    if (found == databases().end()) {
      return {};  // dropped by the same commit
    }
    if (kind == double_write_kind::hashes) {
      return found->second->write_hash_blocks(pages);
    }
    const std::uint64_t count = found->second->page_count();
    const auto end = std::partition_point(pages.begin(), pages.end(), [count](const auto& page) {
      return page.number.value <= count;
    });
    return found->second->write(pages.first(static_cast<std::size_t>(end - pages.begin())),
                                page_size, options_.write_batch_pages, false);
  };
  if (const std::error_code error = double_write_.visit(extent, copy)) {
    return error;
  }
  const auto sync = [this](double_write_kind, std::string_view name, std::uint32_t,
                           std::span<const page_view>) -> std::error_code {
    const auto found = databases().find(name);
    return found == databases().end() ? std::error_code{}
                                      : health_.after_sync(found->second->sync());
  };
  return double_write_.visit(extent, sync);
}

template <file_system FileSystem>
std::error_code file_place<FileSystem>::end_double_write() {
  const auto extent = std::exchange(current_.double_write, std::nullopt);
  const std::error_code error = slots_.write(current_);
  if (error) {
    current_.double_write = extent;
  }
  return error;
}

template <file_system FileSystem>
std::error_code file_place<FileSystem>::set_guards(bool on) {
  if (options_.double_write) {
    if (const std::error_code error = save_first_pages(on)) {
      return error;
    }
    if (on) {
      const bool copies = current_.double_write.has_value();
      const std::error_code error = copies ? health_.after(copy_double_write()) : std::error_code{};
      return error || !copies ? error : end_double_write();
    }
  }
  for (const auto& [name, which] : databases()) {
    if (const auto error = health_.after(which->set_guard(on))) {
      return error;
    }
    if (const auto error = on ? std::error_code{} : health_.after_sync(which->sync_data())) {
      return error;
    }
  }
  current_.double_write.reset();  // with the record that follows
  return {};
}

template <file_system FileSystem>
std::error_code file_place<FileSystem>::settle() noexcept try {
  if (current_.double_write) {
    if (const std::error_code error = end_double_write()) {
      return error;
    }
  }
  for (const auto& [name, which] : databases()) {
    if (const std::error_code error = settle(*which)) {
      return error;
    }
  }
  if (names_changed_) {
    if (const std::error_code error = sync_names()) {
      return error;
    }
    names_changed_ = false;
  }
  return current_.removals.empty() ? std::error_code{} : remove_files();
} catch (const std::bad_alloc&) {
  return make_error_code(errc::out_of_memory);
}

template <file_system FileSystem>
std::error_code file_place<FileSystem>::sync_names() noexcept {
  if (const auto error = health_.after_sync(directory_.sync(place_names::root))) {
    return error;
  }
  return health_.after_sync(directory_.sync(place_names::hashes));
}

template <file_system FileSystem>
bool file_place<FileSystem>::is_removed(std::string_view name) const noexcept {
  return std::any_of(current_.removals.begin(), current_.removals.end(),
                     [name](const auto& line) { return line.name == name; });
}

template <file_system FileSystem>
std::error_code file_place<FileSystem>::check_vacant(std::string_view name) {
  const auto found = directory_.find(place_names::data_of(name));
  if (found) {
    return *found ? make_error_code(errc::corrupt) : std::error_code{};
  }
  const std::error_code why = found.error();
  // A directory, a link, a pipe: not ours either, and nothing of ours is broken.
  const bool other = why == std::errc::is_a_directory || why == std::errc::invalid_argument ||
                     why == std::errc::too_many_symbolic_link_levels;
  return other ? make_error_code(errc::corrupt) : health_.after(why);
}

template <file_system FileSystem>
std::error_code file_place<FileSystem>::settle(database& which) {
  if (which.data_staged()) {
    if (const auto error = health_.after(directory_.rename(
            place_names::staged_data_of(which.generation()), place_names::data_of(which.name())))) {
      return error;
    }
    which.data_placed();
    names_changed_ = true;
  }
  if (which.hashes_staged()) {
    if (const auto error =
            health_.after(directory_.rename(place_names::staged_hashes_of(which.generation()),
                                            place_names::hashes_of(which.name())))) {
      return error;
    }
    which.hashes_placed();
    names_changed_ = true;
  }
  // A flush that is under way, or was dropped, may have left more; it is cut before its next use.
  return which.extent() > which.page_count() && !flushing
             ? health_.after(which.set_extent(which.page_count(), which.page_size()))
             : std::error_code{};
}

template <file_system FileSystem>
std::error_code file_place<FileSystem>::save_first_pages(bool without_guard_only) {
  double_write_.restart();
  for (const auto& [name, which] : databases()) {
    const result<bool> wanted =
        without_guard_only ? which->lacks_guard() : result<bool>(which->page_count() != 0);
    if (!wanted) {
      return health_.after(wanted.error());
    }
    if (!*wanted) {
      continue;
    }
    bytes image(which->page_size());
    std::uint64_t hash = 0;
    std::error_code error = which->read(page_number{1}, image);
    error = error ? error : which->read_hashes(page_number{1}, {&hash, 1});
    const page_view page{page_number{1}, hash, image};
    error = error ? error
                  : double_write_.append(double_write_kind::pages, name, {&page, 1},
                                         which->page_size(), 1);
    if (error) {
      return error;
    }
  }
  if (const std::error_code error = double_write_.sync()) {
    return error;
  }
  current_.double_write = double_write_.extent();
  return current_.double_write ? slots_.write(current_) : std::error_code{};
}

template <file_system FileSystem>
std::error_code file_place<FileSystem>::remove_files() {
  for (const auto& line : current_.removals) {
    if (const auto error = health_.after(directory_.remove(place_names::data_of(line.name)))) {
      return error;
    }
  }
  if (const auto error = health_.after_sync(directory_.sync(place_names::root))) {
    return error;
  }
  for (const auto& line : current_.removals) {
    if (const auto error = health_.after(directory_.remove(place_names::hashes_of(line.name)))) {
      return error;
    }
  }
  // Else a crash could bring them back, and nobody would know of them any more.
  if (const auto error = health_.after_sync(directory_.sync(place_names::hashes))) {
    return error;
  }
  const std::lock_guard guard(mutex_);
  current_.removals.clear();
  return {};
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
