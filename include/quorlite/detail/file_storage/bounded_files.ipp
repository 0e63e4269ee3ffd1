/// @file
/// How files are opened again, and closed for others. Templates, so always included.
#pragma once

#include "quorlite/detail/file_storage/bounded_files.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/storage/file_system.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

template <file_system FileSystem>
std::error_code file_pool<FileSystem>::open(member& fresh, std::string_view path, open_mode mode) {
  const std::lock_guard guard(mutex_);
  fresh.path = path;
  if (const std::error_code error = open_again(fresh, path, mode)) {
    return error;
  }
  try {
    fresh.name = names_.emplace(fresh.path, &fresh);
  } catch (const std::bad_alloc&) {
    used_.erase(fresh.place);
    fresh.opened.reset();
    throw std::bad_alloc();  // clang-tidy takes a bare `throw` for any exception
  }
  return {};
}

template <file_system FileSystem>
void file_pool<FileSystem>::close(member& old) noexcept {
  const std::lock_guard guard(mutex_);
  names_.erase(old.name);
  if (old.opened && !old.is_kept) {
    used_.erase(old.place);
  }
}

template <file_system FileSystem>
std::error_code file_pool<FileSystem>::begin(member& used) noexcept try {
  const std::lock_guard guard(mutex_);
  if (!used.opened) {
    if (const std::error_code error = open_again(used, used.path, open_mode::existing)) {
      return error;
    }
  } else if (!used.is_kept) {
    used_.splice(used_.begin(), used_, used.place);
  }
  ++used.users;
  return {};
} catch (const std::bad_alloc&) {
  return std::make_error_code(std::errc::not_enough_memory);
}

template <file_system FileSystem>
void file_pool<FileSystem>::end(member& used, bool writes) noexcept {
  const std::lock_guard guard(mutex_);
  --used.users;
  used.is_written = used.is_written || writes;
  used.is_synced = used.is_synced && !writes;
}

template <file_system FileSystem>
std::error_code file_pool<FileSystem>::sync(member& used) noexcept {
  {
    const std::lock_guard guard(mutex_);
    if (used.failure) {
      return std::exchange(used.failure, {});
    }
    if (!used.opened && used.is_synced) {
      return {};
    }
  }
  if (const std::error_code error = begin(used)) {
    return error;
  }
  {
    const std::lock_guard guard(mutex_);
    used.is_written = false;  // a write that comes now is not told to be stored
  }
  const std::error_code error = used.opened->sync();
  end(used, false);
  const std::lock_guard guard(mutex_);
  used.is_synced = !error && !used.is_written;
  return error;
}

template <file_system FileSystem>
std::error_code file_pool<FileSystem>::let_go(std::string_view path, bool itself) noexcept try {
  const auto is_meant = [path, itself](std::string_view name) {
    return name.size() == path.size() ? itself : name[path.size()] == '/';
  };
  for (auto next = names_.lower_bound(path);
       next != names_.end() && std::string_view{next->first}.starts_with(path);) {
    const auto one = next++;
    if (!is_meant(one->first)) {
      continue;
    }
    member& kept = *one->second;
    if (kept.is_kept) {
      continue;
    }
    if (!kept.opened) {
      if (const auto error = open_again(kept, kept.path, open_mode::existing)) {
        return error;
      }
    }
    kept.is_kept = true;
    used_.erase(kept.place);
  }
  return {};
} catch (const std::bad_alloc&) {
  return std::make_error_code(std::errc::not_enough_memory);
}

template <file_system FileSystem>
std::vector<std::string> file_pool<FileSystem>::names_for(std::string_view from,
                                                          std::string_view to) {
  return std::vector<std::string>(2 * names_.count(from), std::string(to));
}

template <file_system FileSystem>
void file_pool<FileSystem>::renamed(std::string_view from,
                                    std::vector<std::string> names) noexcept {
  for (auto one = names_.find(from); one != names_.end() && one->first == from;
       one = names_.find(from)) {
    auto node = names_.extract(one);
    member& moved = *node.mapped();
    node.key() = std::move(names.back());
    names.pop_back();
    moved.path = std::move(names.back());
    names.pop_back();
    moved.name = names_.insert(std::move(node));
  }
}

