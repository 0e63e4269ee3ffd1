// The test Raft while its members change (Raft thesis, 4), and the checker of what Raft promises.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/testing/detail/raft/network.hpp"
#include "quorlite/testing/detail/raft/safety_checker.hpp"
#include "support/checking_machine.hpp"
#include "support/lone_environment.hpp"
#include "support/profile.hpp"

namespace test_raft_membership_test {

using namespace quorlite::tests;
using quorlite::testing::change_result;
using quorlite::testing::configuration;
using quorlite::testing::detail::append_request;
using quorlite::testing::detail::change_kind;
using quorlite::testing::detail::entry_kind;
using quorlite::testing::detail::raft_event;
using quorlite::testing::detail::raft_log;
using quorlite::testing::detail::raft_node;
using quorlite::testing::detail::raft_role;
using quorlite::testing::detail::safety_checker;
using quorlite::testing::detail::server_disk;
using quorlite::testing::detail::vote_reply;
using quorlite::testing::detail::vote_request;
using generator = quorlite::testing::detail::random;

namespace {

constexpr milliseconds second{1000};

configuration members_of(std::vector<std::uint64_t> voters,
                         std::vector<std::uint64_t> learners = {}) {
  configuration members;
  for (const std::uint64_t id : voters) {
    members.voters.emplace_back(id);
  }
  for (const std::uint64_t id : learners) {
    members.learners.emplace_back(id);
  }
  return members;
}

const configuration& in_force(recorded_cluster& cluster, server_id id) {
  return cluster.simulation.node(id).disk().log.configured().members;
}

// Whoever leads in the highest term, told or not; 0: nobody.
server_id leading(recorded_cluster& cluster) {
  server_id found;
  for (const server_id id : cluster.simulation.servers()) {
    const raft_node& node = cluster.simulation.node(id);
    const bool leads = node.role() == raft_role::leader;
    if (leads && (found == server_id{} || node.term() > cluster.simulation.node(found).term())) {
      found = id;
    }
  }
  return found;
}

// Asks until the step is taken, then waits until these are the members.
template <class Step>
bool change(recorded_cluster& cluster, Step step, const configuration& wanted) {
  const bool taken = cluster.simulation.run_until(
      [&] { return cluster.simulation.leader().has_value() && step() == change_result::taken; },
      milliseconds{5000});
  return taken && cluster.simulation.run_until(
                      [&] { return cluster.simulation.members() == wanted; }, milliseconds{5000});
}

bool add(recorded_cluster& cluster, std::uint64_t id, const configuration& wanted) {
  return change(
      cluster, [&] { return cluster.simulation.add_server(server_id{id}); }, wanted);
}
bool promote(recorded_cluster& cluster, std::uint64_t id, const configuration& wanted) {
  return change(
      cluster, [&] { return cluster.simulation.promote(server_id{id}); }, wanted);
}
bool remove(recorded_cluster& cluster, std::uint64_t id, const configuration& wanted) {
  return change(
      cluster, [&] { return cluster.simulation.remove_server(server_id{id}); }, wanted);
}

// Makes that server the leader.
bool lead(recorded_cluster& cluster, std::uint64_t id) {
  cluster.elect();
  cluster.simulation.transfer(server_id{id});
  return cluster.simulation.run_until([&] { return cluster.simulation.leader() == server_id{id}; },
                                      second);
}

}  // namespace

TEST_CASE("a spare takes no part until it is added, and then learns without a vote") {
  recorded_cluster cluster{{.replicas = 3, .spares = 2}};
  const server_id leader = cluster.elect();
  REQUIRE(cluster.commit(leader) == outcome::committed);
  cluster.simulation.run_for(milliseconds{3000});
  CHECK(cluster.simulation.members() == members_of({1, 2, 3}));
  CHECK(cluster.simulation.node(server_id{4}).term() == term{});
  CHECK(cluster.simulation.node(server_id{4}).disk().log.last_index() == log_index{});
  REQUIRE(add(cluster, 4, members_of({1, 2, 3}, {4})));
  REQUIRE(add(cluster, 5, members_of({1, 2, 3}, {4, 5})));
  REQUIRE(cluster.commit(leader) == outcome::committed);
  REQUIRE(cluster.settle_down());
  CHECK(cluster.machine(server_id{4}).entries().size() == cluster.shared.log.size());
  CHECK(cluster.shared.log.size() == 5);  // a no-op, two commands, two configurations
  CHECK(cluster.shared.log.at(3).payload.empty());
  // With the learners it would be three of five.
  cluster.simulation.partition({leader, server_id{4}, server_id{5}}, {});
  const log_index before = cluster.simulation.node(leader).commit_index();
  static_cast<void>(cluster.propose(leader));
  cluster.simulation.run_for(milliseconds{100});
  CHECK(cluster.simulation.node(server_id{4}).disk().log.last_index() > before);
  CHECK(cluster.simulation.node(leader).commit_index() == before);
  cluster.simulation.run_for(milliseconds{3000});
  CHECK(cluster.simulation.node(leader).commit_index() == before);
  CHECK_FALSE(cluster.machine(leader).leading());
  CHECK(cluster.simulation.node(server_id{4}).role() == raft_role::follower);
  cluster.simulation.heal();
  REQUIRE(cluster.settle_down());
  CHECK(cluster.shared.faults.empty());
}

TEST_CASE("a change that is not begun says why") {
  recorded_cluster cluster{{.replicas = 3, .spares = 1}};
  auto& simulation = cluster.simulation;
  const server_id spare{4};
  CHECK(simulation.add_server(spare) == change_result::not_leader);
  REQUIRE(simulation.run_until([&] { return leading(cluster) != server_id{}; }, second));
  CHECK(simulation.add_server(spare) == change_result::too_early);  // its no-op is not committed
  const server_id leader = cluster.elect();
  const server_id other{leader.value % 3 + 1};
  CHECK(simulation.promote(spare) == change_result::no_change);
  CHECK(simulation.demote(spare) == change_result::no_change);
  CHECK(simulation.remove_server(spare) == change_result::no_change);
  CHECK(simulation.add_server(other) == change_result::no_change);
  CHECK(simulation.promote(other) == change_result::no_change);
  const log_index last = simulation.node(leader).disk().log.last_index();
  simulation.isolate(spare);
  CHECK(simulation.add_server(spare) == change_result::taken);
  CHECK(simulation.add_server(spare) == change_result::pending);
  CHECK(simulation.remove_server(other) == change_result::pending);
  CHECK(simulation.node(leader).disk().log.last_index() == last.next());
  REQUIRE(simulation.run_until([&] { return simulation.members().has_learner(spare); }, second));
  CHECK(simulation.promote(spare) == change_result::behind);
  simulation.heal();
  REQUIRE(cluster.settle_down());
  CHECK(simulation.add_server(spare) == change_result::no_change);
  simulation.transfer(other);
  CHECK(simulation.remove_server(spare) == change_result::busy);
  REQUIRE(simulation.run_until([&] { return simulation.leader() == other; }, second));
  CHECK(cluster.shared.faults.empty());

  recorded_cluster one{{.replicas = 1}};
  one.elect();
  CHECK(one.simulation.remove_server(server_id{1}) == change_result::last_voter);
  CHECK(one.simulation.demote(server_id{1}) == change_result::last_voter);
  CHECK(one.commit(server_id{1}) == outcome::committed);
}

TEST_CASE("a cluster of one grows to three and shrinks to one again") {
  recorded_cluster cluster{{.replicas = 1, .spares = 2}};
  const auto commit = [&] {
    const server_id leader = cluster.elect();
    return leader != server_id{} && cluster.commit(leader) == outcome::committed;
  };
  cluster.elect();
  REQUIRE(commit());
  REQUIRE(add(cluster, 2, members_of({1}, {2})));
  REQUIRE(promote(cluster, 2, members_of({1, 2})));
  REQUIRE(commit());
  REQUIRE(add(cluster, 3, members_of({1, 2}, {3})));
  REQUIRE(promote(cluster, 3, members_of({1, 2, 3})));
  REQUIRE(commit());
  cluster.simulation.crash(server_id{1});  // two of three go on
  REQUIRE(commit());
  cluster.simulation.restart(server_id{1});
  REQUIRE(lead(cluster, 1));
  REQUIRE(remove(cluster, 2, members_of({1, 3})));
  REQUIRE(commit());
  REQUIRE(remove(cluster, 1, members_of({3})));
  REQUIRE(commit());
  CHECK(cluster.simulation.leader() == server_id{3});
  // A former member comes back with what it kept.
  REQUIRE(add(cluster, 1, members_of({3}, {1})));
  REQUIRE(promote(cluster, 1, members_of({1, 3})));
  REQUIRE(commit());
  REQUIRE(cluster.settle_down());
  CHECK(cluster.shared.faults.empty());
}

TEST_CASE("a leader that removes itself counts in no quorum and leads until then (thesis, 4.2.2)") {
  for (const bool demoted : {false, true}) {
    INFO("demoted " << demoted);
    recorded_cluster cluster{{.replicas = 3}};
    auto& simulation = cluster.simulation;
    REQUIRE(lead(cluster, 1));
    REQUIRE(cluster.settle_down());
    simulation.partition({server_id{1}, server_id{2}}, {server_id{3}});
    REQUIRE((demoted ? simulation.demote(server_id{1}) : simulation.remove_server(server_id{1})) ==
            change_result::taken);
    const log_index at = simulation.node(server_id{1}).disk().log.last_index();
    const auto has_it = [&] { return simulation.node(server_id{2}).disk().log.last_index() == at; };
    REQUIRE(simulation.run_until(has_it, second));
    simulation.run_for(milliseconds{20});
    CHECK(simulation.node(server_id{1}).commit_index() < at);  // of {2, 3} only one has it
    CHECK(cluster.machine(server_id{1}).leading());
    simulation.heal();
    const configuration expected = demoted ? members_of({2, 3}, {1}) : members_of({2, 3});
    REQUIRE(simulation.run_until([&] { return simulation.members() == expected; }, second));
    CHECK_FALSE(cluster.machine(server_id{1}).leading());
    REQUIRE(simulation.run_until([&] { return simulation.leader().has_value(); }, second));
    const server_id next = *simulation.leader();
    CHECK(next != server_id{1});
    CHECK(cluster.commit(next) == outcome::committed);
    simulation.run_for(milliseconds{3000});
    CHECK(simulation.leader() == next);
    CHECK(simulation.node(server_id{1}).role() == raft_role::follower);
    REQUIRE(cluster.settle_down());
    CHECK((cluster.machine(server_id{1}).entries().size() == cluster.shared.log.size()) == demoted);
    CHECK(cluster.shared.faults.empty());
  }
}

TEST_CASE("whoever loses its vote campaigns until that is committed (thesis, figure 4.6)") {
  recorded_cluster cluster{{.replicas = 2}};
  auto& simulation = cluster.simulation;
  REQUIRE(lead(cluster, 1));
  REQUIRE(cluster.settle_down());
  simulation.isolate(server_id{1});
  REQUIRE(simulation.remove_server(server_id{1}) == change_result::taken);
  REQUIRE(simulation.run_until([&] { return !cluster.machine(server_id{1}).leading(); }, second));
  simulation.heal();
  // Server 2 does not know of it and needs the vote of server 1, whose log is longer.
  REQUIRE(simulation.run_until([&] { return simulation.leader() == server_id{2}; },
                               milliseconds{10000}));
  CHECK(simulation.members() == members_of({2}));
  CHECK(cluster.commit(server_id{2}) == outcome::committed);
  CHECK(cluster.shared.faults.empty());
}

TEST_CASE("a configuration goes with its entry when a new leader removes that") {
  recorded_cluster cluster{{.replicas = 3, .spares = 1}};
  auto& simulation = cluster.simulation;
  REQUIRE(lead(cluster, 1));
  REQUIRE(add(cluster, 4, members_of({1, 2, 3}, {4})));
  REQUIRE(cluster.settle_down());
  simulation.isolate(server_id{1});
  REQUIRE(simulation.promote(server_id{4}) == change_result::taken);
  CHECK(in_force(cluster, server_id{1}) == members_of({1, 2, 3, 4}));
  simulation.run_for(milliseconds{1500});
  const server_id next = cluster.elect();
  REQUIRE(next != server_id{1});
  CHECK(in_force(cluster, next) == members_of({1, 2, 3}, {4}));
  REQUIRE(cluster.commit(next) == outcome::committed);
  simulation.heal();
  REQUIRE(cluster.settle_down());
  CHECK(in_force(cluster, server_id{1}) == members_of({1, 2, 3}, {4}));
  CHECK(simulation.members() == members_of({1, 2, 3}, {4}));
  REQUIRE(promote(cluster, 4, members_of({1, 2, 3, 4})));
  CHECK(cluster.shared.faults.empty());
}

TEST_CASE(
    "members change during a partition, and who was removed disturbs nobody (thesis, 4.2.3)") {
  recorded_cluster cluster{{.replicas = 3, .spares = 1}};
  auto& simulation = cluster.simulation;
  REQUIRE(lead(cluster, 1));
  REQUIRE(cluster.commit(server_id{1}) == outcome::committed);
  REQUIRE(cluster.settle_down());
  simulation.partition({server_id{1}, server_id{2}, server_id{4}}, {server_id{3}});
  REQUIRE(add(cluster, 4, members_of({1, 2, 3}, {4})));
  REQUIRE(promote(cluster, 4, members_of({1, 2, 3, 4})));
  REQUIRE(remove(cluster, 3, members_of({1, 2, 4})));
  REQUIRE(cluster.commit(server_id{1}) == outcome::committed);
  const term before = simulation.node(server_id{1}).term();
  simulation.heal();
  simulation.run_for(milliseconds{5000});
  CHECK(in_force(cluster, server_id{3}) == members_of({1, 2, 3}));  // nobody told it
  CHECK(simulation.leader() == server_id{1});
  CHECK(simulation.node(server_id{1}).term() == before);
  CHECK(cluster.commit(server_id{1}) == outcome::committed);
  REQUIRE(cluster.settle_down());
  CHECK(cluster.shared.faults.empty());
}

TEST_CASE("a vote is not asked of those who hear a leader, but by members (thesis, 4.2.3)") {
  lone_environment around;
  record shared;
  kept_state kept;
  checking_machine machine{server_id{1}, shared, kept};
  const simulation_options options{.replicas = 3, .spares = 1};
  raft_node node{server_id{1}, options, around, generator{1}};
  REQUIRE_FALSE(node.start(machine));
  const auto receive = [&](std::uint64_t from, std::uint64_t in_term, auto body) {
    around.sent.clear();
    node.receive({.from = server_id{from},
                  .to = server_id{1},
                  .term = term{in_term},
                  .body = std::move(body)});
    return around.sent.size();
  };
  CHECK(receive(2, 1, append_request{}) == 1);
  const auto would_vote = [&] {
    REQUIRE(receive(3, node.term().value + 1, vote_request{.pre_vote = true}) == 1);
    return std::get<vote_reply>(around.sent.back().body).granted;
  };
  CHECK_FALSE(would_vote());  // not even for a member
  CHECK(receive(4, 5, vote_request{}) == 0);
  CHECK(node.term() == term{1});
  CHECK(node.known_leader() == server_id{2});
  CHECK(receive(4, 6, vote_request{.handed_over = true}) == 1);  // its leader wants it
  CHECK(node.term() == term{6});
  CHECK(receive(2, 7, append_request{}) == 1);
  CHECK(receive(3, 8, vote_request{}) == 1);  // a member: it may have good reason
  CHECK(node.term() == term{8});
  CHECK(receive(2, 9, append_request{}) == 1);
  around.now += options.raft.election_timeout_min.value * 1000;
  CHECK(would_vote());
  CHECK(receive(4, 10, vote_request{}) == 1);  // and anyone, once the leader is not heard
  CHECK(node.term() == term{10});
  node.crash();
}

TEST_CASE("a learner catches up by a snapshot, which has the configuration of its position") {
  recorded_cluster cluster{{.replicas = 3,
                            .spares = 2,
                            .raft = {.chunk_bytes = 64},
                            .compaction = {.threshold_entries = 10, .trailing_entries = 2}}};
  auto& simulation = cluster.simulation;
  const server_id leader = cluster.elect();
  const auto work = [&](int count) {
    for (int i = 0; i < count; ++i) {
      REQUIRE(cluster.commit(leader) == outcome::committed);
    }
  };
  work(30);
  REQUIRE(add(cluster, 4, members_of({1, 2, 3}, {4})));
  const log_index changed = simulation.node(leader).disk().log.configured().at;
  work(30);
  REQUIRE(cluster.settle_down());
  CHECK(cluster.machine(server_id{4}).installs >= 1);
  REQUIRE(simulation.node(leader).disk().log.base().index > changed);
  REQUIRE(add(cluster, 5, members_of({1, 2, 3}, {4, 5})));
  REQUIRE(cluster.settle_down());
  CHECK(cluster.machine(server_id{5}).installs >= 1);
  const auto& log = simulation.node(server_id{5}).disk().log;
  CHECK(log.configurations().front().members == members_of({1, 2, 3}, {4}));
  CHECK(log.configured().members == members_of({1, 2, 3}, {4, 5}));
  work(30);  // so that nothing of it is left in the log
  REQUIRE(cluster.settle_down());
  simulation.crash(server_id{5});
  CHECK(log.configured().members == members_of({1, 2, 3}, {4, 5}));
  CHECK(simulation.node(server_id{5}).disk().snapshot->members == members_of({1, 2, 3}, {4, 5}));
  simulation.restart(server_id{5});
  REQUIRE(promote(cluster, 5, members_of({1, 2, 3, 5}, {4})));
  REQUIRE(lead(cluster, 5));
  CHECK(cluster.commit(server_id{5}) == outcome::committed);
  REQUIRE(cluster.settle_down());
  CHECK(cluster.shared.faults.empty());
}

TEST_CASE("a snapshot has the configuration in force then, not what is on its way") {
  recorded_cluster cluster{
      {.replicas = 3, .spares = 1, .compaction = {.threshold_entries = 10, .trailing_entries = 2}}};
  auto& simulation = cluster.simulation;
  const server_id leader = cluster.elect();
  while (simulation.node(leader).applied_index() < log_index{9}) {
    REQUIRE(cluster.commit(leader) == outcome::committed);
  }
  static_cast<void>(cluster.propose(leader));
  REQUIRE(simulation.add_server(server_id{4}) == change_result::taken);
  REQUIRE(cluster.settle_down());
  simulation.run_for(milliseconds{10});  // it is read in parts
  const auto& snapshot = simulation.node(leader).disk().snapshot;
  REQUIRE(snapshot != nullptr);
  REQUIRE(snapshot->at.index == log_index{10});
  CHECK(snapshot->members == members_of({1, 2, 3}));
  CHECK(in_force(cluster, leader) == members_of({1, 2, 3}, {4}));
}

TEST_CASE("a log knows the configuration of each of its entries, compacted or cut off") {
  raft_log log{members_of({1, 2, 3})};
  const auto append = [&](const configuration& members) {
    log.append({.term = term{1},
                .kind = entry_kind::members,
                .payload = quorlite::testing::detail::encode(members)});
  };
  log.append({.term = term{1}});
  append(members_of({1, 2, 3}, {4}));
  log.append({.term = term{1}});
  append(members_of({1, 2, 3, 4}));
  CHECK(log.configured_at(log_index{1}).members == members_of({1, 2, 3}));
  CHECK(log.configured_at(log_index{2}).members == members_of({1, 2, 3}, {4}));
  CHECK(log.configured_at(log_index{3}).members == members_of({1, 2, 3}, {4}));
  CHECK(log.configured().members == members_of({1, 2, 3, 4}));
  log.compact_prefix(log_index{1});
  CHECK(log.configured_at(log_index{1}).members == members_of({1, 2, 3}));
  log.compact_prefix(log_index{3});
  CHECK(log.configured_at(log_index{3}).members == members_of({1, 2, 3}, {4}));
  CHECK(log.configured().members == members_of({1, 2, 3, 4}));
  log.truncate_suffix(log_index{4});
  CHECK(log.configured().members == members_of({1, 2, 3}, {4}));
  log.reset({log_index{9}, term{2}}, members_of({7}));
  CHECK(log.configured_at(log_index{9}).members == members_of({7}));
}

TEST_CASE("leadership is handed to voters only") {
  recorded_cluster cluster{{.replicas = 2, .spares = 2}};
  auto& simulation = cluster.simulation;
  REQUIRE(lead(cluster, 1));
  REQUIRE(add(cluster, 3, members_of({1, 2}, {3})));
  REQUIRE(cluster.settle_down());
  for (const std::uint64_t id : {3U, 4U}) {
    simulation.transfer(server_id{id});
    CHECK(cluster.commit(server_id{1}) == outcome::committed);  // it was not even begun
  }
  simulation.isolate(server_id{2});
  simulation.run_for(milliseconds{100});  // the learner is heard, and has more of the log
  static_cast<void>(cluster.propose(server_id{1}));
  simulation.run_for(milliseconds{10});
  cluster.raft(server_id{1}).transfer_leadership();
  simulation.run_for(milliseconds{10});
  CHECK(simulation.node(server_id{3}).role() == raft_role::follower);
  simulation.heal();
  REQUIRE(cluster.settle_down());
  CHECK(simulation.leader() != server_id{3});
  CHECK(cluster.shared.faults.empty());
}

// Ongaro, "bug in single-server membership changes", raft-dev, July 2015, with four servers and a
// fifth: server 1 takes a step that stays with it, and another leader takes another one.
TEST_CASE("two leaders take no two steps from one configuration (the bug of 2015)") {
  recorded_cluster cluster{{.replicas = 4, .spares = 1}};
  auto& simulation = cluster.simulation;
  REQUIRE(lead(cluster, 1));
  REQUIRE(add(cluster, 5, members_of({1, 2, 3, 4}, {5})));
  REQUIRE(cluster.settle_down());
  simulation.isolate(server_id{1});
  REQUIRE(simulation.promote(server_id{5}) == change_result::taken);
  // Another one is elected, and asked before it has committed anything.
  const auto is_other = [&] { return leading(cluster).value > 1; };
  REQUIRE(simulation.run_until(is_other, milliseconds{5000}));
  const server_id other = leading(cluster);
  const server_id friend_of_it{other.value == 2 ? 3U : 2U};
  const server_id third{9 - other.value - friend_of_it.value};
  CHECK(simulation.remove_server(server_id{1}) == change_result::too_early);
  // Had it been taken, {other, friend} would be a quorum of three, and {1, third, 5} one of five.
  simulation.partition({other, friend_of_it}, {server_id{1}, third, server_id{5}});
  simulation.run_for(milliseconds{3000});
  CHECK(cluster.simulation.violation() == std::nullopt);
  simulation.heal();
  REQUIRE(cluster.settle_down());
  CHECK(simulation.members() == members_of({1, 2, 3, 4, 5}));
  CHECK(cluster.shared.faults.empty());
}

namespace {

// Some seconds in which members change, servers crash and links break.
void change_at_random(std::uint64_t seed) {
  generator dice{seed};
  simulation_options options{.seed = seed,
                             .replicas = static_cast<std::uint32_t>(dice.between(1, 4)),
                             .spares = static_cast<std::uint32_t>(dice.between(1, 3))};
  options.network.drop = dice.chance(0.5) ? 0.0 : 0.05;
  options.network.duplicate = dice.chance(0.5) ? 0.0 : 0.1;
  options.network.reorder = dice.chance(0.5) ? 0.0 : 0.1;
  options.compaction.threshold_entries = dice.chance(0.5) ? 0 : 8;
  options.compaction.trailing_entries = dice.below(4);
  options.disk.sync_max_us = dice.chance(0.5) ? 0 : 5000;
  options.raft.window_entries = dice.chance(0.5) ? 512 : dice.between(1, 3);
  recorded_cluster cluster{options};
  auto& simulation = cluster.simulation;
  const auto any = [&] { return server_id{dice.between(1, simulation.servers().size())}; };
  for (int round = 0; round < 60; ++round) {
    switch (dice.below(10)) {
      case 0: simulation.add_server(any()); break;
      case 1:
      case 2: simulation.promote(any()); break;
      case 3: simulation.demote(any()); break;
      case 4: simulation.remove_server(any()); break;
      case 5: simulation.isolate(any()); break;
      case 6: simulation.crash(any()); break;
      case 7: simulation.transfer(any()); break;
      case 8: simulation.heal(); break;
      default:
        if (const server_id id = any(); !simulation.running(id)) {
          simulation.restart(id);
        }
    }
    for (const server_id id : simulation.servers()) {  // to a deposed one as well
      if (simulation.running(id) && cluster.machine(id).leading() && dice.chance(0.7)) {
        static_cast<void>(cluster.propose(id));
        static_cast<void>(cluster.propose(id));
      }
    }
    const auto is_broken = [&] { return simulation.violation().has_value(); };
    if (simulation.run_until(is_broken, milliseconds{dice.between(0, 120)})) {
      FAIL_CHECK(*simulation.violation());
      return;
    }
  }
  simulation.heal();
  for (const server_id id : simulation.servers()) {
    if (!simulation.running(id)) {
      simulation.restart(id);
    }
  }
  simulation.run_for(options.raft.election_timeout_min);  // whoever was to hand over has, or not
  CHECK(cluster.settle_down());
  const server_id last = cluster.elect();
  REQUIRE(last != server_id{});
  CHECK(cluster.commit(last) == outcome::committed);
  CHECK(cluster.settle_down());
  CHECK(cluster.shared.faults == std::vector<std::string>{});
}

}  // namespace

TEST_CASE("members change at random and Raft keeps what it promises") {
  const std::uint64_t seeds = is_short_profile() ? 40 : 300;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    INFO("seed " << seed);
    change_at_random(seed);
  }
}

