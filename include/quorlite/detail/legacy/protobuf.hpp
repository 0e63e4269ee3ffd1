/// @file
/// Protobuf as the go-dqlite entries use it: a reader with exactly the rules of the decoder that
/// once read them, and the few sizes that a writer needs.
///
/// A message is a row of fields. A field is a tag, then a value by the tag's lowest three bits:
///
/// | wire type | value |
/// |-----------|-------|
/// | 0         | varint, see below |
/// | 1, 5      | 8 or 4 bytes; no message of ours has such a field, so they are only skipped |
/// | 2         | block: varint length, bytes (text, bytes, a message, packed numbers) |
/// | 3, 4      | start and end of a group of fields; only skipped, nested to any depth |
/// | 6, 7      | illegal |
///
/// The rest of the tag, cut to 32 bits and signed, is the field's number, from 1. A *varint* has at
/// most 10 bytes; it need not be the shortest; bits above the 64th are dropped.
///
/// | input | outcome |
/// |-------|---------|
/// | unknown field, whole | skipped |
/// | known field of another wire type | fault (canonical protobuf skips it) |
/// | end of a group that never started | fault |
/// | group that ends with another number than it started with | skipped all the same |
/// | field number 0 or less | fault; not looked at within a skipped group |
/// | length that is negative as 64 bits, or beyond the input | fault |
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/core/wire.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// What a protobuf_reader found wrong.
enum class protobuf_fault_kind : std::uint8_t {
  none,
  short_input,        ///< a value goes on beyond the end
  overflow,           ///< a varint of more than 10 bytes
  negative_length,    ///< a length with its 64th bit set
  illegal_tag,        ///< field number 0 or less
  stray_group_end,    ///< the end of no group
  illegal_wire_type,  ///< 6 or 7
  wrong_wire_type,    ///< a known field, but not its type
  block_overrun,      ///< the last number of a packed block goes on beyond the block
};

/// The first thing that was wrong, and where.
struct protobuf_fault {
  protobuf_fault_kind kind = protobuf_fault_kind::none;
  std::uint8_t wire_type = 0;  ///< of the field, where that is what was wrong
  std::string_view field;      ///< its name in the schema, for wrong_wire_type; static
};

/// Wire types that a message of ours has.
enum class protobuf_type : std::uint8_t { varint = 0, block = 2 };

/// Reads the fields of a message one after the other. Total: whatever the input, it never leaves
/// it, never allocates, never recurses and never throws; time is linear in the input.
///
/// Faults are final, and go to a place that the readers of nested messages share: after the first
/// one each of them gives zero or nothing. So a decoder asks once, at the end. Borrows its input;
/// what it gives points into it. One thread at a time.
class protobuf_reader {
 public:
  /// @param fault must outlive the reader; a fault that is there already stays
  constexpr protobuf_reader(bytes_view message, protobuf_fault& fault) noexcept
      : input_(message), fault_(&fault) {}

  /// Reads the next tag. False: the message is over, or a fault was found. After true call exactly
  /// one of number(), block() and skip().
  [[nodiscard]] constexpr bool next() noexcept {
    if (failed() || position_ == input_.size()) {
      return false;
    }
    const std::uint64_t tag = varint();
    wire_type_ = static_cast<std::uint8_t>(tag & 7U);
    field_ = static_cast<std::int32_t>(static_cast<std::uint32_t>(tag >> 3U));
    if (!failed() && wire_type_ == 4) {
      fail(protobuf_fault_kind::stray_group_end);
    }
    if (!failed() && field_ <= 0) {
      fail(protobuf_fault_kind::illegal_tag);
    }
    return !failed();
  }
  /// The number of the field whose tag was read, from 1.
  [[nodiscard]] constexpr std::int32_t field() const noexcept { return field_; }
  /// True if that field's value is of this type.
  [[nodiscard]] constexpr bool is(protobuf_type type) const noexcept {
    return wire_type_ == static_cast<std::uint8_t>(type);
  }

  /// The field's value, which must be a varint.
  [[nodiscard]] constexpr std::uint64_t number(std::string_view field_name) noexcept {
    return demand(protobuf_type::varint, field_name) ? varint() : 0;
  }
  /// The field's value, which must be a block.
  [[nodiscard]] constexpr bytes_view block(std::string_view field_name) noexcept {
    return demand(protobuf_type::block, field_name) ? take_block() : bytes_view{};
  }
  /// The field's value as text, unchecked.
  [[nodiscard]] std::string_view text(std::string_view field_name) noexcept;
  /// Leaves the field out, whatever it is.
  constexpr void skip() noexcept {
    std::size_t depth = 0;  // of groups
    for (std::uint8_t type = wire_type_; !failed();) {
      switch (type) {
        case 0: static_cast<void>(varint()); break;
        case 1: static_cast<void>(take(8)); break;
        case 2: static_cast<void>(take_block()); break;
        case 3: ++depth; break;
        case 4: --depth; break;  // next() lets none through, so depth is not 0
        case 5: static_cast<void>(take(4)); break;
        default: wire_type_ = type; fail(protobuf_fault_kind::illegal_wire_type);
      }
      if (depth == 0) {
        return;
      }
      type = static_cast<std::uint8_t>(varint() & 7U);
    }
  }

