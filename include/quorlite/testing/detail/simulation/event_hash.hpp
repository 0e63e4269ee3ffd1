/// @file
/// One number for a whole run: two runs that did the same things in the same order have the same
/// one.
#pragma once

#include <cstdint>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/testing/detail/simulation/random.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

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
[[nodiscard]] QUORLITE_DECL std::uint64_t hash_of_bytes(bytes_view data) noexcept;

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/simulation/event_hash.ipp"  // IWYU pragma: keep
#endif