namespace {

// Of entries of term 1.
std::shared_ptr<const quorlite::testing::detail::stored_snapshot> snapshot_of(std::uint64_t upto) {
  quorlite::testing::detail::stored_snapshot made;
  made.at = {log_index{upto}, term{1}};
  return std::make_shared<const quorlite::testing::detail::stored_snapshot>(std::move(made));
}

// Two servers of a cluster of three that nobody talks to, whose disks a test writes as it likes.
class forged_cluster {
 public:
  forged_cluster() {
    for (std::uint64_t id = 1; id <= 3; ++id) {
      nodes_.emplace_back(server_id{id}, options_, around_, generator{id});
    }
  }
  ~forged_cluster() {
    for (raft_node& each : nodes_) {
      if (each.running()) {
        each.crash();
      }
    }
  }
  raft_node& node(std::size_t id) { return nodes_[id - 1]; }
  server_disk& disk(std::size_t id) { return node(id).disk_to_prepare(); }
  void append(std::size_t id, std::uint64_t in_term, std::uint64_t content) {
    disk(id).term = std::max(disk(id).term, term{in_term});
    disk(id).log.append({.term = term{in_term}, .payload_hash = content});
    disk(id).log.mark_synced(disk(id).log.last_index());
    tell(id, raft_event::appended, disk(id).log.last_index().value);
  }
  void append(std::size_t id, std::uint64_t in_term, const configuration& members) {
    disk(id).log.append({.term = term{in_term},
                         .kind = entry_kind::members,
                         .payload = quorlite::testing::detail::encode(members)});
    tell(id, raft_event::appended, disk(id).log.last_index().value);
  }
  // As if by a majority.
  void elect(std::size_t id) {
    REQUIRE_FALSE(node(id).start(machine_));
    around_.fire_timer(node(id));
    for (const bool pre_vote : {true, false}) {
      node(id).receive(
          {.from = server_id{id % 3 + 1},
           .to = server_id{id},
           .term = term{node(id).term().value + (pre_vote ? 1 : 0)},
           .body = quorlite::testing::detail::vote_reply{.pre_vote = pre_vote, .granted = true}});
    }
    REQUIRE(node(id).role() == raft_role::leader);
    win(id);
  }
  // By the votes of a majority, in the term that it has.
  void win(std::size_t id) {
    vote(id, id);
    vote(id % 3 + 1, id);
    tell(id, raft_event::elected, disk(id).log.last_index().value);
  }
  void vote(std::size_t id, std::size_t candidate) {
    disk(id).term = disk(candidate).term;
    disk(id).voted_for = server_id{candidate};
    tell(id, raft_event::votes, disk(id).log.last_index().value);
  }
  // As if a majority had everything: it is committed and applied.
  void commit_all(std::size_t id) {
    quorlite::testing::detail::append_reply reply;
    reply.accepted = true;
    reply.match = disk(id).log.last_index();
    node(id).receive({.from = server_id{id % 3 + 1},
                      .to = server_id{id},
                      .term = node(id).term(),
                      .body = reply});
    REQUIRE(node(id).commit_index() == disk(id).log.last_index());
  }
  void tell(std::size_t id, raft_event what, std::uint64_t at) {
    checker_.witness(node(id), what, log_index{at});
  }
  void disregard(std::size_t id, bool is_so) { checker_.disregard(server_id{id}, is_so); }
  // Up to the colon; empty: nothing was found.
  std::string property() {
    const std::string text = checker_.violation().value_or("");
    return text.substr(0, text.find(':'));
  }

