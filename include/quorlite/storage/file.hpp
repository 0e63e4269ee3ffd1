/// @file
/// A storage in ordinary SQLite files: what a replica with a disk stores.
///
/// @code
/// quorlite::file_storage storage{"data/1"};
/// @endcode
///
/// A database is an ordinary SQLite file in the storage's directory; what else is there, and which
/// bytes mean what, is said in data_directory.hpp, superblock.hpp and database_files.hpp of
/// detail/file_storage.
///
/// **While it runs** SQLite refuses the files as "not a database"; after close() in good order, or
/// the destructor, they are databases for everybody. After a crash they are not until the storage
/// was open again.
///
/// **In place.** A flush overwrites pages where they are. A crash, or a flush that is dropped,
/// leaves pages as of any entry in [at, ahead]; recover() says so. With file_options::double_write
/// `ahead == at` always.
///
/// **Strangers.** No file is overwritten or removed that this storage has not made. A file that
/// has the name of a new database, a journal that is not empty beside a database of ours, or a
/// database that was changed so that it shows, is errc::corrupt: somebody else writes here.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/options.hpp"
#include "quorlite/storage.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

/// Pages and position in a directory of a POSIX system.
///
/// Threads: `read`, `read_hashes` and `open` from any thread, also during a flush or a stage; a
/// stage is filled by one thread, whatever the others do; the rest one thread at a time. Every
/// call may block on the disk. Descriptors: file_options::open_files.
///
/// Errors, everywhere: errc::storage_full when the disk, a quota or the descriptors run out, and
/// errc::out_of_memory (what was promised is kept; try again), errc::storage_broken for any other
/// failure of the disk, and for every change after one, errc::invalid_name for a name that is not a
/// database's, errc::malformed for anything else that the storage contract forbids the caller
/// (nothing has changed).
class QUORLITE_API file_storage {
 public:
  /// Hashes are kept beside the pages, so a start reads no page.
  static constexpr storage_abilities abilities{.page_hashes = true};

  class database_type;
  class flush_type;
  class stage_type;

  /// Makes the directory if it is missing, but not its parent; else touches nothing yet. What
  /// failed is told by recover(). Throws std::bad_alloc.
  explicit file_storage(const std::string& directory, const file_options& options = {});
  file_storage(const file_storage&) = delete;
  file_storage& operator=(const file_storage&) = delete;
  /// Like close(), but its error is lost.
  ~file_storage();

  /// What it was made with: a replica keeps SQLite out of there.
  [[nodiscard]] std::string_view folder() const noexcept;

  /// Takes the directory for this object, and does what the last process left due. Nothing else
  /// works before. May be called again: after a failure it tries again, later it tells the last
  /// committed position. The databases ascend by name.
  /// @returns errc::busy while another process, or another object, has the directory; errc::corrupt
  /// if files are missing, too short or somebody else's; errc::needs_upgrade; errc::storage_full;
  /// errc::storage_broken
  [[nodiscard]] result<recovery> recover() noexcept;
  /// Where the last recover() found errc::corrupt or errc::needs_upgrade, or what the disk did not
  /// give it, for people: the file, seen from folder(), and what is wrong with it. Empty: nowhere.
  /// Until the next recover().
  [[nodiscard]] std::string_view damage() const noexcept;

  /// Takes the guards off, so that the files are SQLite databases for everybody, and says so in the
  /// record; only if every page is as of the position and nothing is broken, otherwise the place
  /// stays as after a crash. Afterwards only reads work, and the lock is kept until the storage is
  /// destroyed. May be called again.
  [[nodiscard]] std::error_code close() noexcept;

  /// Names a database. One that does not exist has no page to read; a flush that writes to it, or a
  /// position that names it, begins it. errc::malformed: a page size that SQLite has not, or not
  /// the recorded one.
  [[nodiscard]] result<database_type> open(std::string_view name, std::uint32_t page_size) noexcept;

  /// Reads one page. @pre into holds page_size bytes
  /// @returns errc::storage_broken for a page that is not there, another size than the database's,
  /// a file that is too short, or a disk that does not read
  [[nodiscard]] std::error_code read(const database_type& database, page_number page,
                                     bytes_span into) const noexcept;

  /// The hashes given to write(), of pages first, first + 1, …; 0 for a page that was never
  /// written.
  /// @returns errc::storage_broken if one of them is not there
  [[nodiscard]] std::error_code read_hashes(const database_type& database, page_number first,
                                            std::span<std::uint64_t> into) const noexcept;

  /// @returns also errc::malformed for an `ahead` before the position, errc::busy while another
  /// flush is alive
  [[nodiscard]] result<flush_type> begin_flush(const history_position& ahead) noexcept;

