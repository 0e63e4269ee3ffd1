/// @file
/// Bodies of vfs.hpp.
#pragma once

#include "quorlite/detail/sqlite/vfs.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/detail/commit/vfs_host.hpp"
#include "quorlite/detail/sqlite/database_file.hpp"
#include "quorlite/detail/sqlite/journal.hpp"
#include "quorlite/error.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL vfs::vfs(vfs_host& host, vfs_options options, const std::shared_ptr<void>& owner)
    : core_{host, {}, bounds_of(options), std::move(options.kept)},
      own_(owner ? nullptr : std::make_shared<char>()) {
  sqlite3_initialize();
  sqlite3_vfs* const base = options.base != nullptr ? options.base : sqlite3_vfs_find(nullptr);
  QUORLITE_ASSERT(base != nullptr);
  const std::shared_ptr<vfs_core> shared(owner ? owner : own_, &core_);
  door_ = vfs_door::open(std::move(options.name), base, shared, &vfs::fill_table);
  if (door_ != nullptr) {
    core_.name = door_->name;
    door_->is_asked_now.store(host.abilities().now);
    door_->is_asked_random.store(host.abilities().random);
  }
}

QUORLITE_DECL vfs::~vfs() {
  QUORLITE_ASSERT(core_.open_files.load() == 0);
  if (door_ != nullptr) {
    door_->close();
  }
}

QUORLITE_DECL void vfs::close() noexcept {
  core_.is_closed.store(true);
  if (door_ != nullptr) {
    door_->is_asked_now.store(false);
    door_->is_asked_random.store(false);
    const std::lock_guard nobody_asks(door_->asking);  // who asked before has been answered
  }
}

QUORLITE_DECL dirty_pages_limits vfs::bounds_of(const vfs_options& options) noexcept {
  // Tests move the lock byte; it must not move while a database is open.
  const int lock_byte = sqlite3_test_control(SQLITE_TESTCTRL_PENDING_BYTE, 0);
  return {.lock_byte = static_cast<std::uint64_t>(static_cast<unsigned>(lock_byte)),
          .write_set_bytes = options.write_set_bytes};
}

QUORLITE_DECL vfs_door& vfs::door_of(sqlite3_vfs* self) noexcept {
  return *static_cast<vfs_door*>(self->pAppData);
}

QUORLITE_DECL bool vfs::is_plain(const char* name) noexcept {
  return name == nullptr || std::strchr(name, '/') != nullptr;
}

QUORLITE_DECL int vfs::open(sqlite3_vfs* self, const char* name, sqlite3_file* file, int flags,
                            int* flags_out) noexcept {
  constexpr int kept_in_heap = SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL;
  constexpr int ours = SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL | kept_in_heap;
  file->pMethods = nullptr;
  try {
    if (is_plain(name) || (flags & ours) == 0) {
      return open_plain(door_of(self), name, file, flags, flags_out);
    }
    if (flags_out != nullptr) {
      *flags_out = flags;
    }
    if ((flags & SQLITE_OPEN_MAIN_DB) != 0) {
      return open_database(door_of(self), name, file, flags);
    }
    if ((flags & kept_in_heap) != 0) {
      return open_journal(core_of(self), name, file, flags);
    }
    return refuse(core_of(self), name, "a replicated database has no write-ahead log");
  } catch (...) {
    return SQLITE_NOMEM;
  }
}

/// @param core nullptr: the replica has ended
QUORLITE_DECL int vfs::refuse(vfs_core* core, const char* name, const char* why) {
  sqlite3_log(SQLITE_CANTOPEN, "quorlite: cannot open '%s': %s", name, why);
  if (core != nullptr) {
    core->refusal.keep(name, why);
  }
  return SQLITE_CANTOPEN;
}

/// A database there would be taken for one of ours, or take the place of one that is to come.
QUORLITE_DECL int vfs::open_plain(vfs_door& door, const char* name, sqlite3_file* file, int flags,
                                  int* flags_out) {
  if (name != nullptr && (flags & SQLITE_OPEN_MAIN_DB) != 0) {
    const std::shared_ptr<vfs_core> core = door.enter();
    if (core != nullptr && core->kept.hold(name)) {
      return refuse(core.get(), name,
                    "it leads into the data folder of a replica, where nothing but the replica "
                    "may write; a replicated database is opened by its bare name");
    }
  }
  return door.base->xOpen(door.base, name, file, flags, flags_out);
}

