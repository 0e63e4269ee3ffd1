// A simulated cluster: processes, disks, and faults at exact phases.

#include <sqlite3.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/error.hpp"
#include "quorlite/testing/simulation.hpp"
#include "support/sql.hpp"

namespace simulation_test {
namespace {

using namespace quorlite;
using quorlite::testing::crash_kind;
using quorlite::testing::replica_cluster;
using quorlite::testing::server_phase;
using quorlite::testing::server_storage;
using quorlite::testing::simulation_options;

constexpr server_storage every_storage[] = {server_storage::memory, server_storage::volatile_memory,
                                            server_storage::files, server_storage::double_write};

/// Writes so many rows on whoever leads.
server_id write_rows(replica_cluster& cluster, int count) {
  const server_id leader = cluster.wait_for_leader().value();
  connection db = cluster.connect(leader);
  REQUIRE(run(db, "CREATE TABLE IF NOT EXISTS t(x)") == SQLITE_OK);
  for (int row = 0; row < count; ++row) {
    REQUIRE(run(db, "INSERT INTO t VALUES(" + std::to_string(row) + ")") == SQLITE_OK);
  }
  return leader;
}

server_id follower_of(replica_cluster& cluster, server_id leader) {
  const std::vector<server_id> all = cluster.servers();
  return *std::find_if(all.begin(), all.end(), [&](server_id id) { return id != leader; });
}

log_index durable(replica_cluster& cluster, server_id id) {
  return cluster.replica(id).metrics().durable.index;
}

/// All replicas are up, and have so many rows.
void check_rows(replica_cluster& cluster, int count) {
  REQUIRE(cluster.wait_for_leader().has_value());
  REQUIRE(cluster.wait_until_even());
  CHECK(cluster.are_identical());
  for (const server_id id : cluster.servers()) {
    REQUIRE(cluster.is_up(id));
    CHECK(ask(cluster.connect(id), "SELECT count(*) FROM t") == std::to_string(count));
  }
}

/// Remembers which phases each server was at.
class phase_list final : public quorlite::testing::cluster_observer {
 public:
  void moved(server_id /*server*/, log_position to) noexcept override {
    goes_on = goes_on && to.index.value > 0;
    ++moves;
  }
  void installed(server_id /*server*/, log_position /*to*/) noexcept override { ++installs; }
  void reached(server_id server, server_phase what) noexcept override {
    all.emplace_back(server, what);
  }
  /// Those of one server, the same one after the other told once.
  [[nodiscard]] std::vector<server_phase> of(server_id server) const {
    std::vector<server_phase> its;
    for (const auto& [who, what] : all) {
      if (who == server && (its.empty() || its.back() != what)) {
        its.push_back(what);
      }
    }
    return its;
  }

  std::vector<std::pair<server_id, server_phase>> all;
  bool goes_on = true;
  int moves = 0;
  int installs = 0;
};

}  // namespace

TEST_CASE("servers come back from a killed process, whatever they keep their pages in") {
  for (const server_storage kind : every_storage) {
    CAPTURE(static_cast<int>(kind));
    replica_cluster cluster({.seed = 11}, {}, {.storage = kind});
    const server_id leader = write_rows(cluster, 5);
    REQUIRE(cluster.wait_until_even());
    for (const server_id id : cluster.servers()) {
      REQUIRE_FALSE(cluster.replica(id).flush());
      cluster.crash(id);
      CHECK_FALSE(cluster.is_up(id));
      CHECK(cluster.hold(id) == nullptr);
    }
    for (const server_id id : cluster.servers()) {
      cluster.restart(id);
      const bool forgets = kind == server_storage::volatile_memory;
      CHECK((durable(cluster, id).value == 0) == forgets);
    }
    check_rows(cluster, 5);
    CHECK(cluster.wait_for_leader(leader, milliseconds{1}).has_value() ==
          (cluster.simulation().leader() != leader));
  }
}

TEST_CASE(
    "a killed process leaves what it wrote, lost power what was synced, lost storage nothing") {
  using quorlite::testing::faulty_disk;
  const auto bytes_of = [](const faulty_disk& disk) {
    std::uint64_t sum = 0;
    for (const std::string& path : disk.files()) {
      sum += disk.content(path).size();
    }
    return sum;
  };
  replica_cluster cluster({.seed = 12, .replicas = 1}, {}, {.storage = server_storage::files});
  const server_id only = write_rows(cluster, 3);
  cluster.when(server_phase::flush_written, [&](server_id id) { cluster.crash(id); });
  CHECK(cluster.replica(only).flush() == failure::fatal);
  const std::uint64_t written = bytes_of(cluster.disk(only));
  CHECK(cluster.disk(only).pending() > 0);
  CHECK(written > 0);

  std::uint64_t least = written;
  std::uint64_t most = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    replica_cluster again({.seed = seed, .replicas = 1}, {}, {.storage = server_storage::files});
    const server_id id = write_rows(again, 3);
    again.when(server_phase::flush_written,
               [&](server_id whom) { again.crash(whom, crash_kind::power_lost); });
    CHECK(again.replica(id).flush() == failure::fatal);
    CHECK(again.disk(id).pending() == 0);
    least = std::min(least, bytes_of(again.disk(id)));
    most = std::max(most, bytes_of(again.disk(id)));
    again.restart(id);
    check_rows(again, 3);
  }
  CHECK(least < written);
  CHECK(most == written);

