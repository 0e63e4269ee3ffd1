// The test Raft with and without faults, one rule at a time. Sections are those of the Raft paper
// (extended version) and of Ongaro's thesis.

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "catch2_shim.hpp"
#include "support/checking_machine.hpp"
#include "support/lone_environment.hpp"

namespace test_raft_test {

using namespace quorlite::tests;
using quorlite::testing::engine_kind;
using quorlite::testing::detail::append_reply;
using quorlite::testing::detail::append_request;
using quorlite::testing::detail::entry_kind;
using quorlite::testing::detail::raft_node;
using quorlite::testing::detail::raft_role;
using quorlite::testing::detail::snapshot_request;
using quorlite::testing::detail::stored_entry;
using quorlite::testing::detail::vote_reply;
using quorlite::testing::detail::wake_kind;

namespace {

constexpr milliseconds second{1000};

server_id other_than(server_id leader, std::uint64_t skip = 0) {
  std::uint64_t id = 1;
  while (id == leader.value || skip > 0) {
    skip -= id == leader.value ? 0 : 1;
    ++id;
  }
  return server_id{id};
}

}  // namespace

TEST_CASE("one server is elected and says so (paper, 5.2)") {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    INFO("seed " << seed);
    recorded_cluster cluster{{.seed = seed, .replicas = seed % 2 == 0 ? 3U : 5U}};
    const server_id leader = cluster.elect(second);
    REQUIRE(leader != server_id{});
    CHECK(cluster.machine(leader).leading());
    CHECK(cluster.simulation.node(leader).term() == cluster.machine(leader).gained());
    cluster.simulation.run_for(milliseconds{2000});
    CHECK(cluster.simulation.leader() == leader);  // heartbeats keep it in leadership
    CHECK(cluster.shared.gains.size() == 1);
    CHECK(cluster.shared.faults.empty());
  }
}

TEST_CASE("what is committed is applied everywhere, in order (paper, 5.3)") {
  recorded_cluster cluster;
  const server_id leader = cluster.elect();
  for (int i = 0; i < 100; ++i) {
    CHECK(cluster.commit(leader) == outcome::committed);
  }
  REQUIRE(cluster.settle_down());
  CHECK(cluster.shared.applied_at.size() == 100);
  CHECK(cluster.shared.log.size() == 101);  // and the no-op
  CHECK(cluster.shared.faults.empty());
}

TEST_CASE("a cluster of one commits by itself") {
  recorded_cluster cluster{{.replicas = 1}};
  const server_id leader = cluster.elect();
  CHECK(cluster.commit(leader) == outcome::committed);
  const proposal_token barrier{999};
  cluster.raft(leader).read_barrier(barrier);
  cluster.simulation.run_for(milliseconds{1});
  CHECK(cluster.shared.settled.at(999) == outcome::committed);
  CHECK(cluster.shared.faults.empty());
}

TEST_CASE("a proposal that cannot be taken is settled at once, and says why") {
  recorded_cluster cluster{{.raft = {.max_entry_bytes = 100, .max_in_flight = 2}}};
  const server_id leader = cluster.elect();
  const term now = cluster.machine(leader).gained();
  const auto refusal = [&](server_id where, term expected, std::size_t size) {
    pending_answer answer;
    const proposal_token token{cluster.shared.tokens + 1};
    cluster.machine(where).expect(token, &answer);
    CHECK(cluster.propose(where, expected, size) == token);
    cluster.machine(where).forget(token);
    CHECK((!answer.how || answer.how == outcome::not_applied));
    return answer.why;
  };
  const log_index last = cluster.simulation.node(leader).disk().log.last_index();
  CHECK(refusal(other_than(leader), now, 8) == settle_reason::not_leader);
  CHECK(refusal(leader, term{now.value - 1}, 8) == settle_reason::stale_term);
  CHECK(refusal(leader, term{now.value + 1}, 8) == settle_reason::stale_term);
  CHECK(refusal(leader, now, 101) == settle_reason::too_large);
  CHECK(cluster.simulation.node(leader).disk().log.last_index() == last);
  CHECK(refusal(leader, now, 100) == settle_reason::none);
  CHECK(refusal(leader, now, 8) == settle_reason::none);
  CHECK(refusal(leader, now, 8) == settle_reason::busy);
  REQUIRE(cluster.settle_down());
  CHECK(cluster.shared.faults.empty());
}

TEST_CASE("an engine that refuses at random does so as a busy one, and takes the others") {
  recorded_cluster cluster{{.raft = {.refuse = 0.5}}};
  const server_id leader = cluster.elect();
  const term now = cluster.machine(leader).gained();
  int taken = 0;
  int busy = 0;
  for (int i = 0; i < 100; ++i) {
    pending_answer answer;
    const proposal_token token{cluster.shared.tokens + 1};
    cluster.machine(leader).expect(token, &answer);
    CHECK(cluster.propose(leader, now, 8) == token);
    cluster.machine(leader).forget(token);
    CHECK((answer.why == settle_reason::none || answer.why == settle_reason::busy));
    CHECK((answer.why == settle_reason::busy) == (answer.how == outcome::not_applied));
    (answer.why == settle_reason::busy ? busy : taken) += 1;
  }
  CHECK(taken > 20);
  CHECK(busy > 20);
  REQUIRE(cluster.settle_down());
  CHECK(cluster.shared.faults.empty());
}

