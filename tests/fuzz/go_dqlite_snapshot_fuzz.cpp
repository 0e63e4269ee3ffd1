// Fuzz target: snapshots of go-dqlite. The first byte says how the input is cut into pieces, where
// the lock page lies, and whether the checksums of WAL parts are to be put right first, since no
// mutation would ever find them.
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "fuzz/fuzz_support.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/legacy/go_dqlite_snapshot_parser.hpp"

using quorlite::bytes;
using quorlite::bytes_span;
using quorlite::bytes_view;
using quorlite::log_index;
using quorlite::page_number;
using quorlite::tests::demand;
namespace go_dqlite = quorlite::detail::go_dqlite;

namespace {

/// The databases that a snapshot amounts to, and a sum of all that was told on the way.
struct collecting_sink {
  quorlite::detail::snapshot_header header;
  std::vector<std::map<page_number, bytes>> pages;
  quorlite::tests::event_sum events;

  std::error_code on_index(log_index index) {
    events.add(index.value);
    header.at.index = index;
    return {};
  }
  std::error_code on_page(std::size_t ordinal, page_number number, bytes_view image) {
    demand(ordinal == header.databases.size(), "databases come one after another");
    events.add(number.value);
    events.add(image);
    pages.resize(ordinal + 1);
    pages[ordinal][number] = bytes(image.begin(), image.end());
    return {};
  }
  std::error_code on_database(std::size_t ordinal, const go_dqlite::parsed_database& database) {
    demand(ordinal == header.databases.size(), "databases are counted");
    demand(quorlite::is_database_name(database.name), "names are ours");
    demand((database.page_count == 0) == (database.page_size == 0), "no page, no page size");
    pages.resize(ordinal + 1);
    for (const auto& [number, image] : pages[ordinal]) {
      demand(image.size() == database.page_size, "all pages are of one size");
    }
    quorlite::detail::snapshot_database& made = header.databases.emplace_back();
    made.name = database.name;
    made.page_size = database.page_size;
    made.page_count = database.page_count;
    events.add(database.page_count);
    return {};
  }
};

std::uint64_t little_endian_at(const bytes& data, std::size_t at) {
  return quorlite::detail::load_little_endian<std::uint64_t>(data.data() + at);
}

void put_big_endian(bytes& data, std::size_t at, std::uint32_t value) {
  for (std::size_t i = 0; i < 4; ++i) {
    data[at + i] = static_cast<std::byte>((value >> (24 - 8 * i)) & 0xFFU);
  }
}

/// @param wal must lie within data, from `at` on
void put_checksums_right(bytes& data, std::size_t at, std::size_t count) {
  if (count < 32) {
    return;
  }
  const bytes_view wal = bytes_view{data}.subspan(at, count);
  const bool big_endian = (std::to_integer<unsigned>(wal[3]) & 1U) != 0;
  const std::size_t page_size = quorlite::detail::load_big_endian_u32(wal.data() + 8);
  quorlite::detail::wal_checksum sum;
  const auto store = [&](std::size_t place) {
    put_big_endian(data, at + place, sum.first);
    put_big_endian(data, at + place + 4, sum.second);
  };
  sum.extend(wal.first(24), big_endian);
  store(24);
  for (std::size_t frame = 32; page_size % 8 == 0 && frame + 24 + page_size <= count;
       frame += 24 + page_size) {
    std::memcpy(data.data() + at + frame + 8, wal.data() + 16, 8);
    sum.extend(wal.subspan(frame, 8), big_endian);
    sum.extend(wal.subspan(frame + 24, page_size), big_endian);
    store(frame + 16);
  }
}

/// In all records, as far as their sizes are right.
void put_checksums_right(bytes& data) {
  for (std::size_t at = 8; data.size() - std::min(at, data.size()) >= 8;) {
    const std::uint64_t database = little_endian_at(data, at);
    at += 8;
    if (database > data.size() - at || data.size() - at - database < 8) {
      return;
    }
    at += database;
    const std::uint64_t wal = little_endian_at(data, at);
    at += 8;
    if (wal > data.size() - at) {
      return;
    }
    put_checksums_right(data, at, wal);
    at += wal;
    while (at < data.size() && data[at] != std::byte{0}) {
      ++at;
    }
    ++at;
  }
}

/// Writes the databases again, reads that, and compares.
void check_round_trip(collecting_sink& sink, std::uint64_t lock_byte) {
  std::sort(sink.header.databases.begin(), sink.header.databases.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  for (auto& one : sink.header.databases) {
    if (one.page_count * one.page_size > 1U << 20U) {
      return;  // pages that a WAL adds without carrying them: much to write, nothing to learn
    }
  }
  const auto layout = go_dqlite::snapshot_layout::make(sink.header, lock_byte);
  demand(layout.has_value(), "what was read can be written");
  bytes written(layout->size_bytes());
  const auto page_of = [](std::size_t ordinal, page_number number, bytes_span into) {
    std::fill(into.begin(), into.end(), static_cast<std::byte>(ordinal + number.value));
    return std::error_code{};
  };
  demand(!layout->read(0, written, page_of), "all of it");
  bytes part(written.size() / 2);
  const std::size_t offset = written.size() / 3;
  demand(!layout->read(offset, part, page_of), "any range of it");
  demand(
      std::equal(part.begin(), part.end(), written.begin() + static_cast<std::ptrdiff_t>(offset)),
      "same place, same bytes");
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

  collecting_sink whole;
  go_dqlite::snapshot_parser parser{lock_byte};
  const std::error_code error = quorlite::tests::parse_in_pieces(parser, whole, input, SIZE_MAX);
  collecting_sink pieces;
  go_dqlite::snapshot_parser other{lock_byte};
  const std::error_code again = quorlite::tests::parse_in_pieces(other, pieces, input, piece_bytes);
  demand(error == again && whole.events == pieces.events, "pieces make no difference");
  if (!error) {
    check_round_trip(whole, lock_byte);
  }
  return 0;
}
