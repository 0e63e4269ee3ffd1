/// @file
/// Bodies of snapshot.hpp: the parts of the format that the parser and the layout share.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <system_error>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/codec/snapshot.hpp"
#include "quorlite/detail/core/crc32c.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL std::uint32_t snapshot_version_of(bytes_view notes) noexcept {
  wire_reader reader{notes};
  return reader.u64() == history_notes_magic ? 2 : 1;
}

QUORLITE_DECL std::uint32_t snapshot_chunk_seed(std::size_t ordinal,
                                                std::uint64_t first_page) noexcept {
  std::array<std::byte, 8> place{};
  store_little_endian(place.data(), static_cast<std::uint32_t>(ordinal));
  store_little_endian(place.data() + 4, static_cast<std::uint32_t>(first_page));
  return crc32c(place);
}

/// No state is larger, in bytes of chunks: so no sum of offsets can wrap.
inline constexpr std::uint64_t snapshot_pages_bytes_max = std::uint64_t{1} << 60U;

QUORLITE_DECL std::error_code validate_snapshot_header(const snapshot_header& header) noexcept {
  if (header.databases.size() > limits::databases || header.notes.size() > limits::notes_bytes ||
      header.staged.size() > snapshot_staged_entries) {
    return errc::too_large;
  }
  std::string_view before;  // empty: below every name
  std::uint64_t pages_bytes = 0;
  for (const snapshot_database& one : header.databases) {
    const bool empty = one.page_count == 0 && one.page_size == 0 && one.hash == 0;
    const bool filled = one.page_count != 0 && one.page_count <= limits::page_count_max &&
                        is_page_size(one.page_size);
    if (!is_database_name(one.name) || one.name <= before || (!empty && !filled)) {
      return errc::malformed;
    }
    before = one.name;
    pages_bytes += snapshot_pages_bytes(one);
    if (pages_bytes > snapshot_pages_bytes_max) {
      return errc::too_large;
    }
  }
  std::uint64_t staged_bytes = 0;
  for (const std::shared_ptr<const bytes>& entry : header.staged) {
    if (entry->empty()) {
      return errc::malformed;
    }
    staged_bytes += entry->size();
    if (entry->size() > limits::entry_bytes || staged_bytes > limits::staged_bytes) {
      return errc::too_large;
    }
  }
  return {};
}

QUORLITE_DECL std::uint64_t encode_snapshot_head(const snapshot_header& header, bytes& out) {
  const std::size_t start = out.size();
  wire_writer writer{out};
  writer.u64(snapshot_magic);
  writer.u32(snapshot_version_of(header.notes));
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
  std::uint64_t size = out.size() - start + snapshot_crc_bytes;
  for (const std::shared_ptr<const bytes>& entry : header.staged) {
    size += 4 + entry->size();
  }
  store_little_endian(out.data() + start + 12, size - snapshot_preamble_bytes);
  store_little_endian(out.data() + start + 20, crc32c(bytes_view{out}.subspan(start, 20)));
  return size;
}

QUORLITE_DECL void encode_snapshot_header(const snapshot_header& header, bytes& out) {
  const std::size_t body = out.size() + snapshot_preamble_bytes;
  encode_snapshot_head(header, out);
  wire_writer writer{out};
  for (const std::shared_ptr<const bytes>& entry : header.staged) {
    writer.u32(static_cast<std::uint32_t>(entry->size()));
    writer.raw(*entry);
  }
  writer.u32(crc32c(bytes_view{out}.subspan(body)));
}

/// Reads the fields of a header whose checksum was right and is cut off. Counts are bounded by the
/// bytes that remain before anything is allocated for them.
QUORLITE_DECL bool read_snapshot_header(bytes_view body, snapshot_header& into) {
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
  into.staged.reserve(staged);
  for (std::uint32_t i = 0; i < staged; ++i) {
    const bytes_view entry = reader.take(reader.u32());
    into.staged.push_back(std::make_shared<const bytes>(entry.begin(), entry.end()));
  }
  return reader.finished();
}

QUORLITE_DECL result<snapshot_header> decode_snapshot_header(bytes_view body) {
  if (body.size() < snapshot_crc_bytes) {
    return fail(errc::malformed);
  }
  const bytes_view fields = body.first(body.size() - snapshot_crc_bytes);
  if (crc32c(fields) != load_little_endian<std::uint32_t>(fields.data() + fields.size())) {
    return fail(errc::corrupt);
  }
  snapshot_header header;
  if (!read_snapshot_header(fields, header)) {
    return fail(errc::malformed);
  }
  if (const auto bad = validate_snapshot_header(header)) {
    return fail(bad);
  }
  return header;
}

QUORLITE_DECL std::array<std::byte, snapshot_footer_bytes> make_snapshot_footer(
    std::uint64_t size_bytes, std::uint64_t hash_sum) noexcept {
  std::array<std::byte, snapshot_footer_bytes> footer{};
  store_little_endian(footer.data(), snapshot_end_magic);
  store_little_endian(footer.data() + 8, size_bytes);
  store_little_endian(footer.data() + 16, hash_sum);
  store_little_endian(footer.data() + 24, crc32c(bytes_view{footer}.first(24)));
  return footer;
}

QUORLITE_DECL int wrong_snapshot_magic_bits(bytes_view start) noexcept {
  return start.size() < 8
             ? 65
             : std::popcount(load_little_endian<std::uint64_t>(start.data()) ^ snapshot_magic);
}

QUORLITE_DECL bool is_native_snapshot(bytes_view start) noexcept {
  return wrong_snapshot_magic_bits(start) <= snapshot_magic_damage_bits;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
