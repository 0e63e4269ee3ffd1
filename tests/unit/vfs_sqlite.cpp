// What applications do with SQLite, on replicated databases.
#include <sqlite3.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/connection.hpp"
#include "quorlite/detail/sqlite/result_code.hpp"
#include "quorlite/detail/sqlite/vfs.hpp"
#include "support/local_host.hpp"
#include "support/sql.hpp"
#include "support/sqlite_log.hpp"

namespace vfs_sqlite_test {
namespace {

using namespace quorlite;

using namespace quorlite::detail;
using quorlite::tests::local_host;
using quorlite::tests::seen_log;

struct fixture {
  local_host host;
  vfs door{host, {.name = "vfs-sqlite"}};

  connection open(const std::string& name = "a.db", connection_options options = {}) {
    auto opened = open_connection(door, name, options);
    REQUIRE(opened.has_value());
    return std::move(*opened);
  }
};

struct plain_file {
  std::string path = (std::filesystem::temp_directory_path() /
                      ("quorlite-sqlite-" + std::to_string(::getpid()) + ".db"))
                         .string();
  plain_file() { remove(); }
  ~plain_file() { remove(); }
  plain_file(const plain_file&) = delete;
  plain_file& operator=(const plain_file&) = delete;

 private:
  void remove() const {
    for (const char* const part : {"", "-wal", "-shm"}) {
      std::filesystem::remove(path + part);
    }
  }
};

/// The names of a statement's columns.
std::vector<std::string> columns_of(sqlite3* db, const std::string& sql) {
  sqlite3_stmt* statement = nullptr;
  REQUIRE(sqlite3_prepare_v2(db, sql.c_str(), -1, &statement, nullptr) == SQLITE_OK);
  std::vector<std::string> names;
  for (int column = 0; column < sqlite3_column_count(statement); ++column) {
    names.emplace_back(sqlite3_column_name(statement, column));
  }
  sqlite3_finalize(statement);
  return names;
}

std::string rows_into(const std::string& table, int rows, int size = 400) {
  return "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<" +
         std::to_string(rows) + ") INSERT INTO " + table + " SELECT randomblob(" +
         std::to_string(size) + ") FROM n";
}

}  // namespace

TEST_CASE("a mode that cannot be had is answered with the one in effect, and a line in the log") {
  fixture w;
  connection db = w.open("a.db", {.page_size = 4096});
  REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
  sqlite3* plain = nullptr;
  REQUIRE(sqlite3_open(":memory:", &plain) == SQLITE_OK);
  const struct {
    std::string pragma;
    std::string answer;
    std::string instead;  // named in the log
  } asked[] = {{"journal_mode=WAL", "delete", "DELETE"},
               {"journal_mode=wa", "delete", "DELETE"},
               {"journal_mode='memory'", "delete", "DELETE"},
               {"journal_mode=OFF", "delete", "DELETE"},
               {"main.journal_mode=Off", "delete", "DELETE"},
               {"locking_mode=EXCLUSIVE", "normal", "IMMEDIATE"},
               {"main.locking_mode='exclusive'", "normal", "IMMEDIATE"},
               {"synchronous=OFF", "", "FULL"},
               {"synchronous=0", "", "FULL"},
               {"synchronous=8", "", "FULL"},
               {"synchronous=7", "", "FULL"},
               {"synchronous=4294967297", "", "FULL"},  // SQLite reads what is too large as 0
               {"synchronous=2147483649", "", "FULL"},
               {"synchronous=0x100", "", "FULL"},
               {"synchronous=no", "", "FULL"},
               {"synchronous=False", "", "FULL"},
               {"page_size=1024", "", "another database"},
               {"page_size=0x2000", "", "another database"}};
  int rows = 0;
  for (const auto& row : asked) {
    INFO(row.pragma);
    static_cast<void>(seen_log.take());
    const std::string text = "PRAGMA " + row.pragma;
    REQUIRE(ask(db, text) == row.answer);
    REQUIRE(seen_log.count(row.instead) == 1);
    REQUIRE(seen_log.take().size() == 1);
    REQUIRE(columns_of(db, text) == columns_of(plain, text));
    REQUIRE(run(db, text + "; INSERT INTO t VALUES(1)") == SQLITE_OK);  // it goes on
    REQUIRE(ask(db, "SELECT count(*) FROM t") == std::to_string(++rows));
    REQUIRE_FALSE(db.last_error());
  }
  sqlite3_close(plain);
  REQUIRE(ask(db, "PRAGMA journal_mode=TRUNCATE") == "truncate");
  REQUIRE(ask(db, "PRAGMA journal_mode=WAL") == "truncate");
  REQUIRE(ask(db, "PRAGMA journal_mode=DELETE") == "delete");
  REQUIRE(ask(db, "PRAGMA synchronous") == "2");
  REQUIRE(run(db, "PRAGMA synchronous=EXTRA; PRAGMA synchronous=OFF") == SQLITE_OK);
  REQUIRE(ask(db, "PRAGMA synchronous") == "3");
  REQUIRE(run(db, "VACUUM") == SQLITE_OK);  // where plain SQLite changes the page size
  REQUIRE(ask(db, "PRAGMA page_size") == "4096");
  REQUIRE(w.host.replays_equal());
}

TEST_CASE("a mode that is asked of all databases at once is asked of the main one alone") {
  fixture w;
  const plain_file plain;
  connection db = w.open();
  REQUIRE(run(db, "CREATE TABLE t(x); ATTACH '" + plain.path + "' AS p; CREATE TABLE p.u(x)") ==
          SQLITE_OK);
  REQUIRE(ask(db, "PRAGMA journal_mode=MEMORY") == "delete");
  REQUIRE(ask(db, "PRAGMA p.journal_mode") == "delete");
  REQUIRE(ask(db, "PRAGMA locking_mode=EXCLUSIVE") == "normal");
  REQUIRE(ask(db, "PRAGMA p.locking_mode") == "normal");
  REQUIRE(ask(db, "PRAGMA p.journal_mode=WAL") == "wal");  // by its name it can have it
  REQUIRE(ask(db, "PRAGMA p.locking_mode=EXCLUSIVE") == "exclusive");
  REQUIRE(run(db, "INSERT INTO t VALUES(1); INSERT INTO p.u VALUES(1)") == SQLITE_OK);
  REQUIRE(w.host.replays_equal());
}

TEST_CASE("pragmas that can be had are had") {
  fixture w;
  connection db = w.open();
  REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
  for (const std::string fine : {"journal_mode",
                                 "journal_mode=DELETE",
                                 "journal_mode=TRUNCATE",
                                 "journal_mode=persist",
                                 "journal_mode=delete",
                                 "page_size=4096",
                                 "page_size",
                                 "page_size=123",
                                 "locking_mode=NORMAL",
                                 "locking_mode",
                                 "synchronous=1",
                                 "synchronous=FULL",
                                 "synchronous=EXTRA",
                                 "synchronous",
                                 "cache_size=50",
                                 "temp_store=MEMORY",
                                 "mmap_size=100000",
                                 "wal_checkpoint",
                                 "foreign_keys=ON",
                                 "user_version=7",
                                 "auto_vacuum=FULL",
                                 "optimize",
                                 "secure_delete=OFF",
                                 "cell_size_check=ON"}) {
    INFO(fine);
    REQUIRE(run(db, "PRAGMA " + fine) == SQLITE_OK);
    REQUIRE(run(db, "INSERT INTO t VALUES(1)") == SQLITE_OK);
  }
  REQUIRE(ask(db, "PRAGMA journal_mode") == "delete");
  REQUIRE(ask(db, "PRAGMA user_version") == "7");
  REQUIRE(w.host.replays_equal());
}

TEST_CASE("the page size is chosen while a database is empty") {
  for (const std::uint32_t page_size : {512U, 1024U, 4096U, 16384U, 65536U}) {
    for (const std::string mode : {"NONE", "FULL", "INCREMENTAL"}) {
      fixture w;
      connection early = w.open();
      connection db = w.open("a.db", {.page_size = page_size});
      REQUIRE(w.host.entry_count() == 0);
      REQUIRE(run(db, "PRAGMA auto_vacuum=" + mode + "; PRAGMA encoding='UTF-16le'") == SQLITE_OK);
      REQUIRE(run(db, "CREATE TABLE t(x); " + rows_into("t", 100)) == SQLITE_OK);
      REQUIRE(ask(db, "PRAGMA page_size") == std::to_string(page_size));
      REQUIRE(ask(early, "SELECT count(*) FROM t") == "100");
      REQUIRE(run(early, "DELETE FROM t WHERE rowid%2") == SQLITE_OK);
      REQUIRE(ask(db, "SELECT count(*) FROM t") == "50");
      connection late = w.open("a.db", {.page_size = 512});
      REQUIRE(ask(late, "PRAGMA page_size") == std::to_string(page_size));
      REQUIRE(ask(late, "PRAGMA encoding") == "UTF-16le");
      REQUIRE(ask(late, "PRAGMA integrity_check") == "ok");
      REQUIRE(run(late, "PRAGMA incremental_vacuum; VACUUM") == SQLITE_OK);
      REQUIRE(ask(late, "SELECT count(*) FROM t") == "50");
      REQUIRE(w.host.replays_equal());
    }
  }
}

TEST_CASE("temporary tables and attached memory databases make no entry") {
  fixture w;
  connection db = w.open();
  REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
  REQUIRE(run(db, "PRAGMA cache_size=5; CREATE TEMP TABLE s(x); " + rows_into("s", 500)) ==
          SQLITE_OK);
  REQUIRE(run(db, "ATTACH ':memory:' AS mem; CREATE TABLE mem.u(x); " + rows_into("mem.u", 500)) ==
          SQLITE_OK);
  REQUIRE(run(db, "CREATE INDEX temp.si ON s(x); SELECT * FROM s ORDER BY x DESC") == SQLITE_OK);
  REQUIRE(w.host.entry_count() == 1);
  REQUIRE(run(db, "BEGIN; INSERT INTO t SELECT x FROM s; DELETE FROM s; DELETE FROM mem.u;"
                  "COMMIT") == SQLITE_OK);
  REQUIRE(w.host.entry_count() == 2);
  w.host.refuse_next(errc::not_leader);
  REQUIRE(run(db, "BEGIN; INSERT INTO t VALUES(1); INSERT INTO s VALUES(1);"
                  "INSERT INTO mem.u VALUES(1); COMMIT") == sqlite_not_leader);
  REQUIRE(ask(db, "SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM s), "
                  "(SELECT count(*) FROM mem.u)") == "500|0|0");
  REQUIRE(w.host.replays_equal());
}

TEST_CASE("read-only connections read and cannot write") {
  fixture w;
  connection db = w.open();
  REQUIRE(run(db, "CREATE TABLE t(x); INSERT INTO t VALUES(1)") == SQLITE_OK);
  connection reader = w.open("a.db", {.read_only = true});
  REQUIRE(ask(reader, "SELECT x FROM t") == "1");
  REQUIRE(run(reader, "INSERT INTO t VALUES(2)") == SQLITE_READONLY);
  REQUIRE(reader.last_error() == errc::sqlite_failed);
  connection by_uri = w.open("file:a.db?mode=ro", {.flags = SQLITE_OPEN_URI});
  REQUIRE(run(by_uri, "INSERT INTO t VALUES(2)") == SQLITE_READONLY);
  REQUIRE(run(db, "INSERT INTO t VALUES(2)") == SQLITE_OK);
  REQUIRE(ask(reader, "SELECT x FROM t") == "1;2");
}

TEST_CASE("an atomic commit of two databases with spilled pages, both outcomes, both ways round") {
  for (const std::string other : {"b.db", "0.db"}) {
    fixture w;
    connection db = w.open("m.db");
    REQUIRE(run(db, "PRAGMA cache_size=5; ATTACH '" + other +
                        "' AS aux; PRAGMA aux.cache_size=5;"
                        "CREATE TABLE t(x); CREATE TABLE aux.t(x)") == SQLITE_OK);
    const std::string work = "BEGIN; " + rows_into("main.t", 100) + "; SAVEPOINT s; " +
                             rows_into("aux.t", 100) + "; ROLLBACK TO s; " +
                             rows_into("aux.t", 50) + "; COMMIT";
    const std::string counts = "SELECT (SELECT count(*) FROM main.t), (SELECT count(*) FROM aux.t)";
    w.host.refuse_next(errc::leadership_lost);
    REQUIRE(run(db, work) == sqlite_outcome_unknown);
    REQUIRE(ask(db, counts) == "0|0");
    REQUIRE(run(db, work) == SQLITE_OK);
    REQUIRE(ask(db, counts) == "100|50");
    REQUIRE(run(db, "BEGIN; DELETE FROM main.t; DELETE FROM aux.t; ROLLBACK") == SQLITE_OK);
    REQUIRE(run(db, "BEGIN; DELETE FROM aux.t; SELECT * FROM main.t; COMMIT") == SQLITE_OK);
    REQUIRE(ask(db, counts) == "100|0");
    REQUIRE(w.host.entry_count() == 4);
    REQUIRE(ask(db, "PRAGMA main.integrity_check") == "ok");
    REQUIRE(ask(db, "PRAGMA aux.integrity_check") == "ok");
    REQUIRE(w.host.replays_equal());
  }
}

TEST_CASE("with a main database in memory each attached one is committed by its own entry") {
  fixture w;
  connection db = w.open();
  REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
  sqlite3* memory = nullptr;
  REQUIRE(sqlite3_open_v2(":memory:", &memory,
                          SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI,
                          nullptr) == SQLITE_OK);
  REQUIRE(run(memory,
              "PRAGMA locking_mode=NORMAL;"
              "ATTACH 'file:a.db?vfs=vfs-sqlite' AS a; ATTACH 'file:b.db?vfs=vfs-sqlite' AS b;"
              "CREATE TABLE b.t(x)") == SQLITE_OK);
  const std::size_t before = w.host.entry_count();
  REQUIRE(run(memory, "BEGIN; INSERT INTO a.t VALUES(1); INSERT INTO b.t VALUES(1); COMMIT") ==
          SQLITE_OK);
  REQUIRE(w.host.entry_count() == before + 2);
  REQUIRE(sqlite3_close(memory) == SQLITE_OK);
  REQUIRE(w.host.replays_equal());
}

TEST_CASE("an atomic commit follows early lock release in both databases") {
  fixture w;
  connection one = w.open("m.db");
  connection two = w.open("m.db");
  REQUIRE(run(one, "ATTACH 'b.db' AS b; CREATE TABLE t(x); CREATE TABLE b.t(x)") == SQLITE_OK);
  REQUIRE(run(two, "ATTACH 'b.db' AS b; SELECT * FROM t, b.t") == SQLITE_OK);
  w.host.answer(local_host::answers::detached);
  const std::string both = "BEGIN IMMEDIATE; INSERT INTO t SELECT count(*) FROM t;"
                           "INSERT INTO b.t SELECT count(*) FROM b.t; COMMIT";
  REQUIRE(run(one, both) == SQLITE_OK);
  REQUIRE(run(two, both) == SQLITE_OK);
  REQUIRE(run(one, both) == SQLITE_OK);
  REQUIRE(ask(two, "SELECT count(*) FROM t, b.t") == "0");
  w.host.commit_next();
  REQUIRE(ask(two, "SELECT t.x, u.x FROM t, b.t u") == "0|0");
  w.host.lose();
  w.host.answer(local_host::answers::at_once);
  REQUIRE(run(two, both) == SQLITE_OK);
  REQUIRE(ask(one, "SELECT t.x, u.x FROM t, b.t u WHERE t.rowid=u.rowid") == "0|0;1|1");
  REQUIRE(w.host.replays_equal());
}

TEST_CASE("a replicated database attached twice cannot be written twice at once") {
  fixture w;
  connection db = w.open("a.db", {.busy_timeout = milliseconds{20}});
  REQUIRE(run(db, "CREATE TABLE t(x); ATTACH 'a.db' AS again") == SQLITE_OK);
  REQUIRE(run(db, "BEGIN; INSERT INTO main.t VALUES(1)") == SQLITE_OK);
  REQUIRE((run(db, "INSERT INTO again.t VALUES(1)") & 0xFF) == SQLITE_BUSY);
  REQUIRE(run(db, "COMMIT") == SQLITE_OK);
  REQUIRE(ask(db, "SELECT count(*) FROM again.t") == "1");
}

TEST_CASE("backup and serialize give the committed image, a backup into is one commit") {
  fixture w;
  connection db = w.open();
  REQUIRE(run(db, "CREATE TABLE t(x); " + rows_into("t", 100)) == SQLITE_OK);
  const auto copy = [](sqlite3* to, sqlite3* from, int pages) {
    sqlite3_backup* const backup = sqlite3_backup_init(to, "main", from, "main");
    REQUIRE(backup != nullptr);
    int code = SQLITE_OK;
    while ((code = sqlite3_backup_step(backup, pages)) == SQLITE_OK) {
    }
    const int end = sqlite3_backup_finish(backup);
    return code == SQLITE_DONE ? end : code;
  };
  sqlite3* memory = nullptr;
  REQUIRE(sqlite3_open(":memory:", &memory) == SQLITE_OK);
  REQUIRE(copy(memory, db, 3) == SQLITE_OK);
  REQUIRE(ask(memory, "SELECT count(*) FROM t") == "100");
  sqlite3_close(memory);
  sqlite3_int64 size = 0;
  unsigned char* const image = sqlite3_serialize(db, "main", &size, 0);
  const bytes committed = quorlite::tests::committed_image(w.host.store("a.db"));
  REQUIRE(image != nullptr);
  REQUIRE(static_cast<std::size_t>(size) == committed.size());
  REQUIRE(std::memcmp(image, committed.data(), committed.size()) == 0);
  sqlite3_free(image);

  REQUIRE(sqlite3_open(":memory:", &memory) == SQLITE_OK);
  REQUIRE(run(memory, "CREATE TABLE t(x); CREATE TABLE u(y); " + rows_into("t", 10)) == SQLITE_OK);
  const std::size_t before = w.host.entry_count();
  w.host.refuse_next(errc::not_leader);
  REQUIRE(copy(db, memory, -1) != SQLITE_OK);
  REQUIRE(ask(db, "SELECT count(*) FROM t") == "100");
  REQUIRE(copy(db, memory, -1) == SQLITE_OK);
  REQUIRE(ask(db, "SELECT count(*) FROM t, (SELECT count(*) FROM u)") == "10");
  REQUIRE(w.host.entry_count() == before + 1);
  connection fresh = w.open("fresh.db");
  REQUIRE(copy(fresh, memory, -1) == SQLITE_OK);
  REQUIRE(ask(fresh, "SELECT count(*) FROM t") == "10");
  REQUIRE(ask(fresh, "PRAGMA integrity_check") == "ok");
  sqlite3_close(memory);
  REQUIRE(w.host.replays_equal());
}

TEST_CASE("a backup from a file in WAL mode works, and so does the connection that took it") {
  const plain_file plain;
  sqlite3* from = nullptr;
  REQUIRE(sqlite3_open(plain.path.c_str(), &from) == SQLITE_OK);
  REQUIRE(run(from, "PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES(1)") ==
          SQLITE_OK);
  for (const std::string schema : {"main", "aux"}) {
    for (const std::string before : {"", "CREATE TABLE old(x)"}) {
      fixture w;
      connection db = w.open("m.db");
      REQUIRE(run(db, "ATTACH 'n.db' AS aux") == SQLITE_OK);
      connection other = w.open(schema == "main" ? "m.db" : "n.db");
      REQUIRE(run(other, before) == SQLITE_OK);
      const auto copy = [&] {
        sqlite3_backup* const backup = sqlite3_backup_init(db, schema.c_str(), from, "main");
        REQUIRE(backup != nullptr);
        static_cast<void>(sqlite3_backup_step(backup, -1));
        return sqlite3_backup_finish(backup);
      };
      w.host.refuse_next(errc::not_leader);
      REQUIRE(copy() == sqlite_not_leader);
      REQUIRE(ask(db, "SELECT count(*) FROM " + schema + ".sqlite_schema") ==
              (before.empty() ? "0" : "1"));
      REQUIRE(copy() == SQLITE_OK);
      REQUIRE(ask(db, "SELECT x FROM " + schema + ".t") == "1");
      REQUIRE(run(db, "INSERT INTO " + schema + ".t VALUES(2)") == SQLITE_OK);
      REQUIRE(ask(other, "SELECT x FROM t") == "1;2");
      REQUIRE(run(other, "INSERT INTO t VALUES(3)") == SQLITE_OK);
      REQUIRE(ask(db, "SELECT x FROM " + schema + ".t") == "1;2;3");
      REQUIRE(ask(db, "PRAGMA " + schema + ".journal_mode") == "delete");
      REQUIRE(ask(db, "PRAGMA " + schema + ".integrity_check") == "ok");
      REQUIRE(w.host.replays_equal());
    }
  }
  sqlite3_close(from);
}

TEST_CASE("a blob handle writes, and its close is the commit") {
  fixture w;
  connection db = w.open();
  REQUIRE(run(db, "CREATE TABLE t(x); INSERT INTO t VALUES(zeroblob(20000))") == SQLITE_OK);
  const std::string ones(20000, '1');
  sqlite3_blob* blob = nullptr;
  REQUIRE(sqlite3_blob_open(db, "main", "t", "x", 1, 1, &blob) == SQLITE_OK);
  REQUIRE(sqlite3_blob_write(blob, ones.data(), 20000, 0) == SQLITE_OK);
  w.host.refuse_next(errc::leadership_lost);
  REQUIRE(sqlite3_blob_close(blob) == sqlite_outcome_unknown);
  REQUIRE(ask(db, "SELECT x=zeroblob(20000) FROM t") == "1");
  REQUIRE(sqlite3_blob_open(db, "main", "t", "x", 1, 1, &blob) == SQLITE_OK);
  REQUIRE(sqlite3_blob_write(blob, ones.data(), 20000, 0) == SQLITE_OK);
  REQUIRE(sqlite3_blob_close(blob) == SQLITE_OK);
  REQUIRE(ask(db, "SELECT CAST(x AS TEXT)=printf('%.*c', 20000, '1') FROM t") == "1");
  REQUIRE(w.host.replays_equal());
}

TEST_CASE("VACUUM, VACUUM INTO a plain path, and a reset database") {
  fixture w;
  const plain_file plain;
  connection db = w.open();
  REQUIRE(run(db, "CREATE TABLE t(x); " + rows_into("t", 300) + "; DELETE FROM t WHERE rowid>30") ==
          SQLITE_OK);
  const std::size_t before = w.host.entry_count();
  w.host.refuse_next(errc::not_leader);
  REQUIRE(run(db, "VACUUM") == sqlite_not_leader);
  REQUIRE(run(db, "VACUUM") == SQLITE_OK);
  REQUIRE(w.host.entry_count() == before + 1);
  REQUIRE(ask(db, "PRAGMA integrity_check") == "ok");
  REQUIRE(run(db, "VACUUM INTO '" + plain.path + "'") == SQLITE_OK);
  REQUIRE(w.host.entry_count() == before + 1);
  sqlite3* copy = nullptr;
  REQUIRE(sqlite3_open_v2(plain.path.c_str(), &copy, SQLITE_OPEN_READONLY, nullptr) == SQLITE_OK);
  REQUIRE(ask(copy, "SELECT count(*) FROM t") == "30");
  sqlite3_close(copy);

  connection reader = w.open();
  REQUIRE(ask(reader, "SELECT count(*) FROM t") == "30");
  sqlite3_db_config(db, SQLITE_DBCONFIG_RESET_DATABASE, 1, 0);
  REQUIRE(run(db, "VACUUM") == SQLITE_OK);
  sqlite3_db_config(db, SQLITE_DBCONFIG_RESET_DATABASE, 0, 0);
  REQUIRE(ask(reader, "SELECT count(*) FROM sqlite_schema") == "0");
  REQUIRE(run(reader, "CREATE TABLE again(x)") == SQLITE_OK);
  REQUIRE(w.host.replays_equal());
}

TEST_CASE("VACUUM INTO a bare name is refused with the way to name a file, which makes a file") {
  fixture w;
  const plain_file plain;
  connection db = w.open();
  connection other = w.open("b.db");
  REQUIRE(run(db, "CREATE TABLE t(x); INSERT INTO t VALUES(7)") == SQLITE_OK);
  REQUIRE(run(other, "CREATE TABLE u(x)") == SQLITE_OK);
  const std::size_t before = w.host.entry_count();
  connection reader = w.open("a.db", {.read_only = true});
  for (const connection* const on : {&db, &reader}) {
    for (const std::string sql :
         {"VACUUM INTO 'copy.db'", "-- not VACUUM\n /* at all */ ;vacuum main INTO 'cop' || 'y.db'",
          "VACUUM INTO 'b.db'"}) {
      INFO(sql);
      static_cast<void>(seen_log.take());
      REQUIRE(run(*on, sql) == SQLITE_CANTOPEN);
      REQUIRE(on->error_message().find("VACUUM INTO './") != std::string::npos);
      REQUIRE(on->last_error() == errc::unsupported);
      REQUIRE(on->last_error() == failure::refused);
      REQUIRE(seen_log.count("VACUUM INTO './") == 1);
      REQUIRE(ask(*on, "PRAGMA quorlite_error").find("VACUUM INTO './") != std::string::npos);
      REQUIRE(run(*on, "ATTACH 'no name' AS n") == SQLITE_CANTOPEN);
      REQUIRE(on->error_message().find("VACUUM") == std::string::npos);
    }
  }
  REQUIRE(w.host.entry_count() == before);
  REQUIRE_FALSE(w.host.database_named("copy.db").value()->exists());
  REQUIRE(ask(other, "SELECT count(*) FROM u") == "0");
  REQUIRE(run(db, "ATTACH 'c.db' AS vacuum_db; CREATE TABLE vacuum_db.v(x); DETACH vacuum_db") ==
          SQLITE_OK);
  sqlite3* fresh = nullptr;  // its first statement, and its first lock
  REQUIRE(sqlite3_open_v2("a.db", &fresh, SQLITE_OPEN_READWRITE, "vfs-sqlite") == SQLITE_OK);
  REQUIRE(run(fresh, "VACUUM INTO '" + plain.path + "'") == SQLITE_OK);
  sqlite3_close(fresh);
  sqlite3* copy = nullptr;
  REQUIRE(sqlite3_open_v2(plain.path.c_str(), &copy, SQLITE_OPEN_READONLY, nullptr) == SQLITE_OK);
  REQUIRE(ask(copy, "SELECT x FROM t") == "7");
  sqlite3_close(copy);
  REQUIRE(w.host.replays_equal());
}

TEST_CASE("a write cursor goes on while its connection commits a thousand times") {
  fixture w;
  connection db = w.open();
  REQUIRE(
      run(db, "CREATE TABLE t(id INTEGER PRIMARY KEY, x); " +
                  std::string{
                      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<1000) "
                      "INSERT INTO t SELECT i, 0 FROM n"}) == SQLITE_OK);
  sqlite3_stmt* cursor = nullptr;
  REQUIRE(sqlite3_prepare_v2(db, "SELECT id FROM t", -1, &cursor, nullptr) == SQLITE_OK);
  while (sqlite3_step(cursor) == SQLITE_ROW) {
    const std::string id = std::to_string(sqlite3_column_int(cursor, 0));
    REQUIRE(run(db, "UPDATE t SET x=x+1 WHERE id=" + id) == SQLITE_OK);
  }
  sqlite3_finalize(cursor);
  REQUIRE(ask(db, "SELECT sum(x), min(x) FROM t") == "1000|1");
  REQUIRE(w.host.entry_count() == 1002);
}

