/// @file
/// Random numbers that are the same on every machine: a seed names a run for ever.
///
/// The standard distributions give other numbers with other libraries, so a failing seed could not
/// be replayed elsewhere. Here everything down to the last bit is written out.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "quorlite/config.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// Spreads one word over another, all bits on all bits (the finaliser of SplitMix64: Steele, Lea,
/// Flood, "Fast splittable pseudorandom number generators", 2014). A bijection.
[[nodiscard]] constexpr std::uint64_t mix_bits(std::uint64_t word) noexcept {
  word = (word ^ (word >> 30U)) * 0xBF58476D1CE4E5B9ULL;
  word = (word ^ (word >> 27U)) * 0x94D049BB133111EBULL;
  return word ^ (word >> 31U);
}

/// A small generator, xoshiro256** (Blackman and Vigna, "Scrambled linear pseudorandom number
/// generators", 2021), its state filled from the seed by SplitMix64. Not for secrets. A value: a
/// copy continues alike.
class random {
 public:
  /// Any seed is a good seed, zero too.
  constexpr explicit random(std::uint64_t seed) noexcept {
    for (std::uint64_t& word : state_) {
      seed += golden;
      word = mix_bits(seed);
    }
  }

  /// 64 fresh bits.
  constexpr std::uint64_t next() noexcept {
    const std::uint64_t answer = rotate(state_[1] * 5, 7) * 9;
    const std::uint64_t shifted = state_[1] << 17U;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = rotate(state_[3], 45);
    return answer;
  }

  /// Evenly one of 0 … bound-1. @pre bound > 0
  constexpr std::uint64_t below(std::uint64_t bound) noexcept {
    QUORLITE_ASSERT(bound > 0);
    // 2^64 mod bound: so many values are too many
    const std::uint64_t uneven = (0 - bound) % bound;
    std::uint64_t drawn = next();
    while (drawn < uneven) {
      drawn = next();
    }
    return drawn % bound;
  }

  /// Evenly one of first … last, both included. @pre first <= last
  constexpr std::uint64_t between(std::uint64_t first, std::uint64_t last) noexcept {
    QUORLITE_ASSERT(first <= last);
    const std::uint64_t width = last - first + 1;
    return width == 0 ? next() : first + below(width);
  }

  /// True with this probability. At 0 and below never, at 1 and above always; draws in any case, so
  /// that a run stays comparable when only a probability is changed.
  constexpr bool chance(double probability) noexcept {
    constexpr double unit = 1.0 / 9007199254740992.0;  // 2^-53: exact, hence the same everywhere
    return static_cast<double>(next() >> 11U) * unit < probability;
  }

  /// A generator of its own for a part of the program: what one part draws does not shift what
  /// another draws.
  /// @param label tells the parts apart; the state here is left as it is
  [[nodiscard]] constexpr random fork(std::uint64_t label) const noexcept {
    return random{mix_bits(state_[0] ^ mix_bits(label + golden)) ^ state_[3]};
  }

  /// Brings a container into any order, each equally likely (Fisher and Yates).
  template <class Container>
  constexpr void shuffle(Container& items) noexcept {
    for (std::size_t left = items.size(); left > 1; --left) {
      const auto chosen = static_cast<std::size_t>(below(left));
      std::swap(items[left - 1], items[chosen]);
    }
  }

 private:
  static constexpr std::uint64_t golden = 0x9E3779B97F4A7C15ULL;

  [[nodiscard]] static constexpr std::uint64_t rotate(std::uint64_t word, unsigned by) noexcept {
    return (word << by) | (word >> (64U - by));
  }

  std::array<std::uint64_t, 4> state_{};
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
