// What a server of the test Raft refuses to start on, and what it does not; and servers whose disk
// was lost.

#include <sqlite3.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/testing/detail/raft/node.hpp"
#include "quorlite/testing/simulation.hpp"

namespace test_raft_start_check_test {
namespace {

using namespace quorlite;
using quorlite::testing::crash_kind;
using quorlite::testing::replica_cluster;
using quorlite::testing::server_storage;
using quorlite::testing::start_check;
using quorlite::testing::detail::raft_log;
using quorlite::testing::detail::server_disk;
using quorlite::testing::detail::stored_entry;

/// Three servers with files, and what they look at.
class checked_cluster {
 public:
  explicit checked_cluster(start_check checks, std::uint64_t snapshots_every = 0)
      : cluster_({.seed = 3,
                  .raft = {.checks = checks},
                  .compaction = {.threshold_entries = snapshots_every, .trailing_entries = 2}},
                 founding(), {.storage = server_storage::files}) {
    write("CREATE TABLE t(x)");
  }
  [[nodiscard]] replica_cluster* operator->() noexcept { return &cluster_; }
  [[nodiscard]] testing::simulation& raft() noexcept { return cluster_.simulation(); }

  void write(const std::string& sql) {
    int code = sqlite_not_leader;
    for (int i = 0; i < 20 && code == sqlite_not_leader; ++i) {
      connection db = cluster_.connect(cluster_.wait_for_leader().value());
      code = sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr);
      raft().run_for(milliseconds{code == SQLITE_OK ? 0U : 300U});
    }
    REQUIRE(code == SQLITE_OK);
  }
  void insert(int rows) {
    for (int i = 0; i < rows; ++i) {
      write("INSERT INTO t VALUES(randomblob(100))");
    }
  }
  /// Somebody who does not lead is down, with all of it flushed if that is said.
  server_id take_one_down(bool flushed = true) {
    REQUIRE(cluster_.wait_until_even());
    const server_id whom{cluster_.wait_for_leader() == server_id{1} ? 2U : 1U};
    if (flushed) {
      REQUIRE_FALSE(cluster_.replica(whom).flush());
    }
    cluster_.crash(whom);
    raft().run_for(milliseconds{5});
    cluster_.take_down(whom);
    return whom;
  }
  [[nodiscard]] server_disk& disk(server_id id) { return raft().disk_to_prepare(id); }

 private:
  static replica_options founding() {
    replica_options each;
    each.found = true;
    return each;
  }
  replica_cluster cluster_;
};

/// The log with other entries.
template <class Change>
void change_log(server_disk& disk, Change&& change) {
  std::vector<stored_entry> entries;
  for (log_index at = disk.log.first_index(); at <= disk.log.last_index(); at = at.next()) {
    entries.push_back(disk.log.at(at));
  }
  std::forward<Change>(change)(entries);
  raft_log made;
  made.reset(disk.log.base(), disk.log.configured_at(disk.log.base().index).members);
  for (stored_entry& each : entries) {
    made.append(std::move(each));
  }
  made.mark_synced(made.last_index());
  disk.log = std::move(made);
}

void lose_the_tenth(std::vector<stored_entry>& entries) { entries.erase(entries.begin() + 9); }

}  // namespace

TEST_CASE("a server whose folder is whole is let go on, however closely it is looked at") {
  checked_cluster cluster(start_check::log_end, GENERATE(0U, 7U));
  for (int round = 0; round < 8; ++round) {
    cluster.insert(4);
    const server_id whom = cluster.take_one_down(round % 3 == 0);
    cluster.insert(round);
    REQUIRE_FALSE(cluster->start(whom));
  }
  REQUIRE(cluster->wait_until_even());
  CHECK(cluster->are_identical());
}

TEST_CASE("a folder that is another server's, a copy or empty is refused by its own error") {
  checked_cluster cluster(start_check::folder);
  cluster.insert(3);
  const server_id whom = cluster.take_one_down();
  const server_disk right = cluster.disk(whom);
  errc expected{};
  SECTION("another server's") {
    cluster.disk(whom) = cluster.raft().node(server_id{3}).disk();
    expected = errc::another_server;
  }
  SECTION("a copy") {
    ++cluster.disk(whom).note.seal;
    expected = errc::copied;
  }
  SECTION("empty") {
    cluster.disk(whom) = {};
    expected = errc::not_founded;
  }
  CHECK(cluster->start(whom) == expected);
  cluster.disk(whom) = right;
  CHECK_FALSE(cluster->start(whom));
}

