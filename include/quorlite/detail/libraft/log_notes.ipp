/// @file
/// Bodies of libraft_notes.
#pragma once

#include "quorlite/detail/libraft/log_notes.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <new>
#include <string>

#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/detail/libraft/log_format.hpp"
#include "quorlite/detail/libraft/open_segments.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL int libraft_notes::begin() noexcept {
  pending_.clear();
  return write({});
}

QUORLITE_DECL int libraft_notes::announce(const libraft_log_note& what) noexcept try {
  pending_.push_back({announced_ + 1, what});
  ++announced_;
  return write(all_of_them());
} catch (const std::bad_alloc&) {
  return RAFT_NOMEM;
}

QUORLITE_DECL int libraft_notes::done(std::uint64_t count) noexcept {
  const auto waits = std::find_if(pending_.begin(), pending_.end(),
                                  [&](const pending& one) { return one.number > count; });
  if (waits == pending_.begin()) {
    return 0;
  }
  if (std::any_of(pending_.begin(), waits,
                  [&](const pending& one) { return is_undone(one.what); })) {
    return RAFT_IOERR;
  }
  pending_.erase(pending_.begin(), waits);
  return write(all_of_them());
}

QUORLITE_DECL bool libraft_notes::is_undone(const libraft_log_note& what) const noexcept try {
  using step = libraft_log_note::step;
  if (directory_.empty() || what.of == step::none) {
    return false;
  }
  if (libraft_open_segments::are_left(directory_, what.of)) {
    return true;
  }
  if (what.of != step::truncate) {
    return false;
  }
  const auto names = libraft_disk_folder(directory_).names();
  return !names || std::any_of(names->begin(), names->end(), [&](const std::string& name) {
    const libraft_file_name told = libraft_file_name::of(name);
    return told.is == libraft_file_name::kind::closed && told.last >= what.index;
  });
} catch (const std::bad_alloc&) {
  return true;
}

/// A snapshot takes its place after what was to be truncated has gone, and new entries are there.
QUORLITE_DECL libraft_log_note libraft_notes::all_of_them() const noexcept {
  libraft_log_note made;
  for (const pending& one : pending_) {
    const bool longer = made.of == libraft_log_note::step::truncate &&
                        (one.what.of != made.of || made.index < one.what.index);
    made = longer ? made : one.what;
  }
  return made;
}

QUORLITE_DECL int libraft_notes::write(const libraft_log_note& what) noexcept try {
  if (directory_.empty()) {
    return 0;
  }
  std::array<std::byte, libraft_log_note::encoded_bytes> whole{};
  libraft_log_note told = what;
  told.keeps_end = true;
  told.encode(whole);
  return libraft_disk_folder(directory_).replace(libraft_log_note::file_name, whole) ? RAFT_IOERR
                                                                                     : 0;
} catch (const std::bad_alloc&) {
  return RAFT_NOMEM;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
