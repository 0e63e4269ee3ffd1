/// @file
/// A closure that waits for its place in a shared transaction, and the answer to it.
#pragma once

#include <sqlite3.h>

#include <exception>
#include <string>
#include <system_error>
#include <type_traits>

#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace v0 {

/// How a write() ended.
struct write_answer {
  /// None: what the closure did is committed by a quorum and applied here.
  std::error_code error;
  /// SQLite's extended code, or what the closure returned.
  int code = SQLITE_OK;
  /// For people; empty if it went well.
  std::string message;
  /// Of the transaction that it shared with others: what to ask outcome() about. {0, 0}: nothing
  /// was proposed.
  transaction_id id;

  [[nodiscard]] bool ok() const noexcept { return !error; }

  /// An answer without SQLite's.
  [[nodiscard]] static write_answer refused(std::error_code why) {
    return {why, SQLITE_ERROR, why.message(), {}};
  }
};

namespace detail {

/// Lives on the stack of its caller, who waits. The one who runs it may be another thread.
class write_task {
 public:
  write_task() = default;
  write_task(const write_task&) = delete;
  write_task& operator=(const write_task&) = delete;

  /// Runs the closure. @returns SQLITE_OK, or why what it did is to be undone. It lets nothing
  /// through: see rethrow()
  [[nodiscard]] int run(sqlite3* db) noexcept {
    thrown_ = nullptr;
    try {
      return call(db);
    } catch (...) {
      thrown_ = std::current_exception();
      return SQLITE_ABORT;
    }
  }
  /// In the caller's thread: what the last run threw.
  void rethrow() const {
    if (thrown_ != nullptr) {
      std::rethrow_exception(thrown_);
    }
  }

  write_answer answer;

 protected:
  ~write_task() = default;
  virtual int call(sqlite3* db) = 0;

 private:
  std::exception_ptr thrown_;
};

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
}  // namespace v0
}  // namespace quorlite