  cluster.crash(only, crash_kind::power_lost);  // it is down already: it loses more
  CHECK(cluster.disk(only).pending() == 0);
  cluster.crash(only, crash_kind::storage_lost);
  CHECK(cluster.disk(only).files().empty());
  cluster.restart(only);
  CHECK(durable(cluster, only).value == 0);
  check_rows(cluster, 3);
}

TEST_CASE("a crash at a phase of a flush leaves the position before it or behind it") {
  for (const server_storage kind :
       {server_storage::memory, server_storage::files, server_storage::double_write}) {
    for (const server_phase phase :
         {server_phase::flush_begun, server_phase::flush_written, server_phase::flush_committed}) {
      for (const crash_kind how : {crash_kind::killed, crash_kind::power_lost}) {
        CAPTURE(static_cast<int>(kind), static_cast<int>(phase), static_cast<int>(how));
        replica_cluster cluster({.seed = 13, .replicas = 1}, {}, {.storage = kind});
        const server_id only = write_rows(cluster, 2);
        REQUIRE_FALSE(cluster.replica(only).flush());
        const log_index before = durable(cluster, only);
        write_rows(cluster, 2);
        const log_index head = cluster.replica(only).applied().index;
        int met = 0;
        cluster.when(phase, [&](server_id id) {
          ++met;
          cluster.crash(id, how);
        });
        CHECK(cluster.replica(only).flush() == failure::fatal);
        CHECK(met == 1);
        CHECK_FALSE(cluster.is_up(only));
        cluster.restart(only);
        CHECK(durable(cluster, only) == (phase == server_phase::flush_committed ? head : before));
        check_rows(cluster, 4);
      }
    }
  }
}

