// Facts about SQLite that corrupt or hang under a VFS like ours unless a rule stops them: F1 to
// F11. Each test fails when its rule is taken out.
#include <sqlite3.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/connection.hpp"
#include "quorlite/detail/sqlite/database_file.hpp"
#include "quorlite/detail/sqlite/result_code.hpp"
#include "quorlite/detail/sqlite/vfs.hpp"
#include "support/built_with.hpp"
#include "support/local_host.hpp"
#include "support/sql.hpp"

namespace vfs_hazards_test {
namespace {

using namespace quorlite;

using namespace quorlite::detail;
using quorlite::tests::local_host;

struct fixture {
  local_host host;
  vfs door{host, {.name = "vfs-hazards"}};

  connection open(const std::string& name = "a.db", connection_options options = {}) {
    auto opened = open_connection(door, name, options);
    REQUIRE(opened.has_value());
    return std::move(*opened);
  }
};

/// A plain file that goes away.
struct plain_file {
  std::string path = (std::filesystem::temp_directory_path() /
                      ("quorlite-hazard-" + std::to_string(::getpid()) + ".db"))
                         .string();
  plain_file() { remove(); }
  ~plain_file() { remove(); }
  plain_file(const plain_file&) = delete;
  plain_file& operator=(const plain_file&) = delete;
  void remove() const {
    std::filesystem::remove(path);
    std::filesystem::remove(path + "-journal");
  }
};

const std::string many_rows =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<200) "
    "INSERT INTO t SELECT randomblob(900) FROM n";

/// A file handle without SQLite above it: what another version of SQLite might do.
struct raw_handle {
  explicit raw_handle(local_host& host)
      : core{host, "raw", {limits::lock_byte_default, 1U << 30U}},
        file({std::shared_ptr<void>{}, &core}, host.database_named("a.db").value()) {}

  /// Page 1 of a database with so many pages, everything else zeros.
  static bytes page_one(std::uint32_t page_size, std::uint32_t count, std::uint32_t change) {
    bytes page(page_size);
    page[16] = static_cast<std::byte>(page_size >> 8U);
    page[17] = static_cast<std::byte>(page_size >> 16U);
    detail::set_header_number(page, 24, change);
    detail::set_header_number(page, 28, count);
    detail::set_header_number(page, 92, change);
    return page;
  }
  int begin() { return file.lock(SQLITE_LOCK_EXCLUSIVE); }
  int end() { return file.unlock(SQLITE_LOCK_NONE); }

  detail::vfs_core core;
  detail::database_file file;
};

}  // namespace

TEST_CASE("the rollback of a spilled transaction proposes nothing (F1)") {
  fixture w;
  connection db = w.open();
  REQUIRE(run(db, "PRAGMA cache_size=5; CREATE TABLE t(x); INSERT INTO t VALUES(1)") == SQLITE_OK);
  const std::size_t calls = w.host.commit_calls();
  REQUIRE(run(db, "BEGIN; " + many_rows + "; ROLLBACK") == SQLITE_OK);
  REQUIRE(w.host.commit_calls() == calls);
  REQUIRE(run(db, "BEGIN; " + many_rows) == SQLITE_OK);
  w.host.refuse_next(errc::busy);
  REQUIRE(run(db, "COMMIT") == SQLITE_BUSY);
  REQUIRE(run(db, "ROLLBACK") == SQLITE_OK);
  REQUIRE(w.host.commit_calls() == calls + 1);
  REQUIRE(ask(db, "SELECT count(*) FROM t") == "1");
}

TEST_CASE("a refused commit is not proposed again by its own rollback (F1)") {
  fixture w;
  connection db = w.open();
  REQUIRE(run(db, "PRAGMA cache_size=5; CREATE TABLE t(x); INSERT INTO t VALUES(1)") == SQLITE_OK);
  for (const errc why : {errc::not_leader, errc::leadership_lost, errc::too_large}) {
    const std::size_t calls = w.host.commit_calls();
    w.host.refuse_next(why);
    REQUIRE(run(db, "BEGIN; " + many_rows + "; COMMIT") != SQLITE_OK);
    REQUIRE(w.host.commit_calls() == calls + 1);
    REQUIRE(db.last_error() == make_error_code(why));
    REQUIRE(ask(db, "SELECT count(*) FROM t") == "1");
  }
  REQUIRE(w.host.entry_count() == 2);
  REQUIRE(w.host.replays_equal());
}

TEST_CASE("what is written and synced after a refusal, until the lock is gone, is nothing (F1)") {
  local_host host;
  raw_handle raw{host};
  for (const errc why : {errc::not_leader, errc::leadership_lost}) {
    REQUIRE(raw.begin() == SQLITE_OK);
    REQUIRE(raw.file.write(raw_handle::page_one(4096, 1, 1), 0) == SQLITE_OK);
    host.refuse_next(why);
    REQUIRE(raw.file.sync(nullptr) == sqlite_code(make_error_code(why)));
    const std::size_t calls = host.commit_calls();
    REQUIRE(raw.file.write(raw_handle::page_one(4096, 1, 2), 0) == SQLITE_OK);
    REQUIRE(raw.file.sync(nullptr) == SQLITE_OK);
    REQUIRE(raw.file.sync(nullptr) == SQLITE_OK);
    REQUIRE(host.commit_calls() == calls);
    raw.end();
  }
  REQUIRE(host.entry_count() == 0);
}

TEST_CASE("an unknown outcome that is committed is not taken back by the rollback (F1)") {
  fixture w;
  connection db = w.open();
  REQUIRE(run(db, "PRAGMA cache_size=5; CREATE TABLE t(x); INSERT INTO t VALUES(1)") == SQLITE_OK);
  const std::size_t calls = w.host.commit_calls();
  w.host.lie_next(errc::timed_out);
  REQUIRE(run(db, "BEGIN; " + many_rows + "; COMMIT") == sqlite_outcome_unknown);
  REQUIRE(w.host.commit_calls() == calls + 1);
  REQUIRE(ask(db, "SELECT count(*) FROM t") == "201");
  REQUIRE(w.host.replays_equal());
}

namespace {

/// A plain file as main database, with a table p, and a.db attached to it, with a table r.
struct attached_to_plain {
  /// @param journal_mode of the plain file
  explicit attached_to_plain(const std::string& journal_mode) {
    REQUIRE(run(replicated, "CREATE TABLE r(x)") == SQLITE_OK);
    REQUIRE(sqlite3_open_v2(plain.path.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                            "vfs-hazards") == SQLITE_OK);
    REQUIRE(run(db, "PRAGMA locking_mode=NORMAL; PRAGMA synchronous=FULL; PRAGMA journal_mode=" +
                        journal_mode + "; CREATE TABLE p(x); ATTACH 'a.db' AS aux") == SQLITE_OK);
  }
  attached_to_plain(const attached_to_plain&) = delete;
  attached_to_plain& operator=(const attached_to_plain&) = delete;
  ~attached_to_plain() { sqlite3_close(db); }

  fixture w;
  const plain_file plain;
  connection replicated = w.open();
  sqlite3* db = nullptr;
};

}  // namespace

TEST_CASE("attached to a plain main database, neither side commits (F1)") {
  attached_to_plain at("DELETE");
  sqlite3* const db = at.db;
  const std::size_t calls = at.w.host.commit_calls();
  REQUIRE(run(db, "BEGIN; INSERT INTO p VALUES(1); INSERT INTO aux.r VALUES(1)") == SQLITE_OK);
  REQUIRE(run(db, "COMMIT") == SQLITE_IOERR_FSYNC);
  REQUIRE(ask(db, "SELECT count(*) FROM p") == "0");
  REQUIRE(ask(db, "SELECT count(*) FROM aux.r") == "0");
  REQUIRE(at.w.host.commit_calls() == calls);
  REQUIRE(run(db, "INSERT INTO aux.r VALUES(2)") == SQLITE_OK);  // alone it may
  REQUIRE(ask(at.replicated, "SELECT x FROM r") == "2");
}

TEST_CASE("attached to a plain main database in WAL mode, each commits by itself (F1)") {
  attached_to_plain at("WAL");
  sqlite3* const db = at.db;
  REQUIRE(run(db, "BEGIN; INSERT INTO p VALUES(1); INSERT INTO aux.r VALUES(1); COMMIT") ==
          SQLITE_OK);
  REQUIRE(ask(at.replicated, "SELECT x FROM r") == "1");
  at.w.host.refuse_next(make_error_code(errc::not_leader));
  REQUIRE(run(db, "BEGIN; INSERT INTO p VALUES(2); INSERT INTO aux.r VALUES(2)") == SQLITE_OK);
  REQUIRE(run(db, "COMMIT") == sqlite_not_leader);
  REQUIRE(ask(db, "SELECT count(*) FROM p") == "2");  // what a rollback journal would prevent
  REQUIRE(ask(db, "SELECT count(*) FROM aux.r") == "1");
}

TEST_CASE("a handle that stood on a lost state reads other schema cookies for ever after (F2)") {
  local_host host;
  raw_handle one{host};
  raw_handle two{host};
  raw_handle three{host};
  const auto change = [](raw_handle& raw, std::uint32_t counter, std::uint32_t cookie) {
    REQUIRE(raw.begin() == SQLITE_OK);
    bytes page = raw_handle::page_one(4096, 1, counter);
    detail::set_header_number(page, detail::schema_cookie_at, cookie);
    REQUIRE(raw.file.write(page, 0) == SQLITE_OK);
    REQUIRE(raw.file.sync(nullptr) == SQLITE_OK);
    raw.end();
  };
  const auto cookie = [](raw_handle& raw) {
    bytes part(7);  // a piece that covers the cookie and more
    REQUIRE(raw.file.read(part, 38) == SQLITE_OK);
    return detail::header_number(part, 2);
  };
  constexpr std::uint32_t step = 1U << 20U;
  change(one, 1, 5);
  host.answer(local_host::answers::detached);
  change(one, 2, 5);
  two.file.turn().want_head();
  REQUIRE(two.file.lock(SQLITE_LOCK_SHARED) == SQLITE_OK);
  REQUIRE(cookie(two) == 5);
  two.end();
  host.lose();
  host.answer(local_host::answers::at_once);
  change(three, 2, 6);
  REQUIRE(cookie(three) == 6);

  REQUIRE(two.file.lock(SQLITE_LOCK_SHARED) == SQLITE_OK);
  bytes counters(16);
  REQUIRE(two.file.read(counters, 24) == SQLITE_OK);
  REQUIRE(counters == bytes(16, std::byte{0xFF}));
  REQUIRE(two.file.read(counters, 24) == SQLITE_OK);
  REQUIRE(detail::header_number(counters, 0) == 2);
  REQUIRE(cookie(two) == 6 + step);
  two.end();
  change(two, 3, 7 + step);
  REQUIRE(cookie(two) == 7 + step);
  REQUIRE(cookie(three) == 7);
}

