// The consensus suite on the test Raft, with several seeds and on disks that sync late.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "catch2_shim.hpp"
#include "quorlite/testing/consensus_conformance.hpp"
#include "support/test_raft_harness.hpp"

namespace test_raft_conformance_test {
namespace {

using quorlite::testing::conformance_report;
using quorlite::testing::simulation_options;
using quorlite::tests::harness_options;
using quorlite::tests::test_raft_harness;

template <class Change>
conformance_report examine(std::uint64_t seed, Change change) {
  conformance_report report;
  quorlite::testing::run_consensus_conformance(
      [&](std::size_t servers) {
        simulation_options options = harness_options(servers, seed);
        change(options);
        return std::make_unique<test_raft_harness>(options);
      },
      report);
  return report;
}

}  // namespace

TEST_CASE("the test Raft keeps every law", "[consensus][test_raft]") {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    const conformance_report report = examine(seed, [](simulation_options&) {});
    INFO("seed " << seed << '\n' << report.text());
    CHECK(report.clean());
    for (const char* law :
         {"P1", "P2",  "P3", "P4", "P5", "P6", "P7", "P8", "P9", "P11", "P12", "A1", "A2",
          "A3", "A4",  "A5", "A6", "A7", "L1", "L2", "L3", "L4", "L5",  "L6",  "L7", "L8",
          "L9", "L10", "S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8",  "W1",  "W2", "W3",
          "W4", "B1",  "B2", "T1", "N1", "N2", "N3", "N4", "N5", "N6",  "N7"}) {
      INFO(law);
      CHECK(report.passed(law));
    }
  }
}

TEST_CASE("the test Raft keeps every law on lazy disks", "[consensus][test_raft]") {
  const conformance_report report = examine(4, [](simulation_options& options) {
    options.disk.sync_min_us = 200;
    options.disk.sync_max_us = 3000;
  });
  INFO(report.text());
  CHECK(report.clean());
}

TEST_CASE("the test Raft keeps every law when it comes late to what is proposed",
          "[consensus][test_raft]") {
  const conformance_report report = examine(6, [](simulation_options& options) {
    options.raft.proposal_max = quorlite::milliseconds{5};
  });
  INFO(report.text());
  CHECK(report.clean());
}

TEST_CASE("the test Raft keeps every law on bad wires", "[consensus][test_raft]") {
  const conformance_report report = examine(5, [](simulation_options& options) {
    options.network.drop = 0.02;
    options.network.duplicate = 0.05;
    options.network.reorder = 0.1;
  });
  INFO(report.text());
  CHECK(report.clean());
}

}  // namespace test_raft_conformance_test