TEST_CASE(
    "an engine that comes late to what is proposed takes it in order, and answers all of it") {
  recorded_cluster cluster{{.raft = {.refuse = 0.3, .proposal_max = milliseconds{20}}}};
  const server_id leader = cluster.elect();
  const term now = cluster.machine(leader).gained();
  const log_index last = cluster.simulation.node(leader).disk().log.last_index();
  std::vector<proposal_token> proposed;
  for (int i = 0; i < 50; ++i) {
    proposed.push_back(cluster.propose(leader, now, 8));
    CHECK_FALSE(cluster.shared.settled.contains(proposed.back().value));
  }
  CHECK(cluster.simulation.node(leader).disk().log.last_index() == last);
  REQUIRE(cluster.settle_down());
  const auto count = [&](outcome how) {
    return std::count_if(proposed.begin(), proposed.end(), [&](proposal_token each) {
      return cluster.shared.settled.at(each.value) == how;
    });
  };
  CHECK(count(outcome::committed) > 20);
  CHECK(count(outcome::not_applied) > 5);
  CHECK(count(outcome::unknown) == 0);
  CHECK(cluster.shared.faults.empty());
}

TEST_CASE("what an engine has not come to is refused when it stops, and forgotten in a crash") {
  recorded_cluster cluster{{.raft = {.proposal_max = milliseconds{20}}}};
  const server_id stopped = cluster.elect();
  const proposal_token told = cluster.propose(stopped);
  cluster.simulation.stop(stopped);
  CHECK(cluster.shared.settled.at(told.value) == outcome::not_applied);
  const server_id crashed = cluster.elect();
  const proposal_token forgotten = cluster.propose(crashed);
  cluster.simulation.crash(crashed);
  cluster.simulation.run_for(milliseconds{100});
  CHECK_FALSE(cluster.shared.settled.contains(forgotten.value));
  CHECK(cluster.shared.faults.empty());
}

TEST_CASE("a cut-off leader steps down, and what it alone has is removed (paper, 5.3)") {
  recorded_cluster cluster{{.replicas = 5}};
  const server_id old_leader = cluster.elect();
  REQUIRE(cluster.commit(old_leader) == outcome::committed);
  cluster.simulation.isolate(old_leader);
  std::vector<proposal_token> lost;
  for (int i = 0; i < 10; ++i) {
    lost.push_back(cluster.propose(old_leader));
  }
  REQUIRE(cluster.simulation.run_until([&] { return !cluster.machine(old_leader).leading(); },
                                       milliseconds{1000}));
  for (const proposal_token each : lost) {
    CHECK(cluster.shared.settled.at(each.value) == outcome::unknown);
  }
  const server_id new_leader = cluster.elect();
  REQUIRE(new_leader != server_id{});
  REQUIRE(new_leader != old_leader);
  for (int i = 0; i < 3; ++i) {
    CHECK(cluster.commit(new_leader) == outcome::committed);
  }
  CHECK(cluster.simulation.node(old_leader).disk().log.last_index() > log_index{10});
  cluster.simulation.heal();
  REQUIRE(cluster.settle_down());
  for (const proposal_token each : lost) {
    CHECK_FALSE(cluster.shared.applied_at.contains(each.value));
  }
  CHECK(cluster.shared.faults.empty());
}

TEST_CASE("a server that was cut off does not disturb the others when it returns (thesis, 9.6)") {
  recorded_cluster cluster;
  const server_id leader = cluster.elect();
  const term before = cluster.simulation.node(leader).term();
  const server_id away = other_than(leader);
  cluster.simulation.isolate(away);
  cluster.simulation.run_for(milliseconds{5000});
  CHECK(cluster.simulation.node(away).term() == before);
  cluster.simulation.heal();
  cluster.simulation.run_for(milliseconds{2000});
  CHECK(cluster.simulation.leader() == leader);
  CHECK(cluster.simulation.node(leader).term() == before);
}

TEST_CASE("an entry of an older term is not committed by counting (paper, 5.4.2 and figure 8)") {
  lone_environment around;
  record shared;
  kept_state kept;
  checking_machine machine{server_id{1}, shared, kept};
  const simulation_options options{.replicas = 5};
  raft_node node{server_id{1}, options, around, quorlite::testing::detail::random{1}};
  // Figure 8 (c): S1 made an entry in term 2, was away in term 3, and leads again in term 4.
  node.disk_to_prepare().log.append({.term = term{1}, .payload = command_bytes(1)});
  node.disk_to_prepare().log.append({.term = term{2}, .payload = command_bytes(2)});
  node.disk_to_prepare().log.mark_synced(log_index{2});
  node.disk_to_prepare().term = term{3};
  REQUIRE_FALSE(node.start(machine));
  around.fire_timer(node);
  for (const bool pre_vote : {true, false}) {
    for (const std::uint64_t voter : {2U, 3U}) {
      node.receive({.from = server_id{voter},
                    .to = server_id{1},
                    .term = term{4},
                    .body = vote_reply{.pre_vote = pre_vote, .granted = true}});
    }
  }
  REQUIRE(node.role() == quorlite::testing::detail::raft_role::leader);
  REQUIRE(node.term() == term{4});
  const auto accept = [&](std::uint64_t from, std::uint64_t match) {
    append_reply reply;
    reply.accepted = true;
    reply.match = log_index{match};
    node.receive({.from = server_id{from}, .to = server_id{1}, .term = term{4}, .body = reply});
  };
  accept(2, 2);
  accept(3, 2);
  accept(4, 2);                                // the entry of term 2 is on four of five …
  CHECK(node.commit_index() == log_index{0});  // … and may still be overwritten, figure 8 (d)
  CHECK_FALSE(machine.leading());
  accept(2, 3);
  CHECK(node.commit_index() == log_index{0});
  accept(3, 3);  // figure 8 (e): one of its own term carries it
  CHECK(node.commit_index() == log_index{3});
  CHECK(machine.entries().size() == 3);
  CHECK(machine.leading());
  CHECK(shared.faults.empty());
  node.stop();
  CHECK_FALSE(machine.leading());
}

