/// @file
/// The steps of a commit or a publish. Templates, so always included.
#pragma once

#include "quorlite/detail/file_storage/advance.hpp"

#include <algorithm>
#include <memory>
#include <new>
#include <string>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/detail/storage_rules/position_rules.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/storage.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

template <file_system FileSystem>
std::error_code file_advance<FileSystem>::run() {
  if (const std::error_code error = check()) {
    return error;
  }
  if (const std::error_code error = place_.settle()) {
    return error;
  }
  if (const std::error_code error = plan()) {
    return error;
  }
  if (const std::error_code error = make_durable()) {
    return error;
  }
  superblock block = describe();
  if (const std::error_code error = place_.slots().write(block)) {
    return error;
  }
  adopt(std::move(block));
  return finish();
}

template <file_system FileSystem>
std::error_code file_advance<FileSystem>::check() const {
  if (const std::error_code error = writer_.check()) {
    return error;
  }
  if (const std::error_code refused = refusal_of(position_)) {
    return refused;
  }
  const bool back = !whole_ && position_.at.index < place_.current().at.index;
  return back ? make_error_code(errc::malformed) : std::error_code{};
}

template <file_system FileSystem>
std::error_code file_advance<FileSystem>::plan() {
  for (const database_image& image : position_.databases) {
    const auto mine = writer_.batches_.find(image.name);
    content which;
    if (is_blank(image)) {
      next_.emplace(std::string(image.name), blank_content(image.name));
      continue;
    }
    if (mine != writer_.batches_.end()) {
      const batch& written = mine->second;
      which = written.target;
      if (!tells_of(image, written.page_size, written.page_count) ||
          !(written.begun || place_.is_living(which))) {
        return make_error_code(errc::malformed);
      }
    } else {
      which = whole_ ? std::make_shared<database_files<FileSystem>>(image.name)
                     : place_.open(image.name);
    }
    const bool begun = mine != writer_.batches_.end() && mine->second.begun;
    if (!begun && !may_follow(image, which->page_size())) {
      return make_error_code(errc::malformed);
    }
    next_.emplace(std::string(image.name), std::move(which));
  }
  for (const database_image& image : position_.databases) {
    const content& which = next_.find(image.name)->second;
    if (!which->has_files()) {
      if (const std::error_code error = place_.begin(*which)) {
        return error;
      }
      writer_.keep({which, image.page_size, image.page_count, true, false, {}});
    }
  }
  return {};
}

template <file_system FileSystem>
typename file_advance<FileSystem>::content file_advance<FileSystem>::blank_content(
    std::string_view name) {
  const auto mine = writer_.batches_.find(name);
  const bool written = mine != writer_.batches_.end() && mine->second.page_count != 0;
  content there = whole_ || written ? nullptr : place_.open(name);
  return there != nullptr && there->page_size() == 0
             ? there
             : std::make_shared<database_files<FileSystem>>(name);
}

template <file_system FileSystem>
std::error_code file_advance<FileSystem>::make_durable() {
  bool has_new = false;
  for (const database_image& image : position_.databases) {
    database_files<FileSystem>& which = *next_.find(image.name)->second;
    // With a double write the pages may have grown already, but never the hashes.
    const bool grows = which.extent() < image.page_count ||
                       (place_.options().double_write && which.page_count() < image.page_count);
    if (grows) {
      const auto error = place_.health().after(which.set_extent(image.page_count, image.page_size));
      if (error) {
        return error;
      }
    }
    const auto mine = writer_.batches_.find(image.name);
    has_new = has_new || which.data_staged();
    if (mine != writer_.batches_.end()) {
      if (const auto error = mine->second.hashes.append_to(
              place_.double_write(), which, place_.health(), place_.options().write_batch_pages)) {
        return error;
      }
    }
    if (grows || mine != writer_.batches_.end()) {
      if (const auto error = place_.health().after_sync(which.sync())) {
        return error;
      }
    }
  }
  if (has_new) {
    if (const std::error_code error = place_.sync_names()) {
      return error;
    }
  }
  return whole_ ? std::error_code{} : place_.double_write().sync();
}

template <file_system FileSystem>
superblock file_advance<FileSystem>::describe() const {
  const superblock& old = place_.current();
  superblock block;
  block.at = position_.at;
  block.replay_from = position_.replay_from;
  block.ahead = position_.at.index;
  block.tells_history = old.tells_history || writer_.ahead_.hash != history_hash{};
  if (!whole_ && old.ahead > position_.at.index) {
    // Pages of a flush that was dropped may be newer than this one's.
    block.promise({old.ahead, old.ahead_history});
  }
  block.next_generation = place_.next_generation();
  if (!whole_) {
    block.double_write = place_.double_write().extent();
  }
  for (const database_image& image : position_.databases) {
    block.databases.push_back({std::string(image.name), image.page_size, image.page_count,
                               image.hash, image.version,
                               next_.find(image.name)->second->generation()});
  }
  std::sort(block.databases.begin(), block.databases.end(),
            [](const auto& left, const auto& right) { return left.name < right.name; });
  for (const auto& line : old.databases) {
    if (!next_.contains(line.name)) {
      block.removals.push_back({line.name, line.generation});
    }
  }
  block.notes.assign(position_.notes.begin(), position_.notes.end());
  return block;
}

template <file_system FileSystem>
void file_advance<FileSystem>::adopt(superblock block) noexcept {
  for (const auto& line : block.databases) {
    next_.find(line.name)->second->show(line.page_size, line.page_count);
  }
  // `writer_` undoes what it began; what is in the position is not its any more.
  for (auto& [name, mine] : writer_.batches_) {
    const auto kept = next_.find(name);
    mine.begun = mine.begun && (kept == next_.end() || kept->second != mine.target);
  }
  writer_.drop();
  place_.stand_at(std::move(block), next_);
  next_.clear();
}

template <file_system FileSystem>
std::error_code file_advance<FileSystem>::finish() noexcept {
  if (place_.current().double_write) {
    if (const std::error_code error = copy()) {
      return error;
    }
  }
  const std::error_code error = place_.settle();
  return error == errc::storage_full || error == errc::out_of_memory ? std::error_code{} : error;
}

template <file_system FileSystem>
std::error_code file_advance<FileSystem>::copy() noexcept {
  std::error_code error;
  try {
    error = place_.copy_double_write();
  } catch (const std::bad_alloc&) {
    error = make_error_code(errc::out_of_memory);
  }
  return place_.health().after_sync(error);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
