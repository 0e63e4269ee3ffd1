// Group commit through replica::write(), in a simulated cluster.
#include <sqlite3.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/testing/detail/raft/node.hpp"
#include "quorlite/testing/simulation.hpp"
#include "support/sql.hpp"

namespace group_writer_test {
namespace {

using namespace quorlite;

using namespace quorlite::detail;
using quorlite::testing::commit_phase;
using quorlite::testing::engine_kind;
using quorlite::testing::leadership_loss;
using quorlite::testing::replica_cluster;

write_result insert(replica_cluster& cluster, server_id at, std::int64_t value) {
  return cluster.replica(at).write("app.db", [value](sqlite3* db) {
    return run(db, "INSERT INTO t VALUES(" + std::to_string(value) + ")");
  });
}

server_id start(replica_cluster& cluster) {
  const server_id leader = cluster.wait_for_leader().value();
  connection db = cluster.connect(leader);
  REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
  return leader;
}

void finish_clients(replica_cluster& cluster, milliseconds limit = milliseconds{120'000}) {
  REQUIRE(cluster.simulation().run_until(
      [&cluster] { return cluster.simulation().unfinished_clients() == 0; }, limit));
}

std::string count_of(replica_cluster& cluster, server_id at, std::int64_t value) {
  return ask(cluster.connect(at), "SELECT count(*) FROM t WHERE x=" + std::to_string(value));
}

}  // namespace

TEST_CASE("64 clients in write() share transactions, on fibers and on threads alike") {
  const auto events_of = [](std::uint64_t seed, engine_kind kind) {
    replica_cluster cluster({.seed = seed, .engine = kind});
    const server_id leader = start(cluster);
    const std::uint64_t before = cluster.replica(leader).metrics().proposed.transactions;
    int failures = 0;
    for (int client = 0; client < 64; ++client) {
      cluster.simulation().spawn([&, client] {
        for (int n = 0; n < 4; ++n) {
          failures += insert(cluster, leader, client * 100 + n).ok() ? 0 : 1;
        }
      });
    }
    finish_clients(cluster);
    CHECK(failures == 0);
    CHECK(ask(cluster.connect(leader), "SELECT count(*), count(DISTINCT x) FROM t") == "256|256");
    const group_counters counted = cluster.replica(leader).metrics().groups;
    CHECK(counted.closures == 256);
    CHECK(counted.groups <= 32);  // four rounds, and some that go ahead of them
    CHECK(cluster.replica(leader).metrics().proposed.transactions - before == counted.groups);
    REQUIRE(cluster.wait_until_even());
    CHECK(cluster.are_identical());
    return cluster.simulation().event_hash();
  };
  const std::uint64_t fibers = events_of(21, engine_kind::fiber);
  CHECK(fibers == events_of(21, engine_kind::fiber));
  CHECK(fibers == events_of(21, engine_kind::handoff));
}

TEST_CASE("a leader that falls with groups on their way answers every closure truly") {
  const auto what =
      GENERATE(commit_phase::enqueued, commit_phase::appended, commit_phase::committed);
  const auto way = GENERATE(leadership_loss::step_down, leadership_loss::isolate);
  CAPTURE(static_cast<int>(what), static_cast<int>(way));
  replica_cluster cluster({.seed = 22});
  const server_id old_leader = start(cluster);
  cluster.simulation().depose_leader_when(
      what, cluster.simulation().node(old_leader).leading_state().commands + 2, way);
  std::vector<write_result> answers(40);
  for (std::size_t client = 0; client < answers.size(); ++client) {
    cluster.simulation().spawn([&, client] {
      answers[client] = insert(cluster, old_leader, static_cast<std::int64_t>(client));
    });
  }
  finish_clients(cluster);
  cluster.simulation().heal();
  const server_id leader = cluster.wait_for_leader().value();
  REQUIRE(!cluster.replica(leader).read_barrier());
  REQUIRE(cluster.wait_until_even());
  CHECK(cluster.are_identical());
  std::size_t unsure = 0;
  for (std::size_t client = 0; client < answers.size(); ++client) {
    const write_result& told = answers[client];
    CAPTURE(client, told.message);
    const bool is_there = count_of(cluster, leader, static_cast<std::int64_t>(client)) == "1";
    if (told.ok()) {
      CHECK(is_there);
    } else if (told.error == failure::not_applied) {
      CHECK_FALSE(is_there);
    } else {
      ++unsure;
      REQUIRE(told.error == failure::outcome_unknown);
      CHECK(cluster.replica(leader).outcome(told.id) ==
            (is_there ? transaction_outcome::committed : transaction_outcome::not_committed));
    }
  }
  CHECK(unsure > 0);
}

TEST_CASE("a writer of its own that sits there makes write() busy, and then it goes on") {
  replica_options impatient;
  impatient.group_connections.busy_timeout = milliseconds{50};
  replica_cluster cluster({.seed = 23}, impatient);
  const server_id leader = start(cluster);
  connection idle = cluster.connect(leader);
  REQUIRE(run(idle, "BEGIN IMMEDIATE") == SQLITE_OK);
  const write_result told = insert(cluster, leader, 1);
  CHECK(told.error == errc::busy);
  CHECK(told.code == SQLITE_BUSY);
  REQUIRE(run(idle, "ROLLBACK") == SQLITE_OK);
  CHECK(insert(cluster, leader, 2).ok());
  CHECK(ask(idle, "SELECT x FROM t") == "2");
}

TEST_CASE("write() in a closure of write() on the same database waits for itself, and is busy") {
  replica_options impatient;
  impatient.group_timeout = milliseconds{50};
  replica_cluster cluster({.seed = 27}, impatient);
  const server_id leader = start(cluster);
  write_result inner;
  const write_result outer = cluster.replica(leader).write("app.db", [&](sqlite3* db) {
    inner = insert(cluster, leader, 1);
    return run(db, "INSERT INTO t VALUES(2)");
  });
  CHECK(inner.error == errc::busy);
  CHECK(outer.ok());
  CHECK(ask(cluster.connect(leader), "SELECT x FROM t") == "2");
}

TEST_CASE("closures that get no turn are busy in time, and too many are so at once") {
  struct bounds {
    std::size_t waiting;
    milliseconds timeout;
    std::size_t busy;
  };
  const bounds each =
      GENERATE(bounds{100, milliseconds{50}, 5}, bounds{3, milliseconds{60'000}, 2});
  CAPTURE(each.waiting);
  replica_options few;
  few.group_waiting = each.waiting;
  few.group_timeout = each.timeout;
  few.groups = 1;
  replica_cluster cluster({.seed = 24}, few);
  const server_id leader = start(cluster);
  cluster.simulation().isolate(leader);  // the first group now waits for a quorum
  std::vector<write_result> answers(6);
  for (std::size_t client = 0; client < answers.size(); ++client) {
    cluster.simulation().spawn([&, client] {
      answers[client] = insert(cluster, leader, static_cast<std::int64_t>(client));
    });
  }
  finish_clients(cluster);
  std::size_t busy = 0;
  for (const write_result& told : answers) {
    CHECK_FALSE(told.ok());
    busy += told.error == errc::busy ? 1 : 0;
  }
  CHECK(busy == each.busy);  // the first is on its way
  cluster.simulation().heal();
  const server_id next = cluster.wait_for_leader().value();
  REQUIRE(cluster.wait_until_even());
  CHECK(insert(cluster, next, 99).ok());
}

TEST_CASE("write() tells what open() would, and lets out what its closure throws") {
  replica_cluster cluster({.seed = 25});
  const server_id leader = start(cluster);
  const auto nothing = [](sqlite3*) { return SQLITE_OK; };
  CHECK(cluster.replica(leader).write("../app.db", nothing).error == errc::invalid_name);
  for (const server_id id : cluster.servers()) {
    if (id != leader) {
      const write_result told = insert(cluster, id, 1);
      CHECK(told.error == errc::not_leader);
      CHECK(told.message.find("leader is") != std::string::npos);
    }
  }
  CHECK_THROWS_AS(cluster.replica(leader).write("app.db",
                                                [](sqlite3* db) -> int {
                                                  run(db, "INSERT INTO t VALUES(5)");
                                                  throw std::runtime_error("no");
                                                }),
                  std::runtime_error);
  CHECK(insert(cluster, leader, 6).ok());
  CHECK(ask(cluster.connect(leader), "SELECT x FROM t") == "6");
}

}  // namespace group_writer_test