  /// Makes the written pages and the position durable together; blocks until they are. Databases
  /// that the position does not list are gone. After an error the position is the old one, or (only
  /// with errc::storage_broken) the new one.
  /// @returns errc::malformed also for a position before the current one, one that contradicts
  /// itself or the pages, or pages for a content that is not the name's any more
  [[nodiscard]] std::error_code commit(flush_type flush, const base_position& position) noexcept;

  /// A stage starts empty, whatever the storage holds.
  [[nodiscard]] result<stage_type> begin_stage() noexcept;

  /// Replaces everything by the stage; blocks until that is durable. The position may be before the
  /// current one: a restore can go back. After errc::storage_full the stage is as it was; after any
  /// other error as commit().
  [[nodiscard]] std::error_code publish(stage_type&& stage, const base_position& position) noexcept;

 private:
  class writer;
  struct content;  // what the handle of a database holds
  struct pages;    // what a flush or a stage holds
  struct place;    // what the storage holds

  std::unique_ptr<place> place_;
};

/// One content of a name: two files, shared with the storage. It can be read until the handle
/// is destroyed, whatever happens to the name. Cheap to copy; not for longer than its storage.
class file_storage::database_type {
  friend class file_storage;
  friend writer;
  explicit database_type(std::shared_ptr<const content> which) noexcept;
  std::shared_ptr<const content> content_;
};

/// Pages on their way in. Not for longer than its storage. Destroying it before the commit or the
/// publish gives the room of what it began back.
class file_storage::writer {
 public:
  writer(writer&& other) noexcept;
  writer& operator=(writer&& other) noexcept;
  ~writer();

  /// Begins a database without pages. Its handle reads what was written to it at once. Begun twice,
  /// the first one is forgotten. Blocks: makes two files.
  /// @returns errc::invalid_name, errc::malformed for a page size that SQLite has not,
  /// errc::corrupt if somebody else's file has the name, errc::storage_full, errc::storage_broken
  [[nodiscard]] result<database_type> open(std::string_view name, std::uint32_t page_size) noexcept;

  /// Writes pages; durable with the commit or the publish. Pages ascend; a later call may bring a
  /// page again. Blocks. A failure of the disk leaves the pages of the call torn, until they are
  /// written again, and makes all that follows in this flush fail; so it does in a stage, unless it
  /// was only errc::storage_full.
  /// @param page_count the database's pages afterwards; the last call's counts
  /// @returns errc::malformed for pages out of order, out of `page_count` or of another size, and
  /// for a handle on a content that cannot be written here (nothing has changed); errc::corrupt as
  /// open(); errc::storage_full, errc::storage_broken
  [[nodiscard]] std::error_code write(const database_type& database,
                                      std::span<const page_view> sorted,
                                      std::uint64_t page_count) noexcept;

 private:
  friend class file_storage;
  explicit writer(std::unique_ptr<pages> held) noexcept;
  std::unique_ptr<pages> pages_;
};

/// One at a time.
class file_storage::flush_type : public writer {
  friend class file_storage;
  using writer::writer;
};

/// Any number. It writes only what it has opened itself.
class file_storage::stage_type : public writer {
  friend class file_storage;
  using writer::writer;
};

static_assert(storage<file_storage>);

/// A database as verify() has read it.
struct verified_database {
  std::string name;              ///< of the database
  std::uint32_t page_size = 0;   ///< bytes
  std::uint64_t page_count = 0;  ///< as the position says
  std::uint64_t bad_pages = 0;   ///< unreadable, or not what their hashes say
  page_number first_bad{};       ///< the lowest of them
  bool hashes_add_up = true;     ///< to the hash that the position has of the database
};

/// A storage as verify() has read it.
struct QUORLITE_API verified_storage {
  log_position at;  ///< of the record
  log_index ahead;  ///< above `at`: a crash left pages as of any entry between, until a replay
  std::vector<verified_database> databases;  ///< ascending by name

  /// Nothing is wrong, or nothing can be told before a replay.
  [[nodiscard]] bool is_whole() const noexcept;
};

/// Reads all pages of all databases and holds them against their hashes. For whoever has a storage
/// that no machine uses: calls recover(), so finishes first what a crash left due. Blocks on the
/// disk, one page in memory; any thread, one at a time.
/// @returns what recover() and open() do; errc::out_of_memory
[[nodiscard]] QUORLITE_API QUORLITE_DECL result<verified_storage> verify(
    file_storage& storage) noexcept;

}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/storage/file.ipp"  // IWYU pragma: keep
#endif
