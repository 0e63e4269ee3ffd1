// The native snapshot: any range of it, any pieces of it, and everything that must be refused.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/codec/snapshot.hpp"
#include "quorlite/detail/core/crc32c.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "unit/codec_support.hpp"

namespace codec_snapshot_test {

using quorlite::bytes;
using quorlite::bytes_span;
using quorlite::bytes_view;
using quorlite::errc;
using quorlite::page_number;
using quorlite::version_number;
using quorlite::detail::snapshot_database;
using quorlite::detail::snapshot_header;
using quorlite::detail::snapshot_layout;
using quorlite::detail::snapshot_parser;
using quorlite::tests::from_hex;
using quorlite::tests::generator;
using quorlite::tests::hex;
using quorlite::tests::shared;
namespace limits = quorlite::limits;

namespace {

/// A replica's state in the simplest form.
struct state {
  snapshot_header header;
  std::vector<std::vector<bytes>> pages;  // per database, page 1 first
  std::uint64_t lock_byte = limits::lock_byte_default;

  void add(const std::string& name, std::uint32_t page_size, std::uint64_t page_count,
           generator& random) {
    snapshot_database one{name, page_count == 0 ? 0 : page_size, page_count,
                          version_number{random.skewed()}, 0};
    auto& images = pages.emplace_back();
    for (std::uint32_t number = 1; number <= page_count; ++number) {
      images.push_back(random.below(5) == 0 ? bytes(page_size) : random.some_bytes(page_size));
      if (number == quorlite::lock_page(page_size, lock_byte)) {
        images.back() = bytes(page_size);
      } else {
        one.hash += quorlite::detail::page_hash(page_number{number}, images.back());
      }
    }
    header.databases.push_back(one);
  }

  std::error_code read(const snapshot_layout& layout, std::uint64_t offset, bytes_span into) const {
    return layout.read(
        offset, into, [this](std::size_t ordinal, page_number number, bytes_span page) {
          const std::uint32_t size = header.databases[ordinal].page_size;
          const bytes& image = pages[ordinal][number.value - 1];
          if (number.value == quorlite::lock_page(size, lock_byte) || page.size() != size) {
            return make_error_code(errc::halted);  // never asked for
          }
          std::memcpy(page.data(), image.data(), size);
          return std::error_code{};
        });
  }

  [[nodiscard]] bytes render() const {
    const auto layout = snapshot_layout::make(header, lock_byte);
    REQUIRE(layout.has_value());
    bytes whole(layout->size_bytes());
    REQUIRE_FALSE(read(*layout, 0, whole));
    return whole;
  }
};

bool are_alike(const std::vector<std::shared_ptr<const bytes>>& some,
               const std::vector<std::shared_ptr<const bytes>>& others) {
  return std::equal(some.begin(), some.end(), others.begin(), others.end(),
                    [](const auto& a, const auto& b) { return *a == *b; });
}

/// Compares what a parser tells with a state; anything that differs is noted.
struct checking_sink {
  const state* expected;
  bool wrong = false;
  bool header_seen = false;
  std::size_t ordinal = 0;
  std::uint64_t next = 1;
  std::size_t pages_seen = 0;
  std::size_t fail_at_page = std::numeric_limits<std::size_t>::max();

  std::error_code on_header(const snapshot_header& header) {
    wrong |= header_seen || header.at != expected->header.at ||
             header.notes != expected->header.notes ||
             !are_alike(header.staged, expected->header.staged) ||
             header.databases.size() != expected->header.databases.size();
    for (std::size_t i = 0; !wrong && i < header.databases.size(); ++i) {
      const snapshot_database& a = header.databases[i];
      const snapshot_database& b = expected->header.databases[i];
      wrong |= a.name != b.name || a.page_size != b.page_size || a.page_count != b.page_count ||
               a.version != b.version || a.hash != b.hash;
    }
    header_seen = true;
    return {};
  }

