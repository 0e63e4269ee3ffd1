/// @file
/// Journals that live in the heap: SQLite rolls back with them, and nothing of them survives.
///
/// A rollback journal is private to the file handle that opened it, never found by its name: with
/// early lock release the next writer of the same database has a journal of the same name open
/// while this one still waits for its quorum. Nothing is ever recovered from one, the log is the
/// write-ahead log; so no journal ever *exists* for xAccess, and none is ever hot.
///
/// Super-journals, by which SQLite commits several databases as one, are found by their names, and
/// by nothing else.
#pragma once

#include <sqlite3.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

class database_file;

/// Bytes in pieces of one size, so that growing never copies. One thread at a time.
class heap_file {
 public:
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  /// @returns SQLITE_OK; SQLITE_IOERR_SHORT_READ, the rest then filled with zeros
  [[nodiscard]] int read(std::byte* into, std::size_t amount, std::uint64_t from) const noexcept;

  /// @throws std::bad_alloc
  void write(const std::byte* from, std::size_t amount, std::uint64_t to);

  /// Cuts off, never grows. @returns always SQLITE_OK
  int resize(std::uint64_t size) noexcept;

 private:
  static constexpr std::size_t piece_bytes = std::size_t{32} << 10U;

  void fill(std::uint64_t from, std::uint64_t to) noexcept;

  std::vector<std::unique_ptr<std::byte[]>> pieces_;  // uninitialised beyond size_
  std::uint64_t size_ = 0;
};

/// SQLite's view of a heap_file. Laid out in the memory that SQLite provides for every file.
struct journal_slot {
  sqlite3_file base;
  std::shared_ptr<heap_file>* content;  // owned; shared with the table of super-journals

  /// Opens `file` on a content. @returns SQLITE_OK or SQLITE_NOMEM
  static int open(sqlite3_file* file, std::shared_ptr<heap_file> content) noexcept;

 private:
  static heap_file& of(sqlite3_file* file) noexcept {
    return **reinterpret_cast<journal_slot*>(file)->content;
  }

  static int close(sqlite3_file* file) noexcept;
  static int read(sqlite3_file* file, void* into, int amount, sqlite3_int64 from) noexcept;
  static int write(sqlite3_file* file, const void* from, int amount, sqlite3_int64 to) noexcept;
  static int truncate(sqlite3_file* file, sqlite3_int64 size) noexcept {
    return of(file).resize(static_cast<std::uint64_t>(size));
  }
  static int file_size(sqlite3_file* file, sqlite3_int64* size) noexcept;
  static int sync(sqlite3_file*, int) noexcept { return SQLITE_OK; }
  static int lock(sqlite3_file*, int) noexcept { return SQLITE_OK; }
  static int check_reserved(sqlite3_file*, int* reserved) noexcept;
  static int control(sqlite3_file*, int, void*) noexcept { return SQLITE_NOTFOUND; }
  static int sector_size(sqlite3_file*) noexcept { return 512; }
  static int characteristics(sqlite3_file*) noexcept {
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE | SQLITE_IOCAP_SEQUENTIAL;
  }

  static const sqlite3_io_methods& methods() noexcept;
};

/// The super-journals of one VFS, by name. Any thread; no call blocks.
///
/// SQLite names a super-journal, hands the name to every database of the transaction
/// (SQLITE_FCNTL_SYNC with a name), and then deletes the super-journal: that is the commit. Whoever
/// finds it gone when rolling back believes that the transaction was committed, and leaves its
/// pages as they are. So a refused one exists until the last member has rolled back.
class super_journals {
 public:
  using members = std::vector<database_file*>;

  /// What a deletion means.
  enum class fate {
    removed,  ///< nobody stands in it: it is gone, or never was
    commit,   ///< the commit point of its members; conclude() follows
    stays,    ///< refused, and not all of its members have rolled back
    refused,  ///< a member has rolled back already, or the deletion is not the one that commits
  };

  /// @returns nullptr if there is none and `create` is false. @throws std::bad_alloc
  [[nodiscard]] std::shared_ptr<heap_file> open(std::string_view name, bool create);
  [[nodiscard]] bool exists(std::string_view name) const;

  /// @returns false if there is none of this name. @throws std::bad_alloc
  [[nodiscard]] bool join(std::string_view name, database_file* member);

  /// A member rolls back: nobody will commit through this one any more.
  void refuse(std::string_view name) noexcept;
  /// A member has rolled back, or has seen the commit.
  void leave(std::string_view name, database_file* member) noexcept;

  /// SQLite deletes it. @param commits the caller's transaction commits by that
  /// @param inside gets the members for fate::commit. @throws std::bad_alloc
  [[nodiscard]] fate remove(std::string_view name, bool commits, members& inside);

  /// The members have an answer: a committed one is gone, a refused one stays.
  void conclude(std::string_view name, bool committed) noexcept;

 private:
  struct record {
    std::shared_ptr<heap_file> content;
    members inside;  // all of one connection
    bool refused = false;
  };

  mutable std::mutex mutex_;
  std::map<std::string, record, std::less<>> by_name_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/sqlite/journal.ipp"  // IWYU pragma: keep
#endif