TEST_CASE("a sync that began before a cut does not count for what came after it (paper, 5.3)") {
  lone_environment around;
  record shared;
  kept_state kept;
  checking_machine machine{server_id{1}, shared, kept};
  const simulation_options options{.replicas = 3, .disk = {.sync_min_us = 9, .sync_max_us = 9}};
  raft_node node{server_id{1}, options, around, quorlite::testing::detail::random{1}};
  REQUIRE_FALSE(node.start(machine));
  const auto append = [&](std::uint64_t from, std::uint64_t in_term) {
    append_request request;
    for (std::uint64_t i = 1; i <= 3; ++i) {
      request.entries.push_back(
          {.term = term{in_term}, .payload = command_bytes(10 * in_term + i)});
    }
    node.receive(
        {.from = server_id{from}, .to = server_id{1}, .term = term{in_term}, .body = request});
  };
  const auto end_sync = [&] {
    around.sent.clear();
    node.wake(wake_kind::disk, around.synced);
    REQUIRE(around.sent.size() == 1);
    return std::get<append_reply>(around.sent.back().body).match;
  };
  append(2, 1);  // on their way to the disk …
  append(3, 2);  // … when others come in their place
  REQUIRE(node.disk().log.term_at(log_index{1}) == term{2});
  CHECK(end_sync() == log_index{0});
  CHECK(end_sync() == log_index{3});
  node.crash();
}

TEST_CASE("a vote goes to one candidate a term, and only to a complete one (paper, 5.2, 5.4.1)") {
  using quorlite::testing::detail::vote_request;
  lone_environment around;
  record shared;
  kept_state kept;
  checking_machine machine{server_id{1}, shared, kept};
  const simulation_options options{.replicas = 3};
  raft_node node{server_id{1}, options, around, quorlite::testing::detail::random{1}};
  node.disk_to_prepare().log.append({.term = term{2}, .payload = command_bytes(1)});
  node.disk_to_prepare().log.mark_synced(log_index{1});
  node.disk_to_prepare().term = term{2};
  REQUIRE_FALSE(node.start(machine));
  const auto asks = [&](std::uint64_t from, std::uint64_t in_term, log_position last) {
    vote_request request;
    request.last = last;
    around.sent.clear();
    node.receive(
        {.from = server_id{from}, .to = server_id{1}, .term = term{in_term}, .body = request});
    REQUIRE(around.sent.size() == 1);
    return std::get<vote_reply>(around.sent.back().body).granted;
  };
  const log_position mine{log_index{1}, term{2}};
  CHECK_FALSE(asks(2, 3, {log_index{9}, term{1}}));  // longer, but of an older term
  CHECK(asks(3, 3, mine));
  CHECK(asks(3, 3, mine));  // asked again: the answer was lost
  CHECK_FALSE(asks(2, 3, {log_index{5}, term{2}}));
  node.crash();
  checking_machine again{server_id{1}, shared, kept};
  REQUIRE_FALSE(node.start(again));
  CHECK_FALSE(asks(2, 3, {log_index{5}, term{2}}));  // the vote survives a crash
  CHECK(asks(2, 4, {log_index{5}, term{2}}));
  node.crash();
}

TEST_CASE("a vote that comes twice is one vote (paper, 5.2)") {
  lone_environment around;
  record shared;
  kept_state kept;
  checking_machine machine{server_id{1}, shared, kept};
  const simulation_options options{.replicas = 5};
  raft_node node{server_id{1}, options, around, quorlite::testing::detail::random{1}};
  REQUIRE_FALSE(node.start(machine));
  around.fire_timer(node);
  REQUIRE(node.role() == raft_role::pre_candidate);
  const auto consents = [&](std::uint64_t from, bool pre_vote) {
    node.receive({.from = server_id{from},
                  .to = server_id{1},
                  .term = term{1},
                  .body = vote_reply{.pre_vote = pre_vote, .granted = true}});
    return node.role();
  };
  CHECK(consents(2, true) == raft_role::pre_candidate);
  CHECK(consents(2, true) == raft_role::pre_candidate);
  CHECK(consents(3, true) == raft_role::candidate);
  CHECK(consents(4, false) == raft_role::candidate);
  CHECK(consents(4, false) == raft_role::candidate);
  CHECK(consents(5, false) == raft_role::leader);
  node.crash();
}

TEST_CASE("a follower answers for what this leader has shown it, no more (paper, figure 2)") {
  lone_environment around;
  record shared;
  kept_state kept;
  checking_machine machine{server_id{1}, shared, kept};
  const simulation_options options{.replicas = 3};
  raft_node node{server_id{1}, options, around, quorlite::testing::detail::random{1}};
  REQUIRE_FALSE(node.start(machine));
  const auto hear = [&](std::uint64_t leader, std::uint64_t in_term, append_request request) {
    around.sent.clear();
    node.receive({.from = server_id{leader},
                  .to = server_id{1},
                  .term = term{in_term},
                  .body = std::move(request)});
    REQUIRE(around.sent.size() == 1);
    return std::get<append_reply>(around.sent.back().body);
  };
  append_request first;
  for (std::uint64_t token = 1; token <= 3; ++token) {
    first.entries.push_back({.term = term{1}, .payload = command_bytes(token)});
  }
  CHECK(hear(2, 1, first).match == log_index{3});
  CHECK(node.commit_index() == log_index{0});
  // The next leader has the first of them only, as far as is known, and has committed others.
  append_request of_the_next;
  of_the_next.previous = {log_index{1}, term{1}};
  of_the_next.commit_index = log_index{3};
  CHECK(hear(3, 2, of_the_next).match == log_index{1});
  CHECK(node.commit_index() == log_index{1});
  CHECK(machine.entries().size() == 1);
  of_the_next.entries.push_back({.term = term{2}, .payload = command_bytes(4)});
  CHECK(hear(3, 2, of_the_next).match == log_index{2});
  CHECK(node.commit_index() == log_index{2});
  CHECK(node.disk().log.last_index() == log_index{2});
  node.crash();
}