 private:
  const simulation_options options_{.replicas = 3};
  lone_environment around_;
  record shared_;
  kept_state kept_;
  checking_machine machine_{server_id{1}, shared_, kept_};
  std::deque<raft_node> nodes_;
  safety_checker checker_{nodes_, configuration::of_voters(3)};
};

}  // namespace

TEST_CASE("the checker tells of two leaders in a term") {
  forged_cluster forged;
  forged.disk(1).term = forged.disk(2).term = term{4};
  forged.win(1);
  CHECK(forged.property().empty());
  forged.tell(2, raft_event::elected, 0);
  CHECK(forged.property() == "election safety");
}

TEST_CASE("the checker tells of a leader without the votes of a quorum, and of a second vote") {
  forged_cluster forged;
  forged.disk(1).term = forged.disk(2).term = forged.disk(3).term = term{4};
  forged.vote(1, 1);
  CHECK(forged.property().empty());
  SECTION("its own alone") { forged.tell(1, raft_event::elected, 0); }
  SECTION("twice that of itself") {
    forged.vote(1, 1);
    forged.tell(1, raft_event::elected, 0);
  }
  SECTION("one of another term") {
    forged.disk(2).term = term{3};
    forged.disk(2).voted_for = server_id{1};
    forged.tell(2, raft_event::votes, 0);
    forged.tell(1, raft_event::elected, 0);
  }
  SECTION("two of one server") {
    forged.vote(3, 1);
    forged.vote(3, 2);
  }
  CHECK(forged.property() == "votes");
}

