/// @file
/// Bodies of database_file.hpp: answers, the file handle, and the functions that SQLite calls.
#pragma once

#include "quorlite/detail/sqlite/database_file.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/commit/vfs_host.hpp"
#include "quorlite/detail/sqlite/pragmas.hpp"
#include "quorlite/detail/sqlite/result_code.hpp"
#include "quorlite/detail/sqlite/vfs.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL std::string answer_record::text() const {
  if (!text_.empty()) {
    return text_;
  }
  return error_ ? core_.host.explain(error_) : std::string{};
}

QUORLITE_DECL void answer_record::failed(std::error_code error, std::string text) noexcept {
  error_ = error;
  text_ = std::move(text);
  event_ = core_.next_event();
}

QUORLITE_DECL void answer_record::proposed(transaction_id id) noexcept {
  if (id != transaction_id{}) {
    transaction_ = id;
  }
}

QUORLITE_DECL void answer_record::committed() noexcept {
  error_ = {};
  text_.clear();
}

/// As SQLite reads it: behind comments, and behind what is no statement.
[[nodiscard]] inline bool is_vacuum(std::string_view sql) noexcept {
  constexpr std::string_view letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  constexpr std::string_view keyword = "VACUUM";
  while (!sql.empty() && letters.find(sql.front()) == std::string_view::npos) {
    const bool is_line = sql.starts_with("--");
    const bool is_comment = is_line || sql.starts_with("/*");
    const std::size_t end = is_comment ? sql.find(is_line ? "\n" : "*/", 2) : 0;
    sql.remove_prefix(end == std::string_view::npos ? sql.size() : end + 1);
  }
  return sqlite3_strnicmp(std::string(sql.substr(0, keyword.size())).c_str(), keyword.data(),
                          static_cast<int>(keyword.size())) == 0;
}

QUORLITE_DECL bool served_connection::look_at(const database_file& file) noexcept {
  is_looked_at_ = true;
  const char* const schema = schema_of(file);
  // vacuum_db; since some version after 3.46 it is vacuum_ and a random number.
  if (schema == nullptr || !std::string_view{schema}.starts_with("vacuum_")) {
    return false;
  }
  sqlite3* const db = get();
  for (sqlite3_stmt* one = sqlite3_next_stmt(db, nullptr); one != nullptr;
       one = sqlite3_next_stmt(db, one)) {
    const char* const sql = sqlite3_stmt_busy(one) != 0 ? sqlite3_sql(one) : nullptr;
    is_vacuumed_into_ = is_vacuumed_into_ || (sql != nullptr && is_vacuum(sql));
  }
  return is_vacuumed_into_;
}

QUORLITE_DECL int served_connection::refuse_vacuum(const database_file& into) const {
  static constexpr const char* why =
      "name the file by a path, as in VACUUM INTO './copy.db'; a bare name is a replicated "
      "database's, and to copy into one ATTACH it";
  sqlite3_log(SQLITE_CANTOPEN, "quorlite: '%s' is not written: %s", into.name().c_str(), why);
  for_each_replicated_file(get(), [&](database_file& file) {
    file.answers().failed(make_error_code(errc::unsupported), why);
  });
  return SQLITE_CANTOPEN;
}

QUORLITE_DECL const char* served_connection::schema_of(const database_file& file) const noexcept {
  sqlite3* const db = get();
  for (int schema = 0; db != nullptr; ++schema) {
    const char* const name = sqlite3_db_name(db, schema);
    if (name == nullptr || replicated_file(db, name) == &file) {
      return name;
    }
  }
  return nullptr;
}

QUORLITE_DECL std::atomic<std::uint64_t>* served_connection::timeout() const noexcept {
  sqlite3* const db = get();
  const database_file* const main = db == nullptr ? nullptr : replicated_file(db, "main");
  return main == nullptr ? nullptr : main->timeout();
}

QUORLITE_DECL bool served_connection::has_begun(const database_file& file) const noexcept {
  const char* const schema = schema_of(file);
  return schema != nullptr && sqlite3_txn_state(get(), schema) > SQLITE_TXN_NONE;
}

