/// @file
/// A client that inserts over a sqlite3* in this process.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

#include "closed_loop.hpp"
#include "workload.hpp"

namespace bench {

/// Runs statements that give no rows. @throws std::runtime_error
inline void run_sql(sqlite3* db, const std::string& sql) {
  if (sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
    throw std::runtime_error(sql + ": " + sqlite3_errmsg(db));
  }
}

/// A prepared statement with an owner.
class prepared {
 public:
  /// @throws std::runtime_error
  prepared(sqlite3* db, const std::string& sql) {
    if (sqlite3_prepare_v3(db, sql.c_str(), -1, SQLITE_PREPARE_PERSISTENT, &statement_, nullptr) !=
        SQLITE_OK) {
      throw std::runtime_error(sql + ": " + sqlite3_errmsg(db));
    }
  }
  prepared(const prepared&) = delete;
  prepared& operator=(const prepared&) = delete;
  ~prepared() { sqlite3_finalize(statement_); }

  [[nodiscard]] sqlite3_stmt* get() const { return statement_; }

 private:
  sqlite3_stmt* statement_ = nullptr;
};

/// The one number that a query gives. @throws std::runtime_error
inline std::int64_t query_number(sqlite3* db, const std::string& sql) {
  const prepared query(db, sql);
  if (sqlite3_step(query.get()) != SQLITE_ROW) {
    throw std::runtime_error(sql + ": " + sqlite3_errmsg(db));
  }
  return sqlite3_column_int64(query.get(), 0);
}

/// Owns its connection, whatever kind that is.
template <class Connection>
class sql_client final : public client {
 public:
  explicit sql_client(Connection connection)
      : connection_(std::move(connection)), insert_(connection_.get(), workload::insert) {
    sqlite3_bind_text(insert_.get(), 1, text_.c_str(), static_cast<int>(text_.size()),
                      SQLITE_STATIC);
  }

  attempt transact() override {
    const int code = sqlite3_step(insert_.get());
    if (code == SQLITE_DONE) {
      sqlite3_reset(insert_.get());
      return attempt::done;
    }
    error_ = sqlite3_errmsg(connection_.get());
    sqlite3_reset(insert_.get());
    return (code & 0xFF) == SQLITE_BUSY ? attempt::busy : attempt::failed;
  }
  [[nodiscard]] std::string error() const override { return error_; }

 private:
  const std::string text_ = workload::text();
  Connection connection_;
  prepared insert_;
  std::string error_;
};

}  // namespace bench
