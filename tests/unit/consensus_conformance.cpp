// The consensus suite on a small honest cluster, and on clusters that break one law each.
#include <cstddef>
#include <memory>
#include <string>

#include "catch2_shim.hpp"
#include "quorlite/testing/consensus_conformance.hpp"
#include "support/loop_consensus.hpp"

namespace {

using quorlite::testing::conformance_report;
using quorlite::tests::loop_flaw;
using quorlite::tests::loop_harness;
using quorlite::tests::threaded_loop_harness;

conformance_report examine(loop_flaw flaw) {
  conformance_report report;
  quorlite::testing::run_consensus_conformance(
      [flaw](std::size_t servers) { return std::make_unique<loop_harness>(servers, flaw); },
      report);
  return report;
}

// A server alone and without any fault to suffer: what cannot be checked must be named.
struct poor_harness : loop_harness {
  static constexpr quorlite::testing::harness_faults faults{};
  using loop_harness::loop_harness;
};

}  // namespace

TEST_CASE("an honest cluster keeps every law", "[consensus]") {
  const conformance_report report = examine(loop_flaw::none);
  INFO(report.text());
  CHECK(report.clean());
  for (const char* law :
       {"P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9", "P11", "P12", "A1", "A2",
        "A3", "A4", "A5", "A6", "A7", "L1", "L2", "L3", "L4", "L5",  "L6",  "S1", "S2",
        "S3", "S4", "S5", "S6", "S7", "W1", "W2", "W3", "W4", "B1",  "B2",  "T1"}) {
    INFO(law);
    CHECK(report.passed(law));
  }
  CHECK(report.skipped("P10"));
}

TEST_CASE("an honest cluster with threads keeps every law", "[consensus][threads]") {
  conformance_report report;
  quorlite::testing::run_consensus_conformance(
      [](std::size_t servers) { return std::make_unique<threaded_loop_harness>(servers); }, report);
  INFO(report.text());
  CHECK(report.clean());
  CHECK(report.passed("P10"));
  CHECK(report.passed("W3"));
}

TEST_CASE("what a harness cannot do is skipped by name", "[consensus]") {
  conformance_report report;
  quorlite::testing::run_consensus_conformance(
      [](std::size_t servers) { return std::make_unique<poor_harness>(servers); }, report);
  INFO(report.text());
  CHECK(report.clean());
  for (const char* law : {"P10", "P12", "A5", "S1", "S2", "S3", "S5", "S6", "S7", "B2"}) {
    INFO(law);
    CHECK(report.skipped(law));
    CHECK(report.text().find(std::string(law) + " skipped: ") != std::string::npos);
  }
}

TEST_CASE("the consensus suite catches every flaw in its law", "[consensus]") {
  struct row {
    loop_flaw flaw;
    const char* law;
  };
  const row rows[] = {
      {loop_flaw::settles_twice, "P1"},       {loop_flaw::unsettled_stop, "P1"},
      {loop_flaw::settles_on_propose, "P2"},  {loop_flaw::false_not_applied, "P3"},
      {loop_flaw::damages_entries, "P4"},     {loop_flaw::reproposes, "P5"},
      {loop_flaw::ignores_term, "P6"},        {loop_flaw::shuffles, "P7"},
      {loop_flaw::forgets_empty, "P8"},       {loop_flaw::takes_any_size, "P8"},
      {loop_flaw::keeps_span, "P9"},          {loop_flaw::forwards, "P11"},
      {loop_flaw::commits_when_cut, "P12"},   {loop_flaw::overlaps_strand, "A3"},
      {loop_flaw::calls_halted, "A4"},        {loop_flaw::commits_alone, "A5"},
      {loop_flaw::skips_entries, "A6"},       {loop_flaw::announces_early, "L1"},
      {loop_flaw::silent_stop, "L3"},         {loop_flaw::repeats_gain, "L3"},
      {loop_flaw::reuses_term, "L4"},         {loop_flaw::forwards, "L5"},
      {loop_flaw::replays_with_hole, "S1"},   {loop_flaw::replays_with_hole, "S2"},
      {loop_flaw::gives_up_restores, "S5"},   {loop_flaw::gives_up_restores, "S6"},
      {loop_flaw::installs_unfinished, "S6"}, {loop_flaw::compacts_too_far, "S7"},
      {loop_flaw::waits_badly, "W1"},         {loop_flaw::waits_for_nothing, "W2"},
      {loop_flaw::waits_badly, "W3"},         {loop_flaw::waits_badly, "W4"},
      {loop_flaw::barrier_lies, "B1"},        {loop_flaw::barrier_lies, "B2"},
      {loop_flaw::runs_tasks_twice, "T1"},
  };
  for (const row& each : rows) {
    const conformance_report report = examine(each.flaw);
    INFO("flaw " << static_cast<int>(each.flaw) << " must break " << each.law << '\n'
                 << report.text());
    CHECK(report.failed(each.law));
  }
}
