/// @file
/// One number for a whole run: two runs that did the same things in the same order have the same
/// one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "quorlite/config.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/testing/detail/simulation/random.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

/// A running 64-bit hash over words, order-sensitive. For comparing runs, not against an adversary.
class event_hash {
 public:
  /// Continues the hash with these words.
  template <class... Words>
  constexpr void add(std::uint64_t first, Words... more) noexcept {
    state_ = mix_bits(state_ ^ first) + 0x9E3779B97F4A7C15ULL;
    if constexpr (sizeof...(more) > 0) {
      add(static_cast<std::uint64_t>(more)...);
    }
  }

  [[nodiscard]] constexpr std::uint64_t value() const noexcept { return state_; }

 private:
  std::uint64_t state_ = 0x51A7E5EEDULL;
};

/// A hash of bytes, eight at a time, little-endian on every machine that the library supports. The
/// length counts, so a zero byte more is another value.
[[nodiscard]] inline std::uint64_t hash_of_bytes(bytes_view data) noexcept {
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

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
