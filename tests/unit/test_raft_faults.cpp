// The test Raft while things go wrong: exact leadership_losses, crashes with clients inside, and
// some hundred short random runs in which every law is checked.
//
// A failing seed names the command that replays it, with QUORLITE_TEST_SEED in the environment.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "catch2_shim.hpp"
#include "support/checking_machine.hpp"
#include "support/profile.hpp"

namespace test_raft_faults_test {

using namespace quorlite::tests;
using generator = quorlite::testing::detail::random;
using quorlite::testing::commit_phase;
using quorlite::testing::engine_kind;
using quorlite::testing::leadership_loss;

namespace {

constexpr milliseconds second{1000};

// What became of the third command of a term whose leader was deposed at that command.
struct deposed_run {
  recorded_cluster cluster;
  server_id leader;
  term in_term;
  proposal_token third;

  deposed_run(std::uint64_t seed, commit_phase what, leadership_loss way)
      : cluster{{.seed = seed}} {
    leader = cluster.elect();
    in_term = cluster.machine(leader).gained();
    cluster.simulation.depose_leader_when(what, 3, way);
    REQUIRE(cluster.commit(leader) == outcome::committed);
    REQUIRE(cluster.commit(leader) == outcome::committed);
    third = cluster.propose(leader);
    REQUIRE(cluster.simulation.run_until(
        [&] { return !cluster.simulation.leadership_losses().empty(); }, second));
    REQUIRE(cluster.simulation.leadership_losses().size() == 1);
    CHECK(cluster.simulation.leadership_losses()[0].server == leader);
    CHECK(cluster.simulation.leadership_losses()[0].term == in_term);
    CHECK(cluster.simulation.leadership_losses()[0].command ==
          log_index{4});  // the no-op is the first
  }

  [[nodiscard]] log_index commit_index() { return cluster.simulation.node(leader).commit_index(); }
  [[nodiscard]] bool is_settled() { return cluster.shared.settled.contains(third.value); }
  [[nodiscard]] bool is_applied() { return cluster.shared.applied_at.contains(third.value); }

  // Everybody back, everything known: the laws held, and the proposal's fate was as it was told.
  void recover() {
    cluster.simulation.heal();
    if (!cluster.simulation.running(leader)) {
      cluster.simulation.restart(leader);
    }
    cluster.simulation.run_for(second);
    REQUIRE(cluster.simulation.leader().has_value());
    REQUIRE(cluster.commit(*cluster.simulation.leader()) == outcome::committed);
    REQUIRE(cluster.settle_down());
    CHECK(cluster.shared.faults.empty());
  }
};

std::size_t holders_of_entry_4(deposed_run& run) {
  std::size_t holders = 0;
  for (const server_id id : run.cluster.simulation.servers()) {
    holders += run.cluster.simulation.node(id).disk().log.last_index() >= log_index{4} ? 1U : 0U;
  }
  return holders;
}

}  // namespace

TEST_CASE("deposed when the third command is enqueued: nobody else has it") {
  bool lost = false;
  bool survived = false;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    INFO("seed " << seed);
    deposed_run run{seed, commit_phase::enqueued, leadership_loss::step_down};
    CHECK(run.cluster.shared.settled.at(run.third.value) == outcome::unknown);
    CHECK_FALSE(run.cluster.machine(run.leader).leading());
    CHECK(holders_of_entry_4(run) == 1);
    run.recover();
    (run.is_applied() ? survived : lost) = true;
  }
  CHECK(survived);  // the deposed leader may win again, and bring it along
}

TEST_CASE("deposed by isolation when the third command is enqueued: it is lost") {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    deposed_run run{seed, commit_phase::enqueued, leadership_loss::isolate};
    CHECK(run.cluster.machine(run.leader).leading());  // it has not noticed yet
    REQUIRE(run.cluster.simulation.run_until(
        [&] {
          return run.cluster.simulation.leader() && *run.cluster.simulation.leader() != run.leader;
        },
        second));
    run.recover();
    CHECK(run.cluster.shared.settled.at(run.third.value) == outcome::unknown);
    CHECK_FALSE(run.is_applied());
  }
}

