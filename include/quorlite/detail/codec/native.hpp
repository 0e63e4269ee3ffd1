/// @file
/// The native entry: a command as bytes, small because every COMMIT sends and stores it.
///
/// Envelope, the same in every version, so that damage and age can be told apart without knowing
/// the rest:
///
/// | offset | bytes | field |
/// |--------|-------|-------|
/// | 0      | 4     | magic C5 51 4C 9A |
/// | 4      | 1     | format version, 1 |
/// | 5      | 1     | kind: 1 open, 2 frames, 3 undo, 4 checkpoint, 5 drop, 6 barrier |
/// | 6      | 4     | CRC32C of all bytes of the entry but these four |
/// | 10     | 1–4   | payload length, varint; the payload follows, and nothing follows it |
///
/// The payload, by kind: native_payload.hpp. The rules on its values: native_rules.hpp.
///
/// The magic is far (at least 6 bits in its first byte) from the first byte of every entry of the
/// go-dqlite formats, so the two can share a log.
///
/// What allocates may throw std::bad_alloc; nothing here throws anything else.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <system_error>
#include <variant>

#include "quorlite/bytes.hpp"
#include "quorlite/detail/core/crc32c.hpp"
#include "quorlite/detail/codec/native_payload.hpp"
#include "quorlite/detail/codec/native_rules.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/codec/command.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

inline constexpr std::uint32_t entry_magic = 0x9A4C51C5U;  // little-endian: C5 51 4C 9A
inline constexpr std::uint8_t entry_version = 1;
inline constexpr std::size_t entry_magic_bytes = 4;
inline constexpr std::size_t entry_crc_offset = 6;
inline constexpr std::size_t entry_crc_end = 10;

/// How the first bytes of an entry compare with the magic.
enum class magic_match : std::uint8_t { exact, damaged, foreign };

/// Up to 8 wrong bits are damage to an entry of ours; but at most 5 in the first byte, since at 6
/// begin the entries of the go-dqlite formats, which must never be taken for damage.
[[nodiscard]] inline magic_match match_entry_magic(bytes_view entry) noexcept {
  if (entry.size() < entry_magic_bytes) {
    return magic_match::foreign;
  }
  const std::uint32_t wrong = load_little_endian<std::uint32_t>(entry.data()) ^ entry_magic;
  if (wrong == 0) {
    return magic_match::exact;
  }
  return std::popcount(wrong) <= 8 && std::popcount(wrong & 0xFFU) <= 5 ? magic_match::damaged
                                                                        : magic_match::foreign;
}

[[nodiscard]] inline std::uint32_t entry_crc(bytes_view entry) noexcept {
  return crc32c_extend(crc32c(entry.first(entry_crc_offset)), entry.subspan(entry_crc_end));
}

/// What an envelope holds, once its checksum was right.
struct entry_envelope {
  std::uint8_t version = 0;
  std::uint8_t kind = 0;
  bytes_view payload;
  bool trailing = false;  ///< bytes follow that are no part of the entry
};

[[nodiscard]] inline result<entry_envelope> open_envelope(bytes_view entry) noexcept {
  if (entry.size() > limits::entry_bytes) {
    return failed(errc::malformed);
  }
  switch (match_entry_magic(entry)) {
    case magic_match::exact: break;
    case magic_match::damaged: return failed(errc::corrupt);
    case magic_match::foreign: return failed(errc::malformed);
  }
  wire_reader reader{entry};
  static_cast<void>(reader.u32());
  entry_envelope opened;
  opened.version = reader.u8();
  opened.kind = reader.u8();
  const std::uint32_t crc = reader.u32();
  opened.payload = reader.take(reader.varint());
  // A short one was cut: our proposer never sends it, so this replica's copy is at fault.
  if (reader.failed() || entry_crc(entry.first(reader.position())) != crc) {
    return failed(errc::corrupt);
  }
  opened.trailing = !reader.finished();
  return opened;
}

