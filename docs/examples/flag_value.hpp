/// @file
/// Values of command line flags, and what is said about wrong ones.
#pragma once

#include <fmt/format.h>

#include <charconv>
#include <cstdint>
#include <stdexcept>
#include <string_view>

namespace example {

/// The user asked for something that cannot be done; the text says what to do about it.
struct usage_error : std::runtime_error {
  using runtime_error::runtime_error;
};

/// A whole decimal number between `least` and `most`. @throws usage_error
[[nodiscard]] inline std::uint64_t parse_number(std::string_view flag, std::string_view text,
                                                std::uint64_t least, std::uint64_t most) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = error == std::errc{} && end == text.data() + text.size();
  if (!whole || number < least || number > most) {
    throw usage_error(
        fmt::format("{} takes a number from {} to {}, not '{}'", flag, least, most, text));
  }
  return number;
}

}  // namespace example