TEST_CASE("a follower that compacted what its leader asks for is found where its log begins") {
  const simulation_options options{.replicas = 3,
                                   .compaction = {.threshold_entries = 10, .trailing_entries = 2}};
  record shared;
  const auto draws = [] { return quorlite::testing::detail::random{1}; };
  lone_environment by_leader;
  kept_state kept_by_leader;
  checking_machine first{server_id{1}, shared, kept_by_leader};
  raft_node leader{server_id{1}, options, by_leader, draws()};
  for (std::uint64_t token = 1; token <= 15; ++token) {
    leader.disk_to_prepare().log.append({.term = term{1}, .payload = command_bytes(token)});
  }
  leader.disk_to_prepare().log.mark_synced(log_index{15});
  leader.disk_to_prepare().term = term{1};
  REQUIRE_FALSE(leader.start(first));
  lone_environment by_follower;
  kept_state kept_by_follower;
  checking_machine of_follower{server_id{2}, shared, kept_by_follower};
  raft_node follower{server_id{2}, options, by_follower, draws()};
  REQUIRE_FALSE(follower.start(of_follower));

  const auto deliver = [](lone_environment& from, server_id whose, raft_node& to) {
    for (const auto& each : std::exchange(from.sent, {})) {
      if (each.to == whose) {
        to.receive(each);
      }
    }
  };
  const auto heartbeat = [&] {
    for (std::size_t i = 0; i < 20 && by_leader.sent.empty(); ++i) {
      by_leader.fire_timer(leader);
    }
    REQUIRE_FALSE(by_leader.sent.empty());
  };
  for (const bool asks_first : {true, false}) {
    by_leader.sent.empty() ? by_leader.fire_timer(leader) : void();
    by_leader.sent.clear();
    leader.receive({.from = server_id{3},
                    .to = server_id{1},
                    .term = term{2},
                    .body = vote_reply{.pre_vote = asks_first, .granted = true}});
  }
  REQUIRE(leader.role() == raft_role::leader);
  leader.wake(wake_kind::outbox, by_leader.outbox);
  deliver(by_leader, server_id{2}, follower);
  deliver(by_follower, server_id{1}, leader);  // it has nothing yet
  const auto third_answers = [&] {
    leader.receive({.from = server_id{3},
                    .to = server_id{1},
                    .term = term{2},
                    .body = append_reply{.accepted = true, .match = log_index{16}}});
  };
  third_answers();
  REQUIRE(leader.commit_index() == log_index{16});
  // It gets all of them, and takes its snapshot; its answers are lost.
  by_leader.sent.clear();
  heartbeat();
  deliver(by_leader, server_id{2}, follower);
  REQUIRE(follower.applied_index() == log_index{16});
  for (std::size_t i = 0; i < 50 && follower.disk().snapshot == nullptr; ++i) {
    follower.wake(wake_kind::snapshot, by_follower.snapshot);
  }
  REQUIRE(follower.disk().log.base().index > log_index{0});
  by_follower.sent.clear();
  // From here on nothing is lost, and nobody writes.
  const auto& progress = leader.leading_state().followers;
  REQUIRE(progress[0].server == server_id{2});
  for (std::size_t i = 0; i < 5; ++i) {
    heartbeat();
    deliver(by_leader, server_id{2}, follower);
    deliver(by_follower, server_id{1}, leader);
    third_answers();
    REQUIRE(leader.role() == raft_role::leader);
  }
  CHECK(progress[0].match == log_index{16});
  CHECK(shared.faults.empty());
  follower.crash();
  leader.crash();
}

TEST_CASE("a follower that fell behind compaction gets a snapshot (paper, 7)") {
  for (const std::uint64_t chunk : {64U, 1U << 20U}) {
    recorded_cluster cluster{
        {.raft = {.chunk_bytes = chunk},
         .compaction = {.threshold_entries = 20, .trailing_entries = 5, .read_bytes = 256}}};
    const server_id leader = cluster.elect();
    const server_id behind = other_than(leader);
    cluster.simulation.isolate(behind);
    for (int i = 0; i < 100; ++i) {
      REQUIRE(cluster.commit(leader) == outcome::committed);
    }
    cluster.simulation.run_for(milliseconds{50});
    CHECK(cluster.simulation.node(leader).disk().log.first_index() > log_index{50});
    CHECK(cluster.machine(behind).entries().size() < 5);
    cluster.machine(behind).damage_stages = 1;  // law S6: refused once, sent again
    cluster.machine(behind).refuse_stages = 1;
    cluster.simulation.heal();
    REQUIRE(cluster.settle_down());
    CHECK(cluster.machine(behind).installs == 1);
    CHECK(cluster.machine(behind).stages_begun == 3);
    CHECK(cluster.shared.faults.empty());
  }
}

namespace {

/// All of a snapshot of entries 1 to `last`, of one term, as a leader sends it.
snapshot_request snapshot_upto(std::uint64_t last, term in_term, record& shared) {
  kept_state kept;
  checking_machine sender{server_id{2}, shared, kept};
  for (std::uint64_t i = 1; i <= last; ++i) {
    const bytes payload = command_bytes(i);
    sender.apply({.at = {log_index{i}, in_term}, .bytes = payload});
  }
  const auto reader = *sender.take_snapshot();
  snapshot_request whole;
  whole.at = {log_index{last}, in_term};
  whole.total_bytes = reader->size_bytes();
  whole.chunk.resize(static_cast<std::size_t>(whole.total_bytes));
  REQUIRE_FALSE(reader->read(0, whole.chunk));
  whole.members = quorlite::testing::detail::configuration::of_voters(3);
  return whole;
}

}  // namespace

