// The consensus suite on a small honest cluster, and on clusters that break one law each.
#include <cstddef>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/testing/consensus_conformance.hpp"
#include "support/flawed_consensus.hpp"
#include "support/heard_machine.hpp"

namespace consensus_conformance_test {
namespace {

using quorlite::testing::conformance_report;
using quorlite::testing::detail::model_harness;
using quorlite::testing::detail::threaded_model_harness;
using quorlite::tests::consensus_flaw;
using quorlite::tests::flawed_harness;

conformance_report examine(consensus_flaw flaw) {
  conformance_report report;
  quorlite::testing::run_consensus_conformance(
      [flaw](std::size_t servers) { return std::make_unique<flawed_harness>(servers, flaw); },
      report);
  return report;
}

// A server alone and without any fault to suffer: what cannot be checked must be named.
struct poor_harness : model_harness<> {
  static constexpr quorlite::testing::harness_faults faults{};
  using model_harness<>::model_harness;
};

// Carries no page of SQLite's default size.
class narrow_adapter {
 public:
  using model = quorlite::testing::detail::model_consensus;
  using signal_type = model::signal_type;
  static constexpr quorlite::consensus_abilities abilities{.entry_terms = true, .contiguous = true};

  explicit narrow_adapter(model& wide) : wide_(wide) {}
  std::error_code start(quorlite::state_machine& machine) noexcept { return wide_.start(machine); }
  void stop() noexcept { wide_.stop(); }
  void propose(quorlite::term expected, quorlite::proposal_token token,
               quorlite::bytes_view entry) noexcept {
    wide_.propose(expected, token, entry);
  }
  [[nodiscard]] std::size_t max_entry_bytes() const noexcept { return 4096; }
  bool wait(signal_type& signal, quorlite::milliseconds limit) noexcept {
    return wide_.wait(signal, limit);
  }
  void withdraw() noexcept { wide_.withdraw(); }

 private:
  model& wide_;
};

struct narrow_harness : model_harness<> {
  using adapter_type = narrow_adapter;
  static constexpr quorlite::testing::harness_faults faults{};
  explicit narrow_harness(std::size_t servers) : model_harness<>(servers) {
    for (std::size_t i = 0; i < servers; ++i) {
      nodes_.emplace_back(model_harness<>::node(i));
    }
  }
  narrow_adapter& node(std::size_t server) noexcept { return nodes_[server]; }

