/// @file
/// Bodies of connection.hpp: opening, closing, and who is to blame for an error.
#pragma once

#include "quorlite/connection.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/sqlite/busy_handler.hpp"
#include "quorlite/detail/sqlite/database_file.hpp"
#include "quorlite/detail/sqlite/result_code.hpp"
#include "quorlite/detail/sqlite/vfs.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"
#include "quorlite/options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

QUORLITE_DECL connection::connection() noexcept = default;

QUORLITE_DECL connection::connection(connection&& other) noexcept
    : db_(std::exchange(other.db_, nullptr)), busy_(std::move(other.busy_)) {}

QUORLITE_DECL connection::connection(sqlite3* db, milliseconds busy_timeout)
    : db_(db), busy_(std::make_unique<detail::busy_handler>(busy_timeout)) {}

QUORLITE_DECL connection& connection::operator=(connection&& other) noexcept {
  if (this != &other) {
    close();
    db_ = std::exchange(other.db_, nullptr);
    busy_ = std::move(other.busy_);
  }
  return *this;
}

QUORLITE_DECL connection::~connection() { close(); }

namespace detail {

/// What SQLite's own codes say, where we have a word for it.
[[nodiscard]] inline std::error_code error_of_sqlite(int code) noexcept {
  switch (code & 0xFF) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE: return {};
    case SQLITE_NOMEM: return make_error_code(errc::out_of_memory);
    case SQLITE_BUSY: return make_error_code(errc::busy);
    default:
      return make_error_code(code == SQLITE_IOERR_NOMEM ? errc::out_of_memory
                                                        : errc::sqlite_failed);
  }
}

}  // namespace detail

QUORLITE_DECL std::string connection::error_message() const {
  if (db_ == nullptr) {
    return "no database is open: the connection is empty";
  }
  const detail::database_file* const file = latest();
  if (file != nullptr && failed_by_us(*file)) {
    return file->answers().text();
  }
  std::string said = sqlite3_errmsg(db_);
  detail::database_file* const main = detail::replicated_file(db_, "main");
  if ((sqlite3_errcode(db_) & 0xFF) == SQLITE_CANTOPEN && main != nullptr) {
    const std::string why = main->core().refusal.reason_for(said);
    said += why.empty() ? why : ": " + why;
  }
  return said;
}

QUORLITE_DECL std::error_code connection::last_error() const {
  if (db_ == nullptr) {
    return make_error_code(errc::sqlite_failed);
  }
  const std::error_code its_own = detail::error_of_sqlite(sqlite3_extended_errcode(db_));
  const detail::database_file* const file = its_own ? latest() : nullptr;
  return file != nullptr && failed_by_us(*file) ? file->answers().error() : its_own;
}

QUORLITE_DECL transaction_id connection::last_transaction() const noexcept {
  transaction_id latest_id;
  if (db_ == nullptr) {
    return latest_id;
  }
  detail::for_each_replicated_file(db_, [&](const detail::database_file& file) noexcept {
    latest_id = std::max(latest_id, file.answers().transaction());
  });
  return latest_id;
}

QUORLITE_DECL const detail::database_file* connection::latest() const noexcept {
  const detail::database_file* found = nullptr;
  detail::for_each_replicated_file(db_, [&](const detail::database_file& file) noexcept {
    if (found == nullptr || file.answers().event() > found->answers().event()) {
      found = &file;
    }
  });
  return found;
}

QUORLITE_DECL bool connection::failed_by_us(const detail::database_file& file) const noexcept {
  const int code = sqlite3_extended_errcode(db_);
  const std::error_code error = file.answers().error();
  if (error == errc::unsupported && code == SQLITE_CANTOPEN) {
    // Of VACUUM INTO; an open that fails is told with its name.
    return std::string_view{sqlite3_errmsg(db_)} == sqlite3_errstr(SQLITE_CANTOPEN);
  }
  return error && (code == detail::sqlite_code(error) || code == sqlite_transaction_over ||
                   (code == sqlite_busy_rolled_back && error == errc::busy) ||
                   (code == SQLITE_CORRUPT && error == errc::corrupt) ||      // as SQLite says it
                   (code == SQLITE_NOMEM && error == errc::out_of_memory) ||  // the same
                   (error == errc::unsupported &&
                    (code == SQLITE_READONLY || (code & 0xFF) == SQLITE_IOERR)));
}

QUORLITE_DECL void connection::close() noexcept {
  if (db_ == nullptr) {
    return;
  }
  if (sqlite3_close(db_) != SQLITE_OK) {
    // Statements or blobs are left open. SQLite keeps the rest alive until they go, but not us.
    sqlite3_busy_handler(db_, nullptr, nullptr);
    detail::for_each_replicated_file(
        db_, [](detail::database_file& file) noexcept { file.set_timeout(nullptr); });
    sqlite3_close_v2(db_);
  }
  db_ = nullptr;
  busy_.reset();
}