  std::error_code on_page(std::size_t database_ordinal, page_number number, std::uint64_t hash,
                          bytes_view image) {
    if (pages_seen++ == fail_at_page) {
      return errc::storage_full;
    }
    while (ordinal < database_ordinal) {
      ++ordinal;
      next = 1;
    }
    const snapshot_database& of = expected->header.databases.at(database_ordinal);
    next += next == quorlite::lock_page(of.page_size, expected->lock_byte) ? 1 : 0;
    const bytes& right = expected->pages.at(database_ordinal).at(number.value - 1);
    wrong |= !header_seen || ordinal != database_ordinal || next != number.value ||
             hash != quorlite::detail::page_hash(number, image) ||
             !std::equal(image.begin(), image.end(), right.begin(), right.end());
    ++next;
    return {};
  }
};

std::error_code parse(bytes_view whole, checking_sink& sink, std::uint64_t lock_byte) {
  snapshot_parser parser{lock_byte};
  const auto error = parser.append(whole, sink);
  const auto at_end = parser.finish();
  sink.wrong |= error && at_end != error;  // the first error stays
  return at_end;
}

state small_state(generator& random) {
  state made;
  made.header.at = {quorlite::log_index{71}, quorlite::term{8}};
  made.header.notes = random.some_bytes(37);
  made.header.staged = {shared(random.some_bytes(20)), shared(random.some_bytes(1)),
                        shared(random.some_bytes(64))};
  made.lock_byte = 1024;  // page 3 of 512, page 2 of 1024
  made.add("a.db", 512, 4, random);
  made.add("born", 4096, 0, random);
  made.add("z.db", 1024, 2, random);
  return made;
}

/// Notes that tell a history, as far as a snapshot looks.
bytes with_history(const bytes& rest) {
  bytes notes = quorlite::tests::from_text("QLNOTES2");
  notes.insert(notes.end(), rest.begin(), rest.end());
  return notes;
}

/// Gives the header and preamble of `header`, whatever is wrong with it, followed by enough zeros.
bytes forged(const snapshot_header& header) {
  bytes made;
  quorlite::detail::encode_snapshot_header(header, made);
  made.resize(made.size() + 200000);
  return made;
}

std::error_code error_of(bytes_view whole) {
  struct {
    std::error_code on_header(const snapshot_header&) { return {}; }
    std::error_code on_page(std::size_t, page_number, std::uint64_t, bytes_view) { return {}; }
  } sink;
  snapshot_parser parser;
  static_cast<void>(parser.append(whole, sink));
  return parser.finish();
}

/// Puts right checksums on a bent preamble and header.
bytes reseal(bytes whole, std::size_t header_bytes) {
  const std::size_t end = 24 + header_bytes;
  quorlite::detail::store_little_endian(whole.data() + 20,
                                        quorlite::detail::crc32c(bytes_view{whole}.first(20)));
  quorlite::detail::store_little_endian(
      whole.data() + end - 4,
      quorlite::detail::crc32c(bytes_view{whole}.subspan(24, header_bytes - 4)));
  return whole;
}

}  // namespace

TEST_CASE("a state survives its snapshot, whatever its databases and however it is cut") {
  const std::uint64_t seed = 20261123;
  generator random{seed};
  for (int round = 0; round < 60; ++round) {
    CAPTURE(seed, round);
    state made;
    made.header.at = {quorlite::log_index{random.skewed()}, quorlite::term{random.skewed()}};
    made.header.notes = random.some_bytes(random.below(100));
    if (random.below(2) == 0) {
      made.header.notes = with_history(made.header.notes);
    }
    for (std::uint64_t i = random.below(4); i > 0; --i) {
      made.header.staged.push_back(shared(random.some_bytes(1 + random.below(300))));
    }
    made.lock_byte = random.below(2) == 0 ? 65536 * random.below(3) : limits::lock_byte_default;
    const std::uint64_t databases = random.below(5);
    for (std::uint64_t i = 0; i < databases; ++i) {
      const std::uint32_t page_size = 512U << random.below(8);
      const std::uint64_t count = random.below(page_size >= 16384 ? 9 : 400);
      made.add("db" + std::to_string(i), page_size, count, random);
    }
    const bytes whole = made.render();
    checking_sink at_once{&made};
    CHECK_FALSE(parse(whole, at_once, made.lock_byte));
    CHECK(at_once.header_seen);
    CHECK_FALSE(at_once.wrong);

    checking_sink in_pieces{&made};
    snapshot_parser parser{made.lock_byte};
    const std::uint64_t longest = 1 + random.below(200000);
    for (bytes_view rest{whole}; !rest.empty();) {
      const std::size_t count = std::min<std::size_t>(rest.size(), 1 + random.below(longest));
      CHECK_FALSE(parser.append(rest.first(count), in_pieces));
      rest = rest.subspan(count);
    }
    CHECK_FALSE(parser.finish());
    CHECK_FALSE(in_pieces.wrong);
    CHECK(in_pieces.pages_seen == at_once.pages_seen);
  }
}

TEST_CASE("any range of a snapshot is the same bytes as in one read") {
  const std::uint64_t seed = 4;
  generator random{seed};
  state made;
  made.lock_byte = 65536 + 8192;
  made.header.notes = random.some_bytes(100);
  made.add("a", 512, 300, random);
  made.add("b", 512, 0, random);
  made.add("c", 65536, 3, random);
  made.add("d", 4096, 33, random);
  made.add("e", 4096, 0, random);
  const bytes whole = made.render();
  const auto layout = snapshot_layout::make(made.header, made.lock_byte);
  REQUIRE(layout.has_value());
  REQUIRE(layout->size_bytes() == whole.size());
  const auto right = [&](std::uint64_t offset, std::size_t count) {
    bytes part(count, std::byte{0xEE});
    const bool fine = !made.read(*layout, offset, part);
    const bytes_view wanted = bytes_view{whole}.subspan(static_cast<std::size_t>(offset), count);
    return fine && std::equal(part.begin(), part.end(), wanted.begin());
  };
  bool all_right = true;
  for (std::uint64_t offset = 0; offset < whole.size(); offset += 1 + random.below(40)) {
    all_right &= right(offset, std::min<std::size_t>(whole.size() - offset, random.below(9)));
  }
  CHECK(all_right);
  for (int round = 0; round < 400; ++round) {
    CAPTURE(seed, round);
    const std::uint64_t offset = random.below(whole.size());
    const std::uint64_t longest = 1 + random.below(whole.size() - offset);
    CHECK(right(offset, random.below(longest + 1)));
  }
  // Around each checksum and the end of each part, every start and every length.
  const std::uint64_t head = layout->header_bytes();
  const std::uint64_t stride = 65536 + 4;
  const std::uint64_t a_bytes = 300 * 512 + 3 * 4;
  all_right = true;
  for (const std::uint64_t edge : {head, head + stride, head + a_bytes, head + a_bytes + stride,
                                   std::uint64_t{whole.size() - 28 - 4}}) {
    for (std::uint64_t start = edge - 9; start < edge + 9; ++start) {
      for (std::size_t count = 0; count < 20; ++count) {
        all_right &= right(start, count);
      }
    }
  }
  CHECK(all_right);
  CHECK(right(whole.size(), 0));
  bytes one(1);
  CHECK(made.read(*layout, whole.size(), one) == std::errc::invalid_argument);
  CHECK(made.read(*layout, std::numeric_limits<std::uint64_t>::max(), one) ==
        std::errc::invalid_argument);
}

TEST_CASE("a layout shares staged entries, and any part of the header can be read first") {
  generator random{5};
  state made = small_state(random);
  const auto entry = shared(random.some_bytes(std::size_t{1} << 20U));
  made.header.staged.insert(made.header.staged.begin() + 1, {entry, shared(from_hex("00"))});
  const bytes whole = made.render();
  bytes encoded;
  quorlite::detail::encode_snapshot_header(made.header, encoded);
  REQUIRE(encoded.size() < whole.size());
  CHECK(std::equal(encoded.begin(), encoded.end(), whole.begin()));
  const auto layout = snapshot_layout::make(made.header, made.lock_byte);
  REQUIRE(layout.has_value());
  CHECK(layout->header_bytes() == encoded.size());
  CHECK(entry.use_count() == 3);  // this one, the header's and the layout's
  for (int round = 0; round < 3000; ++round) {
    const std::uint64_t at = random.below(2) == 0 ? encoded.size() - 1 - random.below(200)
                                                  : random.below(encoded.size());
    const std::uint64_t size = std::min(random.skewed() % 5000, whole.size() - at);
    CAPTURE(at, size);
    bytes some(size);
    REQUIRE_FALSE(made.read(*layout, at, some));
    REQUIRE(std::equal(some.begin(), some.end(), whole.begin() + static_cast<std::ptrdiff_t>(at)));
  }
}

TEST_CASE("snapshots of format version 1 never change their bytes") {
  state made;
  made.header.at = {quorlite::log_index{9}, quorlite::term{2}};
  made.header.notes = from_hex("aabb");
  made.header.staged = {shared(from_hex("cc"))};
  snapshot_database one{"a.db", 512, 1, version_number{3}, 0};
  one.hash = quorlite::detail::page_hash(page_number{1}, bytes(512, std::byte{0x55}));
  made.header.databases = {one};
  made.pages = {{bytes(512, std::byte{0x55})}};
  const bytes whole = made.render();
  CHECK(hex(bytes_view{whole}.first(96)) ==
        "89716c736e61700a0100000048000000000000008ca07a8709000000000000000200000000000000"
        "0100000004612e64620002000001000000000000000300000000000000a5aae0a12dac99ac020000"
        "00aabb0100000001000000cca958a342");
  CHECK(hex(bytes_view{whole}.subspan(96 + 512)) ==
        "5eceb6d1716c73656e640a8a8002000000000000a5aae0a12dac99acec8b8303");
}

TEST_CASE("equal states give equal bytes and an empty one is a snapshot too") {
  generator first{9};
  generator second{9};
  CHECK(small_state(first).render() == small_state(second).render());
  const state nothing;
  const bytes whole = nothing.render();
  CHECK(whole.size() == 24 + 32 + 28);
  checking_sink sink{&nothing};
  CHECK_FALSE(parse(whole, sink, limits::lock_byte_default));
  CHECK(sink.header_seen);
}

TEST_CASE("a snapshot cut at any byte is refused") {
  generator random{2};
  const state made = small_state(random);
  const bytes whole = made.render();
  checking_sink sink{&made};
  snapshot_parser parser{made.lock_byte};
  for (std::size_t kept = 0; kept < whole.size(); ++kept) {
    CAPTURE(kept);
    snapshot_parser ended = parser;
    REQUIRE(ended.finish() == errc::corrupt);
    checking_sink at_once{&made};
    REQUIRE(parse(bytes_view{whole}.first(kept), at_once, made.lock_byte) == errc::corrupt);
    REQUIRE_FALSE(at_once.wrong);
    REQUIRE_FALSE(parser.append(bytes_view{whole}.subspan(kept, 1), sink));
  }
  CHECK_FALSE(parser.finish());
  CHECK_FALSE(sink.wrong);
}

TEST_CASE("each damaged bit of a snapshot is refused before a wrong page is told") {
  generator random{2};
  const state made = small_state(random);
  const bytes whole = made.render();
  bool all_refused = true;
  bool all_right_until_then = true;
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (const unsigned mask : {1U, 2U, 4U, 8U, 16U, 32U, 64U, 128U, 0xFFU, 0x5AU}) {
      bytes damaged = whole;
      damaged[at] ^= static_cast<std::byte>(mask);
      checking_sink sink{&made};
      all_refused &= parse(damaged, sink, made.lock_byte) == errc::corrupt;
      all_right_until_then &= !sink.wrong;
    }
  }
  CHECK(all_refused);
  CHECK(all_right_until_then);
}

