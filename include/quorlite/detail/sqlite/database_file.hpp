/// @file
/// A replicated database as SQLite's pager sees it: one file handle.
#pragma once

#include <sqlite3.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/commit/vfs_host.hpp"
#include "quorlite/detail/sqlite/answer_record.hpp"
#include "quorlite/detail/sqlite/dirty_pages.hpp"
#include "quorlite/detail/sqlite/journal.hpp"
#include "quorlite/detail/sqlite/result_code.hpp"
#include "quorlite/detail/sqlite/vfs_core.hpp"
#include "quorlite/detail/sqlite/view.hpp"
#include "quorlite/detail/sqlite/writer_turn.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// One open database. Used by one thread at a time, as SQLite uses a file. Its members answer with
/// SQLite's result codes and throw std::bad_alloc only; no lock of ours is held where they block.
///
/// The commit point is sync(): every synchronous mode calls it, and SQLite honours what it answers.
/// It is also called at the end of a rollback, where it must do nothing: after a refusal the handle
/// is *over* until its write lock is gone, and a draft whose page 1 is that of the base has nothing
/// to commit.
class database_file {
 public:
  database_file(vfs_core& core, std::shared_ptr<database> target)
      : core_(core),
        view_(std::move(target)),
        draft_(core.bounds),
        turn_(core.host, view_),
        answers_(core) {
    core_.open_files.fetch_add(1);
  }
  database_file(const database_file&) = delete;
  database_file& operator=(const database_file&) = delete;
  ~database_file() {
    unlock(SQLITE_LOCK_NONE);
    core_.open_files.fetch_sub(1);
  }

  [[nodiscard]] vfs_core& core() const noexcept { return core_; }
  [[nodiscard]] const std::string& name() const noexcept { return view_.target().name(); }
  [[nodiscard]] int lock_level() const noexcept { return level_; }
  [[nodiscard]] writer_turn& turn() noexcept { return turn_; }

  // ---- reading

