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

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/legacy/go_dqlite_command.hpp"
#include "quorlite/detail/legacy/protobuf.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

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
  [[nodiscard]] bool read(bytes_view entry, command& into);

 private:
  void read_name(bytes_view message, std::string_view& into) noexcept;
  void read_txid(bytes_view message, std::uint64_t& into) noexcept;
  void read_begin(bytes_view message, begin_command& into) noexcept;

  void read_frames(bytes_view message, frames_command& into);
  void read_page(bytes_view message, frames_command& into);
  void read_page_numbers(protobuf_reader& reader, frames_command& into);

  /// What is allocated is bounded here: 2^17 pages of either kind.
  [[nodiscard]] bool has_room(const frames_command& into) noexcept;

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
  [[nodiscard]] std::size_t operator()(const page_v1& of) const noexcept;
  [[nodiscard]] std::size_t operator()(const frames_command& of) const noexcept;
  [[nodiscard]] static std::size_t packed(const frames_command& of) noexcept;
};

/// Writes the messages in canonical form, without their own tag and length.
class message_writer {
 public:
  explicit message_writer(protobuf_writer& to) noexcept : to_(&to) {}

  void operator()(const open_command& open) { to_->text(1, open.name); }
  void operator()(const begin_command& begin);
  void operator()(const undo_command& undo) { to_->number(1, undo.txid); }
  void operator()(const end_command& end) { to_->number(1, end.txid); }
  void operator()(const checkpoint_command& checkpoint) { to_->text(1, checkpoint.name); }
  void operator()(const frames_command& frames);

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
[[nodiscard]] QUORLITE_DECL result<command> decode(bytes_view entry, decode_fault* why = nullptr);

/// Appends the command's entry in canonical form to `out`. What it writes, decode() reads as the
/// same command. Any thread.
/// @returns errc::malformed or too_large, where decode() would say so, and `out` is as it was; or
///          nothing
[[nodiscard]] QUORLITE_DECL std::error_code encode(const command& encoded, bytes& out);

}  // namespace go_dqlite
}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/legacy/go_dqlite.ipp"  // IWYU pragma: keep
#endif
