/// @file
/// The busy handler of a connection: who may queue up for a write lock, and for how long.
#pragma once

#include <atomic>
#include <cstdint>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"

struct sqlite3;

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The busy handler of one connection. SQLite asks it on behalf of a statement that found another
/// writer, and starts that statement's lock over if it says so. Handles do the waiting, in their
/// next read lock; here is only decided who may want the head, and when the timeout ends.
class busy_handler {
 public:
  explicit busy_handler(milliseconds timeout) noexcept : timeout_(timeout.value) {}

  [[nodiscard]] std::atomic<std::uint64_t>* timeout() noexcept { return &timeout_; }

  /// @param db must be closed, or given another handler, before this one goes
  void install(sqlite3* db) noexcept;

 private:
  static int ask(void* self, int retries) noexcept;
  [[nodiscard]] bool may_retry(std::uint64_t retries) noexcept;
  void sleep(std::uint64_t span_ms) noexcept;

  sqlite3* db_ = nullptr;
  std::atomic<std::uint64_t> timeout_;  // milliseconds
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/sqlite/busy_handler.ipp"  // IWYU pragma: keep
#endif