// Kept later, the older one would end where the log does not reach back to any more.
TEST_CASE("a snapshot that comes ends an older one that is being taken") {
  const simulation_options options{
      .replicas = 3,
      .compaction = {.threshold_entries = 10, .trailing_entries = 2, .read_bytes = 64}};
  lone_environment around;
  record shared;
  kept_state kept;
  checking_machine machine{server_id{1}, shared, kept};
  raft_node node{server_id{1}, options, around, quorlite::testing::detail::random{1}};
  REQUIRE_FALSE(node.start(machine));
  append_request request;
  for (std::uint64_t i = 1; i <= 12; ++i) {
    request.entries.push_back({.term = term{1}, .payload = command_bytes(i)});
  }
  request.commit_index = log_index{12};
  node.receive({.from = server_id{2}, .to = server_id{1}, .term = term{1}, .body = request});
  REQUIRE(machine.snapshots_taken == 1);
  REQUIRE(node.disk().snapshot == nullptr);
  const snapshot_request newer = snapshot_upto(30, term{1}, shared);
  node.receive({.from = server_id{2}, .to = server_id{1}, .term = term{1}, .body = newer});
  const auto kept_at = [&] { return node.disk().snapshot->at.index; };
  REQUIRE((node.disk().snapshot != nullptr && kept_at() == log_index{30}));
  for (int parts = 0; parts < 100 && kept_at() == log_index{30}; ++parts) {
    node.wake(wake_kind::snapshot, around.snapshot);
  }
  CHECK(kept_at() == log_index{30});
  CHECK(node.disk().log.base().index == log_index{30});
  CHECK(shared.faults.empty());
  node.crash();
}

TEST_CASE(
    "a sync that began before a snapshot took the place of the log counts for nothing in it") {
  const simulation_options options{.replicas = 3, .disk = {.sync_min_us = 9, .sync_max_us = 9}};
  lone_environment around;
  record shared;
  kept_state kept;
  checking_machine machine{server_id{1}, shared, kept};
  raft_node node{server_id{1}, options, around, quorlite::testing::detail::random{1}};
  REQUIRE_FALSE(node.start(machine));
  const auto hear = [&](std::uint64_t in_term, auto body) {
    node.receive({.from = server_id{in_term + 1},
                  .to = server_id{1},
                  .term = term{in_term},
                  .body = std::move(body)});
  };
  const auto end_sync = [&] {
    around.sent.clear();
    node.wake(wake_kind::disk, around.synced);
    REQUIRE(around.sent.size() == 1);
    return std::get<append_reply>(around.sent.back().body).match;
  };
  append_request request;
  for (std::uint64_t i = 1; i <= 4; ++i) {
    request.entries.push_back({.term = term{1}, .payload = command_bytes(100 + i)});
  }
  hear(1, request);  // on their way to the disk …
  hear(2, snapshot_upto(2, term{2}, shared));
  REQUIRE(node.disk().log.last_index() == log_index{2});
  request.previous = {log_index{2}, term{2}};
  for (stored_entry& each : request.entries) {
    each.term = term{2};
  }
  hear(2, request);  // … when others come in their place
  REQUIRE(node.disk().log.last_index() == log_index{6});
  CHECK(end_sync() == log_index{2});
  CHECK(end_sync() == log_index{6});
  node.crash();
}

TEST_CASE("a log is compacted behind its snapshot, never beyond (law S7)") {
  recorded_cluster cluster{{.compaction = {.threshold_entries = 10, .trailing_entries = 3}}};
  const server_id leader = cluster.elect();
  for (int i = 0; i < 100; ++i) {
    REQUIRE(cluster.commit(leader) == outcome::committed);
    for (const server_id id : cluster.simulation.servers()) {
      const auto& disk = cluster.simulation.node(id).disk();
      const log_index kept = disk.snapshot ? disk.snapshot->at.index : log_index{};
      CHECK(disk.log.base().index <= kept);
      CHECK(disk.log.last_index().value - disk.log.base().index.value < 30);
    }
  }
  CHECK(cluster.machine(leader).snapshots_taken >= 9);
}

TEST_CASE("a log that hangs makes nothing durable meanwhile, and its server takes part") {
  recorded_cluster cluster{{.disk = {.sync_min_us = 1, .sync_max_us = 2}}};
  const server_id leader = cluster.elect();
  const server_id slow = other_than(leader);
  cluster.simulation.hang_log(slow, milliseconds{400});
  REQUIRE(cluster.commit(leader) == outcome::committed);  // two of three are a quorum
  cluster.simulation.run_for(milliseconds{300});
  const auto& log = cluster.simulation.node(slow).disk().log;
  CHECK(log.last_index() == cluster.simulation.node(leader).disk().log.last_index());
  CHECK(log.synced_index() < log.last_index());
  CHECK(cluster.simulation.node(slow).known_leader() == leader);
  cluster.simulation.run_for(milliseconds{200});
  CHECK(log.synced_index() == log.last_index());
}

