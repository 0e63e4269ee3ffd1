// The VFS case by case: locks, pins, retries, refusals.
#include <sqlite3.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/connection.hpp"
#include "quorlite/detail/sqlite/result_code.hpp"
#include "quorlite/detail/sqlite/vfs.hpp"
#include "support/local_host.hpp"
#include "support/sql.hpp"

namespace vfs_test {
namespace {

using namespace quorlite;

using namespace quorlite::detail;
using quorlite::tests::local_host;

struct fixture {
  local_host host;
  vfs door{host, {.name = "vfs-test"}};

  connection open(const std::string& name = "a.db", connection_options options = {}) {
    auto opened = open_connection(door, name, options);
    REQUIRE(opened.has_value());
    return std::move(*opened);
  }
};

connection table_of(fixture& w, const std::string& name = "a.db") {
  connection db = w.open(name);
  REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
  return db;
}

}  // namespace

TEST_CASE("a commit is one entry that a follower replays to the same bytes") {
  fixture w;
  connection db = table_of(w);
  REQUIRE(w.host.entry_count() == 1);
  REQUIRE(run(db, "BEGIN; INSERT INTO t VALUES(1); INSERT INTO t VALUES(2); COMMIT") == SQLITE_OK);
  REQUIRE(w.host.entry_count() == 2);
  REQUIRE(ask(db, "SELECT x FROM t") == "1;2");
  REQUIRE(db.last_transaction() == transaction_id{term{1}, 2});
  REQUIRE(ask(db, "PRAGMA quorlite_transaction") == "1.2");
  REQUIRE(ask(db, "PRAGMA quorlite_error").empty());
  REQUIRE_FALSE(db.last_error());
  REQUIRE(w.host.replays_equal());
}

TEST_CASE("reads, rollbacks and empty transactions make no entry") {
  fixture w;
  connection db = table_of(w);
  REQUIRE(run(db, "BEGIN IMMEDIATE; SELECT * FROM t; COMMIT") == SQLITE_OK);
  REQUIRE(run(db, "BEGIN; INSERT INTO t VALUES(1); ROLLBACK") == SQLITE_OK);
  REQUIRE(run(db, "BEGIN; SAVEPOINT s; INSERT INTO t VALUES(1); ROLLBACK TO s; ROLLBACK") ==
          SQLITE_OK);
  REQUIRE(ask(db, "SELECT count(*) FROM t") == "0");
  REQUIRE(w.host.entry_count() == 1);
}

TEST_CASE("every journal mode that keeps a journal and every synchronous but OFF commits once") {
  fixture w;
  connection db = table_of(w);
  for (const std::string mode : {"DELETE", "TRUNCATE", "PERSIST"}) {
    for (const std::string synchronous : {"NORMAL", "FULL", "EXTRA"}) {
      REQUIRE(run(db, "PRAGMA journal_mode=" + mode) == SQLITE_OK);
      REQUIRE(run(db, "PRAGMA synchronous=" + synchronous) == SQLITE_OK);
      const std::size_t before = w.host.entry_count();
      REQUIRE(run(db, "INSERT INTO t VALUES(1)") == SQLITE_OK);
      w.host.refuse_next(errc::not_leader);
      REQUIRE(run(db, "INSERT INTO t VALUES(2)") == sqlite_not_leader);
      REQUIRE(w.host.entry_count() == before + 1);
    }
  }
  REQUIRE(ask(db, "SELECT sum(x) FROM t") == "9");
}

TEST_CASE("a refused commit is rolled back, says why, and leaves the connection usable") {
  fixture w;
  connection db = table_of(w);
  const struct {
    errc error;
    int code;
  } rows[] = {{errc::not_leader, sqlite_not_leader},
              {errc::stale_term, sqlite_not_leader},
              {errc::conflict, sqlite_not_leader},
              {errc::halted, sqlite_not_leader},
              {errc::too_large, SQLITE_FULL},
              {errc::leadership_lost, sqlite_outcome_unknown},
              {errc::timed_out, sqlite_outcome_unknown},
              {errc::stopped_in_flight, sqlite_outcome_unknown},
              {errc::stopped, sqlite_not_leader}};
  for (const auto& row : rows) {
    for (const std::string statement :
         {"INSERT INTO t VALUES(1)", "BEGIN; INSERT INTO t VALUES(1); COMMIT", "CREATE TABLE u(y)",
          "VACUUM"}) {
      w.host.refuse_next(row.error);
      REQUIRE(run(db, statement) == row.code);
      REQUIRE(sqlite3_get_autocommit(db) == 1);
      REQUIRE(db.last_error() == make_error_code(row.error));
      REQUIRE(db.error_message() == w.host.explain(row.error));
      REQUIRE(ask(db, "PRAGMA quorlite_error") == w.host.explain(row.error));
    }
  }
  REQUIRE(ask(db, "SELECT count(*) FROM t") == "0");
  REQUIRE(run(db, "SELECT * FROM nowhere") == SQLITE_ERROR);
  REQUIRE(db.last_error() == errc::sqlite_failed);
  REQUIRE(db.error_message() == "no such table: nowhere");
  REQUIRE(run(db, "INSERT INTO t VALUES(1)") == SQLITE_OK);
  REQUIRE(w.host.entry_count() == 2);
  REQUIRE(w.host.replays_equal());
}

TEST_CASE("a commit whose outcome is unknown may turn out to be committed") {
  fixture w;
  connection db = table_of(w);
  w.host.lie_next(errc::timed_out);
  REQUIRE(run(db, "INSERT INTO t VALUES(1)") == sqlite_outcome_unknown);
  REQUIRE(db.last_transaction() == transaction_id{term{1}, 2});
  REQUIRE(ask(db, "SELECT x FROM t") == "1");
  REQUIRE(run(db, "INSERT INTO t VALUES(2)") == SQLITE_OK);
  REQUIRE(ask(db, "SELECT x FROM t") == "1;2");
  REQUIRE(w.host.replays_equal());
}

TEST_CASE("a commit that finds no room stays open and can be retried or rolled back") {
  fixture w;
  connection db = table_of(w);
  REQUIRE(run(db, "PRAGMA cache_size=5") == SQLITE_OK);
  const std::string fill =
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<200) "
      "INSERT INTO t SELECT randomblob(900) FROM n";
  REQUIRE(run(db, "BEGIN; " + fill) == SQLITE_OK);
  for (int i = 0; i < 3; ++i) {
    w.host.refuse_next(errc::busy);
    REQUIRE(run(db, "COMMIT") == SQLITE_BUSY);
    REQUIRE(sqlite3_get_autocommit(db) == 0);
    REQUIRE(db.last_error() == errc::busy);
  }
  REQUIRE(run(db, "COMMIT") == SQLITE_OK);
  REQUIRE(ask(db, "SELECT count(*) FROM t") == "200");

