/// @file
/// Rows of a query on the standard output, as the sqlite3 shell prints them.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

namespace example {

enum class row_mode : std::uint8_t {
  list,  ///< a|b|c; NULL is empty
  json,  ///< an array of objects, one for each row
};

/// Prints the rows of one statement at a time.
class row_printer {
 public:
  row_mode mode = row_mode::list;
  bool headers = false;  ///< list only: the names of the columns first

  /// The statement stands on a row.
  void row(sqlite3_stmt* query) {
    if (mode == row_mode::list) {
      list_row(query);
    } else {
      std::fputs(rows_ == 0 ? "[" : ",\n", stdout);
      std::fputs(json_row(query).c_str(), stdout);
    }
    ++rows_;
  }

  /// The statement has ended, well or not. What is printed can be seen now.
  void end() {
    if (mode == row_mode::json && rows_ > 0) {
      std::fputs("]\n", stdout);
    }
    rows_ = 0;
    std::fflush(stdout);
  }

 private:
  void list_row(sqlite3_stmt* query) const {
    const int columns = sqlite3_column_count(query);
    for (int i = 0; headers && rows_ == 0 && i < columns; ++i) {
      print_cell(sqlite3_column_name(query, i), i + 1 == columns);
    }
    for (int i = 0; i < columns; ++i) {
      print_cell(reinterpret_cast<const char*>(sqlite3_column_text(query, i)), i + 1 == columns);
    }
  }

  static void print_cell(const char* text, bool last) {
    std::fputs(text == nullptr ? "" : text, stdout);
    std::fputc(last ? '\n' : '|', stdout);
  }

  [[nodiscard]] static std::string json_row(sqlite3_stmt* query) {
    nlohmann::ordered_json object = nlohmann::ordered_json::object();
    for (int i = 0; i < sqlite3_column_count(query); ++i) {
      nlohmann::ordered_json& value = object[sqlite3_column_name(query, i)];
      switch (sqlite3_column_type(query, i)) {
        case SQLITE_INTEGER: value = sqlite3_column_int64(query, i); break;
        case SQLITE_FLOAT: value = sqlite3_column_double(query, i); break;
        case SQLITE_NULL: value = nullptr; break;
        default: {
          const void* const bytes = sqlite3_column_blob(query, i);  // before its length
          const auto size = static_cast<std::size_t>(sqlite3_column_bytes(query, i));
          value =
              bytes == nullptr ? std::string() : std::string(static_cast<const char*>(bytes), size);
        }
      }
    }
    constexpr auto replace = nlohmann::ordered_json::error_handler_t::replace;
    return object.dump(-1, ' ', false, replace);  // text that is not UTF-8
  }

  std::uint64_t rows_ = 0;  ///< of this statement
};

}  // namespace example
