// What must hold at the end of every scenario, on every replica. Each check lists what is wrong.
#pragma once

#include <sqlite3.h>

#include <cstddef>
#include <cstdlib>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "quorlite/testing/simulation.hpp"
#include "support/sql.hpp"

namespace quorlite::tests {

using namespace quorlite::detail;  // NOLINT: tests of this library only

/// "1;2;3;7" becomes "1..3 7"; an error stays what it is.
inline std::string in_ranges(const std::string& rows) {
  if (rows.empty() || rows.front() == '!') {
    return rows.empty() ? "(none)" : rows;
  }
  std::string text;
  std::istringstream numbers(rows);
  std::optional<long long> first;
  long long last = 0;
  const auto print = [&] {
    text += (text.empty() ? "" : " ") + std::to_string(*first) +
            (*first == last ? "" : ".." + std::to_string(last));
  };
  for (std::string one; std::getline(numbers, one, ';');) {
    const long long number = std::strtoll(one.c_str(), nullptr, 10);
    if (!first.has_value()) {
      first = number;
    } else if (number != last + 1) {
      print();
      first = number;
    }
    last = number;
  }
  print();
  return text;
}

/// The table holds exactly these rows. @param wanted "1..N"
inline std::vector<std::string> check_rows(quorlite::testing::replica_cluster& cluster,
                                           const std::string& wanted) {
  std::vector<std::string> wrong;
  for (const server_id id : cluster.servers()) {
    const connection db = cluster.connect(id);
    const std::string found = in_ranges(ask(db, "SELECT n FROM test ORDER BY n"));
    if (found != (wanted == "1..1" ? "1" : wanted)) {
      wrong.push_back(std::to_string(id.value) + " has the rows " + found);
    }
  }
  return wrong;
}

/// The database as SQLite reads it, byte for byte; empty if it cannot.
inline std::string image_of(sqlite3* db) {
  sqlite3_int64 size = 0;
  unsigned char* const image = sqlite3_serialize(db, "main", &size, 0);
  std::string bytes;
  if (image != nullptr) {
    bytes.assign(reinterpret_cast<char*>(image), static_cast<std::size_t>(size));
  }
  sqlite3_free(image);
  return bytes;
}

/// The same bytes on all, the same versions and hashes, and each of them sound.
inline std::vector<std::string> check_identical(quorlite::testing::replica_cluster& cluster) {
  std::vector<std::string> wrong;
  if (!cluster.are_identical()) {
    wrong.emplace_back("versions, page counts or hashes differ");
  }
  std::optional<std::string> first;
  for (const server_id id : cluster.servers()) {
    const std::string name = std::to_string(id.value);
    const connection db = cluster.connect(id);
    const std::string image = image_of(db);
    if (image.empty() || (first.has_value() && *first != image)) {
      wrong.push_back(name + " has other bytes than 1");
    }
    first = first.has_value() ? first : image;
    const std::string integrity = ask(db, "PRAGMA integrity_check");
    if (integrity != "ok" || cluster.replica(id).health().halted) {
      wrong.push_back(name + " is not sound: " + integrity);
    }
  }
  return wrong;
}

}  // namespace quorlite::tests
