/// @file
/// Bodies of libraft_options.hpp: what a report says in one line, and in one error.
#pragma once

#include <string>
#include <system_error>

#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

QUORLITE_DECL std::string libraft_log_defect::text() const {
  std::string line = file;
  if (!file.empty()) {
    line += ", byte " + std::to_string(byte) + ": ";
  }
  return line + what + ". " + remedy;
}

QUORLITE_DECL std::error_code libraft_log_defect::error() const noexcept {
  switch (fault) {
    case libraft_log_fault::diverged: return make_error_code(errc::diverged);
    case libraft_log_fault::too_short: return make_error_code(errc::log_too_short);
    case libraft_log_fault::starts_late: return make_error_code(errc::log_starts_late);
    case libraft_log_fault::unknown: return make_error_code(errc::needs_upgrade);
    case libraft_log_fault::damaged:
    case libraft_log_fault::missing: break;
  }
  return make_error_code(errc::log_damaged);
}

QUORLITE_DECL std::error_code libraft_log_report::error() const noexcept {
  return defects.empty() ? std::error_code{} : defects.front().error();
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite
