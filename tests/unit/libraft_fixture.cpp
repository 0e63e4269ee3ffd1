// The libraft adapter on libraft's own fixture: virtual time, one thread, no sockets, no files.

#include <sqlite3.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/libraft/boots.hpp"
#include "quorlite/replica.hpp"
#include "quorlite/storage/memory.hpp"
#include "quorlite/testing/consensus_conformance.hpp"
#include "support/libraft_fixture.hpp"
#include "support/started_replica.hpp"

#if defined(__SANITIZE_ADDRESS__)
#define QUORLITE_TEST_LEAKS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define QUORLITE_TEST_LEAKS 1
#endif
#endif
#if defined(QUORLITE_TEST_LEAKS)
#include <sanitizer/lsan_interface.h>
#endif

namespace {

/// libraft 0.15 forgets an array of one buffer when it gives up a snapshot that came.
struct engine_leaks {
#if defined(QUORLITE_TEST_LEAKS)
  engine_leaks() { __lsan_disable(); }
  ~engine_leaks() { __lsan_enable(); }
#else
  engine_leaks() {}
  ~engine_leaks() {}
#endif
  engine_leaks(const engine_leaks&) = delete;
  engine_leaks& operator=(const engine_leaks&) = delete;
};

using namespace quorlite;

using namespace quorlite::detail;
using quorlite::testing::conformance_report;
using quorlite::testing::detail::settlement;
using quorlite::tests::disk_failure;
using quorlite::tests::fixture_flaw;
using quorlite::tests::fixture_raft;
using quorlite::tests::fixture_simulation;
using scene_type = quorlite::testing::detail::consensus_scene<fixture_simulation>;

proposal_token ask_barrier(scene_type& scene, std::size_t server) {
  const proposal_token token =
      scene.ledger().begin(server, scene.machine(server).gained(), 0, true);
  scene.harness().node(server).read_barrier(token);
  scene.ledger().returned();
  return token;
}

/// Three servers with a leader that has written.
struct led_cluster {
  conformance_report report;
  scene_type scene{std::make_unique<fixture_simulation>(3), report};
  fixture_simulation& simulation = scene.harness();
  const std::size_t leader = scene.await_leader();

  led_cluster() { REQUIRE(scene.write(3)); }
  void expect_laws(std::initializer_list<std::string_view> laws) {
    scene.finish(laws);
    INFO(report.text());
    CHECK(report.laws(quorlite::testing::law_result::failed).empty());
  }
};

conformance_report examine(fixture_flaw flaw) {
  conformance_report report;
  quorlite::testing::run_consensus_conformance(
      [flaw](std::size_t servers) { return std::make_unique<fixture_simulation>(servers, flaw); },
      report);
  return report;
}

bytes some_bytes(std::size_t size, unsigned seed) {
  bytes made(size);
  for (std::size_t i = 0; i < size; ++i) {
    made[i] = static_cast<std::byte>(seed * 31 + i * 7);
  }
  return made;
}

bytes batch_of(const std::vector<bytes>& commands, std::uint64_t entry) {
  std::size_t payload = 0;
  for (const bytes& one : commands) {
    payload += one.size();
  }
  bytes raw(libraft_batch::bytes_for(commands.size(), payload, entry));
  libraft_batch::encode(
      raw, commands.size(), [&](std::size_t i) { return bytes_view(commands[i]); }, entry);
  return raw;
}

}  // namespace

TEST_CASE("the libraft adapter keeps every law on the engine's own fixture", "[libraft]") {
  const conformance_report report = examine(fixture_flaw::none);
  INFO(report.text());
  CHECK(report.clean());
  for (const char* law :
       {"P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9", "P11", "P12", "A1", "A2",  "A3", "A4",
        "A5", "A6", "A7", "L1", "L2", "L3", "L4", "L5", "L6", "L7",  "L8",  "L9", "L10", "S1", "S2",
        "S3", "S4", "S5", "S6", "S7", "S8", "W1", "W2", "W3", "W4",  "B1",  "B2", "T1"}) {
    INFO(law);
    CHECK(report.passed(law));
  }
  CHECK(report.skipped("P10"));  // it has one thread; libraft_uv.cpp has more
}

TEST_CASE("an adapter for libraft that is wrong in one way breaks its law", "[libraft]") {
  struct row {
    fixture_flaw flaw;
    const char* law;
  };
  const row rows[] = {
      {fixture_flaw::settles_twice, "P1"},         {fixture_flaw::settles_on_append, "P2"},
      {fixture_flaw::drops_last_of_batch, "P2"},   {fixture_flaw::announces_early, "L1"},
      {fixture_flaw::lost_is_not_applied, "P3"},   {fixture_flaw::keeps_span, "P9"},
      {fixture_flaw::overlaps_skip, "A3"},         {fixture_flaw::one_index_for_a_batch, "P2"},
      {fixture_flaw::indices_of_the_engine, "A1"}, {fixture_flaw::no_terms, "P5"},
      {fixture_flaw::forwards_after_loss, "P5"},   {fixture_flaw::barrier_without_quorum, "B2"},
      {fixture_flaw::forgets_on_stop, "P1"},       {fixture_flaw::keeps_leadership_on_stop, "L3"},
      {fixture_flaw::replays_with_hole, "S1"},     {fixture_flaw::counts_from_snapshot, "S3"},
  };
  for (const row& each : rows) {
    const conformance_report report = examine(each.flaw);
    INFO("flaw " << static_cast<int>(each.flaw) << " must break " << each.law << '\n'
                 << report.text());
    CHECK(report.failed(each.law));
  }
}

