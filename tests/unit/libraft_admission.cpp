// What a server over libraft takes of its peers: nothing of another history, before it is
// acknowledged. Replicas on libraft's own fixture.

#include <sqlite3.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/replica.hpp"
#include "quorlite/storage/memory.hpp"
#include "support/libraft_disk.hpp"
#include "support/libraft_fixture.hpp"
#include "support/started_replica.hpp"

namespace {

using namespace quorlite;
using namespace quorlite::detail;
using quorlite::tests::fixture_disk;
using quorlite::tests::fixture_flaw;
using quorlite::tests::fixture_raft;
using quorlite::tests::fixture_simulation;
using node_type = quorlite::tests::started_replica<fixture_raft, memory_storage>;

/// Three replicas whose history has begun.
class cluster {
 public:
  explicit cluster(const libraft_options& options = fixture_simulation::default_options())
      : raft(3, fixture_flaw::none, options), storages_(3), nodes_(3) {
    for (std::size_t i = 0; i < 3; ++i) {
      nodes_[i].emplace(raft.node(i), storages_[i].emplace());
      REQUIRE_FALSE(nodes_[i]->status());
    }
    await_leader();
    write("CREATE TABLE t(x)");
    REQUIRE_FALSE(nodes_[leader]->upgrade());
  }
  cluster(const cluster&) = delete;
  cluster& operator=(const cluster&) = delete;
  ~cluster() {
    for (auto& node : nodes_) {
      node->stop();
    }
  }

  void await_leader() {
    REQUIRE(raft.run_until([this] {
      for (std::size_t i = 0; i < 3; ++i) {
        if (nodes_[i]->leader().leading) {
          leader = i;
          return true;
        }
      }
      return false;
    }));
  }
  [[nodiscard]] connection open(std::size_t server) {
    return std::move(*nodes_[server]->open("app.db"));
  }
  void write(const std::string& sql) {
    connection db = open(leader);
    REQUIRE(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK);
  }
  void insert(int rows) {
    for (int i = 0; i < rows; ++i) {
      write("INSERT INTO t VALUES(randomblob(300))");
    }
  }
  [[nodiscard]] std::int64_t rows_at(std::size_t server) {
    connection db = open(server);
    std::int64_t count = -1;
    const auto take = [](void* to, int, char** columns, char**) {
      *static_cast<std::int64_t*>(to) = std::stoll(columns[0]);
      return 0;
    };
    static_cast<void>(sqlite3_exec(db, "SELECT count(*) FROM t", take, &count, nullptr));
    return count;
  }
  [[nodiscard]] bool await_even(std::optional<std::size_t> but = std::nullopt) {
    return raft.run_until([&] {
      for (std::size_t i = 0; i < 3; ++i) {
        if (i != but && nodes_[i]->applied() != nodes_[leader]->applied()) {
          return false;
        }
      }
      return true;
    });
  }
  [[nodiscard]] std::size_t other() const noexcept { return (leader + 1) % 3; }
  [[nodiscard]] std::size_t third() const noexcept { return (leader + 2) % 3; }
  [[nodiscard]] std::vector<libraft_refused> refused_by(std::size_t server) {
    return raft.node(server).status().refused;
  }
  [[nodiscard]] std::uint64_t dropped_by(std::size_t server) {
    return raft.node(server).status().counters.messages_dropped;
  }
  [[nodiscard]] bool refuses(std::size_t server, std::size_t peer) {
    const auto all = refused_by(server);
    return all.size() == 1 && all[0].id == server_id{peer + 1};
  }
  [[nodiscard]] bool halted(std::size_t server) { return nodes_[server]->health().halted; }
  [[nodiscard]] bool leads(std::size_t server) { return nodes_[server]->leader().leading; }
  [[nodiscard]] bool is_engines_leader(std::size_t server) {
    return raft.engine(server)->state == RAFT_LEADER;
  }
  /// It stops, and begins again with that log and no databases.
  void exchange_folder(std::size_t server, const fixture_disk& disk) {
    raft.node(server).machine().go();
    nodes_[server]->stop();
    nodes_[server].reset();
    raft.renew(server);
    raft.disk(server).take(disk);
    nodes_[server].emplace(raft.node(server), storages_[server].emplace());
    REQUIRE_FALSE(nodes_[server]->status());
    raft.revive(server);
  }

  std::size_t leader = 0;
  fixture_simulation raft;

