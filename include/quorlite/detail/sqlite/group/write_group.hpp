/// @file
/// Many closures in one transaction: each in a savepoint of its own, so that one that fails takes
/// only itself back, and one COMMIT, one entry, one quorum round for all.
#pragma once

#include <sqlite3.h>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/connection.hpp"
#include "quorlite/detail/sqlite/group/closure_rules.hpp"
#include "quorlite/detail/sqlite/group/write_task.hpp"
#include "quorlite/detail/sqlite/vfs.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// BEGIN and its like, prepared once.
class control_statement {
 public:
  control_statement(sqlite3* db, const char* sql) noexcept {
    sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement_, nullptr);
  }
  control_statement(const control_statement&) = delete;
  control_statement& operator=(const control_statement&) = delete;
  ~control_statement() { sqlite3_finalize(statement_); }

  [[nodiscard]] bool is_prepared() const noexcept { return statement_ != nullptr; }
  /// @returns an extended code
  [[nodiscard]] int run() noexcept {
    sqlite3_step(statement_);
    return sqlite3_reset(statement_);
  }

 private:
  sqlite3_stmt* statement_ = nullptr;
};

/// Runs groups of closures, one group at a time, on a connection of its own. One thread at a time.
class group_executor {
 public:
  /// @returns errors of open_connection(); errc::sqlite_failed
  [[nodiscard]] static result<std::unique_ptr<group_executor>> open(vfs& through,
                                                                    const std::string& name,
                                                                    connection_options options) {
    result<connection> db = open_connection(through, name, options);
    if (!db) {
      return failed(db.error());
    }
    // Savepoints keep what they may have to restore; past 64 KiB SQLite would put that in a file.
    if (sqlite3_exec(*db, "PRAGMA temp_store=MEMORY", nullptr, nullptr, nullptr) != SQLITE_OK) {
      return failed(errc::sqlite_failed);
    }
    auto made = std::unique_ptr<group_executor>(new group_executor(std::move(*db)));
    if (!made->begin_.is_prepared() || !made->commit_.is_prepared() ||
        !made->rollback_.is_prepared() || !made->savepoint_.is_prepared() ||
        !made->release_.is_prepared() || !made->undo_.is_prepared()) {
      return failed(errc::sqlite_failed);
    }
    return made;
  }

  /// Runs all of them to their answers. A closure runs again if one of the others, or it itself,
  /// made SQLite roll all of the transaction back. A refusal too rests on what stood before it in
  /// the group, so it is only given once that is committed.
  /// @param before_commit called before every COMMIT: closures that come now are for another group
  void run(std::span<write_task* const> tasks, const std::function<void()>& before_commit) {
    std::vector<write_task*> open(tasks.begin(), tasks.end());
    while (!open.empty()) {
      write_task* culprit = nullptr;
      switch (attempt(open, culprit, before_commit)) {
        case ending::answered: return;
        case ending::rolled_back: std::erase(open, culprit); break;
        case ending::too_much: {
          const std::span<write_task* const> all(open);
          run(all.first(all.size() / 2), before_commit);
          run(all.subspan(all.size() / 2), before_commit);
          return;
        }
      }
    }
  }

 private:
  enum class ending {
    answered,     ///< every one of them
    rolled_back,  ///< one of them is answered, the others start over
    too_much,     ///< nothing is; halves may do
  };
  explicit group_executor(connection db) noexcept : db_(std::move(db)), rules_(db_) {}

  [[nodiscard]] ending attempt(std::span<write_task* const> tasks, write_task*& culprit,
                               const std::function<void()>& before_commit) {
    const transaction_id before = db_.last_transaction();
    if (const int code = begin_.run(); code != SQLITE_OK) {
      fail_all(tasks, code, {});
      return ending::answered;
    }
    for (write_task* const one : tasks) {
      if (run_one(*one)) {
        continue;
      }
      if (sqlite3_get_autocommit(db_) == 0) {
        static_cast<void>(rollback_.run());
      }
      if (tasks.size() > 1 && is_shared_fault(one->answer.code)) {
        return ending::too_much;
      }
      culprit = one;
      return ending::rolled_back;
    }
    before_commit();
    const int code = commit_.run();
    const transaction_id id =
        db_.last_transaction() == before ? transaction_id{} : db_.last_transaction();
    if (code == SQLITE_OK) {
      for (write_task* const one : tasks) {
        one->answer.id = id;
      }
      return ending::answered;
    }
    const bool halves_may_do = tasks.size() > 1 && db_.last_error() == errc::too_large;
    if (!halves_may_do) {
      fail_all(tasks, code, id);
    }
    if (sqlite3_get_autocommit(db_) == 0) {  // BUSY leaves it open
      static_cast<void>(rollback_.run());
    }
    return halves_may_do ? ending::too_much : ending::answered;
  }