TEST_CASE("a commit on a state that was taken back is refused, whatever stands in its place (F2)") {
  local_host host;
  raw_handle one{host};
  raw_handle two{host};
  const auto change = [](raw_handle& raw, std::uint32_t counter) {
    REQUIRE(raw.begin() == SQLITE_OK);
    REQUIRE(raw.file.write(raw_handle::page_one(4096, 1, counter), 0) == SQLITE_OK);
    REQUIRE(raw.file.sync(nullptr) == SQLITE_OK);
    raw.end();
  };
  change(one, 1);
  host.answer(local_host::answers::detached);
  change(one, 2);
  two.file.turn().want_head();
  REQUIRE(two.begin() == SQLITE_OK);
  REQUIRE(two.file.write(raw_handle::page_one(4096, 1, 3), 0) == SQLITE_OK);
  host.lose();
  host.answer(local_host::answers::at_once);
  host.commit_from_elsewhere("a.db", raw_handle::page_one(4096, 1, 3));
  // Page 1 is what it wants it to be. Its other pages are not there.
  const std::size_t calls = host.commit_calls();
  REQUIRE(two.file.sync(nullptr) == sqlite_not_leader);
  REQUIRE(host.commit_calls() == calls);
  two.end();
}

TEST_CASE("a schema that is only pending is never used on another history (F2)") {
  fixture w;
  connection a = w.open();
  connection b = w.open("a.db", {.busy_timeout = milliseconds{20}});
  connection c = w.open();
  REQUIRE(run(a, "CREATE TABLE t(i)") == SQLITE_OK);
  w.host.answer(local_host::answers::detached);
  REQUIRE(run(a, "CREATE TABLE x(i)") == SQLITE_OK);
  REQUIRE(run(b, "BEGIN IMMEDIATE; INSERT INTO x VALUES(1); COMMIT") == SQLITE_BUSY);
  run(b, "ROLLBACK");
  w.host.lose();
  w.host.answer(local_host::answers::at_once);
  REQUIRE(run(c, "CREATE TABLE y(s TEXT CHECK(typeof(s)='text'))") == SQLITE_OK);
  REQUIRE(run(c, "INSERT INTO y VALUES('kept')") == SQLITE_OK);
  REQUIRE(run(b, "INSERT INTO x VALUES(2)") == SQLITE_ERROR);
  REQUIRE(run(b, "INSERT INTO y VALUES('from b')") == SQLITE_OK);
  REQUIRE(run(a, "INSERT INTO x VALUES(2)") == SQLITE_ERROR);
  REQUIRE(run(a, "INSERT INTO y VALUES('from a')") == SQLITE_OK);
  REQUIRE(ask(c, "SELECT s FROM y") == "kept;from b;from a");
  REQUIRE(ask(c, "PRAGMA integrity_check") == "ok");
  REQUIRE(w.host.replays_equal());
}

TEST_CASE("writers wait for a pending change of the schema and then go on by themselves (F2)") {
  fixture w;
  connection a = w.open();
  connection b = w.open();
  REQUIRE(run(a, "CREATE TABLE t(i)") == SQLITE_OK);
  sqlite3_stmt* prepared = nullptr;
  REQUIRE(sqlite3_prepare_v2(b, "INSERT INTO t(i) VALUES(1)", -1, &prepared, nullptr) == SQLITE_OK);
  w.host.answer(local_host::answers::detached);
  REQUIRE(run(a, "ALTER TABLE t ADD COLUMN j") == SQLITE_OK);
  std::thread consensus([&w] {
    while (w.host.quiet_waits() == 0) {
      std::this_thread::yield();
    }
    w.host.commit_all();
  });
  const int code = sqlite3_step(prepared);
  consensus.join();
  REQUIRE(code == SQLITE_DONE);
  sqlite3_finalize(prepared);
  w.host.commit_all();
  REQUIRE(ask(b, "SELECT i, j FROM t") == "1|");
}

TEST_CASE("a page cache of a lost state is dropped although the change counter repeats (F2)") {
  fixture w;
  connection a = w.open();
  connection b = w.open();
  REQUIRE(run(a, "CREATE TABLE t(x); INSERT INTO t VALUES('base')") == SQLITE_OK);
  REQUIRE(ask(b, "SELECT x FROM t") == "base");
  w.host.answer(local_host::answers::detached);
  REQUIRE(run(a, "UPDATE t SET x='lost'") == SQLITE_OK);
  REQUIRE(run(b, "BEGIN IMMEDIATE") == SQLITE_OK);
  REQUIRE(ask(b, "SELECT x FROM t") == "lost");
  REQUIRE(run(b, "ROLLBACK") == SQLITE_OK);
  w.host.lose();
  w.host.answer(local_host::answers::at_once);
  REQUIRE(run(a, "UPDATE t SET x='kept'") == SQLITE_OK);
  REQUIRE(ask(b, "SELECT x FROM t") == "kept");
}

TEST_CASE("no handle that only read committed states pays for a loss (F2)") {
  fixture w;
  connection a = w.open();
  connection b = w.open();
  REQUIRE(run(a, "CREATE TABLE t(x)") == SQLITE_OK);
  REQUIRE(ask(b, "SELECT count(*) FROM t") == "0");
  w.host.answer(local_host::answers::detached);
  REQUIRE(run(a, "INSERT INTO t VALUES(1)") == SQLITE_OK);
  REQUIRE(ask(b, "SELECT count(*) FROM t") == "0");
  w.host.lose();
  REQUIRE(ask(b, "SELECT count(*) FROM t") == "0");
  REQUIRE(ask(b, "PRAGMA schema_version") == "1");
}

TEST_CASE("a refused commit that would have shrunk the file leaves it as long as it was (F3)") {
  for (const std::string mode : {"FULL", "INCREMENTAL"}) {
    fixture w;
    connection db = w.open();
    REQUIRE(run(db, "PRAGMA auto_vacuum=" + mode + "; PRAGMA cache_size=5; CREATE TABLE t(x); " +
                        many_rows) == SQLITE_OK);
    REQUIRE(ask(db, "PRAGMA auto_vacuum") == (mode == "FULL" ? "1" : "2"));
    const std::string pages = ask(db, "PRAGMA page_count");
    for (const errc why : {errc::not_leader, errc::busy}) {
      w.host.refuse_next(why);
      REQUIRE(run(db, "BEGIN; DELETE FROM t WHERE rowid > 20; PRAGMA incremental_vacuum; COMMIT") !=
              SQLITE_OK);
      run(db, "ROLLBACK");
      REQUIRE(ask(db, "SELECT count(*), sum(length(x)) FROM t") == "200|180000");
      REQUIRE(ask(db, "PRAGMA integrity_check") == "ok");
      REQUIRE(ask(db, "PRAGMA page_count") == pages);
    }
    REQUIRE(run(db, "BEGIN; DELETE FROM t WHERE rowid > 20; PRAGMA incremental_vacuum; COMMIT") ==
            SQLITE_OK);
    REQUIRE(ask(db, "PRAGMA page_count") != pages);
    REQUIRE(ask(db, "PRAGMA integrity_check") == "ok");
    w.host.refuse_next(errc::not_leader);
    REQUIRE(run(db, "VACUUM") == sqlite_not_leader);
    REQUIRE(run(db, "VACUUM") == SQLITE_OK);
    REQUIRE(ask(db, "SELECT count(*) FROM t") == "20");
    REQUIRE(w.host.replays_equal());
  }
}

TEST_CASE(
    "the header of page 1 gives the entry its size, and the handle only once committed (F3)") {
  local_host host;
  raw_handle raw{host};
  const auto size_of = [&raw] {
    sqlite3_int64 size = 0;
    REQUIRE(raw.file.file_size(size) == SQLITE_OK);
    return size / 4096;
  };
  REQUIRE(raw.begin() == SQLITE_OK);
  REQUIRE(raw.file.write(raw_handle::page_one(4096, 5, 1), 0) == SQLITE_OK);
  for (std::uint64_t page = 1; page < 5; ++page) {
    REQUIRE(raw.file.write(bytes(4096), page * 4096) == SQLITE_OK);
  }
  REQUIRE(raw.file.sync(nullptr) == SQLITE_OK);
  raw.end();
  for (const errc why : {errc::busy, errc::not_leader}) {
    REQUIRE(raw.begin() == SQLITE_OK);
    REQUIRE(raw.file.write(raw_handle::page_one(4096, 2, 2), 0) == SQLITE_OK);
    host.refuse_next(why);
    REQUIRE(raw.file.sync(nullptr) != SQLITE_OK);
    REQUIRE(size_of() == 5);
    raw.end();
  }
  REQUIRE(raw.begin() == SQLITE_OK);
  REQUIRE(raw.file.write(raw_handle::page_one(4096, 2, 2), 0) == SQLITE_OK);
  REQUIRE(raw.file.sync(nullptr) == SQLITE_OK);
  REQUIRE(size_of() == 2);
  raw.end();
  REQUIRE(host.entries().back().changes[0].page_count == 2);
}

TEST_CASE("pages that a transaction adds and does not write are zeros in the entry (F4)") {
  local_host host;
  raw_handle raw{host};
  const bytes noise(4096, std::byte{0xAB});
  REQUIRE(raw.begin() == SQLITE_OK);
  REQUIRE(raw.file.write(raw_handle::page_one(4096, 6, 1), 0) == SQLITE_OK);
  for (std::uint64_t page = 1; page < 6; ++page) {
    REQUIRE(raw.file.write(noise, page * 4096) == SQLITE_OK);
  }
  REQUIRE(raw.file.sync(nullptr) == SQLITE_OK);
  raw.end();
  REQUIRE(raw.begin() == SQLITE_OK);  // cut off, with noise behind the end
  REQUIRE(raw.file.write(raw_handle::page_one(4096, 2, 2), 0) == SQLITE_OK);
  REQUIRE(raw.file.sync(nullptr) == SQLITE_OK);
  raw.end();
  REQUIRE(raw.begin() == SQLITE_OK);  // grow over it, writing the last page only
  REQUIRE(raw.file.write(raw_handle::page_one(4096, 6, 3), 0) == SQLITE_OK);
  REQUIRE(raw.file.write(noise, 5 * 4096) == SQLITE_OK);
  REQUIRE(raw.file.sync(nullptr) == SQLITE_OK);
  raw.end();

  const auto entries = host.entries();
  REQUIRE(entries.size() == 3);
  const auto& grown = entries[2].changes[0].pages;
  for (const std::uint32_t page : {3U, 4U, 5U}) {
    REQUIRE(grown.count(page) == 1);
    REQUIRE(grown.at(page) == bytes(4096));
  }
  REQUIRE(grown.count(2) == 0);
  REQUIRE(grown.at(6) == noise);
  REQUIRE(host.replays_equal());
}

