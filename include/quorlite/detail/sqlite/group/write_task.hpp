/// @file
/// A closure that waits for its place in a shared transaction, and the answer to it.
#pragma once

#include <exception>
#include <type_traits>

#include "quorlite/config.hpp"
#include "quorlite/replica_status.hpp"

struct sqlite3;

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Lives on the stack of its caller, who waits. The one who runs it may be another thread.
class QUORLITE_API write_task {
 public:
  write_task() = default;
  write_task(const write_task&) = delete;
  write_task& operator=(const write_task&) = delete;

  /// Runs the closure. @returns SQLITE_OK, or why what it did is to be undone. It lets nothing
  /// through: see rethrow()
  [[nodiscard]] int run(sqlite3* db) noexcept;
  /// In the caller's thread: what the last run threw.
  void rethrow() const;

  write_result answer;

 protected:
  ~write_task() = default;
  virtual int call(sqlite3* db) = 0;

 private:
  std::exception_ptr thrown_;
};

/// A closure of any type.
template <class Closure>
class closure_task final : public write_task {
 public:
  static_assert(std::is_invocable_r_v<int, Closure&, sqlite3*>,
                "the closure of write() takes a sqlite3* and returns an int: SQLITE_OK to keep "
                "what it did");
  explicit closure_task(Closure& closure) noexcept : closure_(closure) {}
  ~closure_task() = default;

 private:
  int call(sqlite3* db) override { return closure_(db); }

  Closure& closure_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/sqlite/group/write_task.ipp"  // IWYU pragma: keep
#endif
