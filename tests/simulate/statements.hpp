// SQL for clients: transfers, registers, and random statements of every kind that changes pages.
// What a statement does depends on the database alone, so that plain SQLite can do it again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "plan.hpp"

namespace simulate {

inline constexpr int accounts = 8;
inline constexpr int opening_balance = 100;
inline constexpr int registers = 4;

[[nodiscard]] inline std::vector<std::string> schema() {
  return {
      "CREATE TABLE IF NOT EXISTS log(n INTEGER PRIMARY KEY, txn INTEGER NOT NULL UNIQUE)",
      "CREATE TABLE IF NOT EXISTS accounts(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)",
      "WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM i LIMIT " +
          std::to_string(accounts) + ") INSERT OR IGNORE INTO accounts SELECT n, " +
          std::to_string(opening_balance) + " FROM i",
      "CREATE TABLE IF NOT EXISTS registers(key INTEGER PRIMARY KEY, txn INTEGER NOT NULL)",
  };
}

class statement_maker {
 public:
  explicit statement_maker(random dice) : dice_(dice) {}

  [[nodiscard]] std::vector<std::string> transfer() {
    const std::string from = number(1, accounts);
    const std::string to = number(1, accounts);
    const std::string amount = number(1, 40);
    std::vector<std::string> made = {
        "UPDATE accounts SET balance = balance - " + amount + " WHERE id = " + from,
        "UPDATE accounts SET balance = balance + " + amount + " WHERE id = " + to};
    if (dice_.chance(0.1)) {  // pages that are written and stay what they were
      made.push_back("UPDATE registers SET txn = txn");
    }
    return made;
  }
  [[nodiscard]] std::uint64_t key() { return dice_.between(1, registers); }

  /// More than an entry holds, with a small cache more than the cache holds.
  [[nodiscard]] std::vector<std::string> large(std::size_t bytes) {
    return {dice_.chance(0.3) ? "DROP TABLE IF EXISTS big" : "SELECT 1",
            "CREATE TABLE IF NOT EXISTS big(k INTEGER PRIMARY KEY, v BLOB)",
            "WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM i LIMIT " +
                std::to_string(bytes / 1000 + 1) + ") INSERT INTO big(v) SELECT " +
                blob("n", 1000) + " FROM i",
            "DELETE FROM big WHERE k % " + number(2, 5) + " = 0",
            // Shrinks and grows again in one transaction, where auto_vacuum lets it.
            "PRAGMA incremental_vacuum(" + number(1, 60) + ")",
            "INSERT INTO big(v) SELECT zeroblob(" + number(1, 3000) + ") FROM accounts"};
  }

  /// A table with statistics and about as many pages as a transaction may write; or a statement
  /// that writes some of them and then fails, or a schema that is loaded again behind many rows.
  [[nodiscard]] std::vector<std::string> half(std::uint32_t page_size, std::uint64_t pages) {
    const std::string row = "zeroblob(" + number(page_size * 6 / 10, page_size * 8 / 10) + ")";
    const std::string some = number(pages / 4, pages * 11 / 10);
    std::vector<std::string> made = {
        "CREATE TABLE IF NOT EXISTS half(k INTEGER PRIMARY KEY, v BLOB, w)",
        "CREATE INDEX IF NOT EXISTS half_w ON half(w)"};
    const auto fill = [&](const std::string& from, const std::string& count) {
      made.push_back("INSERT OR REPLACE INTO half WITH RECURSIVE i(n) AS (SELECT " + from +
                     " UNION ALL SELECT n+1 FROM i LIMIT " + count + ") SELECT n, " + row +
                     ", n % 7 FROM i");
    };
    switch (dice_.below(4)) {
      case 0:
        fill(number(1, pages), std::to_string(pages / 3));
        made.emplace_back("ANALYZE");
        break;
      case 1:
      case 2:
        made.push_back("UPDATE half SET v = CASE WHEN k < " + some + " THEN " + row +
                       " ELSE abs(-9223372036854775807 - 1 + k - k) END");
        break;
      default:
        fill("1", some);
        made.insert(made.end(), {"SAVEPOINT s", "CREATE TABLE half_made(x)", "ROLLBACK TO s",
                                 "UPDATE half SET w = 1 WHERE k = 1"});
        break;
    }
    return made;
  }
  /// A table that is another each time: whoever goes by the columns of an earlier one is wrong.
  [[nodiscard]] std::vector<std::string> other_shape(const std::string& name) {
    return {"DROP TABLE IF EXISTS shape", "CREATE TABLE shape(c" + name + ", d)",
            "INSERT INTO shape(c" + name + ") VALUES(" + name + ")"};
  }
  /// Pages that come and are free again before they were ever written.
  [[nodiscard]] std::vector<std::string> spare_pages(std::uint64_t bytes) {
    return {"CREATE TABLE IF NOT EXISTS spare(k INTEGER PRIMARY KEY, v BLOB)",
            "INSERT OR REPLACE INTO spare VALUES(1, zeroblob(" + std::to_string(bytes) + "))",
            dice_.chance(0.5) ? "DELETE FROM spare WHERE k = 1"
                              : "UPDATE spare SET v = NULL WHERE k = 1"};
  }