TEST_CASE("phases are told in order, and each of a snapshot and a restore can be crashed at") {
  const simulation_options snapshots{
      .seed = 14,
      .raft = {.chunk_bytes = 512},
      .compaction = {.threshold_entries = 6, .trailing_entries = 1, .read_bytes = 1024}};
  using p = server_phase;
  const p of_snapshot[] = {p::snapshot_taken, p::snapshot_read, p::snapshot_finished};
  const p of_restore[] = {p::restore_begun, p::restore_appended, p::restore_finished,
                          p::restore_installed};
  {
    phase_list seen;
    replica_cluster cluster(snapshots, {}, {server_storage::files, &seen});
    const server_id leader = cluster.wait_for_leader().value();
    const server_id late = follower_of(cluster, leader);
    cluster.crash(late);
    cluster.simulation().run_for(milliseconds{1});
    write_rows(cluster, 30);
    cluster.restart(late);
    check_rows(cluster, 30);
    CHECK(seen.installs == 1);
    CHECK(seen.goes_on);
    CHECK(seen.moves > 60);
    const std::vector<p> told = seen.of(late);
    CHECK(std::search(told.begin(), told.end(), std::begin(of_restore), std::end(of_restore)) !=
          told.end());
    const std::vector<p> its = seen.of(leader);
    CHECK(std::search(its.begin(), its.end(), std::begin(of_snapshot), std::end(of_snapshot)) !=
          its.end());
  }
  const auto crash_at = [&](server_phase phase, std::uint64_t ordinal, bool at_start) {
    CAPTURE(static_cast<int>(phase), ordinal, at_start);
    replica_cluster cluster(snapshots, {}, {server_storage::files, nullptr});
    const server_id leader = cluster.wait_for_leader().value();
    const server_id late = follower_of(cluster, leader);
    const bool restores = phase >= p::restore_begun;
    if (restores && !at_start) {
      cluster.crash(late);
      cluster.simulation().run_for(milliseconds{1});
      write_rows(cluster, 30);
    }
    int met = 0;
    cluster.when(
        phase,
        [&](server_id id) {
          ++met;
          CHECK(id == late);
          cluster.crash(id, crash_kind::power_lost);
        },
        ordinal, late);
    if (!restores) {
      write_rows(cluster, 30);
    } else if (at_start) {  // it restores what its own log begins with
      write_rows(cluster, 30);
      REQUIRE(cluster.wait_until_even());
      cluster.crash(late, crash_kind::storage_lost);
      cluster.simulation().run_for(milliseconds{1});
      CHECK(cluster.start(late) == errc::stopped);
    } else {
      cluster.restart(late);
      cluster.simulation().run_for(milliseconds{2000});
    }
    CHECK(met == 1);
    CHECK_FALSE(cluster.is_up(late));
    cluster.simulation().run_for(milliseconds{200});
    cluster.restart(late);
    check_rows(cluster, 30);
  };
  for (const p phase : of_snapshot) {
    crash_at(phase, 1, false);
    crash_at(phase, 2, false);
  }
  for (const p phase : of_restore) {
    crash_at(phase, 1, false);
    crash_at(phase, 1, true);
  }
  crash_at(p::restore_appended, 4, false);
  crash_at(p::restore_appended, 4, true);
}

TEST_CASE("a full disk heals, a failing call halts, and a crash during a call is noticed") {
  replica_cluster cluster({.seed = 15}, {}, {.storage = server_storage::files});
  const server_id leader = write_rows(cluster, 3);
  REQUIRE(cluster.wait_until_even());

  cluster.fill_disk(leader);
  CHECK(cluster.replica(leader).flush() == errc::storage_full);
  CHECK(cluster.is_up(leader));
  cluster.heal_disk(leader);
  CHECK_FALSE(cluster.replica(leader).flush());
  CHECK(durable(cluster, leader) == cluster.replica(leader).applied().index);

  const server_id second = follower_of(cluster, leader);
  cluster.fail_disk_call(second);
  CHECK(cluster.replica(second).flush() == errc::storage_broken);
  CHECK(cluster.replica(second).health().halted);
  CHECK(cluster.is_up(second));
  cluster.crash(second);
  cluster.simulation().run_for(milliseconds{100});
  cluster.restart(second);  // a fault of one call ends with the process

  write_rows(cluster, 2);
  REQUIRE(cluster.wait_until_even());
  cluster.crash_during_disk_call(second, 1);
  CHECK(cluster.replica(second).flush());
  CHECK_FALSE(cluster.is_up(second));
  cluster.crash_during_disk_call(second, 2);  // of the process that comes
  CHECK(cluster.start(second) == errc::stopped);
  cluster.restart(second);
  check_rows(cluster, 5);

  cluster.fill_disk(leader);
  cluster.crash_during_disk_call(leader);
  cluster.simulation().isolate(leader);
  cluster.when(server_phase::flush_begun, [&](server_id id) { cluster.crash(id); });
  cluster.heal();
  write_rows(cluster, 0);
  CHECK_FALSE(cluster.replica(leader).flush());
  check_rows(cluster, 5);
}

