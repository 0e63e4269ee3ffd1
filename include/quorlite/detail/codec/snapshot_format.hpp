/// @file
/// The native snapshot: all databases of a replica as of one log position, in bytes. Equal state,
/// equal bytes.
///
/// Integers are little-endian and of fixed width. The preamble is the same in every version:
///
/// | offset | bytes | preamble |
/// |--------|-------|----------|
/// | 0      | 8     | magic 89 71 6C 73 6E 61 70 0A (letters "qlsnap" within) |
/// | 8      | 4     | format version, 1 |
/// | 12     | 8     | size of the header, H |
/// | 20     | 4     | CRC32C of bytes 0–19 |
/// | 24     | H     | header |
/// | 24 + H |       | pages of each database, in chunks; then the footer |
///
/// | field of the header | type | |
/// |---------------------|------|-|
/// | log index, term     | u64, u64 | the last entry that the state contains |
/// | database count      | u32  | then for each, ascending by name: |
/// | – name              | u8 length, letters | |
/// | – page size         | u32  | bytes; 0 while there is no page |
/// | – page count        | u64  | |
/// | – version           | u64  | transactions committed so far |
/// | – hash              | u64  | sum of the page hashes (page_hash.hpp) |
/// | notes               | u32 length, bytes | opaque |
/// | staged count        | u32  | entries of uncommitted transactions, in log order; for each: |
/// | – entry             | u32 length, bytes | as it stood in the log |
/// | checksum            | u32  | CRC32C of the header before it |
///
/// | bytes | a chunk: 65536 bytes of pages, fewer in the last one of a database |
/// |-------|-----|
/// | n * page_size | images of n = 65536 / page_size pages in a row; zeros for the lock page |
/// | 4     | CRC32C of {u32 database's place in the header from 0, u32 first page number, images} |
///
/// | offset | bytes | footer |
/// |--------|-------|--------|
/// | 0      | 8     | magic 71 6C 73 65 6E 64 0A 8A (letters "qlsend" within) |
/// | 8      | 8     | size of the whole snapshot, footer included |
/// | 16     | 8     | sum of the hashes of all databases, modulo 2^64 |
/// | 24     | 4     | CRC32C of footer bytes 0–23 |
///
/// All chunks but the last of a database have one size, so the place of every page is arithmetic. A
/// chunk's checksum covers where it belongs, so one in the wrong place is found at once.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/detail/core/crc32c.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// One database of a snapshot.
struct snapshot_database {
  std::string name;
  std::uint32_t page_size = 0;   ///< bytes; 0 if, and only if, page_count is 0
  std::uint64_t page_count = 0;  ///< pages
  version_number version;        ///< transactions committed so far
  std::uint64_t hash = 0;        ///< sum of the page hashes; 0 without pages
};

/// All of a snapshot but its pages.
struct snapshot_header {
  log_position at;                           ///< the last entry that the state contains
  std::vector<snapshot_database> databases;  ///< ascending by name; at most limits::databases
  bytes notes;                               ///< opaque; at most limits::notes_bytes
  std::vector<bytes> staged;  ///< entries of transactions under way, in log order, none empty; at
                              ///< most limits::staged_bytes and snapshot_staged_entries
};

/// The most staged entries in one snapshot: 1 GiB of them at 4 KiB each.
inline constexpr std::size_t snapshot_staged_entries = std::size_t{1} << 18U;

inline constexpr std::uint64_t snapshot_magic = 0x0A70616E736C7189U;
inline constexpr std::uint64_t snapshot_end_magic = 0x8A0A646E65736C71U;
inline constexpr std::uint32_t snapshot_version = 1;
inline constexpr std::size_t snapshot_preamble_bytes = 8 + 4 + 8 + 4;
inline constexpr std::size_t snapshot_footer_bytes = 8 + 8 + 8 + 4;
inline constexpr std::size_t snapshot_chunk_bytes = limits::page_size_max;  // of pages
inline constexpr std::size_t snapshot_crc_bytes = 4;
inline constexpr std::size_t snapshot_database_bytes_min = 1 + 1 + 4 + 8 + 8 + 8;

/// No header is longer: whatever is declared, a parser gathers no more than this.
inline constexpr std::uint64_t snapshot_header_bytes_max =
    8 + 8 + 4 + limits::databases * (snapshot_database_bytes_min + limits::database_name_bytes) +
    4 + limits::notes_bytes + 4 + snapshot_staged_entries * 4 + limits::staged_bytes + 4;

/// Bytes of all chunks of a database. At most 2^32 pages of 2^16 bytes and 4 more for each: with
/// 1024 databases the sum stays below 2^60, so nothing here can wrap.
[[nodiscard]] constexpr std::uint64_t snapshot_pages_bytes(const snapshot_database& of) noexcept {
  const std::uint64_t images = of.page_count * of.page_size;
  const std::uint64_t chunks = (images + snapshot_chunk_bytes - 1) / snapshot_chunk_bytes;
  return images + chunks * snapshot_crc_bytes;
}

/// Where a chunk belongs: the start value of its checksum.
[[nodiscard]] inline std::uint32_t snapshot_chunk_seed(std::size_t ordinal,
                                                       std::uint64_t first_page) noexcept {
  std::array<std::byte, 8> place{};
  store_little_endian(place.data(), static_cast<std::uint32_t>(ordinal));
  store_little_endian(place.data() + 4, static_cast<std::uint32_t>(first_page));
  return crc32c(place);
}

