// Servers of the test Raft that come back with another cluster's log, and what the others make of
// them before anything is acknowledged.

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/testing/detail/raft/node.hpp"
#include "quorlite/testing/simulation.hpp"
#include "support/checking_machine.hpp"
#include "support/lone_environment.hpp"
#include "support/told_machine.hpp"

namespace test_raft_histories_test {
namespace {

using namespace quorlite;
using quorlite::testing::crash_kind;
using quorlite::testing::replica_cluster;
using quorlite::testing::simulation_options;

constexpr milliseconds a_while{3'000};

/// A cluster whose history has begun, and that has so many rows.
class cluster_with_rows {
 public:
  explicit cluster_with_rows(const simulation_options& options) : cluster_(options) {
    leader_ = cluster_.wait_for_leader().value();
    write("CREATE TABLE t(x)");
    REQUIRE_FALSE(cluster_.replica(leader_).upgrade());
  }

  [[nodiscard]] replica_cluster& operator*() noexcept { return cluster_; }
  [[nodiscard]] replica_cluster* operator->() noexcept { return &cluster_; }
  [[nodiscard]] testing::simulation& raft() noexcept { return cluster_.simulation(); }
  [[nodiscard]] server_id leader() const noexcept { return leader_; }
  void find_leader() { leader_ = cluster_.wait_for_leader().value(); }

  void write(const std::string& sql) {
    int code = sqlite_not_leader;
    for (int i = 0; i < 10 && code == sqlite_not_leader; ++i) {
      find_leader();
      connection db = cluster_.connect(leader_);
      code = sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr);
      raft().run_for(milliseconds{code == SQLITE_OK ? 0U : 300U});  // it may have to be replaced
    }
    REQUIRE(code == SQLITE_OK);
  }
  void insert(int rows) {
    for (int i = 0; i < rows; ++i) {
      write("INSERT INTO t VALUES(randomblob(100))");
    }
  }
  [[nodiscard]] std::int64_t rows_at(server_id id) {
    connection db = cluster_.connect(id);
    std::int64_t count = -1;
    const auto take = [](void* to, int, char** columns, char**) {
      *static_cast<std::int64_t*>(to) = std::stoll(columns[0]);
      return 0;
    };
    static_cast<void>(sqlite3_exec(db, "SELECT count(*) FROM t", take, &count, nullptr));
    return count;
  }
  /// The followers, ascending.
  [[nodiscard]] std::vector<server_id> others() {
    std::vector<server_id> all;
    for (const server_id each : cluster_.servers()) {
      if (each != leader_) {
        all.push_back(each);
      }
    }
    return all;
  }
  /// The process of this server ends, and finds that disk and no databases when it begins again.
  void exchange_folder(server_id id, const testing::detail::server_disk& disk) {
    cluster_.crash(id, crash_kind::storage_lost);
    raft().run_for(milliseconds{5});
    cluster_.take_down(id);
    raft().disk_to_prepare(id) = disk;
    REQUIRE_FALSE(cluster_.start(id));
  }
  [[nodiscard]] bool refuses(server_id id, server_id peer) {
    for (const testing::refused_server& each : raft().refused_by(id)) {
      if (each.server == peer) {
        return true;
      }
    }
    return false;
  }
  [[nodiscard]] bool nobody_is_refused() {
    for (const server_id each : cluster_.servers()) {
      if (!raft().refused_by(each).empty()) {
        return false;
      }
    }
    return true;
  }
  [[nodiscard]] bool halted(server_id id) { return cluster_.replica(id).health().halted; }

 private:
  replica_cluster cluster_;
  server_id leader_;
};

/// The disk of some server of another cluster, with so many rows.
testing::detail::server_disk disk_of_another_cluster(int rows, std::uint64_t snapshots_every = 0) {
  cluster_with_rows other(
      {.seed = 99, .compaction = {.threshold_entries = snapshots_every, .trailing_entries = 2}});
  other.insert(rows);
  REQUIRE(other->wait_until_even());
  return other.raft().node(other.leader()).disk();
}

/// The same log in later terms.
void raise_terms(testing::detail::server_disk& disk, std::uint64_t by) {
  const auto raised = [by](term in) { return term{in.value + by}; };
  const testing::detail::raft_log& log = disk.log;
  testing::detail::raft_log later{log.configured_at(log.base().index).members};
  if (disk.snapshot != nullptr) {
    testing::detail::stored_snapshot snapshot = *disk.snapshot;
    snapshot.at.term = raised(snapshot.at.term);
    disk.snapshot = std::make_shared<const testing::detail::stored_snapshot>(std::move(snapshot));
    later.reset({log.base().index, raised(log.base().term)}, disk.snapshot->members);
  }
  for (log_index i = log.first_index(); i <= log.last_index(); i = i.next()) {
    testing::detail::stored_entry entry = log.at(i);
    entry.term = raised(entry.term);
    later.append(std::move(entry));
  }
  later.mark_synced(later.last_index());
  disk.log = std::move(later);
  disk.term = raised(disk.term);
}

/// Of the followers, one gets that disk and leads as soon as the leader is away; the other one is
/// asked for its acknowledgement.
struct usurpation {
  server_id healthy;
  server_id usurper;

