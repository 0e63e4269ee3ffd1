/// @file
/// Bodies of libraft_open_segments.
#pragma once

#include "quorlite/detail/libraft/open_segments.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <new>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/detail/libraft/log_format.hpp"
#include "quorlite/error.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The numbers of all open segments, ascending. Throws std::bad_alloc.
[[nodiscard]] inline result<std::vector<std::uint64_t>> libraft_open_numbers(
    libraft_folder& folder) {
  const auto names = folder.names();
  if (!names) {
    return fail(names.error());
  }
  std::vector<std::uint64_t> found;
  for (const std::string& name : *names) {
    const libraft_file_name told = libraft_file_name::of(name);
    if (told.is == libraft_file_name::kind::open) {
      found.push_back(told.first);
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

/// A list that is made while files get other names need not have been true at any time. So the
/// second one decides: what went was gone when that began.
QUORLITE_DECL std::uint64_t libraft_open_segments::look() noexcept try {
  if (directory_.empty()) {
    return 0;
  }
  const std::uint64_t suspect = find_suspect();
  return suspect != 0 && find_suspect() == suspect ? suspect : 0;
} catch (const std::bad_alloc&) {
  return 0;  // the next look
}

QUORLITE_DECL std::uint64_t libraft_open_segments::find_suspect() {
  libraft_disk_folder folder(directory_);
  const auto open = libraft_open_numbers(folder);
  if (!open) {
    return 0;
  }
  if (open->empty()) {
    made_.clear();
    return 0;
  }
  // Numbers before the first one are closed, all of them.
  const std::uint64_t first = open->front();
  std::vector<std::uint64_t> gone;
  std::set_difference(std::upper_bound(made_.begin(), made_.end(), first), made_.end(),
                      open->begin(), open->end(), std::back_inserter(gone));
  // The last one may be in the making: if that fails it is removed, and nothing was closed.
  std::vector<std::uint64_t> made;
  std::set_union(gone.begin(), gone.end(), open->begin(), std::prev(open->end()),
                 std::back_inserter(made));
  made_ = std::move(made);
  return gone.empty() ? 0 : first;
}

QUORLITE_DECL bool libraft_open_segments::are_left(const std::string& directory,
                                                   libraft_log_note::step behind) noexcept try {
  libraft_disk_folder folder(directory);
  const auto open = libraft_open_numbers(folder);
  if (!open) {
    return true;
  }
  std::size_t written = 0;
  for (const std::uint64_t number : *open) {
    const auto file = folder.open("open-" + std::to_string(number));
    if (!file && file.error() == std::errc::no_such_file_or_directory) {
      continue;  // it could not be made
    }
    std::array<std::byte, libraft_format_bytes> format{};
    if (!file || ((*file)->size() >= format.size() && (*file)->read(0, format))) {
      return true;
    }
    written += format == std::array<std::byte, libraft_format_bytes>{} ? 0U : 1U;
  }
  return written > (behind == libraft_log_note::step::truncate ? 1U : 0U);
} catch (const std::bad_alloc&) {
  return true;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
