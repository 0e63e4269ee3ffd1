/// @file
/// Bodies of native.hpp: the envelope of an entry, and the calls that make and read one.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <system_error>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/codec/command.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/codec/native_payload.ipp"  // IWYU pragma: keep
#include "quorlite/detail/core/crc32c.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/error.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// How the first bytes of an entry compare with the magic.
enum class magic_match : std::uint8_t { exact, damaged, foreign };

/// Up to 8 wrong bits are damage to an entry of ours; but at most 5 in the first byte, since at 6
/// begin the entries of the go-dqlite formats, which must never be taken for damage.
QUORLITE_DECL magic_match match_entry_magic(bytes_view entry) noexcept {
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

QUORLITE_DECL std::uint32_t entry_crc(bytes_view entry) noexcept {
  return crc32c_extend(crc32c(entry.first(entry_crc_offset)), entry.subspan(entry_crc_end));
}

/// What an envelope holds, once its checksum was right.
struct entry_envelope {
  std::uint8_t version = 0;
  std::uint8_t kind = 0;
  bytes_view payload;
  bool trailing = false;  ///< bytes follow that are no part of the entry
};

QUORLITE_DECL result<entry_envelope> open_envelope(bytes_view entry) noexcept {
  if (entry.size() > limits::entry_bytes) {
    return fail(errc::malformed);
  }
  switch (match_entry_magic(entry)) {
    case magic_match::exact: break;
    case magic_match::damaged: return fail(errc::corrupt);
    case magic_match::foreign: return fail(errc::malformed);
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
    return fail(errc::corrupt);
  }
  opened.trailing = !reader.finished();
  return opened;
}

/// False: a newer build made it.
QUORLITE_DECL bool is_known_envelope(const entry_envelope& opened) noexcept {
  const entry_kind last = opened.version == 1 ? entry_kind::barrier : entry_kind::identity;
  return opened.version != 0 && opened.version <= entry_version_max && opened.kind != 0 &&
         opened.kind <= static_cast<std::uint8_t>(last);
}

namespace native {

QUORLITE_DECL std::size_t frames_overhead_bytes(std::size_t database_count,
                                                std::size_t names_bytes) noexcept {
  constexpr std::size_t envelope = entry_crc_end + 4;
  constexpr std::size_t witness = varint_bytes_max + 8;
  constexpr std::size_t builds_on = 1 + varint_bytes_max + varint_bytes_max;
  constexpr std::size_t head = varint_bytes_max + varint_bytes_max + witness + 5 + 1;
  constexpr std::size_t database = 1 + varint_bytes_max + 8 + builds_on + 1 + 5 + 8 + 3;
  return envelope + head + database_count * database + names_bytes;
}

QUORLITE_DECL std::size_t encoded_bytes(const command& counted) {
  const std::size_t payload = payload_bytes(counted);
  return entry_crc_end + varint_bytes(payload) + payload;
}

QUORLITE_DECL bool is_ours(bytes_view entry) noexcept {
  return match_entry_magic(entry) != magic_match::foreign;
}

QUORLITE_DECL std::error_code encode(const command& encoded, bytes& out, std::uint64_t lock_byte) {
  if (const auto bad = validate(encoded, lock_byte)) {
    return bad;
  }
  const std::size_t payload = payload_bytes(encoded);
  const std::size_t total = entry_crc_end + varint_bytes(payload) + payload;
  if (total > limits::entry_bytes) {
    return errc::too_large;
  }
  const std::size_t start = out.size();
  out.reserve(start + total);
  wire_writer writer{out};
  writer.u32(entry_magic);
  writer.u8(encoded.format);
  writer.u8(static_cast<std::uint8_t>(encoded.body.index() + 1));
  writer.u32(0);
  writer.varint(payload);
  payload_writer<wire_writer>{writer, encoded}.write();
  const std::uint32_t crc = entry_crc(bytes_view{out}.subspan(start));
  store_little_endian(out.data() + start + entry_crc_offset, crc);
  return {};
}

QUORLITE_DECL result<command> decode(bytes_view entry, std::uint64_t lock_byte) {
  const result<entry_envelope> opened = open_envelope(entry);
  if (!opened) {
    return fail(opened.error());
  }
  if (!is_known_envelope(*opened)) {
    return fail(errc::needs_upgrade);
  }
  command decoded;
  decoded.format = opened->version;
  payload_reader reader{opened->payload};
  if (opened->trailing || !reader.read(static_cast<entry_kind>(opened->kind), decoded)) {
    return fail(errc::malformed);
  }
  if (const auto bad = validate(decoded, lock_byte)) {
    return fail(bad);
  }
  return decoded;
}

}  // namespace native
}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