TEST_CASE("prepared statements live through losses and schema changes") {
  fixture w;
  connection db = w.open();
  connection other = w.open();
  REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
  sqlite3_stmt* insert = nullptr;
  REQUIRE(sqlite3_prepare_v2(db, "INSERT INTO t(x) VALUES(1)", -1, &insert, nullptr) == SQLITE_OK);
  const auto insert_works = [&] {
    const int code = sqlite3_step(insert);
    sqlite3_reset(insert);
    return code == SQLITE_DONE;
  };
  for (int i = 0; i < 20; ++i) {
    w.host.answer(local_host::answers::detached);
    REQUIRE(run(other, "UPDATE t SET x=x") == SQLITE_OK);
    REQUIRE(insert_works());
    REQUIRE(run(other, "ALTER TABLE t ADD COLUMN c" + std::to_string(i)) == SQLITE_OK);
    if (i % 2 == 0) {
      w.host.lose();
    } else {
      w.host.commit_all();
    }
    w.host.answer(local_host::answers::at_once);
    REQUIRE(insert_works());
  }
  sqlite3_finalize(insert);
  REQUIRE(ask(other, "SELECT count(*), sum(x) FROM t") == "30|30");
  REQUIRE(ask(db, "SELECT count(*) FROM pragma_table_info('t')") == "11");
  REQUIRE(ask(w.open(), "PRAGMA integrity_check") == "ok");
  REQUIRE(w.host.replays_equal());
}

