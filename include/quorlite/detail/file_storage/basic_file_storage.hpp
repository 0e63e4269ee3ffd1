/// @file
/// Base images in files: what a replica with a disk stores.
///
/// A database is an ordinary SQLite file in the storage's directory; what else is there, and which
/// bytes mean what, is said in data_directory.hpp, superblock.hpp and database_files.hpp.
///
/// @code
/// quorlite::file_storage storage{"data/1"};
/// @endcode
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

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/file_storage/advance.hpp"
#include "quorlite/detail/file_storage/file_place.hpp"
#include "quorlite/detail/file_storage/recovery.hpp"
#include "quorlite/detail/file_storage/writer.hpp"
#include "quorlite/detail/storage_rules/position_rules.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/options.hpp"
#include "quorlite/storage.hpp"
#include "quorlite/storage/file_system.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Pages and position in a directory.
///
/// Threads: `read`, `read_hashes` and `open` from any thread, also during a flush or a stage; a
/// stage is filled by one thread, whatever the others do; the rest one thread at a time. Every
/// call may block on the disk. Two file descriptors a database.
///
/// Errors, everywhere: errc::storage_full when the disk, a quota, memory or the descriptors run out
/// (what was promised is kept; try again), errc::storage_broken for any other failure of the disk,
/// and for every change after one, errc::invalid_name for a name that is not a database's,
/// errc::malformed for anything else that the storage contract forbids the caller (nothing has
/// changed).
template <file_system FileSystem>
class basic_file_storage {
 public:
  static constexpr storage_abilities abilities{.page_hashes = true};

  /// One content of a name; see file_handle. Not for longer than its storage.
  using database_type = file_handle<FileSystem>;
  /// One at a time. See file_writer.
  class flush_type : public file_writer<FileSystem> {
    friend class basic_file_storage;
    flush_type(file_place<FileSystem>& place, log_index ahead) noexcept
        : file_writer<FileSystem>(place, true, ahead) {}
  };
  /// Any number. It writes only what it has opened itself. See file_writer.
  class stage_type : public file_writer<FileSystem> {
    friend class basic_file_storage;
    explicit stage_type(file_place<FileSystem>& place) noexcept
        : file_writer<FileSystem>(place, false, {}) {}
  };

  /// Touches nothing yet.
  explicit basic_file_storage(FileSystem files, const file_options& options = {})
      : place_(std::move(files), with_bounds(options)) {}
  /// @param directory made if it is missing, but not its parent
  explicit basic_file_storage(const std::string& directory,
                              const file_options& options = {}) requires
      std::constructible_from<FileSystem, const std::string&>
      : basic_file_storage(FileSystem(directory), options) {}
  basic_file_storage(const basic_file_storage&) = delete;
  basic_file_storage& operator=(const basic_file_storage&) = delete;
  /// Like close(), whose error nobody hears then.
  ~basic_file_storage() { static_cast<void>(close()); }

  /// Takes the directory for this object, and does what the last process left due. Nothing else
  /// works before. May be called again: after a failure it tries again, later it tells the last
  /// committed position. The databases ascend by name.
  /// @returns errc::busy while another process, or another object, has the directory; errc::corrupt
  /// if files are missing, too short or somebody else's; errc::needs_upgrade; errc::storage_full;
  /// errc::storage_broken
  [[nodiscard]] result<recovery> recover() noexcept try {
    if (!place_.running()) {
      std::error_code error = closed_ ? make_error_code(errc::storage_broken) : take();
      error = error ? error : file_recovery<FileSystem>(place_).run();
      if (error) {
        return failed(storage_error(error));
      }
    }
    if (const std::error_code error = place_.check()) {
      return failed(error);
    }
    const superblock& block = place_.current();
    recovery found;
    found.at = block.at;
    found.replay_from = block.replay_from;
    found.ahead = block.ahead;
    found.notes = block.notes;
    found.databases.reserve(block.databases.size());
    for (const auto& line : block.databases) {
      found.databases.push_back(
          {line.name, line.page_size, line.page_count, line.hash, line.version});
    }
    return found;
  } catch (const std::bad_alloc&) {
    return failed(errc::storage_full);
  }

  /// Takes the guards off, so that the files are SQLite databases for everybody, and says so in the
  /// record; only if every page is as of the position and nothing is broken, otherwise the place
  /// stays as after a crash. Afterwards only reads work, and the lock is kept until the storage is
  /// destroyed. May be called again.
  [[nodiscard]] std::error_code close() noexcept try {
    if (!place_.running()) {
      return {};
    }
    place_.stop();
    closed_ = true;
    if (const std::error_code error = place_.health().check()) {
      return error;
    }
    place_.flushing = false;  // one that is still alive can do nothing any more
    if (place_.current().ahead != place_.current().at.index) {
      return {};
    }
    if (const std::error_code error = place_.settle()) {
      return error;
    }
    if (const std::error_code error = place_.set_guards(false)) {
      return error;
    }
    return place_.write_clean(true);
  } catch (const std::bad_alloc&) {
    return make_error_code(errc::storage_full);
  }