// ---- what lies in the log

TEST_CASE("a batch gives back its commands, empty ones too, and fills words of eight bytes") {
  const std::uint64_t entry = GENERATE(0U, 77U);  // its index, if it tells it
  for (const std::size_t count : {1U, 2U, 7U, 100U}) {
    std::vector<bytes> commands;
    for (std::size_t i = 0; i < count; ++i) {
      commands.push_back(some_bytes(i * 3 % 11, static_cast<unsigned>(i)));
    }
    const bytes raw = batch_of(commands, entry);
    CHECK(raw.size() % 8 == 0);
    CHECK(libraft_batch::count_in(raw) == count);
    CHECK(libraft_batch::entry_in(raw) == entry);
    const result<libraft_batch> batch = libraft_batch::decode(raw);
    REQUIRE(batch.has_value());
    REQUIRE(batch->size() == count);
    CHECK(batch->may_be_at(77));
    CHECK(batch->may_be_at(76) == (entry == 0));
    std::vector<bytes> found;
    batch->for_each([&](bytes_view command) {
      found.emplace_back(command.begin(), command.end());
      return true;
    });
    CHECK(found == commands);
    std::size_t visited = 0;
    batch->for_each([&](bytes_view) { return ++visited < 2; });
    CHECK(visited == std::min<std::size_t>(count, 2));
  }
}

TEST_CASE("a batch that is cut, longer or changed around its commands is refused") {
  const std::uint64_t entry = GENERATE(0U, 77U);
  const std::vector<bytes> commands{some_bytes(5, 1), {}, some_bytes(13, 2)};
  const bytes raw = batch_of(commands, entry);
  for (std::size_t size = 0; size < raw.size(); ++size) {
    CHECK_FALSE(libraft_batch::decode(bytes_view(raw).first(size)).has_value());
  }
  bytes longer = raw;
  longer.resize(raw.size() + 8);
  CHECK_FALSE(libraft_batch::decode(longer).has_value());
  const std::size_t header =
      entry == 0 ? libraft_batch::header_bytes : libraft_batch::header_bytes_max;
  const std::size_t start = header + 4 * commands.size();
  for (std::size_t at = 0; at < raw.size(); ++at) {
    for (unsigned value = 0; value < 256; ++value) {
      bytes changed = raw;
      changed[at] = static_cast<std::byte>(value);
      const bool is_command = at >= start && at < start + 18;  // those check themselves
      INFO(at << " = " << value);
      CHECK(libraft_batch::decode(changed).has_value() == (changed == raw || is_command));
    }
  }
}

TEST_CASE("the header of a snapshot is whole or refused") {
  libraft_snapshot_header header{{77, {log_index{1234}, term{5}}}, 3};
  bytes raw(libraft_snapshot_header::encoded_bytes + 3);
  header.encode(raw);
  const result<libraft_snapshot_header> found = libraft_snapshot_header::decode(raw);
  REQUIRE(found.has_value());
  CHECK(found->at.entry == 77);
  CHECK(found->at.at == header.at.at);
  for (std::size_t size = 0; size < raw.size(); ++size) {
    CHECK_FALSE(libraft_snapshot_header::decode(bytes_view(raw).first(size)).has_value());
  }
  for (std::size_t at = 0; at < libraft_snapshot_header::encoded_bytes; ++at) {
    bytes changed = raw;
    changed[at] ^= std::byte{0x10};
    CHECK_FALSE(libraft_snapshot_header::decode(changed).has_value());
  }
}

// ---- leadership

TEST_CASE(
    "a gain is announced after the barrier of its term, and proposals before it are refused") {
  conformance_report report;
  scene_type scene(std::make_unique<fixture_simulation>(3), report);
  fixture_simulation& simulation = scene.harness();
  std::optional<std::size_t> first;
  const auto engine_leads = [&] {
    for (std::size_t i = 0; i < 3 && !first; ++i) {
      if (raft_state(simulation.engine(i)) == RAFT_LEADER) {
        first = i;
      }
    }
    return first.has_value();
  };
  REQUIRE(simulation.run_until(engine_leads));
  CHECK_FALSE(scene.machine(*first).leading());
  const proposal_token early = scene.propose(*first, term{simulation.engine(*first)->current_term});
  CHECK(scene.answer_to(early).how == outcome::not_applied);
  const proposal_token barrier = scene.ledger().begin(*first, term{}, 0, true);
  simulation.node(*first).read_barrier(barrier);
  scene.ledger().returned();
  CHECK(scene.answer_to(barrier).how == outcome::not_applied);
  CHECK_FALSE(scene.machine(*first).leading());
  REQUIRE(simulation.run_until([&] { return scene.machine(*first).leading(); }));
  const raft_log& log = simulation.engine(*first)->log;
  const std::uint64_t applied = simulation.engine(*first)->last_applied;
  REQUIRE(libraft_entry_at(log, applied) != nullptr);
  CHECK(libraft_entry_at(log, applied)->type == RAFT_BARRIER);
  CHECK(libraft_term_at(log, applied) == scene.machine(*first).gained());
  scene.finish({});
  INFO(report.text());
  CHECK(report.laws(quorlite::testing::law_result::failed).empty());
}

