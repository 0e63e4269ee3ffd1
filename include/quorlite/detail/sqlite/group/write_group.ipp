/// @file
/// Bodies of write_group.hpp.
#pragma once

#include "quorlite/detail/sqlite/group/write_group.hpp"

#include <sqlite3.h>

#include <functional>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/connection.hpp"
#include "quorlite/detail/sqlite/busy_handler.hpp"
#include "quorlite/detail/sqlite/group/write_task.hpp"
#include "quorlite/detail/sqlite/vfs.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL control_statement::control_statement(sqlite3* db, const char* sql) noexcept
    : code_(sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement_, nullptr)) {}

QUORLITE_DECL control_statement::~control_statement() { sqlite3_finalize(statement_); }

QUORLITE_DECL std::error_code control_statement::error() const noexcept {
  if (code_ == SQLITE_OK) {
    return {};
  }
  return make_error_code((code_ & 0xFF) == SQLITE_NOMEM ? errc::out_of_memory
                                                        : errc::sqlite_failed);
}

QUORLITE_DECL int control_statement::run() noexcept {
  sqlite3_step(statement_);
  return sqlite3_reset(statement_);
}

QUORLITE_DECL result<std::unique_ptr<group_executor>> group_executor::open(
    vfs& through, const std::string& name, connection_options options) {
  result<connection> db = open_connection(through, name, options);
  if (!db) {
    return fail(db.error());
  }
  // Savepoints keep what they may have to restore; past 64 KiB SQLite would put that in a file.
  if (sqlite3_exec(*db, "PRAGMA temp_store=MEMORY", nullptr, nullptr, nullptr) != SQLITE_OK) {
    return fail(db->last_error());
  }
  auto made = std::unique_ptr<group_executor>(new group_executor(std::move(*db)));
  for (const control_statement* const one : {&made->begin_, &made->commit_, &made->rollback_,
                                             &made->savepoint_, &made->release_, &made->undo_}) {
    if (const std::error_code error = one->error()) {
      return fail(error);
    }
  }
  return made;
}

QUORLITE_DECL group_executor::group_executor(connection db) noexcept
    : db_(std::move(db)), rules_(db_) {}