TEST_CASE("damage in a snapshot of several chunks is refused in each of them") {
  const std::uint64_t seed = 12;
  generator random{seed};
  state made;
  made.add("big", 65536, 2, random);
  made.add("many", 4096, 40, random);
  const bytes whole = made.render();
  for (int round = 0; round < 300; ++round) {
    CAPTURE(seed, round);
    bytes damaged = whole;
    damaged[random.below(whole.size())] ^= static_cast<std::byte>(1 + random.below(255));
    checking_sink sink{&made};
    CHECK(parse(damaged, sink, made.lock_byte) == errc::corrupt);
    CHECK_FALSE(sink.wrong);
  }
  // Two whole chunks that change places have right checksums of their own bytes.
  bytes swapped = whole;
  const auto head = static_cast<std::ptrdiff_t>(whole.size() - 28 - 2 * 65540 - 40 * 4096 - 3 * 4);
  std::swap_ranges(swapped.begin() + head, swapped.begin() + head + 65540,
                   swapped.begin() + head + 65540);
  checking_sink sink{&made};
  CHECK(parse(swapped, sink, made.lock_byte) == errc::corrupt);
  CHECK(sink.pages_seen == 0);
}

TEST_CASE("bytes after the footer are refused") {
  generator random{2};
  const state made = small_state(random);
  bytes whole = made.render();
  whole.push_back(std::byte{0});
  checking_sink sink{&made};
  CHECK(parse(whole, sink, made.lock_byte) == errc::malformed);
  checking_sink again{&made};
  snapshot_parser parser{made.lock_byte};
  CHECK_FALSE(parser.append(bytes_view{whole}.first(whole.size() - 1), again));
  CHECK_FALSE(parser.finish());
  CHECK_FALSE(parser.append({}, again));
  CHECK(parser.append(bytes_view{whole}.last(1), again) == errc::malformed);
  CHECK(parser.finish() == errc::malformed);
}

