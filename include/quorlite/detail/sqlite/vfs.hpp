/// @file
/// The VFS: SQLite's door to replicated databases.
#pragma once

#include <sqlite3.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "quorlite/options.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/limits.hpp"
#include "quorlite/detail/sqlite/database_slot.hpp"
#include "quorlite/detail/sqlite/database_file.hpp"
#include "quorlite/detail/sqlite/journal.hpp"
#include "quorlite/detail/commit/vfs_host.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Registers itself with SQLite for as long as it lives.
///
/// A bare name ("app.db") is a replicated database of the host; a name with a '/' in it is a plain
/// file of the base VFS (VACUUM INTO, ATTACH), and so are temporary files. Journals of replicated
/// databases live in the heap. What cannot work is refused at the open, with a line in SQLite's
/// log: `immutable=1` and `nolock=1` (no lock, no version to stand on), `cache=shared` (readers
/// would wait for a COMMIT), write-ahead logs, and names that are not a database's.
///
/// Any number of connections, each used by one thread at a time. Close all of them before the VFS.
class vfs {
 public:
  /// @param host must live longer. @see is_registered()
  explicit vfs(vfs_host& host, vfs_options options = {})
      : core_{host, options.base != nullptr ? options.base : sqlite3_vfs_find(nullptr),
              std::move(options.name), bounds_of(options)} {
    QUORLITE_ASSERT(core_.base != nullptr);
    fill_table();
    registered_ = sqlite3_vfs_find(core_.name.c_str()) == nullptr &&
                  sqlite3_vfs_register(&table_, 0) == SQLITE_OK;
  }
  vfs(const vfs&) = delete;
  vfs& operator=(const vfs&) = delete;
  ~vfs() {
    QUORLITE_ASSERT(core_.open_files.load() == 0);
    if (registered_) {
      sqlite3_vfs_unregister(&table_);
    }
  }

  /// False if the name was taken: opens through this VFS fail then.
  [[nodiscard]] bool is_registered() const noexcept { return registered_; }
  [[nodiscard]] const std::string& name() const noexcept { return core_.name; }
  [[nodiscard]] vfs_host& host() const noexcept { return core_.host; }

 private:
  static detail::draft_limits bounds_of(const vfs_options& options) noexcept {
    // Tests move the lock byte; it must not move while a database is open.
    const int lock_byte = sqlite3_test_control(SQLITE_TESTCTRL_PENDING_BYTE, 0);
    return {.lock_byte = static_cast<std::uint64_t>(static_cast<unsigned>(lock_byte)),
            .write_set_bytes = options.write_set_bytes_max};
  }

  static detail::vfs_core& core_of(sqlite3_vfs* self) noexcept {
    return *static_cast<detail::vfs_core*>(self->pAppData);
  }
  static sqlite3_vfs* base_of(sqlite3_vfs* self) noexcept { return core_of(self).base; }
  static bool is_plain(const char* name) noexcept {
    return name == nullptr || std::strchr(name, '/') != nullptr;
  }

  // ---- opening

  static int open(sqlite3_vfs* self, const char* name, sqlite3_file* file, int flags,
                  int* flags_out) noexcept {
    constexpr int kept_in_heap = SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL;
    constexpr int ours = SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL | kept_in_heap;
    file->pMethods = nullptr;
    if (is_plain(name) || (flags & ours) == 0) {
      sqlite3_vfs* const base = base_of(self);
      return base->xOpen(base, name, file, flags, flags_out);
    }
    if (flags_out != nullptr) {
      *flags_out = flags;
    }
    try {
      if ((flags & SQLITE_OPEN_MAIN_DB) != 0) {
        return open_database(core_of(self), name, file);
      }
      if ((flags & kept_in_heap) != 0) {
        return open_journal(core_of(self), name, file, flags);
      }
      return refuse(name, "a replicated database has no write-ahead log");
    } catch (...) {
      return SQLITE_NOMEM;
    }
  }

  static int refuse(const char* name, const char* why) noexcept {
    sqlite3_log(SQLITE_CANTOPEN, "quorlite: cannot open '%s': %s", name, why);
    return SQLITE_CANTOPEN;
  }

  static int open_database(detail::vfs_core& core, const char* name, sqlite3_file* file) {
    if (!is_database_name(name)) {
      return refuse(name, "not a database's name; a plain file needs a path with '/'");
    }
    if (sqlite3_uri_boolean(name, "immutable", 0) != 0 ||
        sqlite3_uri_boolean(name, "nolock", 0) != 0) {
      return refuse(name, "drop immutable=1 and nolock=1: a replicated database needs its locks, "
                          "and readers never wait for them");
    }
    const char* const cache = sqlite3_uri_parameter(name, "cache");
    if (cache != nullptr && std::string_view{cache} == "shared") {
      return refuse(name, "drop cache=shared: readers would wait for every COMMIT");
    }
    auto target = core.host.database_named(name);
    if (!target.has_value()) {
      return refuse(name, core.host.explain(target.error()).c_str());
    }
    detail::database_slot::open(file, core, std::move(*target));
    return SQLITE_OK;
  }

