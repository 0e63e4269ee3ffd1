/// @file
/// Little-endian bytes: a reader that cannot leave its input, and a writer that appends.
///
/// Unsigned integers are little-endian. A *varint* is LEB128: seven bits a byte, lowest first, the
/// top bit set on all but the last; at most 10 bytes.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The first `sizeof(Integer)` bytes at `from`, which must exist.
template <class Integer>
[[nodiscard]] constexpr Integer load_little_endian(const std::byte* from) noexcept {
  if (std::endian::native == std::endian::little && !std::is_constant_evaluated()) {
    Integer copied = 0;  // one instruction, where compilers do not see it in the loop
    std::memcpy(&copied, from, sizeof(Integer));
    return copied;
  }
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(Integer); ++i) {
    value |= std::to_integer<std::uint64_t>(from[i]) << (8 * i);
  }
  return static_cast<Integer>(value);
}

/// Writes `sizeof(Integer)` bytes at `to`, which must exist.
template <class Integer>
constexpr void store_little_endian(std::byte* to, Integer value) noexcept {
  if (std::endian::native == std::endian::little && !std::is_constant_evaluated()) {
    std::memcpy(to, &value, sizeof(Integer));
    return;
  }
  for (std::size_t i = 0; i < sizeof(Integer); ++i) {
    to[i] = static_cast<std::byte>((std::uint64_t{value} >> (8 * i)) & 0xFFU);
  }
}

inline constexpr std::size_t varint_bytes_max = 10;  ///< the longest varint

/// Bytes that `value` takes as a varint: 1 to 10.
[[nodiscard]] constexpr std::size_t varint_bytes(std::uint64_t value) noexcept {
  std::size_t count = 1;
  while (value >= 0x80U) {
    value >>= 7U;
    ++count;
  }
  return count;
}

/// Reads values off the front of some bytes. Total: whatever the input, it never reads past the end
/// and never throws.
///
/// The first read that does not fit makes the reader *failed* for good: from then on every read
/// gives zero or nothing. So a decoder reads a whole record and asks `failed()` once, before it
/// believes any of it. Borrows its input; the views that it gives point into it. One thread at a
/// time.
class wire_reader {
 public:
  constexpr explicit wire_reader(bytes_view input) noexcept : input_(input) {}

  /// True once a read did not fit or was no valid value.
  [[nodiscard]] constexpr bool failed() const noexcept { return failed_; }
  /// Bytes not read yet; 0 once failed.
  [[nodiscard]] constexpr std::size_t remaining() const noexcept {
    return failed_ ? 0 : input_.size() - position_;
  }
  /// Bytes read so far.
  [[nodiscard]] constexpr std::size_t position() const noexcept { return position_; }
  /// True when everything was read and nothing failed.
  [[nodiscard]] constexpr bool finished() const noexcept {
    return !failed_ && position_ == input_.size();
  }
  /// Lets a decoder refuse a value by the same road as a short input.
  constexpr void fail() noexcept { failed_ = true; }

  [[nodiscard]] constexpr std::uint8_t u8() noexcept { return integer<std::uint8_t>(); }
  [[nodiscard]] constexpr std::uint16_t u16() noexcept { return integer<std::uint16_t>(); }
  [[nodiscard]] constexpr std::uint32_t u32() noexcept { return integer<std::uint32_t>(); }
  [[nodiscard]] constexpr std::uint64_t u64() noexcept { return integer<std::uint64_t>(); }

  /// A varint in its one shortest form: zero bytes at its end make it invalid, so that a value has
  /// one encoding.
  [[nodiscard]] constexpr std::uint64_t varint() noexcept { return leb128(true); }
  /// A varint as protobuf takes it: up to 10 bytes, longer than needed or not. For foreign formats.
  [[nodiscard]] constexpr std::uint64_t padded_varint() noexcept { return leb128(false); }

  /// The next `count` bytes, borrowed from the input; nothing when fewer remain.
  [[nodiscard]] constexpr bytes_view take(std::uint64_t count) noexcept {
    if (failed_ || count > input_.size() - position_) {
      failed_ = true;
      return {};
    }
    const auto size = static_cast<std::size_t>(count);
    const bytes_view taken = input_.subspan(position_, size);
    position_ += size;
    return taken;
  }

  /// The next `count` bytes as text, borrowed from the input. Not checked for any encoding.
  [[nodiscard]] std::string_view text(std::uint64_t count) noexcept {
    const bytes_view taken = take(count);
    // An empty span may have no address, and a string_view of {nullptr, 0} is fine too.
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }

 private:
  template <class Integer>
  [[nodiscard]] constexpr Integer integer() noexcept {
    const bytes_view taken = take(sizeof(Integer));
    return taken.empty() ? Integer{0} : load_little_endian<Integer>(taken.data());
  }

  [[nodiscard]] constexpr std::uint64_t leb128(bool shortest_only) noexcept;

  bytes_view input_;
  std::size_t position_ = 0;
  bool failed_ = false;
};

constexpr std::uint64_t wire_reader::leb128(bool shortest_only) noexcept {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 7 * varint_bytes_max; shift += 7) {
    const std::uint64_t next = u8();
    if (failed_) {
      return 0;
    }
    if (shift == 63 && next > 1) {
      break;  // more than 64 bits
    }
    value |= (next & 0x7FU) << shift;
    if (next < 0x80U) {
      if (shortest_only && next == 0 && shift != 0) {
        break;
      }
      return value;
    }
  }
  failed_ = true;
  return 0;
}

/// Appends values to bytes that somebody else owns. May throw std::bad_alloc and nothing else. One
/// thread at a time.
class wire_writer {
 public:
  /// @param output grows at its end; must outlive the writer
  explicit wire_writer(bytes& output) noexcept : output_(&output) {}

  void u8(std::uint8_t value) { output_->push_back(std::byte{value}); }
  void u16(std::uint16_t value) { integer(value); }
  void u32(std::uint32_t value) { integer(value); }
  void u64(std::uint64_t value) { integer(value); }

  /// The shortest varint of `value`, 1 to 10 bytes.
  void varint(std::uint64_t value) {
    while (value >= 0x80U) {
      u8(static_cast<std::uint8_t>((value & 0x7FU) | 0x80U));
      value >>= 7U;
    }
    u8(static_cast<std::uint8_t>(value));
  }

  /// Copies the bytes. They must not lie in the output itself.
  [[gnu::noinline]] void raw(bytes_view data) {  // inlined, g++ 14 sees writes into an empty vector
    output_->insert(output_->end(), data.begin(), data.end());
  }

  /// Copies the letters, with neither a length nor an end mark.
  void text(std::string_view letters) {
    raw(std::as_bytes(std::span<const char>{letters.data(), letters.size()}));
  }

 private:
  template <class Integer>
  void integer(Integer value) {
    const std::size_t end = output_->size();
    output_->resize(end + sizeof(Integer));
    store_little_endian(output_->data() + end, value);
  }

  bytes* output_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
