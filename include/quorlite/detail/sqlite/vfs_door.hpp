/// @file
/// What SQLite holds of a VFS: a table that must be there for as long as any connection that was
/// opened through it, which nobody can know.
#pragma once

#include <sqlite3.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

struct vfs_core;

/// One name among SQLite's VFSs. Never freed: a connection that has none of our files open (its
/// main database is in memory, or a plain file) may call through it at any time. A door whose core
/// is gone is used again by the next VFS of its name.
struct vfs_door {
  sqlite3_vfs table{};
  std::string name;
  sqlite3_vfs* base = nullptr;  ///< serves plain and temporary files
  /// For calls on behalf of an open database, which keeps the core. nullptr: no core is behind it.
  std::atomic<vfs_core*> core{nullptr};
  /// For opens. Under the lock of the doors.
  std::weak_ptr<vfs_core> current;
  /// Held over questions to the core that need no open database, and while it goes: any connection
  /// of the process may ask, at any time.
  std::mutex asking;
  /// What a core is asked, else the base is: whether its adapter declares it.
  std::atomic<bool> is_asked_now{false};
  std::atomic<bool> is_asked_random{false};

  /// Registers a door for `core`.
  /// @param name empty: the first free one of quorlite-1, quorlite-2, …
  /// @param fill sets the functions of a new table
  /// @returns nullptr: the name is taken. Throws std::bad_alloc
  [[nodiscard]] static vfs_door* open(std::string name, sqlite3_vfs* base,
                                      const std::shared_ptr<vfs_core>& core,
                                      void (*fill)(vfs_door&));
  /// Nobody is behind it any more. @pre no database is open through it
  void close() noexcept;

  /// The core, for an open. nullptr: it is gone. Any thread.
  [[nodiscard]] std::shared_ptr<vfs_core> enter() const noexcept;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/sqlite/vfs_door.ipp"  // IWYU pragma: keep
#endif