QUORLITE_DECL void group_executor::run(std::span<write_task* const> tasks,
                                       const std::function<void()>& before_commit) {
  std::vector<write_task*> open;
  try {
    open.assign(tasks.begin(), tasks.end());
  } catch (const std::bad_alloc&) {  // none of them was run, or what they did was rolled back
    for (write_task* const one : tasks) {
      one->answer = write_result::refused(make_error_code(errc::out_of_memory));
    }
    return;
  }
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

QUORLITE_DECL group_executor::ending group_executor::attempt(
    std::span<write_task* const> tasks, write_task*& culprit,
    const std::function<void()>& before_commit) {
  db_.busy_->install(db_);  // a closure may have set another one, and SQLite does not tell
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

QUORLITE_DECL bool group_executor::is_shared_fault(int code) noexcept {
  const int primary = code & 0xFF;
  return primary == SQLITE_FULL || primary == SQLITE_INTERRUPT || primary == SQLITE_NOMEM ||
         code == sqlite_transaction_over;
}

QUORLITE_DECL bool group_executor::run_one(write_task& task) {
  task.answer = {};
  sqlite3_set_last_insert_rowid(db_, 0);
  if (const int code = savepoint_.run(); code != SQLITE_OK) {
    describe(task, code);
    return false;
  }
  const std::size_t known = count_statements();  // also such as somebody prepared outside
  rules_.enter();
  int code = task.run(db_);
  if (code != SQLITE_OK) {
    describe(task, code);
  }
  stop_statements();
  const bool has_our_hooks = rules_.leave();
  const bool is_over = sqlite3_get_autocommit(db_) != 0;
  if (is_over || code == sqlite_transaction_over) {  // of the group nothing is committed any more
    rules_.take_back();                              // perhaps it is another's: close_savepoint()
    if (code == SQLITE_OK) {
      blame(task, SQLITE_MISUSE, "the closure ended the transaction that it shares");
    }
    return false;
  }
  const bool was_fine = code == SQLITE_OK;
  if (was_fine && rules_.tried_to_end()) {
    // Whether SQLite let a COMMIT run that was prepared elsewhere is a matter of its version; what
    // the closure did after it belongs to nobody.
    code = SQLITE_MISUSE;
    blame(task, code, "the closure tried to end the transaction that it shares");
  } else if (was_fine && !has_our_hooks) {
    code = SQLITE_MISUSE;
    blame(task, code, "the closure set a hook of the connection that it shares");
  } else if (was_fine && count_statements() > known && !has_virtual_tables()) {
    code = SQLITE_MISUSE;
    blame(task, code, "the closure left a statement or a blob: finalize what it prepares");
  } else if (was_fine && has_broken_references()) {
    code = SQLITE_CONSTRAINT_FOREIGNKEY;
    blame(task, code, "FOREIGN KEY constraint failed");
  }
  return close_savepoint(code == SQLITE_OK, task);
}

QUORLITE_DECL bool group_executor::close_savepoint(bool keep, write_task& task) {
  int code = ask_authorizer();
  const bool is_ours = rules_.was_asked();
  if (is_ours) {
    code = keep ? SQLITE_OK : undo_.run();
    code = code == SQLITE_OK ? release_.run() : code;
    if (code == SQLITE_OK) {
      return true;
    }
  }
  rules_.take_back();  // what another one has let through is not known
  if (!is_ours && (code == SQLITE_OK || code == SQLITE_AUTH)) {
    if (!task.answer.error) {
      blame(task, SQLITE_MISUSE, "the closure set the authorizer of the connection that it shares");
    }
  } else {
    describe(task, code);
  }
  return false;
}

QUORLITE_DECL int group_executor::ask_authorizer() noexcept {
  sqlite3_stmt* made = nullptr;
  const int code = sqlite3_prepare_v2(db_, "SELECT 1", -1, &made, nullptr);
  sqlite3_finalize(made);
  return code;
}

QUORLITE_DECL bool group_executor::has_broken_references() const noexcept {
  int broken = 0;
  int unused = 0;
  sqlite3_db_status(db_, SQLITE_DBSTATUS_DEFERRED_FKS, &broken, &unused, 0);
  return broken != 0;
}

QUORLITE_DECL sqlite3_stmt* group_executor::next_of_others(sqlite3_stmt* after) const noexcept {
  sqlite3_stmt* const next = sqlite3_next_stmt(db_, after);
  return next == first_of_ours_ ? nullptr : next;
}

QUORLITE_DECL void group_executor::stop_statements() noexcept {
  for (sqlite3_stmt* one = next_of_others(nullptr); one != nullptr; one = next_of_others(one)) {
    if (sqlite3_stmt_busy(one) != 0) {
      sqlite3_reset(one);
    }
  }
}

QUORLITE_DECL std::size_t group_executor::count_statements() const noexcept {
  std::size_t count = 0;
  for (sqlite3_stmt* one = next_of_others(nullptr); one != nullptr; one = next_of_others(one)) {
    ++count;
  }
  return count;
}

QUORLITE_DECL bool group_executor::has_virtual_tables() const noexcept {
  bool any = false;
  const auto see = [](void* seen, int, char**, char**) {
    *static_cast<bool*>(seen) = true;
    return 0;
  };
  const int code = sqlite3_exec(
      db_, "SELECT 1 FROM main.sqlite_schema WHERE type='table' AND rootpage=0 LIMIT 1", see, &any,
      nullptr);
  return any || code != SQLITE_OK;
}

/// Where there is no memory for the words, the error stays.
QUORLITE_DECL void group_executor::blame(write_task& task, int code, const char* why,
                                         errc error) noexcept {
  task.answer = {make_error_code(error), code, {}, {}};
  try {
    task.answer.message = why;
  } catch (const std::bad_alloc&) {
    task.answer.message.clear();
  }
}

QUORLITE_DECL void group_executor::describe(write_task& task, int code) const noexcept {
  const bool is_sqlite = sqlite3_extended_errcode(db_) == code ||
                         sqlite3_errcode(db_) == code;  // else the closure says so
  const std::error_code ours = is_sqlite ? db_.last_error() : std::error_code{};
  const errc else_it_is = (code & 0xFF) == SQLITE_BUSY ? errc::busy : errc::sqlite_failed;
  task.answer.error = ours && ours != errc::sqlite_failed ? ours : make_error_code(else_it_is);
  task.answer.code = code;
  try {
    task.answer.message = code == SQLITE_AUTH && !rules_.why().empty() ? std::string(rules_.why())
                          : is_sqlite                                  ? db_.error_message()
                                                                       : "the closure gave up";
  } catch (const std::bad_alloc&) {
    task.answer.message.clear();
  }
}

QUORLITE_DECL void group_executor::fail_all(std::span<write_task* const> tasks, int code,
                                            transaction_id id) const noexcept {
  const bool is_unknown = db_.last_error() == failure::outcome_unknown;
  for (write_task* const one : tasks) {
    if (is_unknown && one->answer.error) {
      // Undone already, whatever comes of the group. Why it was refused rests on a state that may
      // never come; and the group's id would tell of the others.
      blame(*one, sqlite_not_leader,
            "the closure was undone; what it had read may not come: run it again",
            errc::stale_term);
      continue;
    }
    describe(*one, code);
    one->answer.id = id;
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