namespace native {

/// More than one page record takes besides its payload, in bytes.
inline constexpr std::size_t page_record_overhead_bytes = 5 + 8 + 3;

/// More than a frames entry takes besides its page records, in bytes. An entry whose records add up
/// to at most `n - frames_overhead_bytes(…)`, each counted as its payload and
/// page_record_overhead_bytes, has at most n bytes.
/// @param database_count databases in the entry
/// @param names_bytes the lengths of their names, added
[[nodiscard]] constexpr std::size_t frames_overhead_bytes(std::size_t database_count,
                                                          std::size_t names_bytes) noexcept {
  constexpr std::size_t envelope = detail::entry_crc_end + 4;
  constexpr std::size_t head = varint_bytes_max + varint_bytes_max + 5 + 1;
  constexpr std::size_t database = 1 + varint_bytes_max + 8 + 1 + 5 + 8 + 3;
  return envelope + head + database_count * database + names_bytes;
}

/// The exact size of the entry that encode() makes of a valid command, in bytes. O(page records),
/// any thread.
/// @pre validate() has nothing against the command
[[nodiscard]] inline std::size_t encoded_bytes(const command& counted) {
  const std::size_t payload = detail::payload_bytes(counted);
  return detail::entry_crc_end + varint_bytes(payload) + payload;
}

/// True for entries that decode() takes for one of ours, whole or damaged; false: ask the codec of
/// another format.
[[nodiscard]] inline bool is_ours(bytes_view entry) noexcept {
  return detail::match_entry_magic(entry) != detail::magic_match::foreign;
}

/// Appends the command's entry to `out`, after checking it with validate(). Any thread.
/// @param lock_byte where the lock page lies; the same on every replica
/// @returns errc::malformed (a rule is broken) or too_large (over limits::entry_bytes), and `out`
///          is as it was; or nothing
[[nodiscard]] inline std::error_code encode(
    const command& encoded, bytes& out, std::uint64_t lock_byte = limits::lock_byte_default) {
  if (const auto bad = validate(encoded, lock_byte)) {
    return bad;
  }
  const std::size_t payload = detail::payload_bytes(encoded);
  const std::size_t total = detail::entry_crc_end + varint_bytes(payload) + payload;
  if (total > limits::entry_bytes) {
    return errc::too_large;
  }
  const std::size_t start = out.size();
  out.reserve(start + total);
  wire_writer writer{out};
  writer.u32(detail::entry_magic);
  writer.u8(detail::entry_version);
  writer.u8(static_cast<std::uint8_t>(encoded.body.index() + 1));
  writer.u32(0);
  writer.varint(payload);
  detail::payload_writer<wire_writer> payload_writer{writer};
  payload_writer.id(encoded.id);
  std::visit(payload_writer, encoded.body);
  const std::uint32_t crc = detail::entry_crc(bytes_view{out}.subspan(start));
  detail::store_little_endian(out.data() + start + detail::entry_crc_offset, crc);
  return {};
}

/// The command that an entry holds. Total: any bytes give a valid command or an error.
///
/// O(entry). Memory: at most 4 bytes for each byte of the entry. Any thread.
/// @param entry borrowed by the command for as long as that lives
/// @param lock_byte where the lock page lies; the same on every replica
/// @returns errc::corrupt: this replica's copy is damaged, others may hold it whole.
///          errc::needs_upgrade: whole, but of a newer version: never skip it. errc::malformed:
///          foreign, or whole and against the rules: every replica refuses it alike.
[[nodiscard]] inline result<command> decode(
    bytes_view entry, std::uint64_t lock_byte = limits::lock_byte_default) {
  const result<detail::entry_envelope> opened = detail::open_envelope(entry);
  if (!opened) {
    return failed(opened.error());
  }
  if (opened->version != detail::entry_version || opened->kind == 0 ||
      opened->kind > static_cast<std::uint8_t>(detail::entry_kind::barrier)) {
    return failed(errc::needs_upgrade);
  }
  command decoded;
  detail::payload_reader reader{opened->payload};
  if (opened->trailing || !reader.read(static_cast<detail::entry_kind>(opened->kind), decoded)) {
    return failed(errc::malformed);
  }
  if (const auto bad = validate(decoded, lock_byte)) {
    return failed(bad);
  }
  return decoded;
}

}  // namespace native
}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