QUORLITE_DECL int vfs::open_database(vfs_door& door, const char* name, sqlite3_file* file,
                                     int flags) {
  std::shared_ptr<vfs_core> core = door.enter();
  if (!is_database_name(name)) {
    return refuse(core.get(), name, "not a database's name; a plain file needs a path with '/'");
  }
  if (sqlite3_uri_boolean(name, "immutable", 0) != 0 ||
      sqlite3_uri_boolean(name, "nolock", 0) != 0) {
    return refuse(core.get(), name,
                  "drop immutable=1 and nolock=1: a replicated database needs its locks, "
                  "and readers never wait for them");
  }
  const char* const cache = sqlite3_uri_parameter(name, "cache");
  if (cache != nullptr && std::string_view{cache} == "shared") {
    return refuse(core.get(), name, "drop cache=shared: readers would wait for every COMMIT");
  }
  if (core == nullptr || core->is_closed.load()) {
    return refuse(core.get(), name, "its replica has ended");
  }
  auto target = core->host.database_named(name);
  if (!target.has_value()) {
    return refuse(core.get(), name, core->host.explain(target.error()).c_str());
  }
  if ((flags & SQLITE_OPEN_CREATE) == 0 && !(*target)->exists() &&
      sqlite3_uri_boolean(name, may_be_missing, 0) == 0) {
    return refuse(core.get(), name,
                  "no transaction has written it yet: to create it say mode=rwc, or "
                  "SQLITE_OPEN_CREATE");
  }
  database_slot::open(file, std::move(core), std::move(*target));
  return SQLITE_OK;
}

QUORLITE_DECL int vfs::open_journal(vfs_core* core, const char* name, sqlite3_file* file,
                                    int flags) {
  if ((flags & SQLITE_OPEN_SUPER_JOURNAL) == 0) {
    return journal_slot::open(file, std::make_shared<heap_file>());
  }
  if (core == nullptr) {
    return SQLITE_CANTOPEN;
  }
  auto content = core->supers.open(name, (flags & SQLITE_OPEN_CREATE) != 0);
  return content == nullptr ? SQLITE_CANTOPEN : journal_slot::open(file, std::move(content));
}

QUORLITE_DECL int vfs::remove(sqlite3_vfs* self, const char* name, int sync_directory) noexcept {
  if (is_plain(name)) {
    sqlite3_vfs* const base = base_of(self);
    return base->xDelete(base, name, sync_directory);
  }
  vfs_core* const core = core_of(self);
  if (core == nullptr) {
    return SQLITE_OK;  // nothing is there any more
  }
  try {
    using fate = super_journals::fate;
    super_journals::members inside;
    switch (core->supers.remove(name, sync_directory != 0, inside)) {
      case fate::removed:
      case fate::stays: return SQLITE_OK;
      case fate::refused: return SQLITE_IOERR_DELETE;
      case fate::commit: break;
    }
    std::sort(inside.begin(), inside.end(),
              [](const auto* a, const auto* b) { return a->name() < b->name(); });
    const int code = database_file::commit(*core, inside);
    core->supers.conclude(name, code == SQLITE_OK);
    return code;
  } catch (...) {
    core->supers.refuse(name);
    return SQLITE_IOERR_NOMEM;
  }
}

QUORLITE_DECL int vfs::access(sqlite3_vfs* self, const char* name, int flags, int* there) noexcept {
  if (is_plain(name)) {
    sqlite3_vfs* const base = base_of(self);
    return base->xAccess(base, name, flags, there);
  }
  vfs_core* const core = core_of(self);
  *there = core != nullptr && core->supers.exists(name) ? 1 : 0;
  return SQLITE_OK;
}

QUORLITE_DECL int vfs::full_name(sqlite3_vfs* self, const char* name, int size,
                                 char* full) noexcept {
  if (is_plain(name)) {
    sqlite3_vfs* const base = base_of(self);
    return base->xFullPathname(base, name, size, full);
  }
  const std::size_t length = std::strlen(name);
  if (length >= static_cast<std::size_t>(size)) {
    return SQLITE_CANTOPEN;
  }
  std::memcpy(full, name, length + 1);
  return SQLITE_OK;
}

QUORLITE_DECL void* vfs::load(sqlite3_vfs* self, const char* name) noexcept {
  return base_of(self)->xDlOpen(base_of(self), name);
}

QUORLITE_DECL void vfs::load_error(sqlite3_vfs* self, int size, char* text) noexcept {
  base_of(self)->xDlError(base_of(self), size, text);
}

QUORLITE_DECL vfs::symbol vfs::find_symbol(sqlite3_vfs* self, void* library,
                                           const char* name) noexcept {
  return base_of(self)->xDlSym(base_of(self), library, name);
}

QUORLITE_DECL void vfs::unload(sqlite3_vfs* self, void* library) noexcept {
  base_of(self)->xDlClose(base_of(self), library);
}

// ---- time and random numbers