TEST_CASE("a restarted server goes on from what its machine and its disk kept (law S1)") {
  for (const bool flushed : {false, true}) {
    for (const std::uint64_t threshold : {0U, 10U}) {
      INFO("flushed " << flushed << ", threshold " << threshold);
      recorded_cluster cluster{
          {.compaction = {.threshold_entries = threshold, .trailing_entries = 2}}};
      const server_id leader = cluster.elect();
      for (int i = 0; i < 55; ++i) {
        REQUIRE(cluster.commit(leader) == outcome::committed);
      }
      if (flushed) {
        REQUIRE_FALSE(cluster.machine(leader).flush(log_index{100}));
      }
      const std::size_t durable = cluster.at(leader).kept.entries.size();
      cluster.simulation.crash(leader);
      CHECK_FALSE(cluster.simulation.running(leader));
      CHECK(cluster.simulation.leader() != leader);
      const server_id next = cluster.elect();
      REQUIRE(cluster.commit(next) == outcome::committed);
      cluster.simulation.restart(leader);
      CHECK(cluster.machine(leader).installs == (threshold > 0 && !flushed ? 1 : 0));
      CHECK(cluster.machine(leader).entries().size() >= durable);
      REQUIRE(cluster.settle_down());
      CHECK(cluster.shared.faults.empty());
    }
  }
}

TEST_CASE("what is applied and not durable is replayed, from the log or the snapshot (law S1)") {
  for (const std::uint64_t threshold : {0U, 8U}) {
    INFO("threshold " << threshold);
    recorded_cluster cluster{
        {.replicas = 1, .compaction = {.threshold_entries = threshold, .trailing_entries = 1}}};
    const server_id only = cluster.elect();
    for (int i = 0; i < 10; ++i) {
      REQUIRE(cluster.commit(only) == outcome::committed);
    }
    cluster.simulation.run_for(second);
    REQUIRE_FALSE(cluster.machine(only).flush(log_index{100}));
    cluster.at(only).kept.again = 5;
    cluster.simulation.crash(only);
    cluster.simulation.restart(only);
    REQUIRE(cluster.machine(only).durable().index < cluster.machine(only).applied().index);
    CHECK(cluster.machine(only).stages_begun == (threshold == 0 ? 0 : 1));
    REQUIRE(cluster.elect() == only);
    REQUIRE(cluster.settle_down());
    CHECK(cluster.machine(only).replayed == (threshold == 0 ? 5 : 3));
    CHECK(cluster.shared.faults.empty());
  }
}

TEST_CASE("a whole cluster that loses power comes back with everything") {
  recorded_cluster cluster{{.replicas = 5}};
  const server_id leader = cluster.elect();
  for (int i = 0; i < 20; ++i) {
    REQUIRE(cluster.commit(leader) == outcome::committed);
  }
  for (const server_id id : cluster.simulation.servers()) {
    cluster.simulation.crash(id);
  }
  CHECK_FALSE(cluster.simulation.leader().has_value());
  for (const server_id id : cluster.simulation.servers()) {
    cluster.simulation.restart(id);
  }
  REQUIRE(cluster.elect() != server_id{});
  REQUIRE(cluster.settle_down());
  CHECK(cluster.shared.applied_at.size() == 20);
  CHECK(cluster.shared.faults.empty());
}

TEST_CASE("a read barrier sees everything that was committed before it (thesis, 6.4)") {
  recorded_cluster cluster;
  const server_id leader = cluster.elect();
  std::uint64_t token = 1000000;
  for (int i = 0; i < 20; ++i) {
    REQUIRE(cluster.commit(leader) == outcome::committed);
    const std::size_t committed = cluster.shared.log.size();
    const log_index last = cluster.simulation.node(leader).disk().log.last_index();
    pending_answer answer;
    cluster.machine(leader).expect(proposal_token{++token}, &answer);
    cluster.raft(leader).read_barrier(proposal_token{token});
    REQUIRE(cluster.raft(leader).wait(answer.signal, second));
    CHECK(answer.how == outcome::committed);
    CHECK(cluster.machine(leader).entries().size() >= committed);
    CHECK(cluster.simulation.node(leader).disk().log.last_index() == last);  // no entry
    cluster.machine(leader).forget(proposal_token{token});
  }
  const server_id follower = other_than(leader);
  cluster.raft(follower).read_barrier(proposal_token{++token});
  CHECK(cluster.shared.settled.at(token) == outcome::not_applied);
}

// The quorum may have an entry before the leader has it on its own disk.
TEST_CASE("a barrier waits until what was committed before it is applied (law B1)") {
  lone_environment around;
  record shared;
  kept_state kept;
  checking_machine machine{server_id{1}, shared, kept};
  const simulation_options options{.replicas = 3, .disk = {.sync_min_us = 9, .sync_max_us = 9}};
  raft_node node{server_id{1}, options, around, quorlite::testing::detail::random{1}};
  REQUIRE_FALSE(node.start(machine));
  around.fire_timer(node);
  for (const bool pre_vote : {true, false}) {
    node.receive({.from = server_id{2},
                  .to = server_id{1},
                  .term = term{1},
                  .body = vote_reply{.pre_vote = pre_vote, .granted = true}});
  }
  const auto accept = [&](std::uint64_t from, std::uint64_t match, std::uint64_t round) {
    append_reply reply;
    reply.accepted = true;
    reply.match = log_index{match};
    reply.round = round;
    node.receive({.from = server_id{from}, .to = server_id{1}, .term = term{1}, .body = reply});
  };
  node.wake(wake_kind::disk, around.synced);
  accept(2, 1, 0);
  REQUIRE(machine.leading());
  constexpr std::uint64_t written = 1;
  constexpr std::uint64_t asked = 2;
  node.propose(term{1}, proposal_token{written}, command_bytes(written));
  accept(2, 2, 0);
  accept(3, 2, 0);
  REQUIRE(node.commit_index() == log_index{2});
  REQUIRE(node.applied_index() == log_index{1});  // its own sync is not done
  node.read_barrier(proposal_token{asked});
  node.wake(wake_kind::outbox, around.outbox);
  accept(2, 2, 1);
  CHECK_FALSE(shared.settled.contains(asked));
  node.wake(wake_kind::disk, around.synced);
  CHECK(node.applied_index() == log_index{2});
  CHECK(shared.settled.at(asked) == outcome::committed);
  node.crash();
}

