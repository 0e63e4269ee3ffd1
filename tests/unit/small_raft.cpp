// The adapter that was written from the how-to alone, over an engine made for it: the laws, and
// replicas on top.
#include "../../docs/examples/small_raft_adapter.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/quorlite.hpp"
#include "quorlite/storage/file.hpp"
#include "quorlite/testing/consensus_conformance.hpp"
#include "support/heard_machine.hpp"
#include "support/profile.hpp"
#include "support/sql.hpp"
#include "support/temporary_directory.hpp"

namespace small_raft_test {
namespace {

// [harness]
class small_raft_harness : public ql::testing::threaded_harness<small_raft_adapter> {
 public:
  static constexpr ql::testing::harness_faults faults{.partition = true,
                                                      .crash = true,
                                                      .restart = true,
                                                      .compact = true,
                                                      .fail_log_write = true,
                                                      .threads = true};

  explicit small_raft_harness(std::size_t servers)
      : threaded_harness(servers, [this](std::size_t i) { return make(i); },
                         {.quiet = std::chrono::milliseconds(250)}),
        net_(servers),
        disks_(servers) {}
  ~small_raft_harness() { end_all(); }

  void isolate(std::size_t server) { net_.cut(server, true); }
  void heal() {
    for (std::size_t i = 0; i < size(); ++i) {
      net_.cut(i, false);
    }
  }
  void compact(std::size_t server) { node(server).compact(); }
  void fail_log_write(std::size_t server) { node(server).engine().fail_next_write(); }

 private:
  std::unique_ptr<small_raft_adapter> make(std::size_t i) {
    return std::make_unique<small_raft_adapter>(i, net_, disks_[i]);
  }