namespace detail {

/// SQLite does not take what it reads for a database, or a schema in it: for every statement to
/// tell, not for an open, or nobody could mend or replace it.
[[nodiscard]] inline bool is_of_content(int code) noexcept {
  const int primary = code & 0xFF;
  return primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB || primary == SQLITE_ERROR;
}

/// The pragma reads the schema. Of a malformed one SQLite takes what it can for somebody who may
/// write it, and forgets that afterwards.
inline void set_synchronous(sqlite3* db) noexcept {
  for (const char* const sql :
       {"PRAGMA writable_schema=ON", "PRAGMA synchronous=FULL", "PRAGMA writable_schema=RESET"}) {
    sqlite3_exec(db, sql, nullptr, nullptr, nullptr);
  }
}

/// A super-journal, and with it the atomic commit of several databases, needs synchronous=FULL. A
/// SQLite that was built to keep its locks is told not to before it takes one; that goes for what
/// is attached later, too.
[[nodiscard]] inline std::error_code set_modes(sqlite3* db) noexcept {
  bool is_normal = false;
  const auto see = [](void* seen, int, char** row, char**) {
    *static_cast<bool*>(seen) = row[0] != nullptr && std::string_view{row[0]} == "normal";
    return 0;
  };
  const int code = sqlite3_exec(db, "PRAGMA locking_mode=NORMAL; PRAGMA synchronous=FULL", see,
                                &is_normal, nullptr);
  if (is_of_content(code)) {
    set_synchronous(db);
  } else if (code != SQLITE_OK) {
    return error_of_sqlite(code);
  }
  return is_normal ? std::error_code{} : make_error_code(errc::unsupported);
}

QUORLITE_DECL std::error_code set_up_connection(sqlite3* db, milliseconds busy_timeout) {
  database_file* const file = replicated_file(db, "main");
  if (file == nullptr) {
    return make_error_code(errc::unsupported);
  }
  auto waits = std::make_unique<busy_handler>(busy_timeout);
  sqlite3_extended_result_codes(db, 1);
  if (const std::error_code error = set_modes(db)) {
    return error;
  }
  // SQLite destroys a function's data with the connection, after its files are closed.
  const auto name = [](sqlite3_context* asked, int, sqlite3_value**) {
    database_file* const main = replicated_file(sqlite3_context_db_handle(asked), "main");
    sqlite3_result_text(asked, main == nullptr ? "" : main->core().name.c_str(), -1,
                        SQLITE_TRANSIENT);
  };
  busy_handler* const kept = waits.release();  // gone, too, if this fails
  const int code =
      sqlite3_create_function_v2(db, "quorlite_vfs", 0, SQLITE_UTF8, kept, name, nullptr, nullptr,
                                 [](void* handler) { delete static_cast<busy_handler*>(handler); });
  if (code != SQLITE_OK) {
    return error_of_sqlite(code);
  }
  kept->install(db);
  file->set_timeout(kept->timeout());
  return {};
}

QUORLITE_DECL result<connection> open_connection(vfs& through, const std::string& name,
                                                 connection_options options) {
  if (options.page_size != 0 && !is_page_size(options.page_size)) {
    return fail(errc::unsupported);
  }
  std::string what = name;
  int flags = options.flags;
  if ((options.flags & SQLITE_OPEN_URI) == 0) {
    if (!is_database_name(name)) {
      return fail(errc::invalid_name);
    }
    const auto target = through.host().database_named(name);
    if (!target.has_value()) {
      return fail(target.error());
    }
    const bool is_missing = !(*target)->exists();
    if (!options.create && is_missing) {
      return fail(errc::no_such_database);
    }
    if (options.read_only && is_missing) {
      what = "file:" + name + '?' + may_be_missing + "=1";
      flags |= SQLITE_OPEN_URI;
    }
  }
  const int create = options.create ? SQLITE_OPEN_CREATE : 0;
  const int access = options.read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | create;
  connection db{nullptr, options.busy_timeout};  // all memory of ours, before there is anything
  sqlite3*& opened = db.db_;
  const int code = sqlite3_open_v2(what.c_str(), &opened, access | SQLITE_OPEN_PRIVATECACHE | flags,
                                   through.name().c_str());
  if (code != SQLITE_OK || opened == nullptr) {
    const bool no_memory = (code & 0xFF) == SQLITE_NOMEM;
    return fail(no_memory ? errc::out_of_memory : errc::sqlite_failed);
  }
  sqlite3_extended_result_codes(db, 1);
  db.busy_->install(opened);
  database_file* const file = replicated_file(db, "main");
  if (file == nullptr) {
    return db;  // a URI that names a plain file
  }
  file->set_timeout(db.busy_->timeout());
  if (options.page_size != 0 && file->committed().page_count == 0) {
    const std::string set_size = "PRAGMA page_size=" + std::to_string(options.page_size);
    if (sqlite3_exec(db, set_size.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
      return fail(db.last_error());
    }
  }
  if (const std::error_code error = set_modes(db)) {
    // It reads page 1, so SQLite may have failed for a reason of ours.
    const std::error_code why = file->answers().error();
    return fail(error == errc::sqlite_failed && why ? why : error);
  }
  return db;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