TEST_CASE("deposed when the third command is on a quorum: unknown, then committed") {
  for (const leadership_loss way :
       {leadership_loss::step_down, leadership_loss::isolate, leadership_loss::crash}) {
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
      deposed_run run{seed, commit_phase::appended, way};
      CHECK(holders_of_entry_4(run) >= 2);
      CHECK_FALSE(run.is_applied());
      CHECK(run.is_settled() == (way == leadership_loss::step_down));
      if (way != leadership_loss::crash) {
        CHECK(run.commit_index() == log_index{3});
      }
      run.recover();
      CHECK(run.is_applied());  // whoever is elected has it
      CHECK(run.is_settled() == (way != leadership_loss::crash));
      if (way != leadership_loss::crash) {
        CHECK(run.cluster.shared.settled.at(run.third.value) == outcome::unknown);
      }
    }
  }
}

TEST_CASE("deposed when the third command is committed: nobody else knows it") {
  for (const leadership_loss way :
       {leadership_loss::step_down, leadership_loss::isolate, leadership_loss::crash}) {
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
      deposed_run run{seed, commit_phase::committed, way};
      for (const server_id id : run.cluster.simulation.servers()) {
        if (id != run.leader) {
          CHECK(run.cluster.simulation.node(id).commit_index() <= log_index{3});
        }
      }
      if (way == leadership_loss::isolate) {  // the client was told, and then the leader was gone
        CHECK(run.cluster.shared.settled.at(run.third.value) == outcome::committed);
      } else if (way == leadership_loss::step_down) {
        CHECK(run.cluster.shared.settled.at(run.third.value) == outcome::unknown);
        CHECK(run.is_applied());  // as a follower, right after
      }
      run.recover();
      CHECK(run.is_applied());
    }
  }
}

TEST_CASE("a lone voter that is to be deposed by isolation steps down, and commits again") {
  recorded_cluster cluster({.replicas = 1});
  const server_id leader = cluster.elect();
  cluster.simulation.depose_leader_when(commit_phase::appended, 1, leadership_loss::isolate);
  static_cast<void>(cluster.propose(leader));
  REQUIRE(cluster.simulation.run_until(
      [&] { return !cluster.simulation.leadership_losses().empty(); }, second));
  cluster.simulation.heal();
  REQUIRE(cluster.settle_down());
  const auto& node = cluster.simulation.node(leader);
  CHECK(node.commit_index() == node.disk().log.last_index());
  CHECK(cluster.shared.faults.empty());
}

TEST_CASE("a leadership_loss is exact in the middle of a batch") {
  for (const commit_phase what : {commit_phase::appended, commit_phase::committed}) {
    recorded_cluster cluster;
    const server_id leader = cluster.elect();
    cluster.simulation.depose_leader_when(what, 6, leadership_loss::crash);
    std::vector<proposal_token> batch;
    for (int i = 0; i < 10; ++i) {
      batch.push_back(cluster.propose(leader));  // at one instant: one message each way
    }
    REQUIRE(cluster.simulation.run_until(
        [&] { return !cluster.simulation.leadership_losses().empty(); }, second));
    for (std::size_t i = 0; i < batch.size(); ++i) {
      CHECK(cluster.shared.settled.contains(batch[i].value) == (i < 5));
    }
    CHECK(cluster.machine(leader).entries().size() == 6);  // the no-op and five commands
    cluster.simulation.restart(leader);
    cluster.simulation.run_for(second);
    REQUIRE(cluster.settle_down());
    CHECK(cluster.shared.faults.empty());
  }
}

TEST_CASE("a crash ends the waits of that server's clients, and only those") {
  for (const engine_kind engine : {engine_kind::fiber, engine_kind::handoff}) {
    recorded_cluster cluster{{.engine = engine}};
    const server_id leader = cluster.elect();
    const server_id other{leader.value % 3 + 1};
    cluster.simulation.isolate(leader);
    int answers = 0;
    for (int i = 0; i < 5; ++i) {
      cluster.simulation.spawn([&] {
        CHECK_FALSE(cluster.commit(leader, milliseconds{100000}).has_value());
        // Our machine still stands, its server is gone: everything is refused at once.
        const std::optional<outcome> again = cluster.commit(leader, milliseconds{100000});
        CHECK(again == outcome::not_applied);
        ++answers;
      });
    }
    client_signal never;
    const auto elsewhere = cluster.simulation.spawn(
        [&] { CHECK_FALSE(cluster.raft(other).wait(never, milliseconds{500})); });
    cluster.simulation.run_for(milliseconds{20});
    const milliseconds before = cluster.simulation.now();
    cluster.simulation.crash(leader);
    CHECK(answers == 0);
    cluster.simulation.run_until([&] { return answers == 5; }, milliseconds{1});
    CHECK(answers == 5);
    CHECK(cluster.simulation.now() == before);
    CHECK_FALSE(cluster.simulation.finished(elsewhere));
    cluster.simulation.run_for(second);
    CHECK(cluster.simulation.finished(elsewhere));
  }
}