/// Under the lock.
template <file_system FileSystem>
std::error_code file_pool<FileSystem>::open_again(member& used, std::string_view path,
                                                  open_mode mode) {
  if (!files_) {
    return std::make_error_code(std::errc::bad_file_descriptor);
  }
  while (used_.size() >= most_ && close_one()) {
  }
  used_.push_front(&used);
  auto opened = files_->open(path, mode);
  const auto has_none_left = [&opened] {
    return opened.error() == std::errc::too_many_files_open ||
           opened.error() == std::errc::too_many_files_open_in_system;
  };
  while (!opened && has_none_left() && close_one()) {
    opened = files_->open(path, mode);
  }
  if (!opened) {
    used_.pop_front();
    return opened.error();
  }
  used.opened.emplace(std::move(*opened));
  used.place = used_.begin();
  return {};
}

/// Under the lock. @returns false: a call is under way on each
template <file_system FileSystem>
bool file_pool<FileSystem>::close_one() noexcept {
  const auto closable = [](const member& one) { return one.opened && one.users == 0; };
  for (const bool also_written : {false, true}) {
    for (auto next = used_.rbegin(); next != used_.rend(); ++next) {
      member& oldest = **next;
      if (!closable(oldest) || (oldest.is_written && !also_written)) {
        continue;
      }
      if (std::exchange(oldest.is_written, false)) {
        const std::error_code error = oldest.opened->sync();
        oldest.failure = oldest.failure ? oldest.failure : error;
        oldest.is_synced = !error;
      }
      used_.erase(oldest.place);
      oldest.opened.reset();
      return true;
    }
  }
  return false;
}

// ---- a file

template <file_system FileSystem>
result<std::size_t> bounded_files<FileSystem>::file_type::read(std::uint64_t offset,
                                                               bytes_span into) const noexcept {
  if (const std::error_code error = pool_->begin(*held_)) {
    return fail(error);
  }
  auto said = std::as_const(*held_->opened).read(offset, into);
  pool_->end(*held_, false);
  return said;
}

template <file_system FileSystem>
result<std::uint64_t> bounded_files<FileSystem>::file_type::size() const noexcept {
  if (const std::error_code error = pool_->begin(*held_)) {
    return fail(error);
  }
  auto said = std::as_const(*held_->opened).size();
  pool_->end(*held_, false);
  return said;
}

template <file_system FileSystem>
std::error_code bounded_files<FileSystem>::file_type::write(
    std::uint64_t offset, std::span<const bytes_view> parts) noexcept {
  std::error_code error = pool_->begin(*held_);
  if (!error) {
    error = held_->opened->write(offset, parts);
    pool_->end(*held_, true);
  }
  return error;
}

template <file_system FileSystem>
std::error_code bounded_files<FileSystem>::file_type::resize(std::uint64_t size) noexcept {
  std::error_code error = pool_->begin(*held_);
  if (!error) {
    error = held_->opened->resize(size);
    pool_->end(*held_, true);
  }
  return error;
}

template <file_system FileSystem>
bool bounded_files<FileSystem>::file_type::is_removed() const noexcept {
  if (const std::error_code error = pool_->begin(*held_)) {
    return error == std::errc::no_such_file_or_directory;  // else, for want of a descriptor, no
  }
  bool removed = false;
  if constexpr (requires(const typename FileSystem::file_type& file) { file.is_removed(); }) {
    removed = held_->opened->is_removed();
  }
  pool_->end(*held_, false);
  return removed;
}

// ---- the directory

template <file_system FileSystem>
result<typename bounded_files<FileSystem>::file_type> bounded_files<FileSystem>::open(
    std::string_view path, open_mode mode) noexcept try {
  auto fresh = std::make_unique<member>();
  if (const std::error_code error = pool_->open(*fresh, path, mode)) {
    return fail(error);
  }
  return file_type(pool_, std::move(fresh));
} catch (const std::bad_alloc&) {
  return fail(std::make_error_code(std::errc::not_enough_memory));
}

template <file_system FileSystem>
std::error_code bounded_files<FileSystem>::remove(std::string_view path) noexcept {
  const std::lock_guard guard(pool_->mutex());
  if (const std::error_code error = pool_->let_go(path)) {
    return error;
  }
  return pool_->files().remove(path);
}

template <file_system FileSystem>
std::error_code bounded_files<FileSystem>::rename(std::string_view from,
                                                  std::string_view to) noexcept try {
  const std::lock_guard guard(pool_->mutex());
  if (from == to) {
    return pool_->files().rename(from, to);
  }
  std::error_code kept = pool_->let_go(to);
  kept = kept ? kept : pool_->let_go(from, false);
  if (kept) {
    return kept;
  }
  std::vector<std::string> names = pool_->names_for(from, to);
  const std::error_code error = pool_->files().rename(from, to);
  if (!error) {
    pool_->renamed(from, std::move(names));
  }
  return error;
} catch (const std::bad_alloc&) {
  return std::make_error_code(std::errc::not_enough_memory);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
