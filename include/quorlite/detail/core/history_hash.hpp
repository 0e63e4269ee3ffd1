/// @file
/// The history hash: 128 bits over the entries that were applied, in their order
/// (docs/design/history.md, section 1).
///
/// A 128-bit value of XXH3 is {low, high}: its lower and its upper 64 bits. Hashed with an entry
/// are its index and its length, so a log that lost a part has another history from there on; its
/// term is not. The hash is part of the formats: it finds damage and divergence, it does not stop
/// a forger.
#pragma once

#include <cstdint>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// XXH3-128 of an entry's bytes, seed 0: what a history needs to know of them, so that it can be
/// made before the lock under which the history moves. The same on every processor. Any thread, no
/// allocation.
/// @param entry the whole entry, as the engine brings it
[[nodiscard]] QUORLITE_API QUORLITE_DECL history_hash entry_digest(bytes_view entry) noexcept;

/// The history after entry `n`: XXH3-128, seed 0, of 48 bytes, little-endian: `before` (low, then
/// high), n, length, digest (low, then high). Any thread, no allocation.
/// @param before the history that ends before the entry; all zero for the first one
/// @param n the entry's index in the log
/// @param length bytes of the entry
/// @param digest of those bytes: entry_digest()
[[nodiscard]] QUORLITE_API QUORLITE_DECL history_hash
extend_history(const history_hash& before, log_index n, std::uint64_t length,
               const history_hash& digest) noexcept;

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/core/history_hash.ipp"  // IWYU pragma: keep
#endif
