/// @file
/// A database of stock SQLite, to compare with.
#pragma once

#include <sqlite3.h>

#include <stdexcept>
#include <string>
#include <utility>

#include "sql_client.hpp"

namespace bench {

class plain_database {
 public:
  /// @throws std::runtime_error
  plain_database(const std::string& path, const char* journal, const char* synchronous) {
    if (sqlite3_open(path.c_str(), &db_) != SQLITE_OK) {
      const std::string why = sqlite3_errmsg(db_);
      sqlite3_close(db_);
      throw std::runtime_error(path + ": " + why);
    }
    sqlite3_busy_timeout(db_, 5000);
    run_sql(db_, std::string("PRAGMA journal_mode=") + journal);
    run_sql(db_, std::string("PRAGMA synchronous=") + synchronous);
  }
  plain_database(plain_database&& other) noexcept : db_(std::exchange(other.db_, nullptr)) {}
  plain_database& operator=(plain_database&& other) noexcept {
    std::swap(db_, other.db_);
    return *this;
  }
  ~plain_database() { sqlite3_close_v2(db_); }

  [[nodiscard]] sqlite3* get() const { return db_; }

 private:
  sqlite3* db_ = nullptr;
};

}  // namespace bench
