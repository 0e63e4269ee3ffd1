// Replicas on the test Raft, seen through plain SQLite connections.

#include <sqlite3.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/error.hpp"
#include "quorlite/testing/detail/raft/node.hpp"
#include "quorlite/testing/simulation.hpp"

namespace replicas_test {
namespace {

using namespace quorlite;

using namespace quorlite::detail;
using quorlite::testing::commit_phase;
using quorlite::testing::engine_kind;
using quorlite::testing::leadership_loss;
using quorlite::testing::replica_cluster;
using quorlite::testing::server_storage;

int run(sqlite3* db, const std::string& sql) {
  return sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr);
}

/// The first column of the first row; -1 without a row.
std::int64_t number(sqlite3* db, const std::string& sql) {
  std::int64_t value = -1;
  const auto take = [](void* to, int, char** columns, char**) {
    *static_cast<std::int64_t*>(to) = columns[0] == nullptr ? -1 : std::stoll(columns[0]);
    return 1;
  };
  static_cast<void>(sqlite3_exec(db, sql.c_str(), take, &value, nullptr));
  return value;
}

bool may_not_be_applied(int code) { return code == sqlite_not_leader; }

server_id other_than(const replica_cluster& cluster, server_id id) {
  for (const server_id one : cluster.servers()) {
    if (one != id) {
      return one;
    }
  }
  return {};
}

}  // namespace

TEST_CASE("a row written on the leader is read on every replica, and all are byte-identical") {
  replica_cluster cluster({.seed = 1});
  const server_id leader = cluster.wait_for_leader().value();
  {
    connection db = cluster.connect(leader);
    REQUIRE(run(db, "CREATE TABLE t(x); INSERT INTO t VALUES(7)") == SQLITE_OK);
  }
  REQUIRE(cluster.wait_until_even());
  CHECK(cluster.are_identical());
  for (const server_id id : cluster.servers()) {
    connection reader = cluster.connect(id);
    CHECK(number(reader, "SELECT x FROM t") == 7);
  }
}

TEST_CASE("a writer on a follower is refused at once, with the leader's name, and may read on") {
  replica_cluster cluster({.seed = 2});
  const server_id leader = cluster.wait_for_leader().value();
  connection db = cluster.connect(leader);
  REQUIRE(run(db, "CREATE TABLE t(x); INSERT INTO t VALUES(7)") == SQLITE_OK);
  REQUIRE(cluster.wait_until_even());
  const server_id follower = other_than(cluster, leader);
  connection there = cluster.connect(follower);
  CHECK(run(there, "INSERT INTO t VALUES(8)") == sqlite_not_leader);
  CHECK(there.last_error() == errc::not_leader);
  const std::string told = there.error_message();
  INFO(told);
  CHECK(told.find("leader is") != std::string::npos);
  CHECK(number(there, "SELECT count(*) FROM t") == 1);
}

TEST_CASE("PRAGMA optimize on a follower, as a driver's last word, does nothing and is no error") {
  replica_cluster cluster({.seed = 2});
  const server_id leader = cluster.wait_for_leader().value();
  connection db = cluster.connect(leader);
  REQUIRE(run(db, "CREATE TABLE t(x); CREATE INDEX i ON t(x); INSERT INTO t VALUES(7)") ==
          SQLITE_OK);
  REQUIRE(cluster.wait_until_even());
  connection there = cluster.connect(other_than(cluster, leader));
  for (const std::string pragma : {"optimize", "main.optimize", "optimize(0xfffe)"}) {
    INFO(pragma);
    REQUIRE(number(there, "SELECT count(*) FROM t WHERE x=7") == 1);  // statistics would help
    CHECK(run(there, "PRAGMA " + pragma) == SQLITE_OK);
    CHECK_FALSE(there.last_error());
  }
  REQUIRE(cluster.wait_until_even());
  CHECK(number(db, "SELECT count(*) FROM sqlite_schema WHERE name='sqlite_stat1'") == 0);
  REQUIRE(number(db, "SELECT count(*) FROM t WHERE x=7") == 1);
  CHECK(run(db, "PRAGMA optimize") == SQLITE_OK);
  CHECK(number(db, "SELECT count(*) FROM sqlite_stat1") == 1);
}

