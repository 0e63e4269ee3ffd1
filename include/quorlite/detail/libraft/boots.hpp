/// @file
/// What of a server outlives one boot: its runtimes, one after the other, and the lock of its
/// folder.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>

#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

class libraft_runtime;

/// The runtime of the last boot, which stays for latecomers; and why the server is away, if the
/// last try to come back failed. Any thread.
class libraft_boots {
 public:
  /// @returns nullptr: there was none
  [[nodiscard]] std::shared_ptr<libraft_runtime> last() const noexcept;
  /// One is made. @param away none: nothing is known against it
  void set(std::shared_ptr<libraft_runtime> made, std::error_code away) noexcept;
  /// Why the server takes no part. None: it does.
  [[nodiscard]] std::error_code error() const noexcept;

  /// Whether it may be tried to come back, which counts as a try. Between two tries there is this
  /// pause; while what has come back does not stay, twice as much each time, up to a minute: not
  /// all that a disk lacks can be asked for. One thread at a time.
  [[nodiscard]] bool is_time(std::uint64_t now_us, std::uint64_t least_us) noexcept;

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<libraft_runtime> last_;
  std::error_code away_;
  std::uint64_t tried_at_us_ = 0;  // 0: never
  std::uint64_t pause_us_ = 0;
};

/// One server at a time uses a folder: two engines on one log would destroy it, and libraft has no
/// lock of its own. One thread.
class libraft_folder_lock {
 public:
  libraft_folder_lock() = default;
  libraft_folder_lock(const libraft_folder_lock&) = delete;
  libraft_folder_lock& operator=(const libraft_folder_lock&) = delete;
  ~libraft_folder_lock() { release(); }

  /// Makes the folder, if there is none, and its name durable. @returns errc::busy: it is another's
  [[nodiscard]] std::error_code take(const std::string& directory) noexcept;
  void release() noexcept;
  /// It stays taken until the process ends: a write may be under way yet.
  void abandon() noexcept { file_ = -1; }

 private:
  int file_ = -1;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/boots.ipp"  // IWYU pragma: keep
#endif
