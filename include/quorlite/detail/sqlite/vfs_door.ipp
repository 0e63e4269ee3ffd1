/// @file
/// Bodies of vfs_door.hpp.
#pragma once

#include "quorlite/detail/sqlite/vfs_door.hpp"

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"

// A SQLite without threads does not have them, and is refused before anybody calls them. That it
// can be linked at all is what lets it be told.
#pragma weak sqlite3_mutex_alloc
#pragma weak sqlite3_mutex_enter
#pragma weak sqlite3_mutex_leave

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// SQLite's own, for applications: one for all copies of this library in the process. Looking for
/// a free name and taking it is one step under it.
class doors_lock {
 public:
  doors_lock() noexcept : mutex_(sqlite3_mutex_alloc(SQLITE_MUTEX_STATIC_APP3)) {
    sqlite3_mutex_enter(mutex_);
  }
  doors_lock(const doors_lock&) = delete;
  doors_lock& operator=(const doors_lock&) = delete;
  ~doors_lock() { sqlite3_mutex_leave(mutex_); }

 private:
  sqlite3_mutex* const mutex_;
};

/// Doors without a core. Under the lock; never destroyed, for some are closed at the very end.
[[nodiscard]] inline std::vector<vfs_door*>& free_doors() {
  static auto* const all = new std::vector<vfs_door*>;
  return *all;
}

[[nodiscard]] inline std::string free_door_name() {
  std::uint64_t number = 1;
  std::string name;
  do {
    name = "quorlite-" + std::to_string(number++);
  } while (sqlite3_vfs_find(name.c_str()) != nullptr);
  return name;
}

/// One of this name that is free, or a new one.
[[nodiscard]] inline vfs_door* door_named(std::string name, sqlite3_vfs* base,
                                          void (*fill)(vfs_door&)) {
  std::vector<vfs_door*>& all = free_doors();
  for (vfs_door*& one : all) {
    if (one->name == name && one->base == base) {
      vfs_door* const found = std::exchange(one, all.back());
      all.pop_back();
      return found;
    }
  }
  auto made = std::make_unique<vfs_door>();
  made->name = std::move(name);
  made->base = base;
  fill(*made);
  all.reserve(all.capacity() + 1);  // room for it to come back
  return made.release();
}

QUORLITE_DECL vfs_door* vfs_door::open(std::string name, sqlite3_vfs* base,
                                       const std::shared_ptr<vfs_core>& core,
                                       void (*fill)(vfs_door&)) {
  const doors_lock held;
  if (name.empty()) {
    name = free_door_name();
  } else if (sqlite3_vfs_find(name.c_str()) != nullptr) {
    return nullptr;
  }
  vfs_door* const door = door_named(std::move(name), base, fill);
  door->current = core;
  door->core.store(core.get());
  if (sqlite3_vfs_register(&door->table, 0) == SQLITE_OK) {
    return door;
  }
  door->core.store(nullptr);
  door->current.reset();
  free_doors().push_back(door);
  return nullptr;
}

QUORLITE_DECL void vfs_door::close() noexcept {
  const doors_lock held;
  sqlite3_vfs_unregister(&table);
  {
    const std::lock_guard nobody_asks(asking);
    core.store(nullptr);
  }
  current.reset();
  free_doors().push_back(this);
}

QUORLITE_DECL std::shared_ptr<vfs_core> vfs_door::enter() const noexcept {
  const doors_lock held;
  return current.lock();
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