TEST_CASE("an idle BEGIN IMMEDIATE on a deposed leader delays no apply, and its COMMIT fails") {
  replica_cluster cluster({.seed = 3});
  const server_id old_leader = cluster.wait_for_leader().value();
  connection idle = cluster.connect(old_leader);
  REQUIRE(run(idle, "CREATE TABLE t(x)") == SQLITE_OK);
  REQUIRE(run(idle, "BEGIN IMMEDIATE; INSERT INTO t VALUES('idle')") == SQLITE_OK);

  cluster.simulation().isolate(old_leader);
  const server_id leader = cluster.wait_for_leader(old_leader).value();
  {
    connection db = cluster.connect(leader);
    for (int i = 0; i < 20; ++i) {
      REQUIRE(run(db, "INSERT INTO t VALUES('kept')") == SQLITE_OK);
    }
  }
  cluster.simulation().heal();
  REQUIRE(cluster.wait_until_even());  // the open transaction held nothing back
  CHECK(cluster.replica(old_leader).applied() == cluster.replica(leader).applied());

  const int code = run(idle, "COMMIT");
  CHECK((code == sqlite_not_leader || code == sqlite_outcome_unknown));
  static_cast<void>(run(idle, "ROLLBACK"));
  CHECK(sqlite3_get_autocommit(idle) == 1);
  CHECK(number(idle, "SELECT count(*) FROM t") == 20);
  CHECK(number(idle, "SELECT count(*) FROM t WHERE x='idle'") == 0);
}

namespace {

/// Transactions of several entries, which travel one by one.
quorlite::testing::simulation_options slow_entries(std::uint64_t seed) {
  quorlite::testing::simulation_options options{.seed = seed};
  options.raft.window_entries = 1;
  options.raft.batch_bytes = 1;
  return options;
}
constexpr std::size_t small_entries = 6000;
const char* const insert_much = "INSERT INTO t VALUES(randomblob(40000))";

/// Nothing is kept from a flush: no part of a transaction waits here for the rest.
bool is_whole(replica_cluster& cluster, server_id id) {
  quorlite::replica& here = cluster.replica(id);
  REQUIRE(!here.flush());
  return here.metrics().durable == here.applied();
}

/// A cluster whose leader fell when half of a transaction was committed, and who leads it now.
struct half_done {
  explicit half_done(std::uint64_t seed)
      : cluster(slow_entries(seed), {.entry_bytes = small_entries}),
        fallen(cluster.wait_for_leader().value()) {
    connection db = cluster.connect(fallen);
    REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
    REQUIRE(cluster.wait_until_even());
    cluster.simulation().depose_leader_when(commit_phase::committed, commands(fallen) + 3,
                                            leadership_loss::crash);
    CHECK(run(db, insert_much) != SQLITE_OK);
    lost = db.last_transaction();
    leader = cluster.wait_for_leader(fallen).value();
    REQUIRE(cluster.wait_until_even());
  }
  [[nodiscard]] std::uint64_t commands(server_id id) {
    return cluster.simulation().node(id).leading_state().commands;
  }
  replica_cluster cluster;
  server_id fallen;
  server_id leader;
  transaction_id lost;
};

}  // namespace

TEST_CASE("who gains leadership takes back what a fallen leader left half-done") {
  half_done run_of(41);
  replica_cluster& cluster = run_of.cluster;
  CHECK_FALSE(is_whole(cluster, run_of.leader));
  CHECK(run_of.commands(run_of.leader) == 0);
  CHECK(cluster.replica(run_of.leader).metrics().staged_bytes > 0);
  REQUIRE(!cluster.replica(run_of.leader).maintain());
  CHECK(run_of.commands(run_of.leader) == 1);
  cluster.restart(run_of.fallen);
  cluster.simulation().run_for(milliseconds{1000});
  REQUIRE(cluster.wait_until_even());
  for (const server_id id : cluster.servers()) {
    CHECK(is_whole(cluster, id));
    CHECK(cluster.replica(id).outcome(run_of.lost) == transaction_outcome::not_committed);
    CHECK(cluster.replica(id).metrics().staged_bytes == 0);
    connection reader = cluster.connect(id);
    CHECK(number(reader, "SELECT count(*) FROM t") == 0);
    REQUIRE(!cluster.replica(id).maintain());
  }
  CHECK(run_of.commands(run_of.leader) == 1);  // and that is all
}

TEST_CASE("who only follows takes nothing back, and a leader asks once until it has an answer") {
  half_done run_of(42);
  replica_cluster& cluster = run_of.cluster;
  const log_position before = cluster.replica(run_of.leader).applied();
  for (const server_id id : cluster.servers()) {
    if (id != run_of.leader && id != run_of.fallen) {
      REQUIRE(!cluster.replica(id).maintain());
    }
  }
  REQUIRE(cluster.wait_until_even());
  CHECK(cluster.replica(run_of.leader).applied() == before);
  cluster.simulation().isolate(run_of.leader);
  for (int i = 0; i < 5; ++i) {
    REQUIRE(!cluster.replica(run_of.leader).maintain());
  }
  CHECK(run_of.commands(run_of.leader) == 1);
}

TEST_CASE("a leader that falls before it took anything back leaves it to the next") {
  const auto way = GENERATE(leadership_loss::step_down, leadership_loss::isolate);
  half_done run_of(43);
  replica_cluster& cluster = run_of.cluster;
  cluster.restart(run_of.fallen);
  REQUIRE(cluster.wait_until_even());
  cluster.simulation().depose_leader_when(commit_phase::enqueued, 1, way);
  REQUIRE(!cluster.replica(run_of.leader).maintain());
  REQUIRE(cluster.simulation().leadership_losses().size() == 2);
  cluster.simulation().run_for(milliseconds{2000});
  cluster.simulation().heal();
  const server_id next = cluster.wait_for_leader().value();
  REQUIRE(!cluster.replica(next).maintain());
  cluster.simulation().run_for(milliseconds{1000});
  for (const server_id id : cluster.servers()) {
    CHECK(is_whole(cluster, id));
  }
}