 private:
  std::vector<std::optional<memory_storage>> storages_;
  std::vector<std::optional<node_type>> nodes_;
};

libraft_options with_snapshots() {
  libraft_options options = fixture_simulation::default_options();
  options.snapshot_min_bytes = std::uint64_t{8} << 10U;
  options.snapshot_percent = 0;
  options.trailing_bytes = 1;
  return options;
}

}  // namespace

TEST_CASE("over libraft a leader with another folder gets no ack for a row, and is replaced") {
  const bool has_snapshot = GENERATE(false, true);
  cluster foreign(has_snapshot ? with_snapshots() : fixture_simulation::default_options());
  foreign.insert(60);
  REQUIRE(foreign.await_even());
  REQUIRE((foreign.raft.disk(foreign.leader).snapshot_index() > 0) == has_snapshot);

  cluster healthy;
  healthy.insert(5);
  REQUIRE(healthy.await_even());
  const std::size_t usurper = healthy.third();
  const std::size_t follower = healthy.other();
  const std::size_t before = healthy.leader;
  healthy.raft.isolate(before);
  healthy.exchange_folder(usurper, foreign.raft.disk(foreign.leader));
  healthy.raft.isolate(before);
  REQUIRE(healthy.raft.run_until([&] { return healthy.refuses(follower, usurper); }));
  CHECK(healthy.refused_by(follower)[0].at > log_index{});
  CHECK(healthy.dropped_by(follower) > 0);
  CHECK_FALSE(healthy.leads(usurper));
  healthy.raft.run_for(4000);
  CHECK_FALSE(healthy.is_engines_leader(usurper));

  healthy.raft.heal();
  healthy.raft.run_for(4000);
  healthy.await_leader();
  REQUIRE(healthy.leader != usurper);
  healthy.insert(3);
  REQUIRE(healthy.await_even(usurper));
  CHECK(healthy.rows_at(before) == 8);
  CHECK(healthy.rows_at(follower) == 8);
  CHECK_FALSE(healthy.halted(before));
  CHECK_FALSE(healthy.halted(follower));
  CHECK(healthy.refused_by(follower).size() == 1);  // said once
}

TEST_CASE("over libraft a refused server is heard again once it is readmitted") {
  cluster foreign;
  foreign.insert(30);
  REQUIRE(foreign.await_even());
  cluster healthy;
  healthy.insert(5);
  REQUIRE(healthy.await_even());
  const std::size_t usurper = healthy.third();
  const std::size_t follower = healthy.other();
  fixture_disk right(10);
  right.take(healthy.raft.disk(usurper));
  healthy.raft.isolate(healthy.leader);
  healthy.exchange_folder(usurper, foreign.raft.disk(foreign.leader));
  healthy.raft.isolate(healthy.leader);
  REQUIRE(healthy.raft.run_until([&] { return healthy.refuses(follower, usurper); }));
  healthy.exchange_folder(usurper, right);
  healthy.raft.heal();
  healthy.raft.run_for(6000);
  healthy.await_leader();
  CHECK(healthy.refuses(follower, usurper));
  for (std::size_t i = 0; i < 3; ++i) {
    healthy.raft.node(i).mail().readmitted.push_back(server_id{usurper + 1});
  }
  healthy.raft.run_for(4000);
  CHECK(healthy.refused_by(follower).empty());
  healthy.await_leader();
  healthy.insert(2);
  REQUIRE(healthy.await_even());
  CHECK(healthy.rows_at(usurper) == 7);
}

TEST_CASE("over libraft a leader that was only paused is heard again") {
  cluster all(GENERATE(false, true) ? with_snapshots() : fixture_simulation::default_options());
  all.insert(5);
  const std::size_t paused = all.leader;
  all.raft.isolate(paused);
  {
    connection db = all.open(paused);
    static_cast<void>(sqlite3_exec(db, "INSERT INTO t VALUES(1)", nullptr, nullptr, nullptr));
  }
  REQUIRE(all.raft.run_until(
      [&] { return all.leads((paused + 1) % 3) || all.leads((paused + 2) % 3); }));
  all.await_leader();
  REQUIRE(all.leader != paused);
  all.insert(40);
  all.raft.heal();
  REQUIRE(all.await_even());
  all.insert(3);
  REQUIRE(all.await_even());
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(all.refused_by(i).empty());
    CHECK_FALSE(all.halted(i));
    CHECK(all.rows_at(i) >= 48);
  }
}