  /// Any range: the pager reads a header of 100 bytes without a lock, and page 1 before it knows
  /// the page size. @returns SQLITE_IOERR_SHORT_READ beyond the end, zeros then
  int read(bytes_span into, std::uint64_t from) {
    if (level_ == SQLITE_LOCK_NONE) {
      view_.turn_to_current();
      view_.stand_on_committed();
      const int code = read_pages(into, from);
      view_.step_off();
      return code;
    }
    if (from == 24 && into.size() == 16 && view_.take_cache_reset()) {
      std::fill(into.begin(), into.end(), std::byte{0xFF});
      return SQLITE_OK;
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

  [[nodiscard]] int file_size(sqlite3_int64& size) {
    if (level_ == SQLITE_LOCK_NONE) {
      const page_store::state now = view_.target().store()->committed();
      size = static_cast<sqlite3_int64>(now.page_count * now.page_size);
    } else {
      size = static_cast<sqlite3_int64>(page_count() * page_size());
    }
    return SQLITE_OK;
  }

  // ---- writing

  int write(bytes_view from, std::uint64_t to) {
    if (phase_ == phase::over) {
      return SQLITE_OK;  // the playback of a transaction whose draft is gone already
    }
    if (phase_ != phase::writing) {
      return SQLITE_IOERR_WRITE;
    }
    const std::error_code error = draft_.write(to, from, view_);
    return error ? give_up(error, error == errc::too_large ? SQLITE_FULL : SQLITE_IOERR_WRITE)
                 : SQLITE_OK;
  }

  int truncate(std::uint64_t size_bytes) {
    if (phase_ == phase::over) {
      return SQLITE_OK;
    }
    if (phase_ != phase::writing) {
      return SQLITE_IOERR_TRUNCATE;
    }
    const std::error_code error = draft_.resize(size_bytes);
    return error ? give_up(error, SQLITE_IOERR_TRUNCATE) : SQLITE_OK;
  }

  /// Memory ran out somewhere: the transaction cannot go on.
  int out_of_memory() noexcept {
    draft_.clear();
    phase_ = phase_ == phase::writing ? phase::over : phase_;
    return SQLITE_IOERR_NOMEM;
  }

  // ---- locks

  int lock(int level) {
    if (level_ == SQLITE_LOCK_NONE && level > SQLITE_LOCK_NONE) {
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

  int unlock(int level) noexcept {
    if (level_ >= SQLITE_LOCK_RESERVED && level < SQLITE_LOCK_RESERVED) {
      leave_super();
      turn_.give_back();
      if (view_.page_count() == 0) {
        view_.distrust_cache();
      }
      draft_.clear();
      phase_ = phase::idle;
    }
    if (level == SQLITE_LOCK_NONE) {
      turn_.give_back();
      view_.step_off();
      stands_on_pending_ = false;
    }
    level_ = std::min(level_, level);
    return SQLITE_OK;
  }

  // ---- the commit point

  /// SQLITE_FCNTL_SYNC. @param super the super-journal's name in a commit of several databases
  int sync(const char* super) {
    if (phase_ != phase::writing) {
      return SQLITE_OK;
    }
    if (super_.has_value()) {
      core_.supers.refuse(*super_);  // a member never commits alone: this is a rollback
      return SQLITE_OK;
    }
    if (!draft_.changes_anything(view_)) {
      return SQLITE_OK;
    }
    if (super == nullptr) {
      database_file* const alone = this;
      return commit(core_, {&alone, 1});
    }
    std::string name{super};
    if (!core_.supers.join(name, this)) {
      // The main database is none of ours: nobody would tell us whether it is committed.
      return give_up(make_error_code(errc::unsupported), SQLITE_IOERR_FSYNC);
    }
    super_ = std::move(name);
    return SQLITE_OK;
  }

  /// Commits all `files` as one transaction, in the order of their names.
  static int commit(vfs_core& core, std::span<database_file* const> files) {
    std::vector<database_change> changes(files.size());
    std::error_code error;
    for (std::size_t i = 0; i < files.size() && !error; ++i) {
      error = files[i]->fill(changes[i]);
    }
    const commit_answer answer = error ? commit_answer{error, {}} : core.host.commit(changes);
    const bool together = files.size() > 1 || files[0]->super_.has_value();
    for (std::size_t i = 0; i < files.size(); ++i) {
      files[i]->conclude(changes[i], answer, !error, together);
    }
    const int code = sqlite_code(answer.error);
    return together && code == SQLITE_BUSY ? sqlite_busy_rolled_back : code;
  }

  // ---- what people ask

  [[nodiscard]] answer_record& answers() noexcept { return answers_; }
  [[nodiscard]] const answer_record& answers() const noexcept { return answers_; }
  /// The committed state, whatever this handle stands on.
  [[nodiscard]] page_store::state committed() const { return view_.target().store()->committed(); }

  /// The connection's patience in milliseconds, where `PRAGMA busy_timeout` finds it; or nullptr.
  [[nodiscard]] std::atomic<std::uint64_t>* patience() const noexcept { return patience_; }
  void set_patience(std::atomic<std::uint64_t>* patience) noexcept { patience_ = patience; }

 private:
  enum class phase : std::uint8_t {
    idle,     ///< no write lock
    writing,  ///< the draft is being made
    over,     ///< committed or refused; what SQLite still does is cleaning up
  };

  [[nodiscard]] std::uint32_t page_size() const noexcept {
    return phase_ == phase::writing ? draft_.page_size() : view_.page_size();
  }
  [[nodiscard]] std::uint64_t page_count() const noexcept {
    return phase_ == phase::writing ? draft_.page_count() : view_.page_count();
  }

  int read_pages(bytes_span into, std::uint64_t from) {
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
      return phase_ == phase::over ? sqlite_not_leader : refuse(make_error_code(errc::stale_term));
    }
    if (at == from + into.size()) {
      return SQLITE_OK;
    }
    const bytes_span rest = into.subspan(static_cast<std::size_t>(at - from));
    std::fill(rest.begin(), rest.end(), std::byte{0});
    return SQLITE_IOERR_SHORT_READ;
  }

  [[nodiscard]] std::error_code copy(page_number number, std::size_t within, bytes_span out) {
    if (phase_ == phase::writing) {
      const bytes_view written = draft_.image_of(number);
      if (!written.empty() || !draft_.shows_base(number)) {
        view_.copy_part(written, number, within, out);
        return {};
      }
    }
    return view_.copy(number, within, out);
  }

  int lock_shared() {
    view_.turn_to_current();
    stands_on_pending_ = false;
    const bool was_candidate = turn_.take_candidacy();
    if (turn_.wants_tip()) {
      if (take_turn()) {
        turn_.stop_wanting();
        view_.stand_on_tip();
        stands_on_pending_ = view_.store()->committed().version < view_.at().version();
        return SQLITE_OK;
      }
      if (!turn_.is_refused(view_.store()->pin_tip())) {
        return SQLITE_BUSY;  // and still wants the tip
      }
      turn_.stop_wanting();  // not the leader any more: the write lock will say so
    } else if (was_candidate && turn_.acquire_early() && !turn_.await_quiet()) {
      turn_.give_back();
    }
    view_.turn_to_current();
    view_.stand_on_committed();
    return SQLITE_OK;
  }

  /// Gets the slot for a writer that is to stand on the tip. A statement is prepared on the
  /// committed schema; on another one it would be prepared again, in vain, until SQLite gives up.
  /// So a writer waits until a change of the schema is committed.
  bool take_turn() {
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

  int lock_reserved() {
    const std::error_code error = turn_.begin();
    if (error == errc::busy || error == errc::stale_term) {
      turn_.become_candidate(core_.next_event());
      return SQLITE_BUSY_SNAPSHOT;
    }
    if (error) {
      return refuse(error);
    }
    if (view_.page_count() == 0) {
      view_.start_empty();
    }
    draft_.begin(view_.at());
    phase_ = phase::writing;
    return SQLITE_OK;
  }

  [[nodiscard]] std::error_code fill(database_change& change) {
    change.target = view_.shared_target();
    change.store = view_.store();
    change.base = &view_.at();
    change.writer = turn_.owner();
    change.ticket = turn_.ticket();
    return draft_.move_into(change);
  }

  void conclude(database_change& change, const commit_answer& answer, bool asked, bool together) {
    answers_.proposed(answer.id);
    if (!answer.error) {
      answers_.committed();
      if (change.committed.has_value()) {
        view_.stand_on_own(std::move(*change.committed));
      } else {
        view_.lose();
      }
    } else {
      answers_.failed(answer.error);
      if (answer.error == errc::busy && !together) {
        draft_.move_back(change);
        return;
      }
      view_.distrust_cache();
    }
    if (asked && answer.error != errc::busy) {
      turn_.was_released();
    }
    draft_.clear();
    phase_ = phase::over;
  }

  void leave_super() noexcept {
    if (super_.has_value()) {
      core_.supers.leave(*super_, this);
      super_.reset();
    }
  }

  int refuse(std::error_code error) noexcept {
    answers_.failed(error);
    return sqlite_code(error);
  }
  /// The transaction cannot be committed any more; SQLite rolls it back.
  int give_up(std::error_code error, int code) noexcept {
    answers_.failed(error);
    view_.distrust_cache();
    draft_.clear();
    phase_ = phase::over;
    return code;
  }

  vfs_core& core_;
  database_view view_;
  draft draft_;
  writer_turn turn_;
  std::optional<std::string> super_;  // the super-journal that it stands in
  answer_record answers_;
  std::atomic<std::uint64_t>* patience_ = nullptr;
  int level_ = SQLITE_LOCK_NONE;
  phase phase_ = phase::idle;
  bool stands_on_pending_ = false;
};

/// The replicated database behind a schema's name, or nullptr: a plain file, a temporary one.
[[nodiscard]] inline database_file* replicated_file(sqlite3* db, const char* schema) noexcept {
  database_file* file = nullptr;
  const int code = sqlite3_file_control(db, schema, static_cast<int>(file_control::handle), &file);
  return code == SQLITE_OK ? file : nullptr;
}

template <class Visit>
void for_each_replicated_file(sqlite3* db, Visit visit) {
  for (int schema = 0;; ++schema) {
    const char* const name = sqlite3_db_name(db, schema);
    if (name == nullptr) {
      return;
    }
    database_file* const file = replicated_file(db, name);
    if (file != nullptr) {
      visit(*file);
    }
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
