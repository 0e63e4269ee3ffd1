/// @file
/// What the library asks of the compiler, and its always-on assertion.
#pragma once

#if !defined(__cpp_concepts) || __cpp_concepts < 201907L
#error "quorlite needs C++20 with concepts: compile with -std=c++20 (g++ 12, clang 14 or later)"
#endif

#include <cstdio>
#include <cstdlib>

namespace quorlite {
inline namespace v0 {
namespace detail {

/// Prints the broken expectation and ends the process. Reached by programmer errors only: nothing
/// that comes from outside (an entry, a snapshot, a file, SQL) may lead here.
[[noreturn]] inline void assertion_failed(const char* expression, const char* file,
                                          int line) noexcept {
  std::fprintf(stderr, "quorlite: %s:%d: assertion failed: %s\n", file, line, expression);
  std::fflush(stderr);
  std::abort();
}

}  // namespace detail
}  // namespace v0
}  // namespace quorlite

/// [public] Checks a programmer's promise in every build type. Never an optimiser hint.
#define QUORLITE_ASSERT(expression)    \
  ((expression) ? static_cast<void>(0) \
                : ::quorlite::detail::assertion_failed(#expression, __FILE__, __LINE__))
