/// @file
/// Integers as little-endian bytes, and a reader that cannot leave its input.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "quorlite/bytes.hpp"

namespace quorlite {
inline namespace v0 {
namespace detail {

/// @pre into holds sizeof(Integer) bytes
template <class Integer>
void store_little_endian(std::byte* into, Integer value) noexcept {
  for (std::size_t i = 0; i < sizeof(Integer); ++i) {
    into[i] = static_cast<std::byte>(static_cast<std::uint64_t>(value) >> (8 * i));
  }
}

/// @pre from holds sizeof(Integer) bytes
template <class Integer>
[[nodiscard]] Integer load_little_endian(const std::byte* from) noexcept {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(Integer); ++i) {
    value |= std::to_integer<std::uint64_t>(from[i]) << (8 * i);
  }
  return static_cast<Integer>(value);
}

/// Throws std::bad_alloc.
template <class Integer>
void append_little_endian(bytes& into, Integer value) {
  into.resize(into.size() + sizeof(Integer));
  store_little_endian(into.data() + into.size() - sizeof(Integer), value);
}
inline void append_bytes(bytes& into, bytes_view more) {
  into.insert(into.end(), more.begin(), more.end());
}
[[nodiscard]] inline bytes_view bytes_of(std::string_view text) noexcept {
  return std::as_bytes(std::span<const char>(text.data(), text.size()));
}

/// Takes one field after the other. A field that does not fit gives zero, or nothing, and makes the
/// reader fail for good.
class field_reader {
 public:
  explicit field_reader(bytes_view from) noexcept : left_(from) {}

  template <class Integer>
  [[nodiscard]] Integer take() noexcept {
    const bytes_view field = take_bytes(sizeof(Integer));
    return failed_ ? Integer{} : load_little_endian<Integer>(field.data());
  }
  [[nodiscard]] bytes_view take_bytes(std::uint64_t size) noexcept {
    if (failed_ || size > left_.size()) {
      failed_ = true;
      return {};
    }
    const bytes_view field = left_.first(static_cast<std::size_t>(size));
    left_ = left_.subspan(static_cast<std::size_t>(size));
    return field;
  }
  /// A view into the input.
  [[nodiscard]] std::string_view take_text(std::uint64_t size) noexcept {
    const bytes_view field = take_bytes(size);
    return {reinterpret_cast<const char*>(field.data()), field.size()};
  }
  [[nodiscard]] std::size_t left() const noexcept { return left_.size(); }
  [[nodiscard]] bool failed() const noexcept { return failed_; }
  /// Everything was taken, and all of it was there.
  [[nodiscard]] bool done() const noexcept { return !failed_ && left_.empty(); }

 private:
  bytes_view left_;
  bool failed_ = false;
};

}  // namespace detail
}  // namespace v0
}  // namespace quorlite