TEST_CASE("an error of the sink or the source ends the work and is its result") {
  generator random{2};
  const state made = small_state(random);
  const bytes whole = made.render();
  for (std::size_t page = 0; page < 4; ++page) {
    checking_sink sink{&made};
    sink.fail_at_page = page;
    CHECK(parse(whole, sink, made.lock_byte) == errc::storage_full);
    CHECK(sink.pages_seen == page + 1);
  }
  const auto layout = snapshot_layout::make(made.header, made.lock_byte);
  bytes into(layout->size_bytes());
  const auto broken = [](std::size_t, page_number, bytes_span) {
    return make_error_code(errc::storage_broken);
  };
  CHECK(layout->read(0, into, broken) == errc::storage_broken);
  CHECK(layout->read(layout->header_bytes() + 1, bytes_span{into}.first(1), broken) ==
        errc::storage_broken);
  CHECK_FALSE(layout->read(0, bytes_span{into}.first(layout->header_bytes()), broken));
}

TEST_CASE("foreign bytes are no snapshot") {
  CHECK(error_of({}) == errc::corrupt);  // a snapshot that stops before it starts
  CHECK(error_of(bytes(1000)) == errc::malformed);
  CHECK(error_of(bytes(1000, std::byte{0xFF})) == errc::malformed);
  CHECK(error_of(from_hex("070000000000000000000000000000000000000000000000")) == errc::malformed);
  generator random{6};
  int refused = 0;
  for (int round = 0; round < 2000; ++round) {
    refused += error_of(random.some_bytes(random.below(200))) ? 1 : 0;
  }
  CHECK(refused == 2000);
}

