/// @file
/// A directory of a POSIX system as a file_system: open files, and the descriptors that they own.
#pragma once

#include <array>
#include <climits>
#include <cstddef>
#include <cstdint>
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

/// Owns one file descriptor, or none.
class descriptor {
 public:
  descriptor() = default;
  explicit descriptor(int number) noexcept : number_(number) {}
  descriptor(descriptor&& other) noexcept : number_(other.release()) {}
  descriptor& operator=(descriptor&& other) noexcept;
  ~descriptor();
  [[nodiscard]] int number() const noexcept { return number_; }
  [[nodiscard]] explicit operator bool() const noexcept { return number_ >= 0; }
  /// Hands the number over to the caller.
  [[nodiscard]] int release() noexcept { return std::exchange(number_, -1); }

 private:
  int number_ = -1;
};

/// A regular file, open for reading and writing. Made by posix_file_system.
///
/// Threads, errors: as the concept `file` says. A transfer that the system cuts short is continued,
/// one that a signal interrupts is repeated.
class posix_file {
 public:
  /// @param opened an open regular file
  explicit posix_file(descriptor opened) noexcept : opened_(std::move(opened)) {}

  /// @param offset bytes from the start
  /// @returns bytes read: fewer than asked for only where the file ends
  [[nodiscard]] result<std::size_t> read(std::uint64_t offset, bytes_span into) const noexcept;

  /// @returns bytes
  [[nodiscard]] result<std::uint64_t> size() const noexcept;

  /// Writes all parts, one behind the other, from `offset` on.
  [[nodiscard]] std::error_code write(std::uint64_t offset,
                                      std::span<const bytes_view> parts) noexcept;

  /// @param size bytes
  [[nodiscard]] std::error_code resize(std::uint64_t size) noexcept;

  /// Blocks until the disk has bytes and size. Only an interruption is tried again: after any other
  /// failure the system may have dropped what was written, and would call the next attempt a
  /// success.
  [[nodiscard]] std::error_code sync() noexcept;

  /// Nobody will find it again by a name, whatever is written to it: somebody has removed it, or
  /// the folder.
  [[nodiscard]] bool is_removed() const noexcept;

 private:
  descriptor opened_;
};

static_assert(file<posix_file>);

/// What is below one directory. Reaches every file from the directory's descriptor, part by part,
/// and follows no symbolic link on the way, so that nobody who plants one leads it elsewhere. New
/// files and directories are for their owner only (modes 0600 and 0700).
///
/// Threads: as the concept says; calls on different objects need no care. Every call may block on
/// the disk. A lock belongs to the open file: a child that fork() makes shares it.
///
/// Errors: errno in std::generic_category. Paths that are empty where a name is needed, that have
/// an empty part (a leading '/' too), "." or "..", or a NUL, are std::errc::invalid_argument.
class posix_file_system {
 public:
  using file_type = posix_file;

  /// Opens `root`, which may itself be a symbolic link. Makes it if it is missing, but not its
  /// parent. See status().
  explicit posix_file_system(const std::string& root);

  /// Why there is no root; every call gives this error then.
  [[nodiscard]] std::error_code status() const noexcept { return status_; }

  /// A regular file. Blocks on nothing else that may bear the name (a pipe, a device): those are
  /// std::errc::invalid_argument.
  [[nodiscard]] result<file_type> open(std::string_view path, open_mode mode) noexcept;

  [[nodiscard]] std::error_code lock(std::string_view path) noexcept;

  [[nodiscard]] std::error_code make_directory(std::string_view path) noexcept;

  [[nodiscard]] std::error_code remove(std::string_view path) noexcept;

  [[nodiscard]] std::error_code rename(std::string_view from, std::string_view to) noexcept;

  [[nodiscard]] result<std::vector<std::string>> list(std::string_view path) noexcept;

  [[nodiscard]] std::error_code sync_directory(std::string_view path) noexcept;

 private:
  /// A name with the NUL that system calls want.
  using part = std::array<char, NAME_MAX + 1>;
  struct location;  // a name and the directory that it is in

  /// One that make_directory() was asked for. Stays open, so that to sync it takes no descriptor.
  struct kept_directory {
    std::string path;
    descriptor opened;
  };

  [[nodiscard]] std::error_code keep(std::string_view path) noexcept;
  void forget(std::string_view path) noexcept;
  [[nodiscard]] static std::error_code sync(const descriptor& directory) noexcept;
  [[nodiscard]] static std::error_code copy_name(std::string_view name, part& into) noexcept;
  [[nodiscard]] static result<descriptor> open_at(int directory, const part& name,
                                                  int flags) noexcept;

  /// Walks down to the directory that holds the last part of `path`.
  [[nodiscard]] result<location> find(std::string_view path) const noexcept;
  [[nodiscard]] result<descriptor> open_directory(std::string_view path) const noexcept;
  [[nodiscard]] result<descriptor> open_regular(std::string_view path, int flags) const noexcept;
  [[nodiscard]] std::error_code open_root(const std::string& root) noexcept;

  /// The name of the root must survive a crash as well.
  /// @param made just now: else it may be in a directory of somebody else
  [[nodiscard]] std::error_code sync_parent(bool made) const noexcept;

  descriptor root_;
  std::error_code status_;
  std::vector<descriptor> locks_;
  std::vector<kept_directory> directories_;
};

static_assert(file_system<posix_file_system>);

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/file_storage/posix.ipp"  // IWYU pragma: keep
#endif