QUORLITE_DECL bool served_connection::commits_apart(const database_file& alone) const noexcept {
  sqlite3* const db = get();
  if (db == nullptr || sqlite3_db_name(db, 2) == nullptr) {
    return false;  // nothing is attached
  }
  const char* const main = sqlite3_db_filename(db, "main");
  if (main == nullptr || *main == '\0') {
    return false;  // it is in memory
  }
  bool is_another_written = false;
  for_each_replicated_file(db, [&](const database_file& file) noexcept {
    const char* const schema = &file == &alone ? nullptr : schema_of(file);
    is_another_written = is_another_written ||
                         (schema != nullptr && sqlite3_txn_state(db, schema) == SQLITE_TXN_WRITE);
  });
  return is_another_written;
}

QUORLITE_DECL bool served_connection::only_reads() const noexcept {
  sqlite3* const db = get();
  bool any = false;
  for (sqlite3_stmt* one = db == nullptr ? nullptr : sqlite3_next_stmt(db, nullptr); one != nullptr;
       one = sqlite3_next_stmt(db, one)) {
    if (sqlite3_stmt_busy(one) != 0) {
      any = true;
      if (sqlite3_stmt_readonly(one) == 0) {
        return false;
      }
    }
  }
  return any;
}

QUORLITE_DECL bool served_connection::is_heard() const noexcept {
  sqlite3* const db = get();
  if (db == nullptr ||
      (sqlite3_get_autocommit(db) != 0 && sqlite3_txn_state(db, nullptr) < SQLITE_TXN_WRITE)) {
    return true;  // nothing is there to be taken back
  }
  int running = 0;
  for (sqlite3_stmt* one = sqlite3_next_stmt(db, nullptr); one != nullptr;
       one = sqlite3_next_stmt(db, one)) {
    if (sqlite3_sql(one) == nullptr) {
      return false;  // part of loading a schema, an open blob, or what is being prepared
    }
    // One that has given out a row waits to go on.
    running += sqlite3_stmt_busy(one) != 0 && sqlite3_data_count(one) == 0 ? 1 : 0;
  }
  return running <= 1;
}

QUORLITE_DECL bool served_connection::has_more_to_lose() const noexcept {
  sqlite3* const db = get();
  return db != nullptr && (sqlite3_get_autocommit(db) == 0 || !is_heard());
}

QUORLITE_DECL bool served_connection::end_transaction(int code,
                                                      const database_file& failed) const noexcept {
  bool is_ended = false;
  for_each_replicated_file(get(), [&](database_file& file) noexcept {
    is_ended = file.end_with(code, failed) || is_ended;
  });
  return is_ended || sqlite3_txn_state(get(), nullptr) < SQLITE_TXN_WRITE;
}

QUORLITE_DECL database_file::database_file(std::shared_ptr<vfs_core> core,
                                           std::shared_ptr<database> target)
    : core_(std::move(core)),
      view_(std::move(target)),
      dirty_(core_->bounds),
      turn_(core_->host, view_),
      answers_(*core_) {
  core_->open_files.fetch_add(1);
}

QUORLITE_DECL database_file::~database_file() {
  unlock(SQLITE_LOCK_NONE);
  core_->open_files.fetch_sub(1);
}

/// The replica has ended: what it was made of may be gone.
QUORLITE_DECL bool database_file::is_stopped() const noexcept {
  return core_->is_closed.load(std::memory_order_acquire);
}