TEST_CASE("the first bytes tell our snapshots from other formats") {
  generator random{2};
  const bytes whole = small_state(random).render();
  CHECK(quorlite::detail::is_native_snapshot(whole));
  CHECK(quorlite::detail::is_native_snapshot(bytes_view{whole}.first(8)));
  CHECK_FALSE(quorlite::detail::is_native_snapshot(bytes_view{whole}.first(7)));
  // The go-dqlite format starts with the size of its first database.
  CHECK_FALSE(quorlite::detail::is_native_snapshot(from_hex("0010000000000000")));
  CHECK_FALSE(quorlite::detail::is_native_snapshot({}));
}

TEST_CASE("a newer version asks for an upgrade") {
  generator random{2};
  const bytes whole = small_state(random).render();
  const auto header_bytes = static_cast<std::size_t>(
      quorlite::detail::load_little_endian<std::uint64_t>(whole.data() + 12));
  for (const unsigned version : {0U, 3U, 255U}) {
    CAPTURE(version);
    bytes newer = whole;
    newer[8] = static_cast<std::byte>(version);
    CHECK(error_of(newer) == errc::corrupt);
    CHECK(error_of(reseal(newer, header_bytes)) == errc::needs_upgrade);
  }
}

TEST_CASE("a snapshot has version 2 if, and only if, its notes tell a history") {
  generator random{5};
  state made = small_state(random);
  const auto version_of = [](bytes_view whole) {
    return quorlite::detail::load_little_endian<std::uint32_t>(whole.data() + 8);
  };
  const auto error_at = [&](const bytes& whole, std::uint32_t version) {
    const auto header_bytes = static_cast<std::size_t>(
        quorlite::detail::load_little_endian<std::uint64_t>(whole.data() + 12));
    bytes bent = whole;
    quorlite::detail::store_little_endian(bent.data() + 8, version);
    checking_sink sink{&made};
    const std::error_code error = parse(reseal(bent, header_bytes), sink, made.lock_byte);
    CHECK(sink.header_seen == !error);
    CHECK_FALSE(sink.wrong);
    return error;
  };
  const bytes without = made.render();
  CHECK(version_of(without) == 1);
  CHECK_FALSE(error_at(without, 1));
  CHECK(error_at(without, 2) == errc::malformed);

  made.header.notes = with_history(made.header.notes);
  const bytes with = made.render();
  CHECK(version_of(with) == 2);
  CHECK_FALSE(error_at(with, 2));
  CHECK(error_at(with, 1) == errc::malformed);
  CHECK(error_at(with, 3) == errc::needs_upgrade);

  made.header.notes = quorlite::tests::from_text("QLNOTES");  // cut: no longer such notes
  CHECK(version_of(made.render()) == 1);
}