TEST_CASE("a vote counts though its server was tampered with, then or later") {
  forged_cluster forged;
  forged.disk(1).term = term{4};
  forged.vote(1, 1);
  SECTION("then") {
    forged.disregard(2, true);
    forged.vote(2, 1);
    forged.disregard(2, false);
  }
  SECTION("later") { forged.disregard(2, true); }
  forged.tell(1, raft_event::elected, 0);
  CHECK(forged.property().empty());
}

TEST_CASE("the checker tells of a log that begins behind its snapshot") {
  forged_cluster forged;
  for (std::uint64_t i = 1; i <= 3; ++i) {
    forged.append(1, 1, i);
  }
  forged.disk(1).snapshot = snapshot_of(2);
  forged.disk(1).log.compact_prefix(log_index{2});
  forged.append(1, 1, 4U);
  CHECK(forged.property().empty());
  forged.disk(1).snapshot = snapshot_of(1);
  forged.append(1, 1, 5U);
  CHECK(forged.property() == "snapshot");
}

TEST_CASE("the checker tells of a leader that loses entries or makes old ones") {
  forged_cluster forged;
  forged.append(1, 1, 7U);
  forged.elect(1);
  SECTION("told") { forged.tell(1, raft_event::removes, 1); }
  SECTION("found by what comes next") {
    forged.disk(1).log.truncate_suffix(log_index{1});
    forged.append(1, 2, 8U);
  }
  SECTION("of another term") {
    forged.disk(1).log.append({.term = term{9}, .payload_hash = 8U});
    forged.tell(1, raft_event::appended, 3);
  }
  CHECK(forged.property() == "leader append-only");
}

