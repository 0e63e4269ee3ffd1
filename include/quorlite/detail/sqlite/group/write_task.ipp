/// @file
/// Bodies of write_task.hpp.
#pragma once

#include "quorlite/detail/sqlite/group/write_task.hpp"

#include <sqlite3.h>

#include <exception>

#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL int write_task::run(sqlite3* db) noexcept {
  thrown_ = nullptr;
  try {
    return call(db);
  } catch (...) {
    thrown_ = std::current_exception();
    return SQLITE_ABORT;
  }
}

QUORLITE_DECL void write_task::rethrow() const {
  if (thrown_ != nullptr) {
    std::rethrow_exception(thrown_);
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
