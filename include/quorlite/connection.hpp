/// @file
/// A connection to a replicated database: an ordinary sqlite3*, set up as it should be.
#pragma once

#include <sqlite3.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
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

/// Owns a sqlite3* and converts to it. Use it as SQLite says: one thread at a time at most.
///
/// Do not replace its busy handler (`sqlite3_busy_timeout`, `sqlite3_busy_handler`): it works then,
/// but a writer waits until everything before it is committed, where it would have queued up
/// behind it. `PRAGMA busy_timeout=N` is fine. An empty one (moved from) is null.
class connection {
 public:
  connection() noexcept = default;
  connection(connection&& other) noexcept
      : db_(std::exchange(other.db_, nullptr)), busy_(std::move(other.busy_)) {}
  connection& operator=(connection&& other) noexcept {
    if (this != &other) {
      close();
      db_ = std::exchange(other.db_, nullptr);
      busy_ = std::move(other.busy_);
    }
    return *this;
  }
  ~connection() { close(); }

  // NOLINTNEXTLINE(google-explicit-constructor): it stands for an ordinary sqlite3*
  operator sqlite3*() const noexcept { return db_; }
  [[nodiscard]] sqlite3* get() const noexcept { return db_; }

  /// Why the last statement failed: our sentence, with the leader's name where it is known, if the
  /// failure was ours, else SQLite's own message.
  [[nodiscard]] std::string error_message() const {
    const detail::database_file* const file = latest();
    if (file != nullptr && failed_by_us(*file)) {
      return file->answers().text();
    }
    return sqlite3_errmsg(db_);
  }
  /// The same as a code; errc::sqlite_failed if SQLite refused for a reason of its own; none if the
  /// last call succeeded.
  [[nodiscard]] std::error_code last_error() const {
    const int code = sqlite3_errcode(db_);
    if (code == SQLITE_OK || code == SQLITE_ROW || code == SQLITE_DONE) {
      return {};
    }
    const detail::database_file* const file = latest();
    return file != nullptr && failed_by_us(*file) ? file->answers().error()
                                                  : make_error_code(errc::sqlite_failed);
  }
  /// The transaction that was proposed last over this connection, whatever came of it: what to ask
  /// outcome() about. {0, 0}: none.
  [[nodiscard]] transaction_id last_transaction() const noexcept {
    transaction_id latest_id;
    detail::for_each_replicated_file(db_, [&](const detail::database_file& file) noexcept {
      latest_id = std::max(latest_id, file.answers().transaction());
    });
    return latest_id;
  }

 private:
  friend result<connection> open_connection(detail::vfs& through, const std::string& name,
                                            connection_options options);

  explicit connection(sqlite3* db, milliseconds busy_timeout)
      : db_(db), busy_(std::make_unique<detail::busy_handler>(db, busy_timeout)) {}

  /// The file that refused something last.
  [[nodiscard]] const detail::database_file* latest() const noexcept {
    const detail::database_file* found = nullptr;
    detail::for_each_replicated_file(db_, [&](const detail::database_file& file) noexcept {
      if (found == nullptr || file.answers().event() > found->answers().event()) {
        found = &file;
      }
    });
    return found;
  }
  [[nodiscard]] bool failed_by_us(const detail::database_file& file) const noexcept {
    const int code = sqlite3_extended_errcode(db_);
    const std::error_code error = file.answers().error();
    return error && (code == detail::sqlite_code(error) ||
                     (code == sqlite_busy_rolled_back && error == errc::busy) ||
                     (code == SQLITE_CORRUPT && error == errc::corrupt) ||  // as SQLite says it
                     (error == errc::unsupported &&
                      (code == SQLITE_ERROR || (code & 0xFF) == SQLITE_IOERR)));
  }

  void close() noexcept {
    if (db_ == nullptr) {
      return;
    }
    if (sqlite3_close(db_) != SQLITE_OK) {
      // Statements or blobs are left open. SQLite keeps the rest alive until they go, but not us.
      sqlite3_busy_handler(db_, nullptr, nullptr);
      detail::for_each_replicated_file(
          db_, [](detail::database_file& file) noexcept { file.set_patience(nullptr); });
      sqlite3_close_v2(db_);
    }
    db_ = nullptr;
    busy_.reset();
  }

  sqlite3* db_ = nullptr;
  std::unique_ptr<detail::busy_handler> busy_;
};

/// Opens a database through `through`. Reads its header, waits for nobody.
/// @param name a database's name, or a `file:` URI with SQLITE_OPEN_URI in options.flags
/// @returns errc::invalid_name, errc::too_many_databases, errc::unsupported (a page size that is
///   none); errc::sqlite_failed, with the reason in SQLite's log
[[nodiscard]] inline result<connection> open_connection(detail::vfs& through,
                                                        const std::string& name,
                                                        connection_options options = {}) {
  if (options.page_size != 0 && !is_page_size(options.page_size)) {
    return failed(errc::unsupported);
  }
  if ((options.flags & SQLITE_OPEN_URI) == 0) {
    if (!is_database_name(name)) {
      return failed(errc::invalid_name);
    }
    const auto target = through.host().database_named(name);
    if (!target.has_value()) {
      return failed(target.error());
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
    return failed(errc::sqlite_failed);
  }
  sqlite3_extended_result_codes(db, 1);
  db.busy_->install();
  detail::database_file* const file = detail::replicated_file(db, "main");
  if (file == nullptr) {
    return db;  // a URI that names a plain file
  }
  file->set_patience(db.busy_->patience());
  if (options.page_size != 0 && file->committed().page_count == 0) {
    const std::string set_size = "PRAGMA page_size=" + std::to_string(options.page_size);
    sqlite3_exec(db, set_size.c_str(), nullptr, nullptr, nullptr);
  }
  // A super-journal, and with it the atomic commit of several databases, needs it.
  if (sqlite3_exec(db, "PRAGMA synchronous=FULL", nullptr, nullptr, nullptr) != SQLITE_OK) {
    return failed(errc::sqlite_failed);
  }
  return db;
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite
