// What the codec tests share: a seeded generator and bytes from hex.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "quorlite/bytes.hpp"

namespace quorlite::tests {

/// SplitMix64: small, and the same on every platform.
class generator {
 public:
  explicit generator(std::uint64_t seed) noexcept : state_(seed) {}

  std::uint64_t next() noexcept {
    state_ += 0x9E3779B97F4A7C15ULL;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30U)) * 0xBF58476D1CE4E5B9ULL;
    mixed = (mixed ^ (mixed >> 27U)) * 0x94D049BB133111EBULL;
    return mixed ^ (mixed >> 31U);
  }
  /// 0 … end - 1
  std::uint64_t below(std::uint64_t end) noexcept { return next() % end; }
  /// Small values often, all sizes sometimes.
  std::uint64_t skewed() noexcept { return next() >> below(64); }
  std::byte byte() noexcept { return static_cast<std::byte>(next() & 0xFFU); }

  quorlite::bytes some_bytes(std::size_t count) {
    quorlite::bytes made(count);
    for (std::byte& one : made) {
      one = byte();
    }
    return made;
  }

 private:
  std::uint64_t state_;
};

inline std::string hex(quorlite::bytes_view data) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (const std::byte one : data) {
    text += digits[std::to_integer<std::size_t>(one >> 4U)];
    text += digits[std::to_integer<std::size_t>(one & std::byte{15})];
  }
  return text;
}

inline quorlite::bytes from_hex(std::string_view text) {
  const auto digit = [](char one) {
    return static_cast<unsigned>(one <= '9' ? one - '0' : one - 'a' + 10);
  };
  quorlite::bytes data;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    data.push_back(static_cast<std::byte>(digit(text[i]) * 16 + digit(text[i + 1])));
  }
  return data;
}

inline quorlite::bytes from_text(std::string_view text) {
  quorlite::bytes data;
  for (const char one : text) {
    data.push_back(static_cast<std::byte>(one));
  }
  return data;
}

/// An entry of a snapshot's header.
inline std::shared_ptr<const quorlite::bytes> shared(quorlite::bytes entry) {
  return std::make_shared<const quorlite::bytes>(std::move(entry));
}

}  // namespace quorlite::tests