TEST_CASE("a page that a transaction cuts off and adds again is zeros, at once and for ever (F4)") {
  local_host host;
  raw_handle raw{host};
  const bytes noise(4096, std::byte{0xAB});
  REQUIRE(raw.begin() == SQLITE_OK);
  REQUIRE(raw.file.write(raw_handle::page_one(4096, 4, 1), 0) == SQLITE_OK);
  for (std::uint64_t page = 1; page < 4; ++page) {
    REQUIRE(raw.file.write(noise, page * 4096) == SQLITE_OK);
  }
  REQUIRE(raw.file.sync(nullptr) == SQLITE_OK);
  raw.end();
  REQUIRE(raw.begin() == SQLITE_OK);
  REQUIRE(raw.file.truncate(4096) == SQLITE_OK);
  REQUIRE(raw.file.write(noise, 3 * 4096) == SQLITE_OK);
  bytes seen(4096, std::byte{1});
  REQUIRE(raw.file.read(seen, 2 * 4096) == SQLITE_OK);
  CHECK(seen == bytes(4096));
  REQUIRE(raw.file.write(raw_handle::page_one(4096, 4, 2), 0) == SQLITE_OK);
  REQUIRE(raw.file.sync(nullptr) == SQLITE_OK);
  raw.end();
  REQUIRE(raw.begin() == SQLITE_OK);
  for (const std::uint64_t page : {1U, 2U}) {
    REQUIRE(raw.file.read(seen, page * 4096) == SQLITE_OK);
    CHECK(seen == bytes(4096));
  }
  raw.end();
  CHECK(host.replays_equal());
}

TEST_CASE("a read that began on the uncommitted head begins again before it sees a row") {
  local_host host;
  raw_handle raw{host};
  const bytes noise(4096, std::byte{0xAB});
  REQUIRE(raw.begin() == SQLITE_OK);
  REQUIRE(raw.file.write(raw_handle::page_one(4096, 2, 1), 0) == SQLITE_OK);
  REQUIRE(raw.file.write(bytes(4096), 4096) == SQLITE_OK);
  REQUIRE(raw.file.sync(nullptr) == SQLITE_OK);
  raw.end();
  host.answer(local_host::answers::detached);  // what follows is pending only
  REQUIRE(raw.begin() == SQLITE_OK);
  REQUIRE(raw.file.write(raw_handle::page_one(4096, 2, 2), 0) == SQLITE_OK);
  REQUIRE(raw.file.write(noise, 4096) == SQLITE_OK);
  REQUIRE(raw.file.sync(nullptr) == SQLITE_OK);
  raw.end();

  raw_handle reader{host};
  bytes seen(4096);
  reader.file.turn().want_head();  // as a writer does that was told to wait, and reads instead
  REQUIRE(reader.file.lock(SQLITE_LOCK_SHARED) == SQLITE_OK);
  REQUIRE(reader.file.read(seen, 0) == SQLITE_OK);
  CHECK(reader.file.read(seen, 4096) != SQLITE_OK);
  CHECK(seen != noise);
  reader.end();
  REQUIRE(reader.file.lock(SQLITE_LOCK_SHARED) == SQLITE_OK);
  REQUIRE(reader.file.read(seen, 4096) == SQLITE_OK);
  CHECK(seen == bytes(4096));
  reader.end();
}

TEST_CASE("a handle that knows no connection gives the slot back to read what no writer reads") {
  local_host host;
  raw_handle writer{host};
  REQUIRE(writer.begin() == SQLITE_OK);
  REQUIRE(writer.file.write(raw_handle::page_one(4096, 2, 1), 0) == SQLITE_OK);
  REQUIRE(writer.file.write(bytes(4096), 4096) == SQLITE_OK);
  REQUIRE(writer.file.sync(nullptr) == SQLITE_OK);
  writer.end();

  raw_handle two{host};
  const database& target = *host.database_named("a.db").value();
  bytes seen(4096);
  REQUIRE(writer.begin() == SQLITE_OK);
  REQUIRE(two.begin() == SQLITE_BUSY_SNAPSHOT);
  two.end();
  writer.end();
  REQUIRE(two.file.lock(SQLITE_LOCK_SHARED) == SQLITE_OK);
  REQUIRE(two.file.read(seen, 0) == SQLITE_OK);
  REQUIRE(host.writers().holder_of(target) == two.file.turn().owner());
  REQUIRE(two.file.read(seen, 4096) == SQLITE_OK);
  CHECK(host.writers().holder_of(target) == nullptr);
  CHECK(writer.begin() == SQLITE_OK);
  writer.end();
  two.end();
}

TEST_CASE("a writer that ran out of memory while it waits does not want the head any more") {
  local_host host;
  raw_handle writer{host};
  REQUIRE(writer.begin() == SQLITE_OK);
  raw_handle two{host};
  two.file.turn().want_head();
  REQUIRE(two.file.lock(SQLITE_LOCK_SHARED) == SQLITE_BUSY);
  REQUIRE(two.file.out_of_memory() == SQLITE_IOERR_NOMEM);
  writer.end();
  REQUIRE(two.file.lock(SQLITE_LOCK_SHARED) == SQLITE_OK);
  CHECK(host.writers().holder_of(*host.database_named("a.db").value()) == nullptr);
  two.end();
}

TEST_CASE(
    "a backup of another page size is SQLITE_READONLY as documented, and harms nothing (F5)") {
  fixture w;
  connection into = w.open("a.db", {.page_size = 4096});
  REQUIRE(run(into, "CREATE TABLE t(x); " + many_rows) == SQLITE_OK);
  for (const std::string page_size : {"512", "1024", "16384"}) {
    for (const int bytes : {1, 20000, 60000}) {
      sqlite3* from = nullptr;
      REQUIRE(sqlite3_open(":memory:", &from) == SQLITE_OK);
      REQUIRE(run(from, "PRAGMA page_size=" + page_size +
                            "; CREATE TABLE other(x); INSERT INTO other VALUES(zeroblob(" +
                            std::to_string(bytes) + "))") == SQLITE_OK);
      sqlite3_backup* const backup = sqlite3_backup_init(into, "main", from, "main");
      REQUIRE(backup != nullptr);
      REQUIRE(sqlite3_backup_step(backup, -1) == SQLITE_READONLY);
      REQUIRE(sqlite3_backup_finish(backup) == SQLITE_READONLY);
      REQUIRE(into.last_error() == errc::unsupported);
      REQUIRE(into.error_message().find("page size") != std::string::npos);
      sqlite3_close(from);
      REQUIRE(ask(into, "SELECT count(*) FROM t") == "200");
      REQUIRE(ask(into, "PRAGMA integrity_check") == "ok");
      REQUIRE(ask(w.open(), "PRAGMA integrity_check") == "ok");
    }
  }
  REQUIRE(w.host.entry_count() == 2);
  REQUIRE(run(into, "INSERT INTO t VALUES(1)") == SQLITE_OK);
  REQUIRE(w.host.replays_equal());
}

TEST_CASE("VACUUM with another page size is refused for good, and says how it works (F5)") {
  for (const std::uint32_t wanted : {512U, 16384U}) {
    fixture w;
    connection early = w.open("a.db", {.page_size = wanted});  // of a database that has no page
    connection db = w.open("a.db", {.page_size = 4096});
    REQUIRE(run(db, "CREATE TABLE t(x); " + many_rows) == SQLITE_OK);
    for (int again = 0; again < 2; ++again) {
      REQUIRE(run(early, "VACUUM") == SQLITE_READONLY);
      REQUIRE(early.last_error() == failure::refused);
      REQUIRE(early.error_message().find("PRAGMA page_size=4096") != std::string::npos);
    }
    REQUIRE(w.host.entry_count() == 2);
    REQUIRE(ask(early, "SELECT count(*) FROM t") == "200");
    REQUIRE(run(early, "INSERT INTO t VALUES(1)") == SQLITE_OK);
    REQUIRE(run(early, "PRAGMA page_size=4096; VACUUM") == SQLITE_OK);
    REQUIRE(ask(db, "PRAGMA integrity_check") == "ok");
    REQUIRE(w.host.replays_equal());
  }
}

TEST_CASE("whole pages of the database's size only, under a header that says so (F5)") {
  local_host host;
  raw_handle raw{host};
  const auto begun = [&] { return raw.begin() == SQLITE_OK; };
  REQUIRE(begun());
  REQUIRE(raw.file.write(raw_handle::page_one(1024, 1, 1), 0) == SQLITE_OK);
  REQUIRE(raw.file.sync(nullptr) == SQLITE_OK);
  raw.end();

  REQUIRE(begun());
  REQUIRE(raw.file.write(raw_handle::page_one(4096, 1, 2), 0) == SQLITE_IOERR_WRITE);
  raw.end();
  REQUIRE(begun());
  REQUIRE(raw.file.write(bytes(1024), 512) == SQLITE_IOERR_WRITE);
  raw.end();
  REQUIRE(begun());
  REQUIRE(raw.file.truncate(1536) == SQLITE_READONLY);
  raw.end();
  bytes foreign = raw_handle::page_one(4096, 1, 3);
  foreign.resize(1024);
  REQUIRE(begun());
  REQUIRE(raw.file.write(foreign, 0) == SQLITE_OK);
  REQUIRE(raw.file.sync(nullptr) == SQLITE_READONLY);
  REQUIRE(raw.file.answers().error() == errc::unsupported);
  raw.end();
  REQUIRE(begun());  // more pages than the file has
  REQUIRE(raw.file.write(raw_handle::page_one(1024, 1000, 4), 0) == SQLITE_OK);
  REQUIRE(raw.file.sync(nullptr) == sqlite_not_leader);
  raw.end();
  REQUIRE(host.entry_count() == 1);
}