 private:
  std::vector<narrow_adapter> nodes_;
};

// No server ever hears of another: nobody is elected.
struct leaderless_harness : model_harness<> {
  using model_harness<>::model_harness;
  std::error_code start(std::size_t server, quorlite::state_machine& machine) {
    isolate(server);
    return model_harness<>::start(server, machine);
  }
};

}  // namespace

TEST_CASE("where nobody ever leads, that is told, and no law waits for it in vain", "[consensus]") {
  conformance_report report;
  int clusters = 0;
  quorlite::testing::run_consensus_conformance(
      [&clusters](std::size_t servers) {
        ++clusters;
        return std::make_unique<leaderless_harness>(servers);
      },
      report);
  INFO(report.text());
  CHECK(report.failed("L6"));
  CHECK(report.text().find("no other law was looked at") != std::string::npos);
  CHECK(report.skipped("P1"));
  CHECK(clusters == 1);
}

TEST_CASE("entries that carry no page of a database break a law", "[consensus]") {
  conformance_report report;
  quorlite::testing::run_consensus_conformance(
      [](std::size_t servers) { return std::make_unique<narrow_harness>(servers); }, report);
  INFO(report.text());
  CHECK(report.laws(quorlite::testing::law_result::failed) == std::vector<std::string>{"P8"});
  CHECK(report.text().find("at least 5120") != std::string::npos);
}

TEST_CASE("a term that a server gains again is told with the server", "[consensus]") {
  quorlite::testing::detail::consensus_ledger ledger(true);
  ledger.gain(1, quorlite::term{4});
  ledger.loss(1, quorlite::term{4});
  ledger.gain(1, quorlite::term{4});
  ledger.gain(2, quorlite::term{4});
  conformance_report report;
  ledger.drain(report);
  INFO(report.text());
  CHECK(report.text().find("L2 FAILED: term 4 was announced as gained twice, by server 1;") !=
        std::string::npos);
  CHECK(report.text().find("L4 FAILED: term 4 was announced as gained by server 1 and by "
                           "server 2") != std::string::npos);
}

TEST_CASE("the model keeps every law", "[consensus]") {
  conformance_report report;
  quorlite::testing::run_consensus_conformance(
      [](std::size_t servers) { return std::make_unique<model_harness<>>(servers); }, report);
  INFO(report.text());
  CHECK(report.clean());
  for (const char* law :
       {"P1", "P2",  "P3", "P4", "P5", "P6", "P7", "P8", "P9", "P11", "P12", "A1", "A2",
        "A3", "A4",  "A5", "A6", "A7", "L1", "L2", "L3", "L4", "L5",  "L6",  "L7", "L8",
        "L9", "L10", "S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8",  "W1",  "W2", "W3",
        "W4", "B1",  "B2", "T1", "N1", "N2", "N3", "N4", "N5", "N6",  "N7"}) {
    INFO(law);
    CHECK(report.passed(law));
  }
  CHECK(report.skipped("P10"));
}

TEST_CASE("the model with threads keeps every law", "[consensus][threads]") {
  conformance_report report;
  quorlite::testing::run_consensus_conformance(
      [](std::size_t servers) { return std::make_unique<threaded_model_harness>(servers); },
      report);
  INFO(report.text());
  CHECK(report.clean());
  for (const char* law : {"P10", "W3", "N1", "N2", "N3", "N4", "N5", "N6"}) {
    INFO(law);
    CHECK(report.passed(law));
  }
  CHECK(report.skipped("N7"));
}

TEST_CASE("the model refuses what comes after its stop, and starts again", "[consensus]") {
  model_harness<> harness(1);
  quorlite::tests::heard_machine machine;
  REQUIRE(!harness.start(0, machine));
  harness.pump();
  harness.node(0).stop();
  static_cast<void>(machine.heard());
  harness.node(0).propose(quorlite::term{1}, quorlite::proposal_token{7}, {});
  harness.node(0).read_barrier(quorlite::proposal_token{8});
  harness.node(0).transfer_leadership();
  CHECK(machine.heard() == std::vector<std::string>{"7 not_applied 8", "8 not_applied 8"});
  REQUIRE(!harness.restart(0, machine));
  harness.pump();
  CHECK(machine.heard() == std::vector<std::string>{"skip 1", "skip 2", "gain 2 [server 0]"});
  harness.node(0).stop();
}

TEST_CASE("nobody hears of a server that crashed in a harness with threads", "[consensus]") {
  quorlite::tests::heard_machine machine;
  quorlite::testing::detail::muted_machine between(machine);
  const quorlite::log_position at{quorlite::log_index{1}, quorlite::term{1}};
  CHECK(between.apply({at, {}}) == quorlite::apply_result::applied);
  between.leadership_changed({quorlite::term{1}, true, "here"});
  CHECK(machine.heard() == std::vector<std::string>{"apply 1", "gain 1 [here]"});
  between.mute();
  between.leadership_changed({quorlite::term{1}, false, {}});
  between.settled(quorlite::proposal_token{7}, quorlite::outcome::unknown,
                  quorlite::settle_reason::stopped);
  CHECK(between.apply({{quorlite::log_index{2}, quorlite::term{1}}, {}}) ==
        quorlite::apply_result::already);
  CHECK(between.skip({quorlite::log_index{3}, quorlite::term{1}}) ==
        quorlite::apply_result::already);
  CHECK(between.install(nullptr, at) == quorlite::apply_result::already);
  CHECK(!between.take_snapshot());
  CHECK(!between.begin_restore());
  CHECK(between.flush(at.index) == quorlite::errc::halted);
  CHECK(between.applied() == at);
  CHECK(machine.heard().empty());
}

// A real one publishes a restore with the flush that follows.
TEST_CASE("what the machine of the laws installs is durable after a flush only") {
  quorlite::testing::detail::consensus_ledger ledger(true);
  using quorlite::testing::detail::flush_manner;
  using quorlite::testing::detail::recording_machine;
  const quorlite::log_position at{quorlite::log_index{9}, quorlite::term{3}};
  recording_machine sender(0, ledger, {.entry_terms = true});
  CHECK(sender.skip(at) == quorlite::apply_result::applied);
  const auto reader = sender.take_snapshot();
  REQUIRE(reader);
  quorlite::bytes image((*reader)->size_bytes());
  REQUIRE(!(*reader)->read(0, image));

  recording_machine machine(1, ledger, {.entry_terms = true});
  auto stage = machine.begin_restore();
  REQUIRE(stage);
  REQUIRE(!(*stage)->append(image));
  REQUIRE(!(*stage)->finish());
  CHECK(machine.install(std::move(*stage), at) == quorlite::apply_result::applied);
  CHECK(machine.applied() == at);
  CHECK(machine.durable().index == quorlite::log_index{0});
  CHECK(machine.stored().at.index == quorlite::log_index{0});
  machine.flush_in(flush_manner::late);
  CHECK(machine.flush(at.index) == quorlite::errc::storage_full);
  CHECK(machine.durable().index == quorlite::log_index{0});
  CHECK(!machine.flush(at.index));
  CHECK(machine.durable().index == quorlite::log_index{0});
  machine.flush_in(flush_manner::slowly);
  CHECK(!machine.flush(at.index));
  CHECK(machine.durable().index == at.index);
  CHECK(machine.stored().at.index == at.index);
}

TEST_CASE("a term below one that a server gained before a restart is told with the server") {
  quorlite::testing::detail::consensus_ledger ledger(true);
  ledger.gain(1, quorlite::term{4});
  ledger.gain(2, quorlite::term{3});  // heard of late: another server's own terms are in order
  ledger.gain(1, quorlite::term{2});
  conformance_report report;
  ledger.drain(report);
  CHECK(report.text() ==
        "L2 FAILED: term 2 was announced as gained by server 1, which had gained term 4\n");
}

// A real one knows no term where parts of a transaction wait for the rest: an adapter that relies
// on one would skip what it must apply.
TEST_CASE("the machine of the laws tells no term of its durable position", "[consensus]") {
  quorlite::testing::detail::consensus_ledger ledger(true);
  quorlite::testing::detail::recording_machine machine(0, ledger, {.entry_terms = true});
  const quorlite::log_position at{quorlite::log_index{1}, quorlite::term{3}};
  CHECK(machine.skip(at) == quorlite::apply_result::applied);
  CHECK(!machine.flush(at.index));
  CHECK(machine.applied() == at);
  CHECK(machine.durable().index == at.index);
  CHECK(machine.durable().term == quorlite::term{});
}

TEST_CASE("what a harness cannot do is skipped by name", "[consensus]") {
  conformance_report report;
  quorlite::testing::run_consensus_conformance(
      [](std::size_t servers) { return std::make_unique<poor_harness>(servers); }, report);
  INFO(report.text());
  CHECK(report.clean());
  for (const char* law :
       {"P10", "P12", "A5", "L9", "S1", "S2", "S3", "S5", "S6", "S7", "S8", "B2", "N6", "N7"}) {
    INFO(law);
    CHECK(report.skipped(law));
    CHECK(report.text().find(std::string(law) + " skipped: ") != std::string::npos);
  }
}

TEST_CASE("the consensus suite catches every flaw in its law", "[consensus]") {
  struct row {
    consensus_flaw flaw;
    const char* law;
  };
  const row rows[] = {
      {consensus_flaw::settles_twice, "P1"},       {consensus_flaw::unsettled_stop, "P1"},
      {consensus_flaw::settles_on_propose, "P2"},  {consensus_flaw::false_not_applied, "P3"},
      {consensus_flaw::damages_entries, "P4"},     {consensus_flaw::reproposes, "P5"},
      {consensus_flaw::ignores_term, "P6"},        {consensus_flaw::shuffles, "P7"},
      {consensus_flaw::forgets_empty, "P8"},       {consensus_flaw::takes_any_size, "P8"},
      {consensus_flaw::keeps_span, "P9"},          {consensus_flaw::forwards, "P11"},
      {consensus_flaw::commits_when_cut, "P12"},   {consensus_flaw::overlaps_strand, "A3"},
      {consensus_flaw::calls_halted, "A4"},        {consensus_flaw::commits_alone, "A5"},
      {consensus_flaw::skips_entries, "A6"},       {consensus_flaw::announces_early, "L1"},
      {consensus_flaw::silent_stop, "L3"},         {consensus_flaw::repeats_gain, "L3"},
      {consensus_flaw::reuses_term, "L4"},         {consensus_flaw::forwards, "L5"},
      {consensus_flaw::replays_with_hole, "S1"},   {consensus_flaw::replays_with_hole, "S2"},
      {consensus_flaw::gives_up_restores, "S5"},   {consensus_flaw::gives_up_restores, "S6"},
      {consensus_flaw::installs_unfinished, "S6"}, {consensus_flaw::compacts_too_far, "S7"},
      {consensus_flaw::waits_badly, "W1"},         {consensus_flaw::waits_for_nothing, "W2"},
      {consensus_flaw::waits_badly, "W3"},         {consensus_flaw::waits_badly, "W4"},
      {consensus_flaw::barrier_lies, "B1"},        {consensus_flaw::barrier_lies, "B2"},
      {consensus_flaw::runs_tasks_twice, "T1"},    {consensus_flaw::clock_goes_back, "N1"},
      {consensus_flaw::clock_stands, "N2"},        {consensus_flaw::clock_counts_ms, "N2"},
      {consensus_flaw::clock_counts_ms, "N3"},     {consensus_flaw::utc_from_the_start, "N3"},
      {consensus_flaw::draws_32_bits, "N4"},       {consensus_flaw::draws_twice, "N4"},
      {consensus_flaw::draws_alike, "N5"},         {consensus_flaw::draws_anew, "N6"},
      {consensus_flaw::draws_from_outside, "N7"},  {consensus_flaw::clock_from_outside, "N7"},
      {consensus_flaw::ignores_withdraw, "L7"},    {consensus_flaw::withdraws_in_silence, "L7"},
      {consensus_flaw::proposes_on, "L8"},         {consensus_flaw::votes_on, "L9"},
      {consensus_flaw::ignores_withdraw, "L9"},    {consensus_flaw::leads_on, "L2"},
      {consensus_flaw::opens_late, "L10"},         {consensus_flaw::votes_when_started, "L10"},
      {consensus_flaw::replays_applied, "S1"},     {consensus_flaw::compacts_by_flush, "S1"},
      {consensus_flaw::keeps_no_install, "S8"},    {consensus_flaw::trusts_flush, "S8"},
      {consensus_flaw::forgets_log_start, "S8"},
  };
  const conformance_report without = examine(consensus_flaw::none);
  INFO(without.text());
  CHECK(without.clean());
  for (const row& each : rows) {
    const conformance_report report = examine(each.flaw);
    INFO("flaw " << static_cast<int>(each.flaw) << " must break " << each.law << '\n'
                 << report.text());
    CHECK(report.failed(each.law));
  }
}

}  // namespace consensus_conformance_test