TEST_CASE("each damaged or cut byte of a header of version 2 is refused") {
  generator random{8};
  state made = small_state(random);
  made.header.notes = with_history(made.header.notes);
  const bytes whole = made.render();
  const auto refused = [&](bytes_view bent) {
    checking_sink sink{&made};
    return static_cast<bool>(parse(bent, sink, made.lock_byte));
  };
  REQUIRE_FALSE(refused(whole));
  const std::size_t header_bytes = snapshot_layout::make(made.header)->header_bytes();
  bool all_refused = true;
  for (std::size_t at = 0; at < header_bytes; ++at) {
    all_refused &= refused(bytes_view{whole}.first(at));
    for (const unsigned mask : {1U, 3U, 0x80U, 0xFFU}) {  // 3: of the version, 1 for 2
      bytes bent = whole;
      bent[at] ^= static_cast<std::byte>(mask);
      all_refused &= refused(bent);
    }
  }
  CHECK(all_refused);
}

TEST_CASE("declared sizes are bounded before anything is gathered for them") {
  const std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  for (const std::uint64_t lie :
       {std::uint64_t{1} << 31U, std::uint64_t{1} << 38U, std::uint64_t{1} << 63U, most}) {
    CAPTURE(lie);
    bytes preamble = from_hex("89716c736e61700a01000000");
    quorlite::detail::wire_writer writer{preamble};
    writer.u64(lie);
    writer.u32(quorlite::detail::crc32c(preamble));
    CHECK(error_of(preamble) == errc::too_large);
  }
  // A length within the limits costs nothing until the bytes come.
  bytes preamble = from_hex("89716c736e61700a01000000");
  quorlite::detail::wire_writer writer{preamble};
  writer.u64(std::uint64_t{1} << 30U);
  writer.u32(quorlite::detail::crc32c(preamble));
  preamble.resize(5000);
  CHECK(error_of(preamble) == errc::corrupt);
  for (const std::uint64_t none : {std::uint64_t{0}, std::uint64_t{3}}) {
    bytes tiny = from_hex("89716c736e61700a01000000");
    quorlite::detail::wire_writer tiny_writer{tiny};
    tiny_writer.u64(none);
    tiny_writer.u32(quorlite::detail::crc32c(tiny));
    CHECK(error_of(tiny) == errc::malformed);
  }
}

