/// @file
/// Bodies of connection.hpp: opening, closing, and who is to blame for an error.
#pragma once

#include "quorlite/connection.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <memory>
#include <string>
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
    : db_(db), busy_(std::make_unique<detail::busy_handler>(db, busy_timeout)) {}

QUORLITE_DECL connection& connection::operator=(connection&& other) noexcept {
  if (this != &other) {
    close();
    db_ = std::exchange(other.db_, nullptr);
    busy_ = std::move(other.busy_);
  }
  return *this;
}

QUORLITE_DECL connection::~connection() { close(); }

QUORLITE_DECL std::string connection::error_message() const {
  const detail::database_file* const file = latest();
  if (file != nullptr && failed_by_us(*file)) {
    return file->answers().text();
  }
  return sqlite3_errmsg(db_);
}

QUORLITE_DECL std::error_code connection::last_error() const {
  const int code = sqlite3_errcode(db_);
  if (code == SQLITE_OK || code == SQLITE_ROW || code == SQLITE_DONE) {
    return {};
  }
  const detail::database_file* const file = latest();
  return file != nullptr && failed_by_us(*file) ? file->answers().error()
                                                : make_error_code(errc::sqlite_failed);
}

QUORLITE_DECL transaction_id connection::last_transaction() const noexcept {
  transaction_id latest_id;
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
  return error &&
         (code == detail::sqlite_code(error) ||
          (code == sqlite_busy_rolled_back && error == errc::busy) ||
          (code == SQLITE_CORRUPT && error == errc::corrupt) ||  // as SQLite says it
          (error == errc::unsupported && (code == SQLITE_ERROR || (code & 0xFF) == SQLITE_IOERR)));
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

QUORLITE_DECL result<connection> open_connection(vfs& through, const std::string& name,
                                                 connection_options options) {
  if (options.page_size != 0 && !is_page_size(options.page_size)) {
    return fail(errc::unsupported);
  }
  if ((options.flags & SQLITE_OPEN_URI) == 0) {
    if (!is_database_name(name)) {
      return fail(errc::invalid_name);
    }
    const auto target = through.host().database_named(name);
    if (!target.has_value()) {
      return fail(target.error());
    }
  }
  const int access =
      options.read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  sqlite3* opened = nullptr;
  const int code =
      sqlite3_open_v2(name.c_str(), &opened, access | SQLITE_OPEN_PRIVATECACHE | options.flags,
                      through.name().c_str());
  connection db{opened, options.busy_timeout};
  if (code != SQLITE_OK || opened == nullptr) {
    return fail(errc::sqlite_failed);
  }
  sqlite3_extended_result_codes(db, 1);
  db.busy_->install();
  database_file* const file = replicated_file(db, "main");
  if (file == nullptr) {
    return db;  // a URI that names a plain file
  }
  file->set_timeout(db.busy_->timeout());
  if (options.page_size != 0 && file->committed().page_count == 0) {
    const std::string set_size = "PRAGMA page_size=" + std::to_string(options.page_size);
    sqlite3_exec(db, set_size.c_str(), nullptr, nullptr, nullptr);
  }
  // A super-journal, and with it the atomic commit of several databases, needs it.
  if (sqlite3_exec(db, "PRAGMA synchronous=FULL", nullptr, nullptr, nullptr) != SQLITE_OK) {
    return fail(errc::sqlite_failed);
  }
  return db;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