TEST_CASE("deserialize leaves the VFS, and the handle says so") {
  fixture w;
  connection db = w.open();
  REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
  REQUIRE(sqlite3_deserialize(db, "main", nullptr, 0, 0, SQLITE_DESERIALIZE_RESIZEABLE) ==
          SQLITE_OK);
  std::error_code error;
  REQUIRE(sqlite3_file_control(db, "main", static_cast<int>(file_control::last_error), &error) ==
          SQLITE_NOTFOUND);
  REQUIRE_FALSE(db.last_error());
}

TEST_CASE("many threads write one counter and readers see only whole commits") {
  fixture w;
  {
    connection db = w.open();
    REQUIRE(run(db, "CREATE TABLE c(n); INSERT INTO c VALUES(0); CREATE TABLE l(n)") == SQLITE_OK);
  }
  constexpr int writers = 4;
  constexpr int each = 60;
  w.host.answer(local_host::answers::held);
  std::atomic<int> committed{0};
  std::atomic<int> unknown{0};
  std::atomic<int> failures{0};
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (int writer = 0; writer < writers; ++writer) {
    threads.emplace_back([&] {
      connection db = open_connection(w.door, "a.db").value();
      for (int i = 0; i < each;) {
        const int code = run(db, "BEGIN IMMEDIATE; UPDATE c SET n=n+1;"
                                 "INSERT INTO l SELECT n FROM c; COMMIT");
        if (code == SQLITE_OK) {
          ++i;
          ++committed;
        } else {
          unknown += code == sqlite_outcome_unknown ? 1 : 0;
          failures += code == sqlite_outcome_unknown || code == sqlite_not_leader ? 0 : 1;
          run(db, "ROLLBACK");
        }
      }
    });
  }
  std::thread reader([&] {
    connection db = open_connection(w.door, "a.db").value();
    long last = 0;
    while (!done) {
      const std::string seen = ask(db, "SELECT n, n=(SELECT count(*) FROM l), "
                                       "n=(SELECT coalesce(max(n),0) FROM l) FROM c");
      const long now = std::stol(seen);
      failures += now >= last && seen == std::to_string(now) + "|1|1" ? 0 : 1;
      last = now;
    }
  });
  std::thread consensus([&] {
    for (int round = 0; !done; ++round) {
      if (w.host.pending_count() == 0) {
        std::this_thread::yield();
      } else if (round % 40 == 39) {
        w.host.lose();
      } else {
        w.host.commit_one_if_any();
      }
    }
  });
  for (std::thread& thread : threads) {
    thread.join();
  }
  done = true;
  reader.join();
  consensus.join();
  connection db = w.open();
  REQUIRE(failures == 0);
  REQUIRE(committed == writers * each);
  REQUIRE(ask(db, "SELECT n FROM c") == std::to_string(writers * each));
  REQUIRE(ask(db, "PRAGMA integrity_check") == "ok");
  REQUIRE(w.host.replays_equal());
}

}  // namespace vfs_sqlite_test
