/// @file
/// The functions through which SQLite calls a database_file. No exception passes them.
#pragma once

#include <sqlite3.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/detail/sqlite/database_file.hpp"
#include "quorlite/detail/sqlite/pragmas.hpp"
#include "quorlite/detail/sqlite/result_code.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Laid out in the memory that SQLite provides for every file.
struct database_slot {
  sqlite3_file base;
  database_file* opened;  // owned

  /// Opens `slot` on a database. @throws std::bad_alloc
  static void open(sqlite3_file* slot, vfs_core& core, std::shared_ptr<database> target) {
    auto file = std::make_unique<database_file>(core, std::move(target));
    reinterpret_cast<database_slot*>(slot)->opened = file.release();
    slot->pMethods = &methods();
  }

 private:
  static database_file& of(sqlite3_file* slot) noexcept {
    return *reinterpret_cast<database_slot*>(slot)->opened;
  }

  template <class Call>
  static int guarded(sqlite3_file* slot, Call call) noexcept {
    try {
      return call(of(slot));
    } catch (...) {
      return of(slot).out_of_memory();
    }
  }

  static int close(sqlite3_file* slot) noexcept {
    delete std::exchange(reinterpret_cast<database_slot*>(slot)->opened, nullptr);
    return SQLITE_OK;
  }
  static int read(sqlite3_file* slot, void* into, int amount, sqlite3_int64 from) noexcept {
    return guarded(slot, [=](database_file& file) {
      return file.read({static_cast<std::byte*>(into), static_cast<std::size_t>(amount)},
                       static_cast<std::uint64_t>(from));
    });
  }
  static int write(sqlite3_file* slot, const void* from, int amount, sqlite3_int64 to) noexcept {
    return guarded(slot, [=](database_file& file) {
      return file.write({static_cast<const std::byte*>(from), static_cast<std::size_t>(amount)},
                        static_cast<std::uint64_t>(to));
    });
  }
  static int truncate(sqlite3_file* slot, sqlite3_int64 size) noexcept {
    return guarded(slot, [=](database_file& file) {
      return file.truncate(static_cast<std::uint64_t>(size));
    });
  }
  static int file_size(sqlite3_file* slot, sqlite3_int64* size) noexcept {
    return guarded(slot, [=](database_file& file) { return file.file_size(*size); });
  }
  static int sync(sqlite3_file*, int) noexcept { return SQLITE_OK; }
  static int lock(sqlite3_file* slot, int level) noexcept {
    return guarded(slot, [=](database_file& file) { return file.lock(level); });
  }
  static int unlock(sqlite3_file* slot, int level) noexcept { return of(slot).unlock(level); }
  /// Asked only about a journal that might be hot. None ever is.
  static int check_reserved(sqlite3_file*, int* reserved) noexcept {
    *reserved = 1;
    return SQLITE_OK;
  }

  static int control(sqlite3_file* slot, int opcode, void* argument) noexcept {
    return guarded(slot, [=](database_file& file) {
      switch (opcode) {
        case SQLITE_FCNTL_SYNC: return file.sync(static_cast<const char*>(argument));
        case SQLITE_FCNTL_PRAGMA:
          return pragma_statement{file, static_cast<char**>(argument)}.run();
        case SQLITE_FCNTL_LOCKSTATE: return give(argument, file.lock_level());
        case SQLITE_FCNTL_HAS_MOVED: return give(argument, 0);
        case SQLITE_FCNTL_VFSNAME:
          return give(argument, sqlite3_mprintf("%s", file.core().name.c_str()));
        case static_cast<int>(file_control::last_error):
          return give(argument, file.answers().error());
        case static_cast<int>(file_control::last_transaction):
          return give(argument, file.answers().transaction());
        case static_cast<int>(file_control::handle): return give(argument, &file);
        default: return SQLITE_NOTFOUND;
      }
    });
  }
  template <class Value>
  static int give(void* argument, Value value) noexcept {
    *static_cast<Value*>(argument) = value;
    return SQLITE_OK;
  }

  static int sector_size(sqlite3_file*) noexcept { return 4096; }
  /// SAFE_APPEND is more than a promise: without it the pager counts the journal's records in
  /// headers, and writes the next one over a record if a transaction goes on after a commit that
  /// found no room (plain SQLITE_BUSY, which no file system answers there).
  static int characteristics(sqlite3_file*) noexcept {
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE | SQLITE_IOCAP_SEQUENTIAL | SQLITE_IOCAP_SAFE_APPEND;
  }

  /// Version 1: no shared memory, so SQLite does not even try its WAL.
  static const sqlite3_io_methods& methods() noexcept {
    static constexpr sqlite3_io_methods table{
        1,       close,   read,        write,           truncate, sync,
        file_size, lock,  unlock,      check_reserved,  control,  sector_size,
        characteristics, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr};
    return table;
  }
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