  w.host.refuse_next(errc::busy);
  REQUIRE(run(db, "BEGIN; DELETE FROM t; COMMIT") == SQLITE_BUSY);
  REQUIRE(run(db, "INSERT INTO t VALUES('more')") == SQLITE_OK);
  REQUIRE(ask(db, "SELECT count(*) FROM t") == "1");
  REQUIRE(run(db, "ROLLBACK") == SQLITE_OK);
  REQUIRE(ask(db, "SELECT count(*) FROM t") == "200");
  REQUIRE(ask(db, "PRAGMA integrity_check") == "ok");
  REQUIRE(w.host.entry_count() == 2);

  w.host.refuse_next(errc::busy);
  REQUIRE(run(db, "DELETE FROM t") == SQLITE_BUSY);
  REQUIRE(ask(db, "SELECT count(*) FROM t") == "200");
  REQUIRE(w.host.replays_equal());
}

TEST_CASE("a replica that does not lead refuses writes at once and goes on reading") {
  fixture w;
  connection db = table_of(w);
  REQUIRE(run(db, "INSERT INTO t VALUES(1)") == SQLITE_OK);
  w.host.lead(false);
  for (const std::string statement : {"INSERT INTO t VALUES(2)", "BEGIN IMMEDIATE",
                                      "BEGIN; INSERT INTO t VALUES(2)", "BEGIN EXCLUSIVE"}) {
    REQUIRE(run(db, statement) == sqlite_not_leader);
    REQUIRE(db.error_message() == "this replica does not lead: write on 'other'");
    run(db, "ROLLBACK");
    REQUIRE(ask(db, "SELECT x FROM t") == "1");
  }
  REQUIRE(w.host.writer_waits() == 0);
  w.host.lead(true);
  REQUIRE(run(db, "INSERT INTO t VALUES(2)") == SQLITE_OK);
}

