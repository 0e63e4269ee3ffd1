/// @file
/// Bodies of the crash laws, apart from their templates.
#pragma once

#include "quorlite/testing/detail/laws/storage_laws_crashes.hpp"

#include <cstdint>
#include <string>

#include "quorlite/config.hpp"
#include "quorlite/testing/faulty_disk.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL std::string text_of_call(const faulty_disk& disk, std::uint64_t ordinal) {
  std::string number = "call " + std::to_string(ordinal);
  if (ordinal == 0 || ordinal > disk.calls()) {
    return number;
  }
  const disk_call call = disk.call(ordinal);
  return number + ", " + std::string(name_of(call.kind)) + " '" + call.path + "'";
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
