/// @file
/// What an error means for a storage.
#pragma once

#include "quorlite/detail/file_storage/health.hpp"

#include <cerrno>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/error.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL bool passes(std::error_code system) noexcept {
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

QUORLITE_DECL std::error_code storage_error(std::error_code system) noexcept {
  if (!system || system.category() == quorlite_category()) {
    return system;
  }
  if (system == std::errc::not_enough_memory) {
    return make_error_code(errc::out_of_memory);
  }
  return make_error_code(passes(system) ? errc::storage_full : errc::storage_broken);
}

QUORLITE_DECL std::error_code storage_health::after(std::error_code system) noexcept {
  const std::error_code error = storage_error(system);
  if (error == errc::storage_broken) {
    broken_.store(true);
  }
  return error;
}

QUORLITE_DECL std::error_code storage_health::after(std::error_code system,
                                                    std::string_view file) noexcept {
  const std::error_code error = after(system);
  if (error == errc::storage_broken) {
    try {
      damage_ = std::string(file) + ": " + system.message();
    } catch (const std::bad_alloc&) {
      damage_.clear();
    }
  }
  return error;
}

QUORLITE_DECL std::error_code storage_health::after_sync(std::error_code system) noexcept {
  if (!system) {
    return {};
  }
  broken_.store(true);
  return make_error_code(errc::storage_broken);
}

QUORLITE_DECL std::error_code storage_health::damaged(std::string what) noexcept {
  damage_ = std::move(what);
  return make_error_code(errc::corrupt);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