TEST_CASE("a follower refuses at once even while somebody still holds the writer slot") {
  fixture w;
  connection holder = table_of(w);
  connection db = w.open();
  REQUIRE(run(holder, "BEGIN IMMEDIATE") == SQLITE_OK);
  w.host.lead(false);
  REQUIRE(run(db, "INSERT INTO t VALUES(2)") == sqlite_not_leader);
  REQUIRE(w.host.writer_waits() == 0);
  REQUIRE(run(holder, "INSERT INTO t VALUES(1)") == SQLITE_OK);
  REQUIRE(run(holder, "COMMIT") == sqlite_not_leader);
}

TEST_CASE("a reader sees its version from the first statement to the last") {
  fixture w;
  connection writer = table_of(w);
  connection reader = w.open();
  REQUIRE(run(reader, "BEGIN; SELECT * FROM t") == SQLITE_OK);
  for (int i = 0; i < 50; ++i) {
    REQUIRE(run(writer, "INSERT INTO t VALUES(randomblob(500))") == SQLITE_OK);
  }
  REQUIRE(ask(reader, "SELECT count(*) FROM t") == "0");
  REQUIRE(run(reader, "INSERT INTO t VALUES(1)") == SQLITE_BUSY_SNAPSHOT);
  REQUIRE(run(reader, "COMMIT") == SQLITE_OK);
  REQUIRE(ask(reader, "SELECT count(*) FROM t") == "50");
}

TEST_CASE("readers never see what is only pending, writers build on it") {
  fixture w;
  connection one = table_of(w);
  connection two = w.open();
  connection reader = w.open();
  w.host.answer(local_host::answers::detached);
  REQUIRE(run(one, "INSERT INTO t VALUES(1)") == SQLITE_OK);
  REQUIRE(run(two, "INSERT INTO t SELECT max(x)+1 FROM t") == SQLITE_OK);
  REQUIRE(run(one, "INSERT INTO t SELECT max(x)+1 FROM t") == SQLITE_OK);
  REQUIRE(w.host.pending_count() == 3);
  REQUIRE(ask(reader, "SELECT count(*) FROM t") == "0");
  REQUIRE(ask(one, "SELECT count(*) FROM t") == "0");
  w.host.commit_next();
  REQUIRE(ask(reader, "SELECT x FROM t") == "1");
  REQUIRE(ask(two, "SELECT x FROM t") == "1");
  w.host.commit_all();
  REQUIRE(ask(reader, "SELECT x FROM t") == "1;2;3");
  REQUIRE(w.host.quiet_waits() == 0);
  REQUIRE(w.host.replays_equal());
}

TEST_CASE("a transaction that begins to write and writes nothing is answered from the head") {
  fixture w;
  connection one = table_of(w);
  connection two = w.open();
  w.host.answer(local_host::answers::detached);
  REQUIRE(run(one, "INSERT INTO t VALUES(1)") == SQLITE_OK);
  const std::size_t entries = w.host.entry_count();
  REQUIRE(run(two, "BEGIN IMMEDIATE") == SQLITE_OK);
  REQUIRE(ask(two, "SELECT count(*) FROM t") == "1");
  REQUIRE(run(two, "COMMIT") == SQLITE_OK);
  REQUIRE(w.host.entry_count() == entries);  // nobody was asked
  w.host.lose();
  REQUIRE(ask(two, "SELECT count(*) FROM t") == "0");
}

