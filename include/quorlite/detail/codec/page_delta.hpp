/// @file
/// The difference of two images of one page, as ranges of bytes to set.
///
/// A delta is a run of ranges up to its end, in ascending order, with no count and no end mark:
///
/// | field  | type   | meaning |
/// |--------|--------|---------|
/// | skip   | varint | bytes kept since the range before, >= 1 (the first: since offset 0, >= 0) |
/// | length | varint | bytes set, >= 1 |
/// | bytes  | raw    | `length` bytes of the new image |
///
/// No range reaches beyond the page, so for each page size from 512 to 65536 every offset can be
/// said, in 2 to 6 bytes a range. Equal images have the empty delta.
///
/// Ranges *set*, they do not exclusive-or: applied twice, or to a page that a crash left half old
/// and half new, the result is the same. A delta applies to the image it was made from; the base
/// hash of its entry vouches for that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <system_error>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Appends to `out` the delta that makes `after` out of `before`.
///
/// O(page), about 0.2 us for 4096 bytes with one change. Any thread.
/// @param before, after images of the same size, which is a page size (512 … 65536); borrowed for
///          the call
/// @param at_most the longest delta wanted, in bytes; a delta is always shorter than the page in
///          any case
/// @returns true: appended (nothing, for equal images). false: it would be longer than at_most, or
///          the images are no pair of page images; `out` holds what it held. Send the whole page
///          then.
[[nodiscard]] QUORLITE_DECL bool encode_delta(bytes_view before, bytes_view after,
                                              std::size_t at_most, bytes& out);

/// Checks a delta against the format, whatever its bytes are. O(ranges), no allocation, any thread.
/// @param page_size a valid page size
/// @returns errc::malformed, or nothing
[[nodiscard]] QUORLITE_DECL std::error_code check_delta(bytes_view delta,
                                                        std::uint32_t page_size) noexcept;

/// Sets the ranges of a delta in `page`. The delta is checked to its end before the first byte
/// changes. O(delta), no allocation, any thread.
/// @param page an image of the page at the delta's base, page_size bytes
/// @returns errc::malformed, and the page is as it was; or nothing
[[nodiscard]] QUORLITE_DECL std::error_code apply_delta(bytes_view delta, bytes_span page) noexcept;

/// Appends to `out` the delta that does what `older` and then `newer` do: on any image, also on one
/// of which a crash left any part old and any part new. Never longer than both together and the
/// heads of their ranges. O(both). Any thread.
/// @pre both are valid deltas of one page (check_delta), and do not lie in `out`
/// @throws std::bad_alloc
QUORLITE_DECL void merge_deltas(bytes_view older, bytes_view newer, bytes& out);

/// True when every byte is zero: such a page is sent without an image. O(page), any thread.
[[nodiscard]] QUORLITE_DECL bool is_zero_image(bytes_view image) noexcept;

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/codec/page_delta.ipp"        // IWYU pragma: keep
#include "quorlite/detail/codec/page_delta_merge.ipp"  // IWYU pragma: keep
#endif