QUORLITE_DECL int database_file::read(bytes_span into, std::uint64_t from) {
  if (is_stopped()) {
    return refuse(make_error_code(errc::stopped));
  }
  if (level_ == SQLITE_LOCK_NONE) {
    view_.turn_to_current();
    view_.stand_on_committed();
    const int code = read_pages(into, from);
    view_.step_off();
    return code;
  }
  if (ended_with_ != SQLITE_OK && phase_ == phase::over) {
    return ended_with_;  // its pages are gone
  }
  if (from == 24 && into.size() == 16 && view_.take_cache_reset()) {
    if (view_.page_count() == 0) {
      // Page 1 is not read then, so SQLite goes on with the version of what was there before; what
      // comes next may have the same one.
      view_.distrust_cache();
    }
    std::fill(into.begin(), into.end(), std::byte{0xFF});
    return SQLITE_OK;
  }
  const bool is_left = level_ == SQLITE_LOCK_SHARED && !turn_.is_early() && stands_on_pending_ &&
                       view_.store()->committed().version < view_.at().version();
  if (is_left) {
    // A writer that wrote nothing has ended, and a statement of its own goes on: what is read now
    // may be somebody else's, and might be taken back.
    return refuse(make_error_code(errc::stale_term));
  }
  if (turn_.is_early() && from != 0 && from >= page_size()) {
    // No writer reads more than page 1 before its write lock: this is a plain read.
    if (stands_on_pending_) {
      return refuse(make_error_code(errc::stale_term));
    }
    turn_.give_back();
  }
  return read_pages(into, from);
}

QUORLITE_DECL int database_file::file_size(sqlite3_int64& size) {
  if (level_ == SQLITE_LOCK_NONE) {
    const page_store::state now = view_.target().store()->committed();
    const std::uint64_t bytes = now.page_count * now.page_size;
    size = static_cast<sqlite3_int64>(bytes);
  } else {
    const std::uint64_t bytes = page_count() * page_size();
    size = static_cast<sqlite3_int64>(bytes);
  }
  return SQLITE_OK;
}

QUORLITE_DECL int database_file::write(bytes_view from, std::uint64_t to) {
  if (phase_ == phase::committed) {
    phase_ = phase::over;
    view_.lose();  // SQLite takes back in its cache what is committed: another file was refused
  }
  if (phase_ == phase::over) {
    return SQLITE_OK;  // the playback of a transaction whose dirty pages are gone already
  }
  if (phase_ == phase::finished) {
    return ended_with_ != SQLITE_OK ? SQLITE_OK : give_up_unlocked();  // finish() will tell it
  }
  if (phase_ != phase::writing) {
    return SQLITE_IOERR_WRITE;
  }
  const std::error_code error = dirty_.write(to, from, view_);
  return error ? give_up(error, error == errc::too_large ? SQLITE_FULL : SQLITE_IOERR_WRITE)
               : SQLITE_OK;
}

/// SQLITE_READONLY is what SQLite documents for a backup into such a database.
[[nodiscard]] inline std::string keeps_its_page_size(std::uint32_t bytes) {
  return "the page size of a replicated database is fixed by its first transaction: say PRAGMA "
         "page_size=" +
         std::to_string(bytes) +
         " before VACUUM; of a database with another page size copy the rows, not the pages";
}

QUORLITE_DECL int database_file::truncate(std::uint64_t size_bytes) {
  if (phase_ == phase::committed && size_bytes != view_.page_count() * view_.page_size()) {
    phase_ = phase::over;  // else a COMMIT that has made the database shorter
    view_.lose();
  }
  if (phase_ == phase::over || phase_ == phase::committed) {
    return SQLITE_OK;
  }
  if (phase_ == phase::finished) {
    return ended_with_ != SQLITE_OK ? SQLITE_OK : give_up_unlocked();  // finish() will tell it
  }
  if (phase_ != phase::writing) {
    return SQLITE_IOERR_TRUNCATE;
  }
  const std::error_code error = dirty_.resize(size_bytes);
  return error ? give_up(error, SQLITE_READONLY, keeps_its_page_size(page_size())) : SQLITE_OK;
}

QUORLITE_DECL int database_file::out_of_memory() noexcept {
  answers_.failed(make_error_code(errc::out_of_memory));
  turn_.stop_wanting();  // the busy handler is not asked any more
  if (phase_ == phase::writing) {
    end_with(SQLITE_IOERR_NOMEM, *this);  // else COMMIT would find another reason
  }
  return SQLITE_IOERR_NOMEM;
}

QUORLITE_DECL bool database_file::end_with(int code, const database_file& failed) noexcept {
  if (phase_ != phase::writing && phase_ != phase::over) {
    return false;
  }
  if (this != &failed) {
    answers_.failed(failed.answers_.error());  // it may be closed when COMMIT tells
  }
  view_.distrust_cache();
  dirty_.clear();
  phase_ = phase::over;
  ended_with_ = code;
  return true;
}

