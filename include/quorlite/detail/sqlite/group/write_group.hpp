/// @file
/// Many closures in one transaction: each in a savepoint of its own, so that one that fails takes
/// only itself back, and one COMMIT, one entry, one quorum round for all.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/connection.hpp"
#include "quorlite/detail/sqlite/group/closure_rules.hpp"
#include "quorlite/detail/sqlite/group/write_task.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/options.hpp"

struct sqlite3;
struct sqlite3_stmt;

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

class vfs;

/// BEGIN and its like, prepared once.
class control_statement {
 public:
  control_statement(sqlite3* db, const char* sql) noexcept;
  control_statement(const control_statement&) = delete;
  control_statement& operator=(const control_statement&) = delete;
  ~control_statement();

  /// @returns none, errc::out_of_memory, errc::sqlite_failed
  [[nodiscard]] std::error_code error() const noexcept;
  [[nodiscard]] sqlite3_stmt* get() const noexcept { return statement_; }
  /// @returns an extended code
  [[nodiscard]] int run() noexcept;

 private:
  sqlite3_stmt* statement_ = nullptr;
  int code_ = 0;
};

/// Runs groups of closures, one group at a time, on a connection of its own. One thread at a time.
class group_executor {
 public:
  /// @returns errors of open_connection(); errc::sqlite_failed
  [[nodiscard]] static result<std::unique_ptr<group_executor>> open(vfs& through,
                                                                    const std::string& name,
                                                                    connection_options options);

  /// Runs all of them to their answers. A closure runs again if one of the others, or it itself,
  /// made SQLite roll all of the transaction back. A refusal too rests on what stood before it in
  /// the group, so it is only given once that is committed.
  /// @param before_commit called before every COMMIT: closures that come now are for another group
  void run(std::span<write_task* const> tasks, const std::function<void()>& before_commit);
  /// False: a transaction could not be rolled back, as SQLite had no memory for that, or was
  /// interrupted. Closing the connection does it.
  [[nodiscard]] bool is_usable() const noexcept { return sqlite3_get_autocommit(db_) != 0; }

 private:
  enum class ending {
    answered,     ///< every one of them
    rolled_back,  ///< one of them is answered, the others start over
    too_much,     ///< nothing is; halves may do
  };
  explicit group_executor(connection db) noexcept;

  [[nodiscard]] ending attempt(std::span<write_task* const> tasks, write_task*& culprit,
                               const std::function<void()>& before_commit);

  /// The room may have been used up by the others; an interrupt may have been meant for another.
  [[nodiscard]] static bool is_shared_fault(int code) noexcept;

  /// @returns false: SQLite rolled all of the transaction back
  [[nodiscard]] bool run_one(write_task& task);

  [[nodiscard]] bool close_savepoint(bool keep, write_task& task);
  /// SQLite does not tell whose authorizer there is, nor that there is none any more. It asks it as
  /// a statement is prepared. @returns the code of that
  int ask_authorizer() noexcept;
  /// Of this closure, as every one before it left none behind.
  [[nodiscard]] bool has_broken_references() const noexcept;

  /// Of the statements that are none of ours; nullptr: before the first, behind the last one.
  [[nodiscard]] sqlite3_stmt* next_of_others(sqlite3_stmt* after) const noexcept;
  /// What a closure left in the middle would stand in the way of the savepoint, or of COMMIT.
  void stop_statements() noexcept;
  [[nodiscard]] std::size_t count_statements() const noexcept;
  /// A virtual table keeps statements of its own, which look like any other.
  [[nodiscard]] bool has_virtual_tables() const noexcept;

  static void blame(write_task& task, int code, const char* why,
                    errc error = errc::sqlite_failed) noexcept;
  void describe(write_task& task, int code) const noexcept;
  void fail_all(std::span<write_task* const> tasks, int code, transaction_id id) const noexcept;

  connection db_;
  closure_rules rules_;
  control_statement begin_{db_, "BEGIN IMMEDIATE"};
  control_statement commit_{db_, "COMMIT"};
  control_statement rollback_{db_, "ROLLBACK"};
  control_statement savepoint_{db_, "SAVEPOINT \"ql:closure\""};
  control_statement release_{db_, "RELEASE \"ql:closure\""};
  control_statement undo_{db_, "ROLLBACK TO \"ql:closure\""};
  /// SQLite lists statements from the newest to the oldest: from here on they are ours. It does not
  /// promise that; nullptr: this one does not.
  sqlite3_stmt* const first_of_ours_ =
      sqlite3_next_stmt(db_, nullptr) == undo_.get() ? undo_.get() : nullptr;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/sqlite/group/write_group.ipp"  // IWYU pragma: keep
#endif