  /// Names a database. One that does not exist has no page to read; a flush that writes to it, or a
  /// position that names it, begins it. errc::malformed: a page size that SQLite has not, or not
  /// the recorded one.
  [[nodiscard]] result<database_type> open(std::string_view name, std::uint32_t page_size) noexcept
      try {
    if (const std::error_code refused = refusal_of(name, page_size)) {
      return failed(refused);
    }
    auto content = place_.open(name);
    if (content->page_size() != 0 && content->page_size() != page_size) {
      return failed(errc::malformed);
    }
    return database_type(std::move(content), page_size);
  } catch (const std::bad_alloc&) {
    return failed(errc::storage_full);
  }

  /// Reads one page. @pre into holds page_size bytes
  /// @returns errc::storage_broken for a page that is not there, another size than the database's,
  /// a file that is too short, or a disk that does not read
  [[nodiscard]] std::error_code read(const database_type& database, page_number page,
                                     bytes_span into) const noexcept {
    return database.content_->read(page, into);
  }

  /// The hashes given to write(), of pages first, first + 1, …; 0 for a page that was never
  /// written.
  /// @returns errc::storage_broken if one of them is not there
  [[nodiscard]] std::error_code read_hashes(const database_type& database, page_number first,
                                            std::span<std::uint64_t> into) const noexcept {
    return database.content_->read_hashes(first, into);
  }

  /// @returns also errc::malformed for an `ahead` before the position, errc::busy while another
  /// flush is alive
  [[nodiscard]] result<flush_type> begin_flush(log_index ahead) noexcept {
    if (const std::error_code error = place_.check()) {
      return failed(error);
    }
    if (place_.flushing || ahead < place_.current().at.index) {
      return failed(place_.flushing ? errc::busy : errc::malformed);
    }
    if (const std::error_code error = place_.settle()) {
      return failed(error);
    }
    place_.double_write().restart();
    return flush_type(place_, ahead);
  }

  /// Makes the written pages and the position durable together; blocks until they are. Databases
  /// that the position does not list are gone. After an error the position is the old one, or (only
  /// with errc::storage_broken) the new one.
  /// @returns errc::malformed also for a position before the current one, one that
  /// contradicts itself or the pages, or pages for a content that is not the name's any more
  [[nodiscard]] std::error_code commit(flush_type flush, const base_position& position) noexcept {
    return advance(flush, position, false);
  }

  /// A stage starts empty, whatever the storage holds.
  [[nodiscard]] result<stage_type> begin_stage() noexcept {
    if (const std::error_code error = place_.check()) {
      return failed(error);
    }
    return stage_type(place_);
  }

  /// Replaces everything by the stage; blocks until that is durable. The position may be before the
  /// current one: a restore can go back. After errc::storage_full the stage is as it was; after any
  /// other error as commit().
  [[nodiscard]] std::error_code publish(stage_type&& stage,
                                        const base_position& position) noexcept {
    return advance(stage, position, true);
  }

 private:
  [[nodiscard]] static file_options with_bounds(file_options options) noexcept {
    options.write_batch_pages = std::max<std::size_t>(options.write_batch_pages, 1);
    return options;
  }

  [[nodiscard]] std::error_code take() {
    if (const std::error_code error = place_.health().check()) {
      return error;
    }
    auto& directory = place_.directory();
    if (const auto error = directory.make_directory(place_names::own)) {
      return place_.health().after(error);
    }
    if (!locked_) {
      const std::error_code error = directory.lock(place_names::lock);
      if (error) {
        return error == std::errc::device_or_resource_busy ? make_error_code(errc::busy)
                                                           : place_.health().after(error);
      }
      locked_ = true;
    }
    if (const auto error = directory.make_directory(place_names::hashes)) {
      return place_.health().after(error);
    }
    return {};
  }

  template <class Writer>
  [[nodiscard]] std::error_code advance(Writer& writer, const base_position& position,
                                        bool whole) noexcept try {
    QUORLITE_ASSERT(writer.place_ == &place_);  // of this storage, and not moved from
    return file_advance<FileSystem>(place_, writer, position, whole).run();
  } catch (const std::bad_alloc&) {
    return make_error_code(errc::storage_full);
  }

  file_place<FileSystem> place_;
  bool locked_ = false;
  bool closed_ = false;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
