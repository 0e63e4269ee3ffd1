// What travels of a history: its bytes, and that no others are taken for them.
#include <cstdint>
#include <string>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/codec/history_notes.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "unit/codec_support.hpp"

namespace history_notes_test {
namespace {

using namespace quorlite;

using namespace quorlite::detail;
using quorlite::tests::generator;
using quorlite::tests::hex;

constexpr std::uint64_t distance = history_marks::distance;

/// Of a history that began at `k` and stands at `at`, with its newest marks, `count` of them.
history_notes some_notes(std::uint64_t k, std::uint64_t at, std::size_t count) {
  history_notes made;
  made.cluster = {0x0102030405060708U, 0x1112131415161718U};
  made.begins_at = log_index{k};
  made.begins_in = term{0x31};
  made.at = {0x2122232425262728U, 0x4142434445464748U};
  made.replay_from = {0x51, 0x61};
  std::vector<history_hash> marks;
  for (std::size_t i = 0; i < count; ++i) {
    marks.push_back({0x71 + i, 0x81 + i});
  }
  REQUIRE(made.marks.assign(count == 0 ? 0 : at / distance, marks, log_index{k}, log_index{at}));
  return made;
}

bytes encoded(const history_notes& notes) {
  bytes out;
  wire_writer write(out);
  encode_history(write, notes);
  return out;
}

result<history_notes> decoded(bytes_view from, std::uint64_t at) {
  wire_reader read(from);
  auto made = decode_history(read, log_index{at});
  CHECK((!made || read.finished()));
  return made;
}

/// Eight bytes at an offset of the notes, which begin with magic and options.
bytes with(bytes from, std::size_t offset, std::uint64_t value) {
  store_little_endian(from.data() + (offset - 16), value);
  return from;
}

}  // namespace

TEST_CASE("a history is written as its table says") {
  const bytes made = encoded(some_notes(7, 3 * distance + 1, 2));
  const std::string expected = "0807060504030201"
                               "1817161514131211"  // cluster id
                               "0700000000000000"
                               "3100000000000000"  // k, its term
                               "2827262524232221"
                               "4847464544434241"  // as of the position
                               "5100000000000000"
                               "6100000000000000"  // as of replay_from
                               "0300000000000000"
                               "02000000"  // newest mark, count
                               "7100000000000000"
                               "8100000000000000"
                               "7200000000000000"
                               "8200000000000000";
  CHECK(hex(made) == expected);
}

TEST_CASE("a history comes back, and goes on as before") {
  for (const std::size_t count : {0U, 1U, 63U, 64U}) {
    CAPTURE(count);
    const std::uint64_t at = 70 * distance + 5;
    const history_notes notes = some_notes(1, at, count);
    const bytes made = encoded(notes);
    CHECK(made.size() == 76 + 16 * count);
    CHECK(made.size() <= history_bytes_max);
    auto again = decoded(made, at);
    REQUIRE(again);
    CHECK(*again == notes);
    history_notes before = notes;
    for (const std::uint64_t more : {at + 1, 71 * distance, 75 * distance + 3}) {
      before.marks.pass(log_index{more}, {more, 1});
      again->marks.pass(log_index{more}, {more, 1});
      CHECK(*again == before);
    }
  }
}

TEST_CASE("what stands behind a history is left to the reader") {
  bytes made = encoded(some_notes(1, distance, 1));
  made.push_back(std::byte{77});
  wire_reader read(made);
  REQUIRE(decode_history(read, log_index{distance}));
  CHECK(read.u8() == 77);
  CHECK(read.finished());
}

TEST_CASE("a history that is cut off is refused, wherever that is") {
  const bytes made = encoded(some_notes(1, 70 * distance, 64));
  for (std::size_t kept = 0; kept < made.size(); ++kept) {
    CAPTURE(kept);
    const auto cut = decoded(bytes_view(made).first(kept), 70 * distance);
    REQUIRE_FALSE(cut);
    CHECK(cut.error() == errc::malformed);
  }
}

TEST_CASE("notes that no history has at this position are refused") {
  const std::uint64_t k = 2 * distance + 1;
  const std::uint64_t at = 5 * distance + 7;
  const bytes right = encoded(some_notes(k, at, 3));
  REQUIRE(decoded(right, at));
  const auto refused = [&](const bytes& made, std::uint64_t brought_at) {
    const auto got = decoded(made, brought_at);
    return !got && got.error() == errc::malformed;
  };
  CHECK(refused(with(with(right, 16, 0), 24, 0), at));  // no cluster
  CHECK_FALSE(refused(with(right, 16, 0), at));
  CHECK(refused(with(right, 32, 0), at));       // no k
  CHECK(refused(with(right, 32, at + 1), at));  // k above the position
  CHECK(refused(with(right, 40, 0), at));       // no term
  CHECK(refused(with(with(right, 48, 0), 56, 0), at));
  CHECK_FALSE(refused(with(with(right, 64, 0), 72, 0), at));  // a snapshot's
  for (const std::uint64_t newest : {std::uint64_t{0}, std::uint64_t{4}, std::uint64_t{6},
                                     ~std::uint64_t{0}, std::uint64_t{1} << 50U}) {
    CAPTURE(newest);
    CHECK(refused(with(right, 80, newest), at));
  }
  CHECK(refused(right, 6 * distance));  // the newest mark is missing
  CHECK(refused(right, 5 * distance - 1));
  CHECK(refused(with(right, 32, 3 * distance + 1), at));  // a mark below k
  CHECK_FALSE(refused(with(right, 32, 3 * distance), at));
  bytes counted = right;
  for (const std::uint32_t count : {0U, 2U, 4U, 65U, 0x10000003U, ~std::uint32_t{0}}) {
    CAPTURE(count);
    store_little_endian(counted.data() + (88 - 16), count);
    wire_reader read(counted);
    const auto got = decode_history(read, log_index{at});
    CHECK((count == 2 ? got.has_value() : !got && got.error() == errc::malformed));
  }
}

TEST_CASE("a history without marks names none") {
  const bytes none = encoded(some_notes(5, 4 * distance, 0));
  REQUIRE(decoded(none, 4 * distance));
  CHECK_FALSE(decoded(with(none, 80, 4), 4 * distance));
}

TEST_CASE("random bytes are refused, or are the one encoding of a history") {
  generator random{20261129};
  std::uint64_t taken = 0;
  for (int round = 0; round < 20'000; ++round) {
    const std::uint64_t at = random.skewed();
    bytes hostile = random.below(2) == 0
                        ? random.some_bytes(random.below(200))
                        : encoded(some_notes(1, 9 * distance + random.below(distance), 5));
    for (std::uint64_t i = random.below(3); i > 0 && !hostile.empty(); --i) {
      hostile[random.below(hostile.size())] = random.byte();
    }
    wire_reader read(hostile);
    const std::uint64_t where = random.below(2) == 0 ? at : 9 * distance;
    if (const auto got = decode_history(read, log_index{where})) {
      ++taken;
      CHECK(hex(encoded(*got)) == hex(bytes_view(hostile).first(read.position())));
    }
  }
  CHECK(taken > 100);
}

}  // namespace history_notes_test