TEST_CASE("a leader takes back nothing of a transaction that is on its way") {
  replica_cluster cluster(slow_entries(44), {.entry_bytes = small_entries});
  const server_id leader = cluster.wait_for_leader().value();
  connection db = cluster.connect(leader);
  REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
  int code = -1;
  const auto client = cluster.simulation().spawn([&] { code = run(db, insert_much); });
  bool waited = false;
  while (!cluster.simulation().finished(client) && cluster.simulation().step()) {
    REQUIRE(!cluster.replica(leader).maintain());
    waited = waited || !is_whole(cluster, leader);
  }
  CHECK(waited);  // some of it was there before the rest
  CHECK(code == SQLITE_OK);
  REQUIRE(cluster.wait_until_even());
  CHECK(is_whole(cluster, leader));
  CHECK(number(db, "SELECT count(*) FROM t") == 1);
}

TEST_CASE("the parts of a transaction wait for room, and it commits") {
  quorlite::testing::simulation_options options = slow_entries(45);
  options.raft.max_in_flight = GENERATE(1U, 2U, 4U);
  replica_cluster cluster(options, {.entry_bytes = small_entries});
  const server_id leader = cluster.wait_for_leader().value();
  connection db = cluster.connect(leader);
  REQUIRE(run(db, "PRAGMA page_size=4096; CREATE TABLE t(x)") ==
          SQLITE_OK);  // several entries, too
  CHECK(run(db, insert_much) == SQLITE_OK);
  CHECK(number(db, "SELECT count(*) FROM t") == 1);
  REQUIRE(cluster.wait_until_even());
  CHECK(cluster.are_identical());
  CHECK(is_whole(cluster, leader));
}

TEST_CASE("a leader whose transaction found no room for its rest takes back what there is of it") {
  quorlite::testing::simulation_options options = slow_entries(45);
  options.raft.max_in_flight = 4;
  replica_cluster cluster(options,
                          {.commit_timeout = milliseconds{50}, .entry_bytes = small_entries});
  const server_id leader = cluster.wait_for_leader().value();
  connection db = cluster.connect(leader);
  REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
  REQUIRE(cluster.wait_until_even());
  for (const server_id id : cluster.servers()) {
    if (id != leader) {
      cluster.simulation().pause(id, milliseconds{100});  // nobody answers for a while
    }
  }
  CHECK(run(db, insert_much) != SQLITE_OK);
  CHECK(db.last_error() == errc::overloaded);
  cluster.simulation().run_for(milliseconds{1000});
  CHECK_FALSE(is_whole(cluster, leader));
  REQUIRE(!cluster.replica(leader).maintain());
  cluster.simulation().run_for(milliseconds{1000});
  CHECK(is_whole(cluster, leader));
  CHECK(number(db, "SELECT count(*) FROM t") == 0);
}

TEST_CASE("a leader that falls at any commit_phase answers truly, and the connection works again") {
  const auto what =
      GENERATE(commit_phase::enqueued, commit_phase::appended, commit_phase::committed);
  const auto way = GENERATE(leadership_loss::step_down, leadership_loss::isolate);
  CAPTURE(static_cast<int>(what), static_cast<int>(way));
  replica_cluster cluster({.seed = 4});
  const server_id old_leader = cluster.wait_for_leader().value();
  connection db = cluster.connect(old_leader);
  REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
  cluster.simulation().depose_leader_when(
      what, cluster.simulation().node(old_leader).leading_state().commands + 1, way);
  const int code = run(db, "INSERT INTO t VALUES('lost?')");
  CAPTURE(code);
  const transaction_id id = db.last_transaction();
  cluster.simulation().heal();
  const server_id leader = cluster.wait_for_leader().value();
  REQUIRE(!cluster.replica(leader).read_barrier());
  REQUIRE(cluster.wait_until_even());
  connection there = cluster.connect(leader);
  const bool is_there = number(there, "SELECT count(*) FROM t") == 1;
  if (code == SQLITE_OK) {
    CHECK(is_there);
  } else if (may_not_be_applied(code)) {
    CHECK(!is_there);
  } else {
    REQUIRE(code == sqlite_outcome_unknown);
    const transaction_outcome fate = cluster.replica(leader).outcome(id);
    CHECK(fate == (is_there ? transaction_outcome::committed : transaction_outcome::not_committed));
  }
  CHECK(number(db, "SELECT count(*) FROM t") == (is_there ? 1 : 0));
  if (leader == old_leader) {
    CHECK(run(db, "INSERT INTO t VALUES('again')") == SQLITE_OK);
  }
  REQUIRE(cluster.wait_until_even());
  CHECK(cluster.are_identical());
}

