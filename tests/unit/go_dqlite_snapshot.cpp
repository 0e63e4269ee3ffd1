// Snapshots of go-dqlite: golden bytes, real databases with WAL parts, and everything that must be
// refused.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/legacy/go_dqlite_snapshot.hpp"
#include "quorlite/detail/legacy/go_dqlite_snapshot_parser.hpp"
#include "unit/codec_support.hpp"
#include "unit/wal_support.hpp"

namespace go_dqlite_snapshot_test {

using quorlite::bytes;
using quorlite::bytes_span;
using quorlite::bytes_view;
using quorlite::errc;
using quorlite::log_index;
using quorlite::page_number;
using quorlite::detail::snapshot_header;
using quorlite::detail::wal_state;
using quorlite::detail::go_dqlite::parsed_database;
using quorlite::detail::go_dqlite::record_parts;
using quorlite::detail::go_dqlite::snapshot_layout;
using quorlite::detail::go_dqlite::snapshot_parser;
using quorlite::tests::database_files;
using quorlite::tests::from_hex;
using quorlite::tests::from_text;
using quorlite::tests::generator;
using quorlite::tests::hex;
using quorlite::tests::temporary_directory;
using quorlite::tests::wal_database;
namespace go_dqlite = quorlite::detail::go_dqlite;
namespace limits = quorlite::limits;

namespace {

// ---- sinks --------------------------------------------------------------------------------------

/// Records as they stand.
struct record_list {
  struct record {
    bytes database;
    bytes wal;
    std::string name;
  };
  std::uint64_t index = 0;
  std::vector<record> records;
  record current;

  std::error_code on_index(log_index value) {
    index = value.value;
    return {};
  }
  std::error_code on_database_piece(bytes_view piece) {
    current.database.insert(current.database.end(), piece.begin(), piece.end());
    return {};
  }
  std::error_code on_wal_piece(bytes_view piece) {
    current.wal.insert(current.wal.end(), piece.begin(), piece.end());
    return {};
  }
  std::error_code on_record_end(std::string_view name) {
    current.name = name;
    records.push_back(current);
    current = {};
    return {};
  }
};

/// Databases as the pages make them; the lock page is zeros.
struct database_list {
  struct database {
    std::string name;
    std::uint32_t page_size = 0;
    std::uint64_t page_count = 0;
    bytes image;
    quorlite::detail::wal_summary wal;
  };
  std::uint64_t index = 0;
  std::vector<database> databases;
  std::map<std::uint32_t, bytes> pages;  // of the next one
  std::size_t pages_told = 0;
  std::error_code fails_with;  // on the next page