TEST_CASE("a server that is stopped in good order has all of it in its files, and is gone") {
  for (const server_storage kind :
       {server_storage::memory, server_storage::files, server_storage::double_write}) {
    replica_cluster cluster({.seed = 21}, {}, {.storage = kind});
    const server_id leader = write_rows(cluster, 3);
    REQUIRE(cluster.wait_until_even());
    const log_index applied = cluster.replica(leader).applied().index;
    CHECK(durable(cluster, leader) < applied);
    CHECK_FALSE(cluster.stop(leader));
    CHECK_FALSE(cluster.is_up(leader));
    CHECK(cluster.stop(leader) == errc::stopped);
    cluster.simulation().run_for(milliseconds{100});
    cluster.crash(leader, crash_kind::power_lost);  // of the machine where nothing runs
    cluster.restart(leader);
    CHECK(durable(cluster, leader) >= applied);
    check_rows(cluster, 3);
  }
}

TEST_CASE("a stop in good order tells what came of it, and may meet a crash") {
  replica_cluster cluster({.seed = 22}, {}, {.storage = server_storage::files});
  const server_id leader = write_rows(cluster, 3);
  REQUIRE(cluster.wait_until_even());
  const server_id second = follower_of(cluster, leader);
  cluster.fail_disk_call(second);
  CHECK(cluster.stop(second) == errc::storage_broken);
  cluster.restart(second);
  REQUIRE(cluster.wait_until_even());
  write_rows(cluster, 1);
  REQUIRE(cluster.wait_until_even());
  cluster.when(server_phase::flush_written, [&](server_id id) { cluster.crash(id); });
  CHECK(cluster.stop(second) == errc::stopped);
  CHECK_FALSE(cluster.is_up(second));
  cluster.restart(second);
  check_rows(cluster, 4);
}

TEST_CASE("a stop in good order may meet a crash in a flush that was begun before") {
  replica_cluster cluster({.seed = 24}, {.flush_bytes = 1}, {.storage = server_storage::files});
  const server_id leader = write_rows(cluster, 3);
  REQUIRE(cluster.wait_until_even());
  cluster.when(server_phase::flush_begun, [&](server_id id) { cluster.crash(id); });
  REQUIRE_FALSE(cluster.replica(leader).maintain());  // in the background, a moment from now
  CHECK(cluster.stop(leader) == errc::stopped);
  CHECK_FALSE(cluster.is_up(leader));
  cluster.simulation().run_for(milliseconds{10});
  cluster.restart(leader);
  check_rows(cluster, 3);
}

TEST_CASE("a halted replica stays up if it is to, and goes on reading") {
  for (const bool stays : {false, true}) {
    replica_cluster cluster({.seed = 23}, {},
                            {.storage = server_storage::files, .halted_stay_up = stays});
    const server_id leader = write_rows(cluster, 3);
    REQUIRE(cluster.wait_until_even());
    const server_id second = follower_of(cluster, leader);
    const auto held = cluster.hold(second);
    cluster.fail_disk_call(second);
    CHECK(held->flush() == errc::storage_broken);
    cluster.simulation().run_for(milliseconds{100});
    CHECK_FALSE(cluster.simulation().running(second));
    CHECK(cluster.is_up(second) == stays);
    if (stays) {
      CHECK(ask(cluster.connect(second), "SELECT count(*) FROM t") == "3");
      CHECK(cluster.stop(second));
    }
    CHECK_FALSE(cluster.is_up(second));
  }
}

