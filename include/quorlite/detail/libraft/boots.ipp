/// @file
/// Bodies of boots.hpp.
#pragma once

#include "quorlite/detail/libraft/boots.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/identity.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/detail/libraft/runtime.hpp"
#include "quorlite/error.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL std::shared_ptr<libraft_runtime> libraft_boots::last() const noexcept {
  const std::lock_guard guard(mutex_);
  return last_;
}

/// The one before is let go of without the lock: it may take a while.
QUORLITE_DECL void libraft_boots::set(std::shared_ptr<libraft_runtime> made,
                                      std::error_code away) noexcept {
  const std::lock_guard guard(mutex_);
  last_.swap(made);
  away_ = away;
}

QUORLITE_DECL std::error_code libraft_boots::error() const noexcept {
  const std::lock_guard guard(mutex_);
  return away_ ? away_ : last_ == nullptr ? std::error_code{} : last_->status().error();
}

QUORLITE_DECL bool libraft_boots::is_time(std::uint64_t now_us, std::uint64_t least_us) noexcept {
  constexpr std::uint64_t most_us = 60'000'000;
  constexpr std::uint64_t stayed = 8;  // so many pauses long: what it left for has passed
  const std::uint64_t passed_us = now_us - tried_at_us_;
  if (tried_at_us_ != 0 && passed_us < pause_us_) {
    return false;
  }
  const bool is_again = tried_at_us_ != 0 && passed_us < stayed * pause_us_;
  pause_us_ = is_again ? std::min(2 * pause_us_, std::max(most_us, least_us)) : least_us;
  tried_at_us_ = now_us;
  return true;
}

QUORLITE_DECL std::error_code libraft_folder_lock::take(const std::string& directory) noexcept try {
  const bool is_new = ::mkdir(directory.c_str(), 0755) == 0;
  if (!is_new && errno != EEXIST) {
    return {errno, std::generic_category()};
  }
  // Whoever made it may have died before its name was durable, and with that goes the whole log.
  libraft_disk_folder folder(directory);
  if (const std::error_code unsynced = folder.sync_name(is_new)) {
    return unsynced;
  }
  const std::string path = directory + '/' + libraft_lock_name;
  file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file_ >= 0 && ::flock(file_, LOCK_EX | LOCK_NB) == 0) {
    return {};
  }
  const int error = errno;
  release();
  return error == EWOULDBLOCK ? make_error_code(errc::busy)
                              : std::error_code(error, std::generic_category());
} catch (const std::bad_alloc&) {
  return make_error_code(errc::out_of_memory);
}

QUORLITE_DECL void libraft_folder_lock::release() noexcept {
  if (file_ >= 0) {
    ::close(std::exchange(file_, -1));
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
