/// @file
/// Bodies of go_dqlite.hpp.
#pragma once

#include "quorlite/detail/legacy/go_dqlite.hpp"

#include <cstddef>
#include <cstdint>
#include <system_error>
#include <variant>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/legacy/go_dqlite_command.hpp"
#include "quorlite/detail/legacy/protobuf.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {
namespace go_dqlite {
namespace detail {

QUORLITE_DECL bool command_reader::read(bytes_view entry, command& into) {
  bool found = false;
  protobuf_reader reader{entry, fault_->wire};
  while (fault_->broken == rule::none && reader.next()) {
    found = found || (reader.field() >= 1 && reader.field() <= 6);
    switch (reader.field()) {
      case 1: read_name(reader.block("Open"), into.emplace<open_command>().name); break;
      case 2: read_begin(reader.block("Begin"), into.emplace<begin_command>()); break;
      case 3: read_frames(reader.block("Frames"), into.emplace<frames_command>()); break;
      case 4: read_txid(reader.block("Undo"), into.emplace<undo_command>().txid); break;
      case 5: read_txid(reader.block("End"), into.emplace<end_command>().txid); break;
      case 6: read_name(reader.block("Checkpoint"), into.emplace<checkpoint_command>().name); break;
      default: reader.skip(); break;
    }
  }
  return found;
}

QUORLITE_DECL void command_reader::read_name(bytes_view message, std::string_view& into) noexcept {
  protobuf_reader reader{message, fault_->wire};
  while (reader.next()) {
    switch (reader.field()) {
      case 1: into = reader.text("Name"); break;
      default: reader.skip(); break;
    }
  }
}

QUORLITE_DECL void command_reader::read_txid(bytes_view message, std::uint64_t& into) noexcept {
  protobuf_reader reader{message, fault_->wire};
  while (reader.next()) {
    switch (reader.field()) {
      case 1: into = reader.number("Txid"); break;
      default: reader.skip(); break;
    }
  }
}

QUORLITE_DECL void command_reader::read_begin(bytes_view message, begin_command& into) noexcept {
  protobuf_reader reader{message, fault_->wire};
  while (reader.next()) {
    switch (reader.field()) {
      case 1: into.txid = reader.number("Txid"); break;
      case 2: into.name = reader.text("Name"); break;
      default: reader.skip(); break;
    }
  }
}

QUORLITE_DECL void command_reader::read_frames(bytes_view message, frames_command& into) {
  protobuf_reader reader{message, fault_->wire};
  while (fault_->broken == rule::none && reader.next()) {
    switch (reader.field()) {
      case 1: into.txid = reader.number("Txid"); break;
      case 2: into.page_size = to_int32(reader.number("PageSize")); break;
      case 3: read_page(reader.block("Pages"), into); break;
      case 4: into.truncate = to_uint32(reader.number("Truncate")); break;
      case 5: into.is_commit = to_int32(reader.number("IsCommit")); break;
      case 6: into.sync_flags = to_uint32(reader.number("SyncFlags")); break;
      case 7: into.filename = reader.text("Filename"); break;
      case 8: read_page_numbers(reader, into); break;
      case 9: into.page_data = reader.block("PageData"); break;
      default: reader.skip(); break;
    }
  }
}

QUORLITE_DECL void command_reader::read_page(bytes_view message, frames_command& into) {
  if (!has_room(into)) {
    return;
  }
  page_v1& page = into.pages.emplace_back();
  protobuf_reader reader{message, fault_->wire};
  while (reader.next()) {
    switch (reader.field()) {
      case 1: page.data = reader.block("Data"); break;
      case 2: page.flags = to_uint32(reader.number("Flags")); break;
      case 3: page.number = page_number{to_uint32(reader.number("Number"))}; break;
      default: reader.skip(); break;
    }
  }
}

QUORLITE_DECL void command_reader::read_page_numbers(protobuf_reader& reader,
                                                     frames_command& into) {
  constexpr std::string_view name = "PageNumbers";
  if (reader.is(protobuf_type::varint)) {
    const std::uint64_t number = reader.number(name);
    if (has_room(into)) {
      into.page_numbers.emplace_back(to_uint32(number));
    }
    return;
  }
  protobuf_reader numbers{reader.block(name), fault_->wire};
  while (numbers.has_packed() && has_room(into)) {
    into.page_numbers.emplace_back(to_uint32(numbers.packed()));
  }
}

QUORLITE_DECL bool command_reader::has_room(const frames_command& into) noexcept {
  if (into.pages.size() + into.page_numbers.size() >= limits::pages_per_entry) {
    fault_->broken = rule::page_limit;
  }
  return fault_->broken == rule::none;
}

QUORLITE_DECL std::size_t message_sizes::operator()(const page_v1& of) const noexcept {
  return protobuf_block_bytes(of.data.size()) + protobuf_number_bytes(of.flags) +
         protobuf_number_bytes(of.number.value);
}

QUORLITE_DECL std::size_t message_sizes::operator()(const frames_command& of) const noexcept {
  std::size_t size =
      protobuf_number_bytes(of.txid) + protobuf_number_bytes(sign_extended(of.page_size)) +
      protobuf_number_bytes(of.truncate) + protobuf_number_bytes(sign_extended(of.is_commit)) +
      protobuf_number_bytes(of.sync_flags) + protobuf_block_bytes(of.filename.size()) +
      protobuf_block_bytes(packed(of)) + protobuf_block_bytes(of.page_data.size());
  for (const page_v1& page : of.pages) {
    size += protobuf_element_bytes((*this)(page));
  }
  return size;
}

QUORLITE_DECL std::size_t message_sizes::packed(const frames_command& of) noexcept {
  std::size_t size = 0;
  for (const page_number number : of.page_numbers) {
    size += varint_bytes(number.value);
  }
  return size;
}

QUORLITE_DECL void message_writer::operator()(const begin_command& begin) {
  to_->number(1, begin.txid);
  to_->text(2, begin.name);
}

QUORLITE_DECL void message_writer::operator()(const frames_command& frames) {
  to_->number(1, frames.txid);
  to_->number(2, sign_extended(frames.page_size));
  for (const page_v1& page : frames.pages) {
    to_->element(3, message_sizes{}(page));
    to_->block(1, page.data);
    to_->number(2, page.flags);
    to_->number(3, page.number.value);
  }
  to_->number(4, frames.truncate);
  to_->number(5, sign_extended(frames.is_commit));
  to_->number(6, frames.sync_flags);
  to_->text(7, frames.filename);
  if (!frames.page_numbers.empty()) {
    to_->element(8, message_sizes::packed(frames));
    for (const page_number number : frames.page_numbers) {
      to_->packed(number.value);
    }
  }
  to_->block(9, frames.page_data);
}

}  // namespace detail

QUORLITE_DECL result<command> decode(bytes_view entry, decode_fault* why) {
  result<command> decoded;
  decode_fault fault;
  if (entry.size() > limits::entry_bytes) {
    fault.broken = rule::entry_limit;
  } else {
    const bool found = detail::command_reader{fault}.read(entry, *decoded);
    const bool whole = fault.wire.kind == protobuf_fault_kind::none && fault.broken == rule::none;
    if (whole && !found) {
      fault.broken = rule::has_payload;
    } else if (const auto* const frames = std::get_if<frames_command>(&*decoded);
               whole && frames != nullptr) {
      fault.broken = detail::broken_rule(*frames);
    }
  }
  if (fault.wire.kind != protobuf_fault_kind::none || fault.broken != rule::none) {
    if (why != nullptr) {
      *why = fault;
    }
    return fail(detail::code_of(fault.broken));
  }
  return decoded;
}

QUORLITE_DECL std::error_code encode(const command& encoded, bytes& out) {
  if (encoded.valueless_by_exception()) {
    return errc::malformed;
  }
  if (const auto* const frames = std::get_if<frames_command>(&encoded)) {
    if (const rule broken = detail::broken_rule(*frames); broken != rule::none) {
      return detail::code_of(broken);
    }
  }
  const std::size_t length = std::visit(detail::message_sizes{}, encoded);
  const std::size_t total = protobuf_element_bytes(length);
  if (total > limits::entry_bytes) {
    return errc::too_large;
  }
  out.reserve(out.size() + total);
  protobuf_writer writer{out};
  writer.element(static_cast<std::uint8_t>(encoded.index() + 1), length);
  std::visit(detail::message_writer{writer}, encoded);
  return {};
}

}  // namespace go_dqlite
}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