template <class Question>
auto vfs::ask_host(sqlite3_vfs* self, Question question)
    -> std::optional<decltype(question(std::declval<vfs_host&>()))> {
  vfs_door& door = door_of(self);
  const std::lock_guard it_stays(door.asking);
  vfs_core* const core = door.core.load();
  if (core == nullptr || core->is_closed.load()) {
    return std::nullopt;
  }
  return question(core->host);
}

QUORLITE_DECL int vfs::random_bytes(sqlite3_vfs* self, int size, char* out) noexcept {
  if (door_of(self).is_asked_random.load()) {
    const auto filled = ask_host(self, [&](vfs_host& host) noexcept {
      std::uint64_t drawn = 0;
      for (int i = 0; i < size; ++i, drawn >>= 8U) {  // lowest byte first, on every machine
        drawn = i % 8 == 0 ? host.random() : drawn;
        out[i] = static_cast<char>(drawn & 0xFFU);
      }
      return size;
    });
    if (filled) {
      return *filled;
    }
  }
  return base_of(self)->xRandomness(base_of(self), size, out);
}

/// A sleep is a wait for nobody: a clock that only waiting moves would stand still else.
QUORLITE_DECL int vfs::sleep(sqlite3_vfs* self, int microseconds) noexcept {
  vfs_door& door = door_of(self);
  if (door.is_asked_now.load() && microseconds > 0) {
    const std::shared_ptr<vfs_core> core = door.enter();
    if (core != nullptr && !core->is_closed.load()) {
      const std::uint64_t span = (static_cast<std::uint64_t>(microseconds) + 999) / 1000;
      core->host.sleep(milliseconds{span});
      return static_cast<int>(span * 1000);
    }
  }
  return base_of(self)->xSleep(base_of(self), microseconds);
}

QUORLITE_DECL std::optional<sqlite3_int64> vfs::adapter_time(sqlite3_vfs* self) noexcept {
  constexpr std::uint64_t days_to_1970_ms = 210'866'760'000'000;  // from noon in 4714 BC
  constexpr std::uint64_t last_ms = 253'402'300'799'999;          // of the year 9999
  if (!door_of(self).is_asked_now.load()) {
    return std::nullopt;
  }
  const auto reading = ask_host(self, [](vfs_host& host) noexcept { return host.now(); });
  if (!reading) {
    return std::nullopt;
  }
  const std::uint64_t utc_ms = std::min(reading->utc_us / 1000, last_ms);
  return static_cast<sqlite3_int64>(days_to_1970_ms + utc_ms);
}

QUORLITE_DECL int vfs::current_time(sqlite3_vfs* self, double* days) noexcept {
  if (const auto now = adapter_time(self)) {
    *days = static_cast<double>(*now) / 86'400'000.0;
    return SQLITE_OK;
  }
  return base_of(self)->xCurrentTime(base_of(self), days);
}

QUORLITE_DECL int vfs::current_time_64(sqlite3_vfs* self, sqlite3_int64* now) noexcept {
  if (const auto told = adapter_time(self)) {
    *now = *told;
    return SQLITE_OK;
  }
  sqlite3_vfs* const base = base_of(self);
  if (base->iVersion >= 2 && base->xCurrentTimeInt64 != nullptr) {
    return base->xCurrentTimeInt64(base, now);
  }
  double days = 0;
  const int code = base->xCurrentTime(base, &days);
  *now = static_cast<sqlite3_int64>(days * 86400000.0);
  return code;
}

// ---- everything else

QUORLITE_DECL int vfs::last_system_error(sqlite3_vfs* self, int size, char* text) noexcept {
  sqlite3_vfs* const base = base_of(self);
  return base->xGetLastError != nullptr ? base->xGetLastError(base, size, text) : 0;
}

QUORLITE_DECL void vfs::fill_table(vfs_door& door) noexcept {
  sqlite3_vfs& table = door.table;
  const sqlite3_vfs& base = *door.base;
  table.iVersion = 2;
  table.szOsFile = std::max(
      base.szOsFile, static_cast<int>(std::max(sizeof(database_slot), sizeof(journal_slot))));
  table.mxPathname = std::max(base.mxPathname, 300);
  table.zName = door.name.c_str();
  table.pAppData = &door;
  table.xOpen = open;
  table.xDelete = remove;
  table.xAccess = access;
  table.xFullPathname = full_name;
  table.xDlOpen = load;
  table.xDlError = load_error;
  table.xDlSym = find_symbol;
  table.xDlClose = unload;
  table.xRandomness = random_bytes;
  table.xSleep = sleep;
  table.xCurrentTime = current_time;
  table.xGetLastError = last_system_error;
  table.xCurrentTimeInt64 = current_time_64;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