QUORLITE_DECL int database_file::lock(int level) {
  if (is_stopped()) {
    return refuse(make_error_code(errc::stopped));
  }
  if (level_ == SQLITE_LOCK_NONE && level > SQLITE_LOCK_NONE) {
    if (connection_.is_vacuumed_into(*this)) {
      return connection_.refuse_vacuum(*this);
    }
    const int code = lock_shared();
    if (code != SQLITE_OK) {
      return code;
    }
    level_ = SQLITE_LOCK_SHARED;
  }
  if (level_ < SQLITE_LOCK_RESERVED && level >= SQLITE_LOCK_RESERVED) {
    const int code = lock_reserved();
    if (code != SQLITE_OK) {
      return code;
    }
  }
  level_ = std::max(level_, level);  // readers never stand in a writer's way
  return SQLITE_OK;
}

QUORLITE_DECL int database_file::unlock(int level) noexcept {
  if (level_ >= SQLITE_LOCK_RESERVED && level < SQLITE_LOCK_RESERVED) {
    leave_super();
    turn_.give_back();
    if (view_.page_count() == 0) {
      view_.distrust_cache();
    }
    dirty_.clear();
    phase_ = phase::idle;
    ended_with_ = SQLITE_OK;
  }
  if (level == SQLITE_LOCK_NONE) {
    turn_.give_back();
    view_.step_off();
    stands_on_pending_ = false;
  }
  level_ = std::min(level_, level);
  return SQLITE_OK;
}

QUORLITE_DECL int database_file::sync(const char* super) {
  if (phase_ != phase::writing) {
    if (super != nullptr && phase_ != phase::idle) {  // no rollback names one
      return ended_with_ != SQLITE_OK ? ended_with_ : give_up_unlocked();
    }
    phase_ = phase_ == phase::over ? phase::finished : phase_;
    return SQLITE_OK;
  }
  if (super_.has_value()) {
    core_->supers.refuse(*super_);  // a member never commits alone: this is a rollback
    dirty_.clear();
    phase_ = phase::finished;
    return SQLITE_OK;
  }
  const bool changes = dirty_.changes_anything(view_);
  if (view_.is_lost()) {
    // What it was compared with was taken back, and may have been page 1 of another history, which
    // counts its changes alike.
    return give_up(view_.loss(), sqlite_code(view_.loss()));
  }
  if (!changes) {
    return SQLITE_OK;
  }
  if (dirty_.has_other_page_size()) {
    return give_up(make_error_code(errc::unsupported), SQLITE_READONLY,
                   keeps_its_page_size(page_size()));
  }
  if (super == nullptr && connection_.commits_apart(*this)) {
    return give_up(make_error_code(errc::unsupported), SQLITE_IOERR_FSYNC,
                   "this SQLite was built with SQLITE_DEFAULT_SYNCHRONOUS=0 and would commit each "
                   "database by itself: say PRAGMA name.synchronous=FULL behind each ATTACH");
  }
  if (super == nullptr) {
    database_file* const alone = this;
    return commit(*core_, {&alone, 1});
  }
  std::string name{super};
  if (!core_->supers.join(name, this)) {
    // The main database is none of ours: nobody would tell us whether it is committed.
    return give_up(make_error_code(errc::unsupported), SQLITE_IOERR_FSYNC);
  }
  super_ = std::move(name);
  return SQLITE_OK;
}

QUORLITE_DECL int database_file::finish() {
  if (phase_ == phase::idle || phase_ == phase::writing) {
    return SQLITE_OK;  // nothing was changed
  }
  int code = phase_ == phase::committed ? SQLITE_OK : ended_with_;
  if (code == SQLITE_OK && phase_ != phase::committed) {
    code = give_up_unlocked();
  }
  phase_ = phase::finished;
  ended_with_ = SQLITE_OK;  // told: what comes without a new lock is another transaction
  return code;
}

