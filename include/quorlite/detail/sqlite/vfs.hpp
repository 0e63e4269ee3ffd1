/// @file
/// The VFS: SQLite's door to replicated databases.
#pragma once

#include <sqlite3.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/detail/commit/vfs_host.hpp"
#include "quorlite/detail/sqlite/dirty_pages.hpp"
#include "quorlite/detail/sqlite/journal.hpp"
#include "quorlite/detail/sqlite/kept_folders.hpp"
#include "quorlite/detail/sqlite/vfs_door.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

struct vfs_options {
  /// As SQLite knows it. Empty: a free one is found.
  std::string name{};
  std::uint64_t write_set_bytes = std::uint64_t{512} << 20U;
  sqlite3_vfs* base = nullptr;  ///< nullptr: the default one
  kept_folders kept{};          ///< plain databases in there are refused
};

/// Why an open was refused last, for people: SQLite's own message does not say. Any thread.
class open_refusal {
 public:
  /// Throws std::bad_alloc.
  void keep(const char* name, const char* why) {
    const std::lock_guard guard(mutex_);
    file_ = name;
    file_.erase(0, file_.rfind('/') + 1);
    why_ = why;
  }
  /// @param said SQLite's message, which ends with a path as its user wrote it
  /// @returns empty: that was not refused here, or another one was since
  [[nodiscard]] std::string reason_for(std::string_view said) const {
    const std::lock_guard guard(mutex_);
    return !file_.empty() && said.ends_with(file_) ? why_ : std::string();
  }

 private:
  mutable std::mutex mutex_;
  std::string file_;
  std::string why_;
};

/// A parameter of a URI: whoever only reads may wait for somebody else to create the database.
inline constexpr const char* may_be_missing = "quorlite_missing";

/// What the file handles of one VFS share. They keep it, and with it all of the replica.
struct vfs_core {
  vfs_host& host;
  std::string name;
  dirty_pages_limits bounds;
  kept_folders kept{};
  open_refusal refusal{};
  super_journals supers{};
  std::atomic<std::uint64_t> events{0};
  std::atomic<std::uint64_t> open_files{0};
  /// The replica has ended: every call is answered with errc::stopped.
  std::atomic<bool> is_closed{false};

  /// Orders failures of different handles of one connection.
  [[nodiscard]] std::uint64_t next_event() noexcept { return events.fetch_add(1) + 1; }
};

/// Registers itself with SQLite for as long as it lives.
///
/// A bare name ("app.db") is a replicated database of the host; a name with a '/' in it is a plain
/// file of the base VFS (VACUUM INTO, ATTACH), and so are temporary files. Journals of replicated
/// databases live in the heap. What cannot work is refused at the open, with a line in SQLite's
/// log: `immutable=1` and `nolock=1` (no lock, no version to stand on), `cache=shared` (readers
/// would wait for a COMMIT), write-ahead logs, names that are not a database's, or none yet where
/// none may be created, and paths into the folders of the storage and the engine.
///
/// Any number of connections, each used by one thread at a time. They may outlive close().
class vfs {
 public:
  /// @param owner what keeps this VFS and the host; open databases share it. Empty: the caller
  ///   does, until every database is closed
  /// @see is_registered(). Throws std::bad_alloc
  explicit vfs(vfs_host& host, vfs_options options = {}, const std::shared_ptr<void>& owner = {});
  vfs(const vfs&) = delete;
  vfs& operator=(const vfs&) = delete;
  ~vfs();

  /// False if the name was taken: opens through this VFS fail then.
  [[nodiscard]] bool is_registered() const noexcept { return door_ != nullptr; }
  [[nodiscard]] const std::string& name() const noexcept { return core_.name; }
  [[nodiscard]] vfs_host& host() const noexcept { return core_.host; }
  [[nodiscard]] std::uint64_t open_files() const noexcept { return core_.open_files.load(); }

  /// The replica has ended. What is open stays open, and is told so by every call. On return
  /// nobody asks the host for time or random numbers any more.
  void close() noexcept;

 private:
  static dirty_pages_limits bounds_of(const vfs_options& options) noexcept;
  static vfs_door& door_of(sqlite3_vfs* self) noexcept;
  /// For calls on behalf of an open database; else it may be nullptr.
  static vfs_core* core_of(sqlite3_vfs* self) noexcept { return door_of(self).core.load(); }
  static sqlite3_vfs* base_of(sqlite3_vfs* self) noexcept { return door_of(self).base; }
  static bool is_plain(const char* name) noexcept;

  // ---- opening

  static int open(sqlite3_vfs* self, const char* name, sqlite3_file* file, int flags,
                  int* flags_out) noexcept;

  static int refuse(vfs_core* core, const char* name, const char* why);
  static int open_plain(vfs_door& door, const char* name, sqlite3_file* file, int flags,
                        int* flags_out);
  static int open_database(vfs_door& door, const char* name, sqlite3_file* file, int flags);
  static int open_journal(vfs_core* core, const char* name, sqlite3_file* file, int flags);

  // ---- names

  /// A super-journal's deletion is a commit if it asks for the directory to be synced, which only
  /// the commit does; a rollback that tidies up does not.
  static int remove(sqlite3_vfs* self, const char* name, int sync_directory) noexcept;

  /// Of all files in the heap only super-journals are ever looked for by name.
  static int access(sqlite3_vfs* self, const char* name, int flags, int* there) noexcept;
  static int full_name(sqlite3_vfs* self, const char* name, int size, char* full) noexcept;

  // ---- time and random numbers: the adapter's, where it declares them; else the base's. SQLite
  // asks the VFS of a connection for the time, but the default VFS for the seed of random(), which
  // is one for the whole process.

  /// What `question` says of the host, if there is one behind the door that may be asked.
  template <class Question>
  static auto ask_host(sqlite3_vfs* self, Question question)
      -> std::optional<decltype(question(std::declval<vfs_host&>()))>;
  /// Milliseconds of the Julian day, as SQLite counts; nothing: ask the base.
  static std::optional<sqlite3_int64> adapter_time(sqlite3_vfs* self) noexcept;

  static int random_bytes(sqlite3_vfs* self, int size, char* out) noexcept;
  static int sleep(sqlite3_vfs* self, int microseconds) noexcept;
  static int current_time(sqlite3_vfs* self, double* days) noexcept;
  static int current_time_64(sqlite3_vfs* self, sqlite3_int64* now) noexcept;

  // ---- everything else is the business of the base

  static void* load(sqlite3_vfs* self, const char* name) noexcept;
  static void load_error(sqlite3_vfs* self, int size, char* text) noexcept;
  using symbol = void (*)();
  static symbol find_symbol(sqlite3_vfs* self, void* library, const char* name) noexcept;
  static void unload(sqlite3_vfs* self, void* library) noexcept;
  static int last_system_error(sqlite3_vfs* self, int size, char* text) noexcept;

  static void fill_table(vfs_door& door) noexcept;

  vfs_core core_;
  std::shared_ptr<void> own_;  // keeps nothing, where the caller keeps all
  vfs_door* door_ = nullptr;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/sqlite/vfs.ipp"  // IWYU pragma: keep
#endif
