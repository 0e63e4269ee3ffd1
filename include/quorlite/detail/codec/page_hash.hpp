/// @file
/// The hash of a page, and by it the rolling hash of a database.
///
/// The hash of a database is the sum, modulo 2^64, of the hashes of its pages 1 … page_count.
/// Seeding by the number tells apart pages that changed places; adding lets a commit move the sum
/// by the changed pages alone: `sum += hash(new image) - hash(old image)`. Every byte of every page
/// counts, and a page of zeros is a page like any other. The lock page (limits.hpp) holds no data
/// and adds 0; so does a page beyond page_count. A database without pages has the hash 0.
///
/// The hash is part of the formats: it finds damage and divergence, it does not stop a forger.
#pragma once

#include <cstdint>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// XXH3-64 of the image, seeded by the page's number. The same on every processor.
///
/// Any thread, no allocation, about 0.3 us for 4096 bytes. What adds 0 (the lock page, absent
/// pages) is the caller's business: this function hashes whatever it is given.
/// @param number counted from 1
/// @param image the whole page
[[nodiscard]] QUORLITE_API QUORLITE_DECL std::uint64_t page_hash(page_number number,
                                                                 bytes_view image) noexcept;

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/codec/page_hash.ipp"  // IWYU pragma: keep
#endif
