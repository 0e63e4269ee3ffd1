/// @file
/// Bodies of history_hash.hpp.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/core/history_hash.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/core/xxh3.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL history_hash entry_digest(bytes_view entry) noexcept {
  const XXH128_hash_t hash = XXH3_128bits(entry.data(), entry.size());
  return {hash.low64, hash.high64};
}

QUORLITE_DECL history_hash extend_history(const history_hash& before, log_index n,
                                          std::uint64_t length,
                                          const history_hash& digest) noexcept {
  const std::array<std::uint64_t, 6> fields = {before.low, before.high, n.value,
                                               length,     digest.low,  digest.high};
  std::array<std::byte, 8 * fields.size()> step{};
  for (std::size_t i = 0; i < fields.size(); ++i) {
    store_little_endian(step.data() + 8 * i, fields[i]);
  }
  const XXH128_hash_t hash = XXH3_128bits(step.data(), step.size());
  return {hash.low64, hash.high64};
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
