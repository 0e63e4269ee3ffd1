/// @file
/// Bodies of busy_handler.hpp.
#pragma once

#include "quorlite/detail/sqlite/busy_handler.hpp"

#include <sqlite3.h>

#include <cstdint>

#include "quorlite/config.hpp"
#include "quorlite/detail/sqlite/database_file.hpp"
#include "quorlite/detail/sqlite/writer_slot.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL void busy_handler::install(sqlite3* db) noexcept {
  db_ = db;
  sqlite3_busy_handler(db_, &busy_handler::ask, this);
}

QUORLITE_DECL int busy_handler::ask(void* self, int retries) noexcept {
  return static_cast<busy_handler*>(self)->may_retry(static_cast<std::uint64_t>(retries)) ? 1 : 0;
}

QUORLITE_DECL bool busy_handler::may_retry(std::uint64_t retries) noexcept {
  constexpr std::uint64_t slice_ms = writer_queue::slice.value;
  const bool give_up = retries >= timeout_.load() / slice_ms;
  database_file* newest = nullptr;  // whose write lock failed last: SQLite asks for it
  std::uint64_t latest = 0;
  bool waited = false;
  for_each_replicated_file(db_, [&](database_file& file) noexcept {
    writer_slot& turn = file.turn();
    const bool did_wait = turn.take_wait();
    const std::uint64_t failed = turn.take_candidacy();
    if (give_up || !did_wait) {
      turn.stop_wanting();  // or a later read would stand on the head
    }
    waited = waited || did_wait;
    if (file.lock_level() == SQLITE_LOCK_NONE && failed > latest) {
      newest = &file;
      latest = failed;
    }
  });
  if (give_up) {
    return false;
  }
  if (!waited && newest != nullptr) {
    newest->turn().want_head();
  } else if (!waited) {
    sleep(slice_ms);  // a plain file's lock: nobody else waits for that
  }
  return true;
}

/// By the clock of our VFS, for which the writer that has the lock may have to wait, too.
QUORLITE_DECL void busy_handler::sleep(std::uint64_t span_ms) noexcept {
  sqlite3_vfs* files = nullptr;
  sqlite3_file_control(db_, "main", SQLITE_FCNTL_VFS_POINTER, static_cast<void*>(&files));
  if (files != nullptr) {
    files->xSleep(files, static_cast<int>(span_ms * 1000));
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
