/// @file
/// A replicated database as SQLite's pager sees it: one file handle, and the functions that SQLite
/// calls.
#pragma once

#include <sqlite3.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>

#include "quorlite/config.hpp"
#include "quorlite/detail/commit/vfs_host.hpp"
#include "quorlite/detail/sqlite/dirty_pages.hpp"
#include "quorlite/detail/sqlite/view.hpp"
#include "quorlite/detail/sqlite/writer_slot.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

struct vfs_core;
class database_file;

/// What a file handle remembers of its last answers: the last failure, its text, and what was
/// proposed last. One thread.
class answer_record {
 public:
  explicit answer_record(vfs_core& core) noexcept : core_(core) {}

  /// Why the last write failed; none if it did not.
  [[nodiscard]] std::error_code error() const noexcept { return error_; }
  /// When, in the order of the VFS; 0: nothing ever failed.
  [[nodiscard]] std::uint64_t event() const noexcept { return event_; }
  /// What was proposed last; {0, 0}: nothing.
  [[nodiscard]] transaction_id transaction() const noexcept { return transaction_; }

  /// A sentence about the last failure; empty if there is none.
  [[nodiscard]] std::string text() const;

  /// @param text what to say in place of the host's words
  void failed(std::error_code error, std::string text = {}) noexcept;
  void proposed(transaction_id id) noexcept;
  void committed() noexcept;

 private:
  vfs_core& core_;
  std::error_code error_;
  std::string text_;
  transaction_id transaction_;
  std::uint64_t event_ = 0;
};

/// The connection that has a file open, asked what it does now. Only from inside of a call of
/// SQLite's on that file: the connection's own mutex is held then, and can be taken again.
class served_connection {
 public:
  /// @param place where SQLite keeps it for as long as the file is open (SQLITE_FCNTL_PDB)
  void learn(sqlite3* const* place) noexcept { place_ = place; }

  /// VACUUM INTO has opened the file to write its copy into it, under a name that is a replicated
  /// database's. Whoever says so means a plain file. Asked before each read lock, looked at before
  /// the first one, which comes as the file is attached.
  [[nodiscard]] bool is_vacuumed_into(const database_file& file) noexcept {
    return is_looked_at_ ? is_vacuumed_into_ : look_at(file);
  }
  /// Says so where the application will ask why. Throws std::bad_alloc.
  int refuse_vacuum(const database_file& into) const;

  /// Whatever schema is named, a connection has one busy handler: that of its main database.
  /// nullptr: it is none of ours.
  [[nodiscard]] std::atomic<std::uint64_t>* timeout() const noexcept;

  /// A read transaction has begun: should its write lock fail, SQLite asks no busy handler and does
  /// not try again. False also if SQLite never said whose the file is.
  [[nodiscard]] bool has_begun(const database_file& file) const noexcept;

  /// SQLite is about to commit a file by itself, and another one of ours in the same transaction by
  /// itself as well. It does so with what is attached where it was built with synchronous=OFF, as
  /// it does behind a main database in memory; the latter is left to it. It cannot be seen yet
  /// whether the other one is changed, or was only locked by BEGIN IMMEDIATE.
  [[nodiscard]] bool commits_apart(const database_file& alone) const noexcept;

  /// Statements are running, and none of them can write. False also if SQLite never said.
  [[nodiscard]] bool only_reads() const noexcept;

  /// For a failure of IOERR or FULL SQLite takes the whole transaction back, wherever it meets it.
  /// True if the application is sure to hear of it: one statement runs at most, its own, and none
  /// within that SQLite or a virtual table runs, and whose failure they might not pass on.
  [[nodiscard]] bool is_heard() const noexcept;
  /// A write that fails takes back more than one statement, which hears of it.
  [[nodiscard]] bool has_more_to_lose() const noexcept;
  /// SQLite is not to take back what may then be gone on with: the transaction of the connection is
  /// not committed any more, in any file of ours.
  /// @param failed the file that has the reason
  /// @returns false: there is none of ours, only others that are written
  [[nodiscard]] bool end_transaction(int code, const database_file& failed) const noexcept;

