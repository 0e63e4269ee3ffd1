/// @file
/// The flags of a benchmark, read one after the other: `--flag value`, `--flag=value`, `--flag`.
#pragma once

#include <fmt/format.h>

#include <charconv>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bench {

/// The user asked for something that cannot be done; the text says what to do about it.
struct usage_error : std::runtime_error {
  using runtime_error::runtime_error;
};

class flags {
 public:
  explicit flags(std::span<char* const> arguments) : rest_(arguments) {}

  /// Moves to the next flag. @returns false at the end @throws usage_error on a value left over
  bool next() {
    if (value_) {
      throw usage_error(fmt::format("{} takes no value", name_));
    }
    if (rest_.empty()) {
      return false;
    }
    const std::string_view whole = take();
    const std::size_t sign = whole.find('=');
    name_ = whole.substr(0, sign);
    if (sign != std::string_view::npos) {
      value_ = whole.substr(sign + 1);
    }
    return true;
  }

  [[nodiscard]] std::string_view name() const { return name_; }

  /// The value of this flag. @throws usage_error if there is none
  std::string_view text() {
    if (!value_ && !rest_.empty()) {
      value_ = take();
    }
    if (!value_ || value_->empty()) {
      throw usage_error(fmt::format("{} needs a value", name_));
    }
    return *std::exchange(value_, std::nullopt);
  }

  /// Its value as a whole number. @throws usage_error
  std::uint64_t number(std::uint64_t least, std::uint64_t most) {
    return parse(text(), least, most);
  }

  /// Its value as numbers with commas between them. @throws usage_error
  std::vector<std::uint64_t> numbers(std::uint64_t least, std::uint64_t most) {
    std::vector<std::uint64_t> all;
    for (const std::string& one : words()) {
      all.push_back(parse(one, least, most));
    }
    return all;
  }

  /// Its value as words with commas between them. @throws usage_error
  std::vector<std::string> words() {
    std::vector<std::string> all;
    std::string_view list = text();
    for (;;) {
      const std::size_t comma = list.find(',');
      all.emplace_back(list.substr(0, comma));
      if (comma == std::string_view::npos) {
        return all;
      }
      list.remove_prefix(comma + 1);
    }
  }

  /// @throws usage_error, always
  [[noreturn]] void refuse() const { throw usage_error(fmt::format("unknown flag '{}'", name_)); }

 private:
  std::string_view take() {
    const std::string_view first = rest_.front();
    rest_ = rest_.subspan(1);
    return first;
  }

  [[nodiscard]] std::uint64_t parse(std::string_view digits, std::uint64_t least,
                                    std::uint64_t most) const {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    const bool whole = error == std::errc{} && end == digits.data() + digits.size();
    if (!whole || number < least || number > most) {
      throw usage_error(
          fmt::format("{} takes a number from {} to {}, not '{}'", name_, least, most, digits));
    }
    return number;
  }

  std::span<char* const> rest_;
  std::string_view name_;
  std::optional<std::string_view> value_;
};

}  // namespace bench