TEST_CASE("two attached replicated databases commit in one entry, or not at all") {
  replica_cluster cluster({.seed = 5});
  const server_id leader = cluster.wait_for_leader().value();
  connection db = cluster.connect(leader, "one.db");
  REQUIRE(run(db, "ATTACH 'two.db' AS two; PRAGMA two.synchronous=FULL") == SQLITE_OK);
  REQUIRE(run(db, "CREATE TABLE main.t(x); CREATE TABLE two.t(x)") == SQLITE_OK);
  const std::uint64_t before = cluster.replica(leader).metrics().proposed.transactions;
  REQUIRE(run(db, "BEGIN; INSERT INTO main.t VALUES(1); INSERT INTO two.t VALUES(1); COMMIT") ==
          SQLITE_OK);
  CHECK(cluster.replica(leader).metrics().proposed.transactions == before + 1);

  cluster.simulation().depose_leader_when(
      commit_phase::enqueued, cluster.simulation().node(leader).leading_state().commands + 1,
      leadership_loss::isolate);
  const int code =
      run(db, "BEGIN; INSERT INTO main.t VALUES(2); INSERT INTO two.t VALUES(2); COMMIT");
  CHECK(code != SQLITE_OK);
  static_cast<void>(run(db, "ROLLBACK"));
  cluster.simulation().heal();
  REQUIRE(cluster.wait_until_even());
  for (const server_id id : cluster.servers()) {
    connection one = cluster.connect(id, "one.db");
    connection two = cluster.connect(id, "two.db");
    CHECK(number(one, "SELECT count(*) FROM t") == number(two, "SELECT count(*) FROM t"));
  }
  CHECK(cluster.are_identical());
}

TEST_CASE("a replica that crashed comes back from its storage and the log, byte-identical") {
  const std::uint64_t snapshots_every = GENERATE(0U, 8U);
  replica_cluster cluster({.seed = 6, .compaction = {.threshold_entries = snapshots_every}});
  const server_id leader = cluster.wait_for_leader().value();
  const server_id victim = other_than(cluster, leader);
  connection db = cluster.connect(leader);
  REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
  for (int i = 0; i < 60; ++i) {
    if (i == 20) {
      REQUIRE(!cluster.replica(victim).flush());
      cluster.crash(victim);
      cluster.take_down(victim);
    }
    REQUIRE(run(db, "INSERT INTO t VALUES(randomblob(500))") == SQLITE_OK);
  }
  cluster.restart(victim);
  REQUIRE(cluster.wait_until_even());
  CHECK(cluster.are_identical());
  connection back = cluster.connect(victim);
  CHECK(number(back, "SELECT count(*) FROM t") == 60);
  if (snapshots_every != 0) {
    CHECK(cluster.replica(victim).metrics().machine.snapshots_installed > 0);
  }
}

TEST_CASE("a restore with readers open leaves them their state; the next statement sees the new") {
  replica_cluster cluster(
      {.seed = 7, .compaction = {.threshold_entries = 8, .trailing_entries = 1}});
  const server_id leader = cluster.wait_for_leader().value();
  const server_id away = other_than(cluster, leader);
  connection db = cluster.connect(leader);
  REQUIRE(run(db, "CREATE TABLE t(x); INSERT INTO t VALUES(1)") == SQLITE_OK);
  REQUIRE(cluster.wait_until_even());
  connection reader = cluster.connect(away);
  REQUIRE(run(reader, "BEGIN") == SQLITE_OK);
  REQUIRE(number(reader, "SELECT count(*) FROM t") == 1);
  cluster.simulation().isolate(away);
  for (int i = 0; i < 60; ++i) {
    REQUIRE(run(db, "INSERT INTO t VALUES(2)") == SQLITE_OK);
  }
  cluster.simulation().heal();
  REQUIRE(cluster.wait_until_even());
  CHECK(cluster.replica(away).metrics().machine.snapshots_installed > 0);
  CHECK(number(reader, "SELECT count(*) FROM t") == 1);
  REQUIRE(run(reader, "COMMIT") == SQLITE_OK);
  CHECK(number(reader, "SELECT count(*) FROM t") == 61);
}

TEST_CASE("a dropped database is gone on every replica, and its name starts afresh") {
  replica_cluster cluster({.seed = 8});
  const server_id leader = cluster.wait_for_leader().value();
  connection db = cluster.connect(leader);
  REQUIRE(run(db, "CREATE TABLE t(x); INSERT INTO t VALUES(1)") == SQLITE_OK);
  REQUIRE(!cluster.replica(leader).drop("app.db"));
  REQUIRE(!cluster.replica(leader).drop("app.db"));
  CHECK(number(db, "SELECT count(*) FROM sqlite_master") == 0);
  REQUIRE(cluster.wait_until_even());
  for (const server_id id : cluster.servers()) {
    CHECK(cluster.replica(id).databases().empty());
  }
  REQUIRE(run(db, "CREATE TABLE u(y); INSERT INTO u VALUES(2)") == SQLITE_OK);
  REQUIRE(cluster.wait_until_even());
  CHECK(cluster.are_identical());
}

