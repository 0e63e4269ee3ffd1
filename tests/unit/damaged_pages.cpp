// What becomes of a byte of a page that changed on a disk: who notices it, and who does not look
// (docs/design/damaged-pages.md). Over the test Raft, with files on faulty disks.
#include <sqlite3.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#include "catch2_shim.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/error.hpp"
#include "quorlite/quorlite.hpp"
#include "quorlite/testing/faulty_disk.hpp"
#include "quorlite/testing/simulation.hpp"
#include "support/sql.hpp"

namespace damaged_pages_test {
namespace {

using namespace quorlite;

using quorlite::testing::compaction_options;
using quorlite::testing::crash_kind;
using quorlite::testing::replica_cluster;
using quorlite::testing::server_storage;

constexpr std::uint64_t page_bytes = 4096;

/// Three servers with everything in their files, and one that follows, with nothing in its memory.
/// On one page of `t` lie the texts "here" and "there", a hundred times each.
struct damaged_follower {
  explicit damaged_follower(compaction_options compaction = {})
      : cluster({.seed = 3, .compaction = compaction}, {}, {.storage = server_storage::files}) {
    leader = cluster.wait_for_leader().value();
    {
      connection db = cluster.connect(leader);
      REQUIRE(run(db, "CREATE TABLE t(k INTEGER PRIMARY KEY, v);"
                      "INSERT INTO t VALUES(1, replace(printf('%100c', 'x'), ' ', 'here'));"
                      "INSERT INTO t VALUES(2, replace(printf('%100c', 'x'), ' ', 'there'));"
                      "CREATE TABLE large(v); INSERT INTO large VALUES(randomblob(20000))") ==
              SQLITE_OK);
    }
    for (const server_id id : cluster.servers()) {
      follower = id != leader ? id : follower;
    }
    REQUIRE(cluster.wait_until_even());
    for (const server_id id : cluster.servers()) {
      REQUIRE_FALSE(cluster.replica(id).flush());
    }
    cluster.crash(follower);
    cluster.restart(follower);
    REQUIRE(cluster.wait_until_even());
  }

  [[nodiscard]] std::string file() {
    const auto content = cluster.disk(follower).content("app.db");
    std::string text(static_cast<std::size_t>(content.size()), '\0');
    static_cast<void>(content.read(0, as_writable_bytes(std::span(text))));
    return text;
  }
  /// A bit of the file changes, so far behind this text.
  void damage(std::string_view behind, std::size_t distance = 0) {
    const std::size_t at = file().find(behind);
    REQUIRE(at != std::string::npos);
    damage_at(at + distance);
  }
  void damage_at(std::uint64_t at) {
    REQUIRE(cluster.disk(follower).damage("app.db", at));
    number = at / page_bytes + 1;
  }
  void write(const std::string& sql) {
    connection db = cluster.connect(leader);
    REQUIRE(run(db, sql) == SQLITE_OK);
    REQUIRE(cluster.wait_until_even());
  }
  void check_told() {
    const health told = cluster.replica(follower).health();
    INFO(told.what);
    CHECK(told.halted);
    CHECK(told.error == errc::corrupt);
    CHECK(told.what.find("page " + std::to_string(number) + " of 'app.db'") != std::string::npos);
  }
  void check_whole() {
    REQUIRE_FALSE(cluster.replica(follower).flush());
    cluster.crash(follower);  // nothing is in memory any more
    cluster.restart(follower);
    REQUIRE(cluster.wait_until_even());
    connection db = cluster.connect(follower);
    CHECK(ask(db, "PRAGMA integrity_check") == "ok");
    CHECK(ask(db, "SELECT * FROM t") == ask(cluster.connect(leader), "SELECT * FROM t"));
    CHECK(ask(db, "SELECT hex(v) FROM large") ==
          ask(cluster.connect(leader), "SELECT hex(v) FROM large"));
    CHECK_FALSE(cluster.replica(follower).health().halted);
  }

