// The memory of recent commits: bounded, says what it has forgotten, and the same bytes everywhere.
#include <cstdint>

#include "catch2_shim.hpp"
#include "codec_support.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/machine/outcome_table.hpp"
#include "quorlite/limits.hpp"

namespace outcome_table_test {
namespace {

using namespace quorlite;

using namespace quorlite::detail;

transaction_id id(std::uint64_t in_term, std::uint64_t sequence) {
  return {term{in_term}, sequence};
}

bytes encoded(const outcome_table& table) {
  bytes out;
  table.encode(out);
  return out;
}

outcome_table filled(std::uint64_t count) {
  outcome_table table(42);
  for (std::uint64_t n = 1; n <= count; ++n) {
    table.record(id(1 + n / 1000, n), log_index{10 * n});
  }
  return table;
}

}  // namespace

TEST_CASE("a table tells where a transaction was committed") {
  outcome_table table(42);
  CHECK(table.cluster_id() == 42);
  CHECK_FALSE(table.find(id(1, 1)));
  table.record(id(1, 1), log_index{17});
  REQUIRE(table.find(id(1, 1)));
  CHECK(*table.find(id(1, 1)) == log_index{17});
  CHECK(table.size() == 1);
  CHECK(table.floor() == transaction_id{});
}

TEST_CASE("an outcome is never rewritten") {
  outcome_table table;
  table.record(id(1, 1), log_index{17});
  table.record(id(1, 1), log_index{18});
  CHECK(*table.find(id(1, 1)) == log_index{17});
  CHECK(table.size() == 1);
}

TEST_CASE("a full table forgets the oldest outcome and raises its floor") {
  outcome_table table = filled(limits::outcomes);
  CHECK(table.floor() == transaction_id{});
  table.record(id(50, 1), log_index{1'000'000});
  CHECK(table.size() == limits::outcomes);
  CHECK_FALSE(table.find(id(1, 1)));
  CHECK(table.floor() == id(1, 1));
  CHECK(table.find(id(1, 2)));
  table.record(id(50, 2), log_index{1'000'001});
  CHECK(table.floor() == id(1, 2));
}

TEST_CASE("the floor never falls, whatever order the ids come in") {
  outcome_table table;
  table.record(id(9, 1), log_index{1});
  table.record(id(2, 1), log_index{2});
  for (std::uint64_t n = 1; n <= limits::outcomes; ++n) {
    table.record(id(10, n), log_index{2 + n});
  }
  CHECK(table.floor() == id(9, 1));
}

TEST_CASE("a table survives its encoding") {
  for (const std::uint64_t count : {0U, 1U, 500U, 9000U}) {
    const outcome_table table = filled(count);
    const bytes first = encoded(table);
    CHECK(first.size() == 32 + 24 * table.size());
    CHECK(first.size() <= limits::notes_bytes);
    const auto again = outcome_table::decode(first);
    REQUIRE(again);
    CHECK(again->cluster_id() == 42);
    CHECK(again->floor() == table.floor());
    CHECK(again->size() == table.size());
    CHECK(encoded(*again) == first);
  }
}

TEST_CASE("a decoded table goes on as the original would") {
  outcome_table original = filled(limits::outcomes);
  outcome_table copy = *outcome_table::decode(encoded(original));
  for (std::uint64_t n = 1; n <= 100; ++n) {
    original.record(id(60, n), log_index{n});
    copy.record(id(60, n), log_index{n});
  }
  CHECK(encoded(original) == encoded(copy));
}

TEST_CASE("a table that is cut off, too long, or lies about its length is refused") {
  const bytes whole = encoded(filled(5));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CHECK_FALSE(outcome_table::decode(bytes_view{whole}.first(size)));
  }
  bytes longer = whole;
  longer.push_back(std::byte{0});
  CHECK_FALSE(outcome_table::decode(longer));
  for (const std::uint64_t count :
       {std::uint64_t{4}, std::uint64_t{6}, std::uint64_t{limits::outcomes + 1}, ~std::uint64_t{0},
        std::uint64_t{1} << 61U}) {
    bytes lying = whole;
    detail::store_little_endian(lying.data() + 24, count);
    CHECK_FALSE(outcome_table::decode(lying));
  }
}

TEST_CASE("a table that names a transaction twice is refused") {
  bytes twice = encoded(filled(2));
  for (std::size_t at = 0; at < 16; ++at) {
    twice[32 + 24 + at] = twice[32 + at];
  }
  const auto decoded = outcome_table::decode(twice);
  REQUIRE_FALSE(decoded);
  CHECK(decoded.error() == errc::malformed);
}

TEST_CASE("random bytes are refused or make a table that encodes to themselves") {
  quorlite::tests::generator random{2026};
  for (int round = 0; round < 20'000; ++round) {
    bytes hostile = random.some_bytes(random.below(200));
    if (hostile.size() >= 32 && random.below(2) == 0) {
      detail::store_little_endian(hostile.data() + 24, (hostile.size() - 32) / 24);
    }
    if (const auto decoded = outcome_table::decode(hostile)) {
      CHECK(encoded(*decoded) == hostile);
    }
  }
}

}  // namespace outcome_table_test