TEST_CASE(
    "what is read behind a transaction that wrote nothing is not the head, a statement open") {
  fixture w;
  connection one = table_of(w);
  connection two = w.open();
  for (int i = 0; i < 10; ++i) {
    REQUIRE(run(one, "INSERT INTO t VALUES(randomblob(3000))") == SQLITE_OK);
  }
  w.host.answer(local_host::answers::detached);
  REQUIRE(run(one, "UPDATE t SET x = 1 WHERE rowid > 5") == SQLITE_OK);
  REQUIRE(run(two, "BEGIN IMMEDIATE") == SQLITE_OK);
  sqlite3_stmt* open = nullptr;
  REQUIRE(sqlite3_prepare_v2(two, "SELECT x FROM t", -1, &open, nullptr) == SQLITE_OK);
  REQUIRE(sqlite3_step(open) == SQLITE_ROW);
  REQUIRE(run(two, "COMMIT") == SQLITE_OK);
  CHECK(ask(two, "SELECT count(*) FROM t WHERE x = 1")[0] == '!');
  CHECK(two.last_error() == errc::stale_term);
  sqlite3_finalize(open);
  CHECK(ask(two, "SELECT count(*) FROM t WHERE x = 1") == "0");
  w.host.commit_all();
  CHECK(ask(two, "SELECT count(*) FROM t WHERE x = 1") == "5");
}

TEST_CASE("a failed upgrade followed by a plain read does not show the head") {
  fixture w;
  connection one = table_of(w);
  connection two = w.open();
  REQUIRE(run(two, "BEGIN; SELECT * FROM t") == SQLITE_OK);
  w.host.answer(local_host::answers::detached);
  REQUIRE(run(one, "INSERT INTO t VALUES(1)") == SQLITE_OK);
  REQUIRE(run(two, "INSERT INTO t VALUES(2)") == SQLITE_BUSY_SNAPSHOT);
  REQUIRE(run(two, "ROLLBACK") == SQLITE_OK);
  REQUIRE(ask(two, "SELECT count(*) FROM t") == "0");
  REQUIRE(w.host.writers().holder_of(*w.host.database_named("a.db").value()) == nullptr);
  w.host.commit_all();
  REQUIRE(ask(two, "SELECT count(*) FROM t") == "1");
}

TEST_CASE("a plain read after a failed upgrade gives the writer slot back while it goes on") {
  fixture w;
  connection one = table_of(w);
  connection two = w.open();
  REQUIRE(run(one, "CREATE TABLE u(y); INSERT INTO u VALUES(7)") == SQLITE_OK);
  REQUIRE(run(two, "BEGIN; SELECT * FROM t") == SQLITE_OK);
  REQUIRE(run(one, "INSERT INTO t VALUES(1)") == SQLITE_OK);
  REQUIRE(run(two, "INSERT INTO t VALUES(2)") == SQLITE_BUSY_SNAPSHOT);
  REQUIRE(run(two, "ROLLBACK; BEGIN; SELECT * FROM u") == SQLITE_OK);
  REQUIRE(w.host.writers().holder_of(*w.host.database_named("a.db").value()) == nullptr);
  REQUIRE(run(one, "INSERT INTO t VALUES(3)") == SQLITE_OK);
}

TEST_CASE("a plain read after an upgrade that another writer stopped takes no writer slot") {
  // Either SQLite has all it reads in its cache, or it reads page 1 only.
  const struct {
    std::string end;
    std::string read;
  } rows[] = {{"ROLLBACK", "BEGIN; SELECT * FROM t"},
              {"INSERT INTO t VALUES(1); COMMIT", "BEGIN; PRAGMA user_version"}};
  for (const auto& row : rows) {
    fixture w;
    connection one = table_of(w);
    connection two = w.open();
    REQUIRE(run(two, "BEGIN; SELECT * FROM t") == SQLITE_OK);
    REQUIRE(run(one, "BEGIN IMMEDIATE") == SQLITE_OK);
    REQUIRE(run(two, "INSERT INTO t VALUES(2)") == SQLITE_BUSY_SNAPSHOT);
    REQUIRE(run(two, "ROLLBACK") == SQLITE_OK);
    REQUIRE(run(one, row.end) == SQLITE_OK);
    REQUIRE(run(two, row.read) == SQLITE_OK);
    CHECK(w.host.writers().holder_of(*w.host.database_named("a.db").value()) == nullptr);
    CHECK(run(one, "PRAGMA busy_timeout=20; INSERT INTO t VALUES(3)") == SQLITE_OK);
    REQUIRE(run(two, "ROLLBACK; INSERT INTO t VALUES(4)") == SQLITE_OK);
  }
}