  /// A number of a packed block, when the reader was made for one.
  [[nodiscard]] constexpr std::uint64_t packed() noexcept {
    const std::uint64_t value = varint();
    if (fault_->kind == protobuf_fault_kind::short_input) {
      fault_->kind = protobuf_fault_kind::block_overrun;
    }
    return value;
  }
  /// True while a packed block has numbers left.
  [[nodiscard]] constexpr bool has_packed() const noexcept {
    return !failed() && position_ < input_.size();
  }

 private:
  [[nodiscard]] constexpr bool failed() const noexcept {
    return fault_->kind != protobuf_fault_kind::none;
  }
  constexpr void fail(protobuf_fault_kind kind, std::string_view field_name = {}) noexcept {
    *fault_ = {kind, wire_type_, field_name};
  }
  [[nodiscard]] constexpr bool demand(protobuf_type type, std::string_view field_name) noexcept {
    if (!failed() && !is(type)) {
      fail(protobuf_fault_kind::wrong_wire_type, field_name);
    }
    return !failed();
  }

  [[nodiscard]] constexpr bytes_view take(std::uint64_t count) noexcept {
    if (failed() || count > input_.size() - position_) {
      if (!failed()) {
        fail(protobuf_fault_kind::short_input);
      }
      return {};
    }
    const bytes_view taken = input_.subspan(position_, static_cast<std::size_t>(count));
    position_ += taken.size();
    return taken;
  }
  [[nodiscard]] constexpr bytes_view take_block() noexcept {
    const std::uint64_t length = varint();
    if (!failed() && (length >> 63U) != 0) {
      fail(protobuf_fault_kind::negative_length);
    }
    return take(length);
  }
  [[nodiscard]] constexpr std::uint64_t varint() noexcept {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 7 * varint_bytes_max; shift += 7) {
      const bytes_view one = take(1);
      if (one.empty()) {
        return 0;
      }
      const auto next = std::to_integer<std::uint64_t>(one.front());
      value |= (next & 0x7FU) << shift;
      if (next < 0x80U) {
        return value;
      }
    }
    fail(protobuf_fault_kind::overflow);
    return 0;
  }

  bytes_view input_;
  protobuf_fault* fault_;
  std::size_t position_ = 0;
  std::int32_t field_ = 0;
  std::uint8_t wire_type_ = 0;
};

/// Bytes of a number field below 16; none if it has its default, 0.
[[nodiscard]] constexpr std::size_t protobuf_number_bytes(std::uint64_t value) noexcept {
  return value == 0 ? 0 : 1 + varint_bytes(value);
}
/// Bytes of a block field below 16 that is written even when it is empty: an element, a message.
[[nodiscard]] constexpr std::size_t protobuf_element_bytes(std::size_t length) noexcept {
  return 1 + varint_bytes(length) + length;
}
/// Bytes of a block field below 16; none if it has its default, nothing.
[[nodiscard]] constexpr std::size_t protobuf_block_bytes(std::size_t length) noexcept {
  return length == 0 ? 0 : protobuf_element_bytes(length);
}

/// Appends the fields of a message; numbers below 16, in the order of the calls.
class protobuf_writer {
 public:
  /// @param output grows at its end; must outlive the writer
  explicit protobuf_writer(bytes& output) noexcept : to_(output) {}

  /// Left out if it is 0.
  void number(std::uint8_t field, std::uint64_t value);
  /// The head of a block whose `length` bytes follow by other calls; written even when empty.
  void element(std::uint8_t field, std::size_t length);
  /// Left out if it is empty.
  void block(std::uint8_t field, bytes_view data);
  /// Left out if it is empty.
  void text(std::uint8_t field, std::string_view letters) {
    block(field, std::as_bytes(std::span<const char>{letters.data(), letters.size()}));
  }
  /// One number of a packed block.
  void packed(std::uint64_t value) { to_.varint(value); }

 private:
  void tag(std::uint8_t field, protobuf_type type) {
    to_.u8(static_cast<std::uint8_t>(unsigned{field} << 3U | static_cast<unsigned>(type)));
  }

  wire_writer to_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/legacy/protobuf.ipp"  // IWYU pragma: keep
#endif
