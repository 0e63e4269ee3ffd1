/// @file
/// What the library asks of the compiler, and its always-on assertion.
#pragma once

#if !defined(__cpp_concepts) || __cpp_concepts < 201907L
#error "quorlite needs C++20 with concepts: compile with -std=c++20 (g++ 12, clang 14 or later)"
#endif

#include <cstdio>
#include <cstdlib>

// The two ways to use the library. Header-only, unless QUORLITE_SEPARATE_COMPILATION is defined:
// then headers only declare, and the bodies (.ipp) are compiled once, in the library that one
// links. A type has another name in each mode (QUORLITE_ABI), so objects of both modes in one
// program are strangers to each other: what passes between them does not link.
#if defined(QUORLITE_SEPARATE_COMPILATION)
/// What a definition in an .ipp begins with: `inline`, or nothing where bodies are compiled once.
#define QUORLITE_DECL
/// The inline namespace around all types of the library: another one in each mode.
#define QUORLITE_ABI v0
/// Marks the classes and functions that object files of users may refer to: the public ones, and of
/// the others those that public templates and inline functions call. The rest of a compiled library
/// is hidden, so a shared one exports nothing else. Stands before a class's name, or before
/// QUORLITE_DECL where a function is declared.
#define QUORLITE_API __attribute__((visibility("default")))
#else
#define QUORLITE_DECL inline
#define QUORLITE_ABI v0_header_only
#define QUORLITE_API
#endif

namespace quorlite {
inline namespace QUORLITE_ABI {
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
}  // namespace QUORLITE_ABI
}  // namespace quorlite

/// Checks a programmer's promise in every build type. Never an optimiser hint.
#define QUORLITE_ASSERT(expression)    \
  ((expression) ? static_cast<void>(0) \
                : ::quorlite::detail::assertion_failed(#expression, __FILE__, __LINE__))
