// Fuzz target: native snapshots. The first byte says how the input is cut into pieces, and whether
// the checksums of preamble, header and chunks are to be put right first, since no mutation would
// ever find them.
#include "fuzz/fuzz_support.hpp"
#include "quorlite/detail/codec/snapshot.hpp"
#include "quorlite/detail/core/crc32c.hpp"
#include "quorlite/detail/core/wire.hpp"

using quorlite::bytes;
using quorlite::bytes_view;
using quorlite::page_number;
using quorlite::detail::snapshot_header;
using quorlite::tests::demand;

namespace {

struct summing_sink {
  quorlite::tests::event_sum events;
  std::size_t databases = 0;

  std::error_code on_header(const snapshot_header& header) {
    demand(quorlite::detail::snapshot_layout::make(header).has_value(),
           "what was read can be written");
    events.add(header.at.index.value);
    for (const quorlite::detail::snapshot_database& one : header.databases) {
      events.add(one.name.size());
      events.add(one.page_count);
    }
    databases = header.databases.size();
    return {};
  }
  std::error_code on_page(std::size_t ordinal, page_number number, std::uint64_t hash,
                          bytes_view image) {
    demand(ordinal < databases, "pages are of databases of the header");
    events.add(number.value);
    events.add(hash);
    events.add(image);
    return {};
  }
};

void put(bytes& data, std::size_t at, std::uint32_t value) {
  quorlite::detail::store_little_endian(data.data() + at, value);
}

/// As far as the sizes are right.
void put_checksums_right(bytes& data) {
  namespace format = quorlite::detail;
  constexpr std::size_t preamble = format::snapshot_preamble_bytes;
  if (data.size() < preamble) {
    return;
  }
  put(data, 20, quorlite::detail::crc32c(bytes_view{data}.first(20)));
  const auto header_bytes = format::load_little_endian<std::uint64_t>(data.data() + 12);
  if (header_bytes < 4 || header_bytes > data.size() - preamble) {
    return;
  }
  std::size_t at = preamble + header_bytes;
  put(data, at - 4, quorlite::detail::crc32c(bytes_view{data}.subspan(preamble, header_bytes - 4)));
  const auto header =
      format::decode_snapshot_header(bytes_view{data}.subspan(preamble, header_bytes));
  if (!header) {
    return;
  }
  for (std::size_t ordinal = 0; ordinal < header->databases.size(); ++ordinal) {
    const quorlite::detail::snapshot_database& one = header->databases[ordinal];
    std::uint64_t left = one.page_count * one.page_size;
    for (std::uint64_t page = 1; left > 0;) {
      const std::uint64_t chunk = std::min<std::uint64_t>(left, format::snapshot_chunk_bytes);
      if (chunk + 4 > data.size() - at) {
        return;
      }
      const bytes_view images = bytes_view{data}.subspan(at, chunk);
      put(data, at + chunk,
          quorlite::detail::crc32c_extend(format::snapshot_chunk_seed(ordinal, page), images));
      page += chunk / one.page_size;
      left -= chunk;
      at += chunk + 4;
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) {
    return 0;
  }
  const bytes_view rest = quorlite::tests::view_of(data + 1, size - 1);
  bytes input(rest.begin(), rest.end());
  if ((data[0] & 1U) != 0) {
    put_checksums_right(input);
  }
  const std::uint64_t lock_byte = (data[0] & 2U) != 0 ? 1024 : 0x40000000U;
  const std::size_t piece_bytes = 1 + data[0] / 4U * 7U;

  summing_sink whole;
  quorlite::detail::snapshot_parser parser{lock_byte};
  const std::error_code error = quorlite::tests::parse_in_pieces(parser, whole, input, SIZE_MAX);
  summing_sink pieces;
  quorlite::detail::snapshot_parser other{lock_byte};
  const std::error_code again = quorlite::tests::parse_in_pieces(other, pieces, input, piece_bytes);
  demand(error == again && whole.events == pieces.events, "pieces make no difference");
  return 0;
}