TEST_CASE("who waits again and again on a server that is gone lets the others have their turn") {
  recorded_cluster cluster;
  const server_id leader = cluster.elect();
  bool other_is_done = false;
  bool seen = false;
  client_signal never;
  cluster.simulation.spawn([&] {
    for (int i = 0; i < 1000 && !other_is_done; ++i) {
      CHECK_FALSE(cluster.raft(leader).wait(never, second));
    }
    seen = other_is_done;
  });
  cluster.simulation.run_for(milliseconds{1});
  cluster.simulation.crash(leader);
  cluster.simulation.spawn([&] {
    static_cast<void>(cluster.raft(leader).wait(never, second));
    other_is_done = true;
  });
  cluster.simulation.run_for(second);
  CHECK(seen);
}

TEST_CASE("a proposer goes on after a crash inside propose") {
  recorded_cluster cluster;
  const server_id leader = cluster.elect();
  cluster.simulation.depose_leader_when(commit_phase::enqueued, 1, leadership_loss::crash);
  bool ended = false;
  cluster.simulation.spawn([&] {
    CHECK_FALSE(cluster.commit(leader).has_value());
    ended = true;
  });
  cluster.simulation.run_for(milliseconds{1});
  CHECK(ended);
  CHECK_FALSE(cluster.simulation.running(leader));
}

TEST_CASE("what was not synced may be lost in a crash; what was acknowledged is not") {
  std::uint64_t shortened = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    INFO("seed " << seed);
    recorded_cluster cluster{{.seed = seed, .disk = {.sync_min_us = 2000, .sync_max_us = 20000}}};
    const server_id leader = cluster.elect();
    for (int i = 0; i < 5; ++i) {
      REQUIRE(cluster.commit(leader) == outcome::committed);
    }
    for (int i = 0; i < 10; ++i) {
      cluster.propose(leader);
    }
    cluster.simulation.run_for(milliseconds{seed % 20});
    const std::size_t acknowledged = cluster.shared.applied_at.size();
    for (const server_id id : cluster.simulation.servers()) {
      const log_index before = cluster.simulation.node(id).disk().log.last_index();
      cluster.simulation.crash(id);
      const log_index after = cluster.simulation.node(id).disk().log.last_index();
      CHECK(after == cluster.simulation.node(id).disk().log.synced_index());
      shortened += before > after ? 1 : 0;
    }
    for (const server_id id : cluster.simulation.servers()) {
      cluster.simulation.restart(id);
    }
    REQUIRE(cluster.elect() != server_id{});
    REQUIRE(cluster.settle_down());
    CHECK(cluster.shared.applied_at.size() >= acknowledged);
    CHECK(cluster.shared.faults.empty());
  }
  CHECK(shortened > 20);
}

