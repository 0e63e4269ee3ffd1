/// @file
/// Opening the directory of a `file_storage`: what the last process left due is done, and every
/// file is what the record says.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/error.hpp"
#include "quorlite/detail/file_storage/data_directory.hpp"
#include "quorlite/detail/file_storage/file_place.hpp"
#include "quorlite/detail/file_storage/superblock.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// One opening. It may be repeated after a failure, in the same process or another one: everything
/// it does is due until the record says otherwise.
template <file_system FileSystem>
class file_recovery {
 public:
  using place_type = file_place<FileSystem>;

  explicit file_recovery(place_type& place) noexcept : place_(place) {}

  /// Blocks. Throws std::bad_alloc.
  /// @returns errc::corrupt, errc::needs_upgrade, errc::storage_full, errc::storage_broken
  [[nodiscard]] std::error_code run() {
    auto found = place_.slots().read();
    if (!found) {
      return found.error();
    }
    if (const std::error_code error = list()) {
      return error;
    }
    if (!*found) {
      return begin();
    }
    block_ = std::move(**found);
    using step = std::error_code (file_recovery::*)();
    for (const step next : {&file_recovery::place_staged, &file_recovery::remove_unwanted,
                            &file_recovery::refuse_journals, &file_recovery::open_databases}) {
      if (const std::error_code error = (this->*next)()) {
        return error;
      }
    }
    place_.start(std::move(block_), std::move(shelf_));
    const std::error_code error = finish();
    if (error) {
      place_.stop();
    }
    return error;
  }

 private:
  using names = std::vector<std::string>;

  [[nodiscard]] std::error_code list() {
    for (const auto& [directory, into] :
         {std::pair(place_names::root, &root_), std::pair(place_names::hashes, &hashes_)}) {
      auto listed = place_.directory().list(directory);
      if (!listed) {
        return place_.health().after(listed.error());
      }
      *into = std::move(*listed);
    }
    return {};
  }

  /// A place that never had a record, unless something says that it had. Both slots are filled, so
  /// that from now on none can be missing.
  [[nodiscard]] std::error_code begin() {
    const bool had = std::any_of(hashes_.begin(), hashes_.end(),
                                 [](const std::string& name) { return is_database_name(name); });
    if (had) {
      return make_error_code(errc::corrupt);
    }
    if (const std::error_code error = place_staged()) {  // of a first flush that came to nothing
      return error;
    }
    if (const std::error_code error = place_.sync_names()) {
      return error;
    }
    for (int slot = 0; slot < 2; ++slot) {
      if (const std::error_code error = place_.slots().write(block_)) {
        return error;
      }
    }
    place_.start(std::move(block_), {});
    const std::error_code error = open_double_write();
    if (error) {
      place_.stop();
    }
    return error;
  }

  /// Staged files that the record names get their names; the others were never wanted.
  [[nodiscard]] std::error_code place_staged() {
    bool changed = false;
    for (const bool is_data : {true, false}) {
      const std::string_view prefix =
          is_data ? place_names::staged_data : place_names::staged_hashes;
      for (const std::string& file : is_data ? root_ : hashes_) {
        const auto generation = place_names::generation_in(file, prefix);
        if (!generation) {
          continue;
        }
        changed = true;
        const std::string path = is_data ? file : place_names::hashes_of(file);
        const auto owner =
            std::find_if(block_.databases.begin(), block_.databases.end(),
                         [&](const auto& line) { return line.generation == *generation; });
        std::error_code error;
        if (owner == block_.databases.end()) {
          error = place_.directory().remove(path);
        } else {
          error = place_.directory().rename(path, is_data ? place_names::data_of(owner->name)
                                                          : place_names::hashes_of(owner->name));
        }
        if (error) {
          return place_.health().after(error);
        }
      }
    }
    return changed ? place_.sync_names() : std::error_code{};
  }