TEST_CASE("the same holds of an upgrade in a database that is attached") {
  fixture w;
  connection one = table_of(w);
  connection two = w.open("b.db");
  REQUIRE(run(two, "ATTACH 'a.db' AS a; BEGIN; SELECT * FROM a.t") == SQLITE_OK);
  REQUIRE(run(one, "BEGIN IMMEDIATE") == SQLITE_OK);
  REQUIRE(run(two, "INSERT INTO a.t VALUES(2)") == SQLITE_BUSY_SNAPSHOT);
  REQUIRE(run(two, "ROLLBACK") == SQLITE_OK);
  REQUIRE(run(one, "ROLLBACK") == SQLITE_OK);
  REQUIRE(run(two, "BEGIN; SELECT * FROM a.t") == SQLITE_OK);
  CHECK(w.host.writers().holder_of(*w.host.database_named("a.db").value()) == nullptr);
  CHECK(run(one, "PRAGMA busy_timeout=20; INSERT INTO t VALUES(3)") == SQLITE_OK);
}

TEST_CASE("a plain read after a write that gave up takes no writer slot, whoever was asked") {
  const auto handlers = {+[](sqlite3* db) { return run(db, "PRAGMA busy_timeout=0"); },
                         +[](sqlite3* db) { return sqlite3_busy_timeout(db, 5); },
                         +[](sqlite3* db) { return sqlite3_busy_handler(db, nullptr, nullptr); }};
  for (const auto handler : handlers) {
    fixture w;
    connection one = table_of(w);
    connection two = w.open();
    REQUIRE(ask(two, "SELECT * FROM t").empty());
    REQUIRE(handler(two) == SQLITE_OK);
    REQUIRE(run(one, "BEGIN IMMEDIATE") == SQLITE_OK);
    REQUIRE(run(two, "INSERT INTO t VALUES(2)") == SQLITE_BUSY);
    REQUIRE(run(one, "ROLLBACK") == SQLITE_OK);
    REQUIRE(run(two, "BEGIN; SELECT * FROM t") == SQLITE_OK);
    CHECK(w.host.writers().holder_of(*w.host.database_named("a.db").value()) == nullptr);
    CHECK(run(one, "PRAGMA busy_timeout=20; INSERT INTO t VALUES(3)") == SQLITE_OK);
    REQUIRE(run(two, "ROLLBACK; INSERT INTO t VALUES(4)") == SQLITE_OK);
  }
}

TEST_CASE("a connection whose busy handler was replaced writes on a quiet database only") {
  fixture w;
  connection one = table_of(w);
  connection two = w.open();
  sqlite3_busy_timeout(two, 50);
  w.host.answer(local_host::answers::detached);
  REQUIRE(run(one, "INSERT INTO t VALUES(1)") == SQLITE_OK);
  REQUIRE(run(two, "INSERT INTO t VALUES(2)") == SQLITE_BUSY);
  REQUIRE(w.host.quiet_waits() > 0);
  w.host.commit_all();
  w.host.answer(local_host::answers::at_once);
  REQUIRE(run(two, "INSERT INTO t VALUES(2)") == SQLITE_OK);
  REQUIRE(ask(two, "SELECT x FROM t") == "1;2");
  REQUIRE(run(two, "PRAGMA busy_timeout=70") == SQLITE_OK);
  REQUIRE(ask(two, "PRAGMA busy_timeout") == "70");
}

TEST_CASE("without any busy handler a statement that finds a pending state can be run again") {
  fixture w;
  connection one = table_of(w);
  connection two = w.open();
  sqlite3_busy_handler(two, nullptr, nullptr);
  w.host.answer(local_host::answers::detached);
  REQUIRE(run(one, "INSERT INTO t VALUES(1)") == SQLITE_OK);
  REQUIRE(run(two, "INSERT INTO t VALUES(2)") == SQLITE_BUSY);
  w.host.commit_all();
  REQUIRE(run(two, "INSERT INTO t VALUES(2)") == SQLITE_OK);
}

