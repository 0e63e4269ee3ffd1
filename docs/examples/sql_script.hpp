/// @file
/// An SQL script as a list of statements, and one statement run on a connection.
#pragma once

#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "flag_value.hpp"

namespace example {

/// @throws usage_error
[[nodiscard]] inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  if (std::filesystem::is_directory(path) || !file || !(content << file.rdbuf())) {
    throw usage_error(fmt::format("cannot read the SQL script '{}'", path));
  }
  return std::move(content).str();
}

/// The text from its first word on: without leading space, comments, empty statements and the mark
/// that some editors put before UTF-8 text.
[[nodiscard]] inline std::string_view skip_blank(std::string_view text) {
  constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
  for (;;) {
    if (text.starts_with(byte_order_mark)) {
      text.remove_prefix(byte_order_mark.size());
    } else if (text.starts_with("--")) {
      text.remove_prefix(std::min(text.find('\n'), text.size()));
    } else if (text.starts_with("/*")) {
      const std::size_t end = text.find("*/", 2);
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 2);
    } else if (!text.empty() && (std::isspace(static_cast<unsigned char>(text.front())) != 0 ||
                                 text.front() == ';')) {
      text.remove_prefix(1);
    } else {
      return text;
    }
  }
}

/// True if the statement starts with this word, in any case.
[[nodiscard]] inline bool starts_with_word(const std::string& statement, std::string_view word) {
  return statement.size() >= word.size() &&
         sqlite3_strnicmp(statement.data(), word.data(), static_cast<int>(word.size())) == 0;
}

/// Cuts a script at each semicolon that ends a statement: not at one inside a string, a comment or
/// the body of a trigger. What is left at the end is a statement too.
[[nodiscard]] inline std::vector<std::string> split_statements(std::string_view script) {
  std::vector<std::string> statements;
  std::string pending;
  while (!script.empty()) {
    const std::size_t semicolon = script.find(';');
    const bool last = semicolon == std::string_view::npos;
    const std::size_t length = last ? script.size() : semicolon + 1;
    pending += script.substr(0, length);
    script.remove_prefix(length);
    if (script.empty() || sqlite3_complete(pending.c_str()) != 0) {
      const std::string_view statement = skip_blank(pending);
      if (!statement.empty()) {
        statements.emplace_back(statement);
      }
      pending.clear();
    }
  }
  return statements;
}

/// How a statement ended: SQLITE_OK, or an extended result code and SQLite's words for it.
struct statement_result {
  int code = SQLITE_OK;
  std::string message;
};

/// Runs one statement and drops the rows it gives.
[[nodiscard]] inline statement_result run_statement(sqlite3* db, const std::string& statement) {
  if (sqlite3_exec(db, statement.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK) {
    return {};
  }
  return {sqlite3_extended_errcode(db), sqlite3_errmsg(db)};
}

/// A statement on one line, cut to a length that fits into a message.
[[nodiscard]] inline std::string shortened(std::string_view statement, std::size_t length = 60) {
  std::string line;
  for (const char letter : statement) {
    const bool space = std::isspace(static_cast<unsigned char>(letter)) != 0;
    if (line.size() >= length) {
      return line + "...";
    }
    if (!space || (!line.empty() && line.back() != ' ')) {
      line += space ? ' ' : letter;
    }
  }
  return line;
}

}  // namespace example
