/// @file
/// A connection to a replicated database: an ordinary sqlite3*, set up as it should be.
#pragma once

#include <sqlite3.h>  // IWYU pragma: export

#include <memory>
#include <string>
#include <system_error>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

class connection;

namespace detail {

class busy_handler;
class database_file;
class group_executor;
class vfs;

/// Opens a database through `through`. Reads its header, waits for nobody.
/// @param name a database's name, or a `file:` URI with SQLITE_OPEN_URI in options.flags
/// @returns errc::invalid_name, errc::no_such_database, errc::too_many_databases,
///   errc::unsupported (a page size that is none), errc::out_of_memory; errc::sqlite_failed, with
///   the reason in SQLite's log
[[nodiscard]] QUORLITE_DECL result<connection> open_connection(vfs& through,
                                                               const std::string& name,
                                                               connection_options options = {});

/// For a connection that another wrapper opened: see replica::set_up().
[[nodiscard]] QUORLITE_DECL std::error_code set_up_connection(sqlite3* db,
                                                              milliseconds busy_timeout);

}  // namespace detail

/// Owns a sqlite3* and converts to it. Use it as SQLite says: one thread at a time at most.
///
/// Do not replace its busy handler (`sqlite3_busy_timeout`, `sqlite3_busy_handler`): it works then,
/// but a writer waits until everything before it is committed, where it would have queued up
/// behind it. `PRAGMA busy_timeout=N` is fine.
///
/// It may outlive its replica: then every call over it is answered with errc::stopped. An empty one
/// (made by default, or moved from) is null, and its members say that no database is open.
class QUORLITE_API connection {
 public:
  connection() noexcept;
  connection(connection&& other) noexcept;
  connection& operator=(connection&& other) noexcept;
  ~connection();

  /// For SQLite's own functions. Not for longer than this object.
  // NOLINTNEXTLINE(google-explicit-constructor): it stands for an ordinary sqlite3*
  operator sqlite3*() const& noexcept { return db_; }
  /// Of one that is about to be closed: the pointer would dangle. Keep the connection.
  operator sqlite3*() const&& = delete;
  /// The same.
  [[nodiscard]] sqlite3* get() const noexcept { return db_; }

  /// Why the last statement failed: our sentence, with the leader's name where it is known, if the
  /// failure was ours, else SQLite's own message. Where an open was refused (ATTACH, VACUUM INTO),
  /// SQLite's message and our reason.
  [[nodiscard]] std::string error_message() const;
  /// The same as a code; none if the last call succeeded. errc::out_of_memory and errc::busy also
  /// where SQLite itself says so; errc::sqlite_failed if it refused for another reason of its own,
  /// or the connection is empty.
  [[nodiscard]] std::error_code last_error() const;
  /// The transaction that was proposed last over this connection, whatever came of it: what to ask
  /// outcome() about. {0, 0}: none.
  [[nodiscard]] transaction_id last_transaction() const noexcept;

 private:
  friend result<connection> detail::open_connection(detail::vfs& through, const std::string& name,
                                                    connection_options options);
  friend class detail::group_executor;

  explicit connection(sqlite3* db, milliseconds busy_timeout);

  /// The file that refused something last.
  [[nodiscard]] const detail::database_file* latest() const noexcept;
  [[nodiscard]] bool failed_by_us(const detail::database_file& file) const noexcept;

  void close() noexcept;

  sqlite3* db_ = nullptr;
  std::unique_ptr<detail::busy_handler> busy_;
};

}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/connection.ipp"  // IWYU pragma: keep
#endif
