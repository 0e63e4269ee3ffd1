/// @file
/// Bodies of go_dqlite_command.hpp.
#pragma once

#include "quorlite/detail/legacy/go_dqlite_command.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <variant>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/legacy/protobuf.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {
namespace go_dqlite {

QUORLITE_DECL page_view frames_command::page(std::size_t index) const noexcept {
  const auto size = static_cast<std::size_t>(page_size);
  if (pages.empty()) {
    return {page_numbers[index], page_data.subspan(index * size, size)};
  }
  const page_v1& one = pages[index];
  return {one.number, one.data.first(std::min(one.data.size(), size))};
}

QUORLITE_DECL void frames_command::copy_page(std::size_t index, bytes_span into) const noexcept {
  const bytes_view data = page(index).data;
  std::copy(data.begin(), data.end(), into.begin());
  std::fill(into.begin() + static_cast<std::ptrdiff_t>(data.size()), into.end(), std::byte{0});
}

QUORLITE_DECL std::string_view name_of(const command& named) noexcept {
  constexpr std::string_view names[] = {"open", "begin", "frames", "undo", "end", "checkpoint"};
  return names[named.index()];
}

QUORLITE_DECL std::string explain(const decode_fault& fault) {
  std::string text{"corrupted command data: protobuf failure: "};
  switch (fault.wire.kind) {
    case protobuf_fault_kind::none: break;
    case protobuf_fault_kind::short_input: return text + "unexpected EOF";
    case protobuf_fault_kind::overflow: return text + "proto: integer overflow";
    case protobuf_fault_kind::negative_length:
      return text + "proto: negative length found during unmarshaling";
    case protobuf_fault_kind::illegal_tag: return text + "proto: illegal tag";
    case protobuf_fault_kind::stray_group_end:
      return text + "proto: wiretype end group for non-group";
    case protobuf_fault_kind::illegal_wire_type:
      return text + "proto: illegal wireType " + std::to_string(fault.wire.wire_type);
    case protobuf_fault_kind::wrong_wire_type:
      return text + "proto: wrong wireType = " + std::to_string(fault.wire.wire_type) +
             " for field " + std::string{fault.wire.field};
    case protobuf_fault_kind::block_overrun: return text + "packed number beyond its block";
  }
  switch (fault.broken) {
    case rule::none: break;
    case rule::has_payload: return "unknown command";
    case rule::one_version: return "unexpected data mix between v1 and v2";
    case rule::has_pages: return "frames without a page";
    case rule::page_size: return "frames with an impossible page size";
    case rule::page_number: return "frames with page number 0";
    case rule::data_length: return "frames whose page data is not as long as their pages";
    case rule::page_limit: return "frames with too many pages";
    case rule::entry_limit: return "entry too large";
  }
  return {};
}

namespace detail {

QUORLITE_DECL rule broken_rule(const frames_command& frames) noexcept {
  const std::size_t count = frames.page_count();
  if (!frames.pages.empty() && (!frames.page_numbers.empty() || !frames.page_data.empty())) {
    return rule::one_version;
  }
  if (count == 0) {
    return rule::has_pages;
  }
  if (frames.page_size <= 0 ||
      static_cast<std::uint32_t>(frames.page_size) > limits::page_size_max) {
    return rule::page_size;
  }
  const std::uint64_t data_bytes =
      std::uint64_t{count} * static_cast<std::uint64_t>(frames.page_size);
  if (count > limits::pages_per_entry || data_bytes > limits::entry_bytes) {
    return rule::page_limit;
  }
  if (frames.pages.empty() && frames.page_data.size() != data_bytes) {
    return rule::data_length;
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (frames.page(i).number.value == 0) {
      return rule::page_number;
    }
  }
  return rule::none;
}

QUORLITE_DECL errc code_of(rule broken) noexcept {
  const bool large = broken == rule::page_limit || broken == rule::entry_limit;
  return large ? errc::too_large : errc::malformed;
}

QUORLITE_DECL std::error_code command_rules::operator()(
    const frames_command& frames) const noexcept {
  if (const rule broken = broken_rule(frames); broken != rule::none) {
    return code_of(broken);
  }
  const bool sized = is_page_size(static_cast<std::uint64_t>(frames.page_size));
  const bool counted =
      !frames.commits() || (frames.truncate != 0 && frames.truncate <= limits::page_count_max);
  if (!sized || !counted) {
    return errc::malformed;
  }
  const std::uint64_t lock = lock_page(static_cast<std::uint32_t>(frames.page_size), lock_byte);
  for (std::size_t i = 0; i < frames.page_count(); ++i) {
    const std::uint64_t number = frames.page(i).number.value;
    if (number > limits::page_count_max || number == lock) {
      return errc::malformed;
    }
  }
  return of_name(frames.database_name());
}

}  // namespace detail

QUORLITE_DECL std::error_code validate(const command& checked, std::uint64_t lock_byte) noexcept {
  return checked.valueless_by_exception() ? make_error_code(errc::malformed)
                                          : std::visit(detail::command_rules{lock_byte}, checked);
}

}  // namespace go_dqlite
}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