TEST_CASE("counts and lengths inside the header are bounded by its bytes") {
  snapshot_header header;
  header.notes = from_hex("0102");
  bytes whole;
  quorlite::detail::encode_snapshot_header(header, whole);
  const std::size_t header_bytes = whole.size() - 24;
  const std::size_t databases_at = 24 + 16;
  const std::size_t notes_at = databases_at + 4;
  const std::size_t staged_at = notes_at + 4 + 2;
  for (const std::size_t at : {databases_at, notes_at, staged_at}) {
    for (const std::uint32_t lie : {3U, 1025U, 1U << 20U, 1U << 31U, 0xFFFFFFFFU}) {
      CAPTURE(at, lie);
      bytes bent = whole;
      quorlite::detail::store_little_endian(bent.data() + at, lie);
      CHECK(error_of(reseal(bent, header_bytes)) == errc::malformed);
    }
  }
}

TEST_CASE("a header that breaks a rule is refused, by the parser and by the writer") {
  const std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  const auto refused = [](const snapshot_header& header, errc why) {
    const auto layout = snapshot_layout::make(header);
    return !layout && layout.error() == why && error_of(forged(header)) == why;
  };
  const auto one = [&](const std::string& name, std::uint32_t page_size, std::uint64_t page_count,
                       std::uint64_t hash = 0) {
    snapshot_header header;
    header.databases.push_back({name, page_size, page_count, version_number{}, hash});
    return refused(header, errc::malformed);
  };
  CHECK_FALSE(one("a", 512, 1));
  CHECK_FALSE(one("a", 0, 0));
  for (const std::string name : {"", "../../etc/x", "/abs", "a/b", ".", "x-wal", "x-shm"}) {
    CAPTURE(name);
    CHECK(one(name, 512, 1));
  }
  CHECK(one(std::string("a\0b", 3), 512, 1));
  for (const std::uint32_t page_size : {0U, 1U, 3U, 511U, 513U, 100000U, 131072U, 0xFFFFFFFFU}) {
    CAPTURE(page_size);
    CHECK(one("a", page_size, 1));
  }
  for (const std::uint64_t count : {std::uint64_t{limits::page_count_max} + 1,
                                    std::uint64_t{1} << 48U, std::uint64_t{1} << 63U, most}) {
    CAPTURE(count);
    CHECK(one("a", 65536, count));
  }
  CHECK(one("a", 0, 0, 5));
  CHECK(one("a", 512, 0));

  snapshot_header header;
  header.databases = {{"b", 0, 0, {}, 0}, {"a", 0, 0, {}, 0}};
  CHECK(refused(header, errc::malformed));
  header.databases = {{"a", 0, 0, {}, 0}, {"a", 0, 0, {}, 0}};
  CHECK(refused(header, errc::malformed));
  header = {};
  header.staged = {shared({})};
  CHECK(refused(header, errc::malformed));
}

TEST_CASE("the bytes of all databases together have a limit, so that no offset wraps") {
  snapshot_header header;
  const auto add = [&header] {
    const std::string name = "d" + std::to_string(10000 + header.databases.size());
    header.databases.push_back({name, limits::page_size_max, limits::page_count_max, {}, 1});
  };
  while (header.databases.size() < 4095) {
    add();
  }
  CHECK(snapshot_layout::make(header).has_value());
  add();
  CHECK(snapshot_layout::make(header).error() == errc::too_large);
  CHECK(error_of(forged(header)) == errc::too_large);
}

