// Reading a WAL: whatever its bytes, our fold and SQLite's own recovery come to the same database.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/legacy/wal_fold.hpp"
#include "unit/codec_support.hpp"
#include "unit/wal_support.hpp"

namespace wal_fold_test {

using quorlite::bytes;
using quorlite::bytes_view;
using quorlite::errc;
using quorlite::detail::wal_fold;
using quorlite::detail::wal_state;
using quorlite::tests::database_files;
using quorlite::tests::generator;
using quorlite::tests::seal;
using quorlite::tests::temporary_directory;
using quorlite::tests::wal_database;
using quorlite::tests::what_sqlite_recovers;
using quorlite::tests::what_we_fold;

namespace {

constexpr std::size_t header_bytes = 32;

std::size_t frame_bytes(std::uint32_t page_size) { return 24 + page_size; }

/// Inserts rows of random bytes.
std::string rows(int first, int last, int blob_bytes) {
  return "WITH RECURSIVE row(i) AS (VALUES(" + std::to_string(first) +
         ") UNION ALL SELECT i + 1 FROM row WHERE i < " + std::to_string(last) +
         ") INSERT INTO t SELECT i, randomblob(" + std::to_string(blob_bytes) + ") FROM row";
}

/// Several transactions: growth, change, and the loss of pages.
void some_history(const wal_database& db) {
  db.execute("CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
  db.execute(rows(1, 5, 100));
  db.execute("UPDATE t SET b = randomblob(90) WHERE a = 2");
  db.execute(rows(6, 14, 300));
}

/// A transaction that is under way, larger than the cache: its frames are in the WAL already.
void spill(const wal_database& db) {
  db.execute("PRAGMA cache_size=2; PRAGMA cache_spill=1");
  db.execute("BEGIN; UPDATE t SET b = randomblob(200)");
  db.execute(rows(20, 60, 400));
}

void check_same(const temporary_directory& folder, const database_files& files,
                std::uint32_t page_size) {
  const std::optional<bytes> theirs = what_sqlite_recovers(folder, files);
  const std::optional<bytes> ours = what_we_fold(files, page_size);
  REQUIRE(theirs.has_value() == ours.has_value());
  REQUIRE((!ours || *ours == *theirs));
}

}  // namespace

TEST_CASE("a WAL of several transactions gives the database that SQLite recovers") {
  const auto page_size = GENERATE(512U, 1024U, 4096U, 65536U);
  CAPTURE(page_size);
  const temporary_directory folder;
  const wal_database db{page_size};
  some_history(db);
  const database_files files = db.files();
  check_same(folder, files, page_size);
  wal_fold fold{page_size};
  REQUIRE_FALSE(fold.append(files.wal));
  CHECK(fold.summary().state == wal_state::reading);
  CHECK(fold.summary().commits == 4);
  CHECK(fold.summary().frames == (files.wal.size() - header_bytes) / frame_bytes(page_size));
  CHECK(fold.summary().uncommitted_bytes == 0);
}

TEST_CASE("frames of a transaction that is not committed do not count") {
  const temporary_directory folder;
  const wal_database db{512};
  some_history(db);
  const database_files before = db.files();
  spill(db);
  const database_files files = db.files();
  REQUIRE(files.wal.size() > before.wal.size() + 10 * frame_bytes(512));
  check_same(folder, files, 512);
  wal_fold fold{512};
  REQUIRE_FALSE(fold.append(files.wal));
  CHECK(fold.summary().commits == 4);
  CHECK(fold.summary().uncommitted_bytes == files.wal.size() - before.wal.size());
  CHECK(what_we_fold(files, 512) == what_we_fold(before, 512));
  db.execute("ROLLBACK");
  db.execute(
      "INSERT INTO t VALUES(100, 'after the rollback')");  // its frames replace the lost ones
  check_same(folder, db.files(), 512);
}

TEST_CASE("frames of an earlier round of the WAL do not count") {
  const temporary_directory folder;
  const wal_database db{512};
  some_history(db);
  const std::size_t before = db.files().wal.size();
  db.execute("PRAGMA wal_checkpoint(RESTART)");
  db.execute("UPDATE t SET b = 'new' WHERE a = 3");
  const database_files files = db.files();
  REQUIRE(files.wal.size() == before);  // most of it has the old salt
  check_same(folder, files, 512);
  wal_fold fold{512};
  REQUIRE_FALSE(fold.append(files.wal));
  CHECK(fold.summary().state == wal_state::ended);
  CHECK(fold.summary().commits == 1);
}

TEST_CASE("a database that shrinks and grows again within one WAL") {
  const temporary_directory folder;
  const wal_database db{512};
  some_history(db);
  db.execute("DELETE FROM t WHERE a > 3; VACUUM");
  check_same(folder, db.files(), 512);
  const database_files small = db.files();
  db.execute(rows(6, 14, 500));
  check_same(folder, db.files(), 512);
  db.execute("PRAGMA wal_checkpoint(TRUNCATE)");
  db.execute("DELETE FROM t WHERE a > 2; VACUUM");
  const database_files shrunk = db.files();
  REQUIRE(what_we_fold(shrunk, 512)->size() < shrunk.database.size());
  check_same(folder, shrunk, 512);
}

TEST_CASE("checksums of either byte order count") {
  const temporary_directory folder;
  const wal_database db{1024};
  some_history(db);
  database_files files = db.files();
  const std::optional<bytes> expected = what_sqlite_recovers(folder, files);
  for (const bool big_endian : {true, false}) {
    seal(files.wal, big_endian);
    CHECK(what_we_fold(files, 1024) == expected);
    check_same(folder, files, 1024);
    files.wal[3] ^= std::byte{1};  // the other order: now no checksum is right
    check_same(folder, files, 1024);
    CHECK(what_we_fold(files, 1024) == files.database);
  }
}

TEST_CASE("a WAL cut anywhere ends with its last whole commit") {
  const temporary_directory folder;
  const wal_database db{512};
  some_history(db);
  spill(db);
  database_files files = db.files();
  const bytes whole = files.wal;
  std::vector<std::size_t> cuts{0, 1, 31, 32, 33};
  for (std::size_t at = header_bytes; at <= whole.size(); at += frame_bytes(512)) {
    for (const std::size_t inside : {0U, 1U, 7U, 23U, 24U, 25U, 300U, 535U}) {
      cuts.push_back(at + inside);
    }
  }
  for (const std::size_t cut : cuts) {
    if (cut <= whole.size()) {
      CAPTURE(cut);
      files.wal.assign(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(cut));
      check_same(folder, files, 512);
    }
  }
}

TEST_CASE("a flipped bit ends the WAL where SQLite ends it") {
  const temporary_directory folder;
  const wal_database db{512};
  some_history(db);
  spill(db);
  database_files files = db.files();
  generator random{7};
  for (std::size_t at = 0; at < files.wal.size();) {
    CAPTURE(at);
    const auto bit = static_cast<std::byte>(1U << random.below(8));
    files.wal[at] ^= bit;
    check_same(folder, files, 512);
    files.wal[at] ^= bit;
    const bool in_page = at >= header_bytes && (at - header_bytes) % frame_bytes(512) >= 24;
    at += in_page ? 1 + random.below(200) : 1 + random.below(3);
  }
}

TEST_CASE("pieces of any size give the same") {
  const wal_database db{512};
  some_history(db);
  spill(db);
  const database_files files = db.files();
  const std::optional<bytes> expected = what_we_fold(files, 512);
  for (const std::size_t piece : {1U, 2U, 31U, 33U, 535U, 536U, 537U, 4096U}) {
    CAPTURE(piece);
    CHECK(what_we_fold(files, 512, piece) == expected);
  }
}

TEST_CASE("a right header of another version or page size is an error") {
  const temporary_directory folder;
  const wal_database db{512};
  some_history(db);
  database_files files = db.files();
  quorlite::tests::put_big_endian(files.wal, 4, 3007001);
  seal(files.wal, false);
  CHECK(what_sqlite_recovers(folder, files) == std::nullopt);
  wal_fold newer{512};
  CHECK(newer.append(files.wal) == make_error_code(errc::malformed));
  CHECK(newer.append(files.wal) == make_error_code(errc::malformed));

  quorlite::tests::put_big_endian(files.wal, 4, 3007000);
  seal(files.wal, false);
  wal_fold larger{1024};
  CHECK(larger.append(files.wal) == make_error_code(errc::malformed));
  // No more than a header is no WAL, so there is nothing to object to.
  wal_fold nothing{1024};
  CHECK_FALSE(nothing.append(bytes_view{files.wal}.first(header_bytes)));
  CHECK(nothing.summary().state == wal_state::absent);
}

TEST_CASE("page sizes that SQLite does not have make no WAL") {
  const temporary_directory folder;
  const wal_database db{512};
  some_history(db);
  for (const std::uint32_t page_size : {0U, 1U, 256U, 513U, 131072U, 0x80000000U}) {
    CAPTURE(page_size);
    database_files files = db.files();
    quorlite::tests::put_big_endian(files.wal, 8, page_size);
    bytes header(files.wal.begin(), files.wal.begin() + header_bytes);
    seal(header, false);
    std::copy(header.begin(), header.end(), files.wal.begin());
    check_same(folder, files, 512);
    CHECK(what_we_fold(files, 512) == files.database);
  }
}

TEST_CASE("frames of page 0 end the WAL, checksum or not") {
  const temporary_directory folder;
  const wal_database db{512};
  some_history(db);
  database_files files = db.files();
  quorlite::tests::put_big_endian(files.wal, header_bytes + 3 * frame_bytes(512), 0);
  seal(files.wal, false);
  check_same(folder, files, 512);
}

TEST_CASE("random bytes are taken as they come") {
  generator random{99};
  for (int i = 0; i < 2000; ++i) {
    bytes wal = random.some_bytes(random.below(4000));
    if (wal.size() > header_bytes && random.below(4) != 0) {
      quorlite::tests::put_big_endian(wal, 4, 3007000);
      quorlite::tests::put_big_endian(wal, 8, 512);
      for (std::size_t at = 32; at + frame_bytes(512) <= wal.size(); at += frame_bytes(512)) {
        if (random.below(10) != 0) {
          std::copy_n(wal.begin() + 16, 8, wal.begin() + static_cast<std::ptrdiff_t>(at + 8));
        }
        quorlite::tests::put_big_endian(wal, at + 4, random.below(3) == 0 ? 1 : 0);
      }
      seal(wal, random.below(2) == 0);
    }
    wal_fold fold{512};
    REQUIRE_FALSE(fold.append(wal));
    REQUIRE(fold.summary().uncommitted_bytes <= wal.size());
    REQUIRE(fold.pages().size() <= fold.summary().frames);
  }
}

}  // namespace wal_fold_test