QUORLITE_DECL int database_file::commit(vfs_core& core, std::span<database_file* const> files) {
  std::vector<database_write> changes(files.size());
  std::error_code error =
      core.is_closed.load() ? make_error_code(errc::stopped) : std::error_code{};
  for (std::size_t i = 0; i < files.size() && !error; ++i) {
    error = files[i]->fill(changes[i]);
  }
  const commit_result answer = error ? commit_result{error, {}} : core.host.commit(changes);
  const bool together = files.size() > 1 || files[0]->super_.has_value();
  for (std::size_t i = 0; i < files.size(); ++i) {
    files[i]->conclude(changes[i], answer, !error, together);
  }
  const int code = sqlite_code(answer.error);
  return together && code == SQLITE_BUSY ? sqlite_busy_rolled_back : code;
}

QUORLITE_DECL int database_file::read_pages(bytes_span into, std::uint64_t from) {
  const std::uint32_t one_page = page_size();
  const std::uint64_t end = std::min(page_count() * one_page, from + into.size());
  std::uint64_t at = from;
  while (at < end) {
    const page_number number{static_cast<std::uint32_t>(at / one_page + 1)};
    const auto within = static_cast<std::size_t>(at % one_page);
    const auto part =
        static_cast<std::size_t>(std::min<std::uint64_t>(one_page - within, end - at));
    const std::error_code error =
        copy(number, within, into.subspan(static_cast<std::size_t>(at - from), part));
    if (error && !view_.is_lost()) {
      return refuse(error);
    }
    at += part;
  }
  if (view_.is_lost()) {
    // Cleaning up after a commit must not hide why that failed.
    return phase_ == phase::over || phase_ == phase::committed ? sqlite_not_leader
                                                               : refuse(view_.loss());
  }
  if (at == from + into.size()) {
    return SQLITE_OK;
  }
  const bytes_span rest = into.subspan(static_cast<std::size_t>(at - from));
  std::fill(rest.begin(), rest.end(), std::byte{0});
  return SQLITE_IOERR_SHORT_READ;
}

QUORLITE_DECL std::error_code database_file::copy(page_number number, std::size_t within,
                                                  bytes_span out) {
  if (phase_ == phase::writing) {
    const bytes_view written = dirty_.image_of(number);
    if (!written.empty() || !dirty_.shows_base(number)) {
      view_.copy_part(written, number, within, out);
      return {};
    }
  }
  return view_.copy(number, within, out);
}

QUORLITE_DECL int database_file::lock_shared() {
  view_.turn_to_current();
  stands_on_pending_ = false;
  const bool was_candidate = turn_.take_candidacy() != 0;
  if (turn_.wants_head()) {
    if (take_turn()) {
      turn_.stop_wanting();
      view_.stand_on_head();
      stands_on_pending_ = view_.store()->committed().version < view_.at().version();
      return SQLITE_OK;
    }
    if (!turn_.is_refused(view_.store()->pin_head())) {
      view_.step_off();
      turn_.has_waited();
      return SQLITE_BUSY;  // and still wants the head
    }
    turn_.stop_wanting();  // not the leader any more: the write lock will say so
  } else if (was_candidate && !connection_.only_reads() &&  // a statement that gave up left it
             turn_.acquire_early() && !turn_.await_quiet()) {
    turn_.give_back();
  }
  view_.turn_to_current();
  view_.stand_on_committed();
  return SQLITE_OK;
}

QUORLITE_DECL bool database_file::take_turn() {
  if (!turn_.acquire_early()) {
    return false;
  }
  view_.turn_to_current();
  if (!view_.is_schema_pending() || turn_.await_quiet()) {
    return true;
  }
  turn_.give_back();
  return false;
}

QUORLITE_DECL int database_file::lock_reserved() {
  const std::error_code error = turn_.begin();
  if (error) {
    return refuse_writer(error);
  }
  if (view_.page_count() == 0) {
    view_.start_empty();
  }
  dirty_.begin(view_.at());
  phase_ = phase::writing;
  return SQLITE_OK;
}

QUORLITE_DECL int database_file::refuse_writer(std::error_code error) noexcept {
  if (error != errc::busy && error != errc::stale_term) {
    return refuse(error);
  }
  if (!connection_.has_begun(*this)) {
    turn_.become_candidate(core_->next_event());
  }
  return SQLITE_BUSY_SNAPSHOT;
}

