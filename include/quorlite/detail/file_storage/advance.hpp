/// @file
/// From one position of a `file_storage` to the next: what commit and publish do.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/file_storage/file_place.hpp"
#include "quorlite/detail/file_storage/writer.hpp"
#include "quorlite/detail/storage_rules/position_rules.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/storage.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// One advance. The order is the point: data, then the record that speaks of it, then names and
/// cuts.
template <file_system FileSystem>
class file_advance {
 public:
  using place_type = file_place<FileSystem>;
  using writer_type = file_writer<FileSystem>;

  /// @param whole the writer is a stage: it replaces everything
  file_advance(place_type& place, writer_type& writer, const base_position& position,
               bool whole) noexcept
      : place_(place), writer_(writer), position_(position), whole_(whole) {}

  /// Blocks. Throws std::bad_alloc as long as nothing has changed.
  [[nodiscard]] std::error_code run() {
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

 private:
  using content = typename place_type::content;
  using batch = typename writer_type::batch;

  [[nodiscard]] std::error_code check() const {
    if (const std::error_code error = writer_.check()) {
      return error;
    }
    if (const std::error_code refused = refusal_of(position_)) {
      return refused;
    }
    const bool back = !whole_ && position_.at.index < place_.current().at.index;
    return back ? make_error_code(errc::malformed) : std::error_code{};
  }

  /// Finds a content for each line, and begins those that nobody wrote to.
  [[nodiscard]] std::error_code plan() {
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

  /// A database without a page, born again if there is one with pages.
  [[nodiscard]] content blank_content(std::string_view name) {
    const auto mine = writer_.batches_.find(name);
    const bool written = mine != writer_.batches_.end() && mine->second.page_count != 0;
    content there = whole_ || written ? nullptr : place_.open(name);
    return there != nullptr && there->page_size() == 0
               ? there
               : std::make_shared<database_files<FileSystem>>(name);
  }

  /// All that the record will speak of: pages, hashes, lengths, and the names of new files.
  [[nodiscard]] std::error_code make_durable() {
    bool has_new = false;
    for (const database_image& image : position_.databases) {
      database_files<FileSystem>& which = *next_.find(image.name)->second;
      // With a double write the pages may have grown already, but never the hashes.
      const bool grows = which.extent() < image.page_count ||
                         (place_.options().double_write && which.page_count() < image.page_count);
      if (grows) {
        const auto error =
            place_.health().after(which.set_extent(image.page_count, image.page_size));
        if (error) {
          return error;
        }
      }
      const auto mine = writer_.batches_.find(image.name);
      has_new = has_new || which.data_staged();
      if (mine != writer_.batches_.end()) {
        if (const auto error =
                mine->second.hashes.append_to(place_.double_write(), which, place_.health(),
                                              place_.options().write_batch_pages)) {
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

  [[nodiscard]] superblock describe() const {
    const superblock& old = place_.current();
    superblock block;
    block.at = position_.at;
    block.replay_from = position_.replay_from;
    // Pages of a flush that was dropped may be newer than this one's.
    block.ahead = whole_ ? position_.at.index : std::max(position_.at.index, old.ahead);
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

  void adopt(superblock block) noexcept {
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

  /// The position is true already; what is left can wait, unless it broke something.
  [[nodiscard]] std::error_code finish() noexcept {
    if (place_.current().double_write) {
      if (const std::error_code error = copy()) {
        return error;
      }
    }
    const std::error_code error = place_.settle();
    return error == errc::storage_full ? std::error_code{} : error;
  }

  /// Between commit and copy a page has no place to be read from, so any failure breaks the storage
  /// until it is recovered.
  [[nodiscard]] std::error_code copy() noexcept {
    std::error_code error;
    try {
      error = place_.copy_double_write();
    } catch (const std::bad_alloc&) {
      error = make_error_code(errc::storage_full);
    }
    return place_.health().after_sync(error);
  }

  place_type& place_;
  writer_type& writer_;
  const base_position& position_;
  const bool whole_;
  typename place_type::contents next_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
