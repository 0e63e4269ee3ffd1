/// @file
/// Databases in and out: an ordinary SQLite file becomes the content of a replicated database, and
/// the committed state of a replicated database becomes an ordinary SQLite file, while it is in
/// use.
///
/// Both copy pages by SQLite's backup interface (sqlite.org/backup.html), so the file may be in any
/// journal mode, and what a crashed writer left in its journal or WAL is taken care of.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <system_error>

#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/connection.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

/// How far a copy has come, in pages.
struct transfer_progress {
  std::uint64_t done = 0;
  std::uint64_t total = 0;
};

/// The default: nobody looks.
struct no_progress {
  bool operator()(transfer_progress) const noexcept { return true; }
};

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
template <class Progress>
[[nodiscard]] int copy_pages(sqlite3* into, sqlite3* from, Progress& progress) {
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

}  // namespace detail

/// Writes the committed state of a replicated database, as this replica has it now, to a new file.
/// Readers and writers go on. The file appears under its name when it is whole and synced; until
/// then it is called `path` + ".partial". Blocks, on any thread that may use `from`.
/// @param from a connection without an open transaction
/// @param progress called with transfer_progress now and then; false ends the copy
/// @returns std::errc::file_exists: `path` is there already; std::errc::operation_canceled;
///   errc::sqlite_failed: `from` is inside a transaction, or SQLite cannot write there (its log
///   says why); errc::storage_full: no room; std::errc::io_error: the file could not get its name.
///   Nothing is left behind then
template <class Progress = no_progress>
[[nodiscard]] std::error_code export_database(connection& from, const std::string& path,
                                              Progress progress = {}) {
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
    const detail::plain_database file(partial, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    code = file.code() != SQLITE_OK ? file.code()
                                    : detail::copy_pages(file.get(), from.get(), progress);
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

/// Makes an ordinary SQLite file the content of a replicated database, in one transaction: every
/// replica has all of it or nothing. Blocks until it is committed and applied here.
///
/// What it was before is gone, so use a name that has no page yet; otherwise the page sizes must be
/// equal. The file is read only, but for the recovery that its last writer may owe it. The size is
/// bounded by vfs_options::write_set_bytes and limits::transaction_bytes.
///
/// (A connection of its own does it: the page cache above a copy keeps a header that says WAL.)
/// @param into a replica that leads @param name of the database
/// @param progress as export_database(); the commit itself comes after the last call
/// @returns std::errc::no_such_file_or_directory: SQLite cannot open it;
///   std::errc::operation_canceled; errc::too_large; errc::sqlite_failed (not a database, another
///   page size); errors of replica::open(); else what a COMMIT says: failure::not_applied,
///   failure::outcome_unknown, failure::fatal
template <class Replica, class Progress = no_progress>
[[nodiscard]] std::error_code import_database(Replica& into, std::string_view name,
                                              const std::string& path, Progress progress = {}) {
  const detail::plain_database file(path, SQLITE_OPEN_READWRITE);
  if (file.code() != SQLITE_OK) {
    return std::make_error_code(std::errc::no_such_file_or_directory);
  }
  result<connection> db = into.open(name);
  if (!db) {
    return db.error();
  }
  const int code = detail::copy_pages(db->get(), file.get(), progress);
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

}  // namespace QUORLITE_ABI
}  // namespace quorlite
