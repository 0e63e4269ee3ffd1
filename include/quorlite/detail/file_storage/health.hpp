/// @file
/// What an error of the file system means for a storage: try again, or never again.
#pragma once

#include <atomic>
#include <string>
#include <system_error>

#include "quorlite/config.hpp"
#include "quorlite/error.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// True for an error that passes: no space, no quota, no memory, no descriptor, a limit of the
/// process.
[[nodiscard]] QUORLITE_DECL bool passes(std::error_code system) noexcept;

/// errc::storage_full or errc::storage_broken; no error stays none, and one of ours stays itself.
[[nodiscard]] QUORLITE_DECL std::error_code storage_error(std::error_code system) noexcept;

/// Remembers that a promise was broken, and what an opening saw. Any thread, but for the last.
class storage_health {
 public:
  /// Translates what a call of the file system said. What does not pass breaks the storage.
  [[nodiscard]] std::error_code after(std::error_code system) noexcept;
  /// Like after(), of a file that an opening has to read: damage() names it.
  [[nodiscard]] std::error_code after(std::error_code system, std::string_view file) noexcept;
  /// Like after(), of a sync. None of its errors passes: the system may have dropped what it could
  /// not write, and would call the next sync a success.
  [[nodiscard]] std::error_code after_sync(std::error_code system) noexcept;
  /// errc::storage_broken for ever once something broke.
  [[nodiscard]] std::error_code check() const noexcept {
    return broken_.load() ? make_error_code(errc::storage_broken) : std::error_code{};
  }

  /// An opening found damage: which file, and what is seen there. @returns errc::corrupt
  [[nodiscard]] std::error_code damaged(std::string what) noexcept;
  /// Of the last opening, what it found damaged or could not read; empty: nothing.
  [[nodiscard]] const std::string& damage() const noexcept { return damage_; }
  void forget_damage() noexcept { damage_.clear(); }

 private:
  std::atomic<bool> broken_{false};
  std::string damage_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/file_storage/health.ipp"  // IWYU pragma: keep
#endif