TEST_CASE("a refused first transaction leaves neither a page size nor a cache behind (F9)") {
  fixture w;
  connection small = w.open("a.db", {.page_size = 1024});
  connection large = w.open("a.db", {.page_size = 8192});
  w.host.refuse_next(errc::not_leader);
  REQUIRE(run(small, "CREATE TABLE t(x)") == sqlite_not_leader);
  REQUIRE(run(large, "CREATE TABLE t(x)") == SQLITE_OK);
  REQUIRE(ask(small, "SELECT count(*) FROM t") == "0");
  REQUIRE(ask(small, "PRAGMA page_size") == "8192");
  REQUIRE(run(small, "INSERT INTO t VALUES(1)") == SQLITE_OK);
  REQUIRE(w.host.replays_equal());
}

TEST_CASE("waiting for an idle writer ends with the caller's timeout (F6)") {
  fixture w;
  connection a = w.open();
  REQUIRE(run(a, "CREATE TABLE t(x)") == SQLITE_OK);
  connection b = w.open("a.db", {.busy_timeout = milliseconds{100}});
  REQUIRE(run(a, "BEGIN IMMEDIATE; INSERT INTO t VALUES(1)") == SQLITE_OK);
  REQUIRE(run(b, "INSERT INTO t VALUES(2)") == SQLITE_BUSY);
  REQUIRE(w.host.writer_waits() >= 40);
  REQUIRE(w.host.writer_waits() <= 60);
  w.host.answer(local_host::answers::detached);
  REQUIRE(run(a, "COMMIT") == SQLITE_OK);
  REQUIRE(ask(b, "SELECT count(*) FROM t") == "0");  // it does not want the head any more
  REQUIRE(run(b, "INSERT INTO t VALUES(2)") == SQLITE_OK);
}

TEST_CASE("a writer that waits gets its turn when the other one ends (F6)") {
  fixture w;
  connection a = w.open();
  REQUIRE(run(a, "CREATE TABLE t(x); BEGIN IMMEDIATE; INSERT INTO t VALUES(1)") == SQLITE_OK);
  int waited = SQLITE_ERROR;
  std::thread waiting(
      [&waited, b = w.open()] { waited = run(b, "INSERT INTO t SELECT max(x)+1 FROM t"); });
  while (w.host.writer_waits() < 3) {
    std::this_thread::yield();
  }
  REQUIRE(run(a, "COMMIT") == SQLITE_OK);
  waiting.join();
  CHECK(waited == SQLITE_OK);
  REQUIRE(ask(a, "SELECT x FROM t") == "1;2");
}

TEST_CASE("an atomic commit of several databases is refused or committed as a whole (F7)") {
  fixture w;
  connection db = w.open("m.db");
  REQUIRE(run(db, "PRAGMA cache_size=5; ATTACH 'z.db' AS z; ATTACH 'b.db' AS b;"
                  "CREATE TABLE t(x); CREATE TABLE z.t(x); CREATE TABLE b.t(x)") == SQLITE_OK);
  const std::string counts = "SELECT (SELECT count(*) FROM main.t), "
                             "(SELECT count(*) FROM z.t), (SELECT count(*) FROM b.t)";
  const std::string write =
      "BEGIN; INSERT INTO main.t VALUES(1); INSERT INTO z.t VALUES(1); INSERT INTO b.t VALUES(1); ";
  const struct {
    errc error;
    int code;
  } rows[] = {{errc::not_leader, sqlite_not_leader},
              {errc::leadership_lost, sqlite_outcome_unknown},
              {errc::busy, sqlite_busy_rolled_back},
              {errc::too_large, SQLITE_FULL}};
  for (const auto& row : rows) {
    const std::size_t calls = w.host.commit_calls();
    w.host.refuse_next(row.error);
    REQUIRE(run(db, write + "COMMIT") == row.code);
    REQUIRE(sqlite3_get_autocommit(db) == 1);
    REQUIRE(db.last_error() == make_error_code(row.error));
    REQUIRE(ask(db, counts) == "0|0|0");
    REQUIRE(w.host.commit_calls() == calls + 1);
  }
  REQUIRE(run(db, write + "COMMIT") == SQLITE_OK);
  REQUIRE(ask(db, counts) == "1|1|1");
  const auto entries = w.host.entries();
  REQUIRE(entries.back().changes.size() == 3);
  REQUIRE(entries.back().changes[0].name == "b.db");
  REQUIRE(entries.back().changes[1].name == "m.db");
  REQUIRE(entries.back().changes[2].name == "z.db");
  REQUIRE(ask(db, "SELECT count(*) FROM pragma_integrity_check") == "1");
  REQUIRE(w.host.replays_equal());
}

TEST_CASE("databases that SQLite would commit one after the other are refused together (F7)") {
  const bool is_apart = sqlite3_compileoption_used("DEFAULT_SYNCHRONOUS=0") != 0;
  fixture w;
  connection db = w.open("m.db");
  const auto say = [&db](const std::string& sql) {  // run() would say synchronous=FULL as well
    sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr);
    return sqlite3_extended_errcode(db);
  };
  REQUIRE(say("ATTACH 'b.db' AS b; CREATE TABLE t(x); CREATE TABLE b.t(x)") == SQLITE_OK);
  const std::string both = "INSERT INTO main.t VALUES(1); INSERT INTO b.t VALUES(1); COMMIT";
  std::size_t entries = w.host.entry_count();
  for (const std::string begin : {"BEGIN; ", "BEGIN IMMEDIATE; "}) {
    CAPTURE(begin);
    CHECK(say(begin + both) == (is_apart ? SQLITE_IOERR_FSYNC : SQLITE_OK));
    CHECK(sqlite3_get_autocommit(db) == 1);
    if (is_apart) {
      CHECK(db.last_error() == errc::unsupported);
      CHECK(db.error_message().find("synchronous=FULL behind each ATTACH") != std::string::npos);
    }
  }
  CHECK(ask(db, "SELECT (SELECT count(*) FROM main.t), (SELECT count(*) FROM b.t)") ==
        (is_apart ? "0|0" : "2|2"));
  entries += is_apart ? 0 : 2;
  CHECK(w.host.entry_count() == entries);
  REQUIRE(say("INSERT INTO main.t VALUES(1)") == SQLITE_OK);  // alone each may
  REQUIRE(say("INSERT INTO b.t VALUES(1)") == SQLITE_OK);
  REQUIRE(say("PRAGMA b.synchronous=FULL; BEGIN IMMEDIATE; " + both) == SQLITE_OK);
  CHECK(w.host.entry_count() == entries + 3);
  CHECK(w.host.entries().back().changes.size() == 2);
  CHECK(w.host.replays_equal());
}

TEST_CASE("a super-journal that was refused exists until its last member has rolled back (F7)") {
  using fate = detail::super_journals::fate;
  local_host host;
  raw_handle one{host};
  raw_handle two{host};
  detail::super_journals supers;
  detail::super_journals::members inside;
  const auto made = [&] {
    REQUIRE(supers.open("m.db-mj1", true) != nullptr);
    REQUIRE(supers.join("m.db-mj1", &one.file));
    REQUIRE(supers.join("m.db-mj1", &two.file));
  };
  made();
  REQUIRE(supers.remove("m.db-mj1", true, inside) == fate::commit);
  REQUIRE(inside.size() == 2);
  supers.conclude("m.db-mj1", false);
  supers.leave("m.db-mj1", &one.file);
  REQUIRE(supers.remove("m.db-mj1", false, inside) == fate::stays);
  REQUIRE(supers.exists("m.db-mj1"));
  REQUIRE(supers.remove("m.db-mj1", true, inside) == fate::refused);
  supers.leave("m.db-mj1", &two.file);
  REQUIRE(supers.remove("m.db-mj1", false, inside) == fate::removed);
  REQUIRE_FALSE(supers.exists("m.db-mj1"));

  made();  // a plain file rolls back first and tidies up: that is no commit
  REQUIRE(supers.remove("m.db-mj1", false, inside) == fate::refused);
  REQUIRE(supers.exists("m.db-mj1"));
  REQUIRE(supers.remove("m.db-mj1", true, inside) == fate::refused);
}

TEST_CASE("nobody takes the journal of a writer for a hot one (F7)") {
  fixture w;
  connection db = w.open("m.db");
  REQUIRE(run(db, "ATTACH 'b.db' AS b; CREATE TABLE t(x); CREATE TABLE b.t(x)") == SQLITE_OK);
  connection reader = w.open("b.db");
  int seen = 0;
  w.host.during_commit([&] {
    REQUIRE(ask(reader, "SELECT count(*) FROM t") == std::to_string(seen));
    connection fresh = open_connection(w.door, "m.db").value();
    REQUIRE(ask(fresh, "SELECT count(*) FROM t") == std::to_string(seen));
  });
  const std::string both = "BEGIN; INSERT INTO main.t VALUES(1); INSERT INTO b.t VALUES(1); COMMIT";
  REQUIRE(run(db, both) == SQLITE_OK);
  seen = 1;
  w.host.refuse_next(errc::not_leader);
  REQUIRE(run(db, both) == sqlite_not_leader);
  REQUIRE(run(db, both) == SQLITE_OK);
  w.host.during_commit({});
  REQUIRE(ask(reader, "SELECT count(*) FROM t") == "2");
}

TEST_CASE("a plain file in the same transaction follows the decision (F7)") {
  fixture w;
  const plain_file plain;
  connection db = w.open("m.db");
  REQUIRE(run(db, "CREATE TABLE t(x); ATTACH '" + plain.path +
                      "' AS p; CREATE TABLE p.t(x);"
                      "ATTACH 'b.db' AS b; CREATE TABLE b.t(x)") == SQLITE_OK);
  const std::string counts = "SELECT (SELECT count(*) FROM main.t), "
                             "(SELECT count(*) FROM p.t), (SELECT count(*) FROM b.t)";
  for (const std::string first : {"main", "p", "b"}) {
    for (const std::string second : {"main", "p", "b"}) {
      if (first == second) {
        continue;
      }
      const std::string before = ask(db, counts);
      const std::string write =
          "BEGIN; INSERT INTO " + first + ".t VALUES(1); INSERT INTO " + second + ".t VALUES(1);";
      w.host.refuse_next(errc::not_leader);
      REQUIRE(run(db, write + "COMMIT") == sqlite_not_leader);
      REQUIRE(ask(db, counts) == before);
      REQUIRE(run(db, write + "COMMIT") == SQLITE_OK);
      REQUIRE(ask(db, counts) != before);
    }
  }
  REQUIRE(ask(db, counts) == "4|4|4");
  REQUIRE(w.host.replays_equal());
}

