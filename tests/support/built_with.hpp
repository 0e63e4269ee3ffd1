// Tests of what a SQLite may have been built without.
#pragma once

#include <sqlite3.h>

#include <string>

#include "catch2_shim.hpp"

namespace quorlite::tests {

/// @param option without SQLITE_, as in ENABLE_FTS5
/// @returns false, and says why, if this SQLite has it not: the test is to be skipped
inline bool is_built_with(const std::string& option) {
  if (sqlite3_compileoption_used(option.c_str()) == 0) {
    WARN("skipped: this SQLite was built without SQLITE_" + option);
    return false;
  }
  return true;
}

}  // namespace quorlite::tests
