// Little-endian bytes, CRC32C and the page hash.
#include <array>
#include <cstdint>
#include <limits>
#include <string_view>

#include "catch2_shim.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/core/crc32c.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "unit/codec_support.hpp"

namespace codec_wire_test {

using quorlite::bytes;
using quorlite::bytes_view;
using quorlite::detail::wire_reader;
using quorlite::detail::wire_writer;
using quorlite::tests::from_hex;
using quorlite::tests::from_text;
using quorlite::tests::generator;
using quorlite::tests::hex;

TEST_CASE("integers are written little-endian and read back") {
  bytes written;
  wire_writer writer{written};
  writer.u8(0x01);
  writer.u16(0x2345);
  writer.u32(0x6789ABCD);
  writer.u64(0x0123456789ABCDEF);
  writer.text("ab");
  // clang-format off
  CHECK(hex(written) == "01" "4523" "cdab8967" "efcdab8967452301" "6162");
  // clang-format on

  wire_reader reader{written};
  CHECK(reader.u8() == 0x01);
  CHECK(reader.u16() == 0x2345);
  CHECK(reader.u32() == 0x6789ABCD);
  CHECK(reader.u64() == 0x0123456789ABCDEF);
  CHECK(reader.text(2) == "ab");
  CHECK(reader.finished());
}

TEST_CASE("a varint has one shortest form of 1 to 10 bytes") {
  const std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  const std::array<std::uint64_t, 9> values = {
      0, 1, 127, 128, 16383, 16384, 1U << 21U, std::uint64_t{1} << 63U, most};
  for (const std::uint64_t value : values) {
    CAPTURE(value);
    bytes written;
    wire_writer{written}.varint(value);
    CHECK(written.size() == quorlite::detail::varint_bytes(value));
    wire_reader reader{written};
    CHECK(reader.varint() == value);
    CHECK(reader.finished());
    for (std::size_t kept = 0; kept < written.size(); ++kept) {
      wire_reader cut{bytes_view{written}.first(kept)};
      CHECK(cut.varint() == 0);
      CHECK(cut.failed());
    }
  }
  CHECK(quorlite::detail::varint_bytes(most) == quorlite::detail::varint_bytes_max);
}

TEST_CASE("a varint that is padded or too long is refused where it must be canonical") {
  const std::string_view padded[] = {"8000", "ff00", "80808000"};
  for (const std::string_view text : padded) {
    CAPTURE(text);
    const bytes data = from_hex(text);
    wire_reader strict{data};
    CHECK(strict.varint() == 0);
    CHECK(strict.failed());
    wire_reader lenient{data};
    CHECK(lenient.padded_varint() == (text == "ff00" ? 127U : 0U));
    CHECK(lenient.finished());
  }
  const std::string_view too_long[] = {"ffffffffffffffffff02", "ffffffffffffffffffff01",
                                       "80808080808080808080", "8080808080808080808000"};
  for (const std::string_view text : too_long) {
    CAPTURE(text);
    const bytes data = from_hex(text);
    wire_reader strict{data};
    static_cast<void>(strict.varint());
    CHECK(strict.failed());
    wire_reader lenient{data};
    static_cast<void>(lenient.padded_varint());
    CHECK(lenient.failed());
  }
}

TEST_CASE("a reader that failed stays failed and gives nothing") {
  const bytes data = from_hex("0102030405060708090a");
  wire_reader reader{data};
  CHECK(reader.u8() == 1);
  CHECK(reader.take(std::numeric_limits<std::uint64_t>::max()).empty());
  CHECK(reader.failed());
  CHECK(reader.remaining() == 0);
  CHECK(reader.u8() == 0);
  CHECK(reader.u16() == 0);
  CHECK(reader.u32() == 0);
  CHECK(reader.u64() == 0);
  CHECK(reader.varint() == 0);
  CHECK(reader.take(0).empty());
  CHECK(reader.text(1).empty());
  CHECK_FALSE(reader.finished());
}

TEST_CASE("a reader of no bytes is finished until it is asked for one") {
  wire_reader reader{bytes_view{}};
  CHECK(reader.finished());
  CHECK(reader.take(0).empty());
  CHECK(reader.text(0).empty());
  CHECK(reader.finished());
  CHECK(reader.u8() == 0);
  CHECK(reader.failed());
}

TEST_CASE("crc32c gives the published values") {
  CHECK(quorlite::detail::crc32c({}) == 0);
  CHECK(quorlite::detail::crc32c(from_text("123456789")) == 0xE3069283U);
  // RFC 3720, B.4
  CHECK(quorlite::detail::crc32c(bytes(32)) == 0x8A9136AAU);
  CHECK(quorlite::detail::crc32c(bytes(32, std::byte{0xFF})) == 0x62A8AB43U);
  bytes ascending;
  for (unsigned i = 0; i < 32; ++i) {
    ascending.push_back(static_cast<std::byte>(i));
  }
  CHECK(quorlite::detail::crc32c(ascending) == 0x46DD794EU);
}

TEST_CASE("crc32c is the same by instruction, by table, and in pieces") {
  const std::uint64_t seed = 20261123;
  CAPTURE(seed);
  generator random{seed};
  for (int round = 0; round < 300; ++round) {
    const bytes data = random.some_bytes(random.below(300));
    const std::uint32_t whole = quorlite::detail::crc32c(data);
    CHECK(~quorlite::detail::crc32c_portable(~0U, data) == whole);
    const std::size_t cut = random.below(data.size() + 1);
    const bytes_view view{data};
    const std::uint32_t first = quorlite::detail::crc32c(view.first(cut));
    CHECK(quorlite::detail::crc32c_extend(first, view.subspan(cut)) == whole);
  }
}

TEST_CASE("the page hash never changes its values") {
  // Stored in entries and snapshots: another value is another format.
  bytes page(4096);
  CHECK(quorlite::detail::page_hash(quorlite::page_number{1}, page) == 0xECA1FDAFB7B0BD2AU);
  CHECK(quorlite::detail::page_hash(quorlite::page_number{2}, page) == 0xDAE284C37489D958U);
  for (std::size_t i = 0; i < page.size(); ++i) {
    page[i] = static_cast<std::byte>((7 * i + 3) & 0xFFU);
  }
  CHECK(quorlite::detail::page_hash(quorlite::page_number{1}, page) == 0xE73CEDD789DD09D7U);
  // The published XXH3-64 of no bytes with seed 0 shows which hash it is.
  CHECK(quorlite::detail::page_hash(quorlite::page_number{0}, {}) == 0x2D06800538D394C2U);
}

TEST_CASE("every byte of a page and its number count in the page hash") {
  const std::uint64_t seed = 7;
  generator random{seed};
  for (std::size_t size = 512; size <= 65536; size *= 2) {
    CAPTURE(seed, size);
    bytes page = random.some_bytes(size);
    const std::uint64_t before = quorlite::detail::page_hash(quorlite::page_number{9}, page);
    CHECK(before != quorlite::detail::page_hash(quorlite::page_number{10}, page));
    const std::size_t step = size <= 4096 ? 1 : 61;
    bool each_counts = true;
    for (std::size_t at = 0; at < size; at += step) {
      page[at] ^= std::byte{1};
      each_counts &= quorlite::detail::page_hash(quorlite::page_number{9}, page) != before;
      page[at] ^= std::byte{1};
    }
    CHECK(each_counts);
  }
}

}  // namespace codec_wire_test
