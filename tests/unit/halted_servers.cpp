// A replica that halts gives up leadership, whatever it met and on whatever thread:
// over the test Raft, with files on faulty disks; and what the engine is told of it.
#include <sqlite3.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/error.hpp"
#include "quorlite/quorlite.hpp"
#include "quorlite/storage/file_system.hpp"
#include "quorlite/testing/detail/raft/node.hpp"
#include "quorlite/testing/faulty_disk.hpp"
#include "quorlite/testing/simulation.hpp"
#include "support/manual_consensus.hpp"
#include "support/sql.hpp"

namespace halted_servers_test {
namespace {

using namespace quorlite;

using namespace quorlite::detail;
using quorlite::testing::faulty_file_system;
using quorlite::testing::raft_options;
using quorlite::testing::replica_cluster;
using quorlite::testing::server_storage;
using quorlite::tests::bench;

/// Three servers with files, and 200 rows that are flushed on each of them.
struct filed_cluster {
  /// @param withdrawal_max how late the engine of a leader may leave
  explicit filed_cluster(std::uint64_t seed, milliseconds withdrawal_max = {})
      : cluster({.seed = seed, .raft = {.withdrawal_max = withdrawal_max}},
                {.commit_timeout = milliseconds{5000}}, {.storage = server_storage::files}) {
    leader = cluster.wait_for_leader().value();
    {
      connection db = cluster.connect(leader);
      REQUIRE(run(db, "CREATE TABLE t(k INTEGER PRIMARY KEY, v)") == SQLITE_OK);
      REQUIRE(run(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 200) "
                      "INSERT INTO t SELECT i, randomblob(1000) FROM n") == SQLITE_OK);
    }
    REQUIRE(cluster.wait_until_even());
    for (const server_id id : cluster.servers()) {
      REQUIRE_FALSE(cluster.replica(id).flush());
    }
  }

