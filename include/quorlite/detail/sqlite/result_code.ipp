/// @file
/// Bodies of result_code.hpp.
#pragma once

#include "quorlite/detail/sqlite/result_code.hpp"

#include <sqlite3.h>

#include <system_error>

#include "quorlite/config.hpp"
#include "quorlite/error.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL int sqlite_code(std::error_code error) noexcept {
  if (!error) {
    return SQLITE_OK;
  }
  if (error == errc::busy) {
    return SQLITE_BUSY;
  }
  if (error == errc::too_large || error == errc::storage_full ||
      error == errc::too_many_databases) {
    return SQLITE_FULL;
  }
  if (error == errc::out_of_memory) {
    return SQLITE_IOERR_NOMEM;
  }
  if (error == errc::corrupt) {
    return SQLITE_IOERR_CORRUPTFS;
  }
  if (error == errc::storage_broken) {
    return SQLITE_IOERR_READ;
  }
  if (error == errc::snapshot_ended) {
    return sqlite_snapshot_ended;
  }
  return error == failure::outcome_unknown ? sqlite_outcome_unknown : sqlite_not_leader;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
