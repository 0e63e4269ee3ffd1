// What the library does with the clock and the random numbers of an adapter: the time of SQL, the
// seed of random(), sleeps; and that it leaves them alone where an adapter has none.
#include <sqlite3.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "catch2_shim.hpp"
#include "quorlite/connection.hpp"
#include "quorlite/detail/sqlite/database_file.hpp"
#include "quorlite/detail/sqlite/vfs.hpp"
#include "quorlite/testing/simulation.hpp"
#include "support/local_host.hpp"
#include "support/sql.hpp"
#include "support/temporary_directory.hpp"

namespace clock_and_random_test {
namespace {

using namespace quorlite;

using namespace quorlite::detail;
using quorlite::tests::local_host;

constexpr const char* now_to_the_millisecond = "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')";

// The default VFS, but for a clock that stands at the end of 1999, bytes of 0x2A and short nights.
struct plain_base {
  plain_base() {
    table.zName = "plain-base";
    table.xRandomness = [](sqlite3_vfs*, int size, char* out) {
      std::fill_n(out, size, '*');
      return size;
    };
    table.xCurrentTimeInt64 = [](sqlite3_vfs*, sqlite3_int64* now) {
      *now = 210'866'760'000'000 + 946'684'799'000;
      return SQLITE_OK;
    };
    table.xSleep = [](sqlite3_vfs*, int) { return 1; };
  }
  sqlite3_vfs table = *sqlite3_vfs_find(nullptr);
};

struct fixture {
  explicit fixture(bool is_told) {
    if (is_told) {
      host.tell({.steady_us = 5, .utc_us = 1'600'000'000'123'456}, 0x0102030405060708);
    }
  }

  plain_base base;
  local_host host;
};

// Its VFS is made when the host has its clock, or has none.
struct told_fixture : fixture {
  explicit told_fixture(bool is_told) : fixture(is_told) {}
  vfs door{host, {.name = "vfs-told", .base = &base.table}};

  [[nodiscard]] sqlite3_vfs& table() { return *sqlite3_vfs_find("vfs-told"); }
  [[nodiscard]] std::string drawn(std::size_t size) {
    std::string bytes(size, '\0');
    REQUIRE(table().xRandomness(&table(), static_cast<int>(size), bytes.data()) ==
            static_cast<int>(size));
    return bytes;
  }
};

}  // namespace

TEST_CASE("the time of SQL is what the adapter's clock tells") {
  told_fixture w(true);
  const connection db = open_connection(w.door, "a.db").value();
  CHECK(ask(db, now_to_the_millisecond) == "2020-09-13 12:26:40.123");
  REQUIRE(run(db, "CREATE TABLE t(x, at DEFAULT CURRENT_TIMESTAMP); INSERT INTO t(x) VALUES(1)") ==
          SQLITE_OK);
  CHECK(ask(db, "SELECT at FROM t") == "2020-09-13 12:26:40");
  double days = 0;
  REQUIRE(w.table().xCurrentTime(&w.table(), &days) == SQLITE_OK);
  CHECK(ask(db, "SELECT julianday('now') - " + std::to_string(days) + " < 0.0001") == "1");
}

TEST_CASE("an adapter without a clock leaves the time of SQL to the VFS below") {
  told_fixture w(false);
  const connection db = open_connection(w.door, "a.db").value();
  CHECK(ask(db, now_to_the_millisecond) == "1999-12-31 23:59:59.000");
  CHECK(w.table().xSleep(&w.table(), 1500) == 1);
  CHECK(w.host.slept_ms() == 0);
  CHECK(w.drawn(3) == "***");
}

TEST_CASE("a clock beyond the years that SQLite knows shows the last moment of them") {
  told_fixture w(true);
  const connection db = open_connection(w.door, "a.db").value();
  w.host.tell({.steady_us = 0, .utc_us = ~std::uint64_t{0}}, 0);
  CHECK(ask(db, now_to_the_millisecond) == "9999-12-31 23:59:59.999");
  w.host.tell({}, 0);
  CHECK(ask(db, now_to_the_millisecond) == "1970-01-01 00:00:00.000");
}

TEST_CASE("random bytes are the adapter's numbers, the lowest byte first") {
  told_fixture w(true);
  using namespace std::string_view_literals;
  CHECK(w.drawn(10) == "\x08\x07\x06\x05\x04\x03\x02\x01\x09\x07"sv);
  CHECK(w.drawn(1) == "\x0A"sv);
  CHECK(w.drawn(0).empty());
}

TEST_CASE("a sleep of SQLite is a wait of the adapter, in whole milliseconds") {
  told_fixture w(true);
  CHECK(w.table().xSleep(&w.table(), 1500) == 2000);
  CHECK(w.host.slept_ms() == 2);
  CHECK(w.table().xSleep(&w.table(), 0) == 1);
  CHECK(w.host.slept_ms() == 2);
}

TEST_CASE("who waits for the lock of a plain file waits by the adapter's clock") {
  quorlite::tests::temporary_directory folder;
  told_fixture w(true);
  const std::string plain = folder / "plain.db";
  connection db = open_connection(w.door, "a.db", {.busy_timeout = milliseconds{40}}).value();
  REQUIRE(run(db, "ATTACH '" + plain + "' AS plain; CREATE TABLE plain.t(x)") == SQLITE_OK);
  sqlite3* other = nullptr;
  REQUIRE(sqlite3_open(plain.c_str(), &other) == SQLITE_OK);
  REQUIRE(run(other, "BEGIN EXCLUSIVE") == SQLITE_OK);
  CHECK(run(db, "INSERT INTO plain.t VALUES(1)") == SQLITE_BUSY);
  CHECK(w.host.slept_ms() == 40);
  sqlite3_close(other);
}

TEST_CASE("who waits for a plain file's lock waits for that, whatever it was refused before") {
  quorlite::tests::temporary_directory folder;
  told_fixture w(true);
  const std::string plain = folder / "plain.db";
  connection one = open_connection(w.door, "a.db").value();
  connection db = open_connection(w.door, "a.db", {.busy_timeout = milliseconds{40}}).value();
  REQUIRE(run(one, "CREATE TABLE t(x); INSERT INTO t VALUES(1)") == SQLITE_OK);
  REQUIRE(run(db, "ATTACH '" + plain + "' AS plain; CREATE TABLE plain.t(x)") == SQLITE_OK);
  REQUIRE(run(db, "BEGIN; SELECT * FROM main.t") == SQLITE_OK);
  w.host.answer(local_host::answers::detached);  // what follows is pending only
  REQUIRE(run(one, "PRAGMA user_version=7") == SQLITE_OK);
  REQUIRE(run(db, "INSERT INTO main.t VALUES(2)") == SQLITE_BUSY_SNAPSHOT);
  REQUIRE(run(db, "ROLLBACK") == SQLITE_OK);

  sqlite3* other = nullptr;
  REQUIRE(sqlite3_open(plain.c_str(), &other) == SQLITE_OK);
  REQUIRE(run(other, "BEGIN EXCLUSIVE") == SQLITE_OK);
  SECTION("for all of its timeout") {
    CHECK(run(db, "INSERT INTO plain.t VALUES(1)") == SQLITE_BUSY);
    CHECK(w.host.slept_ms() == 40);
  }
  SECTION("and reads what is committed after it got the lock") {
    w.host.during_sleep([&] { run(other, "ROLLBACK"); });
    CHECK(run(db, "INSERT INTO plain.t VALUES(1)") == SQLITE_OK);
    CHECK(w.host.slept_ms() == 2);
  }
  CHECK(ask(db, "PRAGMA main.user_version") == "0");
  sqlite3_close(other);
}

TEST_CASE("neither a write that gave up nor an old wish for the head keeps it from sleeping") {
  quorlite::tests::temporary_directory folder;
  told_fixture w(true);
  const std::string plain = folder / "plain.db";
  connection one = open_connection(w.door, "a.db").value();
  connection db = open_connection(w.door, "a.db", {.busy_timeout = milliseconds{0}}).value();
  REQUIRE(run(db, "CREATE TABLE t(x); ATTACH '" + plain + "' AS plain; CREATE TABLE plain.t(x)") ==
          SQLITE_OK);
  sqlite3* other = nullptr;
  REQUIRE(sqlite3_open(plain.c_str(), &other) == SQLITE_OK);
  REQUIRE(run(other, "BEGIN EXCLUSIVE") == SQLITE_OK);
  writer_slot& turn = replicated_file(db, "main")->turn();
  SECTION("a write that gave up") {
    REQUIRE(run(one, "BEGIN IMMEDIATE") == SQLITE_OK);
    REQUIRE(run(db, "INSERT INTO main.t VALUES(2)") == SQLITE_BUSY);
    REQUIRE(run(one, "ROLLBACK") == SQLITE_OK);
  }
  SECTION("a wish that no lock of its own keeps up") { turn.want_head(); }
  REQUIRE(run(db, "PRAGMA busy_timeout=40") == SQLITE_OK);
  w.host.during_sleep([&] { CHECK_FALSE(turn.wants_head()); });
  CHECK(run(db, "INSERT INTO plain.t VALUES(1)") == SQLITE_BUSY);
  CHECK(w.host.slept_ms() == 40);
  sqlite3_close(other);
}

TEST_CASE("how long COMMITs waited is counted by the adapter's clock") {
  testing::replica_cluster cluster({.seed = 3});  // half a millisecond at least, each way
  const server_id leader = cluster.wait_for_leader().value();
  cluster.simulation().spawn([&] {
    const connection db = cluster.connect(leader);
    REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
    REQUIRE(run(db, "INSERT INTO t VALUES(1)") == SQLITE_OK);
  });
  cluster.simulation().run_for(milliseconds{1000});
  const replica_metrics counted = cluster.replica(leader).metrics();
  CHECK(counted.proposed.transactions == 2);
  CHECK(counted.proposed.waited_us >= 2 * 1000);
  CHECK(counted.proposed.waited_us <= 2 * 100'000);
}

TEST_CASE("when its replica has ended, a connection is told the time by the VFS below") {
  told_fixture w(true);
  const connection db = open_connection(w.door, "a.db").value();
  w.door.close();
  CHECK(ask(db, now_to_the_millisecond) == "1999-12-31 23:59:59.000");
  CHECK(w.drawn(3) == "***");
  CHECK(w.table().xSleep(&w.table(), 1500) == 1);
}

TEST_CASE("threads may ask for the time and for random bytes while a replica ends") {
  plain_base base;
  std::atomic<sqlite3_vfs*> table{nullptr};
  std::atomic<bool> is_over{false};
  std::atomic<std::uint64_t> answers{0};
  std::thread asking([&] {
    while (!is_over) {
      if (sqlite3_vfs* const known = table) {  // it is never freed
        sqlite3_int64 now = 0;
        char bytes[8];
        known->xCurrentTimeInt64(known, &now);
        known->xRandomness(known, sizeof bytes, bytes);
        ++answers;
      }
    }
  });
  for (int round = 0; round < 20; ++round) {
    auto host = std::make_unique<local_host>();
    host->tell({.steady_us = 5, .utc_us = 1'600'000'000'123'456}, 7);
    auto door = std::make_unique<vfs>(*host, vfs_options{.name = "vfs-told", .base = &base.table});
    table = sqlite3_vfs_find("vfs-told");
    for (const std::uint64_t before = answers; answers < before + 3;) {
      std::this_thread::yield();
    }
    door->close();
    if (round % 2 == 0) {
      door.reset();
    }
    const std::uint64_t asked = host->asked();
    for (const std::uint64_t before = answers; answers < before + 3;) {
      std::this_thread::yield();
    }
    CHECK(asked > 0);
    CHECK(host->asked() == asked);
    door.reset();
    host.reset();
  }
  is_over = true;
  asking.join();
}

TEST_CASE("the name of a VFS that ended is used again by one whose adapter has no clock") {
  { told_fixture w(true); }
  told_fixture w(false);
  const connection db = open_connection(w.door, "a.db").value();
  CHECK(ask(db, now_to_the_millisecond) == "1999-12-31 23:59:59.000");
  CHECK(w.drawn(3) == "***");
}

namespace {

// What a client of the leader sees. SQLite keeps one random number generator for the process and
// seeds it from the default VFS: so a replica's VFS is made that one for a while.
std::string seen_in_a_run(std::uint64_t seed) {
  testing::replica_cluster cluster({.seed = seed});
  const server_id leader = cluster.wait_for_leader().value();
  sqlite3_vfs* const before = sqlite3_vfs_find(nullptr);
  sqlite3_vfs_register(sqlite3_vfs_find(cluster.replica(leader).vfs_name().c_str()), 1);
  sqlite3_randomness(0, nullptr);  // it is seeded again at the next draw
  std::string seen;
  cluster.simulation().spawn([&] {
    const connection db = cluster.connect(leader);
    REQUIRE(run(db, "CREATE TABLE t(x, at)") == SQLITE_OK);
    for (int i = 0; i < 2; ++i) {
      REQUIRE(run(db, "INSERT INTO t VALUES(random(), strftime('%Y-%m-%d %H:%M:%f', 'now'))") ==
              SQLITE_OK);
      cluster.simulation().sleep(milliseconds{3'600'000});
    }
    seen = ask(db, "SELECT x, at FROM t") + " " + ask(db, "SELECT max(at) > min(at) FROM t");
    seen += ask(db, "SELECT min(at) LIKE '2020-01-01 00:%' AND max(at) LIKE '2020-01-01 01:%'"
                    " FROM t");
  });
  cluster.simulation().run_for(milliseconds{8'000'000});
  sqlite3_vfs_register(before, 1);
  sqlite3_randomness(0, nullptr);
  return seen;
}

}  // namespace

TEST_CASE("in a simulation the time of SQL and random() are functions of the seed") {
  const std::string first = seen_in_a_run(7);
  CHECK(first.ends_with(" 11"));
  CHECK(first == seen_in_a_run(7));
  CHECK(first != seen_in_a_run(8));
}

TEST_CASE("in a simulation the identity of a cluster is a function of the seed") {
  const auto begun = [](std::uint64_t seed) {
    testing::replica_cluster cluster({.seed = seed});
    const server_id leader = cluster.wait_for_leader().value();
    REQUIRE_FALSE(cluster.replica(leader).upgrade());
    return cluster.replica(leader).metrics().history.cluster;
  };
  const cluster_identity first = begun(7);
  CHECK(first != cluster_identity{});
  CHECK(first == begun(7));
  CHECK(first != begun(8));
}

}  // namespace clock_and_random_test
