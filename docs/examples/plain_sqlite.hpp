/// @file
/// The same script on plain SQLite: what each statement should do, and what should be there at the
/// end.
#pragma once

#include <fmt/format.h>
#include <sqlite3.h>

#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "sql_script.hpp"

namespace example {

struct sqlite_closer {
  void operator()(sqlite3* db) const noexcept { sqlite3_close_v2(db); }
  void operator()(sqlite3_stmt* query) const noexcept { sqlite3_finalize(query); }
};
using owned_database = std::unique_ptr<sqlite3, sqlite_closer>;
using owned_query = std::unique_ptr<sqlite3_stmt, sqlite_closer>;

/// What a statement of the script does on plain SQLite.
struct expectation {
  int code = SQLITE_OK;             ///< some scripts expect an error here and there
  bool inside_transaction = false;  ///< an explicit one is open when it starts
  bool ends_a_transaction = false;  ///< its own, or the explicit one
};

/// A run of the whole script on a plain database in memory.
struct plain_run {
  owned_database db;
  std::vector<expectation> expected;  ///< one for each statement
};

[[nodiscard]] inline plain_run run_on_plain_sqlite(const std::vector<std::string>& script,
                                                   std::uint32_t page_size) {
  sqlite3* opened = nullptr;
  const int code = sqlite3_open(":memory:", &opened);
  plain_run run{owned_database(opened), {}};
  const std::string first = fmt::format("PRAGMA page_size={}", page_size);
  if (code != SQLITE_OK || run_statement(opened, first).code != SQLITE_OK) {
    throw std::runtime_error("cannot open a plain SQLite database in memory");
  }
  for (const std::string& statement : script) {
    expectation now;
    now.inside_transaction = sqlite3_get_autocommit(opened) == 0;
    const int changes = sqlite3_total_changes(opened);
    now.code = run_statement(opened, statement).code;
    const bool wrote = now.inside_transaction || sqlite3_total_changes(opened) != changes ||
                       starts_with_word(statement, "create");
    now.ends_a_transaction = sqlite3_get_autocommit(opened) != 0 && wrote;
    run.expected.push_back(now);
  }
  return run;
}

[[nodiscard]] inline owned_query prepare(sqlite3* db, const std::string& query) {
  sqlite3_stmt* prepared = nullptr;
  sqlite3_prepare_v2(db, query.c_str(), -1, &prepared, nullptr);
  return owned_query(prepared);
}

/// Every row of a query with one column, as text.
[[nodiscard]] inline std::vector<std::string> read_column(sqlite3* db, const std::string& query) {
  std::vector<std::string> rows;
  const owned_query prepared = prepare(db, query);
  while (sqlite3_step(prepared.get()) == SQLITE_ROW) {
    const unsigned char* const text = sqlite3_column_text(prepared.get(), 0);
    rows.emplace_back(text == nullptr ? "" : reinterpret_cast<const char*>(text));
  }
  if (const int code = sqlite3_errcode(db); code != SQLITE_OK && code != SQLITE_DONE) {
    rows.push_back(sqlite3_errmsg(db));
  }
  return rows;
}

/// Compares type and bytes of one column in the current rows of two queries.
[[nodiscard]] inline bool same_value(sqlite3_stmt* a, sqlite3_stmt* b, int column) {
  const int type = sqlite3_column_type(a, column);
  if (type != sqlite3_column_type(b, column)) {
    return false;
  }
  if (type == SQLITE_INTEGER) {
    return sqlite3_column_int64(a, column) == sqlite3_column_int64(b, column);
  }
  if (type == SQLITE_FLOAT) {
    const double left = sqlite3_column_double(a, column);
    const double right = sqlite3_column_double(b, column);
    return std::memcmp(&left, &right, sizeof left) == 0;
  }
  const void* const left = sqlite3_column_blob(a, column);  // before its length: it may convert
  const void* const right = sqlite3_column_blob(b, column);
  const int size = sqlite3_column_bytes(a, column);
  return size == sqlite3_column_bytes(b, column) &&
         (size == 0 || std::memcmp(left, right, static_cast<std::size_t>(size)) == 0);
}

/// Runs a query on both. @returns where the results differ, if they do
[[nodiscard]] inline std::optional<std::string> difference(sqlite3* ours, sqlite3* plain,
                                                           const std::string& query) {
  const owned_query a = prepare(ours, query);
  const owned_query b = prepare(plain, query);
  const int columns = sqlite3_column_count(a.get());
  if (columns != sqlite3_column_count(b.get())) {
    return fmt::format("{}: not the same columns ({})", query, sqlite3_errmsg(ours));
  }
  for (std::size_t row = 1; columns > 0; ++row) {
    const int left = sqlite3_step(a.get());
    if (left != sqlite3_step(b.get())) {
      return fmt::format("{}: ends, or fails, in row {} on one side ({}, {})", query, row,
                         sqlite3_errmsg(ours), sqlite3_errmsg(plain));
    }
    if (left != SQLITE_ROW) {
      break;
    }
    for (int column = 0; column < columns; ++column) {
      if (!same_value(a.get(), b.get(), column)) {
        return fmt::format("{}: row {}, column {}", query, row, column + 1);
      }
    }
  }
  return std::nullopt;
}

/// A name as SQL wants it between `mark`s: "table" or 'text'.
[[nodiscard]] inline std::string in_quotes(std::string_view name, char mark) {
  std::string text(1, mark);
  for (const char letter : name) {
    text.append(letter == mark ? 2 : 1, letter);
  }
  return text + mark;
}

/// A query for all rows of a table, in the order of its key, with the rowid where it has one.
[[nodiscard]] inline std::string query_for_rows(sqlite3* db, const std::string& table) {
  for (const char* const rowid : {"rowid", "_rowid_", "oid"}) {
    const std::string query =
        fmt::format("SELECT {0}, * FROM {1} ORDER BY {0}", rowid, in_quotes(table, '"'));
    if (prepare(db, query) != nullptr) {
      return query;
    }
  }
  std::string order;
  const std::string keys = fmt::format(
      "SELECT name FROM pragma_table_info({}) WHERE pk > 0 ORDER BY pk", in_quotes(table, '\''));
  for (const std::string& column : read_column(db, keys)) {
    order += (order.empty() ? " ORDER BY " : ", ") + in_quotes(column, '"');
  }
  return fmt::format("SELECT * FROM {}{}", in_quotes(table, '"'), order);
}

/// Compares what two databases mean: settings, schema, and every row of every table, those behind
/// virtual tables and SQLite's own included. @returns where they differ first, if they do
[[nodiscard]] inline std::optional<std::string> first_difference(sqlite3* ours, sqlite3* plain) {
  for (const char* const pragma :
       {"page_size", "encoding", "auto_vacuum", "user_version", "application_id"}) {
    if (auto found = difference(ours, plain, fmt::format("PRAGMA {}", pragma))) {
      return found;
    }
  }
  if (auto found = difference(ours, plain,
                              "SELECT type, name, tbl_name, sql FROM sqlite_schema "
                              "ORDER BY type, name, tbl_name")) {
    return found;
  }
  const std::string tables = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
  for (const std::string& table : read_column(plain, tables)) {
    if (auto found = difference(ours, plain, query_for_rows(plain, table))) {
      return found;
    }
  }
  return std::nullopt;
}

}  // namespace example
