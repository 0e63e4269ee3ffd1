/// @file
/// Bodies of protobuf.hpp.
#pragma once

#include "quorlite/detail/legacy/protobuf.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL std::string_view protobuf_reader::text(std::string_view field_name) noexcept {
  const bytes_view letters = block(field_name);
  return {reinterpret_cast<const char*>(letters.data()), letters.size()};
}

QUORLITE_DECL void protobuf_writer::number(std::uint8_t field, std::uint64_t value) {
  if (value != 0) {
    tag(field, protobuf_type::varint);
    to_.varint(value);
  }
}

QUORLITE_DECL void protobuf_writer::element(std::uint8_t field, std::size_t length) {
  tag(field, protobuf_type::block);
  to_.varint(length);
}

QUORLITE_DECL void protobuf_writer::block(std::uint8_t field, bytes_view data) {
  if (!data.empty()) {
    element(field, data.size());
    to_.raw(data);
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
