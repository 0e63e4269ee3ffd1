/// @file
/// The parts of a `file_storage` that its flushes and stages share: the directory, the record, and
/// which content each name has.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/detail/file_storage/data_directory.hpp"
#include "quorlite/detail/file_storage/database_files.hpp"
#include "quorlite/detail/file_storage/double_write.hpp"
#include "quorlite/detail/file_storage/health.hpp"
#include "quorlite/detail/file_storage/superblock.hpp"
#include "quorlite/detail/storage_rules/content_catalogue.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Threads: `open`, `begin` and `discard` any; the rest one at a time.
template <file_system FileSystem>
class file_place {
 public:
  using database = database_files<FileSystem>;
  using catalogue = content_catalogue<database>;
  using content = typename catalogue::content;
  using contents = typename catalogue::contents;

  file_place(FileSystem files, const file_options& options)
      : options_(options), directory_(std::move(files)) {}
  file_place(const file_place&) = delete;
  file_place& operator=(const file_place&) = delete;

  [[nodiscard]] const file_options& options() const noexcept { return options_; }
  [[nodiscard]] data_directory<FileSystem>& directory() noexcept { return directory_; }
  [[nodiscard]] storage_health& health() noexcept { return health_; }
  [[nodiscard]] const storage_health& health() const noexcept { return health_; }
  [[nodiscard]] superblock_slots<FileSystem>& slots() noexcept { return slots_; }
  [[nodiscard]] double_write_file<FileSystem>& double_write() noexcept { return double_write_; }
  /// The superblock that is durable, but for removals that are done.
  [[nodiscard]] const superblock& current() const noexcept { return current_; }
  [[nodiscard]] const contents& databases() const noexcept { return catalogue_.living(); }

  /// Between a recover() that succeeded and close(), as long as nothing broke.
  [[nodiscard]] std::error_code check() const noexcept {
    return running_ ? health_.check() : make_error_code(errc::storage_broken);
  }
  [[nodiscard]] bool running() const noexcept { return running_; }
  void stop() noexcept { running_ = false; }
  void start(superblock block, contents databases) noexcept;

  // ---- contents

  /// The content of a name, or the one that handles wait for; throws std::bad_alloc.
  [[nodiscard]] content open(std::string_view name);
  /// Also without the lock: only the thread that asks changes what is living.
  [[nodiscard]] bool is_living(const content& which) const noexcept {
    return catalogue_.is_living(which);
  }
  [[nodiscard]] bool is_pending_create(const content& which) const noexcept;

  /// Makes staged files for a content that has none. Throws std::bad_alloc.
  /// @returns errc::corrupt if the name is taken by a file that is not ours
  [[nodiscard]] std::error_code begin(database& fresh);

  /// Removes the files of a content that will not be. Whoever has them open goes on reading them;
  /// what cannot be removed now is removed by the next recovery. Once something broke nobody knows
  /// which record that one will find, so all files stay.
  void discard(database& unwanted) noexcept;

  // ---- the record

  /// Makes it durable that pages may be as of any entry up to `ahead`, and the history as of there,
  /// unless the record says as much already: the greater index stays, with its own history.
  [[nodiscard]] std::error_code promise(const history_position& ahead);

  [[nodiscard]] std::uint64_t next_generation() const noexcept;

  /// `block` is durable: from now on it, and these contents, are the truth.
  void stand_at(superblock block, contents& databases) noexcept;

  /// Writes the record as it is, with the flag. Throws std::bad_alloc.
  [[nodiscard]] std::error_code write_clean(bool clean);

  /// Copies the pages of the double-write file to their places, and makes that durable. After an
  /// error they are in neither place. Throws std::bad_alloc.
  [[nodiscard]] std::error_code copy_double_write();
  /// Says that it is done. Throws std::bad_alloc.
  [[nodiscard]] std::error_code end_double_write();

  /// Puts all guards on, or takes them off, and makes that durable if `on` is false or pages go
  /// twice. Throws std::bad_alloc.
  [[nodiscard]] std::error_code set_guards(bool on);

  /// Does what the record made due: names, cuts, removals. What cannot be done now stays due.
  /// @returns errc::storage_full, errc::storage_broken
  [[nodiscard]] std::error_code settle() noexcept;

  [[nodiscard]] std::error_code sync_names() noexcept;

  bool flushing = false;  ///< a flush is alive

 private:
  [[nodiscard]] bool is_removed(std::string_view name) const noexcept;
  [[nodiscard]] std::error_code check_vacant(std::string_view name);
  [[nodiscard]] std::error_code settle(database& which);

  /// A guard is written into the sector of a page that must not get lost.
  [[nodiscard]] std::error_code save_first_pages(bool without_guard_only);

  /// The hashes go last: as long as they are there, the database is known as ours.
  [[nodiscard]] std::error_code remove_files();

  const file_options options_;
  data_directory<FileSystem> directory_;
  storage_health health_;
  superblock_slots<FileSystem> slots_{directory_, health_};
  double_write_file<FileSystem> double_write_{directory_, health_};
  mutable std::mutex mutex_;  // guards what `begin` and `open` need of the following
  superblock current_;
  catalogue catalogue_;
  std::uint64_t next_generation_ = 1;
  std::atomic<bool> running_{false};
  bool names_changed_ = false;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#include "quorlite/detail/file_storage/file_place.ipp"  // IWYU pragma: keep