TEST_CASE("PRAGMA busy_timeout sets our timeout and keeps our busy handler") {
  fixture w;
  connection one = table_of(w);
  connection two = w.open("a.db", {.busy_timeout = milliseconds{40}});
  REQUIRE(ask(two, "PRAGMA busy_timeout") == "40");
  REQUIRE(run(one, "BEGIN IMMEDIATE") == SQLITE_OK);
  REQUIRE(run(two, "INSERT INTO t VALUES(2)") == SQLITE_BUSY);
  const std::size_t waits = w.host.writer_waits();
  REQUIRE(waits >= 15);
  REQUIRE(waits <= 25);
  REQUIRE(ask(two, "PRAGMA busy_timeout=0") == "0");
  REQUIRE(run(two, "INSERT INTO t VALUES(2)") == SQLITE_BUSY);
  REQUIRE(w.host.writer_waits() <= waits + 2);
  REQUIRE(ask(two, "SELECT count(*) FROM t") == "0");
  REQUIRE(run(one, "ROLLBACK; PRAGMA busy_timeout=100") == SQLITE_OK);
  REQUIRE(run(two, "ATTACH 'b.db' AS b") == SQLITE_OK);  // whichever it is asked of
  REQUIRE(ask(two, "PRAGMA b.busy_timeout=0x32") == "50");
  REQUIRE(ask(two, "PRAGMA main.busy_timeout") == "50");
  REQUIRE(ask(two, "PRAGMA busy_timeout=-1") == "0");
  REQUIRE(run(two, "INSERT INTO t VALUES(2)") == SQLITE_OK);
}

TEST_CASE("a write set over its limit ends with SQLITE_FULL and a clean rollback") {
  local_host host;
  vfs door{host, {.name = "vfs-small", .write_set_bytes = 40 * 4096}};
  connection db = open_connection(door, "a.db", {.page_size = 4096}).value();
  REQUIRE(run(db, "PRAGMA cache_size=5; CREATE TABLE t(x)") == SQLITE_OK);
  const auto fill = [](int rows) {
    return "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<" +
           std::to_string(rows) + ") INSERT INTO t SELECT randomblob(3000) FROM n";
  };
  REQUIRE(run(db, fill(20)) == SQLITE_OK);
  REQUIRE(run(db, fill(200)) == SQLITE_FULL);
  REQUIRE(db.last_error() == errc::too_large);
  REQUIRE(ask(db, "SELECT count(*) FROM t") == "20");
  REQUIRE(run(db, "BEGIN; DELETE FROM t; " + fill(200) + "; COMMIT") == SQLITE_FULL);
  if (sqlite3_get_autocommit(db) == 0) {  // a read was told, as with auto_vacuum
    REQUIRE(run(db, "COMMIT") == SQLITE_FULL);
  }
  REQUIRE(sqlite3_get_autocommit(db) != 0);
  REQUIRE(ask(db, "SELECT count(*) FROM t") == "20");
  REQUIRE(run(db, "PRAGMA cache_size=1000") == SQLITE_OK);
  REQUIRE(run(db, fill(200)) == SQLITE_FULL);  // found at the commit only
  REQUIRE(ask(db, "SELECT count(*) FROM t") == "20");
  REQUIRE(ask(db, "PRAGMA integrity_check") == "ok");
  REQUIRE(run(db, fill(10)) == SQLITE_OK);
  REQUIRE(host.replays_equal());
}