  std::error_code on_index(log_index value) {
    index = value.value;
    return {};
  }
  std::error_code on_page(std::size_t ordinal, page_number number, bytes_view image) {
    REQUIRE(ordinal == databases.size());
    pages[number.value] = bytes(image.begin(), image.end());
    ++pages_told;
    return fails_with;
  }
  std::error_code on_database(std::size_t ordinal, const parsed_database& told) {
    REQUIRE(ordinal == databases.size());
    database made{std::string{told.name}, told.page_size, told.page_count, {}, told.wal};
    made.image.resize(told.page_count * told.page_size);
    for (const auto& [number, image] : pages) {
      REQUIRE(image.size() == told.page_size);
      if (number <= told.page_count) {
        std::copy(image.begin(), image.end(),
                  made.image.begin() + static_cast<std::ptrdiff_t>((number - 1) * told.page_size));
      }
    }
    pages.clear();
    databases.push_back(made);
    return {};
  }
};

template <class Parser, class Sink>
std::error_code parse(Parser& parser, Sink& sink, bytes_view input,
                      std::size_t piece_bytes = SIZE_MAX) {
  while (!input.empty()) {
    const bytes_view piece = input.first(std::min(piece_bytes, input.size()));
    if (const std::error_code error = parser.append(piece, sink)) {
      return error;
    }
    input = input.subspan(piece.size());
  }
  return parser.finish();
}

std::error_code parse_databases(bytes_view input, database_list& into) {
  snapshot_parser parser;
  return parse(parser, into, input);
}

std::error_code refusal(bytes_view input) {
  database_list ignored;
  return parse_databases(input, ignored);
}

// ---- snapshots ----------------------------------------------------------------------------------

bytes snapshot_of(std::uint64_t index, const std::vector<record_parts>& records) {
  bytes out;
  go_dqlite::append_index(log_index{index}, out);
  for (const record_parts& one : records) {
    go_dqlite::append_record(one, out);
  }
  return out;
}

/// What snapshot_layout writes of parsed databases.
bytes written_again(database_list list) {
  std::sort(list.databases.begin(), list.databases.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  snapshot_header header;
  header.at.index = log_index{list.index};
  for (const auto& one : list.databases) {
    header.databases.push_back({one.name, one.page_size, one.page_count, {}, 0});
  }
  const auto layout = snapshot_layout::make(header);
  REQUIRE(layout.has_value());
  bytes out(layout->size_bytes(), std::byte{0xEE});
  REQUIRE_FALSE(layout->read(0, out, [&](std::size_t ordinal, page_number number, bytes_span into) {
    const auto& from = list.databases[ordinal];
    REQUIRE(into.size() == from.page_size);
    std::copy_n(
        from.image.begin() + static_cast<std::ptrdiff_t>((number.value - 1) * from.page_size),
        into.size(), into.begin());
    return std::error_code{};
  }));
  return out;
}

/// Two transactions in the WAL, over a database of one page.
database_files two_transactions(std::uint32_t page_size, bool uncommitted_tail = false) {
  const wal_database db{page_size};
  db.execute("CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
  db.execute("INSERT INTO t VALUES(1, randomblob(400)), (2, 'two')");
  if (uncommitted_tail) {
    db.execute("PRAGMA cache_size=2; PRAGMA cache_spill=1; BEGIN");
    db.execute("INSERT INTO t VALUES(3, randomblob(" + std::to_string(page_size * 30) + "))");
  }
  return db.files();
}

constexpr std::string_view golden_none = "0700000000000000";
constexpr std::string_view golden_one = "0700000000000000"
                                        "0200000000000000"
                                        "4442"
                                        "0100000000000000"
                                        "57"
                                        "6100";
constexpr std::string_view golden_two = "0700000000000000"
                                        "0200000000000000"
                                        "4442"
                                        "0100000000000000"
                                        "57"
                                        "6100"
                                        "0300000000000000"
                                        "444232"
                                        "0000000000000000"
                                        "6200";
constexpr std::string_view golden_empty = "0807060504030201"
                                          "0000000000000000"
                                          "0000000000000000"
                                          "746573742e646200";

void check_records(std::string_view golden, std::uint64_t index,
                   const std::vector<record_parts>& records) {
  const bytes input = from_hex(golden);
  for (const std::size_t piece : {std::size_t{1}, std::size_t{3}, SIZE_MAX}) {
    go_dqlite::record_parser parser;
    record_list list;
    REQUIRE_FALSE(parse(parser, list, input, piece));
    CHECK(list.index == index);
    REQUIRE(list.records.size() == records.size());
    for (std::size_t i = 0; i < records.size(); ++i) {
      CHECK(list.records[i].name == records[i].name);
      CHECK(hex(list.records[i].database) == hex(records[i].database));
      CHECK(hex(list.records[i].wal) == hex(records[i].wal));
    }
  }
  CHECK(hex(snapshot_of(index, records)) == golden);
}

}  // namespace

TEST_CASE("golden snapshots: no database, one, two, an empty one") {
  const bytes first = from_text("DB");
  const bytes second = from_text("DB2");
  const bytes wal = from_text("W");
  check_records(golden_none, 7, {});
  check_records(golden_one, 7, {{first, wal, "a"}});
  check_records(golden_two, 7, {{first, wal, "a"}, {second, {}, "b"}});
  check_records(golden_empty, 0x0102030405060708U, {{{}, {}, "test.db"}});
}

TEST_CASE("golden snapshots of real databases are parsed and written") {
  database_list none;
  REQUIRE_FALSE(parse_databases(from_hex(golden_none), none));
  CHECK(none.databases.empty());
  CHECK(hex(written_again(none)) == golden_none);

  database_list empty;
  REQUIRE_FALSE(parse_databases(from_hex(golden_empty), empty));
  REQUIRE(empty.databases.size() == 1);
  CHECK(empty.index == 0x0102030405060708U);
  CHECK(empty.databases[0].name == "test.db");
  CHECK(empty.databases[0].page_count == 0);
  CHECK(hex(written_again(empty)) == golden_empty);

  // "DB" is no database.
  CHECK(refusal(from_hex(golden_one)) == make_error_code(errc::malformed));
}

// go-dqlite could restore exactly one database: W2.
TEST_CASE("snapshots of one, two and many databases, with and without a WAL part") {
  const temporary_directory folder;
  const auto page_size = GENERATE(512U, 4096U, 65536U);
  CAPTURE(page_size);
  const database_files with_wal = two_transactions(page_size);
  const database_files with_tail = two_transactions(page_size, true);
  const database_files other = two_transactions(1024);
  const auto recovered = [&](const database_files& files) {
    return quorlite::tests::what_sqlite_recovers(folder, files).value();
  };
  const bytes folded = recovered(with_wal);
  std::vector<record_parts> records{{with_wal.database, with_wal.wal, "w.db"},
                                    {with_tail.database, with_tail.wal, "b.db"},
                                    {folded, {}, "f"},
                                    {{}, {}, "empty"},
                                    {other.database, other.wal, "a-name.of_it"}};
  std::vector<bytes> expected{folded, recovered(with_tail), folded, {}, recovered(other)};
  for (int i = 0; i < 20; ++i) {
    records.push_back({folded, {}, ""});
    expected.push_back(folded);
  }
  std::vector<std::string> names;
  for (std::size_t i = 0; i < records.size(); ++i) {
    names.push_back("n" + std::to_string(i));
  }
  for (const std::size_t count : {std::size_t{1}, std::size_t{2}, std::size_t{5}, records.size()}) {
    CAPTURE(count);
    std::vector<record_parts> some(records.begin(),
                                   records.begin() + static_cast<std::ptrdiff_t>(count));
    for (std::size_t i = 5; i < count; ++i) {
      some[i].name = names[i];
    }
    database_list list;
    REQUIRE_FALSE(parse_databases(snapshot_of(300, some), list));
    REQUIRE(list.databases.size() == count);
    CHECK(list.index == 300);
    for (std::size_t i = 0; i < count; ++i) {
      CAPTURE(i);
      CHECK(list.databases[i].name == some[i].name);
      CHECK(list.databases[i].image == expected[i]);
    }
    // What is restored is persisted as the same bytes ever after, and means the same.
    const bytes persisted = written_again(list);
    database_list restored;
    REQUIRE_FALSE(parse_databases(persisted, restored));
    CHECK(written_again(restored) == persisted);
  }
}

TEST_CASE("a snapshot that we wrote is restored to the byte") {
  const temporary_directory folder;
  const database_files files = two_transactions(1024);
  const bytes folded = quorlite::tests::what_sqlite_recovers(folder, files).value();
  const bytes snapshot = snapshot_of(9, {{folded, {}, "a"}, {{}, {}, "b"}, {folded, {}, "c"}});
  database_list list;
  REQUIRE_FALSE(parse_databases(snapshot, list));
  CHECK(written_again(list) == snapshot);
}

TEST_CASE("the summary tells how far a WAL part counted") {
  const database_files files = two_transactions(512, true);
  const auto summary_of = [&](bytes_view wal) {
    database_list list;
    REQUIRE_FALSE(parse_databases(snapshot_of(1, {{files.database, wal, "a"}}), list));
    return list.databases[0].wal;
  };
  const quorlite::detail::wal_summary whole = summary_of(files.wal);
  CHECK(whole.state == wal_state::reading);
  CHECK(whole.commits == 2);
  CHECK(whole.uncommitted_bytes > 20 * 536);
  const quorlite::detail::wal_summary cut = summary_of(bytes_view{files.wal}.first(32 + 536 + 5));
  CHECK(cut.commits <= 1);
  CHECK(cut.uncommitted_bytes > 0);
  CHECK(summary_of(bytes_view{files.wal}.first(32)).state == wal_state::absent);
  CHECK(summary_of({}).state == wal_state::absent);
}

TEST_CASE("pieces of any size give the same databases") {
  const database_files files = two_transactions(512, true);
  const bytes snapshot = snapshot_of(
      3, {{files.database, files.wal, "a"}, {{}, {}, "b"}, {files.database, files.wal, "c"}});
  database_list expected;
  REQUIRE_FALSE(parse_databases(snapshot, expected));
  for (const std::size_t piece : {1U, 2U, 7U, 511U, 512U, 513U, 4096U}) {
    CAPTURE(piece);
    snapshot_parser parser;
    database_list list;
    REQUIRE_FALSE(parse(parser, list, snapshot, piece));
    CHECK(list.pages_told == expected.pages_told);
    REQUIRE(list.databases.size() == 3);
    for (std::size_t i = 0; i < 3; ++i) {
      CHECK(list.databases[i].image == expected.databases[i].image);
    }
  }
}

TEST_CASE("a snapshot cut anywhere but between two records is refused") {
  const database_files files = two_transactions(512);
  const std::vector<record_parts> records{
      {files.database, files.wal, "first"}, {{}, {}, "second"}, {files.database, {}, "third"}};
  const bytes snapshot = snapshot_of(3, records);
  std::vector<std::size_t> whole{8};
  for (const record_parts& one : records) {
    whole.push_back(whole.back() + 16 + one.database.size() + one.wal.size() + one.name.size() + 1);
  }
  REQUIRE(whole.back() == snapshot.size());
  for (std::size_t length = 0; length <= snapshot.size(); ++length) {
    CAPTURE(length);
    const bytes cut(snapshot.begin(), snapshot.begin() + static_cast<std::ptrdiff_t>(length));
    const bool between = std::find(whole.begin(), whole.end(), length) != whole.end();
    REQUIRE(refusal(cut) == (between ? std::error_code{} : make_error_code(errc::corrupt)));
  }
}

TEST_CASE("a flipped bit is refused, or changes what SQLite would see") {
  const temporary_directory folder;
  const database_files files = two_transactions(512);
  const bytes snapshot = snapshot_of(3, {{files.database, files.wal, "a"}});
  const std::size_t wal_at = 8 + 8 + files.database.size() + 8;
  const std::size_t wal_end = wal_at + files.wal.size();
  generator random{11};
  for (std::size_t at = 0; at < snapshot.size(); ++at) {
    CAPTURE(at);
    bytes flipped = snapshot;
    flipped[at] ^= static_cast<std::byte>(1U << random.below(8));
    database_list list;
    if (parse_databases(flipped, list)) {
      continue;
    }
    REQUIRE(list.databases.size() == 1);
    const bool in_wal = at >= wal_at && at < wal_end;
    const bool in_page = in_wal && at >= wal_at + 32 && (at - wal_at - 32) % 536 >= 24;
    if (in_wal && (!in_page || at % 16 == 0)) {
      const database_files damaged{files.database,
                                   {flipped.begin() + static_cast<std::ptrdiff_t>(wal_at),
                                    flipped.begin() + static_cast<std::ptrdiff_t>(wal_end)}};
      REQUIRE(list.databases[0].image == quorlite::tests::what_sqlite_recovers(folder, damaged));
      REQUIRE(at >= wal_at + 32);  // a damaged header is not a matter of the tail
    }
  }
}

TEST_CASE("sizes that are declared cost nothing") {
  const auto with_size = [](std::string_view database_size) {
    return from_hex("0700000000000000" + std::string{database_size} + "53514c69");
  };
  const auto too_large = make_error_code(errc::too_large);
  CHECK(refusal(with_size("0000000000000080")) == too_large);
  CHECK(refusal(with_size("ffffffffffffffff")) == too_large);
  CHECK(refusal(with_size("4c4520666f6f286e")) == too_large);  // text, as go-dqlite once took it
  CHECK(refusal(with_size("0000000040000000")) == make_error_code(errc::corrupt));  // 2^38
  // The same for a WAL.
  CHECK(refusal(from_hex("07000000000000000000000000000000ffffffffffffff7f00")) == too_large);
}

TEST_CASE("names that are not ours are refused") {
  const auto with_name = [](std::string_view name) {
    return refusal(snapshot_of(1, {{{}, {}, name}}));
  };
  CHECK_FALSE(with_name(std::string(255, 'a')));
  CHECK(with_name(std::string(256, 'a')) == make_error_code(errc::malformed));
  CHECK(with_name(std::string(100000, 'a')) == make_error_code(errc::malformed));
  CHECK(with_name("") == make_error_code(errc::malformed));
  for (const std::string_view name : {"../a", "a/b", "a-wal", ".hidden", "a b", "\xff"}) {
    CHECK(with_name(name) == make_error_code(errc::invalid_name));
  }
  CHECK(refusal(snapshot_of(1, {{{}, {}, "a"}, {{}, {}, "b"}, {{}, {}, "a"}})) ==
        make_error_code(errc::malformed));
}

TEST_CASE("at most limits::databases_before_history of them") {
  std::vector<std::string> names;
  for (std::size_t i = 0; i <= limits::databases_before_history; ++i) {
    names.push_back("d" + std::to_string(i));
  }
  std::vector<record_parts> records;
  for (std::size_t i = 0; i < limits::databases_before_history; ++i) {
    records.push_back({{}, {}, names[i]});
  }
  CHECK_FALSE(refusal(snapshot_of(1, records)));
  records.push_back({{}, {}, names.back()});
  CHECK(refusal(snapshot_of(1, records)) == make_error_code(errc::too_large));
}

TEST_CASE("database parts that are no SQLite file are refused") {
  const auto malformed = make_error_code(errc::malformed);
  const database_files files = two_transactions(512);
  const auto with = [](const bytes& database) {
    return refusal(snapshot_of(1, {{database, {}, "a"}}));
  };
  CHECK_FALSE(with(files.database));
  for (const std::size_t length : {1U, 17U, 18U, 100U, 511U}) {
    CHECK(with(bytes(files.database.begin(),
                     files.database.begin() + static_cast<std::ptrdiff_t>(length))) == malformed);
  }
  bytes longer = files.database;
  longer.push_back(std::byte{0});
  CHECK(with(longer) == malformed);
  CHECK(with(bytes(512)) == malformed);
  for (const unsigned size : {0U, 2U, 256U, 513U, 0x8001U}) {
    bytes wrong = files.database;
    wrong[16] = static_cast<std::byte>(size >> 8U);
    wrong[17] = static_cast<std::byte>(size & 255U);
    CHECK(with(wrong) == malformed);
  }
}

TEST_CASE("WAL parts that SQLite would not read, or would lose a database over, are refused") {
  const temporary_directory folder;
  const database_files files = two_transactions(512);
  const auto with = [](const bytes& database, const bytes& wal) {
    return refusal(snapshot_of(1, {{database, wal, "a"}}));
  };
  const auto malformed = make_error_code(errc::malformed);
  // SQLite throws the WAL of an empty database away, and all that it holds.
  CHECK(quorlite::tests::what_sqlite_recovers(folder, {{}, files.wal}) == bytes{});
  CHECK(with({}, files.wal) == malformed);
  CHECK(with({}, from_text("W")) == malformed);

  bytes damaged = files.wal;
  damaged[20] ^= std::byte{1};
  CHECK(quorlite::tests::what_sqlite_recovers(folder, {files.database, damaged}) == files.database);
  CHECK(with(files.database, damaged) == make_error_code(errc::corrupt));

  const database_files other = two_transactions(1024);
  CHECK(with(files.database, other.wal) == malformed);
  bytes newer = files.wal;
  quorlite::tests::put_big_endian(newer, 4, 3007001);
  quorlite::tests::seal(newer, false);
  CHECK(with(files.database, newer) == malformed);
  bytes no_database = files.wal;
  no_database[32 + 24] ^= std::byte{1};  // page 1 of the WAL
  quorlite::tests::seal(no_database, false);
  CHECK(with(files.database, no_database) == malformed);
}

TEST_CASE("pages that a WAL adds without carrying them are zeros, and few") {
  const database_files files = two_transactions(512);
  bytes wal = files.wal;
  const std::size_t last = wal.size() - 536;
  const auto with_count = [&](std::uint64_t count) {
    quorlite::tests::put_big_endian(wal, last + 4, static_cast<std::uint32_t>(count));
    quorlite::tests::seal(wal, true);
    return snapshot_of(1, {{files.database, wal, "a"}});
  };
  const std::uint64_t present = quorlite::tests::big_endian_at(files.wal, last + 4);
  database_list list;
  REQUIRE_FALSE(parse_databases(with_count(present + 100), list));
  CHECK(list.databases[0].page_count == present + 100);
  const bytes& image = list.databases[0].image;
  CHECK(std::all_of(image.begin() + static_cast<std::ptrdiff_t>(present * 512), image.end(),
                    [](std::byte one) { return one == std::byte{0}; }));
  CHECK_FALSE(refusal(with_count(present + limits::growth_pages)));
  CHECK(refusal(with_count(present + limits::growth_pages + 1)) ==
        make_error_code(errc::malformed));
  CHECK(refusal(with_count(UINT32_MAX)) == make_error_code(errc::malformed));
  // A database that gets smaller.
  database_list smaller;
  REQUIRE_FALSE(parse_databases(with_count(1), smaller));
  CHECK(smaller.databases[0].page_count == 1);
}

TEST_CASE("the lock page is left out, and written as zeros") {
  constexpr std::uint64_t lock_byte = 512;  // page 2 of 512 bytes
  const database_files files = two_transactions(512);
  const temporary_directory folder;
  const bytes database = quorlite::tests::what_sqlite_recovers(folder, files).value();
  REQUIRE(database.size() >= 2 * 512);
  snapshot_parser parser{lock_byte};
  database_list list;
  REQUIRE_FALSE(parse(parser, list, snapshot_of(1, {{database, {}, "a"}})));
  bytes expected = database;
  std::fill_n(expected.begin() + 512, 512, std::byte{0});
  CHECK(list.databases[0].image == expected);

  snapshot_header header;
  header.databases.push_back({"a", 512, 4, {}, 0});
  const auto layout = snapshot_layout::make(header, lock_byte);
  REQUIRE(layout.has_value());
  bytes page(512, std::byte{1});
  REQUIRE_FALSE(layout->read(16 + 512, page, [](std::size_t, page_number number, bytes_span) {
    CHECK(number.value != 2);
    return std::error_code{};
  }));
  CHECK(page == bytes(512));
}

TEST_CASE("any range of a written snapshot has the bytes of the whole") {
  snapshot_header header;
  header.at.index = log_index{77};
  header.databases = {{"a", 512, 3, {}, 1}, {"b", 0, 0, {}, 0}, {"c.db", 1024, 2, {}, 1}};
  const auto layout = snapshot_layout::make(header);
  REQUIRE(layout.has_value());
  const auto source = [](std::size_t ordinal, page_number number, bytes_span into) {
    for (std::size_t i = 0; i < into.size(); ++i) {
      into[i] = static_cast<std::byte>((ordinal * 50 + number.value * 7 + i * 3) & 255U);
    }
    return std::error_code{};
  };
  bytes whole(layout->size_bytes());
  REQUIRE_FALSE(layout->read(0, whole, source));
  CHECK(whole.size() == 8 + (16 + 1536 + 2) + (16 + 2) + (16 + 2048 + 5));
  generator random{5};
  for (int i = 0; i < 2000; ++i) {
    const std::size_t offset = random.below(whole.size() + 1);
    bytes part(random.below(whole.size() - offset + 1));
    REQUIRE_FALSE(layout->read(offset, part, source));
    REQUIRE(
        std::equal(part.begin(), part.end(), whole.begin() + static_cast<std::ptrdiff_t>(offset)));
  }
  bytes beyond(2);
  CHECK(layout->read(whole.size() - 1, beyond, source) ==
        std::make_error_code(std::errc::invalid_argument));
  CHECK(layout->read(UINT64_MAX, beyond, source) ==
        std::make_error_code(std::errc::invalid_argument));
  const auto failing = [](std::size_t, page_number, bytes_span) {
    return make_error_code(errc::storage_broken);
  };
  CHECK(layout->read(15, beyond, failing) == make_error_code(errc::storage_broken));
}

TEST_CASE("headers that the format cannot hold are refused") {
  const auto with = [](const auto& change) {
    snapshot_header header;
    header.databases = {{"a", 512, 3, {}, 1}, {"b", 0, 0, {}, 0}};
    change(header);
    const auto layout = snapshot_layout::make(header);
    return layout ? std::error_code{} : layout.error();
  };
  CHECK_FALSE(with([](snapshot_header&) {}));
  const auto of_many = [&](std::size_t count) {  // a reader takes no more of them
    return with([&](snapshot_header& of) {
      of.databases.clear();
      for (std::size_t i = 0; i < count; ++i) {
        of.databases.push_back({"d" + std::to_string(10'000 + i), 0, 0, {}, 0});
      }
    });
  };
  CHECK_FALSE(of_many(limits::databases_before_history));
  CHECK(of_many(limits::databases_before_history + 1) == make_error_code(errc::too_large));
  CHECK(with([](snapshot_header& of) { std::swap(of.databases[0], of.databases[1]); }) ==
        make_error_code(errc::malformed));
  CHECK(with([](snapshot_header& of) { of.databases[0].page_size = 500; }) ==
        make_error_code(errc::malformed));
  CHECK(with([](snapshot_header& of) {
          of.staged.push_back(quorlite::tests::shared(from_text("entry")));
        }) == make_error_code(errc::unsupported));
}

TEST_CASE("an error of the sink ends the parse for good") {
  const database_files files = two_transactions(512);
  const bytes snapshot = snapshot_of(1, {{files.database, files.wal, "a"}});
  snapshot_parser parser;
  database_list list;
  list.fails_with = make_error_code(errc::storage_full);
  CHECK(parser.append(snapshot, list) == make_error_code(errc::storage_full));
  list.fails_with = {};
  CHECK(parser.append(snapshot, list) == make_error_code(errc::storage_full));
  CHECK(parser.finish() == make_error_code(errc::storage_full));
  CHECK(list.pages_told == 1);
}

}  // namespace go_dqlite_snapshot_test