  /// Up to a dozen random statements; some fail, alike everywhere.
  [[nodiscard]] std::vector<std::string> any() {
    std::vector<std::string> made;
    const std::uint64_t count = dice_.between(1, 8);
    bool in_savepoint = false;
    for (std::uint64_t i = 0; i < count; ++i) {
      if (dice_.chance(0.1)) {
        made.push_back(in_savepoint ? (dice_.chance(0.5) ? "ROLLBACK TO s" : "RELEASE s")
                                    : "SAVEPOINT s");
        in_savepoint = in_savepoint ? made.back() != "RELEASE s" : true;
        continue;
      }
      made.push_back(one());
    }
    return made;
  }

 private:
  [[nodiscard]] std::string number(std::uint64_t first, std::uint64_t last) {
    return std::to_string(dice_.between(first, last));
  }
  /// Bytes that a page delta cannot shrink away, of a length that often needs overflow pages.
  [[nodiscard]] static std::string blob(const std::string& from, std::uint64_t bytes) {
    return "CAST(substr(replace(hex(zeroblob(" + std::to_string(bytes / 8 + 1) +
           ")), '00', printf('%08x', (" + from + ") * 2654435761 % 4294967296)), 1, " +
           std::to_string(bytes) + ") AS BLOB)";
  }
  [[nodiscard]] std::string value() {
    switch (dice_.below(5)) {
      case 0: return "NULL";
      case 1: return number(0, 1000);
      case 2: return "'v" + number(0, 50) + "'";
      case 3: return blob(number(1, 1000), dice_.between(1, 200));
      default: return blob(number(1, 1000), dice_.between(200, 9000));
    }
  }
  [[nodiscard]] std::string table() { return "t" + number(0, 3); }

  [[nodiscard]] std::string one() {
    const std::string t = table();
    switch (dice_.below(20)) {
      case 0: return "CREATE TABLE IF NOT EXISTS " + t + "(a INTEGER PRIMARY KEY, b, c)";
      case 1:
        return "CREATE TABLE IF NOT EXISTS " + t + "(a, b UNIQUE, c, PRIMARY KEY(a)) WITHOUT ROWID";
      case 2:
        return "CREATE TABLE IF NOT EXISTS " + t +
               "(a INTEGER PRIMARY KEY AUTOINCREMENT, b, c, d AS (a + 1) STORED, CHECK(a < 900))";
      case 3: return "CREATE INDEX IF NOT EXISTS i" + number(0, 3) + " ON " + t + "(b, c)";
      case 4:
        return "CREATE TRIGGER IF NOT EXISTS g" + number(0, 2) + " AFTER INSERT ON " + t +
               " BEGIN UPDATE " + t + " SET b = new.a WHERE a = new.a - 1; END";
      case 5: return dice_.chance(0.3) ? "DROP TABLE IF EXISTS " + t : "REINDEX";
      case 6: return "DROP INDEX IF EXISTS i" + number(0, 3);
      case 7: return "ALTER TABLE " + t + " ADD COLUMN e" + number(0, 2);
      case 8: return "CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(x)";
      case 9:
        return "INSERT INTO words VALUES('" + number(1, 99) + " bottles " + number(1, 9) + "')";
      case 10: return "DELETE FROM words WHERE rowid % 3 = " + number(0, 2);
      case 11: return "UPDATE " + t + " SET c = " + value() + " WHERE a % 4 = " + number(0, 3);
      case 12: return "DELETE FROM " + t + " WHERE a % 5 = " + number(0, 4);
      case 13: return "PRAGMA user_version = " + number(0, 99);
      case 14: return dice_.chance(0.5) ? "PRAGMA incremental_vacuum(3)" : "ANALYZE";
      case 15:
        return "INSERT OR REPLACE INTO " + t +
               "(a, b, c) WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM i LIMIT " +
               number(1, 40) + ") SELECT n, 'r' || n, " + value() + " FROM i";
      default:
        return "INSERT OR " + std::string(dice_.chance(0.5) ? "IGNORE" : "ABORT") + " INTO " + t +
               "(a, b, c) VALUES(" + number(1, 999) + ", " + value() + ", " + value() + ")";
    }
  }

  random dice_;
};

}  // namespace simulate
