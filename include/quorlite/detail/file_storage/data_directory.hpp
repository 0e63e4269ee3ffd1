/// @file
/// The directory of a `file_storage`: which file is where, and one caller at a time for the calls
/// that change names.
///
///     NAME                       database NAME, an ordinary SQLite file
///     .quorlite-staged-G         a database that will be NAME, of generation G
///     .quorlite/lock             taken by the process that has the storage open
///     .quorlite/superblock-0     the two records (superblock.hpp), written by turns
///     .quorlite/superblock-1
///     .quorlite/double-write     pages on their way (double_write.hpp)
///     .quorlite/hashes/NAME      page hashes and more (database_files.hpp)
///     .quorlite/hashes/.staged-G the same of what is staged
///
/// A staged file has the directory of its target, not one of its own: a rename between directories
/// may be torn in two by a crash.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/storage/file_system.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {
namespace place_names {

inline constexpr std::string_view root;  // of the file system
inline constexpr std::string_view own = ".quorlite";
inline constexpr std::string_view hashes = ".quorlite/hashes";
inline constexpr std::string_view lock = ".quorlite/lock";
inline constexpr std::string_view double_write = ".quorlite/double-write";
inline constexpr std::array<std::string_view, 2> superblocks{".quorlite/superblock-0",
                                                             ".quorlite/superblock-1"};
inline constexpr std::string_view superblock_copy = ".quorlite/superblock-copy";  // on its way
inline constexpr std::string_view staged_data = ".quorlite-staged-";
inline constexpr std::string_view staged_hashes = ".staged-";

/// These throw std::bad_alloc.
[[nodiscard]] inline std::string data_of(std::string_view name) { return std::string(name); }
[[nodiscard]] inline std::string hashes_of(std::string_view name) {
  return std::string(hashes).append("/").append(name);
}
[[nodiscard]] inline std::string staged_data_of(std::uint64_t generation) {
  return std::string(staged_data).append(std::to_string(generation));
}
[[nodiscard]] inline std::string staged_hashes_of(std::uint64_t generation) {
  return hashes_of(std::string(staged_hashes).append(std::to_string(generation)));
}

/// The generation in a staged file's name; none for a name that is not one of ours.
[[nodiscard]] QUORLITE_DECL std::optional<std::uint64_t> generation_in(
    std::string_view file, std::string_view prefix) noexcept;

}  // namespace place_names

/// A file system for more than one thread: a stage is filled while flushes go on. Calls give the
/// system's errors.
template <file_system FileSystem>
class data_directory {
 public:
  using file_type = typename FileSystem::file_type;

  explicit data_directory(FileSystem files) : files_(std::move(files)) {}

  [[nodiscard]] result<file_type> open(std::string_view path, open_mode mode) noexcept {
    const std::lock_guard guard(mutex_);
    return files_.open(path, mode);
  }
  [[nodiscard]] std::error_code lock(std::string_view path) noexcept {
    const std::lock_guard guard(mutex_);
    return files_.lock(path);
  }
  [[nodiscard]] std::error_code make_directory(std::string_view path) noexcept {
    const std::lock_guard guard(mutex_);
    return files_.make_directory(path);
  }
  [[nodiscard]] std::error_code remove(std::string_view path) noexcept {
    const std::lock_guard guard(mutex_);
    return files_.remove(path);
  }
  [[nodiscard]] std::error_code rename(std::string_view from, std::string_view to) noexcept {
    const std::lock_guard guard(mutex_);
    return files_.rename(from, to);
  }
  [[nodiscard]] result<std::vector<std::string>> list(std::string_view path) noexcept {
    const std::lock_guard guard(mutex_);
    return files_.list(path);
  }
  [[nodiscard]] std::error_code sync(std::string_view path) noexcept {
    const std::lock_guard guard(mutex_);
    return files_.sync_directory(path);
  }
  /// The file, nothing if there is none, or why that is not known.
  [[nodiscard]] result<std::optional<file_type>> find(std::string_view path) noexcept {
    auto opened = open(path, open_mode::existing);
    if (opened) {
      return std::optional<file_type>(std::move(*opened));
    }
    if (opened.error() == std::errc::no_such_file_or_directory) {
      return std::optional<file_type>();
    }
    return fail(opened.error());
  }

 private:
  std::mutex mutex_;
  FileSystem files_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/file_storage/data_directory.ipp"  // IWYU pragma: keep
#endif