TEST_CASE("the checker tells of an entry that is durable before a sync of it can have begun") {
  forged_cluster forged;
  forged.append(1, 1, 7U);
  forged.tell(1, raft_event::syncs, 1);
  forged.tell(1, raft_event::synced, 1);
  forged.append(1, 1, 8U);
  forged.tell(1, raft_event::syncs, 2);
  CHECK(forged.property().empty());
  SECTION("it came later") {
    forged.append(1, 1, 9U);
    forged.tell(1, raft_event::synced, 3);
  }
  SECTION("it came later, in the place of another") {
    forged.disk(1).log.truncate_suffix(log_index{2});
    forged.append(1, 2, 9U);
    forged.tell(1, raft_event::synced, 2);
  }
  CHECK(forged.property() == "durability");
}

TEST_CASE("the checker tells of logs that part and meet again") {
  forged_cluster forged;
  SECTION("one entry with two contents") {
    forged.append(1, 1, 7U);
    CHECK(forged.property().empty());
    forged.append(2, 1, 8U);
  }
  SECTION("one entry behind two others") {
    forged.append(1, 1, 7U);
    forged.append(1, 3, 9U);
    forged.append(2, 2, 8U);
    CHECK(forged.property().empty());
    forged.append(2, 3, 9U);
  }
  CHECK(forged.property() == "log matching");
}

