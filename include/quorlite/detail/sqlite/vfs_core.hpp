/// @file
/// What belongs to a VFS and not to one of its files.
#pragma once

#include <sqlite3.h>

#include <atomic>
#include <cstdint>
#include <string>

#include "quorlite/config.hpp"
#include "quorlite/detail/commit/vfs_host.hpp"
#include "quorlite/detail/sqlite/dirty_pages.hpp"
#include "quorlite/detail/sqlite/journal.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// What the file handles of one VFS share.
struct vfs_core {
  vfs_host& host;
  sqlite3_vfs* base;  ///< serves plain and temporary files
  std::string name;
  draft_limits bounds;
  super_journals supers{};
  std::atomic<std::uint64_t> events{0};
  std::atomic<std::uint64_t> open_files{0};

  /// Orders failures of different handles of one connection.
  [[nodiscard]] std::uint64_t next_event() noexcept { return events.fetch_add(1) + 1; }
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