namespace {

// A short life: clients propose while the test partitions, crashes, restarts and deposes.
struct random_life {
  std::vector<std::string> faults;
  std::size_t committed = 0;
  std::size_t installs = 0;
  bool converged = false;
};

simulation_options random_options(std::uint64_t seed, generator& source) {
  simulation_options options{.seed = seed, .replicas = source.chance(0.5) ? 3U : 5U};
  options.network.drop = source.chance(0.7) ? 0.05 : 0.0;
  options.network.duplicate = source.chance(0.7) ? 0.05 : 0.0;
  options.network.reorder = source.chance(0.7) ? 0.2 : 0.0;
  options.raft.window_entries = source.between(1, 64);
  options.raft.batch_bytes = static_cast<std::size_t>(source.between(1, 200));
  options.raft.chunk_bytes = static_cast<std::size_t>(source.between(16, 2000));
  options.compaction.threshold_entries = source.chance(0.6) ? source.between(3, 30) : 0;
  options.compaction.trailing_entries = source.between(0, 10);
  options.disk.sync_max_us = source.chance(0.5) ? 5000 : 0;
  return options;
}

void trouble(recorded_cluster& cluster, generator& source) {
  simulation& simulation = cluster.simulation;
  const std::vector<server_id> servers = simulation.servers();
  const server_id victim = servers[static_cast<std::size_t>(source.below(servers.size()))];
  switch (source.below(7)) {
    case 0: simulation.isolate(victim); break;
    case 1: {
      std::vector<server_id> sides[2];
      for (const server_id each : servers) {
        sides[source.below(2)].push_back(each);
      }
      simulation.partition(sides[0], sides[1]);
      break;
    }
    case 2:
      if (simulation.running(victim)) {
        static_cast<void>(cluster.machine(victim).flush(log_index{}));
      }
      break;
    case 3: simulation.crash(victim); break;
    case 4:
      simulation.running(victim) ? simulation.transfer(victim) : simulation.restart(victim);
      break;
    case 5:
      simulation.depose_leader_when(static_cast<commit_phase>(source.below(3)),
                                    source.between(1, 9),
                                    static_cast<leadership_loss>(source.below(3)));
      break;
    default: simulation.heal(); break;
  }
}

random_life live(std::uint64_t seed) {
  generator source{seed};
  recorded_cluster cluster{random_options(seed, source)};
  simulation& simulation = cluster.simulation;
  random_life answer;
  cluster.elect();
  for (int client = 0; client < 6; ++client) {
    simulation.spawn([&, pace = source.between(1, 100)] {
      for (int i = 0; i < 50; ++i) {
        const std::optional<server_id> leader = simulation.leader();
        if (leader && cluster.commit(*leader, milliseconds{300}) == outcome::committed) {
          ++answer.committed;
        }
        simulation.sleep(milliseconds{pace});
      }
    });
  }
  for (int step = 0; step < 25; ++step) {
    simulation.run_for(milliseconds{source.between(10, 300)});
    trouble(cluster, source);
  }
  simulation.heal();
  for (const server_id each : simulation.servers()) {
    if (!simulation.running(each)) {
      simulation.restart(each);
    }
  }
  simulation.run_until([&] { return simulation.unfinished_clients() == 0; }, milliseconds{60000});
  // Depositions that are still armed may strike: what must hold is that quiet days follow.
  for (int tries = 0; tries < 40 && !answer.converged; ++tries) {
    simulation.heal();
    for (const server_id each : simulation.servers()) {
      if (!simulation.running(each)) {
        simulation.restart(each);
      }
    }
    simulation.run_for(milliseconds{200});  // a transfer may be under way
    const server_id leader = cluster.elect();
    answer.converged = leader != server_id{} &&
                       cluster.commit(leader, milliseconds{1000}) == outcome::committed &&
                       cluster.settle_down(milliseconds{3000});
  }
  answer.faults = cluster.shared.faults;
  for (const recorded_cluster::replica& each : cluster.replicas) {
    answer.installs += static_cast<std::size_t>(each.machine->installs);
  }
  return answer;
}

}  // namespace

TEST_CASE("random runs keep every law") {
  const char* const only = std::getenv("QUORLITE_TEST_SEED");
  const bool is_short = quorlite::tests::is_short_profile();
  const std::uint64_t first = only != nullptr ? std::strtoull(only, nullptr, 10) : 1;
  const std::uint64_t last = only != nullptr ? first : is_short ? 60 : 400;
  std::size_t committed = 0;
  std::size_t installs = 0;
  for (std::uint64_t seed = first; seed <= last; ++seed) {
    INFO("replay: QUORLITE_TEST_SEED=" << seed
                                       << " unit_test_raft_faults \"random runs keep every law\"");
    const random_life life = live(seed);
    CHECK(life.faults == std::vector<std::string>{});
    CHECK(life.converged);
    committed += life.committed;
    installs += life.installs;
  }
  if (only == nullptr) {
    CHECK(committed > 100 * last);
    CHECK(installs > last / 4);
  }
}

}  // namespace test_raft_faults_test
