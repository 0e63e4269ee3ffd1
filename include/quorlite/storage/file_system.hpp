/// @file
/// What a storage in files asks of a file system: few calls, so that a test can fail, tear, lose or
/// fill every one of them. `posix_file_system` is the real one; testing/faulty_disk.hpp the other.
///
/// Paths are relative to the root that the file system was made with, parts separated by '/'. No
/// call follows a symbolic link below the root. No call waits for anybody but the disk.
///
/// **Threads.** Calls on different files, and `read` with anything, may run at the same time. The
/// rest of one file, and the directory calls, are made by one thread at a time.
///
/// **What survives a crash.** Bytes and sizes: what `sync` was called for after the write. Names
/// (open of a new file, rename, remove, make_directory): what `sync_directory` was called for. The
/// rest survives in any combination, bytes torn at sectors of 512.
///
/// **Errors** are the system's, in std::generic_category. Which of them mean "try again" is the
/// storage's business. After an error of a sync nothing is known about what is durable, whatever
/// the error, so descriptors run out in no sync: EMFILE and ENFILE come from the calls that open,
/// lock, make, remove, rename or list a path. Each of them can be made again then.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

/// What to do with what is there, and with what is not.
enum class open_mode : std::uint8_t {
  existing,   ///< std::errc::no_such_file_or_directory if it is not there
  or_create,  ///< an empty one if it is not there
  truncated,  ///< an empty one, whatever was there
};

/// An open file. Closing it (the destructor) makes nothing durable and tells no error.
///
/// - `read` fills `into` from `offset` on; returns fewer bytes only where the file ends.
/// - `write` puts all parts, one behind the other, from `offset` on; after an error some may be
///   written.
/// - `resize` cuts, or adds zeros.
/// - `sync` makes bytes and size durable (fdatasync); after an error nothing is known about what
///   is.
template <class F>
concept file = std::movable<F> && requires(F& file, const F& view, std::uint64_t offset,
                                           bytes_span into, std::span<const bytes_view> parts) {
  { view.read(offset, into) }
  noexcept->std::same_as<result<std::size_t>>;
  { view.size() }
  noexcept->std::same_as<result<std::uint64_t>>;
  { file.write(offset, parts) }
  noexcept->std::same_as<std::error_code>;
  { file.resize(offset) }
  noexcept->std::same_as<std::error_code>;
  { file.sync() }
  noexcept->std::same_as<std::error_code>;
};

/// A root directory and what is below it.
///
/// - `lock` takes the file `path` (made if need be) for this object alone, until that is destroyed;
///   std::errc::device_or_resource_busy if another process, or another object here, has it.
/// - `make_directory` and `remove` call it no error if the name is there, or gone, already.
///   `remove` takes files and empty directories.
/// - `rename` replaces the target in one step.
/// - `list` gives the names in a directory, ascending, without "." and ".."; "" is the root.
/// - `sync_directory` makes the names in a directory durable. It takes no descriptor for the root,
///   and none for a directory that `make_directory` was asked for.
template <class S>
concept file_system = file<typename S::file_type> &&
    requires(S& files, std::string_view path, std::string_view other, open_mode mode) {
  { files.open(path, mode) }
  noexcept->std::same_as<result<typename S::file_type>>;
  { files.lock(path) }
  noexcept->std::same_as<std::error_code>;
  { files.make_directory(path) }
  noexcept->std::same_as<std::error_code>;
  { files.remove(path) }
  noexcept->std::same_as<std::error_code>;
  { files.rename(path, other) }
  noexcept->std::same_as<std::error_code>;
  { files.list(path) }
  noexcept->std::same_as<result<std::vector<std::string>>>;
  { files.sync_directory(path) }
  noexcept->std::same_as<std::error_code>;
};

}  // namespace QUORLITE_ABI
}  // namespace quorlite
