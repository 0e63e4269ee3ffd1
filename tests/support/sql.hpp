// Short ways to say SQL in tests.
#pragma once

#include <sqlite3.h>

#include <string>

#include "quorlite/connection.hpp"

/// What an application has to say of attached databases where SQLite was built with
/// SQLITE_DEFAULT_SYNCHRONOUS=0; SQLite takes it outside of transactions only.
inline void say_synchronous_of_attached(sqlite3* db) {
  static const bool is_off = sqlite3_compileoption_used("DEFAULT_SYNCHRONOUS=0") != 0;
  for (int schema = 2; is_off && sqlite3_get_autocommit(db) != 0; ++schema) {
    const char* const name = sqlite3_db_name(db, schema);
    if (name == nullptr) {
      return;
    }
    const std::string sql = "PRAGMA \"" + std::string(name) + "\".synchronous=FULL";
    sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr);
  }
}

/// Runs statements to the end. The extended result code.
inline int run(sqlite3* db, const std::string& sql) {
  say_synchronous_of_attached(db);
  const int code = sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? SQLITE_OK : sqlite3_extended_errcode(db);
}

/// All rows of a query: columns joined by '|', rows by ';'. "!<code>" if it fails.
inline std::string ask(sqlite3* db, const std::string& sql) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(db, sql.c_str(), -1, &statement, nullptr) != SQLITE_OK) {
    return "!" + std::to_string(sqlite3_extended_errcode(db));
  }
  std::string rows;
  int code = SQLITE_ROW;
  while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
    rows += rows.empty() ? "" : ";";
    for (int column = 0; column < sqlite3_column_count(statement); ++column) {
      const auto* const text = sqlite3_column_text(statement, column);
      rows += column == 0 ? "" : "|";
      rows += text == nullptr ? "" : reinterpret_cast<const char*>(text);
    }
  }
  if (code != SQLITE_DONE) {
    rows = "!" + std::to_string(sqlite3_extended_errcode(db));
  }
  sqlite3_finalize(statement);
  return rows;
}

/// The same over a connection, which may be a temporary: it lives as long as the call.
inline int run(const quorlite::connection& db, const std::string& sql) {
  return run(db.get(), sql);
}
inline std::string ask(const quorlite::connection& db, const std::string& sql) {
  return ask(db.get(), sql);
}