TEST_CASE("a change of the members waits until the leader's own term has committed an entry") {
  conformance_report report;
  scene_type scene(std::make_unique<fixture_simulation>(3), report);
  fixture_simulation& simulation = scene.harness();
  std::optional<std::size_t> leader;
  REQUIRE(simulation.run_until([&] {
    for (std::size_t i = 0; i < 3 && !leader; ++i) {
      if (raft_state(simulation.engine(i)) == RAFT_LEADER) {
        leader = i;
      }
    }
    return leader.has_value();
  }));
  REQUIRE_FALSE(scene.machine(*leader).leading());
  const auto ask = [&] {
    auto wish = std::make_shared<libraft_request>(libraft_request::kind::add, server_id{9}, "nine");
    simulation.node(*leader).mail().requests.push_back(wish);
    REQUIRE(simulation.run_until([&] { return wish->done.wait(milliseconds{0}); }));
    return wish->answer;
  };
  CHECK(ask() == errc::busy);
  REQUIRE(simulation.run_until([&] { return scene.machine(*leader).leading(); }));
  CHECK(ask() == std::error_code{});
  scene.finish({});
  INFO(report.text());
  CHECK(report.laws(quorlite::testing::law_result::failed).empty());
}

TEST_CASE("a server whose leader removed itself leads in a term of its own") {
  conformance_report report;
  scene_type scene(std::make_unique<fixture_simulation>(2), report);
  const std::size_t leader = scene.await_leader();
  REQUIRE(scene.write(2));
  const term left = scene.machine(leader).gained();
  scene.harness().node(leader).mail().requests.push_back(std::make_shared<libraft_request>(
      libraft_request::kind::remove, server_id{leader + 1}, std::string()));
  const std::size_t last = scene.await_leader(leader);
  CHECK(last != leader);
  CHECK(scene.machine(last).gained() > left);
  scene.stop(leader);
  CHECK(scene.write(2));
  scene.finish({"L2", "L4"});
  INFO(report.text());
  CHECK(report.laws(quorlite::testing::law_result::failed).empty());
}

TEST_CASE("a server alone that cannot write its new term does not start, and nobody hears of it") {
  conformance_report report;
  scene_type scene(std::make_unique<fixture_simulation>(1), report);
  REQUIRE(scene.write(2));
  scene.crash(0);
  scene.harness().disk(0).fail_next_term();
  quorlite::testing::detail::recording_machine machine(0, scene.ledger(), fixture_raft::abilities);
  CHECK(scene.harness().restart(0, machine) == errc::storage_broken);
  CHECK_FALSE(machine.leading());
  scene.harness().pump();
  CHECK_FALSE(machine.leading());
  scene.finish({});
  CHECK(report.laws(quorlite::testing::law_result::failed).empty());
}

TEST_CASE("proposals in flight when leadership is lost are unknown, and some of them committed") {
  conformance_report report;
  scene_type scene(std::make_unique<fixture_simulation>(3), report);
  const std::size_t leader = scene.await_leader();
  scene.write(2);
  scene.harness().isolate(leader);
  std::vector<proposal_token> lost;
  for (int i = 0; i < 5; ++i) {
    lost.push_back(scene.propose_now(leader));
    scene.harness().step();
  }
  const std::size_t next = scene.await_leader(leader);
  CHECK(next != leader);
  for (const proposal_token token : lost) {
    const settlement answer = scene.answer_to(token);
    const bool sent =
        answer.how == outcome::unknown && answer.why == settle_reason::leadership_lost;
    CHECK((sent || answer.how == outcome::not_applied));  // the last ones waited for a place
  }
  CHECK(scene.answer_to(lost.front()).how == outcome::unknown);
  scene.harness().heal();
  CHECK(scene.write(2));
  scene.finish({});
  INFO(report.text());
  CHECK(report.laws(quorlite::testing::law_result::failed).empty());
}

TEST_CASE("barriers that come together share an entry, and ride with proposals if there are any") {
  conformance_report report;
  scene_type scene(std::make_unique<fixture_simulation>(3), report);
  const std::size_t leader = scene.await_leader();
  scene.write(1);
  const auto ask = [&] { return ask_barrier(scene, leader); };
  const std::uint64_t before = scene.harness().engine(leader)->last_applied;
  std::vector<proposal_token> asked{ask(), ask(), ask()};
  for (const proposal_token token : asked) {
    CHECK(scene.answer_to(token).how == outcome::committed);
  }
  CHECK(scene.harness().engine(leader)->last_applied == before + 1);
  asked = {ask(), scene.propose_now(leader), ask()};
  for (const proposal_token token : asked) {
    CHECK(scene.answer_to(token).how == outcome::committed);
  }
  CHECK(scene.harness().engine(leader)->last_applied == before + 2);
  CHECK(scene.harness().node(leader).status().counters.barriers == 1);
  scene.finish({});
  CHECK(report.laws(quorlite::testing::law_result::failed).empty());
}

// ---- the disk

