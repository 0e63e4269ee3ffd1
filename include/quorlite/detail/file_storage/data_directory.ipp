/// @file
/// How names of staged files are read.
#pragma once

#include "quorlite/detail/file_storage/data_directory.hpp"

#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>
#include <system_error>

#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/storage/file_system.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {
namespace place_names {

QUORLITE_DECL std::optional<std::uint64_t> generation_in(std::string_view file,
                                                         std::string_view prefix) noexcept {
  if (!file.starts_with(prefix)) {
    return std::nullopt;
  }
  const std::string_view digits = file.substr(prefix.size());
  std::uint64_t generation = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), generation);
  const bool whole = error == std::errc{} && end == digits.data() + digits.size();
  return whole && generation != 0 ? std::optional(generation) : std::nullopt;
}

}  // namespace place_names
}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