TEST_CASE("a barrier between election and announcement is refused (thesis, 6.4)") {
  recorded_cluster cluster;
  const server_id first = cluster.elect();
  REQUIRE(cluster.commit(first) == outcome::committed);
  cluster.simulation.isolate(first);
  server_id elected;
  REQUIRE(cluster.simulation.run_until(
      [&] {
        for (const server_id id : cluster.simulation.servers()) {
          const raft_node& node = cluster.simulation.node(id);
          elected =
              id != first && node.role() == raft_role::leader && !node.announced() ? id : elected;
        }
        return elected != server_id{};
      },
      milliseconds{5000}));
  CHECK_FALSE(cluster.machine(elected).leading());
  cluster.raft(elected).read_barrier(proposal_token{888});
  cluster.simulation.run_for(second);
  CHECK(cluster.shared.settled.at(888) == outcome::not_applied);
  CHECK(cluster.machine(elected).leading());
}

TEST_CASE("the barrier of a leader that was replaced is never committed (law B2)") {
  recorded_cluster cluster;
  const server_id old_leader = cluster.elect();
  cluster.simulation.isolate(old_leader);
  cluster.raft(old_leader).read_barrier(proposal_token{777});
  REQUIRE(cluster.simulation.run_until(
      [&] { return cluster.simulation.leader() && *cluster.simulation.leader() != old_leader; },
      milliseconds{2000}));
  cluster.simulation.heal();
  cluster.simulation.run_for(second);
  CHECK(cluster.shared.settled.at(777) == outcome::not_applied);
}

TEST_CASE("leadership can be handed over (thesis, 3.10)") {
  recorded_cluster cluster{{.replicas = 5}};
  server_id leader = cluster.elect();
  for (std::uint64_t target = 1; target <= 5; ++target) {
    cluster.simulation.transfer(server_id{target});
    if (leader != server_id{target}) {
      pending_answer answer;  // meanwhile nothing is taken
      cluster.machine(leader).expect(proposal_token{cluster.shared.tokens + 1}, &answer);
      const proposal_token token = cluster.propose(leader);
      cluster.machine(leader).forget(token);
      CHECK(answer.why == settle_reason::busy);
    }
    REQUIRE(cluster.simulation.run_until(
        [&] { return cluster.simulation.leader() == server_id{target}; }, milliseconds{100}));
    leader = server_id{target};
    CHECK(cluster.commit(leader) == outcome::committed);
  }
  cluster.raft(leader).transfer_leadership();  // to anyone
  REQUIRE(cluster.simulation.run_until(
      [&] { return cluster.simulation.leader() && *cluster.simulation.leader() != leader; },
      milliseconds{100}));
  REQUIRE(cluster.settle_down());
  CHECK(cluster.shared.faults.empty());
}

TEST_CASE("a transfer to a server that is gone is given up") {
  recorded_cluster cluster;
  const server_id leader = cluster.elect();
  const server_id gone = other_than(leader);
  cluster.simulation.crash(gone);
  cluster.simulation.transfer(gone);
  cluster.simulation.run_for(milliseconds{400});
  CHECK(cluster.simulation.leader() == leader);
  CHECK(cluster.commit(leader) == outcome::committed);
}

TEST_CASE("stop answers everybody and announces the loss (requirement C2)") {
  recorded_cluster cluster;
  const server_id leader = cluster.elect();
  const proposal_token token = cluster.propose(leader);
  cluster.raft(leader).read_barrier(proposal_token{555});
  cluster.simulation.stop(leader);
  CHECK(cluster.shared.settled.at(token.value) == outcome::unknown);
  CHECK(cluster.shared.settled.at(555) == outcome::not_applied);
  CHECK_FALSE(cluster.machine(leader).leading());
  CHECK_FALSE(cluster.simulation.running(leader));
  CHECK(cluster.shared.settled.at(cluster.propose(leader).value) == outcome::not_applied);
  cluster.raft(leader).stop();  // again: nothing
  REQUIRE(cluster.elect() != server_id{});
  cluster.simulation.restart(leader);
  REQUIRE(cluster.settle_down());
  CHECK(cluster.shared.faults.empty());
}

TEST_CASE("a machine that halts is left alone, and another server leads (law A4)") {
  recorded_cluster cluster;
  const server_id leader = cluster.elect();
  REQUIRE(cluster.commit(leader) == outcome::committed);
  cluster.machine(leader).halt_at = 4;
  std::optional<outcome> first = cluster.commit(leader);
  CHECK(first == outcome::committed);  // entry 3
  CHECK(cluster.commit(leader) != outcome::committed);
  CHECK_FALSE(cluster.simulation.running(leader));
  CHECK_FALSE(cluster.machine(leader).leading());
  const server_id next = cluster.elect();
  REQUIRE(next != leader);
  CHECK(cluster.commit(next) == outcome::committed);
  cluster.simulation.run_for(second);
  CHECK(cluster.shared.faults.empty());
}

namespace {

struct counting_task final : background_task {
  void run() noexcept override { ++runs; }
  int runs = 0;
};

}  // namespace