 private:
  [[nodiscard]] sqlite3* get() const noexcept { return place_ == nullptr ? nullptr : *place_; }
  /// As what the connection has the file attached; nullptr: as nothing, or SQLite never said.
  [[nodiscard]] const char* schema_of(const database_file& file) const noexcept;
  bool look_at(const database_file& file) noexcept;

  sqlite3* const* place_ = nullptr;
  bool is_looked_at_ = false, is_vacuumed_into_ = false;
};

/// One open database. Used by one thread at a time, as SQLite uses a file. Its members answer with
/// SQLite's result codes and throw std::bad_alloc only; no lock of ours is held where they block.
///
/// The commit point is sync(): every synchronous mode calls it, and SQLite honours what it answers.
/// It is also called at the end of a rollback, where it must do nothing: after a refusal the handle
/// is *over* until its write lock is gone, and dirty pages whose page 1 is that of the base have
/// nothing to commit.
///
/// A new transaction begins with lock(). SQLite leaves that out if it keeps its lock after a COMMIT
/// (`locking_mode=EXCLUSIVE`, which a pragma sets that goes to another main database, or the way
/// SQLite was built): what would change the database then is an error, never clean-up.
class database_file {
 public:
  database_file(std::shared_ptr<vfs_core> core, std::shared_ptr<database> target);
  database_file(const database_file&) = delete;
  database_file& operator=(const database_file&) = delete;
  ~database_file();

  [[nodiscard]] vfs_core& core() const noexcept { return *core_; }
  [[nodiscard]] const std::string& name() const noexcept { return view_.target().name(); }
  [[nodiscard]] int lock_level() const noexcept { return level_; }
  [[nodiscard]] writer_slot& turn() noexcept { return turn_; }
  [[nodiscard]] served_connection& connection() noexcept { return connection_; }

  // ---- reading

  /// Any range: the pager reads a header of 100 bytes without a lock, and page 1 before it knows
  /// the page size. @returns SQLITE_IOERR_SHORT_READ beyond the end, zeros then
  int read(bytes_span into, std::uint64_t from);
  [[nodiscard]] int file_size(sqlite3_int64& size);

  // ---- writing

  int write(bytes_view from, std::uint64_t to);
  int truncate(std::uint64_t size_bytes);

  /// Memory ran out somewhere: the transaction cannot go on.
  int out_of_memory() noexcept;

  /// Neither reads nor COMMIT answer anything but `code` until the write lock is gone.
  /// @param failed why, another file of the connection perhaps
  /// @returns whether it has the write lock
  bool end_with(int code, const database_file& failed) noexcept;

  // ---- locks

  int lock(int level);
  int unlock(int level) noexcept;

  // ---- the commit point

  /// SQLITE_FCNTL_SYNC. @param super the super-journal's name in a commit of several databases
  int sync(const char* super);

  /// SQLITE_FCNTL_COMMIT_PHASETWO: SQLite has finished a COMMIT, and is about to unlock.
  int finish();

  /// Commits all `files` as one transaction, in the order of their names.
  static int commit(vfs_core& core, std::span<database_file* const> files);

  // ---- what callers ask

  [[nodiscard]] answer_record& answers() noexcept { return answers_; }
  [[nodiscard]] const answer_record& answers() const noexcept { return answers_; }
  /// The committed state, whatever this handle stands on.
  [[nodiscard]] page_store::state committed() const { return view_.target().store()->committed(); }

  /// The connection's timeout in milliseconds, where `PRAGMA busy_timeout` finds it; or nullptr.
  [[nodiscard]] std::atomic<std::uint64_t>* timeout() const noexcept { return timeout_; }
  void set_timeout(std::atomic<std::uint64_t>* timeout) noexcept { timeout_ = timeout; }

 private:
  enum class phase : std::uint8_t {
    idle,       ///< no write lock
    writing,    ///< its dirty pages are being gathered
    over,       ///< refused; what SQLite still does is taking it back
    committed,  ///< SQLite finishes its COMMIT, or takes it back: another database refused it
    finished,   ///< nothing is left to do before the write lock is given back
  };

  [[nodiscard]] std::uint32_t page_size() const noexcept {
    return phase_ == phase::writing ? dirty_.page_size() : view_.page_size();
  }
  [[nodiscard]] std::uint64_t page_count() const noexcept {
    return phase_ == phase::writing ? dirty_.page_count() : view_.page_count();
  }