TEST_CASE("the checker tells of a leader without what was committed") {
  forged_cluster forged;
  forged.append(1, 1, 7U);
  forged.tell(1, raft_event::commits, 1);
  forged.disk(2).term = term{1};
  forged.win(2);  // of the same term: it may just not know
  CHECK(forged.property().empty());
  forged.disk(2).term = term{2};
  forged.win(2);
  CHECK(forged.property() == "leader completeness");
}

TEST_CASE("the checker tells of two entries committed at one index, and of one undone") {
  forged_cluster forged;
  forged.append(1, 1, 7U);
  forged.append(2, 2, 8U);
  SECTION("committed") {
    forged.tell(1, raft_event::commits, 1);
    CHECK(forged.property().empty());
    forged.tell(2, raft_event::commits, 1);
  }
  SECTION("not even there") { forged.tell(1, raft_event::commits, 2); }
  SECTION("applied before it is committed") { forged.tell(1, raft_event::applies, 1); }
  SECTION("applied") {
    forged.elect(2);
    forged.commit_all(2);
    forged.tell(1, raft_event::commits, 1);
    CHECK(forged.property().empty());
    forged.tell(2, raft_event::applies, 1);
  }
  SECTION("removed") {
    forged.elect(2);
    forged.commit_all(2);
    forged.node(2).step_down();
    forged.tell(2, raft_event::removes, 1);
  }
  CHECK(forged.property() == "state-machine safety");
}