  static int open_journal(detail::vfs_core& core, const char* name, sqlite3_file* file, int flags) {
    if ((flags & SQLITE_OPEN_SUPER_JOURNAL) == 0) {
      return detail::journal_slot::open(file, std::make_shared<detail::heap_file>());
    }
    auto content = core.supers.open(name, (flags & SQLITE_OPEN_CREATE) != 0);
    return content == nullptr ? SQLITE_CANTOPEN
                              : detail::journal_slot::open(file, std::move(content));
  }

  // ---- names

  /// A super-journal's deletion is a commit if it asks for the directory to be synced, which only
  /// the commit does; a rollback that tidies up does not.
  static int remove(sqlite3_vfs* self, const char* name, int sync_directory) noexcept {
    if (is_plain(name)) {
      sqlite3_vfs* const base = base_of(self);
      return base->xDelete(base, name, sync_directory);
    }
    try {
      using fate = detail::super_journals::fate;
      detail::vfs_core& core = core_of(self);
      detail::super_journals::members inside;
      switch (core.supers.remove(name, sync_directory != 0, inside)) {
        case fate::removed:
        case fate::stays: return SQLITE_OK;
        case fate::refused: return SQLITE_IOERR_DELETE;
        case fate::commit: break;
      }
      std::sort(inside.begin(), inside.end(), [](const auto* a, const auto* b) {
        return a->name() < b->name();
      });
      const int code = detail::database_file::commit(core, inside);
      core.supers.conclude(name, code == SQLITE_OK);
      return code;
    } catch (...) {
      core_of(self).supers.refuse(name);
      return SQLITE_IOERR_NOMEM;
    }
  }

  /// Of all files in the heap only super-journals are ever looked for by name.
  static int access(sqlite3_vfs* self, const char* name, int flags, int* there) noexcept {
    if (is_plain(name)) {
      sqlite3_vfs* const base = base_of(self);
      return base->xAccess(base, name, flags, there);
    }
    *there = core_of(self).supers.exists(name) ? 1 : 0;
    return SQLITE_OK;
  }

  static int full_name(sqlite3_vfs* self, const char* name, int size, char* full) noexcept {
    if (is_plain(name)) {
      sqlite3_vfs* const base = base_of(self);
      return base->xFullPathname(base, name, size, full);
    }
    if (std::strlen(name) >= static_cast<std::size_t>(size)) {
      return SQLITE_CANTOPEN;
    }
    std::strcpy(full, name);
    return SQLITE_OK;
  }

  // ---- everything else is the business of the base

  static void* load(sqlite3_vfs* self, const char* name) noexcept {
    return base_of(self)->xDlOpen(base_of(self), name);
  }
  static void load_error(sqlite3_vfs* self, int size, char* text) noexcept {
    base_of(self)->xDlError(base_of(self), size, text);
  }
  using symbol = void (*)();
  static symbol find_symbol(sqlite3_vfs* self, void* library, const char* name) noexcept {
    return base_of(self)->xDlSym(base_of(self), library, name);
  }
  static void unload(sqlite3_vfs* self, void* library) noexcept {
    base_of(self)->xDlClose(base_of(self), library);
  }
  static int random_bytes(sqlite3_vfs* self, int size, char* out) noexcept {
    return base_of(self)->xRandomness(base_of(self), size, out);
  }
  static int sleep(sqlite3_vfs* self, int microseconds) noexcept {
    return base_of(self)->xSleep(base_of(self), microseconds);
  }
  static int current_time(sqlite3_vfs* self, double* days) noexcept {
    return base_of(self)->xCurrentTime(base_of(self), days);
  }
  static int current_time_64(sqlite3_vfs* self, sqlite3_int64* now) noexcept {
    sqlite3_vfs* const base = base_of(self);
    if (base->iVersion >= 2 && base->xCurrentTimeInt64 != nullptr) {
      return base->xCurrentTimeInt64(base, now);
    }
    double days = 0;
    const int code = base->xCurrentTime(base, &days);
    *now = static_cast<sqlite3_int64>(days * 86400000.0);
    return code;
  }
  static int last_system_error(sqlite3_vfs* self, int size, char* text) noexcept {
    sqlite3_vfs* const base = base_of(self);
    return base->xGetLastError != nullptr ? base->xGetLastError(base, size, text) : 0;
  }

  void fill_table() noexcept {
    table_.iVersion = 2;
    table_.szOsFile = std::max(core_.base->szOsFile,
                               static_cast<int>(std::max(sizeof(detail::database_slot),
                                                         sizeof(detail::journal_slot))));
    table_.mxPathname = std::max(core_.base->mxPathname, 300);
    table_.zName = core_.name.c_str();
    table_.pAppData = &core_;
    table_.xOpen = open;
    table_.xDelete = remove;
    table_.xAccess = access;
    table_.xFullPathname = full_name;
    table_.xDlOpen = load;
    table_.xDlError = load_error;
    table_.xDlSym = find_symbol;
    table_.xDlClose = unload;
    table_.xRandomness = random_bytes;
    table_.xSleep = sleep;
    table_.xCurrentTime = current_time;
    table_.xGetLastError = last_system_error;
    table_.xCurrentTimeInt64 = current_time_64;
  }

  detail::vfs_core core_;
  sqlite3_vfs table_{};
  bool registered_ = false;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
