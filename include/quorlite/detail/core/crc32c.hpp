/// @file
/// CRC32C, the checksum of every format of ours: it finds damage, it does not stop a forger.
///
/// The Castagnoli polynomial 0x1EDC6F41, reflected, start and final value inverted (RFC 3720, B.4):
/// crc32c of the letters "123456789" is 0xE3069283.
#pragma once

#include <cstdint>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The CRC32C of `data`; 0 for no bytes. Any thread, no allocation, about 8 bytes in 3 cycles where
/// the processor has the instruction.
[[nodiscard]] QUORLITE_API QUORLITE_DECL std::uint32_t crc32c(bytes_view data) noexcept;

/// The checksum of a longer run of bytes: `crc32c_extend(crc32c(a), b)` is `crc32c` of a followed
/// by b.
/// @param crc what crc32c() or crc32c_extend() gave for the bytes before; 0 for none
[[nodiscard]] QUORLITE_DECL std::uint32_t crc32c_extend(std::uint32_t crc,
                                                        bytes_view data) noexcept;

/// The portable way, eight bytes a step. `state` is the inverted checksum.
[[nodiscard]] QUORLITE_DECL std::uint32_t crc32c_portable(std::uint32_t state,
                                                          bytes_view data) noexcept;

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/core/crc32c.ipp"  // IWYU pragma: keep
#endif
