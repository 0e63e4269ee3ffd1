/// @file
/// A file_system that keeps a bounded number of its files open, and opens the others again when
/// they are used: for thousands of databases under a usual limit of descriptors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/storage/file_system.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The files of one bounded_files, and which of them are open. Any thread.
///
/// The one that was used longest ago is closed for another, if no call is under way on it. One that
/// was written to is synced first: what a closed file had not stored, nobody would ever be told. If
/// that fails, its next sync() says so. A file whose name goes to another one, or goes, stays open
/// for who has it, whatever the bound says.
template <file_system FileSystem>
class file_pool {
 public:
  using file_type = typename FileSystem::file_type;
  struct member {
    std::string path;
    std::optional<file_type> opened;
    std::size_t users = 0;      ///< calls under way
    bool is_written = false;    ///< since its last sync
    bool is_synced = false;     ///< since it was opened, and not written to since that
    bool is_kept = false;       ///< open for good: its name went to another file, or nowhere
    std::error_code failure{};  ///< of a sync that nobody asked for
    typename std::list<member*>::iterator place{};  ///< while it is open and not kept
    typename std::multimap<std::string, member*, std::less<>>::iterator name{};
  };

  file_pool(FileSystem files, std::size_t open_files) noexcept
      : files_(std::move(files)), most_(open_files == 0 ? 1 : open_files) {}
  file_pool(const file_pool&) = delete;
  file_pool& operator=(const file_pool&) = delete;

  [[nodiscard]] FileSystem& files() noexcept { return *files_; }
  [[nodiscard]] std::mutex& mutex() noexcept { return mutex_; }
  [[nodiscard]] std::size_t open_count() noexcept {
    const std::lock_guard guard(mutex_);
    return used_.size();
  }

  /// The file system goes, with its locks: somebody may have a file for longer, and use it no more.
  void leave() noexcept {
    const std::lock_guard guard(mutex_);
    files_.reset();
  }

  /// Throws std::bad_alloc.
  [[nodiscard]] std::error_code open(member& fresh, std::string_view path, open_mode mode);
  void close(member& old) noexcept;
  /// Opens it if need be, and keeps it open until end().
  [[nodiscard]] std::error_code begin(member& used) noexcept;
  void end(member& used, bool writes) noexcept;
  [[nodiscard]] std::error_code sync(member& used) noexcept;
  /// Whoever has a file of this name, or below it, keeps it. Under the lock.
  /// @param itself false: only those below
  [[nodiscard]] std::error_code let_go(std::string_view path, bool itself = true) noexcept;
  /// What renamed() takes. Under the lock. Throws std::bad_alloc.
  [[nodiscard]] std::vector<std::string> names_for(std::string_view from, std::string_view to);
  /// The same files under another name. Under the lock.
  void renamed(std::string_view from, std::vector<std::string> names) noexcept;

 private:
  [[nodiscard]] std::error_code open_again(member& used, std::string_view path, open_mode mode);
  [[nodiscard]] bool close_one() noexcept;

  std::optional<FileSystem> files_;  ///< none behind leave()
  const std::size_t most_;
  std::mutex mutex_;
  std::list<member*> used_;  ///< those that are open and not kept, the newest use first
  std::multimap<std::string, member*, std::less<>> names_;
};

/// See file_pool. A model of file_system; calls and errors are those of `FileSystem`.
template <file_system FileSystem>
class bounded_files {
  using pool_type = file_pool<FileSystem>;
  using member = typename pool_type::member;

 public:
  /// An open file, or one that will be when it is used.
  class file_type {
   public:
    file_type(std::shared_ptr<pool_type> pool, std::unique_ptr<member> held) noexcept
        : pool_(std::move(pool)), held_(std::move(held)) {}
    file_type(file_type&& other) noexcept = default;
    file_type& operator=(file_type&& other) noexcept {
      std::swap(pool_, other.pool_);
      std::swap(held_, other.held_);
      return *this;
    }
    ~file_type() {
      if (held_ != nullptr) {
        pool_->close(*held_);
      }
    }

    [[nodiscard]] result<std::size_t> read(std::uint64_t offset, bytes_span into) const noexcept;
    [[nodiscard]] result<std::uint64_t> size() const noexcept;
    [[nodiscard]] std::error_code write(std::uint64_t offset,
                                        std::span<const bytes_view> parts) noexcept;
    [[nodiscard]] std::error_code resize(std::uint64_t size) noexcept;
    [[nodiscard]] std::error_code sync() noexcept { return pool_->sync(*held_); }
    /// Nobody will find it again by a name. Where `FileSystem` tells.
    [[nodiscard]] bool is_removed() const noexcept;

   private:
    std::shared_ptr<pool_type> pool_;
    std::unique_ptr<member> held_;
  };

  /// @param open_files at least 1
  bounded_files(FileSystem files, std::size_t open_files)
      : pool_(std::make_shared<pool_type>(std::move(files), open_files)) {}
  bounded_files(bounded_files&& other) noexcept = default;
  bounded_files& operator=(bounded_files&& other) noexcept {
    std::swap(pool_, other.pool_);
    return *this;
  }
  ~bounded_files() {
    if (pool_ != nullptr) {
      pool_->leave();
    }
  }

  [[nodiscard]] result<file_type> open(std::string_view path, open_mode mode) noexcept;
  [[nodiscard]] std::error_code lock(std::string_view path) noexcept {
    return pool_->files().lock(path);
  }
  [[nodiscard]] std::error_code make_directory(std::string_view path) noexcept {
    return pool_->files().make_directory(path);
  }
  [[nodiscard]] std::error_code remove(std::string_view path) noexcept;
  [[nodiscard]] std::error_code rename(std::string_view from, std::string_view to) noexcept;
  [[nodiscard]] result<std::vector<std::string>> list(std::string_view path) noexcept {
    return pool_->files().list(path);
  }
  [[nodiscard]] std::error_code sync_directory(std::string_view path) noexcept {
    return pool_->files().sync_directory(path);
  }
  /// Files that are open now, but for those without a name.
  [[nodiscard]] std::size_t open_count() const noexcept { return pool_->open_count(); }

 private:
  std::shared_ptr<pool_type> pool_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#include "quorlite/detail/file_storage/bounded_files.ipp"  // IWYU pragma: keep