namespace {

/// Puts a copy of what "b.db" holds in the place of "a.db", as a restore does.
void restore_from_b(fixture& w) {
  const auto target = w.host.database_named("a.db").value();
  const auto from = w.host.store("b.db");
  const auto next = target->make_store(from->committed());
  const auto pin = from->pin_committed();
  page_store::reader reader{from};
  for (std::uint32_t number = 1; number <= pin.page_count(); ++number) {
    const auto guard = reader.enter();
    const page_version* const page = reader.find(guard, pin.version(), page_number{number});
    page_block copy = make_page(page_number{number}, pin.page_size());
    std::memcpy(copy->image().data(), page->image().data(), pin.page_size());
    copy->set_hash(page->hash());
    next->load_page(std::move(copy));
  }
  target->replace_store(next);
}

}  // namespace

TEST_CASE("a store that a restore put in place is read at the next lock, with another schema") {
  fixture w;
  connection db = table_of(w);
  connection other = table_of(w, "b.db");
  REQUIRE(run(db, "INSERT INTO t VALUES(1)") == SQLITE_OK);
  REQUIRE(run(other, "DROP TABLE t; CREATE TABLE u(y); INSERT INTO u VALUES('restored')") ==
          SQLITE_OK);
  REQUIRE(run(db, "BEGIN; SELECT * FROM t") == SQLITE_OK);
  restore_from_b(w);
  REQUIRE(ask(db, "SELECT x FROM t") == "1");  // the pin lasts
  REQUIRE(run(db, "COMMIT") == SQLITE_OK);
  REQUIRE(ask(db, "SELECT x FROM t") == "!1");
  REQUIRE(ask(db, "SELECT y FROM u") == "restored");
  REQUIRE(run(db, "INSERT INTO u VALUES('more')") == SQLITE_OK);
  REQUIRE(ask(w.open(), "PRAGMA schema_version") == "3");
  REQUIRE(ask(w.open(), "PRAGMA integrity_check") == "ok");
}

// SQLite knows a stale cache, and a stale schema, by counters in page 1.
TEST_CASE("a store that was replaced is not taken for the one before, whose counters it has") {
  fixture w;
  connection db = table_of(w);
  connection other = w.open("b.db");
  const auto counters_of = [&](const std::string& name) {
    const auto store = w.host.store(name);
    const auto pin = store->pin_committed();
    page_store::reader reader{store};
    const auto guard = reader.enter();
    const bytes_view one = reader.find(guard, pin.version(), page_number{1})->image();
    return bytes(one.begin() + 24, one.begin() + 44);
  };
  REQUIRE(run(db, "INSERT INTO t VALUES('before')") == SQLITE_OK);
  SECTION("with another schema") {
    REQUIRE(run(other, "CREATE TABLE u(y)") == SQLITE_OK);
    REQUIRE(run(other, "INSERT INTO u VALUES('after')") == SQLITE_OK);
    REQUIRE(ask(db, "SELECT x FROM t") == "before");
    REQUIRE(counters_of("a.db") == counters_of("b.db"));
    restore_from_b(w);
    CHECK(ask(db, "SELECT x FROM t") == "!1");
    CHECK(ask(db, "SELECT y FROM u") == "after");
  }
  SECTION("with the same one") {
    REQUIRE(run(other, "CREATE TABLE t(x)") == SQLITE_OK);
    REQUIRE(run(other, "INSERT INTO t VALUES('after')") == SQLITE_OK);
    REQUIRE(ask(db, "SELECT x FROM t") == "before");
    REQUIRE(counters_of("a.db") == counters_of("b.db"));
    restore_from_b(w);
    CHECK(ask(db, "SELECT x FROM t") == "after");
  }
  CHECK(run(db, "CREATE TABLE next(x)") == SQLITE_OK);
  CHECK(ask(w.open(), "PRAGMA integrity_check") == "ok");
}

TEST_CASE("a transaction that stands on a replaced store is told to start over") {
  fixture w;
  connection db = table_of(w);
  REQUIRE(run(db, "BEGIN; SELECT * FROM t") == SQLITE_OK);
  const auto target = w.host.database_named("a.db").value();
  target->replace_store(target->make_store({}));
  REQUIRE(run(db, "INSERT INTO t VALUES(1)") == SQLITE_BUSY_SNAPSHOT);
  REQUIRE(run(db, "ROLLBACK") == SQLITE_OK);
  REQUIRE(run(db, "INSERT INTO t VALUES(1)") == SQLITE_ERROR);  // dropped: no such table
  REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
  REQUIRE(ask(w.open(), "PRAGMA schema_version") == "1");
}