  int read_pages(bytes_span into, std::uint64_t from);
  [[nodiscard]] std::error_code copy(page_number number, std::size_t within, bytes_span out);

  int lock_shared();

  /// Gets the slot for a writer that is to stand on the head. A statement is prepared on the
  /// committed schema; on another one it would be prepared again, in vain, until SQLite gives up.
  /// So a writer waits until a change of the schema is committed.
  bool take_turn();

  int lock_reserved();
  int refuse_writer(std::error_code error) noexcept;

  [[nodiscard]] std::error_code fill(database_write& change);
  void conclude(database_write& change, const commit_result& answer, bool asked, bool together);
  void leave_super() noexcept;

  [[nodiscard]] bool is_stopped() const noexcept;
  int refuse(std::error_code error) noexcept;
  /// The transaction cannot be committed any more; SQLite rolls it back.
  int give_up(std::error_code error, int code, std::string text = {}) noexcept;
  /// SQLite goes on with a lock that it kept from an earlier transaction.
  int give_up_unlocked();

  const std::shared_ptr<vfs_core> core_;  // first: it outlives the rest
  database_view view_;
  dirty_pages dirty_;
  writer_slot turn_;
  served_connection connection_;
  std::optional<std::string> super_;  // the super-journal that it stands in
  answer_record answers_;
  std::atomic<std::uint64_t>* timeout_ = nullptr;
  int level_ = SQLITE_LOCK_NONE, ended_with_ = SQLITE_OK;
  phase phase_ = phase::idle;
  bool stands_on_pending_ = false;
};

/// The functions through which SQLite calls a database_file, laid out in the memory that SQLite
/// provides for every file. No exception passes them.
struct database_slot {
  sqlite3_file base;
  database_file* opened;  // owned

  /// Opens `slot` on a database. @throws std::bad_alloc
  static void open(sqlite3_file* slot, std::shared_ptr<vfs_core> core,
                   std::shared_ptr<database> target);

 private:
  static database_file& of(sqlite3_file* slot) noexcept {
    return *reinterpret_cast<database_slot*>(slot)->opened;
  }

  template <class Call>
  static int guarded(sqlite3_file* slot, Call call) noexcept;

  /// What a read or a lock answers: `code`, if SQLite may act on it.
  static int answered(sqlite3_file* slot, int code) noexcept;
  static int close(sqlite3_file* slot) noexcept;
  static int read(sqlite3_file* slot, void* into, int amount, sqlite3_int64 from) noexcept;
  static int write(sqlite3_file* slot, const void* from, int amount, sqlite3_int64 to) noexcept;
  static int truncate(sqlite3_file* slot, sqlite3_int64 size) noexcept;
  static int file_size(sqlite3_file* slot, sqlite3_int64* size) noexcept;
  static int sync(sqlite3_file*, int) noexcept { return SQLITE_OK; }
  static int lock(sqlite3_file* slot, int level) noexcept;
  static int unlock(sqlite3_file* slot, int level) noexcept;
  /// Asked only about a journal that might be hot. None ever is.
  static int check_reserved(sqlite3_file*, int* reserved) noexcept;

  static int control(sqlite3_file* slot, int opcode, void* argument) noexcept;
  template <class Value>
  static int give(void* argument, Value value) noexcept;

  static int sector_size(sqlite3_file*) noexcept { return 4096; }
  /// SAFE_APPEND is more than a promise: without it the pager counts the journal's records in
  /// headers, and writes the next one over a record if a transaction goes on after a commit that
  /// found no room (plain SQLITE_BUSY, which no file system answers there).
  static int characteristics(sqlite3_file*) noexcept;

  /// Version 1: no shared memory, so SQLite does not even try its WAL.
  static const sqlite3_io_methods& methods() noexcept;
};

/// The replicated database behind a schema's name, or nullptr: a plain file, a temporary one.
[[nodiscard]] QUORLITE_DECL database_file* replicated_file(sqlite3* db,
                                                           const char* schema) noexcept;

/// Visits those of all schemas of a connection: visit(database_file&).
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

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/sqlite/database_file.ipp"  // IWYU pragma: keep
#endif