// The pager has marked the journal as complete. It would write its next header over a record, and
// a rollback would then stop in the middle.
TEST_CASE("a transaction that goes on after a commit without room can still be rolled back (F8)") {
  for (const std::string mode : {"NONE", "FULL", "INCREMENTAL"}) {
    fixture w;
    connection db = w.open();
    REQUIRE(run(db, "PRAGMA auto_vacuum=" + mode + "; CREATE TABLE t(x); " + many_rows) ==
            SQLITE_OK);
    REQUIRE(run(db, "BEGIN; UPDATE t SET x=zeroblob(10) WHERE rowid<40") == SQLITE_OK);
    for (int i = 0; i < 3; ++i) {
      w.host.refuse_next(errc::busy);
      REQUIRE(run(db, "COMMIT") == SQLITE_BUSY);
      const std::string from = std::to_string(60 + 40 * i);
      REQUIRE(run(db, "UPDATE t SET x=zeroblob(20) WHERE rowid BETWEEN " + from + " AND " + from +
                          "+20; DELETE FROM t WHERE rowid=" + from) == SQLITE_OK);
    }
    REQUIRE(run(db, "ROLLBACK") == SQLITE_OK);
    REQUIRE(ask(db, "SELECT count(*), sum(length(x)) FROM t") == "200|180000");
    REQUIRE(ask(db, "PRAGMA integrity_check") == "ok");
    REQUIRE(ask(w.open(), "SELECT count(*), sum(length(x)) FROM t") == "200|180000");
    REQUIRE(run(db, "DELETE FROM t WHERE rowid<150") == SQLITE_OK);
    REQUIRE(w.host.replays_equal());
  }
}

namespace {

/// A database with statistics, and a transaction that changes the schema after so many rows: SQLite
/// loads the schema again within it, and the statistics at the end, where it hears of no failure.
struct with_statistics {
  local_host host;
  vfs door{host, {.name = "vfs-statistics", .write_set_bytes = 24 * 4096}};
  connection db = open_connection(door, "a.db").value();

  with_statistics() {
    REQUIRE(run(db, "CREATE TABLE t(x); CREATE INDEX i ON t(x); CREATE TABLE log(x);"
                    "INSERT INTO t VALUES(1), (2); ANALYZE") == SQLITE_OK);
  }
  [[nodiscard]] static std::string rows(int count, const std::string& into = "t") {
    return "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<" +
           std::to_string(count) + ") INSERT INTO " + into + " SELECT randomblob(3000) FROM n";
  }
  /// As an application does it that looks at each answer. @returns what it was told
  [[nodiscard]] int transact(const std::vector<std::string>& all) {
    for (const std::string& sql : all) {
      const int code = run(db, sql);
      if (code != SQLITE_OK) {
        static_cast<void>(run(db, "ROLLBACK"));
        return code;
      }
    }
    return SQLITE_OK;
  }
};

}  // namespace

TEST_CASE("what SQLite takes back as it loads statistics is not done by halves (F10)") {
  for (const int cache : {2, 5, 9}) {
    for (int count = 1; count < 30; ++count) {
      with_statistics w;
      REQUIRE(run(w.db, "PRAGMA cache_size=" + std::to_string(cache)) == SQLITE_OK);
      const int told = w.transact({"BEGIN IMMEDIATE", w.rows(count), "ALTER TABLE t ADD COLUMN y",
                                   "INSERT INTO log VALUES(1)", "COMMIT"});
      CAPTURE(cache, count, told);
      connection other = open_connection(w.door, "a.db").value();
      const std::string done = told == SQLITE_OK ? "1" : "0";
      CHECK(ask(other, "SELECT count(*) FROM log") == done);
      CHECK(ask(other, "SELECT count(*) FROM pragma_table_info('t') WHERE name='y'") == done);
      CHECK(ask(other, "SELECT count(*) FROM t") ==
            std::to_string(told == SQLITE_OK ? count + 2 : 2));
      // Nothing is left of it: the next one is as any other.
      CHECK(w.transact({"BEGIN IMMEDIATE", "INSERT INTO log VALUES(2)", "COMMIT"}) == SQLITE_OK);
    }
  }
}

TEST_CASE("a failure while a blob is open is told once, and the transaction can be ended (F10)") {
  for (const bool is_open : {true, false}) {
    with_statistics w;
    REQUIRE(
        run(w.db, "PRAGMA cache_size=2; CREATE TABLE b(x); INSERT INTO b VALUES(zeroblob(9))") ==
        SQLITE_OK);
    sqlite3_blob* blob = nullptr;
    REQUIRE(run(w.db, "BEGIN IMMEDIATE") == SQLITE_OK);
    if (is_open) {
      REQUIRE(sqlite3_blob_open(w.db, "main", "b", "x", 1, 0, &blob) == SQLITE_OK);
    }
    // A blob of a virtual table might hide it.
    CHECK(run(w.db, w.rows(40)) == (is_open ? sqlite_transaction_over : SQLITE_FULL));
    CHECK(w.db.last_error() == make_error_code(errc::too_large));
    CHECK(sqlite3_get_autocommit(w.db) == 0);  // SQLite has taken back the statement alone
    CHECK(run(w.db, "ROLLBACK") == SQLITE_OK);
    CHECK(run(w.db, "INSERT INTO log VALUES(1)") == SQLITE_OK);
    sqlite3_blob_close(blob);
    CHECK(run(w.db, "INSERT INTO log VALUES(2)") == SQLITE_OK);
    CHECK(ask(w.db, "SELECT max(x) FROM log") == "2");
  }
}

TEST_CASE("what SQLite takes back as it prepares a statement is not done by halves (F10)") {
  for (int count = 1; count < 30; ++count) {
    with_statistics w;
    REQUIRE(run(w.db, "PRAGMA cache_size=2") == SQLITE_OK);
    const int told = w.transact({"BEGIN IMMEDIATE", w.rows(count), "SAVEPOINT s; CREATE TABLE u(x)",
                                 "ROLLBACK TO s", "INSERT INTO log VALUES(1)", "COMMIT"});
    CAPTURE(count, told);
    connection other = open_connection(w.door, "a.db").value();
    const bool done = told == SQLITE_OK;
    CHECK(ask(other, "SELECT count(*) FROM log") == (done ? "1" : "0"));
    CHECK(ask(other, "SELECT count(*) FROM t") == std::to_string(done ? count + 2 : 2));
    CHECK(w.transact({"BEGIN IMMEDIATE", "INSERT INTO log VALUES(2)", "COMMIT"}) == SQLITE_OK);
  }
}

TEST_CASE("a failure that SQLite hid in another file is told with its reason (F10)") {
  int hidden = 0;
  for (int count = 1; count < 30; ++count) {
    with_statistics w;
    REQUIRE(run(w.db, "PRAGMA cache_size=2; ATTACH 'b.db' AS b; PRAGMA b.cache_size=2;"
                      "CREATE TABLE b.t(x); CREATE INDEX b.i ON t(x);"
                      "INSERT INTO b.t VALUES(1), (2); ANALYZE b") == SQLITE_OK);
    const std::vector<std::string> before{"BEGIN IMMEDIATE", with_statistics::rows(count, "b.t"),
                                          "SAVEPOINT s; CREATE TABLE b.u(x)", "ROLLBACK TO s"};
    const bool fails_before = std::any_of(
        before.begin(), before.end(), [&](const auto& sql) { return run(w.db, sql) != SQLITE_OK; });
    // Loads the statistics of b first.
    const int code =
        fails_before ? SQLITE_FULL : run(w.db, "INSERT INTO main.log VALUES(1);COMMIT");
    CAPTURE(count, fails_before, code);
    if (code != SQLITE_OK) {
      CHECK(code == SQLITE_FULL);
      CHECK(w.db.last_error() == errc::too_large);
      CHECK(w.db.error_message() == w.host.explain(make_error_code(errc::too_large)));
      std::error_code its;
      CHECK(sqlite3_file_control(w.db, "main", static_cast<int>(file_control::last_error), &its) ==
            SQLITE_OK);
      hidden += its == errc::too_large ? 1 : 0;  // else b's own write or COMMIT told of it
    }
    static_cast<void>(run(w.db, "ROLLBACK"));  // SQLite may have done so
    CHECK(ask(w.db, "SELECT count(*) FROM log") == (code == SQLITE_OK ? "1" : "0"));
    CHECK(w.transact({"BEGIN IMMEDIATE", "INSERT INTO log VALUES(2)", "COMMIT"}) == SQLITE_OK);
    CHECK_FALSE(w.db.last_error());
  }
  CHECK(hidden >= 1);
}

namespace {

/// A transaction on a state that is only pending, which is taken back under it: from lose() on,
/// every page that SQLite has not in its cache cannot be read.
struct with_lost_base {
  local_host host;
  vfs door{host, {.name = "vfs-lost-base"}};
  connection other = open_connection(door, "a.db").value();
  connection db;

  explicit with_lost_base(const std::string& schema) {
    REQUIRE(run(other, "CREATE TABLE log(x); CREATE TABLE p(x); CREATE TABLE b(x);"
                       "INSERT INTO b VALUES(zeroblob(9));" +
                           schema) == SQLITE_OK);
    host.answer(local_host::answers::detached);
    REQUIRE(run(other, "INSERT INTO p VALUES(1)") == SQLITE_OK);
    db = open_connection(door, "a.db").value();
    REQUIRE(ask(db, "SELECT count(*) FROM log") == "0");  // its virtual tables are not connected
    REQUIRE(run(db, "BEGIN IMMEDIATE; INSERT INTO log VALUES(1)") == SQLITE_OK);
  }
  void lose() {
    static_cast<void>(sqlite3_db_release_memory(db));
    host.lose();
    host.answer(local_host::answers::at_once);
  }
  /// Whether SQLite has taken the transaction back, and told it by a code of another kind.
  [[nodiscard]] bool is_hidden(int told) const {
    const int kind = told & 0xFF;
    return sqlite3_get_autocommit(db) != 0 && kind != SQLITE_IOERR && kind != SQLITE_FULL &&
           kind != SQLITE_NOMEM && kind != SQLITE_ABORT;
  }
};

/// Runs all as an application does that looks at each answer. @returns what it was told
int transact(sqlite3* db, const std::vector<std::string>& all) {
  for (const std::string& sql : all) {
    const int code = run(db, sql);
    if (code != SQLITE_OK) {
      static_cast<void>(run(db, "ROLLBACK"));
      return code;
    }
  }
  return SQLITE_OK;
}

/// A small write set, and what SQLite reads behind the back of a statement.
struct with_small_write_set {
  local_host host;
  vfs door{host, {.name = "vfs-small", .write_set_bytes = 24 * 4096}};
  connection db = open_connection(door, "a.db", {.page_size = 4096}).value();