TEST_CASE("a slow disk holds its server up, and others lead meanwhile") {
  for (const std::uint64_t call_us : {std::uint64_t{0}, std::uint64_t{100'000}}) {
    CAPTURE(call_us);
    replica_cluster cluster({.seed = 16}, {}, {.storage = server_storage::files});
    const server_id leader = write_rows(cluster, 3);
    REQUIRE(cluster.wait_until_even());
    cluster.slow_disk(leader, call_us);
    REQUIRE_FALSE(cluster.replica(leader).flush());
    const bool moved = cluster.wait_for_leader(leader, milliseconds{900}).has_value();
    CHECK(moved == (call_us > 0));
    cluster.heal_disk(leader);
    check_rows(cluster, 3);
  }
}

TEST_CASE("whoever holds a replica keeps its memory, which answers as a stopped one does") {
  replica_cluster cluster({.seed = 17}, {}, {.storage = server_storage::files});
  const server_id leader = write_rows(cluster, 3);
  const std::shared_ptr<replica> held = cluster.hold(leader);
  connection db = cluster.connect(leader);
  cluster.crash(leader);
  cluster.restart(leader);
  CHECK(cluster.hold(leader) != held);
  CHECK(run(db, "INSERT INTO t VALUES(9)") != SQLITE_OK);
  CHECK(db.last_error() == failure::not_applied);
  CHECK(held->flush());  // its disk is another's by now
  check_rows(cluster, 3);
}

TEST_CASE("clients inside a COMMIT are answered when their server crashes at a phase") {
  replica_options often;
  often.memory_bytes = std::size_t{64} << 10U;  // a COMMIT flushes before it goes on
  replica_cluster cluster({.seed = 18}, often, {.storage = server_storage::files});
  write_rows(cluster, 1);
  int crashes = 0;
  int rows = 1;
  for (std::uint64_t round = 1; round <= 6; ++round) {
    cluster.when(
        server_phase::flush_written,
        [&](server_id id) {
          ++crashes;
          cluster.crash(id, crash_kind::power_lost);
          cluster.simulation().after(milliseconds{50}, [&cluster, id] { cluster.restart(id); });
        },
        round);
    const server_id leader = cluster.wait_for_leader().value();
    bool done = false;
    cluster.simulation().spawn([&] {
      const std::shared_ptr<replica> here = cluster.hold(leader);
      connection db = cluster.connect(leader);
      for (int i = 0; i < 20 && cluster.hold(leader) == here; ++i) {
        const bool is_in = run(db, "INSERT INTO t VALUES(randomblob(9000))") == SQLITE_OK;
        rows += is_in ? 1 : 0;
        cluster.simulation().sleep(milliseconds{5});
        static_cast<void>(here->maintain());
      }
      done = true;
    });
    REQUIRE(cluster.simulation().run_until([&] { return done; }, milliseconds{120'000}));
    cluster.simulation().run_for(milliseconds{100});
  }
  CHECK(crashes > 0);
  REQUIRE(cluster.wait_for_leader().has_value());
  REQUIRE(cluster.wait_until_even());
  CHECK(cluster.are_identical());
  const int found = std::stoi(ask(cluster.connect(server_id{1}), "SELECT count(*) FROM t"));
  CHECK(found >= rows);
  CHECK(found <= rows + crashes);
}

TEST_CASE("one seed is one run, with disks, crashes and phases") {
  const auto run_once = [](std::uint64_t seed) {
    replica_cluster cluster({.seed = seed, .compaction = {.threshold_entries = 8}}, {},
                            {.storage = server_storage::files});
    for (const auto phase : {server_phase::snapshot_taken, server_phase::flush_written}) {
      cluster.when(phase, [&](server_id id) {
        cluster.crash(id, crash_kind::power_lost);
        cluster.simulation().after(milliseconds{300}, [&cluster, id] { cluster.restart(id); });
      });
    }
    cluster.simulation().spawn([&] {
      for (int i = 0; i < 40; ++i) {
        const std::optional<server_id> leader = cluster.simulation().leader();
        if (const auto here = leader ? cluster.hold(*leader) : nullptr) {
          connection db = cluster.connect(*leader);
          static_cast<void>(run(db, "CREATE TABLE IF NOT EXISTS t(x)"));
          static_cast<void>(run(db, "INSERT INTO t VALUES(" + std::to_string(i) + ")"));
          static_cast<void>(here->flush());
        }
        cluster.simulation().sleep(milliseconds{60});
      }
    });
    cluster.simulation().run_for(milliseconds{20'000});
    REQUIRE(cluster.wait_for_leader().has_value());
    REQUIRE(cluster.wait_until_even());
    CHECK(cluster.are_identical());
    return std::pair(cluster.simulation().event_hash(), cluster.simulation().events());
  };
  const auto first = run_once(19);
  CHECK(run_once(19) == first);
  CHECK(run_once(20) != first);
}

TEST_CASE("a connection that saw a database dropped sees the next one of its name") {
  replica_cluster cluster({.replicas = 1}, {}, {.storage = server_storage::volatile_memory});
  static_cast<void>(cluster.wait_for_leader());
  const server_id alone{1};
  const connection kept = cluster.connect(alone, "again.db");
  for (const char* const number : {"1", "2", "3"}) {
    const std::string column = std::string("c") + number;
    REQUIRE(run(cluster.connect(alone, "again.db"), "CREATE TABLE t(" + column + ")") == SQLITE_OK);
    CHECK(ask(kept, "SELECT group_concat(name) FROM pragma_table_info('t')") == column);
    CHECK(ask(kept, "SELECT count(*) FROM t") == "0");
    REQUIRE_FALSE(cluster.replica(alone).drop("again.db"));
    CHECK(ask(kept, "SELECT count(*) FROM t") == "!1");
  }
}

TEST_CASE(
    "under double write a crash may spoil what lay in the same 4096 bytes, and harms nobody") {
  const server_id alone{1};
  const auto byte_of = [alone](replica_cluster& cluster, std::uint64_t at) {
    std::byte value{};
    for (const std::string& file : cluster.disk(alone).files()) {
      if (file.ends_with("app.db")) {
        static_cast<void>(cluster.disk(alone).content(file).read(at, {&value, 1}));
      }
    }
    return value;
  };
  int spoiled = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    INFO("seed " << seed);
    replica_cluster cluster({.seed = seed, .replicas = 1}, {},
                            {.storage = server_storage::double_write, .large_sectors = true});
    static_cast<void>(cluster.wait_for_leader());
    connection db = cluster.connect(alone, "app.db");
    REQUIRE(run(db, "CREATE TABLE t(x); INSERT INTO t VALUES(zeroblob(20000))") == SQLITE_OK);
    REQUIRE_FALSE(cluster.replica(alone).flush());
    std::vector<std::byte> before;
    for (std::uint64_t at = 0; at < 20'000; ++at) {
      before.push_back(byte_of(cluster, at));
    }
    REQUIRE(run(db, "UPDATE t SET x = zeroblob(20001)") == SQLITE_OK);
    cluster.when(server_phase::flush_committed,
                 [&](server_id id) { cluster.crash(id, crash_kind::power_lost); });
    cluster.crash_during_disk_call(alone, 8 + seed % 12);
    static_cast<void>(cluster.replica(alone).flush());
    db = connection{};
    cluster.crash(alone, crash_kind::power_lost);
    for (std::uint64_t at = 0; at < before.size(); ++at) {
      spoiled += byte_of(cluster, at) == (before[at] ^ std::byte{0x5A}) ? 1 : 0;
    }
    cluster.simulation().run_for(milliseconds{10});
    cluster.restart(alone);
    static_cast<void>(cluster.wait_for_leader());
    CHECK(ask(cluster.connect(alone, "app.db"), "PRAGMA integrity_check") == "ok");
  }
  CHECK(spoiled > 0);
}

TEST_CASE("a dropped database leaves no file behind, whenever the power goes") {
  const auto files_of_it = [](replica_cluster& cluster, server_id id) {
    std::string left;
    for (const std::string& file : cluster.disk(id).files()) {
      left += file.ends_with("gone.db") ? file + " " : "";
    }
    return left;
  };
  const server_id alone{1};
  for (std::uint64_t calls = 0; calls < 60; ++calls) {
    INFO("power lost in disk call " << calls << " of the drop, and again");
    replica_cluster cluster({.seed = calls + 1, .replicas = 1}, {},
                            {.storage = server_storage::files});
    write_rows(cluster, 1);
    REQUIRE(run(cluster.connect(alone, "gone.db"), "CREATE TABLE g(x)") == SQLITE_OK);
    REQUIRE_FALSE(cluster.replica(alone).flush());
    REQUIRE(files_of_it(cluster, alone) != "");
    REQUIRE_FALSE(cluster.replica(alone).drop("gone.db"));
    cluster.crash_during_disk_call(alone, calls);
    static_cast<void>(cluster.replica(alone).flush());
    if (cluster.is_up(alone)) {  // the next flush forgets that there was something to remove
      write_rows(cluster, 1);
      static_cast<void>(cluster.replica(alone).flush());
    }
    for (int again = 0; again < 2; ++again) {
      cluster.crash(alone, crash_kind::power_lost);
      cluster.simulation().run_for(milliseconds{10});
      cluster.restart(alone);
      write_rows(cluster, 1);
      REQUIRE_FALSE(cluster.replica(alone).flush());
    }
    CHECK(files_of_it(cluster, alone) == "");
  }
}

}  // namespace simulation_test
