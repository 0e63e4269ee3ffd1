/// @file
/// Bodies of libraft_unclosed_segments.
#pragma once

#include "quorlite/detail/libraft/unclosed_segments.hpp"

#include <algorithm>
#include <cstdint>
#include <new>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/log_file.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/detail/libraft/log_format.hpp"
#include "quorlite/detail/libraft/log_segment.hpp"
#include "quorlite/error.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL std::error_code libraft_unclosed_segments::take(
    files& open, files& closed, std::vector<libraft_log_leftover>& leftovers) const {
  files stay;
  for (const libraft_log_file& one : open) {
    const auto taken = take_one(one, closed, leftovers);
    if (!taken) {
      return taken.error();
    }
    if (!*taken) {
      stay.push_back(one);
    }
  }
  open = std::move(stay);
  return {};
}

/// @returns false: it stays open
QUORLITE_DECL result<bool> libraft_unclosed_segments::take_one(
    const libraft_log_file& one, files& closed,
    std::vector<libraft_log_leftover>& leftovers) const {
  auto file = folder_.open(one.file);
  if (!file) {
    return fail(file.error());
  }
  libraft_segment_reader reader(**file);
  libraft_log_file made{one.file, 0, 0, true};
  std::uint64_t count = 0;
  while ((made.first == 0 || is_late(made.first, closed)) && reader.next()) {
    for (const libraft_entry_head& head : reader.entries()) {
      made.first = made.first == 0 && head.index > count ? head.index - count : made.first;
      ++count;
    }
  }
  libraft_segment_end end;
  const bool late = made.first != 0 && is_late(made.first, closed);
  if (late) {
    end = reader.end_of_open(term_max_, one_batch_a_write_);
  }
  if (reader.error()) {
    return fail(reader.error());
  }
  if (!late || end.is != libraft_segment_end::kind::whole) {
    return false;
  }
  made.last = made.first + count - 1;
  const std::string entries = entries_text(made.first, made.last);
  if (made.last < newest_.index || newest_.replaces_log(note_)) {
    leftovers.push_back(
        {one.file,
         true,
         0,
         "a segment that could not be closed: " + entries + " in it are before the snapshot",
         {}});
    return true;
  }
  if (!has_room(made, closed)) {
    return false;
  }
  leftovers.push_back({one.file, false, end.byte,
                       "a segment that could not be closed: it holds " + entries,
                       libraft_file_name::closed(made.first, made.last)});
  const auto later = std::find_if(closed.begin(), closed.end(), [&](const libraft_log_file& other) {
    return made.first < other.first;
  });
  closed.insert(later, std::move(made));
  return true;
}

/// @param first the first entry of an open segment
QUORLITE_DECL bool libraft_unclosed_segments::is_late(std::uint64_t first,
                                                      const files& closed) const noexcept {
  return !goes_with_cut(first) &&
         (first <= newest_.index || (!closed.empty() && first < closed.back().first));
}

/// All of the segment is being removed, or was written after that.
QUORLITE_DECL bool libraft_unclosed_segments::goes_with_cut(std::uint64_t first) const noexcept {
  return note_.of == libraft_log_note::step::truncate && first >= note_.index;
}

QUORLITE_DECL bool libraft_unclosed_segments::has_room(const libraft_log_file& one,
                                                       const files& closed) const {
  return std::none_of(closed.begin(), closed.end(), [&](const libraft_log_file& other) {
    return !goes_with_cut(other.first) && other.first <= one.last && one.first <= other.last;
  });
}

/// If that fails it is as if nobody had looked: the disk is broken.
QUORLITE_DECL void libraft_unclosed_segments::set_aside(const std::string& directory,
                                                        std::uint64_t number) noexcept try {
  libraft_disk_folder folder(directory);
  const std::string name = "open-" + std::to_string(number);
  const auto file = folder.open(name);
  if (!file) {
    return;
  }
  libraft_segment_reader reader(**file);
  while (reader.next()) {
    for (const libraft_entry_head& head : reader.entries()) {
      if (head.index != 0) {
        return;  // a start knows where it belongs
      }
    }
  }
  if (!reader.error() && !folder.rename(name, libraft_name_set_aside + std::to_string(number))) {
    static_cast<void>(folder.sync());
  }
} catch (const std::bad_alloc&) {
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