TEST_CASE("a leader whose disk fails gives up, whatever it said is true, and a restart heals it") {
  const auto how = GENERATE(disk_failure::at_submit, disk_failure::late);
  const auto entries = GENERATE(1, 9);
  CAPTURE(static_cast<int>(how), entries);
  conformance_report report;
  scene_type scene(std::make_unique<fixture_simulation>(3), report);
  fixture_simulation& simulation = scene.harness();
  const std::size_t leader = scene.await_leader();
  REQUIRE(scene.write(3));
  simulation.disk(leader).fail_next_append(how);
  std::vector<proposal_token> tokens;
  for (int i = 0; i < entries; ++i) {
    tokens.push_back(scene.propose_now(leader));
    simulation.step();
  }
  REQUIRE(simulation.run_until([&] { return simulation.node(leader).core().must_close(); }));
  CHECK(simulation.node(leader).core().failure() == errc::storage_broken);
  CHECK_FALSE(scene.machine(leader).leading());
  CHECK(simulation.node(leader).status().counters.disk_errors == 1);
  const settlement first = scene.answer_to(tokens.front());
  CHECK(first.why == settle_reason::log_failed);
  CHECK(first.how == (how == disk_failure::at_submit ? outcome::not_applied : outcome::unknown));
  for (const proposal_token token : tokens) {
    CHECK(scene.await_settled(token));
  }
  const proposal_token late = scene.propose_now(leader);
  CHECK(scene.answer_to(late).how == outcome::not_applied);

  const std::size_t next = scene.await_leader(leader);
  CHECK(next != leader);
  scene.crash(leader);
  REQUIRE(scene.write(2));
  scene.restart(leader);
  CHECK(scene.write(2));
  scene.check_equal(leader);
  scene.finish({"P1", "P2", "P3"});
  INFO(report.text());
  CHECK(report.laws(quorlite::testing::law_result::failed).empty());
}

TEST_CASE("a follower whose disk fails leaves the cluster, and acknowledges nothing it lost") {
  const auto how = GENERATE(disk_failure::at_submit, disk_failure::late);
  CAPTURE(static_cast<int>(how));
  conformance_report report;
  scene_type scene(std::make_unique<fixture_simulation>(3), report);
  fixture_simulation& simulation = scene.harness();
  const std::size_t leader = scene.await_leader();
  REQUIRE(scene.write(3));
  const std::size_t follower = scene.follower_of(leader);
  simulation.disk(follower).fail_next_append(how);
  proposal_token last;
  for (int i = 0; i < 5; ++i) {
    last = scene.propose_now(leader);
    simulation.step();
  }
  CHECK(scene.answer_to(last).how == outcome::committed);
  REQUIRE(simulation.run_until([&] { return simulation.node(follower).core().must_close(); }));
  scene.crash(follower);
  // What is committed now is on the two others: one of them may go, and nothing is lost.
  scene.crash(leader);
  scene.restart(follower);
  CHECK(scene.write(1));
  scene.restart(leader);
  CHECK(scene.write(1));
  scene.finish({"P2", "A5"});
  INFO(report.text());
  CHECK(report.laws(quorlite::testing::law_result::failed).empty());
}

TEST_CASE("a leader that withdraws hands over before anybody's election timer, and is closed") {
  led_cluster led;
  scene_type& scene = led.scene;
  fixture_simulation& simulation = led.simulation;
  const std::size_t leader = led.leader;
  const std::uint64_t election_timeout = simulation.engine(leader)->election_timeout;
  const std::uint64_t began = simulation.now_ms();
  scene.machine(leader).halt_now();
  simulation.node(leader).withdraw();
  const std::size_t next = scene.await_leader(leader);
  CHECK(next != leader);
  CHECK(simulation.now_ms() - began < election_timeout);
  CHECK(simulation.node(leader).core().must_close());
  CHECK(simulation.node(leader).core().failure() == errc::halted);
  CHECK(scene.write(2));
  led.expect_laws({"P1", "P2", "A4", "L3"});
}

TEST_CASE("a leader that withdraws and reaches nobody is closed after an election timeout") {
  led_cluster led;
  scene_type& scene = led.scene;
  fixture_simulation& simulation = led.simulation;
  const std::size_t leader = led.leader;
  simulation.isolate(leader);
  scene.propose_now(leader);
  simulation.step();
  scene.machine(leader).halt_now();
  simulation.node(leader).withdraw();
  simulation.step();
  CHECK_FALSE(scene.machine(leader).leading());  // whatever becomes of the transfer
  const std::uint64_t began = simulation.now_ms();
  REQUIRE(simulation.run_until([&] { return simulation.node(leader).core().must_close(); }));
  CHECK(simulation.now_ms() - began <= simulation.engine(leader)->election_timeout + 100);
  led.expect_laws({"P1", "P3"});
}

TEST_CASE("a leader that leaves for want of room hands over, and answers all that is under way") {
  led_cluster led;
  scene_type& scene = led.scene;
  fixture_simulation& simulation = led.simulation;
  const std::size_t leader = led.leader;
  const std::uint64_t election_timeout = simulation.engine(leader)->election_timeout;
  const std::uint64_t began = simulation.now_ms();
  std::vector<proposal_token> tokens;
  for (int i = 0; i < 5; ++i) {
    tokens.push_back(scene.propose_now(leader));
    simulation.step();
  }
  simulation.node(leader).mail().leave = make_error_code(errc::storage_full);
  simulation.step();
  const settlement late = scene.answer_to(scene.propose_now(leader));
  CHECK(late.how == outcome::not_applied);
  CHECK((late.why == settle_reason::no_room || late.why == settle_reason::not_leader));
  REQUIRE(simulation.run_until([&] { return simulation.node(leader).core().must_close(); }));
  CHECK(simulation.now_ms() - began <= election_timeout + 100);
  CHECK(simulation.node(leader).core().failure() == errc::storage_full);
  CHECK(simulation.node(leader).status().counters.disk_errors == 0);
  CHECK(scene.answer_to(tokens.front()).how == outcome::committed);
  for (const proposal_token token : tokens) {  // what waited for a place in the log never was there
    const settlement answer = scene.answer_to(token);
    CHECK((answer.how == outcome::committed || answer.why == settle_reason::no_room));
  }
  CHECK_FALSE(scene.machine(leader).leading());
  // What was applied here is in the log here: the files may be flushed as far.
  CHECK(simulation.engine(leader)->last_applied <= simulation.engine(leader)->last_stored);
  const std::size_t next = scene.await_leader(leader);
  CHECK(next != leader);
  scene.crash(leader);
  CHECK(scene.write(2));
  scene.restart(leader);
  CHECK(scene.write(1));
  led.expect_laws({"P1", "P2", "L3"});
}