TEST_CASE("the checker tells of what no quorum has on its disks") {
  forged_cluster forged;
  forged.append(1, 1, 7U);
  SECTION("nobody else") {}
  SECTION("another entry") { forged.append(2, 2, 7U); }
  SECTION("not on the disk") {
    forged.disk(2).term = term{1};
    forged.disk(2).log.append({.term = term{1}, .payload_hash = 7U});
  }
  SECTION("not even itself") { forged.tell(1, raft_event::counted, 2); }
  forged.tell(1, raft_event::counted, 1);
  CHECK(forged.property() == "quorum");
}

TEST_CASE("the checker tells of an older entry that is committed by counting") {
  forged_cluster forged;
  forged.append(1, 1, 7U);
  forged.append(2, 1, 7U);
  forged.tell(1, raft_event::counted, 1);
  CHECK(forged.property().empty());
  forged.disk(1).term = term{2};
  forged.tell(1, raft_event::counted, 1);
  CHECK(forged.property() == "committed in the current term");
}

TEST_CASE("the checker tells of a change too many, too early or too soon") {
  forged_cluster forged;
  forged.append(1, 1, 7U);
  forged.elect(1);
  const std::uint64_t now = forged.node(1).term().value;
  SECTION("in good order") {
    forged.commit_all(1);
    forged.append(1, now, members_of({1, 2}));
    CHECK(forged.property().empty());
    forged.append(1, now, members_of({1}));  // before that is committed
  }
  SECTION("two servers at once") {
    forged.commit_all(1);
    forged.append(1, now, members_of({1, 2, 4}));
  }
  SECTION("nobody is left") {
    forged.commit_all(1);
    forged.append(1, now, members_of({}));
  }
  SECTION("before an entry of its term is committed") { forged.append(1, now, members_of({1, 2})); }
  CHECK(forged.property() == "single-server change");
}

