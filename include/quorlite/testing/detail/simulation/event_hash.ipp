/// @file
/// Bodies of the hash of bytes.
#pragma once

#include "quorlite/testing/detail/simulation/event_hash.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/testing/detail/simulation/random.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL std::uint64_t hash_of_bytes(bytes_view data) noexcept {
  std::uint64_t state = mix_bits(data.size() + 1);
  std::size_t offset = 0;
  for (; offset + 8 <= data.size(); offset += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, data.data() + offset, 8);
    state = (state ^ word) * 0xD6E8FEB86659FD93ULL;
    state ^= state >> 32U;
  }
  std::uint64_t rest = 0;
  if (offset < data.size()) {
    std::memcpy(&rest, data.data() + offset, data.size() - offset);
  }
  return mix_bits(state ^ rest);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