TEST_CASE("a leader that leaves waits for disks that are slower than an election timeout") {
  led_cluster led;
  scene_type& scene = led.scene;
  fixture_simulation& simulation = led.simulation;
  const std::size_t leader = led.leader;
  const std::uint64_t election_timeout = simulation.engine(leader)->election_timeout;
  for (std::size_t i = 0; i < simulation.size(); ++i) {
    simulation.disk(i).set_latency(4 * election_timeout);
  }
  const proposal_token slow = scene.propose_now(leader);
  simulation.step();
  const std::uint64_t began = simulation.now_ms();
  simulation.node(leader).mail().leave = make_error_code(errc::storage_full);
  REQUIRE(simulation.run_until([&] { return simulation.node(leader).core().must_close(); }));
  CHECK(simulation.now_ms() - began >= 3 * election_timeout);
  CHECK(scene.answer_to(slow).how == outcome::committed);
  for (std::size_t i = 0; i < simulation.size(); ++i) {
    simulation.disk(i).set_latency(10);
  }
  CHECK(scene.await_leader(leader) != leader);
  led.expect_laws({"P1", "P2", "L3"});
}

TEST_CASE("a leader that leaves and reaches nobody is closed within two election timeouts") {
  led_cluster led;
  scene_type& scene = led.scene;
  fixture_simulation& simulation = led.simulation;
  const std::size_t leader = led.leader;
  simulation.isolate(leader);
  const proposal_token lost = scene.propose_now(leader);
  simulation.step();
  const std::uint64_t began = simulation.now_ms();
  simulation.node(leader).mail().leave = make_error_code(errc::storage_full);
  REQUIRE(simulation.run_until([&] { return simulation.node(leader).core().must_close(); }));
  // The engine looks once in an election timeout whether a majority answered since it looked last.
  CHECK(simulation.now_ms() - began <= 2 * simulation.engine(leader)->election_timeout + 200);
  CHECK(scene.await_settled(lost));
  CHECK(scene.answer_to(lost).how == outcome::unknown);
  led.expect_laws({"P1", "P3"});
}

TEST_CASE("a damaged batch halts the server that has it, and no other") {
  conformance_report report;
  scene_type scene(std::make_unique<fixture_simulation>(3), report);
  fixture_simulation& simulation = scene.harness();
  const std::size_t leader = scene.await_leader();
  REQUIRE(scene.write(3));
  const std::size_t follower = scene.follower_of(leader);
  scene.crash(follower);
  auto& disk = simulation.disk(follower);
  for (std::size_t i = 0; i < disk.entries(); ++i) {
    if (disk.is_command(i)) {
      disk.entry_bytes(i)[9] ^= std::byte{1};  // the count of its commands
      break;
    }
  }
  scene.restart(follower);
  REQUIRE(simulation.run_until([&] { return simulation.node(follower).core().must_close(); }));
  CHECK(simulation.node(follower).core().failure() == errc::corrupt);
  CHECK(scene.machine(follower).state().entries.empty());
  scene.crash(follower);
  CHECK(scene.write(2));
  scene.finish({});
  INFO(report.text());
  CHECK(report.laws(quorlite::testing::law_result::failed).empty());
}

TEST_CASE("a damaged snapshot stops a start, and who is sent one refuses its sender") {
  conformance_report report;
  scene_type scene(std::make_unique<fixture_simulation>(3), report);
  fixture_simulation& simulation = scene.harness();
  const std::size_t leader = scene.await_leader();
  const std::size_t follower = scene.follower_of(leader);
  REQUIRE(scene.write(3));
  scene.crash(follower);
  for (int i = 0; i < 20; ++i) {
    scene.propose_now(leader);
  }
  for (std::size_t i = 0; i < 3; ++i) {
    if (i != follower) {
      simulation.compact(i);
      REQUIRE(simulation.disk(i).snapshot_index() > 0);
      simulation.disk(i).snapshot_bytes()[50] ^= std::byte{1};  // the recording machine's own bytes
      simulation.disk(i).snapshot_bytes()[17] ^= std::byte{1};  // and the index in the header
    }
  }
  scene.restart(follower);
  REQUIRE(simulation.run_until([&] {
    const auto refused = simulation.node(follower).status().refused;
    return !refused.empty() && refused[0].why == std::string("sends a damaged snapshot");
  }));
  CHECK_FALSE(simulation.node(follower).core().must_close());
  CHECK(simulation.disk(follower).snapshot_index() == 0);
  scene.crash(follower);

  scene.crash(leader);
  quorlite::testing::detail::recording_machine machine(leader, scene.ledger(),
                                                       scene_type::abilities);
  CHECK(simulation.restart(leader, machine) == errc::corrupt);
  CHECK(machine.applied().index.value == 0);
}

// ---- memory

