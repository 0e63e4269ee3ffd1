// The two functions that make a history hash: fixed values, and that everything in them counts.
#include <array>
#include <cstdint>
#include <set>
#include <utility>

#include "catch2_shim.hpp"
#include "quorlite/detail/core/history_hash.hpp"
#include "unit/codec_support.hpp"

namespace history_hash_test {
namespace {

using quorlite::bytes;
using quorlite::bytes_view;
using quorlite::history_hash;
using quorlite::log_index;
using quorlite::detail::entry_digest;
using quorlite::detail::extend_history;
using quorlite::tests::from_text;
using quorlite::tests::generator;

/// 0, 1 … 255, 0, 1 …
bytes counted(std::size_t count) {
  bytes made(count);
  for (std::size_t i = 0; i < count; ++i) {
    made[i] = static_cast<std::byte>(i & 0xFFU);
  }
  return made;
}

/// Different values of a kind, each of which must have been new.
class distinct {
 public:
  [[nodiscard]] bool add(const history_hash& hash) {
    return low_.insert(hash.low).second && high_.insert(hash.high).second;
  }

 private:
  std::set<std::uint64_t> low_;
  std::set<std::uint64_t> high_;
};

}  // namespace

// The figures of the next two cases were not made by this library: they are what XXH3_128bits of
// libxxhash 0.8.1 gave, called from Python by ctypes; the 48 bytes of a step were packed there with
// struct.pack('<QQQQQQ', before_low, before_high, n, length, digest_low, digest_high).

TEST_CASE("the digest of an entry is XXH3-128 of its bytes") {
  CHECK(entry_digest({}) == history_hash{0x6001C324468D497FU, 0x99AA06D3014798D8U});
  CHECK(entry_digest(from_text("a")) == history_hash{0xE6C632B61E964E1FU, 0xA96FAF705AF16834U});
  CHECK(entry_digest(from_text("123456789")) ==
        history_hash{0xE9716427681D5860U, 0x33119477EDE5DCD5U});
  CHECK(entry_digest(counted(306)) == history_hash{0x98773A8CF71FF431U, 0x429D5D7F3CE472C1U});
}

TEST_CASE("a history is a chain over its entries, their indices and lengths") {
  const bytes first = from_text("123456789");
  const bytes second = from_text("a");
  const bytes third = counted(306);
  history_hash history = extend_history({}, log_index{1}, first.size(), entry_digest(first));
  CHECK(history == history_hash{0x4BB0337CE5513753U, 0xAB8E4256FF064C4AU});
  history = extend_history(history, log_index{2}, second.size(), entry_digest(second));
  CHECK(history == history_hash{0x0F3AEF86D25B2FE8U, 0xC852265E2DF17CD5U});
  history = extend_history(history, log_index{7}, third.size(), entry_digest(third));
  CHECK(history == history_hash{0x32F46FDC45905EC5U, 0x3B87A3F11C7DE999U});

  CHECK(extend_history({0x0123456789ABCDEFU, 0xFEDCBA9876543210U}, log_index{~std::uint64_t{1}},
                       std::uint64_t{1} << 26U,
                       {5, 6}) == history_hash{0xC4E81F9BC64E5A65U, 0x8C7BCD9AB9C20F32U});
}

TEST_CASE("every bit of the history before, of index, length and digest counts") {
  generator random{20261129};
  std::array<std::uint64_t, 6> fields{};
  for (std::uint64_t& field : fields) {
    field = random.next();
  }
  const auto hash = [](const std::array<std::uint64_t, 6>& of) {
    return extend_history({of[0], of[1]}, log_index{of[2]}, of[3], {of[4], of[5]});
  };
  distinct seen;
  REQUIRE(seen.add(hash(fields)));
  for (std::size_t field = 0; field < fields.size(); ++field) {
    for (unsigned bit = 0; bit < 64; ++bit) {
      CAPTURE(field, bit);
      auto changed = fields;
      changed[field] ^= std::uint64_t{1} << bit;
      CHECK(seen.add(hash(changed)));
    }
  }
}

TEST_CASE("two fields that change places make another history") {
  const std::array<std::uint64_t, 6> fields = {1, 2, 3, 4, 5, 6};
  const auto hash = [](const std::array<std::uint64_t, 6>& of) {
    return extend_history({of[0], of[1]}, log_index{of[2]}, of[3], {of[4], of[5]});
  };
  distinct seen;
  REQUIRE(seen.add(hash(fields)));
  for (std::size_t one = 0; one < fields.size(); ++one) {
    for (std::size_t other = one + 1; other < fields.size(); ++other) {
      CAPTURE(one, other);
      auto changed = fields;
      std::swap(changed[one], changed[other]);
      CHECK(seen.add(hash(changed)));
    }
  }
}

TEST_CASE("every bit of an entry and its length count") {
  // XXH3 has other ways for up to 3, 8, 16, 128, 240 and for more bytes, and a step of 1024.
  generator random{1129};
  for (const std::size_t size : {1U, 3U, 8U, 16U, 100U, 128U, 240U, 306U, 1100U}) {
    CAPTURE(size);
    const bytes entry = random.some_bytes(size);
    distinct seen;
    REQUIRE(seen.add(entry_digest(entry)));
    for (std::size_t bit = 0; bit < 8 * size; ++bit) {
      CAPTURE(bit);
      bytes changed = entry;
      changed[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
      CHECK(seen.add(entry_digest(changed)));
    }
    for (std::size_t kept = 0; kept < size; ++kept) {
      CAPTURE(kept);
      CHECK(seen.add(entry_digest(bytes_view(entry).first(kept))));
    }
  }
}

TEST_CASE("zeros at the end of an entry are not nothing") {
  distinct seen;
  for (std::size_t size = 0; size < 300; ++size) {
    CAPTURE(size);
    CHECK(seen.add(entry_digest(bytes(size))));
  }
}

}  // namespace history_hash_test