TEST_CASE("a version that is taken back while a reader stands on it is an error, not bytes") {
  fixture w;
  connection one = table_of(w);
  connection two = w.open();
  REQUIRE(run(one, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<300) "
                   "INSERT INTO t SELECT randomblob(300) FROM n") == SQLITE_OK);
  w.host.answer(local_host::answers::detached);
  REQUIRE(run(one, "UPDATE t SET x=randomblob(300)") == SQLITE_OK);
  REQUIRE(run(two, "BEGIN IMMEDIATE") == SQLITE_OK);
  w.host.lose();
  REQUIRE(run(two, "SELECT sum(length(x)) FROM t") == sqlite_not_leader);
  REQUIRE(two.last_error() == errc::stale_term);
  run(two, "ROLLBACK");
  w.host.answer(local_host::answers::at_once);
  REQUIRE(ask(two, "SELECT sum(length(x)) FROM t") == "90000");
  REQUIRE(run(two, "INSERT INTO t VALUES(1)") == SQLITE_OK);
  REQUIRE(w.host.replays_equal());
}

TEST_CASE("file controls tell what the VFS knows") {
  fixture w;
  connection db = table_of(w);
  std::error_code error;
  transaction_id id;
  char* name = nullptr;
  int level = -1;
  REQUIRE(sqlite3_file_control(db, "main", SQLITE_FCNTL_VFSNAME, &name) == SQLITE_OK);
  REQUIRE(std::string{name} == "vfs-test");
  sqlite3_free(name);
  REQUIRE(sqlite3_file_control(db, "main", SQLITE_FCNTL_LOCKSTATE, &level) == SQLITE_OK);
  REQUIRE(level == SQLITE_LOCK_NONE);
  w.host.refuse_next(errc::timed_out);
  REQUIRE(run(db, "INSERT INTO t VALUES(1)") == sqlite_outcome_unknown);
  const auto get_error = static_cast<int>(file_control::last_error);
  const auto get_id = static_cast<int>(file_control::last_transaction);
  REQUIRE(sqlite3_file_control(db, "main", get_error, &error) == SQLITE_OK);
  REQUIRE(error == errc::timed_out);
  REQUIRE(sqlite3_file_control(db, "main", get_id, &id) == SQLITE_OK);
  REQUIRE(id == transaction_id{term{1}, 2});
  REQUIRE(sqlite3_file_control(db, "temp", get_id, &id) != SQLITE_OK);
}

TEST_CASE("a connection moves, and closes with statements left open") {
  fixture w;
  connection db = table_of(w);
  connection moved = std::move(db);
  REQUIRE(static_cast<sqlite3*>(db) == nullptr);
  sqlite3_stmt* open_statement = nullptr;
  REQUIRE(sqlite3_prepare_v2(moved, "SELECT 1", -1, &open_statement, nullptr) == SQLITE_OK);
  moved = connection{};
  sqlite3_finalize(open_statement);
}

TEST_CASE("opens that cannot work are refused") {
  fixture w;
  REQUIRE(open_connection(w.door, "no spaces").error() == errc::invalid_name);
  REQUIRE(open_connection(w.door, "a.db-journal").error() == errc::invalid_name);
  REQUIRE(open_connection(w.door, "a.db", {.page_size = 1000}).error() == errc::unsupported);
  const connection_options uri{.flags = SQLITE_OPEN_URI};
  for (const std::string bad : {"immutable=1", "nolock=1", "cache=shared", "nolock=yes"}) {
    REQUIRE(open_connection(w.door, "file:a.db?" + bad, uri).error() == errc::sqlite_failed);
  }
  REQUIRE(open_connection(w.door, "file:a.db?mode=rw", uri).error() == errc::sqlite_failed);
  REQUIRE(open_connection(w.door, "file:a.db?mode=rwc", uri).has_value());
  vfs second{w.host, {.name = "vfs-test"}};
  REQUIRE_FALSE(second.is_registered());
}

}  // namespace vfs_test