  explicit with_small_write_set(const std::string& schema, int cache) {
    REQUIRE(run(db, "CREATE TABLE t(x); CREATE TABLE log(x);" + schema) == SQLITE_OK);
    REQUIRE(run(db, "PRAGMA cache_size=" + std::to_string(cache)) == SQLITE_OK);
  }
  void check(int told, int rows) {
    CAPTURE(told, rows, sqlite3_get_autocommit(db));
    const connection other = open_connection(door, "a.db").value();
    CHECK(ask(other, "SELECT count(*) FROM log") == (told == SQLITE_OK ? "1" : "0"));
    CHECK(ask(other, "SELECT count(*) FROM t") == (told == SQLITE_OK ? std::to_string(rows) : "0"));
    // Nothing is left of it: the next one is as any other.
    CHECK(transact(db, {"BEGIN IMMEDIATE", "INSERT INTO log VALUES(2)", "COMMIT"}) == SQLITE_OK);
  }
};

/// A transaction that fills the write set more and more, so that each thing that SQLite does behind
/// that finds it full in its turn: done, or told and not done.
void check_at_each_size(const std::string& schema, const std::vector<int>& caches,
                        const std::vector<std::string>& before,
                        const std::vector<std::string>& behind) {
  int done = 0;
  int refused = 0;
  for (const int cache : caches) {
    for (int count = 1; count < 30; ++count) {
      with_small_write_set w(schema, cache);
      CAPTURE(cache, count);
      std::vector<std::string> all{"BEGIN IMMEDIATE"};
      all.insert(all.end(), before.begin(), before.end());
      all.push_back(with_statistics::rows(count));
      all.insert(all.end(), behind.begin(), behind.end());
      all.insert(all.end(), {"INSERT INTO log VALUES(1)", "COMMIT"});
      const int told = transact(w.db, all);
      ++(told == SQLITE_OK ? done : refused);
      w.check(told, count);
    }
  }
  CHECK(done > 0);
  CHECK(refused > 0);
}

const std::string back_to_another_schema = "SAVEPOINT s; CREATE TABLE u(x); ROLLBACK TO s";

const std::string with_index =
    "CREATE TABLE s(x); INSERT INTO s VALUES(1), (2); CREATE INDEX i ON s(x); ANALYZE;";

const std::string full_text =
    "CREATE VIRTUAL TABLE f1 USING fts5(x); CREATE VIRTUAL TABLE f2 USING fts5(x);"
    "CREATE VIRTUAL TABLE f3 USING fts5(x); CREATE VIRTUAL TABLE f4 USING fts5(x);";

/// Several nodes, far from each other.
const std::string many_boxes =
    "CREATE VIRTUAL TABLE r USING rtree(id, a, b, c, d);"
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<400) "
    "INSERT INTO r SELECT i, i, i+1, i, i+1 FROM n;";

}  // namespace

TEST_CASE("what PRAGMA table_list cannot connect takes nothing back (F10)") {
  if (!quorlite::tests::is_built_with("ENABLE_FTS5")) {
    return;
  }
  with_lost_base w(full_text);
  w.lose();
  const int told = transact(w.db, {"PRAGMA table_list", "INSERT INTO log VALUES(2)", "COMMIT"});
  CHECK(told == sqlite_not_leader);
  CHECK(ask(w.other, "SELECT count(*) FROM log") == "0");
  CHECK(transact(w.db, {"BEGIN IMMEDIATE", "INSERT INTO log VALUES(3)", "COMMIT"}) == SQLITE_OK);
  CHECK(ask(w.other, "SELECT x FROM log") == "3");
}

TEST_CASE("what PRAGMA table_list has no room to connect takes nothing back (F10)") {
  if (!quorlite::tests::is_built_with("ENABLE_FTS5")) {
    return;
  }
  check_at_each_size(full_text, {2, 5, 9}, {}, {back_to_another_schema, "PRAGMA table_list"});
}

TEST_CASE("a failure that ALTER TABLE passes on as another one has taken nothing back (F10)") {
  if (!quorlite::tests::is_built_with("ENABLE_FTS5")) {
    return;
  }
  with_lost_base w("CREATE VIRTUAL TABLE f USING fts5(x); CREATE VIEW v AS SELECT x FROM f;");
  w.lose();
  const int told = run(w.db, "ALTER TABLE p RENAME TO q");
  CAPTURE(told);
  CHECK(told != SQLITE_OK);
  CHECK_FALSE(w.is_hidden(told));
  // SQLITE_ERROR is no reason to think that the transaction is gone.
  CHECK(transact(w.db, {"INSERT INTO log VALUES(2)", "COMMIT"}) == sqlite_not_leader);
  CHECK(ask(w.other, "SELECT count(*) FROM log") == "0");
}

TEST_CASE("a blob that cannot be opened takes nothing back unless it says so (F10)") {
  std::string tables;
  for (int i = 0; i < 120; ++i) {
    tables += "CREATE TABLE a_table_with_a_long_name_to_fill_the_schema_" + std::to_string(i) +
              "(a, b, c, d, e, f, g, h);";
  }
  with_lost_base w(tables);
  REQUIRE(run(w.db, back_to_another_schema) == SQLITE_OK);
  w.lose();
  sqlite3_blob* blob = nullptr;
  const int told = sqlite3_blob_open(w.db, "main", "b", "x", 1, 0, &blob);
  CAPTURE(told);
  CHECK(told != SQLITE_OK);
  CHECK_FALSE(w.is_hidden(told));
  sqlite3_blob_close(blob);
}

TEST_CASE("what is taken back beside an open SELECT is not done by halves (F10)") {
  for (const int cache : {2, 5, 9}) {
    for (int count = 1; count < 30; ++count) {
      with_small_write_set w(with_index, cache);
      CAPTURE(cache, count);
      sqlite3_stmt* open = nullptr;
      REQUIRE(sqlite3_prepare_v2(w.db, "SELECT x FROM s", -1, &open, nullptr) == SQLITE_OK);
      REQUIRE(run(w.db, "BEGIN IMMEDIATE") == SQLITE_OK);
      REQUIRE(sqlite3_step(open) == SQLITE_ROW);
      const int told = transact(w.db, {with_statistics::rows(count), back_to_another_schema,
                                       "INSERT INTO log VALUES(1)", "COMMIT"});
      sqlite3_finalize(open);
      w.check(told, count);
    }
  }
}

TEST_CASE("an R-Tree that tries a node again goes on with no other transaction (F10)") {
  if (!quorlite::tests::is_built_with("ENABLE_RTREE")) {
    return;
  }
  check_at_each_size(many_boxes, {2, 4, 6, 9}, {"INSERT INTO r VALUES(1001, 1, 2, 1, 2)"},
                     {"INSERT INTO r VALUES(1002, 399, 400, 399, 400)"});
}

TEST_CASE("a statement over an R-Tree is not done by halves either (F10)") {
  if (!quorlite::tests::is_built_with("ENABLE_RTREE")) {
    return;
  }
  for (const int cache : {2, 4, 6, 9}) {
    for (int count = 1; count < 30; ++count) {
      with_small_write_set w(many_boxes +
                                 "CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO r VALUES("
                                 "NULL, 40*new.rowid%400, 40*new.rowid%400+1, 1, 400); END;",
                             cache);
      CAPTURE(cache, count);
      const int told = run(w.db, with_statistics::rows(count));
      const connection other = open_connection(w.door, "a.db").value();
      CHECK(ask(other, "SELECT count(*) FROM t") ==
            (told == SQLITE_OK ? std::to_string(count) : "0"));
      CHECK(ask(other, "SELECT count(*) FROM r") ==
            std::to_string(told == SQLITE_OK ? 400 + count : 400));
      CHECK(ask(other, "SELECT rtreecheck('r')") == "ok");
    }
  }
}

TEST_CASE("what ATTACH loads of another schema takes nothing back (F10)") {
  check_at_each_size(with_index, {2, 5, 9}, {}, {back_to_another_schema, "ATTACH 'b.db' AS b"});
}

TEST_CASE("a hidden failure is told by COMMIT, with its reason, and only there (F10)") {
  with_lost_base w(with_index);
  REQUIRE(run(w.db, back_to_another_schema) == SQLITE_OK);
  w.lose();
  CHECK(run(w.db, "INSERT INTO log VALUES(2)") == SQLITE_OK);  // prepared without statistics
  CHECK(sqlite3_get_autocommit(w.db) == 0);
  CHECK(run(w.db, "COMMIT") == sqlite_not_leader);
  CHECK(w.db.last_error() == make_error_code(errc::stale_term));
  CHECK(sqlite3_get_autocommit(w.db) != 0);
  CHECK(ask(w.other, "SELECT count(*) FROM log") == "0");
  CHECK(run(w.db, "INSERT INTO log VALUES(3)") == SQLITE_OK);
  CHECK(ask(w.other, "SELECT x FROM log") == "3");
}

TEST_CASE(
    "a transaction with a hidden failure can be rolled back, and then nothing is told (F10)") {
  with_lost_base w(with_index);
  REQUIRE(run(w.db, back_to_another_schema) == SQLITE_OK);
  w.lose();
  static_cast<void>(run(w.db, "INSERT INTO log VALUES(2)"));
  CHECK(run(w.db, "ROLLBACK") == SQLITE_OK);
  CHECK(run(w.db, "BEGIN IMMEDIATE; INSERT INTO log VALUES(3); COMMIT") == SQLITE_OK);
  CHECK(ask(w.other, "SELECT x FROM log") == "3");
}

TEST_CASE("a RELEASE that failed is not to be said again: it says OK for nothing (F12)") {
  fixture w;
  connection db = w.open();
  REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
  REQUIRE(run(db, "SAVEPOINT s; INSERT INTO t VALUES(1)") == SQLITE_OK);
  w.host.refuse_next(errc::not_leader);
  CHECK(run(db, "RELEASE s") == sqlite_not_leader);
  CHECK(run(db, "RELEASE s") == SQLITE_OK);  // so is it with plain SQLite on a disk that fails
  CHECK(ask(w.open(), "SELECT count(*) FROM t") == "0");
  CHECK(run(db, "INSERT INTO t VALUES(2)") == SQLITE_OK);
  CHECK(ask(w.open(), "SELECT x FROM t") == "2");
}