/// The rules of a header, for the writer and the parser alike.
[[nodiscard]] inline std::error_code validate_snapshot_header(
    const snapshot_header& header) noexcept {
  if (header.databases.size() > limits::databases || header.notes.size() > limits::notes_bytes ||
      header.staged.size() > snapshot_staged_entries) {
    return errc::too_large;
  }
  std::string_view before;  // empty: below every name
  for (const snapshot_database& one : header.databases) {
    const bool empty = one.page_count == 0 && one.page_size == 0 && one.hash == 0;
    const bool filled = one.page_count != 0 && one.page_count <= limits::page_count_max &&
                        is_page_size(one.page_size);
    if (!is_database_name(one.name) || one.name <= before || (!empty && !filled)) {
      return errc::malformed;
    }
    before = one.name;
  }
  std::uint64_t staged_bytes = 0;
  for (const bytes& entry : header.staged) {
    if (entry.empty()) {
      return errc::malformed;
    }
    staged_bytes += entry.size();
    if (entry.size() > limits::entry_bytes || staged_bytes > limits::staged_bytes) {
      return errc::too_large;
    }
  }
  return {};
}

/// Appends preamble and header of a valid `header` to `out`.
inline void encode_snapshot_header(const snapshot_header& header, bytes& out) {
  const std::size_t start = out.size();
  wire_writer writer{out};
  writer.u64(snapshot_magic);
  writer.u32(snapshot_version);
  writer.u64(0);  // size of the header and the preamble's checksum: known below
  writer.u32(0);
  writer.u64(header.at.index.value);
  writer.u64(header.at.term.value);
  writer.u32(static_cast<std::uint32_t>(header.databases.size()));
  for (const snapshot_database& one : header.databases) {
    writer.u8(static_cast<std::uint8_t>(one.name.size()));
    writer.text(one.name);
    writer.u32(one.page_size);
    writer.u64(one.page_count);
    writer.u64(one.version.value);
    writer.u64(one.hash);
  }
  writer.u32(static_cast<std::uint32_t>(header.notes.size()));
  writer.raw(header.notes);
  writer.u32(static_cast<std::uint32_t>(header.staged.size()));
  for (const bytes& entry : header.staged) {
    writer.u32(static_cast<std::uint32_t>(entry.size()));
    writer.raw(entry);
  }
  const std::size_t body = start + snapshot_preamble_bytes;
  writer.u32(crc32c(bytes_view{out}.subspan(body)));
  store_little_endian(out.data() + start + 12, std::uint64_t{out.size() - body});
  store_little_endian(out.data() + start + 20, crc32c(bytes_view{out}.subspan(start, 20)));
}

/// Reads the fields of a header whose checksum was right and is cut off. Counts are bounded by the
/// bytes that remain before anything is allocated for them.
[[nodiscard]] inline bool read_snapshot_header(bytes_view body, snapshot_header& into) {
  wire_reader reader{body};
  into.at.index = log_index{reader.u64()};
  into.at.term = term{reader.u64()};
  const std::uint32_t databases = reader.u32();
  if (databases > limits::databases ||
      databases > reader.remaining() / snapshot_database_bytes_min) {
    return false;
  }
  into.databases.resize(databases);
  for (snapshot_database& one : into.databases) {
    one.name = reader.text(reader.u8());
    one.page_size = reader.u32();
    one.page_count = reader.u64();
    one.version = version_number{reader.u64()};
    one.hash = reader.u64();
  }
  const bytes_view notes = reader.take(reader.u32());
  into.notes.assign(notes.begin(), notes.end());
  const std::uint32_t staged = reader.u32();
  if (staged > snapshot_staged_entries || staged > reader.remaining() / 4) {
    return false;
  }
  into.staged.resize(staged);
  for (bytes& one : into.staged) {
    const bytes_view entry = reader.take(reader.u32());
    one.assign(entry.begin(), entry.end());
  }
  return reader.finished();
}

/// The header in `body`, which ends with its checksum.
/// @returns errc::corrupt, malformed or too_large
[[nodiscard]] inline result<snapshot_header> decode_snapshot_header(bytes_view body) {
  if (body.size() < snapshot_crc_bytes) {
    return failed(errc::malformed);
  }
  const bytes_view fields = body.first(body.size() - snapshot_crc_bytes);
  if (crc32c(fields) != load_little_endian<std::uint32_t>(fields.data() + fields.size())) {
    return failed(errc::corrupt);
  }
  snapshot_header header;
  if (!read_snapshot_header(fields, header)) {
    return failed(errc::malformed);
  }
  if (const auto bad = validate_snapshot_header(header)) {
    return failed(bad);
  }
  return header;
}

/// The footer of a snapshot of that size.
[[nodiscard]] inline std::array<std::byte, snapshot_footer_bytes> make_snapshot_footer(
    std::uint64_t size_bytes, std::uint64_t hash_sum) noexcept {
  std::array<std::byte, snapshot_footer_bytes> footer{};
  store_little_endian(footer.data(), snapshot_end_magic);
  store_little_endian(footer.data() + 8, size_bytes);
  store_little_endian(footer.data() + 16, hash_sum);
  store_little_endian(footer.data() + 24, crc32c(bytes_view{footer}.first(24)));
  return footer;
}

/// How many bits of the magic are wrong; more than there are if it is not there whole.
[[nodiscard]] inline int wrong_snapshot_magic_bits(bytes_view start) noexcept {
  return start.size() < 8
             ? 65
             : std::popcount(load_little_endian<std::uint64_t>(start.data()) ^ snapshot_magic);
}
inline constexpr int snapshot_magic_damage_bits = 8;  // so many are damage, more another format

/// True for a snapshot that snapshot_parser takes for one of ours, whole or damaged; false: ask the
/// parser of another format.
/// @param start its first bytes, 8 at least
[[nodiscard]] inline bool is_native_snapshot(bytes_view start) noexcept {
  return detail::wrong_snapshot_magic_bits(start) <= detail::snapshot_magic_damage_bits;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