  small_raft::network net_;
  std::vector<small_raft::disk> disks_;  // survive the adapters
};
// [/harness]

// ---- replicas on top

bool wait_until(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) {
      return condition();
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

/// Three servers over files, in this process, that compact every fifty entries.
class small_cluster {
 public:
  small_cluster() {
    for (std::size_t i = 0; i < servers_.size(); ++i) {
      start(i);
    }
  }
  ~small_cluster() {
    for (std::size_t i = 0; i < servers_.size(); ++i) {
      stop(i);
    }
  }
  small_cluster(const small_cluster&) = delete;
  small_cluster& operator=(const small_cluster&) = delete;

  [[nodiscard]] std::size_t size() const { return servers_.size(); }
  [[nodiscard]] small_raft::network& net() { return net_; }
  [[nodiscard]] ql::replica& node(std::size_t i) { return servers_[i].node; }
  [[nodiscard]] small_raft_adapter& raft(std::size_t i) { return *servers_[i].raft; }

  void start(std::size_t i) {
    one& server = servers_[i];
    const std::unique_lock alone(server.in_use);
    server.storage = std::make_unique<ql::file_storage>(folder_ / std::to_string(i));
    server.raft = std::make_unique<small_raft_adapter>(i, net_, server.disk, 50);
    server.node = ql::replica::start(*server.raft, *server.storage,
                                     {.commit_timeout = ql::milliseconds{2000}})
                      .value();
  }
  /// While clients are at it: those who wait are answered, then nobody is there any more.
  void stop(std::size_t i, bool clean = false) {
    one& server = servers_[i];
    clean ? static_cast<void>(server.node.stop()) : server.raft->stop();
    const std::unique_lock alone(server.in_use);
    server.node = {};
    server.raft.reset();
    server.storage.reset();
  }
  /// Does something with whoever leads. @returns false: nobody does
  template <class Use>
  bool with_leader(Use&& use) {
    for (std::size_t i = 0; i < servers_.size(); ++i) {
      const std::shared_lock together(servers_[i].in_use, std::try_to_lock);
      if (together && node(i).leader().leading) {
        use(i);
        return true;
      }
    }
    return false;
  }
  [[nodiscard]] std::optional<std::size_t> leader() {
    std::optional<std::size_t> found;
    wait_until([&] { return with_leader([&](std::size_t i) { found = i; }); });
    return found;
  }
  [[nodiscard]] bool is_even() {
    for (std::size_t i = 1; i < servers_.size(); ++i) {
      if (node(i).applied() != node(0).applied()) {
        return false;
      }
    }
    return true;
  }
  std::string ask_of(std::size_t i, const std::string& sql) {
    const ql::connection db = node(i).open("app.db").value();
    return ask(db, sql);
  }

 private:
  struct one {
    small_raft::disk disk;
    std::unique_ptr<ql::file_storage> storage;
    std::unique_ptr<small_raft_adapter> raft;
    ql::replica node;
    std::shared_mutex in_use;
  };
  quorlite::tests::temporary_directory folder_;
  small_raft::network net_{3};
  std::deque<one> servers_{3};
};

struct answers {
  std::mutex mutex;
  std::set<std::string> acknowledged;
  std::set<std::string> unknown;
  std::vector<std::string> surprises;
};

/// Every row is tried until its fate is told, on whoever leads.
void write_rows(small_cluster& cluster, int client, const std::atomic<bool>& ending,
                answers& told) {
  for (int row = 0; !ending;) {
    const std::string name = std::to_string(client) + "." + std::to_string(row);
    const bool tried = cluster.with_leader([&](std::size_t i) {
      const ql::result<ql::connection> db = cluster.node(i).open("app.db");
      if (!db) {
        return;
      }
      const int code = run(*db, "INSERT INTO t VALUES('" + name + "')");
      const std::error_code error = db->last_error();
      const std::lock_guard guard(told.mutex);
      if (code == SQLITE_OK) {
        told.acknowledged.insert(name);
        ++row;
      } else if (error == ql::failure::outcome_unknown) {
        told.unknown.insert(name);
        ++row;
      } else if (error != ql::failure::not_applied && (code & 0xFF) != SQLITE_BUSY) {
        told.surprises.push_back(name + ": " + std::to_string(code) + " " + error.message());
        ++row;
      }
    });
    if (!tried) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
}

/// One thing after the other happens to the servers.
void disturb(small_cluster& cluster, int round) {
  const std::optional<std::size_t> leader = cluster.leader();
  REQUIRE(leader);
  const std::size_t follower = (*leader + 1) % cluster.size();
  switch (round % 5) {
    case 0: cluster.raft(*leader).transfer_leadership(); break;
    case 1:
      cluster.net().cut(*leader, true);
      std::this_thread::sleep_for(std::chrono::milliseconds(250));
      cluster.net().cut(*leader, false);
      break;
    case 2:
      cluster.stop(follower);
      std::this_thread::sleep_for(std::chrono::milliseconds(150));  // falls behind the logs
      cluster.start(follower);
      break;
    case 3:
      cluster.stop(*leader);
      cluster.start(*leader);
      break;
    default:
      cluster.stop(*leader, true);
      cluster.start(*leader);
      break;
  }
}

}  // namespace

TEST_CASE("the adapter for the small Raft keeps every law") {
  ql::testing::conformance_report report;
  ql::testing::run_consensus_conformance(
      [](std::size_t servers) { return std::make_unique<small_raft_harness>(servers); }, report);
  INFO(report.text());
  CHECK(report.clean());
  for (const char* law :
       {"P1", "P2", "P3", "P4", "P5",  "P6", "P7", "P8", "P9", "P10", "P11", "P12",
        "A1", "A2", "A3", "A4", "A5",  "A6", "A7", "L1", "L2", "L3",  "L4",  "L5",
        "L6", "L7", "L8", "L9", "L10", "S1", "S2", "S3", "S4", "S5",  "S6",  "S7",
        "S8", "W1", "W2", "W3", "W4",  "T1", "N1", "N2", "N3", "N4",  "N5",  "N6"}) {
    INFO(law);
    CHECK(report.passed(law));
  }
}

TEST_CASE("the adapter for the small Raft refuses what comes after its stop, and starts again") {
  small_raft_harness harness(1);
  quorlite::tests::heard_machine machine;
  REQUIRE(!harness.start(0, machine));
  REQUIRE(harness.run_until([&] { return machine.applied().index.value == 1; }));
  small_raft_adapter& adapter = harness.node(0);
  adapter.stop();
  CHECK(machine.heard() == std::vector<std::string>{"skip 1", "gain 1 [server 0]", "loss 1 []"});
  adapter.propose(ql::term{1}, ql::proposal_token{7}, {});
  adapter.transfer_leadership();
  CHECK(machine.heard() == std::vector<std::string>{"7 not_applied 8"});
  quorlite::tests::heard_machine next;
  REQUIRE(!adapter.start(next));
  REQUIRE(harness.run_until([&] { return next.applied().index.value == 2; }));
  adapter.stop();
  CHECK(next.heard() ==
        std::vector<std::string>{"skip 1", "skip 2", "gain 2 [server 0]", "loss 2 []"});
}

TEST_CASE("acknowledged rows survive everything that happens to servers of the small Raft") {
  small_cluster cluster;
  REQUIRE(cluster.leader());
  cluster.with_leader([&](std::size_t i) {
    const ql::connection db = cluster.node(i).open("app.db").value();
    REQUIRE(run(db, "CREATE TABLE t(name TEXT PRIMARY KEY)") == SQLITE_OK);
  });
  answers told;
  std::atomic<bool> ending{false};
  std::vector<std::thread> clients;
  for (int client = 0; client < 4; ++client) {
    clients.emplace_back([&, client] { write_rows(cluster, client, ending, told); });
  }
  const int rounds = quorlite::tests::is_short_profile() ? 10 : 30;
  for (int round = 0; round < rounds; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    disturb(cluster, round);
  }
  ending = true;
  for (std::thread& client : clients) {
    client.join();
  }
  REQUIRE(cluster.leader());
  REQUIRE(wait_until([&] { return cluster.is_even(); }));

  CAPTURE(told.acknowledged.size(), told.unknown.size());
  for (const std::string& surprise : told.surprises) {
    UNSCOPED_INFO(surprise);
  }
  CHECK(told.surprises.empty());
  CHECK(told.acknowledged.size() > 100);
  const std::string all =
      cluster.ask_of(0, "SELECT group_concat(name, ' ') FROM (SELECT name FROM t ORDER BY 1)");
  std::set<std::string> there;
  for (std::size_t from = 0; from < all.size();) {
    const std::size_t to = std::min(all.find(' ', from), all.size());
    there.insert(all.substr(from, to - from));
    from = to + 1;
  }
  CHECK(std::includes(there.begin(), there.end(), told.acknowledged.begin(),
                      told.acknowledged.end()));
  std::set<std::string> known = told.acknowledged;
  known.insert(told.unknown.begin(), told.unknown.end());
  CHECK(std::includes(known.begin(), known.end(), there.begin(), there.end()));
  for (std::size_t i = 0; i < cluster.size(); ++i) {
    CHECK(!cluster.node(i).health().halted);
    CHECK(cluster.node(i).databases().at(0).hash == cluster.node(0).databases().at(0).hash);
  }
}

TEST_CASE("a server of the small Raft that was sent a snapshot has it after a crash") {
  small_cluster cluster;
  const std::optional<std::size_t> leader = cluster.leader();
  REQUIRE(leader);
  const std::size_t behind = (*leader + 1) % cluster.size();
  cluster.net().cut(behind, true);
  {
    const ql::connection db = cluster.node(*leader).open("app.db").value();
    REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
    for (int row = 0; row < 20; ++row) {
      REQUIRE(run(db, "INSERT INTO t VALUES(randomblob(2000))") == SQLITE_OK);
    }
  }
  for (std::size_t i = 0; i < cluster.size(); ++i) {
    if (i != behind) {
      cluster.raft(i).compact();
    }
  }
  cluster.net().cut(behind, false);
  REQUIRE(
      wait_until([&] { return cluster.node(behind).metrics().machine.snapshots_installed > 0; }));
  const bool alone = GENERATE(false, true);
  cluster.stop(behind);
  if (alone) {  // the others cannot send it again
    for (std::size_t i = 0; i < cluster.size(); ++i) {
      cluster.net().cut(i, true);
    }
  }
  cluster.start(behind);
  const auto count = [&] { return cluster.ask_of(behind, "SELECT count(*) FROM t"); };
  CHECK(wait_until([&] { return count() == "20"; }));
}

}  // namespace small_raft_test
