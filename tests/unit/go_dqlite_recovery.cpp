// After 10506, "outcome unknown", the new leader says what became of the transaction: committed,
// not committed, or expired, exactly, behind a read barrier. The answer survives restarts and
// snapshots. (go-dqlite's answer to this question was a stub that always said yes.)

#include <sqlite3.h>

#include <cstdint>
#include <string>

#include "catch2_shim.hpp"
#include "quorlite/error.hpp"
#include "quorlite/testing/detail/raft/node.hpp"
#include "quorlite/testing/simulation.hpp"
#include "support/sql.hpp"

namespace go_dqlite_recovery_test {
namespace {

using namespace quorlite;

using namespace quorlite::detail;
using quorlite::testing::commit_phase;
using quorlite::testing::leadership_loss;
using quorlite::testing::replica_cluster;

/// A transaction whose COMMIT was answered with 10506, and the leader after it.
struct lost_answer {
  transaction_id id;
  server_id old_leader;
  server_id leader;
  bool committed = false;  ///< as the rows say
};

server_id other_than(replica_cluster& cluster, server_id one, server_id two) {
  for (const server_id id : cluster.servers()) {
    if (id != one && id != two) {
      return id;
    }
  }
  return {};
}

/// Loses the answer to a COMMIT at the commit phase; another server leads then. The old leader
/// stays cut off until the test heals the cut.
lost_answer lose_an_answer(replica_cluster& cluster, commit_phase what) {
  lost_answer lost;
  lost.old_leader = cluster.wait_for_leader().value();
  connection db = cluster.connect(lost.old_leader);
  REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
  REQUIRE(cluster.wait_until_even());
  const std::uint64_t next =
      cluster.simulation().node(lost.old_leader).leading_state().commands + 1;
  cluster.simulation().depose_leader_when(what, next, leadership_loss::isolate);
  REQUIRE(run(db, "INSERT INTO t VALUES('lost')") == sqlite_outcome_unknown);
  REQUIRE(db.last_error() == errc::leadership_lost);
  lost.id = db.last_transaction();
  REQUIRE(lost.id != transaction_id{});

  lost.leader = cluster.wait_for_leader(lost.old_leader).value();
  REQUIRE(!cluster.replica(lost.leader).read_barrier());
  const connection there = cluster.connect(lost.leader);
  lost.committed = ask(there, "SELECT count(*) FROM t") == "1";
  return lost;
}

void heal(replica_cluster& cluster) {
  cluster.simulation().heal();
  REQUIRE(cluster.wait_until_even());
}

transaction_outcome expected_of(const lost_answer& lost) {
  return lost.committed ? transaction_outcome::committed : transaction_outcome::not_committed;
}

/// Asks as a client should: on whoever leads now, behind a barrier.
transaction_outcome ask_leader(replica_cluster& cluster, transaction_id id) {
  const server_id leader = cluster.wait_for_leader().value();
  REQUIRE(!cluster.replica(leader).read_barrier());
  return cluster.replica(leader).outcome(id);
}

void insert_rows(connection& db, int count) {
  for (int i = 0; i < count; ++i) {
    REQUIRE(run(db, "INSERT INTO t VALUES('more')") == SQLITE_OK);
  }
}

}  // namespace

TEST_CASE("after 10506 the new leader knows the outcome, and it is what the rows say") {
  const auto what = GENERATE(commit_phase::enqueued, commit_phase::appended);
  const std::uint64_t seed = GENERATE(21U, 22U, 23U, 24U);
  CAPTURE(static_cast<int>(what), seed);
  replica_cluster cluster({.seed = seed});
  const lost_answer lost = lose_an_answer(cluster, what);
  CHECK(lost.committed == (what == commit_phase::appended));
  CHECK(cluster.replica(lost.leader).outcome(lost.id) == expected_of(lost));
  heal(cluster);
  for (const server_id id : cluster.servers()) {  // a later term is applied everywhere
    CHECK(cluster.replica(id).outcome(lost.id) == expected_of(lost));
  }
}

TEST_CASE("until a later term is applied the answer is open, and the barrier is not given") {
  replica_cluster cluster({.seed = 25});
  const server_id old_leader = cluster.wait_for_leader().value();
  connection db = cluster.connect(old_leader);
  REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
  REQUIRE(cluster.wait_until_even());
  cluster.simulation().depose_leader_when(
      commit_phase::appended, cluster.simulation().node(old_leader).leading_state().commands + 1,
      leadership_loss::isolate);
  REQUIRE(run(db, "INSERT INTO t VALUES('lost')") == sqlite_outcome_unknown);
  const transaction_id id = db.last_transaction();

  // The server that lost its leadership is still cut off: it can say neither yes nor no.
  CHECK(cluster.replica(old_leader).read_barrier() == failure::not_applied);
  CHECK(cluster.replica(old_leader).outcome(id) == transaction_outcome::undecided);
  // The others may lead by now; one that follows does not give the barrier either.
  const server_id leader = cluster.wait_for_leader(old_leader).value();
  const server_id follower = other_than(cluster, leader, old_leader);
  CHECK(cluster.replica(follower).read_barrier() == failure::not_applied);
  CHECK(ask_leader(cluster, id) == transaction_outcome::committed);

  cluster.simulation().heal();
  REQUIRE(cluster.wait_until_even());
  CHECK(cluster.replica(old_leader).outcome(id) == transaction_outcome::committed);
}

TEST_CASE("an id that leadership has not given out yet is open, and no id at all is expired") {
  replica_cluster cluster({.seed = 26});
  const server_id leader = cluster.wait_for_leader().value();
  connection db = cluster.connect(leader);
  REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
  const transaction_id known = db.last_transaction();
  CHECK(cluster.replica(leader).outcome(known) == transaction_outcome::committed);
  // Not "not committed": it may be given out next.
  const transaction_id next{known.term, known.sequence + 1000};
  CHECK(ask_leader(cluster, next) == transaction_outcome::undecided);
  CHECK(ask_leader(cluster, {}) == transaction_outcome::expired);  // go-dqlite: "found", for id 0
}

TEST_CASE("the outcome survives a restart of every server from its storage and its log") {
  const auto what = GENERATE(commit_phase::enqueued, commit_phase::appended);
  const bool flushed = GENERATE(false, true);
  CAPTURE(static_cast<int>(what), flushed);
  replica_cluster cluster({.seed = 31});
  const lost_answer lost = lose_an_answer(cluster, what);
  {
    connection db = cluster.connect(lost.leader);
    insert_rows(db, 5);
  }
  heal(cluster);
  for (const server_id id : cluster.servers()) {
    if (flushed) {
      REQUIRE(!cluster.replica(id).flush());
    }
    cluster.crash(id);
  }
  for (const server_id id : cluster.servers()) {
    cluster.restart(id);
    if (flushed) {  // it is in the storage itself: no entry has been replayed yet
      CHECK(cluster.replica(id).outcome(lost.id) == expected_of(lost));
    }
  }
  CHECK(ask_leader(cluster, lost.id) == expected_of(lost));
  REQUIRE(cluster.wait_until_even());
  CHECK(cluster.are_identical());
  for (const server_id id : cluster.servers()) {
    CHECK(cluster.replica(id).outcome(lost.id) == expected_of(lost));
  }
}

TEST_CASE("a restart before anybody asked: the first leader after it knows") {
  const auto what = GENERATE(commit_phase::enqueued, commit_phase::appended);
  replica_cluster cluster({.seed = 32});
  const server_id old_leader = cluster.wait_for_leader().value();
  transaction_id id;
  {
    connection db = cluster.connect(old_leader);
    REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
    REQUIRE(cluster.wait_until_even());
    cluster.simulation().depose_leader_when(
        what, cluster.simulation().node(old_leader).leading_state().commands + 1,
        leadership_loss::crash);
    REQUIRE(run(db, "INSERT INTO t VALUES('lost')") == sqlite_outcome_unknown);
    id = db.last_transaction();
  }
  for (const server_id server : cluster.servers()) {
    cluster.crash(server);
    cluster.restart(server);
  }
  const transaction_outcome fate = ask_leader(cluster, id);
  const server_id leader = cluster.wait_for_leader().value();
  const connection there = cluster.connect(leader);
  const bool is_there = ask(there, "SELECT count(*) FROM t") == "1";
  CHECK(fate == (is_there ? transaction_outcome::committed : transaction_outcome::not_committed));
}

TEST_CASE("the outcome comes in a snapshot to the server that lost the answer and was away") {
  const auto what = GENERATE(commit_phase::enqueued, commit_phase::appended);
  CAPTURE(static_cast<int>(what));
  replica_cluster cluster(
      {.seed = 33, .compaction = {.threshold_entries = 8, .trailing_entries = 1}});
  const lost_answer lost = lose_an_answer(cluster, what);
  {
    connection db = cluster.connect(lost.leader);
    insert_rows(db, 30);
  }
  machine_counters counted = cluster.replica(lost.old_leader).metrics().machine;
  REQUIRE(counted.snapshots_installed == 0);
  REQUIRE(cluster.replica(lost.old_leader).outcome(lost.id) == transaction_outcome::undecided);
  heal(cluster);
  counted = cluster.replica(lost.old_leader).metrics().machine;
  REQUIRE(counted.snapshots_installed > 0);
  CHECK(cluster.replica(lost.old_leader).outcome(lost.id) == expected_of(lost));
  CHECK(cluster.are_identical());

  // And it answers as the leader, too, and after a restart from its own snapshot.
  cluster.crash(lost.old_leader);
  cluster.restart(lost.old_leader);
  for (int attempt = 0; attempt < 10 && cluster.simulation().leader() != lost.old_leader;
       ++attempt) {
    cluster.simulation().transfer(lost.old_leader);
    static_cast<void>(cluster.simulation().run_until(
        [&] { return cluster.simulation().leader() == lost.old_leader; }, milliseconds{1000}));
  }
  REQUIRE(cluster.wait_for_leader() == lost.old_leader);
  CHECK(ask_leader(cluster, lost.id) == expected_of(lost));
}

TEST_CASE("what is older than the outcomes that are kept is expired, on every replica alike") {
  replica_cluster cluster({.seed = 34});
  const lost_answer lost = lose_an_answer(cluster, commit_phase::appended);
  REQUIRE(lost.committed);
  transaction_id oldest_kept;
  {
    connection db = cluster.connect(lost.leader);
    // limits::outcomes transactions after the lost one push it out, and nothing more.
    for (std::size_t i = 0; i < limits::outcomes; ++i) {
      REQUIRE(run(db, "PRAGMA user_version=" + std::to_string(i + 1)) == SQLITE_OK);
      oldest_kept = i == 0 ? db.last_transaction() : oldest_kept;
      if (i + 2 == limits::outcomes) {  // one more, and it is gone
        CHECK(cluster.replica(lost.leader).outcome(lost.id) == transaction_outcome::committed);
      }
    }
  }
  heal(cluster);
  for (const server_id id : cluster.servers()) {
    CHECK(cluster.replica(id).outcome(lost.id) == transaction_outcome::expired);
    CHECK(cluster.replica(id).outcome(oldest_kept) == transaction_outcome::committed);
  }
  CHECK(ask_leader(cluster, lost.id) == transaction_outcome::expired);

  // Expired stays expired: after a restart from the storage, nobody says "not committed".
  const server_id victim = lost.old_leader;
  REQUIRE(!cluster.replica(victim).flush());
  cluster.crash(victim);
  cluster.restart(victim);
  CHECK(cluster.replica(victim).outcome(lost.id) == transaction_outcome::expired);
  REQUIRE(cluster.wait_until_even());
  CHECK(cluster.replica(victim).outcome(oldest_kept) == transaction_outcome::committed);
}

}  // namespace go_dqlite_recovery_test