TEST_CASE("sqlite3_serialize hides that pages cannot be read (F12)") {
  with_lost_base w("CREATE TABLE c(x); INSERT INTO c VALUES(randomblob(9000));");
  w.lose();
  sqlite3_int64 size = 0;
  unsigned char* const all = sqlite3_serialize(w.db, "main", &size, 0);
  int empty_pages = 0;
  for (sqlite3_int64 at = 0; all != nullptr && at < size; at += 4096) {
    empty_pages += std::all_of(all + at, all + at + 4096, [](auto c) { return c == 0; }) ? 1 : 0;
  }
  CHECK(empty_pages > 0);
  sqlite3_free(all);
}

TEST_CASE("a full write set is told at once in autocommit, else by COMMIT at the latest (F10)") {
  for (const bool is_open : {false, true}) {  // a SELECT that waits to go on
    with_small_write_set w("INSERT INTO log VALUES(0), (0)", 2);
    sqlite3_stmt* open = nullptr;
    REQUIRE(sqlite3_prepare_v2(w.db, "SELECT x FROM log", -1, &open, nullptr) == SQLITE_OK);
    if (is_open) {
      REQUIRE(sqlite3_step(open) == SQLITE_ROW);
    }
    CHECK(run(w.db, with_statistics::rows(60)) == SQLITE_FULL);
    CHECK(w.db.last_error() == make_error_code(errc::too_large));
    sqlite3_reset(open);
    REQUIRE(run(w.db, "BEGIN IMMEDIATE") == SQLITE_OK);
    if (is_open) {
      REQUIRE(sqlite3_step(open) == SQLITE_ROW);
    }
    CHECK(run(w.db, with_statistics::rows(60) + "; COMMIT") == SQLITE_FULL);
    CHECK(w.db.last_error() == make_error_code(errc::too_large));
    sqlite3_finalize(open);
    static_cast<void>(run(w.db, "ROLLBACK"));  // SQLite may have done so
    CHECK(run(w.db, "INSERT INTO log VALUES(1)") == SQLITE_OK);
    CHECK(ask(w.db, "SELECT count(*) FROM t") == "0");
  }
}

namespace {

/// A memory database as main, which every pragma without a schema goes to: our VFS sees none.
struct memory_main {
  sqlite3* db = nullptr;
  memory_main() {
    REQUIRE(sqlite3_open_v2(":memory:", &db,
                            SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI,
                            nullptr) == SQLITE_OK);
    sqlite3_extended_result_codes(db, 1);
    // As most builds have it.
    REQUIRE(run(db, "PRAGMA locking_mode=NORMAL") == SQLITE_OK);
  }
  ~memory_main() { sqlite3_close(db); }
  memory_main(const memory_main&) = delete;
  memory_main& operator=(const memory_main&) = delete;

  [[nodiscard]] int attach(const std::string& name) const {
    return run(db, "ATTACH 'file:" + name + ".db?vfs=vfs-hazards' AS " + name);
  }
};

const std::string be_exclusive = "PRAGMA locking_mode=EXCLUSIVE";

}  // namespace

TEST_CASE("with a lock that SQLite keeps for ever no COMMIT says OK for nothing (F11)") {
  // A SQLite that was built to keep its locks begins as the first one does.
  for (const bool attached_first : {false, true}) {
    for (const std::string mode : {"DELETE", "TRUNCATE", "PERSIST"}) {
      INFO(attached_first);
      INFO(mode);
      fixture w;
      connection other = w.open();
      REQUIRE(run(other, "CREATE TABLE t(x)") == SQLITE_OK);
      const memory_main m;
      REQUIRE((attached_first ? m.attach("a") : run(m.db, be_exclusive)) == SQLITE_OK);
      REQUIRE((attached_first ? run(m.db, be_exclusive) : m.attach("a")) == SQLITE_OK);
      REQUIRE(run(m.db, "PRAGMA a.journal_mode=" + mode) == SQLITE_OK);
      REQUIRE(ask(m.db, "PRAGMA a.locking_mode") == "exclusive");
      std::string acknowledged;
      for (int i = 0; i < 6; ++i) {
        INFO(i);
        const std::string row = std::to_string(i);
        const int code = run(m.db, "INSERT INTO a.t VALUES(" + row + ")");
        if (code == SQLITE_OK) {
          acknowledged += (acknowledged.empty() ? "" : ";") + row;
        } else {
          REQUIRE(code == SQLITE_IOERR_LOCK);
          REQUIRE(ask(m.db, "PRAGMA a.quorlite_error").find("locking_mode") != std::string::npos);
        }
        REQUIRE(ask(other, "SELECT x FROM t") == acknowledged);
        REQUIRE(ask(m.db, "SELECT x FROM a.t") == acknowledged);
      }
      REQUIRE(run(m.db, "BEGIN; INSERT INTO a.t VALUES(7); ROLLBACK; PRAGMA cache_size=5") ==
              SQLITE_OK);
      REQUIRE(run(m.db, "BEGIN; INSERT INTO a.t SELECT randomblob(900) FROM (SELECT 1 UNION ALL "
                        "SELECT 2); DELETE FROM a.t; COMMIT") != SQLITE_OK);
      REQUIRE(ask(other, "SELECT x FROM t") == acknowledged);
      run(m.db, "PRAGMA locking_mode=NORMAL");
      ask(m.db, "SELECT count(*) FROM a.t");  // SQLite gives the lock back with the next statement
      REQUIRE(run(m.db, "INSERT INTO a.t VALUES('normal')") == SQLITE_OK);
      REQUIRE(ask(other, "SELECT max(x) FROM t") == "normal");
      REQUIRE(ask(other, "PRAGMA integrity_check") == "ok");
      REQUIRE(w.host.replays_equal());
    }
  }
}

TEST_CASE("after a refused COMMIT a lock that SQLite keeps is no lock for the next one (F11)") {
  for (const errc why : {errc::not_leader, errc::leadership_lost, errc::busy}) {
    fixture w;
    connection other = w.open();
    REQUIRE(run(other, "CREATE TABLE t(x)") == SQLITE_OK);
    const memory_main m;
    REQUIRE(run(m.db, be_exclusive) == SQLITE_OK);
    REQUIRE(m.attach("a") == SQLITE_OK);
    REQUIRE(run(m.db, "PRAGMA a.cache_size=5") == SQLITE_OK);
    w.host.refuse_next(why);
    REQUIRE(run(m.db, "BEGIN; INSERT INTO a.t VALUES('refused'); COMMIT") != SQLITE_OK);
    run(m.db, "ROLLBACK");
    std::string acknowledged;
    for (int i = 0; i < 4; ++i) {
      if (run(m.db, "INSERT INTO a.t VALUES(" + std::to_string(i) + ")") == SQLITE_OK) {
        acknowledged += (acknowledged.empty() ? "" : ";") + std::to_string(i);
      }
      REQUIRE(ask(other, "SELECT x FROM t") == acknowledged);
    }
    REQUIRE(w.host.replays_equal());
  }
}

TEST_CASE("locking_mode=EXCLUSIVE changes no schema that is replicated, whatever its name (F11)") {
  fixture w;
  connection other = w.open();
  REQUIRE(run(other, "CREATE TABLE t(x)") == SQLITE_OK);
  const memory_main m;
  REQUIRE(m.attach("a") == SQLITE_OK);
  REQUIRE(ask(m.db, "PRAGMA a.locking_mode=EXCLUSIVE") == "normal");
  REQUIRE(ask(m.db, "PRAGMA a.locking_mode") == "normal");
  connection db = w.open();
  REQUIRE(run(db, "ATTACH 'b.db' AS b; CREATE TABLE b.t(x); ATTACH ':memory:' AS m") == SQLITE_OK);
  for (const std::string schema : {"", "main.", "b."}) {
    REQUIRE(ask(db, "PRAGMA " + schema + "locking_mode=EXCLUSIVE") == "normal");
    REQUIRE(ask(db, "PRAGMA " + schema + "locking_mode") == "normal");
  }
  REQUIRE(run(db, "PRAGMA m.locking_mode=EXCLUSIVE; ATTACH 'c.db' AS c") == SQLITE_OK);
  REQUIRE(ask(db, "PRAGMA c.locking_mode") == "normal");
  for (int i = 0; i < 3; ++i) {
    REQUIRE(run(m.db, "INSERT INTO a.t VALUES(1)") == SQLITE_OK);
    REQUIRE(run(db, "INSERT INTO main.t VALUES(1); INSERT INTO b.t VALUES(1)") == SQLITE_OK);
  }
  REQUIRE(ask(other, "SELECT count(*) FROM t") == "6");
  REQUIRE(ask(w.open("b.db"), "SELECT count(*) FROM t") == "3");
  REQUIRE(w.host.replays_equal());
}

TEST_CASE("a commit that SQLite takes back, as another one failed, stays and is read (F11)") {
  fixture w;
  connection a = w.open("a.db");
  connection b = w.open("b.db");
  REQUIRE(run(a, "CREATE TABLE t(x)") == SQLITE_OK);
  REQUIRE(run(b, "CREATE TABLE t(x)") == SQLITE_OK);
  const memory_main m;  // no super-journal then: each is committed by an entry of its own
  REQUIRE(m.attach("a") == SQLITE_OK);
  REQUIRE(m.attach("b") == SQLITE_OK);
  const std::string both = "BEGIN; INSERT INTO a.t VALUES(1); INSERT INTO b.t VALUES(1); COMMIT";
  int commits = 0;
  w.host.during_commit([&] {
    if (++commits == 2) {
      w.host.refuse_next(errc::not_leader);
    }
  });
  REQUIRE(run(m.db, both) == sqlite_not_leader);
  const std::string counts = "SELECT (SELECT count(*) FROM a.t), (SELECT count(*) FROM b.t)";
  REQUIRE(ask(m.db, counts) == "1|0");
  REQUIRE(ask(a, "SELECT count(*) FROM t") == "1");
  REQUIRE(run(m.db, both) == SQLITE_OK);
  REQUIRE(ask(m.db, counts) == "2|1");
  REQUIRE(ask(a, "SELECT count(*) FROM t") == "2");
  REQUIRE(ask(b, "SELECT count(*) FROM t") == "1");
  REQUIRE(w.host.replays_equal());
}