TEST_CASE("bytes in flight are bounded, and refusals are definite") {
  libraft_options options = fixture_simulation::default_options();
  options.in_flight_bytes = std::size_t{20} << 10U;
  conformance_report report;
  scene_type scene(std::make_unique<fixture_simulation>(3, fixture_flaw::none, options), report);
  const std::size_t leader = scene.await_leader();
  std::vector<proposal_token> tokens;
  for (int i = 0; i < 12; ++i) {
    tokens.push_back(scene.propose_now(leader, 4000));
  }
  std::size_t busy = 0;
  for (const proposal_token token : tokens) {
    const settlement answer = scene.answer_to(token);
    busy += answer.why == settle_reason::busy ? 1U : 0U;
    CHECK((answer.how == outcome::committed) == (answer.why == settle_reason::none));
  }
  CHECK(busy == 7);
  CHECK(scene.answer_to(scene.propose_now(leader, 4000)).how == outcome::committed);
  scene.finish({"P3"});
  CHECK(report.laws(quorlite::testing::law_result::failed).empty());
}

TEST_CASE("snapshots are taken by bytes, and so is what is kept before them") {
  libraft_options options = fixture_simulation::default_options();
  options.snapshot_min_bytes = std::uint64_t{30} << 10U;
  options.snapshot_percent = 0;
  options.trailing_bytes = std::uint64_t{10} << 10U;
  conformance_report report;
  scene_type scene(std::make_unique<fixture_simulation>(3, fixture_flaw::none, options), report);
  const std::size_t leader = scene.await_leader();
  for (int i = 0; i < 60; ++i) {
    REQUIRE(scene.answer_to(scene.propose_now(leader, 2000)).how == outcome::committed);
  }
  REQUIRE(scene.converge());
  scene.harness().pump();
  for (std::size_t i = 0; i < 3; ++i) {
    const libraft_status status = scene.harness().node(i).status();
    CHECK(status.counters.snapshots_taken >= 3);
    CHECK(status.counters.snapshots_taken <= 4);
    CHECK(status.log_bytes < (std::uint64_t{60} << 10U));
    const std::uint64_t kept = status.snapshot_index + 1 - scene.harness().disk(i).first_index();
    CHECK(kept >= 3);
    CHECK(kept <= 5);
  }
  scene.finish({"P2"});
  CHECK(report.laws(quorlite::testing::law_result::failed).empty());
}

TEST_CASE("a log at its limit refuses proposals until a snapshot makes room, and never hangs") {
  libraft_options options = fixture_simulation::default_options();
  options.snapshot_min_bytes = std::uint64_t{1} << 30U;  // only the limit forces one
  options.trailing_bytes = 0;
  options.log_bytes = std::uint64_t{40} << 10U;
  conformance_report report;
  scene_type scene(std::make_unique<fixture_simulation>(3, fixture_flaw::none, options), report);
  const std::size_t leader = scene.await_leader();
  scene.harness().node(leader).machine().be_busy(true);
  settlement answer;
  std::size_t committed = 0;
  while (committed < 100 && answer.why != settle_reason::busy) {
    answer = scene.answer_to(scene.propose_now(leader, 3000));
    committed += answer.how == outcome::committed ? 1U : 0U;
  }
  CHECK(answer.how == outcome::not_applied);
  CHECK(committed >= 12);
  CHECK(committed <= 14);
  CHECK(scene.answer_to(scene.propose_now(leader, 3000)).why == settle_reason::busy);
  scene.harness().pump();
  CHECK(scene.harness().node(leader).status().counters.snapshots_taken == 0);
  scene.harness().node(leader).machine().be_busy(false);
  CHECK(scene.answer_to(scene.propose_now(leader, 3000)).why == settle_reason::busy);
  scene.harness().pump();  // an entry for nobody made the engine look at its log
  CHECK(scene.harness().node(leader).status().counters.snapshots_taken == 1);
  CHECK(scene.answer_to(scene.propose_now(leader, 3000)).how == outcome::committed);
  scene.finish({"P1", "P2", "P3"});
  INFO(report.text());
  CHECK(report.laws(quorlite::testing::law_result::failed).empty());
}

namespace {

libraft_options small_log() {
  libraft_options options = fixture_simulation::default_options();
  options.snapshot_min_bytes = std::uint64_t{1} << 30U;  // only the limit forces one
  options.trailing_bytes = 0;
  options.log_bytes = std::uint64_t{40} << 10U;
  return options;
}

/// Until one is refused, busy. @returns how many were committed
std::size_t fill_log(scene_type& scene, std::size_t leader) {
  settlement answer;
  std::size_t committed = 0;
  while (committed < 100 && answer.why != settle_reason::busy) {
    answer = scene.answer_to(scene.propose_now(leader, 3000));
    committed += answer.how == outcome::committed ? 1U : 0U;
  }
  CHECK(answer.how == outcome::not_applied);
  CHECK(answer.why == settle_reason::busy);
  return committed;
}

}  // namespace

