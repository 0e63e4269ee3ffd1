// Page deltas: right on every page size, total on every input.
#include <cstdint>
#include <limits>
#include <string_view>

#include "catch2_shim.hpp"
#include "quorlite/detail/codec/page_delta.hpp"
#include "quorlite/error.hpp"
#include "quorlite/limits.hpp"
#include "unit/codec_support.hpp"

namespace codec_page_delta_test {

using quorlite::bytes;
using quorlite::bytes_view;
using quorlite::errc;
using quorlite::detail::apply_delta;
using quorlite::detail::check_delta;
using quorlite::detail::encode_delta;
using quorlite::tests::from_hex;
using quorlite::tests::generator;
using quorlite::tests::hex;

namespace {

constexpr std::size_t no_limit = std::numeric_limits<std::size_t>::max();

std::uint32_t size_of(const bytes& page) { return static_cast<std::uint32_t>(page.size()); }

/// Encodes, checks and applies; true when the result is `after` and applying again changes nothing.
bool round_trip(const bytes& before, const bytes& after) {
  bytes delta;
  if (!encode_delta(before, after, no_limit, delta)) {
    // Allowed only where the whole page is no longer: ranges of 2 bytes each cannot beat it then.
    std::size_t differing = 0;
    for (std::size_t i = 0; i < after.size(); ++i) {
      differing += before[i] != after[i] ? 1 : 0;
    }
    return delta.empty() && differing * 4 > after.size();
  }
  bytes page = before;
  const bool applied = delta.size() < after.size() && !check_delta(delta, size_of(before)) &&
                       !apply_delta(delta, page) && page == after;
  return applied && !apply_delta(delta, page) && page == after;
}

void change(bytes& page, std::size_t at, std::size_t count, generator& random) {
  for (std::size_t i = at; i < at + count && i < page.size(); ++i) {
    page[i] = random.byte();
  }
}

}  // namespace

TEST_CASE("a delta turns one image into the other on every page size") {
  const std::uint64_t seed = 11;
  generator random{seed};
  for (std::size_t size = 512; size <= 65536; size *= 2) {
    CAPTURE(seed, size);
    const bytes before = random.some_bytes(size);
    for (const std::size_t at : {std::size_t{0}, std::size_t{1}, size / 2, size - 2, size - 1}) {
      CAPTURE(at);
      bytes after = before;
      after[at] ^= std::byte{0x40};
      CHECK(round_trip(before, after));
    }
    bytes ends = before;
    ends.front() ^= std::byte{1};
    ends.back() ^= std::byte{1};
    CHECK(round_trip(before, ends));
    for (int round = 0; round < 60; ++round) {
      CAPTURE(round);
      bytes after = before;
      const std::uint64_t edits = random.below(20);
      for (std::uint64_t i = 0; i < edits; ++i) {
        change(after, random.below(size), random.below(random.below(size / 8) + 1), random);
      }
      CHECK(round_trip(before, after));
    }
    CHECK(round_trip(before, random.some_bytes(size)));
    CHECK(round_trip(bytes(size), before));
  }
}

TEST_CASE("each pair of changed bytes in a small page gives the right delta") {
  const bytes before(512);
  bool right = true;
  for (std::size_t first = 0; first < 96; ++first) {
    for (std::size_t second = first; second < 512; ++second) {
      bytes after = before;
      after[first] = std::byte{1};
      after[second] = std::byte{2};
      right &= round_trip(before, after);
    }
  }
  CHECK(right);
}

TEST_CASE("equal images have the empty delta, which is valid") {
  const bytes page(65536, std::byte{7});
  bytes out = from_hex("aa");
  CHECK(encode_delta(page, page, 0, out));
  CHECK(out == from_hex("aa"));
  CHECK_FALSE(check_delta({}, 65536));
  bytes target = page;
  CHECK_FALSE(apply_delta({}, target));
  CHECK(target == page);
}

TEST_CASE("a delta is appended, joins near ranges and parts far ones") {
  const bytes before(512);
  bytes after = before;
  after[10] = std::byte{0xA1};
  after[14] = std::byte{0xA2};  // 3 equal bytes between: one range
  after[200] = std::byte{0xA3};
  bytes out = from_hex("ff");
  REQUIRE(encode_delta(before, after, no_limit, out));
  // clang-format off
  CHECK(hex(out) == "ff" "0a05a1000000a2" "b90101a3");
  // clang-format on
}

TEST_CASE("the largest page can be told its last byte and nearly all of its bytes") {
  const bytes before(65536);
  bytes last = before;
  last[65535] = std::byte{1};
  bytes delta;
  REQUIRE(encode_delta(before, last, no_limit, delta));
  CHECK(hex(delta) == "ffff030101");

  bytes nearly(65536, std::byte{1});
  for (std::size_t i = 65536 - 16; i < 65536; ++i) {
    nearly[i] = std::byte{0};
  }
  CHECK(round_trip(before, nearly));
  // A range of the whole page is valid to apply, though never worth sending.
  bytes whole = from_hex("00808004");
  whole.resize(4 + 65536, std::byte{9});
  bytes page = before;
  CHECK_FALSE(apply_delta(whole, page));
  CHECK(page == bytes(65536, std::byte{9}));
}

TEST_CASE("a delta over the wanted size is not made and leaves the output as it was") {
  const std::uint64_t seed = 5;
  generator random{seed};
  for (int round = 0; round < 200; ++round) {
    CAPTURE(seed, round);
    const bytes before = random.some_bytes(1024);
    bytes after = before;
    for (std::uint64_t i = random.below(12) + 1; i > 0; --i) {
      change(after, random.below(1024), random.below(40) + 1, random);
    }
    bytes best;
    if (!encode_delta(before, after, no_limit, best) || best.empty()) {
      continue;
    }
    const bytes prefix = from_hex("0102");
    bytes exact = prefix;
    CHECK(encode_delta(before, after, best.size(), exact));
    CHECK(exact.size() == prefix.size() + best.size());
    bytes short_by_one = prefix;
    CHECK_FALSE(encode_delta(before, after, best.size() - 1, short_by_one));
    CHECK(short_by_one == prefix);
    bytes none = prefix;
    CHECK_FALSE(encode_delta(before, after, 0, none));
    CHECK(none == prefix);
  }
}

TEST_CASE("images that are no pair of pages have no delta") {
  bytes out;
  CHECK_FALSE(encode_delta(bytes(512), bytes(1024), no_limit, out));
  CHECK_FALSE(encode_delta(bytes{}, bytes{}, no_limit, out));
  CHECK_FALSE(encode_delta(bytes(511), bytes(511), no_limit, out));
  CHECK_FALSE(encode_delta(bytes(131072), bytes(131072), no_limit, out));
  CHECK(out.empty());
  bytes page(513);
  CHECK(apply_delta({}, page) == errc::malformed);
  CHECK(check_delta({}, 0) == errc::malformed);
  CHECK(check_delta({}, 100000) == errc::malformed);
}

TEST_CASE("a delta against the format is refused and the page keeps its bytes") {
  const std::string_view hostile[] = {
      // clang-format off
      "00",                            // no length
      "0001",                          // no bytes
      "0000",                          // an empty range
      "000100" "0001aa",               // touches the range before it
      "0001aa" "0001bb",               // the same
      "ff0302aabb",                    // one byte beyond the end
      "800401aa",                      // starts at the end
      "0081ff03",                      // longer than the page
      "00ffffffffffffffffff01aa",      // 2^64 - 1 bytes
      "ffffffffffffffffff0101aa",      // skips 2^64 - 1 bytes
      "ffffffffffffffffff0102aabb",    // skip + length wraps to 1
      "800001aa",                      // a padded skip
      "008100aa",                      // a padded length
      "0001aa" "01",                   // cut in the second range
      "0001aa" "ff0301bb",             // the second range leaves the page
  };
  // clang-format on
  const bytes before(512, std::byte{0x33});
  for (const std::string_view text : hostile) {
    CAPTURE(text);
    const bytes delta = from_hex(text);
    bytes page = before;
    CHECK(check_delta(delta, 512) == errc::malformed);
    CHECK(apply_delta(delta, page) == errc::malformed);
    CHECK(page == before);
  }
}

TEST_CASE("a damaged or cut delta changes the whole of it or nothing") {
  const std::uint64_t seed = 99;
  generator random{seed};
  const bytes before = random.some_bytes(512);
  bytes after = before;
  change(after, 3, 9, random);
  change(after, 100, 30, random);
  change(after, 500, 12, random);
  bytes delta;
  REQUIRE(encode_delta(before, after, no_limit, delta));
  const auto total = [&](bytes_view tried) {
    bytes page = before;
    const bool refused = static_cast<bool>(check_delta(tried, 512));
    const bool same_answer = refused == static_cast<bool>(apply_delta(tried, page));
    return same_answer && (!refused || page == before);
  };
  for (std::size_t kept = 0; kept < delta.size(); ++kept) {
    CAPTURE(kept);
    CHECK(total(bytes_view{delta}.first(kept)));
  }
  bool all_total = true;
  for (std::size_t at = 0; at < delta.size(); ++at) {
    for (unsigned mask = 1; mask < 256; ++mask) {
      bytes damaged = delta;
      damaged[at] ^= static_cast<std::byte>(mask);
      all_total &= total(damaged);
    }
  }
  CHECK(all_total);
  for (int round = 0; round < 3000; ++round) {
    CAPTURE(seed, round);
    bytes noise = random.some_bytes(random.below(20));
    for (std::byte& one : noise) {
      one &= std::byte{0x8F};  // small numbers get further
    }
    CHECK(total(noise));
  }
}

TEST_CASE("an image is zero when every byte is") {
  for (std::size_t size = 512; size <= 65536; size *= 2) {
    bytes page(size);
    CHECK(quorlite::detail::is_zero_image(page));
    for (const std::size_t at : {std::size_t{0}, std::size_t{1}, size / 2, size - 1}) {
      page[at] = std::byte{1};
      CHECK_FALSE(quorlite::detail::is_zero_image(page));
      page[at] = std::byte{0};
    }
    CHECK_FALSE(quorlite::detail::is_zero_image(bytes(size, std::byte{5})));
  }
}

}  // namespace codec_page_delta_test