  /// A server that is behind nobody leads.
  void let_lead(server_id id) {
    auto& world = cluster.simulation();
    REQUIRE(cluster.wait_until_even());
    REQUIRE(world.run_until(
        [&] {
          if (world.leader() != id) {
            world.transfer(id);
          }
          return world.leader() == id && cluster.replica(id).leader().leading;
        },
        milliseconds{20'000}));
    leader = id;
  }

  /// The leader has just halted: another one leads in time, takes writes, and this one is silent.
  void check_another_leads(std::error_code why) {
    auto& world = cluster.simulation();
    const milliseconds longest = raft_options{}.election_timeout_max;
    const std::uint64_t halted_us = world.now_us();
    const health told = cluster.replica(leader).health();
    INFO(told.what);
    CHECK(told.halted);
    CHECK(told.error == why);
    CHECK_FALSE(cluster.replica(leader).leader().leading);
    const auto next = cluster.wait_for_leader(leader, milliseconds{20'000});
    REQUIRE(next.has_value());
    CHECK(world.now_us() - halted_us <= 2 * longest.value * 1000);
    CHECK_FALSE(world.running(leader));
    connection db = cluster.connect(*next);
    CHECK(run(db, "INSERT INTO t(v) VALUES('after')") == SQLITE_OK);
    world.run_for(milliseconds{3000});
    CHECK(world.leader() != leader);
    CHECK_FALSE(cluster.replica(leader).leader().leading);
    CHECK(cluster.replica(leader).leader().leader_hint.empty());
    connection there = cluster.connect(leader);
    CHECK(run(there, "INSERT INTO t(v) VALUES('refused')") == sqlite_not_leader);
    CHECK_FALSE(world.violation());
  }

  replica_cluster cluster;
  server_id leader;
};

}  // namespace

TEST_CASE("a leader that reads a damaged page gives up leadership, and another one takes writes",
          "[halt]") {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    INFO("seed " << seed);
    filed_cluster at(seed);
    const server_id id = at.leader;
    at.cluster.crash(id);
    at.cluster.restart(id);  // nothing of the database is in memory any more
    REQUIRE(at.cluster.disk(id).damage("app.db", 30 * 4096 + 999));
    at.let_lead(id);
    {
      connection db = at.cluster.connect(id);
      CHECK(ask(db, "SELECT sum(length(v)) FROM t") == "!" + std::to_string(SQLITE_CORRUPT));
    }
    at.check_another_leads(make_error_code(errc::corrupt));
  }
}

TEST_CASE(
    "whichever call of the disk fails in a leader's flush, another one leads and takes writes",
    "[halt]") {
  std::uint64_t failures = 0;
  for (std::uint64_t after = 0;; ++after) {
    INFO("call " << after);
    filed_cluster at(7);
    {
      connection db = at.cluster.connect(at.leader);
      REQUIRE(run(db, "UPDATE t SET v = randomblob(900) WHERE k % 20 = 0") == SQLITE_OK);
    }
    at.cluster.fail_disk_call(at.leader, after);
    const std::error_code error = at.cluster.replica(at.leader).flush();
    if (!error) {
      break;  // it has fewer calls
    }
    CHECK(error == errc::storage_broken);
    at.check_another_leads(make_error_code(errc::storage_broken));
    ++failures;
  }
  CHECK(failures > 3);
}

TEST_CASE(
    "a file that is in the way of a new database costs a leader its leadership, not the cluster",
    "[halt]") {
  filed_cluster at(3);
  {
    faulty_file_system files(at.cluster.disk(at.leader));
    auto stranger = files.open("other.db", open_mode::or_create);
    REQUIRE(stranger.has_value());
    const bytes some(4096, std::byte{7});
    const bytes_view part(some);
    REQUIRE_FALSE(stranger->write(0, {&part, 1}));
  }
  {
    connection db = at.cluster.connect(at.leader, "other.db");
    REQUIRE(run(db, "CREATE TABLE o(x); INSERT INTO o VALUES(1)") == SQLITE_OK);
  }
  CHECK(at.cluster.replica(at.leader).flush());
  at.check_another_leads(at.cluster.replica(at.leader).health().error);
  connection db = at.cluster.connect(at.cluster.wait_for_leader(at.leader).value(), "other.db");
  CHECK(ask(db, "SELECT x FROM o") == "1");
}

TEST_CASE(
    "a COMMIT that waits when its leader halts is unknown, and the next leader knows its fate",
    "[halt]") {
  int committed = 0;
  int lost = 0;
  for (std::uint64_t step = 0; step < 40; ++step) {
    INFO("step " << step);
    filed_cluster at(11);
    auto& world = at.cluster.simulation();
    connection db = at.cluster.connect(at.leader);
    REQUIRE(run(db, "UPDATE t SET v = 'to be flushed' WHERE k = 1") == SQLITE_OK);
    int code = SQLITE_OK;
    const auto client = world.spawn([&] { code = run(db, "INSERT INTO t VALUES(1000, 'it')"); });
    for (std::uint64_t i = 0; i < step && !world.finished(client); ++i) {
      world.step();
    }
    at.cluster.fail_disk_call(at.leader);
    const bool had_ended = world.finished(client);
    static_cast<void>(at.cluster.replica(at.leader).flush());
    REQUIRE(world.run_until([&] { return world.finished(client); }, milliseconds{20'000}));
    if (had_ended || !at.cluster.replica(at.leader).health().halted) {
      continue;  // answered before, or nothing to flush yet
    }
    const server_id next = at.cluster.wait_for_leader(at.leader).value();
    connection there = at.cluster.connect(next);
    const bool is_there = ask(there, "SELECT count(*) FROM t WHERE k = 1000") == "1";
    if (code == sqlite_not_leader) {
      CHECK_FALSE(is_there);
      ++lost;
    } else if (code == SQLITE_OK) {
      CHECK(is_there);  // it was answered before, and had no turn yet to see it
    } else {
      REQUIRE(code == sqlite_outcome_unknown);
      const transaction_id id = db.last_transaction();
      REQUIRE_FALSE(at.cluster.replica(next).read_barrier());
      const transaction_outcome told = at.cluster.replica(next).outcome(id);
      CHECK(told ==
            (is_there ? transaction_outcome::committed : transaction_outcome::not_committed));
      ++(is_there ? committed : lost);
    }
  }
  CHECK(committed > 0);
}

TEST_CASE("a halted leader whose followers are gone or behind leaves after an election timeout",
          "[halt]") {
  filed_cluster at(5);
  auto& world = at.cluster.simulation();
  connection db = at.cluster.connect(at.leader);
  REQUIRE(run(db, "UPDATE t SET v = 'x' WHERE k = 1") == SQLITE_OK);
  world.isolate(at.leader);
  at.cluster.fail_disk_call(at.leader);
  REQUIRE(at.cluster.replica(at.leader).flush());
  CHECK(world.run_until([&] { return !world.running(at.leader); },
                        raft_options{}.election_timeout_min));
}

TEST_CASE("who waits behind a barrier is told of a halt at once, however late the engine leaves",
          "[halt]") {
  filed_cluster at(17, milliseconds{100});
  auto& world = at.cluster.simulation();
  {
    connection db = at.cluster.connect(at.leader);
    REQUIRE(run(db, "UPDATE t SET v = 'x' WHERE k = 1") == SQLITE_OK);  // what is to be flushed
  }
  world.isolate(at.leader);
  std::optional<std::error_code> answer;
  world.spawn([&] { answer = at.cluster.replica(at.leader).read_barrier(milliseconds{1000}); });
  world.run_for(milliseconds{1});
  CHECK_FALSE(answer);
  at.cluster.fail_disk_call(at.leader);
  REQUIRE(at.cluster.replica(at.leader).flush());
  world.run_for(milliseconds{1});
  CHECK(world.running(at.leader));
  REQUIRE(answer);
  CHECK(*answer == errc::halted);
}

TEST_CASE("a follower that reads a damaged page is out at once, and the others go on", "[halt]") {
  filed_cluster at(13);
  server_id follower = at.leader;
  for (const server_id id : at.cluster.servers()) {
    follower = id != at.leader ? id : follower;
  }
  at.cluster.crash(follower);
  at.cluster.restart(follower);  // nothing of the database is in memory any more
  REQUIRE(at.cluster.wait_until_even());
  REQUIRE(at.cluster.disk(follower).damage("app.db", 30 * 4096 + 999));
  {
    connection reader = at.cluster.connect(follower);
    CHECK(ask(reader, "SELECT sum(length(v)) FROM t") == "!" + std::to_string(SQLITE_CORRUPT));
  }
  auto& world = at.cluster.simulation();
  CHECK(at.cluster.replica(follower).health().error == errc::corrupt);
  CHECK(world.run_until([&] { return !world.running(follower); }, milliseconds{1}));
  connection db = at.cluster.connect(at.leader);
  CHECK(run(db, "INSERT INTO t(v) VALUES('the others go on')") == SQLITE_OK);
  world.run_for(milliseconds{3000});
  CHECK(at.cluster.replica(at.leader).leader().leading);
  CHECK_FALSE(world.violation());
}

// ---- what the engine hears

TEST_CASE("the engine is told of a halt once, when the machine's lock is free again", "[halt]") {
  bench one;
  std::vector<bool> seen;
  one.machine().state().lock().tell_engine(one.port());
  one.engine.on_withdraw = [&] { seen.push_back(one->health().halted); };  // takes the lock
  one.lead(1);
  SECTION("an entry that is damaged") {
    bytes entry = bench::encoded({{term{1}, 1}, open_command{"a.db"}});
    entry[entry.size() / 2] ^= std::byte{1};
    CHECK(one.apply_next(entry, term{1}) == apply_result::halted);
  }
  SECTION("a hole in the log") {
    CHECK(one.apply({{log_index{9}, term{1}}, {}}) == apply_result::halted);
  }
  CHECK(seen == std::vector<bool>{true});
  CHECK(one.apply_next(bytes{}, term{1}) == apply_result::halted);
  CHECK(one.engine.withdrawals == 1);
}

TEST_CASE("a machine without an engine, or whose replica has ended, tells nobody", "[halt]") {
  bench one;
  one.machine().state().lock().tell_engine(one.port());
  one.machine().state().lock().be_silent();
  CHECK(one.apply({{log_index{9}, term{1}}, {}}) == apply_result::halted);
  CHECK(one.engine.withdrawals == 0);
}

}  // namespace halted_servers_test
