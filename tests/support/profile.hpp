/// @file
/// What the environment asks of a long test.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace quorlite::tests {

/// QUORLITE_TEST_PROFILE=short: do less. Unset means full.
inline bool is_short_profile() {
  const char* const profile = std::getenv("QUORLITE_TEST_PROFILE");
  return profile != nullptr && std::string_view(profile) == "short";
}

}  // namespace quorlite::tests
