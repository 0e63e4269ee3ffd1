/// @file
/// Bodies of page_hash.hpp: the one call of XXH3 for pages.
#pragma once

#include <cstdint>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/core/xxh3.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL std::uint64_t page_hash(page_number number, bytes_view image) noexcept {
  return XXH3_64bits_withSeed(image.data(), image.size(), number.value);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