QUORLITE_DECL std::error_code database_file::fill(database_write& change) {
  view_.keep_for_commit(true);
  if (view_.is_lost()) {
    return view_.loss();
  }
  change.target = view_.shared_target();
  change.store = view_.store();
  change.base = &view_.at();
  change.writer = turn_.owner();
  change.ticket = turn_.ticket();
  return dirty_.move_into(change);
}

QUORLITE_DECL void database_file::conclude(database_write& change, const commit_result& answer,
                                           bool asked, bool together) {
  answers_.proposed(answer.id);
  if (!change.committed.has_value()) {
    view_.keep_for_commit(false);
  }
  if (!answer.error) {
    answers_.committed();
    if (change.committed.has_value()) {
      view_.stand_on_own(std::move(*change.committed));
    } else {
      view_.lose();
    }
  } else {
    answers_.failed(answer.error, answer.text);
    if (answer.error == errc::busy && !together) {
      dirty_.move_back(change);
      return;
    }
    view_.distrust_cache();
  }
  if (asked && answer.error != errc::busy) {
    turn_.was_released();
  }
  dirty_.clear();
  phase_ = answer.error ? phase::over : phase::committed;
}

QUORLITE_DECL void database_file::leave_super() noexcept {
  if (super_.has_value()) {
    core_->supers.leave(*super_, this);
    super_.reset();
  }
}

QUORLITE_DECL int database_file::refuse(std::error_code error) noexcept {
  answers_.failed(error);
  return sqlite_code(error);
}

QUORLITE_DECL int database_file::give_up(std::error_code error, int code,
                                         std::string text) noexcept {
  answers_.failed(error, std::move(text));
  view_.distrust_cache();
  dirty_.clear();
  phase_ = phase::over;
  return code;
}

QUORLITE_DECL int database_file::give_up_unlocked() {
  return give_up(make_error_code(errc::unsupported), SQLITE_IOERR_LOCK,
                 "a transaction without a write lock of its own cannot be committed: "
                 "locking_mode=EXCLUSIVE is not possible on a replicated database, set "
                 "PRAGMA locking_mode=NORMAL");
}

QUORLITE_DECL void database_slot::open(sqlite3_file* slot, std::shared_ptr<vfs_core> core,
                                       std::shared_ptr<database> target) {
  auto file = std::make_unique<database_file>(std::move(core), std::move(target));
  reinterpret_cast<database_slot*>(slot)->opened = file.release();
  slot->pMethods = &methods();
}

template <class Call>
int database_slot::guarded(sqlite3_file* slot, Call call) noexcept {
  try {
    return call(of(slot));
  } catch (...) {
    return of(slot).out_of_memory();
  }
}

/// For such a code SQLite takes the transaction back.
[[nodiscard]] inline bool takes_back(int code) noexcept {
  return ((code & 0xFF) == SQLITE_IOERR && code != SQLITE_IOERR_SHORT_READ) || code == SQLITE_FULL;
}

QUORLITE_DECL int database_slot::answered(sqlite3_file* slot, int code) noexcept {
  const served_connection& connection = of(slot).connection();
  const bool is_over =
      takes_back(code) && !connection.is_heard() && connection.end_transaction(code, of(slot));
  return is_over ? sqlite_transaction_over : code;
}

QUORLITE_DECL int database_slot::close(sqlite3_file* slot) noexcept {
  delete std::exchange(reinterpret_cast<database_slot*>(slot)->opened, nullptr);
  return SQLITE_OK;
}

QUORLITE_DECL int database_slot::read(sqlite3_file* slot, void* into, int amount,
                                      sqlite3_int64 from) noexcept {
  const int code = guarded(slot, [=](database_file& file) {
    return file.read({static_cast<std::byte*>(into), static_cast<std::size_t>(amount)},
                     static_cast<std::uint64_t>(from));
  });
  return answered(slot, code);
}

