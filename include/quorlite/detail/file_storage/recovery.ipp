/// @file
/// The steps of an opening. Templates, so always included.
#pragma once

#include "quorlite/detail/file_storage/recovery.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/file_storage/data_directory.hpp"
#include "quorlite/error.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

template <file_system FileSystem>
std::error_code file_recovery<FileSystem>::run() {
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
  if (const std::error_code error = place_.slots().confirm()) {  // before anything follows from it
    return error;
  }
  using step = std::error_code (file_recovery::*)();
  for (const step next : {&file_recovery::place_staged, &file_recovery::remove_unwanted,
                          &file_recovery::refuse_journals, &file_recovery::open_databases}) {
    if (const std::error_code error = (this->*next)()) {
      return error;
    }
  }
  place_.start(std::move(block_), std::move(databases_));
  const std::error_code error = finish();
  if (error) {
    place_.stop();
  }
  return error;
}

template <file_system FileSystem>
std::error_code file_recovery<FileSystem>::list() {
  for (const auto& [directory, into] :
       {std::pair(place_names::root, &root_), std::pair(place_names::hashes, &hashes_)}) {
    auto listed = place_.directory().list(directory);
    if (!listed) {
      return place_.health().after(listed.error(), directory.empty() ? "." : directory);
    }
    *into = std::move(*listed);
  }
  return {};
}

template <file_system FileSystem>
std::error_code file_recovery<FileSystem>::begin() {
  const bool had = std::any_of(hashes_.begin(), hashes_.end(),
                               [](const std::string& name) { return is_database_name(name); });
  if (had) {
    return place_.health().damaged(std::string(place_names::superblocks[0]) + " and " +
                                   std::string(place_names::superblocks[1]) +
                                   (place_.slots().was_any_there()
                                        ? ": one is gone and the other is not what was written"
                                        : ": they are gone") +
                                   ", and there are databases");
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

template <file_system FileSystem>
std::error_code file_recovery<FileSystem>::place_staged() {
  bool changed = false;
  for (const bool is_data : {true, false}) {
    const std::string_view prefix = is_data ? place_names::staged_data : place_names::staged_hashes;
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

template <file_system FileSystem>
std::error_code file_recovery<FileSystem>::remove_unwanted() {
  for (const auto& line : block_.removals) {
    const std::string path = place_names::hashes_of(line.name);
    auto hashes = place_.directory().find(path);
    if (!hashes) {
      return place_.health().after(hashes.error(), path);
    }
    if (!*hashes) {
      continue;
    }
    std::array<std::byte, 8> head{};
    const auto got = (**hashes).read(0, head);
    if (!got) {
      return place_.health().after(got.error(), path);
    }
    if (*got != head.size() || (load_little_endian<std::uint64_t>(head.data()) >> 8U) !=
                                   (line.generation & database_layout::generation_mask)) {
      continue;
    }
    std::error_code error =
        place_.health().after(place_.directory().remove(place_names::data_of(line.name)));
    error = error ? error : place_.health().after_sync(place_.directory().sync(place_names::root));
    error = error ? error : place_.health().after(place_.directory().remove(path));
    if (error) {
      return error;
    }
  }
  // Else the next crash could bring them back, and nobody would know of them any more.
  if (!block_.removals.empty()) {
    if (const auto error =
            place_.health().after_sync(place_.directory().sync(place_names::hashes))) {
      return error;
    }
  }
  block_.removals.clear();
  return {};
}

template <file_system FileSystem>
std::error_code file_recovery<FileSystem>::refuse_journals() {
  for (const auto& line : block_.databases) {
    for (const std::string_view suffix : {"-journal", "-wal"}) {
      const std::string path = std::string(line.name).append(suffix);
      if (!std::binary_search(root_.begin(), root_.end(), path)) {
        continue;
      }
      const auto opened = place_.directory().find(path);
      if (!opened) {
        return place_.health().after(opened.error(), path);
      }
      const auto size = *opened ? (**opened).size() : result<std::uint64_t>(0);
      if (!size) {
        return place_.health().after(size.error(), path);
      }
      if (*size != 0) {
        return place_.health().damaged(path + ": somebody else has written to this database");
      }
    }
  }
  return {};
}

template <file_system FileSystem>
std::error_code file_recovery<FileSystem>::open_databases() {
  const file_state state = block_.double_write               ? file_state::garbled
                           : block_.ahead == block_.at.index ? file_state::exact
                                                             : file_state::ahead;
  for (const auto& line : block_.databases) {
    auto data = place_.directory().find(place_names::data_of(line.name));
    auto hashes = place_.directory().find(place_names::hashes_of(line.name));
    const auto named = [&line](bool is_of_hashes) {
      return is_of_hashes ? place_names::hashes_of(line.name) : place_names::data_of(line.name);
    };
    if (!data || !hashes) {
      return place_.health().after(data ? hashes.error() : data.error(), named(data.has_value()));
    }
    if (!*data || !*hashes) {
      return place_.health().damaged(named(data->has_value()) + ": it is gone");
    }
    auto which = std::make_shared<database_files<FileSystem>>(line.name);
    const file_adoption taken =
        which->adopt(std::move(**data), std::move(**hashes), line.generation, line.page_size,
                     line.page_count, state);
    if (taken.flaw != nullptr) {
      return place_.health().damaged(named(taken.in_hashes) + ", byte " +
                                     std::to_string(taken.byte) + ": " + taken.flaw);
    }
    if (taken.error) {
      return place_.health().after(taken.error, named(taken.in_hashes));
    }
    databases_.emplace(line.name, std::move(which));
  }
  return {};
}

template <file_system FileSystem>
std::error_code file_recovery<FileSystem>::finish() {
  const bool was_pending = place_.current().double_write.has_value();
  if (const std::error_code error = open_double_write()) {
    return error;
  }
  if (was_pending) {  // now they can be looked at
    block_ = place_.current();
    databases_.clear();
    if (const std::error_code error = open_databases()) {
      return error;
    }
    place_.start(std::move(block_), std::move(databases_));
  }
  // Also if it says so already: the sync of what was read may have failed in the last process.
  if (const std::error_code error = place_.write_clean(false)) {
    return error;
  }
  return place_.set_guards(true);
}

template <file_system FileSystem>
std::error_code file_recovery<FileSystem>::open_double_write() {
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
  if (error == errc::corrupt) {
    return place_.health().damaged(std::string(place_names::double_write) +
                                   ": the pages in it are not what was written, and a flush was "
                                   "cut short");
  }
  error = error ? error : place_.health().after(place_.copy_double_write());
  return error ? error : place_.end_double_write();
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
