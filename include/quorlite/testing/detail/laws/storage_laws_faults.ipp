/// @file
/// Bodies of the fault laws, apart from their templates.
#pragma once

#include "quorlite/testing/detail/laws/storage_laws_faults.hpp"

#include <cstdint>
#include <system_error>

#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/faulty_disk.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL void plan_failure(faulty_disk& disk, call_failure how, std::uint64_t ordinal) {
  switch (how) {
    case call_failure::error_once: disk.fail_at(ordinal, std::errc::io_error); break;
    case call_failure::error_for_good:
      disk.fail_at(ordinal, std::errc::io_error, fault_duration::persistent);
      break;
    case call_failure::no_space_once: disk.fail_at(ordinal, std::errc::no_space_on_device); break;
    case call_failure::no_space_for_good: disk.full_from(ordinal); break;
    case call_failure::short_write: disk.short_write_at(ordinal); break;
  }
}

QUORLITE_DECL const char* text_of(call_failure how) noexcept {
  switch (how) {
    case call_failure::error_once: return "EIO once in ";
    case call_failure::error_for_good: return "EIO for good from ";
    case call_failure::no_space_once: return "ENOSPC once in ";
    case call_failure::no_space_for_good: return "ENOSPC for good from ";
    case call_failure::short_write: return "a short write in ";
  }
  return "";
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
