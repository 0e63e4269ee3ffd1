// Errors, ids, limits and names: the words that all layers share.
#include <array>
#include <cstdint>
#include <iterator>
#include <limits>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <unordered_set>

#include "catch2_shim.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace vocabulary_test {
namespace {

using namespace quorlite;

using namespace quorlite::detail;

constexpr std::array conclusions{failure::not_applied, failure::outcome_unknown, failure::fatal,
                                 failure::refused};

struct meaning {
  errc code;
  failure conclusion;
};
// Written out once more, so that a change of a conclusion is a decision and no accident.
constexpr meaning meanings[] = {
    {errc::not_leader, failure::not_applied},
    {errc::stale_term, failure::not_applied},
    {errc::overloaded, failure::not_applied},
    {errc::busy, failure::not_applied},
    {errc::too_large, failure::refused},
    {errc::conflict, failure::not_applied},
    {errc::leadership_lost, failure::outcome_unknown},
    {errc::timed_out, failure::outcome_unknown},
    {errc::stopped, failure::not_applied},
    {errc::log_failed, failure::not_applied},
    {errc::out_of_memory, failure::not_applied},
    {errc::stopped_in_flight, failure::outcome_unknown},
    {errc::log_failed_in_flight, failure::outcome_unknown},
    {errc::name_taken, failure::refused},
    {errc::malformed, failure::refused},
    {errc::corrupt, failure::fatal},
    {errc::needs_upgrade, failure::fatal},
    {errc::diverged, failure::fatal},
    {errc::halted, failure::fatal},
    {errc::storage_full, failure::not_applied},
    {errc::storage_broken, failure::fatal},
    {errc::invalid_name, failure::refused},
    {errc::no_such_database, failure::refused},
    {errc::too_many_databases, failure::refused},
    {errc::unsupported, failure::refused},
    {errc::sqlite_failed, failure::refused},
    {errc::single_threaded_sqlite, failure::refused},
    {errc::log_damaged, failure::fatal},
    {errc::log_too_short, failure::fatal},
    {errc::log_starts_late, failure::fatal},
    {errc::another_cluster, failure::refused},
    {errc::another_server, failure::refused},
    {errc::copied, failure::refused},
    {errc::not_founded, failure::refused},
    {errc::already_founded, failure::refused},
    {errc::other_page_size, failure::refused},
    {errc::snapshot_ended, failure::not_applied},
};

template <class A, class B>
concept comparable = requires(A a, B b) {
  a == b;
};

}  // namespace

TEST_CASE("each code leads to exactly one conclusion", "[error]") {
  for (const meaning& each : meanings) {
    const std::error_code code = each.code;
    INFO(code.message());
    int matches = 0;
    for (const failure conclusion : conclusions) {
      matches += code == conclusion ? 1 : 0;
    }
    CHECK(matches == 1);
    CHECK(code == each.conclusion);
  }
}

TEST_CASE("the table above holds every code there is", "[error]") {
  const std::string stranger = quorlite_category().message(9999);
  std::unordered_set<std::string> texts;
  int known = 0;
  for (int value = 1; value < 1000; ++value) {
    const std::string text = quorlite_category().message(value);
    if (text != stranger) {
      ++known;
      CHECK(texts.insert(text).second);
    }
  }
  CHECK(known == static_cast<int>(std::size(meanings)));
}

TEST_CASE("success and other categories lead to no conclusion", "[error]") {
  const std::error_code success;
  const std::error_code none{0, quorlite_category()};
  const std::error_code elsewhere = std::make_error_code(std::errc::io_error);
  for (const failure conclusion : conclusions) {
    CHECK(success != conclusion);
    CHECK(none != conclusion);
    CHECK(elsewhere != conclusion);
    CHECK(!make_error_condition(conclusion).message().empty());
  }
  CHECK(std::string(quorlite_category().name()) == "quorlite");
  CHECK(&quorlite_category() == &quorlite_category());
  CHECK(std::string(failure_category().name()) != quorlite_category().name());
}

TEST_CASE("a result holds a value or a reason", "[error]") {
  const result<int> good = 3;
  const result<int> bad = fail(errc::busy);
  const result<int> passed_on = fail(bad.error());
  CHECK(good);
  CHECK(*good == 3);
  CHECK(!bad);
  CHECK(bad.error() == errc::busy);
  CHECK(passed_on.error() == failure::not_applied);
}

