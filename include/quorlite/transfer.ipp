/// @file
/// Bodies of transfer.hpp: copies by SQLite's backup interface, and the plain files at their ends.
#pragma once

#include "quorlite/transfer.hpp"

#include <sqlite3.h>

#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <system_error>

#include "quorlite/config.hpp"
#include "quorlite/connection.hpp"
#include "quorlite/error.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// A plain file, opened by SQLite's own VFS.
class plain_database {
 public:
  plain_database(const std::string& path, int flags) noexcept
      : code_(sqlite3_open_v2(path.c_str(), &db_, flags, nullptr)) {
    sqlite3_extended_result_codes(db_, 1);
    sqlite3_busy_timeout(db_, 5000);
  }
  plain_database(const plain_database&) = delete;
  plain_database& operator=(const plain_database&) = delete;
  ~plain_database() { sqlite3_close(db_); }

  [[nodiscard]] int code() const noexcept { return code_; }
  [[nodiscard]] sqlite3* get() const noexcept { return db_; }

 private:
  sqlite3* db_ = nullptr;
  int code_;
};

/// A read transaction from beginning to end: a copy in steps then sees one state.
class steady_reader {
 public:
  explicit steady_reader(sqlite3* db) noexcept : db_(db) {
    code_ =
        sqlite3_exec(db_, "BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1", nullptr, nullptr, nullptr);
  }
  steady_reader(const steady_reader&) = delete;
  steady_reader& operator=(const steady_reader&) = delete;
  ~steady_reader() {
    if (sqlite3_get_autocommit(db_) == 0) {
      sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
    }
  }
  [[nodiscard]] int code() const noexcept { return code_; }

 private:
  sqlite3* db_;
  int code_;
};

/// Copies all pages of `from` into `into`. @returns SQLite's code; SQLITE_ABORT if `progress` said
/// so
[[nodiscard]] inline int copy_pages(sqlite3* into, sqlite3* from, const watch_transfer& progress) {
  constexpr int pages_per_step = 256;
  const steady_reader steady(from);
  if (steady.code() != SQLITE_OK) {
    return steady.code();
  }
  sqlite3_backup* const copy = sqlite3_backup_init(into, "main", from, "main");
  if (copy == nullptr) {
    return sqlite3_extended_errcode(into);
  }
  int code = SQLITE_OK;
  while (code == SQLITE_OK) {
    code = sqlite3_backup_step(copy, pages_per_step);
    const auto total = static_cast<std::uint64_t>(sqlite3_backup_pagecount(copy));
    const auto left = static_cast<std::uint64_t>(sqlite3_backup_remaining(copy));
    if (code == SQLITE_OK && !progress(transfer_progress{total - left, total})) {
      code = SQLITE_ABORT;
    }
  }
  const int end = sqlite3_backup_finish(copy);
  return code == SQLITE_DONE ? end : code;
}

QUORLITE_DECL std::error_code export_pages(sqlite3* from, const std::string& path,
                                           const watch_transfer& progress) {
  if (sqlite3_get_autocommit(from) == 0) {
    return make_error_code(errc::sqlite_failed);
  }
  if (std::FILE* const there = std::fopen(path.c_str(), "rb")) {
    std::fclose(there);
    return std::make_error_code(std::errc::file_exists);
  }
  const std::string partial = path + ".partial";
  std::remove(partial.c_str());
  int code = SQLITE_OK;
  {
    const plain_database file(partial, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    code = file.code() != SQLITE_OK ? file.code() : copy_pages(file.get(), from, progress);
  }
  if (code == SQLITE_OK && std::rename(partial.c_str(), path.c_str()) == 0) {
    return {};
  }
  std::remove(partial.c_str());
  switch (code & 0xFF) {
    case SQLITE_OK: return std::make_error_code(std::errc::io_error);
    case SQLITE_ABORT: return std::make_error_code(std::errc::operation_canceled);
    case SQLITE_FULL: return make_error_code(errc::storage_full);
    default: return make_error_code(errc::sqlite_failed);
  }
}

QUORLITE_DECL std::error_code import_pages(const std::function<result<connection>()>& open,
                                           const std::string& path,
                                           const watch_transfer& progress) {
  const plain_database file(path, SQLITE_OPEN_READWRITE);
  if (file.code() != SQLITE_OK) {
    return std::make_error_code(std::errc::no_such_file_or_directory);
  }
  result<connection> db = open();
  if (!db) {
    return db.error();
  }
  const int code = copy_pages(db->get(), file.get(), progress);
  if (code == SQLITE_OK) {
    return {};
  }
  if (code == SQLITE_ABORT) {
    return std::make_error_code(std::errc::operation_canceled);
  }
  const std::error_code ours = db->last_error();
  if (ours != errc::sqlite_failed && ours) {
    return ours;
  }
  return make_error_code((code & 0xFF) == SQLITE_FULL ? errc::too_large : errc::sqlite_failed);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
