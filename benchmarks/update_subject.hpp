/// @file
/// One database with a table, and the transaction on it that is timed.
#pragma once

#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

#include "random_rows.hpp"
#include "sql_client.hpp"

namespace bench {

class update_subject {
 public:
  /// Makes the table. The connection is the caller's and must stay. @throws std::runtime_error
  update_subject(std::string name, sqlite3* db, std::uint64_t table_rows)
      : name_(std::move(name)), db_(db), update_(make_table(db, table_rows), update_sql) {}

  [[nodiscard]] const std::string& name() const { return name_; }

  /// Microseconds of a transaction that updates `rows` rows. Moves on in `chance`.
  double time(std::uint64_t transactions, int rows, random_rows& chance) {
    const auto begin = std::chrono::steady_clock::now();
    for (std::uint64_t i = 0; i < transactions; ++i) {
      if (rows > 1) {
        run_sql(db_, "BEGIN IMMEDIATE");
      }
      for (int row = 0; row < rows; ++row) {
        sqlite3_bind_int64(update_.get(), 1, chance.next());
        if (sqlite3_step(update_.get()) != SQLITE_DONE ||
            sqlite3_reset(update_.get()) != SQLITE_OK) {
          throw std::runtime_error(name_ + ": " + sqlite3_errmsg(db_));
        }
      }
      if (rows > 1) {
        run_sql(db_, "COMMIT");
      }
    }
    const std::chrono::duration<double, std::micro> spent =
        std::chrono::steady_clock::now() - begin;
    return spent.count() / static_cast<double>(transactions);
  }

 private:
  static constexpr const char* update_sql = "UPDATE t SET counter=counter+1 WHERE id=?1";

  /// In several transactions: one of them all would be larger than an entry may be.
  static sqlite3* make_table(sqlite3* db, std::uint64_t rows) {
    constexpr std::uint64_t rows_at_a_time = 50'000;
    run_sql(db, "CREATE TABLE t(id INTEGER PRIMARY KEY, counter INT, text TEXT)");
    for (std::uint64_t made = 0; made < rows; made += rows_at_a_time) {
      run_sql(db, fmt::format("WITH RECURSIVE n(i) AS (SELECT {} UNION ALL SELECT i+1 FROM n "
                              "WHERE i<{}) INSERT INTO t SELECT i, 0, printf('%0100d', i) FROM n",
                              made + 1, std::min(rows, made + rows_at_a_time)));
    }
    return db;
  }

  std::string name_;
  sqlite3* db_;
  prepared update_;
};

}  // namespace bench
