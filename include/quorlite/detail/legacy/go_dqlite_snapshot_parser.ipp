/// @file
/// Bodies of go_dqlite_snapshot_parser.hpp.
#pragma once

#include "quorlite/detail/legacy/go_dqlite_snapshot_parser.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/legacy/go_dqlite_snapshot.hpp"
#include "quorlite/detail/legacy/wal_fold.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {
namespace go_dqlite {

QUORLITE_DECL std::uint32_t snapshot_parser::page_size_of(bytes_view start) noexcept {
  constexpr std::string_view magic{"SQLite format 3\0", 16};
  const bool right = std::equal(magic.begin(), magic.end(), start.begin(),
                                [](char a, std::byte b) { return static_cast<std::byte>(a) == b; });
  const std::uint32_t stored =
      std::to_integer<std::uint32_t>(start[16]) << 8U | std::to_integer<std::uint32_t>(start[17]);
  const std::uint32_t size = stored == 1 ? limits::page_size_max : stored;
  return right && is_page_size(size) ? size : 0;
}

}  // namespace go_dqlite
}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
