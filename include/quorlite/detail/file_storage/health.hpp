/// @file
/// What an error of the file system means for a storage: try again, or never again.
#pragma once

#include <atomic>
#include <cerrno>
#include <system_error>

#include "quorlite/config.hpp"
#include "quorlite/error.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// True for an error that passes: no space, no quota, no memory, no descriptor, a limit of the
/// process.
[[nodiscard]] inline bool passes(std::error_code system) noexcept {
  if (system == std::errc::no_space_on_device || system == std::errc::not_enough_memory ||
      system == std::errc::too_many_files_open ||
      system == std::errc::too_many_files_open_in_system || system == std::errc::interrupted ||
      system == std::errc::file_too_large || system == std::errc::resource_unavailable_try_again) {
    return true;
  }
#if defined(EDQUOT)
  return system.category() == std::generic_category() && system.value() == EDQUOT;
#else
  return false;
#endif
}

/// errc::storage_full or errc::storage_broken; no error stays none, and one of ours stays itself.
[[nodiscard]] inline std::error_code storage_error(std::error_code system) noexcept {
  if (!system || system.category() == quorlite_category()) {
    return system;
  }
  return make_error_code(passes(system) ? errc::storage_full : errc::storage_broken);
}

/// Remembers that a promise was broken. Any thread.
class storage_health {
 public:
  /// Translates what a call of the file system said. What does not pass breaks the storage.
  [[nodiscard]] std::error_code after(std::error_code system) noexcept {
    const std::error_code error = storage_error(system);
    if (error == errc::storage_broken) {
      broken_.store(true);
    }
    return error;
  }
  /// Like after(), of a sync. None of its errors passes: the system may have dropped what it could
  /// not write, and would call the next sync a success.
  [[nodiscard]] std::error_code after_sync(std::error_code system) noexcept {
    if (!system) {
      return {};
    }
    broken_.store(true);
    return make_error_code(errc::storage_broken);
  }
  /// errc::storage_broken for ever once something broke.
  [[nodiscard]] std::error_code check() const noexcept {
    return broken_.load() ? make_error_code(errc::storage_broken) : std::error_code{};
  }

 private:
  std::atomic<bool> broken_{false};
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