TEST_CASE("a background task runs once, later, and before stop returns (law T1)") {
  recorded_cluster cluster;
  const server_id leader = cluster.elect();
  counting_task soon;
  cluster.raft(leader).run(soon);
  CHECK(soon.runs == 0);
  cluster.simulation.run_for(milliseconds{10});
  CHECK(soon.runs == 1);
  counting_task late;
  cluster.raft(leader).run(late);
  cluster.raft(leader).stop();
  CHECK(late.runs == 1);
  cluster.simulation.restart(leader);
  counting_task never;
  cluster.raft(leader).run(never);
  cluster.simulation.crash(leader);
  cluster.simulation.run_for(milliseconds{10});
  CHECK(never.runs == 0);
  CHECK(soon.runs == 1);
  CHECK(late.runs == 1);
}

TEST_CASE("waiting: raised, raised later, never (laws W1 to W4)") {
  for (const engine_kind engine : {engine_kind::fiber, engine_kind::handoff}) {
    recorded_cluster cluster{{.engine = engine}};
    test_raft& raft = cluster.raft(server_id{1});
    client_signal raised;
    raised.raise();
    CHECK(raft.wait(raised, milliseconds{0}));
    CHECK(cluster.simulation.now() == milliseconds{0});
    client_signal never;
    CHECK_FALSE(raft.wait(never, milliseconds{70}));
    CHECK(cluster.simulation.now() == milliseconds{70});
    CHECK_FALSE(raft.wait(never, milliseconds{0}));  // time moves on, if only just
    CHECK(cluster.simulation.now_us() == 70001);
    client_signal later;
    std::vector<int> order;
    for (int i = 0; i < 4; ++i) {
      cluster.simulation.spawn([&, i] {
        if (raft.wait(later, second)) {
          order.push_back(i);
        }
      });
    }
    cluster.simulation.spawn([&] {
      client_signal unused;
      CHECK_FALSE(raft.wait(unused, milliseconds{20}));
      order.push_back(100);
      later.raise();
    });
    cluster.simulation.after(milliseconds{10}, [&] { order.push_back(50); });
    CHECK(raft.wait(later, second));  // the main stack waits along
    cluster.simulation.run_for(milliseconds{1});
    CHECK(cluster.simulation.unfinished_clients() == 0);
    REQUIRE(order.size() == 6);
    CHECK(order[0] == 50);
    CHECK(order[1] == 100);
    CHECK(cluster.simulation.now().value < 100);
  }
}

TEST_CASE("a client's exception comes out of step") {
  recorded_cluster cluster;
  cluster.simulation.spawn([] { throw std::string("mine"); });
  CHECK_THROWS_AS(cluster.simulation.step(), std::string);
  CHECK(cluster.simulation.unfinished_clients() == 0);
}

TEST_CASE("clients that wait are sent home when a test ends early") {
  int left = 0;
  {
    recorded_cluster cluster;
    for (int i = 0; i < 3; ++i) {
      cluster.simulation.spawn([&] {
        client_signal never;
        while (cluster.raft(server_id{1}).wait(never, second)) {
        }
        ++left;
      });
    }
    cluster.simulation.run_for(milliseconds{10});
    CHECK(left == 0);
  }
  CHECK(left == 3);
}

namespace {

struct run_result {
  std::uint64_t hash = 0;
  std::size_t committed = 0;
  std::size_t most_at_once = 0;
  std::vector<std::string> faults;
};

run_result sixty_four_clients(std::uint64_t seed, engine_kind engine) {
  recorded_cluster cluster{{.seed = seed,
                            .engine = engine,
                            .network = {.drop = 0.01, .duplicate = 0.01, .reorder = 0.05},
                            .compaction = {.threshold_entries = 50, .trailing_entries = 10}}};
  run_result answer;
  cluster.elect();
  std::size_t inside = 0;
  for (int client = 0; client < 64; ++client) {
    cluster.simulation.spawn([&] {
      for (int i = 0; i < 10; ++i) {
        const server_id leader = cluster.simulation.leader().value_or(server_id{1});
        answer.most_at_once = std::max(answer.most_at_once, ++inside);
        const std::optional<outcome> how = cluster.commit(leader, milliseconds{2000});
        --inside;
        answer.committed += how == outcome::committed ? 1 : 0;
        cluster.simulation.sleep(milliseconds{1});
      }
    });
  }
  cluster.simulation.after(milliseconds{20}, [&] { cluster.simulation.transfer(server_id{2}); });
  cluster.settle_down();
  answer.hash = cluster.simulation.event_hash();
  answer.faults = cluster.shared.faults;
  return answer;
}

}  // namespace

TEST_CASE("64 clients: one seed is one run on both engines, another seed is another") {
  const run_result fibers = sixty_four_clients(5, engine_kind::fiber);
  const run_result again = sixty_four_clients(5, engine_kind::fiber);
  const run_result handoffs = sixty_four_clients(5, engine_kind::handoff);
  const run_result other = sixty_four_clients(6, engine_kind::fiber);
  CHECK(fibers.hash == again.hash);
  CHECK(fibers.hash == handoffs.hash);
  CHECK(fibers.hash != other.hash);
  CHECK(fibers.most_at_once == 64);
  CHECK(fibers.committed > 300);
  CHECK(fibers.committed == handoffs.committed);
  CHECK(fibers.faults.empty());
  CHECK(other.faults.empty());
}

TEST_CASE("a trace has a line for every event and changes nothing") {
  recorded_cluster silent{{.seed = 3}};
  recorded_cluster told{{.seed = 3}};
  std::size_t lines = 0;
  bool names_the_leader = false;
  told.simulation.trace([&](std::string_view line) {
    ++lines;
    names_the_leader = names_the_leader || line.find("is elected") != std::string_view::npos;
  });
  silent.simulation.run_for(second);
  told.simulation.run_for(second);
  CHECK(silent.simulation.event_hash() == told.simulation.event_hash());
  CHECK(lines > 50);
  CHECK(names_the_leader);
}

}  // namespace test_raft_test
