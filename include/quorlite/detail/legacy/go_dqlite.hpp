/// @file
/// Entries of a go-dqlite log: bytes to commands and back. Schema: go_dqlite_command.hpp.
///
/// decode() keeps every rule of the decoder that this format grew up with:
///
/// | input | outcome |
/// |-------|---------|
/// | unknown field | skipped |
/// | known field of another wire type | refused |
/// | number, text or bytes given twice | the last one counts |
/// | several of the six commands, or one twice | the last one counts; nothing is merged |
/// | page_numbers packed, unpacked, both | appended in their order |
/// | number of more than 32 bits in a 32-bit field | cut to its low 32 bits |
/// | text that is no UTF-8 | taken as it is |
///
/// and refuses what that one did not look at: an entry without a command, frames without a page, of
/// an impossible page size, with page number 0, with page_data of another length than the pages,
/// with v1 and v2 pages at once, a packed block whose last number leaves it, and all that exceeds
/// limits.hpp. What is refused is refused before anything else is touched, and alike everywhere.
///
/// encode() writes the one canonical form: ascending field numbers, defaults (0, nothing) left out,
/// page_numbers packed, varints in their shortest form, negative int32 as 10 bytes; the command
/// itself is written even when it is empty (Undo of txid 0: `22 00`). It writes v1 for commands
/// that hold v1 pages; the last releases wrote v2 only.
///
/// The first byte of an entry that we write is one of 0a 12 1a 22 2a 32: each is 6 wrong bits or
/// more away from the magic of native.hpp.
///
/// What allocates may throw std::bad_alloc; nothing here throws anything else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <system_error>
#include <utility>
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

/// Reads messages; what goes wrong is in the fault.
class command_reader {
 public:
  explicit command_reader(decode_fault& fault) noexcept : fault_(&fault) {}

  /// @returns false if no command was there; ask the fault first
  [[nodiscard]] bool read(bytes_view entry, command& into) {
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
        case 6:
          read_name(reader.block("Checkpoint"), into.emplace<checkpoint_command>().name);
          break;
        default: reader.skip(); break;
      }
    }
    return found;
  }

 private:
  void read_name(bytes_view message, std::string_view& into) noexcept {
    protobuf_reader reader{message, fault_->wire};
    while (reader.next()) {
      switch (reader.field()) {
        case 1: into = reader.text("Name"); break;
        default: reader.skip(); break;
      }
    }
  }
  void read_txid(bytes_view message, std::uint64_t& into) noexcept {
    protobuf_reader reader{message, fault_->wire};
    while (reader.next()) {
      switch (reader.field()) {
        case 1: into = reader.number("Txid"); break;
        default: reader.skip(); break;
      }
    }
  }
  void read_begin(bytes_view message, begin_command& into) noexcept {
    protobuf_reader reader{message, fault_->wire};
    while (reader.next()) {
      switch (reader.field()) {
        case 1: into.txid = reader.number("Txid"); break;
        case 2: into.name = reader.text("Name"); break;
        default: reader.skip(); break;
      }
    }
  }

  void read_frames(bytes_view message, frames_command& into) {
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
  void read_page(bytes_view message, frames_command& into) {
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
  void read_page_numbers(protobuf_reader& reader, frames_command& into) {
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

  /// What is allocated is bounded here: 2^17 pages of either kind.
  [[nodiscard]] bool has_room(const frames_command& into) noexcept {
    if (into.pages.size() + into.page_numbers.size() >= limits::pages_per_entry) {
      fault_->broken = rule::page_limit;
    }
    return fault_->broken == rule::none;
  }

  [[nodiscard]] static std::uint32_t to_uint32(std::uint64_t value) noexcept {
    return static_cast<std::uint32_t>(value);
  }
  [[nodiscard]] static std::int32_t to_int32(std::uint64_t value) noexcept {
    return static_cast<std::int32_t>(to_uint32(value));
  }

  decode_fault* fault_;
};

/// int32 as protobuf writes it: negative ones keep their sign through 64 bits.
[[nodiscard]] inline std::uint64_t sign_extended(std::int32_t value) noexcept {
  return static_cast<std::uint64_t>(std::int64_t{value});
}

/// Sizes of the messages in canonical form, without their own tag and length.
struct message_sizes {
  [[nodiscard]] std::size_t operator()(const open_command& of) const noexcept {
    return protobuf_block_bytes(of.name.size());
  }
  [[nodiscard]] std::size_t operator()(const begin_command& of) const noexcept {
    return protobuf_number_bytes(of.txid) + protobuf_block_bytes(of.name.size());
  }
  [[nodiscard]] std::size_t operator()(const undo_command& of) const noexcept {
    return protobuf_number_bytes(of.txid);
  }
  [[nodiscard]] std::size_t operator()(const end_command& of) const noexcept {
    return protobuf_number_bytes(of.txid);
  }
  [[nodiscard]] std::size_t operator()(const checkpoint_command& of) const noexcept {
    return protobuf_block_bytes(of.name.size());
  }
  [[nodiscard]] std::size_t operator()(const page_v1& of) const noexcept {
    return protobuf_block_bytes(of.data.size()) + protobuf_number_bytes(of.flags) +
           protobuf_number_bytes(of.number.value);
  }
  [[nodiscard]] std::size_t operator()(const frames_command& of) const noexcept {
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
  [[nodiscard]] static std::size_t packed(const frames_command& of) noexcept {
    std::size_t size = 0;
    for (const page_number number : of.page_numbers) {
      size += varint_bytes(number.value);
    }
    return size;
  }
};

/// Writes the messages in canonical form, without their own tag and length.
class message_writer {
 public:
  explicit message_writer(protobuf_writer& to) noexcept : to_(&to) {}

  void operator()(const open_command& open) { to_->text(1, open.name); }
  void operator()(const begin_command& begin) {
    to_->number(1, begin.txid);
    to_->text(2, begin.name);
  }
  void operator()(const undo_command& undo) { to_->number(1, undo.txid); }
  void operator()(const end_command& end) { to_->number(1, end.txid); }
  void operator()(const checkpoint_command& checkpoint) { to_->text(1, checkpoint.name); }
  void operator()(const frames_command& frames) {
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

 private:
  protobuf_writer* to_;
};

}  // namespace detail

/// The command that an entry holds. Total: any bytes give a command that keeps to every rule above,
/// or an error.
///
/// O(entry); at most limits::pages_per_entry page records of 24 bytes are allocated (twice that
/// while they grow), whatever the entry declares. Any thread.
/// @param entry borrowed by the command for as long as that lives
/// @param why where to say what was wrong, for explain(); untouched by a command that is fine
/// @returns errc::malformed, or too_large (over a limit); every replica refuses it alike
[[nodiscard]] inline result<command> decode(bytes_view entry, decode_fault* why = nullptr) {
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
    return failed(detail::code_of(fault.broken));
  }
  return decoded;
}

/// Appends the command's entry in canonical form to `out`. What it writes, decode() reads as the
/// same command. Any thread.
/// @returns errc::malformed or too_large, where decode() would say so, and `out` is as it was; or
///          nothing
[[nodiscard]] inline std::error_code encode(const command& encoded, bytes& out) {
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