TEST_CASE("a log that filled up while snapshots failed has room again once one can be written") {
  conformance_report report;
  scene_type scene(std::make_unique<fixture_simulation>(3, fixture_flaw::none, small_log()),
                   report);
  const std::size_t leader = scene.await_leader();
  fixture_simulation& all = scene.harness();
  all.disk(leader).fail_snapshots(true);
  CHECK(fill_log(scene, leader) >= 12);
  all.pump();
  const std::uint64_t failed = all.node(leader).status().counters.snapshots_failed;
  CHECK(failed > 0);
  // Whoever goes on asking has it tried again, but not as often as they ask.
  const std::uint64_t entries = all.node(leader).status().last_index;
  const std::uint64_t begun = all.now_ms();
  while (all.now_ms() < begun + 20'000) {
    CHECK(scene.answer_to(scene.propose_now(leader, 3000)).why == settle_reason::busy);
    all.step();
  }
  libraft_status now = all.node(leader).status();
  CHECK(now.counters.snapshots_failed >= failed + 5);
  CHECK(now.counters.snapshots_failed <= failed + 21);
  CHECK(now.last_index <= entries + 21);
  CHECK(now.counters.snapshots_taken == 0);

  all.disk(leader).fail_snapshots(false);
  all.pump();
  CHECK(scene.answer_to(scene.propose_now(leader, 3000)).why == settle_reason::busy);
  all.pump();
  CHECK(all.node(leader).status().counters.snapshots_taken == 1);
  CHECK(scene.answer_to(scene.propose_now(leader, 3000)).how == outcome::committed);
  scene.finish({"P1", "P2", "P3"});
  INFO(report.text());
  CHECK(report.laws(quorlite::testing::law_result::failed).empty());
}

TEST_CASE("a snapshot that somebody asked for and that failed is tried again with later entries") {
  conformance_report report;
  scene_type scene(std::make_unique<fixture_simulation>(3), report);
  const std::size_t leader = scene.await_leader();
  fixture_simulation& all = scene.harness();
  scene.write(leader);
  all.disk(leader).fail_snapshots(true);
  all.node(leader).mail().compact = true;
  all.pump();
  CHECK(all.node(leader).status().counters.snapshots_failed == 1);
  all.disk(leader).fail_snapshots(false);
  CHECK(scene.answer_to(scene.propose_now(leader, 100)).how == outcome::committed);
  all.pump();
  CHECK(all.node(leader).status().counters.snapshots_taken == 1);
  const std::uint64_t snapshot = all.node(leader).status().snapshot_index;
  CHECK(scene.answer_to(scene.propose_now(leader, 100)).how == outcome::committed);
  all.pump();
  CHECK(all.node(leader).status().counters.snapshots_taken == 1);
  CHECK(all.node(leader).status().snapshot_index == snapshot);
  scene.finish({"P1"});
  CHECK(report.laws(quorlite::testing::law_result::failed).empty());
}

TEST_CASE("entries of barriers count as bytes of the log, so every server compacts them") {
  libraft_options options = fixture_simulation::default_options();
  options.snapshot_min_bytes = std::uint64_t{30} << 10U;
  options.snapshot_percent = 0;
  options.trailing_bytes = std::uint64_t{10} << 10U;
  conformance_report report;
  scene_type scene(std::make_unique<fixture_simulation>(3, fixture_flaw::none, options), report);
  const std::size_t leader = scene.await_leader();
  for (int i = 0; i < 1000; ++i) {
    REQUIRE(scene.answer_to(ask_barrier(scene, leader)).how == outcome::committed);
  }
  scene.harness().pump();
  for (std::size_t i = 0; i < 3; ++i) {
    const libraft_status status = scene.harness().node(i).status();
    CHECK(status.counters.snapshots_taken >= 2);
    CHECK(status.counters.snapshots_taken <= 6);
    CHECK(status.log_bytes < (std::uint64_t{60} << 10U));
    CHECK(scene.harness().disk(i).entries() < 500);
    CHECK(status.snapshot_index + 1 - scene.harness().disk(i).first_index() < 100);
  }
  scene.finish({"B1"});
  CHECK(report.laws(quorlite::testing::law_result::failed).empty());
}

TEST_CASE("barriers are refused, busy, while the log is full and no snapshot can be written") {
  conformance_report report;
  scene_type scene(std::make_unique<fixture_simulation>(3, fixture_flaw::none, small_log()),
                   report);
  const std::size_t leader = scene.await_leader();
  fixture_simulation& all = scene.harness();
  all.disk(leader).fail_snapshots(true);
  settlement answer;
  std::size_t committed = 0;
  while (committed < 2000 && answer.why != settle_reason::busy) {
    answer = scene.answer_to(ask_barrier(scene, leader));
    committed += answer.how == outcome::committed ? 1U : 0U;
  }
  CHECK(answer.how == outcome::not_applied);
  CHECK(answer.why == settle_reason::busy);
  CHECK(all.node(leader).status().counters.snapshots_failed > 0);
  all.disk(leader).fail_snapshots(false);
  all.pump();
  CHECK(scene.answer_to(ask_barrier(scene, leader)).why == settle_reason::busy);
  all.pump();
  CHECK(all.node(leader).status().counters.snapshots_taken == 1);
  CHECK(scene.answer_to(ask_barrier(scene, leader)).how == outcome::committed);
  scene.finish({"B1"});
  CHECK(report.laws(quorlite::testing::law_result::failed).empty());
}

TEST_CASE("what is kept before a snapshot never fills the log, whatever trailing_bytes says") {
  libraft_options options = small_log();
  options.trailing_bytes = std::uint64_t{1} << 40U;
  conformance_report report;
  scene_type scene(std::make_unique<fixture_simulation>(3, fixture_flaw::none, options), report);
  const std::size_t leader = scene.await_leader();
  std::size_t committed = 0;
  for (int i = 0; i < 60; ++i) {
    committed +=
        scene.answer_to(scene.propose_now(leader, 3000)).how == outcome::committed ? 1U : 0U;
    scene.harness().run_for(200);
  }
  CHECK(committed == 60);
  scene.finish({"P1"});
  CHECK(report.laws(quorlite::testing::law_result::failed).empty());
}