  /// Only what is known as ours by its hashes: the name may have been taken by somebody else since.
  [[nodiscard]] std::error_code remove_unwanted() {
    for (const auto& line : block_.removals) {
      const std::string path = place_names::hashes_of(line.name);
      auto hashes = place_.directory().find(path);
      if (!hashes) {
        return place_.health().after(hashes.error());
      }
      if (!*hashes) {
        continue;
      }
      std::array<std::byte, 8> head{};
      const auto got = (**hashes).read(0, head);
      if (!got) {
        return place_.health().after(got.error());
      }
      if (*got != head.size() ||
          (load_little_endian<std::uint64_t>(head.data()) >> 8U) !=
              (line.generation & database_files<FileSystem>::generation_mask)) {
        continue;
      }
      std::error_code error =
          place_.health().after(place_.directory().remove(place_names::data_of(line.name)));
      error =
          error ? error : place_.health().after_sync(place_.directory().sync(place_names::root));
      error = error ? error : place_.health().after(place_.directory().remove(path));
      if (error) {
        return error;
      }
    }
    block_.removals.clear();
    return {};
  }

  /// SQLite would take its journal for the newer truth: somebody else has written here.
  [[nodiscard]] std::error_code refuse_journals() {
    for (const auto& line : block_.databases) {
      for (const std::string_view suffix : {"-journal", "-wal"}) {
        const std::string path = std::string(line.name).append(suffix);
        if (!std::binary_search(root_.begin(), root_.end(), path)) {
          continue;
        }
        const auto opened = place_.directory().find(path);
        if (!opened) {
          return place_.health().after(opened.error());
        }
        const auto size = *opened ? (**opened).size() : result<std::uint64_t>(0);
        if (!size) {
          return place_.health().after(size.error());
        }
        if (*size != 0) {
          return make_error_code(errc::corrupt);
        }
      }
    }
    return {};
  }

  [[nodiscard]] std::error_code open_databases() {
    const file_state state = block_.double_write               ? file_state::garbled
                             : block_.ahead == block_.at.index ? file_state::exact
                                                               : file_state::ahead;
    for (const auto& line : block_.databases) {
      auto data = place_.directory().find(place_names::data_of(line.name));
      auto hashes = place_.directory().find(place_names::hashes_of(line.name));
      if (!data || !hashes) {
        return place_.health().after(data ? hashes.error() : data.error());
      }
      if (!*data || !*hashes) {
        return make_error_code(errc::corrupt);
      }
      auto which = std::make_shared<database_files<FileSystem>>(line.name);
      const std::error_code error =
          which->adopt(std::move(**data), std::move(**hashes), line.generation, line.page_size,
                       line.page_count, state);
      if (error) {
        return place_.health().after(error);
      }
      shelf_.emplace(line.name, std::move(which));
    }
    return {};
  }

  /// What needs a running place: pages on their way, then the guards.
  [[nodiscard]] std::error_code finish() {
    const bool was_pending = place_.current().double_write.has_value();
    if (const std::error_code error = open_double_write()) {
      return error;
    }
    if (was_pending) {  // now they can be looked at
      block_ = place_.current();
      shelf_.clear();
      if (const std::error_code error = open_databases()) {
        return error;
      }
      place_.start(std::move(block_), std::move(shelf_));
    }
    // Also if it says so already: the sync of what was read may have failed in the last process.
    if (const std::error_code error = place_.write_clean(false)) {
      return error;
    }
    return place_.set_guards(true);
  }

  [[nodiscard]] std::error_code open_double_write() {
    const auto& pending = place_.current().double_write;
    if (!pending && !place_.options().double_write) {
      return {};
    }
    if (const std::error_code error = place_.double_write().open()) {
      return error;
    }
    if (!pending) {
      return {};
    }
    // First all of it is looked at: half a copy would help nobody.
    const auto look = [](double_write_kind, std::string_view, std::uint32_t,
                         std::span<const page_view>) { return std::error_code{}; };
    std::error_code error = place_.double_write().visit(*pending, look);
    error = error ? error : place_.health().after(place_.copy_double_write());
    return error ? error : place_.end_double_write();
  }

  place_type& place_;
  superblock block_;
  typename place_type::shelf shelf_;
  names root_;
  names hashes_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