TEST_CASE("a header over a limit is refused") {
  snapshot_header header;
  for (std::size_t i = 0; i < limits::databases; ++i) {
    header.databases.push_back({"d" + std::to_string(10000 + i), 0, 0, {}, 0});
  }
  header.notes.resize(limits::notes_bytes);
  header.staged.assign(2, shared(bytes(std::size_t{1} << 20U)));
  CHECK(snapshot_layout::make(header).has_value());
  header.databases.push_back({"e", 0, 0, {}, 0});
  CHECK(snapshot_layout::make(header).error() == errc::too_large);
  CHECK(error_of(forged(header)) == errc::malformed);
  header.databases.clear();
  header.notes.push_back({});
  CHECK(snapshot_layout::make(header).error() == errc::too_large);
  CHECK(error_of(forged(header)) == errc::too_large);
  header.notes.clear();
  header.staged.assign(quorlite::detail::snapshot_staged_entries + 1, shared(bytes(1)));
  CHECK(snapshot_layout::make(header).error() == errc::too_large);
  CHECK(error_of(forged(header)) == errc::malformed);
}

TEST_CASE("the largest databases have a size, and their ends can be read") {
  snapshot_header header;
  for (const char* name : {"a", "b", "c"}) {
    header.databases.push_back({name, 65536, limits::page_count_max, version_number{1}, 1});
  }
  const auto layout = snapshot_layout::make(header);
  REQUIRE(layout.has_value());
  const std::uint64_t one = limits::page_count_max * 65540;
  CHECK(layout->size_bytes() == layout->header_bytes() + 3 * one + 28);
  std::size_t asked_ordinal = 9;
  page_number asked;
  const auto source = [&](std::size_t ordinal, page_number number, bytes_span page) {
    asked_ordinal = ordinal;
    asked = number;
    std::memset(page.data(), 0x77, page.size());
    return std::error_code{};
  };
  bytes last(4);
  CHECK_FALSE(layout->read(layout->size_bytes() - 28 - 8, last, source));
  CHECK(last == bytes(4, std::byte{0x77}));
  CHECK(asked_ordinal == 2);
  CHECK(asked.value == limits::page_count_max);
  CHECK_FALSE(layout->read(layout->header_bytes() + one, last, source));
  CHECK(asked_ordinal == 1);
  CHECK(asked.value == 1);
}

TEST_CASE("page hashes, lock page and footer of a forged snapshot are checked") {
  generator random{2};
  state made;
  made.lock_byte = 1024;
  made.add("a", 512, 5, random);
  const auto error = [&](const state& bent, const state& told) {
    // The layout takes the pages as they are; only the parser knows better.
    checking_sink sink{&told};
    return parse(bent.render(), sink, made.lock_byte);
  };
  CHECK_FALSE(error(made, made));
  state bent = made;
  bent.header.databases[0].hash += 1;
  CHECK(error(bent, bent) == errc::corrupt);
  bent = made;
  bent.pages[0][3][7] ^= std::byte{1};
  CHECK(error(bent, bent) == errc::corrupt);
  bent = made;
  bent.lock_byte = limits::lock_byte_default;  // so the lock page is rendered with bytes in it
  bent.pages[0][2][7] ^= std::byte{1};
  CHECK(error(bent, made) == errc::malformed);
  // A footer with a right checksum but another size or sum.
  for (const std::size_t field : {std::size_t{8}, std::size_t{16}}) {
    bytes whole = made.render();
    std::byte* footer = whole.data() + whole.size() - 28;
    footer[field] ^= std::byte{1};
    quorlite::detail::store_little_endian(footer + 24,
                                          quorlite::detail::crc32c(bytes_view{footer, 24}));
    checking_sink sink{&made};
    CHECK(parse(whole, sink, made.lock_byte) == errc::corrupt);
  }
}

}  // namespace codec_snapshot_test
