// With every mutant's patch in it the tree is compiled once, with this in front of each unit
// (-include). The variable QUORLITE_MUTANT of the environment says which of them is on.
#pragma once

#include <cstdlib>
#include <cstring>

/// True in the mutant of this name. Each place looks once, at its first turn.
#define QUORLITE_MUTANT(name)                                       \
  ([]() noexcept -> bool {                                          \
    static const bool is_on = []() noexcept -> bool {               \
      const char* const chosen = std::getenv("QUORLITE_MUTANT");    \
      return chosen != nullptr && std::strcmp(chosen, (name)) == 0; \
    }();                                                            \
    return is_on;                                                   \
  }())