QUORLITE_DECL int database_slot::write(sqlite3_file* slot, const void* from, int amount,
                                       sqlite3_int64 to) noexcept {
  const int code = guarded(slot, [=](database_file& file) {
    return file.write({static_cast<const std::byte*>(from), static_cast<std::size_t>(amount)},
                      static_cast<std::uint64_t>(to));
  });
  // SQLite also writes as it undoes a statement, or rolls back. A failure there takes everything
  // back under the code of that statement, or leaves a cache that is half restored. Which write is
  // which cannot be seen. So if more than one statement can be lost, the file is over (it swallows
  // what follows), and COMMIT says so.
  const served_connection& connection = of(slot).connection();
  const bool is_swallowed = takes_back(code) && connection.has_more_to_lose() &&
                            of(slot).end_with(code, of(slot)) &&
                            connection.end_transaction(code, of(slot));
  return is_swallowed ? SQLITE_OK : code;
}

QUORLITE_DECL int database_slot::truncate(sqlite3_file* slot, sqlite3_int64 size) noexcept {
  return guarded(
      slot, [=](database_file& file) { return file.truncate(static_cast<std::uint64_t>(size)); });
}

QUORLITE_DECL int database_slot::file_size(sqlite3_file* slot, sqlite3_int64* size) noexcept {
  return guarded(slot, [=](database_file& file) { return file.file_size(*size); });
}

QUORLITE_DECL int database_slot::lock(sqlite3_file* slot, int level) noexcept {
  return answered(slot, guarded(slot, [=](database_file& file) { return file.lock(level); }));
}

QUORLITE_DECL int database_slot::unlock(sqlite3_file* slot, int level) noexcept {
  return of(slot).unlock(level);
}

QUORLITE_DECL int database_slot::check_reserved(sqlite3_file*, int* reserved) noexcept {
  *reserved = 1;
  return SQLITE_OK;
}

template <class Value>
int database_slot::give(void* argument, Value value) noexcept {
  *static_cast<Value*>(argument) = value;
  return SQLITE_OK;
}

QUORLITE_DECL int database_slot::control(sqlite3_file* slot, int opcode, void* argument) noexcept {
  return guarded(slot, [=](database_file& file) {
    switch (opcode) {
      case SQLITE_FCNTL_SYNC: return file.sync(static_cast<const char*>(argument));
      case SQLITE_FCNTL_COMMIT_PHASETWO: return file.finish();
      case SQLITE_FCNTL_PRAGMA: return pragma_statement{file, static_cast<char**>(argument)}.run();
      case SQLITE_FCNTL_LOCKSTATE: return give(argument, file.lock_level());
      case SQLITE_FCNTL_HAS_MOVED: return give(argument, 0);
      case SQLITE_FCNTL_VFSNAME:
        return give(argument, sqlite3_mprintf("%s", file.core().name.c_str()));
      case static_cast<int>(file_control::last_error):
        return give(argument, file.answers().error());
      case static_cast<int>(file_control::last_transaction):
        return give(argument, file.answers().transaction());
      case static_cast<int>(file_control::handle): return give(argument, &file);
      case SQLITE_FCNTL_PDB:
        file.connection().learn(static_cast<sqlite3* const*>(argument));
        return SQLITE_OK;
      default: return SQLITE_NOTFOUND;
    }
  });
}

QUORLITE_DECL int database_slot::characteristics(sqlite3_file*) noexcept {
  return SQLITE_IOCAP_POWERSAFE_OVERWRITE | SQLITE_IOCAP_SEQUENTIAL | SQLITE_IOCAP_SAFE_APPEND;
}

QUORLITE_DECL const sqlite3_io_methods& database_slot::methods() noexcept {
  static constexpr sqlite3_io_methods table{
      1,       close,          read,    write,       truncate,        sync,    file_size, lock,
      unlock,  check_reserved, control, sector_size, characteristics, nullptr, nullptr,   nullptr,
      nullptr, nullptr,        nullptr};
  return table;
}

QUORLITE_DECL database_file* replicated_file(sqlite3* db, const char* schema) noexcept {
  database_file* file = nullptr;
  const int code = sqlite3_file_control(db, schema, static_cast<int>(file_control::handle), &file);
  return code == SQLITE_OK ? file : nullptr;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