  /// The room may have been used up by the others; an interrupt may have been meant for another.
  [[nodiscard]] static bool is_shared_fault(int code) noexcept {
    const int primary = code & 0xFF;
    return primary == SQLITE_FULL || primary == SQLITE_INTERRUPT || primary == SQLITE_NOMEM;
  }

  /// @returns false: SQLite rolled all of the transaction back
  [[nodiscard]] bool run_one(write_task& task) {
    task.answer = {};
    sqlite3_set_last_insert_rowid(db_, 0);
    if (const int code = savepoint_.run(); code != SQLITE_OK) {
      describe(task, code);
      return false;
    }
    rules_.enter();
    int code = task.run(db_);
    if (code != SQLITE_OK) {
      describe(task, code);
    }
    stop_statements();
    rules_.leave();
    if (sqlite3_get_autocommit(db_) != 0) {
      if (code == SQLITE_OK) {
        task.answer = {make_error_code(errc::sqlite_failed),
                       SQLITE_MISUSE,
                       "the closure ended the transaction that it shares",
                       {}};
      }
      return false;
    }
    if (code == SQLITE_OK && has_broken_references()) {
      code = SQLITE_CONSTRAINT_FOREIGNKEY;
      task.answer = {
          make_error_code(errc::sqlite_failed), code, "FOREIGN KEY constraint failed", {}};
    }
    return close_savepoint(code == SQLITE_OK, task);
  }

  [[nodiscard]] bool close_savepoint(bool keep, write_task& task) {
    int code = keep ? SQLITE_OK : undo_.run();
    code = code == SQLITE_OK ? release_.run() : code;
    if (code != SQLITE_OK) {
      describe(task, code);
      return false;
    }
    return true;
  }

  /// Of this closure, as every one before it left none behind.
  [[nodiscard]] bool has_broken_references() const noexcept {
    int broken = 0;
    int unused = 0;
    sqlite3_db_status(db_, SQLITE_DBSTATUS_DEFERRED_FKS, &broken, &unused, 0);
    return broken != 0;
  }

  /// What a closure left in the middle would stand in the way of the savepoint, or of COMMIT.
  void stop_statements() noexcept {
    for (sqlite3_stmt* one = sqlite3_next_stmt(db_, nullptr); one != nullptr;
         one = sqlite3_next_stmt(db_, one)) {
      if (sqlite3_stmt_busy(one) != 0) {
        sqlite3_reset(one);
      }
    }
  }

  void describe(write_task& task, int code) const {
    const bool is_sqlite = sqlite3_extended_errcode(db_) == code ||
                           sqlite3_errcode(db_) == code;  // else the closure says so
    const std::error_code ours = is_sqlite ? db_.last_error() : std::error_code{};
    const errc else_it_is = (code & 0xFF) == SQLITE_BUSY ? errc::busy : errc::sqlite_failed;
    task.answer.error = ours && ours != errc::sqlite_failed ? ours : make_error_code(else_it_is);
    task.answer.code = code;
    task.answer.message = code == SQLITE_AUTH && !rules_.why().empty() ? std::string(rules_.why())
                          : is_sqlite                                  ? db_.error_message()
                                                                       : "the closure gave up";
  }

  void fail_all(std::span<write_task* const> tasks, int code, transaction_id id) const {
    for (write_task* const one : tasks) {
      describe(*one, code);
      one->answer.id = id;
    }
  }

  connection db_;
  closure_rules rules_;
  control_statement begin_{db_, "BEGIN IMMEDIATE"};
  control_statement commit_{db_, "COMMIT"};
  control_statement rollback_{db_, "ROLLBACK"};
  control_statement savepoint_{db_, "SAVEPOINT \"ql:closure\""};
  control_statement release_{db_, "RELEASE \"ql:closure\""};
  control_statement undo_{db_, "ROLLBACK TO \"ql:closure\""};
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