TEST_CASE("the checker tells of a snapshot with another configuration") {
  forged_cluster forged;
  forged.append(1, 1, 7U);
  forged.append(1, 1, members_of({1, 2}));
  forged.tell(1, raft_event::commits, 1);
  forged.tell(1, raft_event::commits, 2);
  forged.disk(2).snapshot = forged.disk(3).snapshot = snapshot_of(2);
  forged.disk(2).log.reset({log_index{2}, term{1}}, members_of({1, 2}));
  forged.tell(2, raft_event::installed, 2);
  CHECK(forged.property().empty());
  forged.disk(3).log.reset({log_index{2}, term{1}}, members_of({1, 2, 3}));
  forged.tell(3, raft_event::installed, 2);
  CHECK(forged.property() == "single-server change");
}

TEST_CASE("what a configuration is and becomes") {
  const configuration start = members_of({1, 2, 3}, {5});
  CHECK(start.quorum() == 2);
  CHECK(start.text() == "voters 1 2 3, learners 5");
  CHECK(quorlite::testing::detail::decode_configuration(quorlite::testing::detail::encode(start)) ==
        start);
  const auto after = [&](change_kind kind, std::uint64_t id) {
    return start.after({kind, server_id{id}});
  };
  CHECK(after(change_kind::add, 4) == members_of({1, 2, 3}, {4, 5}));
  CHECK(after(change_kind::promote, 5) == members_of({1, 2, 3, 5}));
  CHECK(after(change_kind::demote, 2) == members_of({1, 3}, {2, 5}));
  CHECK(after(change_kind::remove, 2) == members_of({1, 3}, {5}));
  CHECK(after(change_kind::remove, 5) == members_of({1, 2, 3}));
  CHECK(after(change_kind::add, 5) == start);
  CHECK(after(change_kind::promote, 2) == start);
  CHECK(after(change_kind::demote, 5) == start);
  CHECK(after(change_kind::remove, 9) == start);
  using quorlite::testing::detail::difference;
  CHECK(difference(start, start) == 0);
  CHECK(difference(start, after(change_kind::promote, 5)) == 1);
  CHECK(difference(start, members_of({1, 2, 5})) == 2);
}

}  // namespace test_raft_membership_test