// ---- with the machine and the storage of the library

namespace {

using node_type = quorlite::tests::started_replica<fixture_raft, memory_storage>;

struct replicas {
  explicit replicas(const libraft_options& options)
      : simulation(3, fixture_flaw::none, options), storages(3), nodes(3) {
    for (std::size_t i = 0; i < 3; ++i) {
      nodes[i].emplace(simulation.node(i), storages[i]);
      REQUIRE(!nodes[i]->status());
    }
  }
  std::size_t await_leader() {
    const auto leads = [this](std::size_t i) { return nodes[i] && nodes[i]->leader().leading; };
    std::size_t found = 3;
    REQUIRE(simulation.run_until([&] {
      for (std::size_t i = 0; i < 3 && found == 3; ++i) {
        found = leads(i) ? i : 3;
      }
      return found < 3;
    }));
    return found;
  }
  bool await_even() {
    return simulation.run_until([this] {
      std::optional<log_position> at;
      for (auto& node : nodes) {
        if (node && at && node->applied() != *at) {
          return false;
        }
        at = node ? node->applied() : at;
      }
      return true;
    });
  }

  fixture_simulation simulation;
  std::vector<memory_storage> storages;
  std::vector<std::optional<node_type>> nodes;
};

std::string ask(sqlite3* db, const std::string& sql) {
  std::string value;
  const auto take = [](void* to, int, char** columns, char**) {
    *static_cast<std::string*>(to) += columns[0] == nullptr ? "" : columns[0];
    return 0;
  };
  const int code = sqlite3_exec(db, sql.c_str(), take, &value, nullptr);
  return code == SQLITE_OK ? value : "!" + std::to_string(code);
}

TEST_CASE("a server that comes back and does not stay waits longer each time, up to a minute",
          "[libraft]") {
  constexpr std::uint64_t second = 1'000'000;
  quorlite::detail::libraft_boots boots;
  std::uint64_t now = 5 * second;
  REQUIRE(boots.is_time(now, second));
  for (const std::uint64_t pause : {1U, 2U, 4U, 8U, 16U, 32U, 60U, 60U}) {
    CHECK_FALSE(boots.is_time(now + pause * second - 1, second));
    now += pause * second;
    CHECK(boots.is_time(now, second));
  }
  now += 600 * second;  // it has stayed
  CHECK(boots.is_time(now, second));
  CHECK_FALSE(boots.is_time(now + second - 1, second));
  CHECK(boots.is_time(now + second, second));
}

}  // namespace

TEST_CASE("replicas on libraft take snapshots, restore them, and stay alike") {
  libraft_options options = fixture_simulation::default_options();
  options.snapshot_min_bytes = std::uint64_t{20} << 10U;
  options.snapshot_percent = 0;
  options.trailing_bytes = 1;
  options.entry_bytes = std::size_t{256} << 10U;
  replicas all(options);
  const std::size_t leader = all.await_leader();
  const std::size_t away = (leader + 1) % 3;
  {
    connection db = std::move(*all.nodes[leader]->open("app.db"));
    CHECK(ask(db, "CREATE TABLE t(x)").empty());
    all.simulation.isolate(away);
    for (int i = 0; i < 40; ++i) {
      CHECK(ask(db, "INSERT INTO t VALUES(randomblob(1500))").empty());
    }
  }
  all.simulation.pump();
  CHECK(all.simulation.node(leader).status().counters.snapshots_taken > 0);
  all.simulation.heal();
  REQUIRE(all.await_even());
  CHECK(all.simulation.node(away).status().counters.snapshots_restored > 0);
  std::vector<std::string> sums;
  for (std::size_t i = 0; i < 3; ++i) {
    connection db = std::move(*all.nodes[i]->open("app.db"));
    sums.push_back(ask(db, "SELECT count(*) || hex(x) FROM t"));
    CHECK(ask(db, "PRAGMA integrity_check") == "ok");
    CHECK(all.nodes[i]->health().halted == false);
  }
  CHECK(sums[0] == sums[1]);
  CHECK(sums[0] == sums[2]);
  for (auto& node : all.nodes) {
    node->stop();
  }
}

TEST_CASE("replicas that only ask barriers take snapshots, and who was away restores one") {
  libraft_options options = fixture_simulation::default_options();
  options.snapshot_min_bytes = std::uint64_t{20} << 10U;
  options.snapshot_percent = 0;
  options.trailing_bytes = 1;
  replicas all(options);
  const std::size_t leader = all.await_leader();
  const std::size_t away = (leader + 1) % 3;
  {
    connection db = std::move(*all.nodes[leader]->open("app.db"));
    CHECK(ask(db, "CREATE TABLE t(x); INSERT INTO t VALUES('one')").empty());
  }
  REQUIRE(all.await_even());
  all.simulation.isolate(away);
  for (int i = 0; i < 400; ++i) {
    REQUIRE(!all.nodes[leader]->read_barrier());
  }
  all.simulation.pump();
  CHECK(all.simulation.node(leader).status().counters.snapshots_taken > 0);
  all.simulation.heal();
  REQUIRE(all.await_even());
  CHECK(all.simulation.node(away).status().counters.snapshots_restored > 0);
  for (auto& node : all.nodes) {
    CHECK_FALSE(node->health().halted);
    connection db = std::move(*node->open("app.db"));
    CHECK(ask(db, "SELECT x FROM t") == "one");
  }
  for (auto& node : all.nodes) {
    node->stop();
  }
}