TEST_CASE("what a long reader keeps is told, until it ends") {
  replica_cluster cluster({.seed = 23, .replicas = 1});
  const server_id leader = cluster.wait_for_leader().value();
  quorlite::replica& on = cluster.replica(leader);
  connection writer = cluster.connect(leader);
  REQUIRE(run(writer, "CREATE TABLE t(x); INSERT INTO t VALUES(zeroblob(400000))") == SQLITE_OK);
  connection reader = cluster.connect(leader);
  REQUIRE(run(reader, "BEGIN") == SQLITE_OK);
  REQUIRE(number(reader, "SELECT sum(length(x)) FROM t") == 400'000);
  CHECK(on.metrics().pinned_bytes == 0);
  REQUIRE(run(writer, "UPDATE t SET x = randomblob(400000)") == SQLITE_OK);
  const std::uint64_t kept = on.metrics().pinned_bytes;
  CHECK(kept > 400'000);
  CHECK(on.databases().front().pinned_bytes == kept);
  REQUIRE(run(writer, "UPDATE t SET x = randomblob(400000)") == SQLITE_OK);
  CHECK(on.metrics().pinned_bytes < kept + 50'000);  // one old version of each page
  REQUIRE(!on.drop("app.db"));
  CHECK(on.databases().empty());
  CHECK(on.metrics().pinned_bytes > 800'000);  // nobody else needs any of it
  REQUIRE(run(reader, "COMMIT") == SQLITE_OK);
  CHECK(on.metrics().pinned_bytes == 0);
}

namespace {

constexpr const char* forty_rows =
    "CREATE TABLE t(k INTEGER PRIMARY KEY, n INT, x); INSERT INTO t WITH RECURSIVE r(i) AS "
    "(SELECT 1 UNION ALL SELECT i + 1 FROM r LIMIT 40) SELECT i, 0, randomblob(10000) FROM r";
constexpr const char* change_all = "UPDATE t SET n = n + 1, x = randomblob(10000)";

}  // namespace

TEST_CASE("a reader that keeps too much is ended with words that help, and reads again at once") {
  replica_cluster cluster({.seed = 31, .replicas = 1}, {.pinned_bytes = 300'000});
  const server_id leader = cluster.wait_for_leader().value();
  quorlite::replica& on = cluster.replica(leader);
  connection writer = cluster.connect(leader);
  REQUIRE(run(writer, forty_rows) == SQLITE_OK);
  connection reader = cluster.connect(leader);
  REQUIRE(run(reader, "BEGIN") == SQLITE_OK);
  REQUIRE(number(reader, "SELECT length(x) FROM t WHERE k = 1") == 10'000);
  REQUIRE(number(reader, "SELECT n FROM t WHERE k = 1") == 0);
  REQUIRE(run(writer, change_all) == SQLITE_OK);
  CHECK(on.metrics().snapshots_ended == 1);
  CHECK(on.metrics().pinned_bytes <= 300'000);

  const std::int64_t cached = number(reader, "SELECT n FROM t WHERE k = 1");
  CHECK((cached == 0 || cached == -1));  // SQLite has the page of that state itself, or has none
  const int code =
      cached == 0 ? run(reader, "SELECT sum(length(x)) FROM t") : sqlite3_extended_errcode(reader);
  CHECK(code == sqlite_snapshot_ended);
  CHECK(reader.last_error() == errc::snapshot_ended);
  CHECK(reader.last_error() == failure::not_applied);
  const std::string told = reader.error_message();
  CHECK(told.find("replica_options::pinned_bytes") != std::string::npos);
  CHECK(sqlite3_get_autocommit(reader) != 0);  // the transaction is over

  REQUIRE(run(reader, "BEGIN") == SQLITE_OK);
  CHECK(number(reader, "SELECT sum(n) FROM t") == 40);
  CHECK(number(reader, "SELECT sum(length(x)) FROM t") == 400'000);
  REQUIRE(run(reader, "COMMIT") == SQLITE_OK);
  CHECK(run(reader, "PRAGMA integrity_check") == SQLITE_OK);
  CHECK(run(reader, "INSERT INTO t VALUES(41, 0, 1)") == SQLITE_OK);
  CHECK(on.metrics().pinned_bytes < 100'000);
  CHECK(on.health().ok());
}

TEST_CASE("a SELECT that is open while it is ended gives rows of its state and then the error") {
  replica_cluster cluster({.seed = 32, .replicas = 1}, {.pinned_bytes = 100'000});
  const server_id leader = cluster.wait_for_leader().value();
  connection writer = cluster.connect(leader);
  REQUIRE(run(writer, forty_rows) == SQLITE_OK);
  connection reader = cluster.connect(leader);
  sqlite3_stmt* open = nullptr;
  REQUIRE(sqlite3_prepare_v2(reader, "SELECT n, x FROM t", -1, &open, nullptr) == SQLITE_OK);
  for (int row = 0; row < 3; ++row) {
    REQUIRE(sqlite3_step(open) == SQLITE_ROW);
  }
  REQUIRE(run(writer, change_all) == SQLITE_OK);
  int code = SQLITE_ROW;
  while ((code = sqlite3_step(open)) == SQLITE_ROW) {
    CHECK(sqlite3_column_int(open, 0) == 0);
  }
  CHECK(code == sqlite_snapshot_ended);
  sqlite3_finalize(open);
  CHECK(number(reader, "SELECT sum(n) FROM t") == 40);
}

TEST_CASE("a transaction that reads and then writes on a state that was ended is run again") {
  replica_cluster cluster({.seed = 33, .replicas = 1}, {.pinned_bytes = 100'000});
  const server_id leader = cluster.wait_for_leader().value();
  connection writer = cluster.connect(leader);
  REQUIRE(run(writer, forty_rows) == SQLITE_OK);
  connection late = cluster.connect(leader);
  const char* const transaction = "UPDATE t SET n = n + 100 WHERE k = 7";
  REQUIRE(run(late, "BEGIN") == SQLITE_OK);
  REQUIRE(number(late, "SELECT n FROM t WHERE k = 7") == 0);
  REQUIRE(run(writer, change_all) == SQLITE_OK);
  REQUIRE(cluster.replica(leader).metrics().snapshots_ended == 1);
  const int refused = run(late, transaction);
  CHECK((refused == SQLITE_BUSY_SNAPSHOT || refused == sqlite_snapshot_ended));
  static_cast<void>(run(late, "ROLLBACK"));
  CHECK(number(late, "SELECT n FROM t WHERE k = 7") == 1);
  CHECK(run(late, transaction) == SQLITE_OK);
  CHECK(number(writer, "SELECT n FROM t WHERE k = 7") == 101);
}

TEST_CASE("a writer at work is not ended, and one whose leadership was lost is never applied") {
  replica_cluster cluster({.seed = 34}, {.pinned_bytes = 1});
  const server_id fallen = cluster.wait_for_leader().value();
  connection db = cluster.connect(fallen);
  REQUIRE(run(db, forty_rows) == SQLITE_OK);
  REQUIRE(run(db, "BEGIN; UPDATE t SET n = 1; COMMIT") == SQLITE_OK);
  CHECK(cluster.replica(fallen).metrics().snapshots_ended == 0);
  REQUIRE(cluster.wait_until_even());
  REQUIRE(run(db, "BEGIN IMMEDIATE; UPDATE t SET n = 1000 WHERE k < 20") == SQLITE_OK);
  cluster.simulation().isolate(fallen);
  server_id next{};
  const auto leads = [&] {
    for (const server_id one : cluster.servers()) {
      next = one != fallen && cluster.replica(one).leader().leading ? one : next;
    }
    return next != server_id{};
  };
  REQUIRE(cluster.simulation().run_until(leads, milliseconds{60'000}));
  connection there = cluster.connect(next);
  REQUIRE(run(there, change_all) == SQLITE_OK);
  cluster.simulation().heal();
  REQUIRE(cluster.wait_until_even());
  CHECK(cluster.replica(fallen).metrics().snapshots_ended == 1);
  const int code = run(db, "UPDATE t SET x = 0; COMMIT");
  CHECK((code == sqlite_snapshot_ended || code == sqlite_not_leader));
  CHECK(db.last_error() == failure::not_applied);
  static_cast<void>(run(db, "ROLLBACK"));
  CHECK(number(db, "SELECT max(n) FROM t") == 2);
  REQUIRE(run(there, "UPDATE t SET n = 1000 WHERE k < 20") == SQLITE_OK);
  REQUIRE(cluster.wait_until_even());
  CHECK(cluster.are_identical());
}

TEST_CASE("with the smallest limit servers flush and send snapshots, and only readers end") {
  replica_cluster cluster({.seed = 35, .compaction = {.threshold_entries = 8}},
                          {.memory_bytes = 400'000, .pinned_bytes = 1, .flush_bytes = 100'000},
                          {.storage = server_storage::files});
  const server_id leader = cluster.wait_for_leader().value();
  const server_id away = other_than(cluster, leader);
  connection db = cluster.connect(leader);
  REQUIRE(run(db, forty_rows) == SQLITE_OK);
  REQUIRE(cluster.wait_until_even());
  cluster.simulation().isolate(away);
  connection reader = cluster.connect(leader);
  int ended = 0;  // but where a snapshot or a flush stands on the same state
  for (int i = 0; i < 30; ++i) {
    REQUIRE(run(reader, "BEGIN; SELECT n FROM t WHERE k = 1") == SQLITE_OK);
    REQUIRE(run(db, change_all) == SQLITE_OK);
    const int code = run(reader, "SELECT sum(length(x)) FROM t");
    CHECK((code == SQLITE_OK || code == sqlite_snapshot_ended));
    ended += code == SQLITE_OK ? 0 : 1;
    static_cast<void>(run(reader, "ROLLBACK"));
    if (i == 20) {
      cluster.simulation().heal();
    }
  }
  CHECK(ended > 15);
  REQUIRE(cluster.wait_until_even());
  CHECK(cluster.replica(away).metrics().machine.snapshots_installed > 0);
  CHECK(cluster.replica(leader).metrics().machine.flushes > 10);
  for (const server_id id : cluster.servers()) {
    CHECK(cluster.replica(id).health().ok());
    connection there = cluster.connect(id);
    CHECK(number(there, "SELECT sum(n) FROM t") == 1200);
  }
  CHECK(cluster.are_identical());
}

TEST_CASE("a connection that nobody uses keeps no page of a database that was dropped") {
  replica_cluster cluster({.seed = 21, .replicas = 1});
  const server_id leader = cluster.wait_for_leader().value();
  quorlite::replica& on = cluster.replica(leader);
  connection idle = cluster.connect(leader);
  REQUIRE(run(idle, "CREATE TABLE t(x); INSERT INTO t VALUES(zeroblob(1000000))") == SQLITE_OK);
  CHECK(on.metrics().memory_bytes > 1'000'000);
  REQUIRE(!on.drop("app.db"));
  CHECK(on.metrics().memory_bytes < 100'000);
  CHECK(number(idle, "SELECT count(*) FROM sqlite_schema") == 0);
}

TEST_CASE("a connection that nobody uses keeps no page of a state that a restore has replaced") {
  replica_cluster cluster(
      {.seed = 22, .compaction = {.threshold_entries = 8, .trailing_entries = 1}});
  const server_id leader = cluster.wait_for_leader().value();
  const server_id away = other_than(cluster, leader);
  connection db = cluster.connect(leader);
  REQUIRE(run(db, "CREATE TABLE t(x); INSERT INTO t VALUES(randomblob(1000000))") == SQLITE_OK);
  REQUIRE(cluster.wait_until_even());
  connection idle = cluster.connect(away);
  REQUIRE(number(idle, "SELECT count(*) FROM t") == 1);
  cluster.simulation().isolate(away);
  REQUIRE(run(db, "DELETE FROM t; VACUUM") == SQLITE_OK);
  for (int i = 0; i < 20; ++i) {
    REQUIRE(run(db, "INSERT INTO t VALUES(2)") == SQLITE_OK);
  }
  cluster.simulation().heal();
  REQUIRE(cluster.wait_until_even());
  REQUIRE(cluster.replica(away).metrics().machine.snapshots_installed > 0);
  CHECK(cluster.replica(away).metrics().memory_bytes < 500'000);
  CHECK(number(idle, "SELECT count(*) FROM t") == 20);
}

TEST_CASE("whoever waits in write() is answered when the server crashes, whatever group it is in") {
  for (std::uint64_t crash_after = 0; crash_after < 12; ++crash_after) {
    replica_cluster cluster({.seed = 23});
    const server_id leader = cluster.wait_for_leader().value();
    connection db = cluster.connect(leader);
    REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
    int answered = 0;
    for (int client = 0; client < 12; ++client) {
      cluster.simulation().spawn([&] {
        static_cast<void>(cluster.replica(leader).write("app.db", [](sqlite3* in) {
          return sqlite3_exec(in, "INSERT INTO t VALUES(1)", nullptr, nullptr, nullptr);
        }));
        ++answered;
      });
    }
    cluster.simulation().after(milliseconds{crash_after}, [&] { cluster.crash(leader); });
    REQUIRE(cluster.simulation().run_until([&] { return answered == 12; }, milliseconds{60'000}));
  }
}

// ---- how a history begins

namespace {

/// True if all replicas tell the same history, and one that has begun.
bool all_tell_one_history(replica_cluster& cluster) {
  const replica_metrics first = cluster.replica(cluster.servers().front()).metrics();
  for (const server_id id : cluster.servers()) {
    const replica_metrics told = cluster.replica(id).metrics();
    if (told.history != first.history || told.history_at != first.history_at) {
      return false;
    }
  }
  return first.history.begins_at.value != 0 && first.history_at.hash != history_hash{};
}

}  // namespace

TEST_CASE("a cluster that is told to found itself has a history before its first row") {
  replica_cluster cluster({.seed = 51}, {.found = true});
  const server_id leader = cluster.wait_for_leader().value();
  connection db = cluster.connect(leader);
  REQUIRE(run(db, "CREATE TABLE t(x); INSERT INTO t VALUES(7)") == SQLITE_OK);
  REQUIRE(cluster.wait_until_even());
  CHECK(all_tell_one_history(cluster));
  CHECK(cluster.replica(leader).metrics().machine.conflicts == 0);
  CHECK(cluster.replica(leader).metrics().machine.witnesses >= 2);
  const history_identity begun = cluster.replica(leader).metrics().history;
  CHECK_FALSE(cluster.replica(leader).upgrade());
  for (const server_id id : cluster.servers()) {
    cluster.restart(id);
  }
  const server_id next = cluster.wait_for_leader().value();
  connection again = cluster.connect(next);
  REQUIRE(run(again, "INSERT INTO t VALUES(8)") == SQLITE_OK);
  REQUIRE(cluster.wait_until_even());
  CHECK(all_tell_one_history(cluster));
  CHECK(cluster.replica(next).metrics().history == begun);
}

TEST_CASE("an idle leader that is told to found its cluster does so when it is maintained") {
  replica_cluster cluster({.seed = 52}, {.found = true});
  const server_id leader = cluster.wait_for_leader().value();
  for (int i = 0; i < 5; ++i) {
    REQUIRE(!cluster.replica(leader).maintain());
  }
  cluster.simulation().run_for(milliseconds{500});
  REQUIRE(cluster.wait_until_even());
  CHECK(all_tell_one_history(cluster));
  CHECK(cluster.replica(leader).metrics().machine.entries == 2);  // the leader's own, and the one
}

TEST_CASE("a cluster with data is not founded, it is upgraded, and no row is lost") {
  replica_cluster cluster({.seed = 53}, {.found = false});
  const server_id leader = cluster.wait_for_leader().value();
  connection db = cluster.connect(leader);
  REQUIRE(run(db, "CREATE TABLE t(x); INSERT INTO t VALUES(1)") == SQLITE_OK);
  REQUIRE(cluster.wait_until_even());
  CHECK(cluster.replica(leader).metrics().history == history_identity{});
  CHECK(cluster.replica(other_than(cluster, leader)).upgrade() == errc::not_leader);
  CHECK_FALSE(cluster.replica(leader).upgrade());
  REQUIRE(run(db, "INSERT INTO t VALUES(2)") == SQLITE_OK);
  REQUIRE(cluster.wait_until_even());
  CHECK(all_tell_one_history(cluster));
  for (const server_id id : cluster.servers()) {
    connection reader = cluster.connect(id);
    CHECK(number(reader, "SELECT sum(x) FROM t") == 3);
  }
}

TEST_CASE("a database is dropped though a COMMIT comes in between") {
  replica_cluster cluster({.seed = 54}, {.found = true});
  const server_id leader = cluster.wait_for_leader().value();
  connection db = cluster.connect(leader);
  REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
  bool dropped = false;
  cluster.simulation().spawn([&] {
    connection writer = cluster.connect(leader);
    while (!dropped) {
      static_cast<void>(run(writer, "CREATE TABLE IF NOT EXISTS u(x); INSERT INTO u VALUES(1)"));
    }
  });
  cluster.simulation().spawn([&] {
    CHECK_FALSE(cluster.replica(leader).drop("app.db"));
    dropped = true;
  });
  auto& world = cluster.simulation();
  CHECK(world.run_until([&] { return world.unfinished_clients() == 0; }, milliseconds{60'000}));
  CHECK(dropped);
}

TEST_CASE("64 clients in COMMIT at once interleave alike on fibers and on threads, for one seed") {
  const auto events_of = [](std::uint64_t seed, engine_kind engine) {
    replica_cluster cluster({.seed = seed, .engine = engine});
    const server_id leader = cluster.wait_for_leader().value();
    {
      connection db = cluster.connect(leader);
      REQUIRE(run(db, "CREATE TABLE t(client INT, n INT)") == SQLITE_OK);
    }
    int failures = 0;
    for (int client = 0; client < 64; ++client) {
      cluster.simulation().spawn([&, client] {
        connection db = cluster.connect(leader);
        for (int n = 0; n < 3; ++n) {
          const std::string sql =
              "INSERT INTO t VALUES(" + std::to_string(client) + "," + std::to_string(n) + ")";
          failures += run(db, sql) == SQLITE_OK ? 0 : 1;
        }
      });
    }
    REQUIRE(cluster.simulation().run_until(
        [&] { return cluster.simulation().unfinished_clients() == 0; }, milliseconds{60'000}));
    CHECK(failures == 0);
    REQUIRE(cluster.wait_until_even());
    CHECK(cluster.are_identical());
    connection db = cluster.connect(leader);
    CHECK(number(db, "SELECT count(DISTINCT client*100+n) FROM t") == 64 * 3);
    return cluster.simulation().event_hash();
  };
  const std::uint64_t fibers = events_of(11, engine_kind::fiber);
  CHECK(fibers == events_of(11, engine_kind::fiber));
  CHECK(fibers == events_of(11, engine_kind::handoff));
  CHECK(fibers != events_of(12, engine_kind::fiber));
}

}  // namespace replicas_test
