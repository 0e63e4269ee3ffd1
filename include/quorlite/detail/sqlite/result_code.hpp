/// @file
/// What SQLite's callers see of our errors, and the file controls that they may use.
#pragma once

#include <sqlite3.h>

#include <system_error>

#include "quorlite/config.hpp"
#include "quorlite/error.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

static_assert(sqlite_not_leader == (SQLITE_IOERR | (40 << 8)));
static_assert(sqlite_outcome_unknown == (SQLITE_IOERR | (41 << 8)));
static_assert(sqlite_busy_rolled_back == (SQLITE_BUSY | (40 << 8)));
static_assert(sqlite_snapshot_ended == (SQLITE_IOERR | (42 << 8)));
static_assert(sqlite_transaction_over == (SQLITE_PROTOCOL | (40 << 8)));

/// Opcodes for sqlite3_file_control() on a replicated database; SQLITE_NOTFOUND on any other.
enum class file_control : int {
  last_error = 0x716C01,        ///< argument: std::error_code*; why the last failure was ours
  last_transaction = 0x716C02,  ///< argument: transaction_id*; what was proposed last, or {0, 0}
  handle = 0x716C03,            ///< argument: detail::database_file**; for the library itself
};

/// The code that a read, a commit, or the begin of a write answers with.
/// @returns SQLITE_OK for no error; plain SQLITE_BUSY only for errc::busy
[[nodiscard]] QUORLITE_DECL int sqlite_code(std::error_code error) noexcept;

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/sqlite/result_code.ipp"  // IWYU pragma: keep
#endif
