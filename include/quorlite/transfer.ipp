/// @file
/// Bodies of transfer.hpp: copies by SQLite's backup interface, and the plain files at their ends.
#pragma once

#include "quorlite/transfer.hpp"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <system_error>

#include "quorlite/config.hpp"
#include "quorlite/connection.hpp"
#include "quorlite/detail/sqlite/database_file.hpp"
#include "quorlite/detail/sqlite/vfs.hpp"
#include "quorlite/error.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// A plain file, opened by SQLite's own VFS.
class plain_database {
 public:
  plain_database(const std::string& path, int flags) noexcept
      : code_(sqlite3_open_v2(path.c_str(), &db_, flags, nullptr)) {
    if (db_ != nullptr) {  // none: there was no memory for it
      sqlite3_extended_result_codes(db_, 1);
      sqlite3_busy_timeout(db_, 5000);
    }
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

/// A read transaction from beginning to end: a copy in steps then sees one state. It begins with
/// what does not need the schema, which may be malformed. Its end is prepared before: if there was
/// no memory for that, the connection would stay in a transaction that its owner does not know of.
class steady_reader {
 public:
  explicit steady_reader(sqlite3* db) noexcept
      : db_(db), code_(sqlite3_prepare_v2(db_, "ROLLBACK", -1, &end_, nullptr)) {
    if (code_ == SQLITE_OK) {
      code_ = sqlite3_exec(db_, "BEGIN; PRAGMA schema_version", nullptr, nullptr, nullptr);
    }
  }
  steady_reader(const steady_reader&) = delete;
  steady_reader& operator=(const steady_reader&) = delete;
  ~steady_reader() {
    if (end_ != nullptr && sqlite3_get_autocommit(db_) == 0) {
      sqlite3_step(end_);
    }
    sqlite3_finalize(end_);
  }
  [[nodiscard]] int code() const noexcept { return code_; }

 private:
  sqlite3* db_;
  sqlite3_stmt* end_ = nullptr;
  int code_;
};

/// Ends a copy, also one that a progress function leaves by an exception: SQLite closes no
/// connection that a copy is under way on.
struct finish_backup {
  void operator()(sqlite3_backup* copy) const noexcept { sqlite3_backup_finish(copy); }
};

/// SQLite had no memory for what it was to do.
[[nodiscard]] inline bool is_for_memory(int code) noexcept {
  return (code & 0xFF) == SQLITE_NOMEM || code == SQLITE_IOERR_NOMEM;
}
[[nodiscard]] inline bool had_no_memory(sqlite3* db) noexcept {
  return is_for_memory(sqlite3_extended_errcode(db));
}

/// Copies all pages of `from` into `into`. @returns SQLite's code; SQLITE_ABORT if `progress` said
/// so
[[nodiscard]] inline int copy_pages(sqlite3* into, sqlite3* from, const watch_transfer& progress) {
  constexpr int pages_per_step = 256;
  const steady_reader steady(from);
  if (steady.code() != SQLITE_OK) {
    return steady.code();
  }
  std::unique_ptr<sqlite3_backup, finish_backup> copy(
      sqlite3_backup_init(into, "main", from, "main"));
  if (!copy) {
    return sqlite3_extended_errcode(into);
  }
  int code = SQLITE_OK;
  while (code == SQLITE_OK) {
    code = sqlite3_backup_step(copy.get(), pages_per_step);
    const auto total = static_cast<std::uint64_t>(sqlite3_backup_pagecount(copy.get()));
    const auto left = static_cast<std::uint64_t>(sqlite3_backup_remaining(copy.get()));
    if (code == SQLITE_OK && !progress(transfer_progress{total - left, total})) {
      code = SQLITE_ABORT;
    }
  }
  const int end = sqlite3_backup_finish(copy.release());
  return code == SQLITE_DONE ? end : code;
}

[[nodiscard]] inline std::error_code last_system_error() noexcept {
  return {errno, std::generic_category()};
}

/// A file that nobody else has, beside the one that it shall become. Gone at the end, unless it got
/// its name.
class partial_file {
 public:
  /// @param path outlives it
  explicit partial_file(const std::string& path) noexcept : path_(path) {
    try {
      make();
    } catch (const std::bad_alloc&) {
      error_ = make_error_code(errc::out_of_memory);
    }
  }
  partial_file(const partial_file&) = delete;
  partial_file& operator=(const partial_file&) = delete;
  ~partial_file() {
    if (!error_) {
      ::unlink(name_.c_str());
    }
  }

  [[nodiscard]] std::error_code error() const noexcept { return error_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

  /// @returns std::errc::file_exists, unless it may overwrite
  [[nodiscard]] std::error_code get_its_name(bool overwrite) const noexcept try {
    if (overwrite) {
      return std::rename(name_.c_str(), path_.c_str()) == 0 ? sync_folder() : last_system_error();
    }
    // A second name is never given over a file that is there; the first goes with this object.
    if (::link(name_.c_str(), path_.c_str()) == 0) {
      return sync_folder();
    }
    if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS) {
      return last_system_error();
    }
    // A file system without links. What comes between these two lines is replaced.
    if (::access(path_.c_str(), F_OK) == 0) {
      return std::make_error_code(std::errc::file_exists);
    }
    return std::rename(name_.c_str(), path_.c_str()) == 0 ? sync_folder() : last_system_error();
  } catch (const std::bad_alloc&) {
    return make_error_code(errc::out_of_memory);
  }

 private:
  void make() {
    int file = -1;
    for (std::uint64_t number = 1; file < 0; ++number) {
      name_ = path_ + ".partial-" + std::to_string(::getpid()) + '-' + std::to_string(number);
      file = ::open(name_.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0644);
      if (file < 0 && errno != EEXIST) {
        error_ = last_system_error();
        return;
      }
    }
    ::close(file);
  }

  [[nodiscard]] std::error_code sync_folder() const {
    const std::size_t slash = path_.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
    const int opened = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (opened < 0) {
      return last_system_error();
    }
    const std::error_code error = ::fsync(opened) == 0 ? std::error_code{} : last_system_error();
    ::close(opened);
    return error;
  }

  const std::string& path_;
  std::string name_;
  std::error_code error_;
};

QUORLITE_DECL std::error_code export_pages(sqlite3* from, const std::string& path,
                                           const export_options& options,
                                           const watch_transfer& progress) {
  if (from == nullptr || sqlite3_get_autocommit(from) == 0) {
    return make_error_code(errc::sqlite_failed);
  }
  try {
    const database_file* const main = replicated_file(from, "main");
    if (main != nullptr && main->core().kept.hold(path)) {
      return std::make_error_code(std::errc::operation_not_permitted);
    }
  } catch (const std::bad_alloc&) {
    return make_error_code(errc::out_of_memory);
  }
  if (!options.overwrite && ::access(path.c_str(), F_OK) == 0) {
    return std::make_error_code(std::errc::file_exists);
  }
  const partial_file partial(path);
  if (partial.error()) {
    return partial.error();
  }
  int code = SQLITE_OK;
  {
    const plain_database file(partial.name(), SQLITE_OPEN_READWRITE);
    code = file.code() != SQLITE_OK ? file.code() : copy_pages(file.get(), from, progress);
  }
  if (code == sqlite_snapshot_ended) {
    return make_error_code(errc::snapshot_ended);
  }
  switch (is_for_memory(code) ? SQLITE_NOMEM : code & 0xFF) {
    case SQLITE_OK: return partial.get_its_name(options.overwrite);
    case SQLITE_ABORT: return std::make_error_code(std::errc::operation_canceled);
    case SQLITE_FULL: return make_error_code(errc::storage_full);
    case SQLITE_NOMEM: return make_error_code(errc::out_of_memory);
    default: return make_error_code(errc::sqlite_failed);
  }
}

/// What a pragma says that answers with a number; nothing: it fails, or says something else.
[[nodiscard]] inline std::optional<std::int64_t> number_of(sqlite3* db,
                                                           const char* pragma) noexcept {
  std::optional<std::int64_t> said;
  const auto look = [](void* to, int, char** columns, char**) {
    if (columns[0] != nullptr) {
      *static_cast<std::optional<std::int64_t>*>(to) = std::atoll(columns[0]);
    }
    return 0;
  };
  const bool done = sqlite3_exec(db, pragma, look, &said, nullptr) == SQLITE_OK;
  return done ? said : std::nullopt;
}

/// Why the pages of `from` cannot take the place of those of `into`: only while there is no page
/// yet may a database take its page size from another one.
[[nodiscard]] inline std::error_code objection_to(sqlite3* into, sqlite3* from) noexcept {
  const auto pages = number_of(into, "PRAGMA page_count");
  bool no_memory = had_no_memory(into);
  const auto here = number_of(into, "PRAGMA page_size");
  no_memory = no_memory || had_no_memory(into);
  const auto there = number_of(from, "PRAGMA page_size");
  if (no_memory || had_no_memory(from)) {
    return make_error_code(errc::out_of_memory);
  }
  const bool fits = pages == 0 || here == there;
  return fits ? std::error_code{} : make_error_code(errc::other_page_size);
}

QUORLITE_DECL std::error_code import_pages(const std::function<result<connection>()>& open,
                                           const std::string& path,
                                           const watch_transfer& progress) {
  const plain_database file(path, SQLITE_OPEN_READWRITE);
  if (file.code() != SQLITE_OK) {
    return is_for_memory(file.code()) ? make_error_code(errc::out_of_memory)
                                      : std::make_error_code(std::errc::no_such_file_or_directory);
  }
  // SQLite takes a file without a byte for a database, which has no page and no table. Whoever
  // names one has a copy that failed, or the wrong name.
  const auto pages = number_of(file.get(), "PRAGMA page_count");
  if (pages == 0 || had_no_memory(file.get())) {
    return make_error_code(pages == 0 ? errc::sqlite_failed : errc::out_of_memory);
  }
  result<connection> db = open();
  if (!db) {
    return db.error();
  }
  if (const std::error_code error = objection_to(db->get(), file.get())) {
    const bool is_none = error == errc::other_page_size && !pages;  // no database at all
    return is_none ? make_error_code(errc::sqlite_failed) : error;
  }
  const int code = copy_pages(db->get(), file.get(), progress);
  if (code == SQLITE_OK) {
    return {};
  }
  if (code == SQLITE_ABORT) {
    return std::make_error_code(std::errc::operation_canceled);
  }
  if (is_for_memory(code)) {
    return make_error_code(errc::out_of_memory);
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