  replica_cluster cluster;
  server_id leader;
  server_id follower;
  std::uint64_t number = 0;
};

}  // namespace

TEST_CASE("an apply does not look at the damaged page that it changes, and the flush tells",
          "[damage]") {
  damaged_follower at;
  at.damage("therethere");
  at.write("UPDATE t SET v = replace(v, 'here', 'HERE') WHERE k = 1");
  CHECK_FALSE(at.cluster.replica(at.follower).health().halted);
  CHECK(at.cluster.replica(at.follower).flush() == errc::corrupt);
  at.check_told();
}

TEST_CASE("a reader of a page whose changes are in memory tells that what is below is damaged",
          "[damage]") {
  damaged_follower at;
  at.damage("therethere");
  at.write("UPDATE t SET v = replace(v, 'here', 'HERE') WHERE k = 1");
  {
    connection db = at.cluster.connect(at.follower);
    CHECK(ask(db, "SELECT v FROM t WHERE k = 1") == "!" + std::to_string(SQLITE_CORRUPT));
    CHECK(db.last_error() == errc::corrupt);
  }
  at.check_told();
}

TEST_CASE("a change that covers the damage mends the page", "[damage]") {
  damaged_follower at;
  at.damage("herehere", 4);
  at.write("UPDATE t SET v = replace(v, 'here', 'HERE') WHERE k = 1");
  {
    connection db = at.cluster.connect(at.follower);
    CHECK(ask(db, "SELECT count(*) FROM t WHERE v LIKE '%HERE%'") == "2");
  }
  at.check_whole();
}

TEST_CASE("a page that comes whole replaces a damaged one, which nobody has read", "[damage]") {
  damaged_follower at;
  const std::size_t end = at.file().size();
  at.damage_at(end - 2 * page_bytes + 999);  // of the blob
  at.write("UPDATE large SET v = randomblob(20000)");
  at.check_whole();
}

TEST_CASE("a flush that keeps a damaged page for a reader of an older state tells", "[damage]") {
  damaged_follower at;
  connection db = at.cluster.connect(at.follower);
  REQUIRE(run(db, "BEGIN; SELECT count(*) FROM t") == SQLITE_OK);
  at.damage_at(at.file().size() - 2 * page_bytes + 999);
  at.write("UPDATE large SET v = randomblob(20000)");
  CHECK_FALSE(at.cluster.replica(at.follower).health().halted);
  CHECK(at.cluster.replica(at.follower).flush() == errc::corrupt);
  at.check_told();
}

TEST_CASE("a snapshot tells of a damaged page, and is not sent", "[damage]") {
  damaged_follower at({.threshold_entries = 4, .trailing_entries = 2});
  at.damage("therethere");
  for (int i = 0; i < 5; ++i) {
    connection db = at.cluster.connect(at.leader);
    REQUIRE(run(db, "CREATE TABLE u" + std::to_string(i) + "(x)") == SQLITE_OK);
  }
  at.cluster.simulation().run_for(milliseconds{1000});
  at.check_told();
}

TEST_CASE("what a snapshot has replaced may be damaged: its reader is told, the replica goes on",
          "[damage]") {
  damaged_follower at({.threshold_entries = 4, .trailing_entries = 2});
  connection old = at.cluster.connect(at.follower);
  REQUIRE(run(old, "BEGIN; SELECT count(*) FROM t") == SQLITE_OK);
  at.cluster.simulation().isolate(at.follower);
  at.damage_at(at.file().size() - 2 * page_bytes + 999);  // of the blob
  {
    connection db = at.cluster.connect(at.leader);
    for (int i = 0; i < 9; ++i) {
      REQUIRE(run(db, "INSERT INTO t VALUES(NULL, 'new')") == SQLITE_OK);
    }
  }
  at.cluster.heal();
  REQUIRE(at.cluster.wait_until_even());
  const auto is_blob_damaged = [&old] {
    return ask(old, "SELECT hex(v) FROM large") == "!" + std::to_string(SQLITE_CORRUPT);
  };
  SECTION("a flush has put the new one in its place") {
    REQUIRE_FALSE(at.cluster.replica(at.follower).flush());
    CHECK(is_blob_damaged());
    CHECK(old.last_error() == errc::corrupt);
    at.check_whole();
  }
  SECTION("no flush was made since, and the file is the database's") {
    CHECK(is_blob_damaged());
    at.check_told();
  }
}

TEST_CASE("what was dropped may be damaged: its reader is told, the replica goes on", "[damage]") {
  damaged_follower at;
  connection old = at.cluster.connect(at.follower);
  REQUIRE(run(old, "BEGIN; SELECT count(*) FROM t") == SQLITE_OK);
  at.damage_at(at.file().size() - 2 * page_bytes + 999);  // of the blob
  REQUIRE_FALSE(at.cluster.replica(at.leader).drop("app.db"));
  REQUIRE(at.cluster.wait_until_even());
  REQUIRE_FALSE(at.cluster.replica(at.follower).flush());
  CHECK(ask(old, "SELECT hex(v) FROM large") == "!" + std::to_string(SQLITE_CORRUPT));
  CHECK(old.last_error() == errc::corrupt);
  CHECK_FALSE(at.cluster.replica(at.follower).health().halted);
}

TEST_CASE("a page that nobody reads may be damaged for ever, a start does not look either",
          "[damage]") {
  damaged_follower at;
  at.damage("therethere");
  at.write("INSERT INTO large VALUES(1)");
  REQUIRE_FALSE(at.cluster.replica(at.follower).flush());
  at.cluster.crash(at.follower);
  REQUIRE_FALSE(at.cluster.start(at.follower));
  REQUIRE(at.cluster.wait_until_even());
  CHECK_FALSE(at.cluster.replica(at.follower).health().halted);
  {
    connection db = at.cluster.connect(at.follower);
    CHECK(ask(db, "SELECT v FROM t") == "!" + std::to_string(SQLITE_CORRUPT));
  }
  at.check_told();
}

TEST_CASE("the byte of the first page that the guard stands for is told at a start, or set right",
          "[damage]") {
  damaged_follower at;
  at.damage_at(19);
  {
    connection db = at.cluster.connect(at.follower);  // has the true one from beside the hashes
    CHECK(ask(db, "PRAGMA integrity_check") == "ok");
  }
  SECTION("told") {
    at.cluster.crash(at.follower);
    CHECK(at.cluster.start(at.follower) == errc::corrupt);
  }
  SECTION("set right when the replica is stopped") {
    REQUIRE_FALSE(at.cluster.stop(at.follower));
    CHECK_FALSE(at.cluster.start(at.follower));
  }
}

}  // namespace damaged_pages_test