TEST_CASE("a log that is not the one of the databases is refused by its own error") {
  checked_cluster cluster(start_check::history);
  cluster.insert(30);
  const server_id whom = cluster.take_one_down();
  server_disk& disk = cluster.disk(whom);
  errc expected{};
  SECTION("it ends before them") {
    change_log(disk, [](auto& entries) { entries.resize(20); });
    expected = errc::log_too_short;
  }
  SECTION("it lost an entry in the middle") {
    change_log(disk, lose_the_tenth);
    expected = errc::diverged;
  }
  SECTION("a bit of it changed") {
    change_log(disk, [](auto& entries) { entries[15].payload[40] ^= std::byte{1}; });
    expected = errc::log_damaged;
  }
  SECTION("its term is older than its entries") {
    disk.term = {};
    expected = errc::log_damaged;
  }
  CHECK(cluster->start(whom) == expected);
}

TEST_CASE("what was noted of the end of a log is missed where no database tells of it") {
  checked_cluster cluster(start_check::log_end);
  cluster.insert(30);
  cluster.raft().run_for(milliseconds{2'000});
  const server_id whom = cluster.take_one_down(false);
  server_disk& disk = cluster.disk(whom);
  errc expected{};
  SECTION("it was cut") {
    change_log(disk, [](auto& entries) { entries.pop_back(); });
    expected = errc::log_too_short;
  }
  SECTION("an entry has moved down, and another one was made up at the end") {
    change_log(disk, [](auto& entries) {
      lose_the_tenth(entries);
      entries.push_back(entries.back());
    });
    expected = errc::log_damaged;
  }
  SECTION("the vote is another one") {
    disk.voted_for = server_id{disk.voted_for.value + 1};
    expected = errc::log_damaged;
  }
  CHECK(cluster->start(whom) == expected);
}

TEST_CASE("a folder that names its cluster does not start on the log of another one") {
  checked_cluster cluster(start_check::history);
  cluster.insert(5);
  const server_id whom = cluster.take_one_down();
  REQUIRE(cluster.disk(whom).note.begun != history_identity{});
  cluster.disk(whom).note.begun.cluster.low ^= 1U;
  CHECK(cluster->start(whom) == errc::another_cluster);
}

TEST_CASE("a log without the snapshot that it begins behind is refused") {
  checked_cluster cluster(start_check::history, 7);
  cluster.insert(30);
  const server_id whom = cluster.take_one_down(false);
  REQUIRE(cluster.disk(whom).log.base().index > log_index{});
  cluster.disk(whom).snapshot.reset();
  CHECK(cluster->start(whom) == errc::log_starts_late);
}

TEST_CASE("who lost its disk comes back as another server, and the cluster is whole again") {
  checked_cluster cluster(start_check::folder);
  cluster.insert(10);
  const server_id lost = cluster.take_one_down();
  cluster->crash(lost, crash_kind::storage_lost);
  cluster.disk(lost) = {};
  REQUIRE(cluster->start(lost) == errc::not_founded);

  const server_id fresh = cluster.raft().add_machine();
  CHECK(fresh == server_id{4});
  REQUIRE_FALSE(cluster->start(fresh));
  cluster.raft().run_for(milliseconds{2'000});
  CHECK(cluster.raft().node(fresh).term() == term{});  // nobody asks it, and it asks nobody
  const auto is_done = [&] {
    static_cast<void>(cluster.raft().remove_server(lost));
    static_cast<void>(cluster.raft().add_server(fresh));
    static_cast<void>(cluster.raft().promote(fresh));
    return !cluster.raft().members().has(lost) && cluster.raft().members().has_voter(fresh);
  };
  REQUIRE(cluster.raft().run_until(is_done, milliseconds{20'000}));
  cluster.insert(3);
  REQUIRE(cluster->wait_until_even());
  CHECK(cluster->are_identical());
  CHECK_FALSE(cluster.raft().violation());
}

}  // namespace test_raft_start_check_test
