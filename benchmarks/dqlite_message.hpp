/// @file
/// One message of dqlite's wire protocol, version 1: words of 8 bytes, little-endian, behind a
/// header of one word that holds their number and the type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace bench {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are copied as they are");

constexpr std::size_t dqlite_word = 8;

/// Builds a request.
class dqlite_request {
 public:
  explicit dqlite_request(std::uint8_t type) : bytes_(dqlite_word) {
    bytes_[4] = static_cast<std::byte>(type);
  }

  dqlite_request& u64(std::uint64_t value) { return number(value); }
  dqlite_request& u32(std::uint32_t value) { return number(value); }
  dqlite_request& u8(std::uint8_t value) { return number(value); }
  /// Ends the word: parameters of a statement begin at one.
  dqlite_request& pad() {
    bytes_.resize((bytes_.size() + dqlite_word - 1) / dqlite_word * dqlite_word);
    return *this;
  }
  /// With its zero, up to the end of a word.
  dqlite_request& text(std::string_view value) {
    const std::size_t at = bytes_.size();
    bytes_.resize(at + value.size() + 1);
    std::memcpy(&bytes_[at], value.data(), value.size());
    return pad();
  }

  /// The whole message, its length filled in.
  [[nodiscard]] std::span<const std::byte> finish() {
    pad();
    const auto words = static_cast<std::uint32_t>(bytes_.size() / dqlite_word - 1);
    std::memcpy(bytes_.data(), &words, sizeof words);
    return bytes_;
  }

 private:
  template <class Number>
  dqlite_request& number(Number value) {
    const std::size_t at = bytes_.size();
    bytes_.resize(at + sizeof value);
    std::memcpy(&bytes_[at], &value, sizeof value);
    return *this;
  }

  std::vector<std::byte> bytes_;
};

/// Reads the body of a response. @throws std::runtime_error where it is too short
class dqlite_response {
 public:
  explicit dqlite_response(std::span<const std::byte> body) : rest_(body) {}

  std::uint64_t u64() { return number<std::uint64_t>(); }
  std::uint32_t u32() { return number<std::uint32_t>(); }
  std::string text() {
    std::string value;
    for (std::size_t i = 0; i < rest_.size() && rest_[i] != std::byte{0}; ++i) {
      value += static_cast<char>(rest_[i]);
    }
    take((value.size() + dqlite_word) / dqlite_word * dqlite_word);
    return value;
  }

 private:
  std::span<const std::byte> take(std::size_t size) {
    if (size > rest_.size()) {
      throw std::runtime_error("dqlite sent a message that is too short");
    }
    const std::span<const std::byte> taken = rest_.first(size);
    rest_ = rest_.subspan(size);
    return taken;
  }
  template <class Number>
  Number number() {
    Number value{};
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }

  std::span<const std::byte> rest_;
};

}  // namespace bench