  usurpation(cluster_with_rows& in, const testing::detail::server_disk& disk) {
    healthy = in.others()[0];
    usurper = in.others()[1];
    in.raft().isolate(in.leader());
    in.exchange_folder(usurper, disk);
    in.raft().run_until([&] { return in.refuses(healthy, usurper); }, milliseconds{20'000});
  }
};

void check_replaced(cluster_with_rows& cluster, const usurpation& by, std::int64_t rows) {
  REQUIRE(cluster.refuses(by.healthy, by.usurper));
  CHECK(cluster.raft().node(by.usurper).role() == testing::detail::raft_role::leader);
  CHECK_FALSE(cluster.raft().node(by.usurper).announced());
  cluster.raft().run_for(a_while);
  CHECK(cluster.raft().node(by.usurper).role() != testing::detail::raft_role::leader);

  cluster.raft().heal();
  cluster.find_leader();
  REQUIRE(cluster.leader() != by.usurper);
  cluster.insert(3);
  cluster.raft().run_for(a_while);
  for (const server_id each : cluster->servers()) {
    if (each != by.usurper) {
      CHECK(cluster.rows_at(each) == rows + 3);
      CHECK_FALSE(cluster.halted(each));
    }
  }
}

}  // namespace

TEST_CASE("a leader with another folder gets no ack for a row, and is replaced") {
  const std::uint64_t seed = GENERATE(1U, 2U, 3U, 4U);
  cluster_with_rows cluster({.seed = seed});
  cluster.insert(5);
  REQUIRE(cluster->wait_until_even());
  SECTION("its log is in a higher term") {
    testing::detail::server_disk disk = disk_of_another_cluster(40);
    raise_terms(disk, 20);
    const usurpation by(cluster, disk);
    check_replaced(cluster, by, 5);
  }
  SECTION("its terms are alike") {
    const usurpation by(cluster, disk_of_another_cluster(40));
    check_replaced(cluster, by, 5);
  }
  SECTION("it has a snapshot, and no entries below it") {
    const usurpation by(cluster, disk_of_another_cluster(40, 8));
    check_replaced(cluster, by, 5);
  }
}

TEST_CASE("a server with another folder takes nothing of the healthy leader") {
  cluster_with_rows cluster({.seed = 5});
  cluster.insert(60);
  REQUIRE(cluster->wait_until_even());
  const server_id foreign = cluster.others()[1];
  cluster.exchange_folder(foreign, disk_of_another_cluster(30));
  cluster.raft().transfer(cluster.others()[0]);  // a new leader asks what its followers have
  cluster.raft().run_for(a_while);
  cluster.insert(3);
  cluster.raft().run_for(a_while);
  CHECK(cluster.refuses(foreign, cluster.leader()));
  CHECK(cluster.raft().node(foreign).applied_index() == log_index{});
  CHECK(cluster.rows_at(cluster.leader()) == 63);
}

TEST_CASE("a server with another folder acknowledges nothing that lies before its log begins") {
  cluster_with_rows cluster({.seed = 8});
  cluster.insert(5);
  REQUIRE(cluster->wait_until_even());
  testing::detail::server_disk disk = disk_of_another_cluster(40, 8);
  raise_terms(disk, 20);
  const server_id foreign = cluster.others()[1];
  cluster.exchange_folder(foreign, disk);
  cluster.raft().transfer(cluster.others()[0]);  // who knows nothing of what its followers have
  cluster.raft().run_for(a_while);
  cluster.insert(3);
  cluster.raft().run_for(a_while);
  cluster.find_leader();
  REQUIRE(cluster.leader() != foreign);
  const auto& followers = cluster.raft().node(cluster.leader()).leading_state().followers;
  for (const auto& each : followers) {
    CHECK((each.match == log_index{}) == (each.server == foreign));
  }
  CHECK_FALSE(cluster.raft().violation());
}

TEST_CASE("a server that was just started takes no snapshot of another cluster than its own") {
  cluster_with_rows cluster(
      {.seed = 9, .compaction = {.threshold_entries = 8, .trailing_entries = 2}});
  cluster.insert(60);
  REQUIRE(cluster->wait_until_even());
  testing::detail::server_disk disk = disk_of_another_cluster(20);
  raise_terms(disk, 20);
  const server_id foreign = cluster.others()[1];
  cluster.exchange_folder(foreign, disk);
  cluster.raft().transfer(cluster.others()[0]);
  cluster.raft().run_until([&] { return !cluster.raft().refused_by(foreign).empty(); }, a_while);
  CHECK(cluster.raft().refused_by(foreign).size() == 1);
  CHECK(cluster.raft().node(foreign).applied_index() == log_index{});
  CHECK(cluster.raft().node(foreign).disk().log.last_index() == disk.log.last_index());
}

TEST_CASE("a server that was just started takes no snapshot that lacks what its folder names") {
  cluster_with_rows cluster({.seed = 9});
  cluster.insert(5);
  REQUIRE(cluster->wait_until_even());
  const testing::detail::server_disk disk = cluster.raft().node(cluster.leader()).disk();
  const log_index begins = disk.note.begun.begins_at;
  REQUIRE(begins > log_index{1});
  const tests::told_machine blank;  // with databases in memory
  testing::detail::raft_admission admission;
  testing::detail::snapshot_request ask;
  const auto is_taken = [&](log_position at) {
    ask.at = at;
    return admission.admits({server_id{9}, server_id{1}, disk.term, ask}, disk, blank);
  };
  const log_index before{begins.value - 1};
  CHECK(is_taken({before, disk.log.term_at(before)}));  // which the log has: nothing comes of it
  CHECK(admission.refused().empty());
  const log_position beyond{log_index{disk.log.last_index().value + 9}, disk.term};
  SECTION("of a cluster that was never upgraded") {
    CHECK_FALSE(is_taken(beyond));
    CHECK(admission.refused().size() == 1);
  }
  SECTION("as of the very entry") {
    CHECK_FALSE(is_taken({begins, disk.log.term_at(begins)}));
    CHECK(admission.refused().size() == 1);
  }
}

TEST_CASE("a snapshot of what a server applied before its restart is not installed") {
  cluster_with_rows cluster({.seed = 9});
  REQUIRE(cluster->wait_until_even());
  tests::lone_environment around;
  tests::record shared;
  tests::kept_state kept;
  tests::checking_machine machine{server_id{1}, shared, kept};
  const simulation_options options{.replicas = 3};
  testing::detail::raft_node node{server_id{1}, options, around, testing::detail::random{1}};
  node.disk_to_prepare() = cluster.raft().node(cluster.leader()).disk();
  const testing::detail::server_disk& disk = node.disk();
  REQUIRE_FALSE(node.start(machine));
  REQUIRE(node.applied_index() == log_index{});
  const log_index before{disk.note.begun.begins_at.value - 1};
  testing::detail::snapshot_request ask;
  ask.at = {before, disk.log.term_at(before)};
  ask.total_bytes = 100;
  ask.chunk = bytes(50);
  node.receive({server_id{2}, server_id{1}, disk.term, ask});
  REQUIRE(around.sent.size() == 1);
  CHECK(std::get<testing::detail::snapshot_reply>(around.sent[0].body).installed);
  CHECK(machine.stages_begun == 0);
  node.crash();
}

TEST_CASE("a server with a short log and a high term is never elected, and disturbs nobody") {
  cluster_with_rows cluster({.seed = 6});
  cluster.insert(40);
  REQUIRE(cluster->wait_until_even());
  testing::detail::server_disk disk = disk_of_another_cluster(10, 8);
  raise_terms(disk, 50);
  const server_id foreign = cluster.others()[1];
  cluster.exchange_folder(foreign, disk);
  for (int i = 0; i < 5; ++i) {
    cluster.raft().isolate(cluster.leader());
    CHECK_FALSE(cluster.raft().run_until(
        [&] { return cluster.raft().node(foreign).role() == testing::detail::raft_role::leader; },
        a_while));
    cluster.raft().heal();
    cluster.find_leader();
    REQUIRE(cluster.leader() != foreign);
    cluster.insert(1);
  }
  CHECK(cluster.rows_at(cluster.leader()) == 45);
}

TEST_CASE("a refused server is heard again once its right folder is back and it is readmitted") {
  cluster_with_rows cluster({.seed = 7});
  cluster.insert(5);
  REQUIRE(cluster->wait_until_even());
  const usurpation by(cluster, disk_of_another_cluster(40));
  REQUIRE(cluster.refuses(by.healthy, by.usurper));
  cluster.raft().heal();
  cluster.find_leader();
  REQUIRE(cluster.leader() != by.usurper);

  testing::detail::server_disk empty;
  empty.log = testing::detail::raft_log{testing::detail::configuration::of_voters(3)};
  cluster.exchange_folder(by.usurper, empty);
  cluster.raft().run_for(a_while);
  cluster.insert(2);
  cluster.raft().run_for(a_while);
  REQUIRE(cluster.refuses(by.healthy, by.usurper));
  for (const server_id each : cluster->servers()) {
    cluster.raft().readmit(each, by.usurper);
  }
  CHECK(cluster.nobody_is_refused());
  REQUIRE(cluster->wait_until_even());
  for (const server_id each : cluster->servers()) {
    CHECK(cluster.rows_at(each) == 7);
  }
}

TEST_CASE("a leader that was only paused is heard again") {
  const std::uint64_t seed = GENERATE(1U, 2U, 3U, 4U, 5U, 6U, 7U, 8U);
  cluster_with_rows cluster({.seed = seed});
  cluster.insert(5);
  const server_id paused = cluster.leader();
  for (int i = 0; i < 3; ++i) {  // it proposes on its way out, and nobody has it
    cluster.raft().spawn([&cluster, paused] {
      connection db = cluster->connect(paused);
      static_cast<void>(sqlite3_exec(db, "INSERT INTO t VALUES(1)", nullptr, nullptr, nullptr));
    });
  }
  cluster.raft().pause(paused, milliseconds{2'000});
  cluster.raft().run_until(
      [&] { return cluster.raft().leader() && cluster.raft().leader() != paused; },
      milliseconds{1'900});
  REQUIRE(cluster.raft().leader() != paused);
  cluster.find_leader();
  cluster.insert(5);
  REQUIRE(cluster->wait_until_even());
  CHECK(cluster.nobody_is_refused());
  CHECK(cluster->are_identical());
  CHECK(cluster.rows_at(paused) >= 10);
}

TEST_CASE("servers that crash, fall behind and get snapshots refuse nobody") {
  const std::uint64_t seed = GENERATE(11U, 12U, 13U, 14U);
  cluster_with_rows cluster({.seed = seed,
                             .network = {.drop = 0.05, .duplicate = 0.05, .reorder = 0.1},
                             .compaction = {.threshold_entries = 12, .trailing_entries = 2},
                             .disk = {.sync_min_us = 100, .sync_max_us = 3'000}});
  for (int round = 0; round < 12; ++round) {
    const server_id victim = cluster->servers()[static_cast<std::size_t>(round) % 3];
    cluster->crash(victim);
    cluster.raft().run_for(milliseconds{5});
    cluster->take_down(victim);
    cluster.find_leader();
    cluster.insert(4 + round % 12);
    cluster->restart(victim);
    cluster.raft().run_for(milliseconds{static_cast<std::uint64_t>(100 * (round % 4))});
    cluster.find_leader();
    cluster.insert(1);
  }
  REQUIRE(cluster->wait_until_even());
  CHECK(cluster.nobody_is_refused());
  CHECK(cluster->are_identical());
}

}  // namespace test_raft_histories_test
