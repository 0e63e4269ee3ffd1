/// @file
/// Bodies of examination.
#pragma once

#include "quorlite/testing/detail/laws/storage_examination.hpp"

#include <string>

#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL void law_checks::conclude(const examination& found, const std::string& where) {
  for (auto& [law, check] : checks_) {
    check.expect(law != found.law, found.broken + " (" + where + ")");
  }
  if (!found.law.empty() && !checks_.contains(found.law)) {
    report_.fail(found.law, found.broken + " (" + where + ")");
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
