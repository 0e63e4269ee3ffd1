// Those who look after the servers of the simulator: what they may not spoil, nor wait for.
#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "catch2_shim.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/quorlite.hpp"
#include "quorlite/testing/simulation.hpp"
#include "simulate/damage.hpp"
#include "simulate/plan.hpp"
#include "simulate/servers.hpp"
#include "support/sql.hpp"

namespace simulated_operators_test {
namespace {

using quorlite::milliseconds;
using quorlite::server_id;
using simulate::damage_kind;
using simulate::damaged;
using simulate::folder;
using simulate::servers;

/// Nothing befalls them, and nobody is refused a start for what the log alone tells.
simulate::plan quiet_plan(std::uint32_t replicas, simulate::storage_kind storage) {
  simulate::plan made;
  made.world.seed = made.seed;
  made.world.replicas = replicas;
  made.world.raft.checks = quorlite::testing::start_check::folder;
  made.storage = storage;
  made.lock_byte = quorlite::replica_options{}.lock_byte;
  made.memory_bytes = std::uint64_t{64} << 20U;
  made.flush_bytes = std::uint64_t{64} << 20U;
  made.entry_bytes = std::size_t{1} << 20U;
  made.in_flight_bytes = std::size_t{64} << 20U;
  return made;
}

struct looked_after {
  explicit looked_after(const simulate::plan& chosen) : all(chosen) { REQUIRE(is_mended(10'000)); }

  /// Operators do what they can. @returns whether all stand where the leader stands in time
  [[nodiscard]] bool is_mended(std::uint64_t limit_ms) {
    return all.run_until(
        [&] {
          all.look_after_damage();
          for (const server_id id : all.ids()) {
            all.start(id);
            all.maintain(id);
          }
          return all.is_even(all.ids());
        },
        milliseconds{limit_ms});
  }
  /// On whoever leads. @param rows of 1000 bytes each, in a transaction of its own each time
  void write(int times, int rows) {
    const std::shared_ptr<simulate::process> leader = all.running(*all.leader());
    auto db = leader->replica().open("a.sqlite");
    REQUIRE(db.has_value());
    REQUIRE(run(*db, "CREATE TABLE IF NOT EXISTS t(x)") == SQLITE_OK);
    for (int each = 0; each < times; ++each) {
      REQUIRE(run(*db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT " +
                           std::to_string(rows) +
                           ") INSERT INTO t SELECT randomblob(1000) FROM n") == SQLITE_OK);
    }
  }
  [[nodiscard]] std::uint64_t term() { return all.world().node(*all.leader()).term().value; }
  [[nodiscard]] server_id any_follower() {
    for (const server_id id : all.ids()) {
      if (id != *all.leader()) {
        return id;
      }
    }
    return {};
  }
  /// It is down for a moment, and has an older folder when it comes back.
  void roll_back(server_id id, const folder& older) {
    all.crash(id, simulate::crash_kind::killed);
    damaged what;
    what.kind = damage_kind::folder_rolled_back;
    what.before = all.folder_of(id);
    all.damage(id, older, std::move(what));
    all.start(id);
  }

  servers all;
};

}  // namespace

TEST_CASE("a lone server of the simulator that has halted is restarted though nothing happens") {
  looked_after cluster(quiet_plan(1, simulate::storage_kind::files));
  cluster.write(1, 10);
  const server_id id{1};
  cluster.all.cluster().fail_disk_call(id, 0, std::errc::io_error);
  cluster.all.had_disk_fault(id, simulate::disk_fault::broken);
  REQUIRE(cluster.all.running(id)->replica().flush());
  REQUIRE(cluster.all.running(id)->replica().health().halted);
  CHECK(cluster.is_mended(10'000));
}

TEST_CASE("a damaged server of the simulator that gets a long snapshot gets all of it") {
  simulate::plan chosen = quiet_plan(3, simulate::storage_kind::volatile_memory);
  chosen.world.raft.chunk_bytes = 512;
  chosen.world.compaction.threshold_entries = 5;
  chosen.world.compaction.trailing_entries = 5;
  looked_after cluster(chosen);
  const server_id id = cluster.any_follower();
  const folder older = cluster.all.folder_of(id);
  cluster.write(30, 100);
  REQUIRE(cluster.is_mended(10'000));
  cluster.roll_back(id, older);
  const std::uint64_t begun_us = cluster.all.world().now_us();
  const std::uint64_t term = cluster.term();
  CHECK(cluster.is_mended(60'000));
  // Once another one came to lead: the first leader took it to have what it had before. What
  // follows takes longer than operators are patient with one that stands.
  CHECK(cluster.term() == term + 1);
  CHECK(cluster.all.world().now_us() - begun_us > 9'000'000);
}

TEST_CASE("a damaged server of the simulator that is taken for complete is helped on") {
  simulate::plan chosen = quiet_plan(3, simulate::storage_kind::volatile_memory);
  looked_after cluster(chosen);
  const server_id id = cluster.any_follower();
  const folder older = cluster.all.folder_of(id);
  cluster.write(5, 1);
  REQUIRE(cluster.is_mended(10'000));
  cluster.roll_back(id, older);
  const std::uint64_t term = cluster.term();
  CHECK(cluster.is_mended(30'000));
  CHECK(cluster.term() > term);
}

}  // namespace simulated_operators_test