TEST_CASE("after a finished COMMIT nothing changes a database without a new lock (F11)") {
  local_host host;
  raw_handle raw{host};
  REQUIRE(raw.begin() == SQLITE_OK);
  REQUIRE(raw.file.write(raw_handle::page_one(4096, 1, 1), 0) == SQLITE_OK);
  REQUIRE(raw.file.sync(nullptr) == SQLITE_OK);
  REQUIRE(raw.file.truncate(4096) == SQLITE_OK);  // where SQLite cuts a file that has shrunk
  REQUIRE(raw.file.finish() == SQLITE_OK);
  for (int again = 0; again < 2; ++again) {
    REQUIRE(raw.file.write(raw_handle::page_one(4096, 1, 2), 0) == SQLITE_IOERR_LOCK);
    REQUIRE(raw.file.answers().error() == make_error_code(errc::unsupported));
    REQUIRE(raw.file.write(raw_handle::page_one(4096, 1, 1), 0) == SQLITE_OK);  // it is taken back
    REQUIRE(raw.file.sync(nullptr) == SQLITE_OK);
  }
  REQUIRE(raw.file.truncate(0) == SQLITE_IOERR_LOCK);
  REQUIRE(raw.file.sync("m.db-mj1") == SQLITE_IOERR_LOCK);
  REQUIRE(raw.file.finish() == SQLITE_IOERR_LOCK);
  raw.end();
  REQUIRE(host.entry_count() == 1);
  REQUIRE(raw.begin() == SQLITE_OK);
  REQUIRE(raw.file.write(raw_handle::page_one(4096, 1, 2), 0) == SQLITE_OK);
  REQUIRE(raw.file.sync(nullptr) == SQLITE_OK);
  REQUIRE(raw.file.finish() == SQLITE_OK);
  raw.end();
  REQUIRE(host.entry_count() == 2);
}

TEST_CASE("a transaction that ran out of memory at a pragma does not commit as OK (F11)") {
  local_host host;
  raw_handle raw{host};
  REQUIRE(raw.begin() == SQLITE_OK);
  raw.file.out_of_memory();
  REQUIRE(raw.file.write(raw_handle::page_one(4096, 1, 1), 0) == SQLITE_OK);
  REQUIRE(raw.file.sync(nullptr) == SQLITE_OK);
  REQUIRE(raw.file.finish() == SQLITE_IOERR_NOMEM);
  raw.end();
  REQUIRE(host.entry_count() == 0);
}

namespace {

/// About a page a row, in transactions that the write set has room for.
std::string big_rows() {
  std::string all = "CREATE TABLE big(id INTEGER PRIMARY KEY, x NOT NULL);";
  for (int i = 0; i < 4; ++i) {
    all += "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<15) "
           "INSERT INTO big(x) SELECT randomblob(3000) FROM n;";
  }
  return all;
}

}  // namespace

TEST_CASE("the undo of a statement that finds the write set full takes back nothing else (F10)") {
  int undone = 0;
  int met_the_limit = 0;
  for (int cache = 8; cache < 50; cache += 3) {
    for (int k = 4; k < 45; k += 3) {
      with_small_write_set w(big_rows(), cache);
      CAPTURE(cache, k);
      REQUIRE(run(w.db, "BEGIN IMMEDIATE; INSERT INTO log VALUES(1)") == SQLITE_OK);
      const int told = run(w.db, "UPDATE big SET x = CASE WHEN id<" + std::to_string(k) +
                                     " THEN randomblob(3000) ELSE "
                                     "abs(-9223372036854775807-1+id-id) END");
      REQUIRE(told != SQLITE_OK);
      if (told != SQLITE_ERROR) {
        static_cast<void>(run(w.db, "ROLLBACK"));
        continue;  // the limit, told as what it is
      }
      ++undone;
      CHECK(sqlite3_get_autocommit(w.db) == 0);
      const int ended = transact(w.db, {"INSERT INTO log VALUES(2)", "COMMIT"});
      met_the_limit += ended == SQLITE_OK ? 0 : 1;
      const connection other = open_connection(w.door, "a.db").value();
      CHECK(ask(other, "SELECT group_concat(x) FROM log") == (ended == SQLITE_OK ? "1,2" : ""));
    }
  }
  CHECK(met_the_limit > 0);
  CHECK(met_the_limit < undone);
}

TEST_CASE("a ROLLBACK that finds the write set full is whole, beside an open blob too (F10)") {
  for (const bool is_open : {true, false}) {
    int met_the_limit = 0;
    for (int cache = 8; cache < 60; cache += 3) {
      for (int k = 4; k < 60; k += 4) {
        with_small_write_set w("CREATE TABLE b(x); INSERT INTO b VALUES(zeroblob(9));" + big_rows(),
                               cache);
        CAPTURE(is_open, cache, k);
        sqlite3_blob* blob = nullptr;
        if (is_open) {
          REQUIRE(sqlite3_blob_open(w.db, "main", "b", "x", 1, 0, &blob) == SQLITE_OK);
        }
        REQUIRE(run(w.db, "BEGIN IMMEDIATE") == SQLITE_OK);
        if (run(w.db, "UPDATE big SET x=zeroblob(3000) WHERE id<" + std::to_string(k)) ==
            SQLITE_OK) {
          CHECK(run(w.db, "ROLLBACK") == SQLITE_OK);
          std::error_code last;
          static_cast<void>(sqlite3_file_control(
              w.db, "main", static_cast<int>(file_control::last_error), &last));
          met_the_limit += last == errc::too_large ? 1 : 0;
          CHECK(sqlite3_get_autocommit(w.db) != 0);
          CHECK(ask(w.db, "SELECT count(*) FROM big WHERE x=zeroblob(3000)") == "0");
          const connection other =
              open_connection(w.door, "a.db", {.busy_timeout = milliseconds{20}}).value();
          CHECK(run(other, "INSERT INTO log VALUES(5)") == SQLITE_OK);
        }
        sqlite3_blob_close(blob);
      }
    }
    CHECK(met_the_limit > 0);
  }
}

TEST_CASE("what one file has committed while another was refused is read anew (F7)") {
  fixture w;
  connection a = w.open("a.db");
  connection b = w.open("b.db");
  REQUIRE(run(a, "CREATE TABLE t(x); CREATE TABLE s(x); INSERT INTO s VALUES(1),(2),(3)") ==
          SQLITE_OK);
  REQUIRE(run(b, "CREATE TABLE t(x)") == SQLITE_OK);
  const memory_main m;
  REQUIRE(m.attach("a") == SQLITE_OK);
  REQUIRE(m.attach("b") == SQLITE_OK);
  REQUIRE(ask(m.db, "SELECT count(*) FROM a.t") == "0");
  sqlite3_stmt* open = nullptr;
  REQUIRE(sqlite3_prepare_v2(m.db, "SELECT x FROM a.s", -1, &open, nullptr) == SQLITE_OK);
  int commits = 0;
  w.host.during_commit([&] {
    if (++commits == 2) {
      w.host.refuse_next(errc::not_leader);
    }
  });
  REQUIRE(run(m.db, "BEGIN IMMEDIATE") == SQLITE_OK);
  REQUIRE(sqlite3_step(open) == SQLITE_ROW);
  const int told = run(m.db, "INSERT INTO a.t VALUES(1); INSERT INTO b.t VALUES(1); COMMIT");
  w.host.during_commit({});
  const std::string first = ask(a, "SELECT count(*) FROM t");
  const int next = run(m.db, "INSERT INTO a.t VALUES(2)");
  const std::string after = ask(a, "SELECT group_concat(x) FROM t");
  const std::string fresh = ask(w.open("a.db"), "SELECT group_concat(x) FROM t");
  CAPTURE(after, fresh);
  sqlite3_finalize(open);
  CHECK(told == sqlite_not_leader);
  CHECK(first == "1");
  CHECK(next == SQLITE_BUSY_SNAPSHOT);  // its SELECT stands on a cache that is not the state
  CHECK(after == "1");
  CHECK(fresh == "1");
  CHECK(run(m.db, "INSERT INTO a.t VALUES(2)") == SQLITE_OK);
  CHECK(ask(w.open("a.db"), "SELECT group_concat(x) FROM t") == "1,2");
}

TEST_CASE("where nothing of ours is written, a temporary table is taken back as ever (F10)") {
  with_small_write_set w("CREATE TABLE b(x); INSERT INTO b VALUES(zeroblob(9));" + big_rows(), 2);
  sqlite3_blob* blob = nullptr;
  REQUIRE(run(w.db, "CREATE TEMP TABLE h(x)") == SQLITE_OK);
  REQUIRE(sqlite3_blob_open(w.db, "main", "b", "x", 1, 0, &blob) == SQLITE_OK);
  REQUIRE(run(w.db, "BEGIN; INSERT INTO temp.h VALUES(1)") == SQLITE_OK);
  w.door.close();
  const int told = run(w.db, "INSERT INTO temp.h SELECT id FROM big");
  CHECK((told & 0xFF) == SQLITE_IOERR);
  CHECK(sqlite3_get_autocommit(w.db) != 0);
  CHECK(ask(w.db, "SELECT count(*) FROM temp.h") == "0");
  sqlite3_blob_close(blob);
}

TEST_CASE("the undo of a statement that cannot read is told as that statement's own error (F12)") {
  for (const bool blob_open : {false, true}) {
    with_lost_base w("CREATE TABLE q(k); CREATE INDEX qi ON q(k);"
                     "INSERT INTO q VALUES(hex(randomblob(5000))), (hex(randomblob(5000)));"
                     "CREATE TABLE l2(x NOT NULL);");
    sqlite3_blob* blob = nullptr;
    if (blob_open) {
      REQUIRE(sqlite3_blob_open(w.db, "main", "b", "x", 1, 0, &blob) == SQLITE_OK);
    }
    sqlite3_stmt* open = nullptr;
    REQUIRE(sqlite3_prepare_v2(w.db, "SELECT 1 FROM q INDEXED BY qi WHERE k>'0'", -1, &open,
                               nullptr) == SQLITE_OK);
    REQUIRE(sqlite3_step(open) == SQLITE_ROW);
    REQUIRE(run(w.db, "INSERT INTO l2 VALUES(1)") == SQLITE_OK);
    w.lose();
    const int told = run(w.db, "INSERT INTO l2 SELECT abs(column1) FROM "
                               "(VALUES(1),(-9223372036854775807-1))");
    const int autocommit = sqlite3_get_autocommit(w.db);
    const int then = run(w.db, "INSERT INTO log VALUES(2)");
    const int ended = run(w.db, "COMMIT");
    const std::string rows = ask(w.other, "SELECT group_concat(x) FROM log");
    CAPTURE(blob_open, told, autocommit, then, ended, rows);
    sqlite3_finalize(open);
    sqlite3_blob_close(blob);
    CHECK(told == SQLITE_ERROR);
    CHECK(autocommit != 0);
    CHECK(then == SQLITE_BUSY_SNAPSHOT);
    CHECK(rows.empty());
  }
}

}  // namespace vfs_hazards_test