TEST_CASE("ids compare with their own kind only", "[ids]") {
  STATIC_REQUIRE(!comparable<term, log_index>);
  STATIC_REQUIRE(!comparable<page_number, log_index>);
  STATIC_REQUIRE(!comparable<term, std::uint64_t>);
  STATIC_REQUIRE(comparable<term, term>);
  STATIC_REQUIRE(!std::is_convertible_v<std::uint64_t, term>);
  STATIC_REQUIRE(!std::is_convertible_v<term, std::uint64_t>);
  STATIC_REQUIRE(std::is_trivially_copyable_v<log_position>);
  STATIC_REQUIRE(sizeof(page_number) == 4);
  STATIC_REQUIRE(sizeof(log_index) == 8);
  CHECK(term{} == term{0});
  CHECK(term{1} < term{2});
  CHECK(log_index{std::numeric_limits<std::uint64_t>::max() - 1}.next().value ==
        std::numeric_limits<std::uint64_t>::max());
}

TEST_CASE("positions and transaction ids", "[ids]") {
  CHECK(log_position{log_index{1}, term{2}} == log_position{log_index{1}, term{2}});
  CHECK(log_position{log_index{1}, term{2}} != log_position{log_index{1}, term{3}});
  // Ordered by term first: that is how they follow each other in the log.
  CHECK(transaction_id{term{1}, 9} < transaction_id{term{2}, 1});
  CHECK(transaction_id{term{2}, 1} < transaction_id{term{2}, 2});
  std::unordered_set<std::size_t> hashes;
  for (std::uint64_t t = 1; t <= 40; ++t) {
    for (std::uint64_t s = 1; s <= 40; ++s) {
      hashes.insert(std::hash<transaction_id>{}({term{t}, s}));
    }
  }
  CHECK(hashes.size() == 1600);
}

TEST_CASE("page sizes are the eight powers of two that SQLite knows", "[limits]") {
  int count = 0;
  for (std::uint64_t size = 0; size <= 200000; ++size) {
    count += is_page_size(size) ? 1 : 0;
  }
  CHECK(count == 8);
  CHECK(is_page_size(512));
  CHECK(is_page_size(65536));
  CHECK(!is_page_size(0));
  CHECK(!is_page_size(std::uint64_t{1} << 32U));
  CHECK(!is_page_size(std::numeric_limits<std::uint64_t>::max()));
}

// sqlite.org/fileformat2.html, 1.2: the byte at 1 GiB lies on a page that holds no data.
TEST_CASE("the lock page is the one that holds the lock byte", "[limits]") {
  CHECK(lock_page(512) == 2097153);
  CHECK(lock_page(4096) == 262145);
  CHECK(lock_page(65536) == 16385);
  CHECK(lock_page(4096, 8192) == 3);
  for (std::uint32_t size = 512; size <= 65536; size *= 2) {
    const std::uint64_t first = (lock_page(size) - 1) * size;
    CHECK(first <= limits::lock_byte_default);
    CHECK(limits::lock_byte_default < first + size);
  }
}

TEST_CASE("names of databases are names of files and nothing more", "[limits]") {
  for (const std::string_view name : {"a", "app.db", "A-1_b.sqlite3", "x.wal", "wal", "journal",
                                      "a-wal.db", "-", "_", "9", "a..b", "con"}) {
    INFO(name);
    CHECK(is_database_name(name));
  }
  for (const std::string_view name :
       {"",      ".",         "..",     ".hidden", "../x",     "a/b",         "/a",
        "a\\b",  "a b",       "a\tb",   "a\nb",    "a:b",      "a?b",         "a*b",
        "~",     "%2e",       "file:a", "a;b",     "a'b",      "caf\xC3\xA9", "\xFF",
        "a-wal", "a-journal", "a-shm",  "-wal",    "-journal", "-shm"}) {
    INFO(name);
    CHECK(!is_database_name(name));
  }
  CHECK(!is_database_name(std::string_view("a\0b", 3)));
  CHECK(!is_database_name(std::string_view("a\0", 2)));
  CHECK(is_database_name(std::string(limits::database_name_bytes, 'x')));
  CHECK(!is_database_name(std::string(limits::database_name_bytes + 1, 'x')));
  // Every single byte: 26 + 26 + 10 letters and digits, '_' and '-'; '.' may not come first.
  int allowed = 0;
  for (int byte = 0; byte < 256; ++byte) {
    const char letter = static_cast<char>(byte);
    allowed += is_database_name({&letter, 1}) ? 1 : 0;
  }
  CHECK(allowed == 64);
}

TEST_CASE("limits fit each other", "[limits]") {
  STATIC_REQUIRE(limits::page_count_max < (std::uint64_t{1} << 32U));
  STATIC_REQUIRE(limits::databases_per_transaction <= limits::databases);
  STATIC_REQUIRE(limits::pages_per_entry * limits::page_size_min <= limits::entry_bytes);
  STATIC_REQUIRE(limits::entry_bytes <= limits::staged_bytes);
}

}  // namespace vocabulary_test
