// The libraft adapter on libraft's own fixture: virtual time, one thread, no sockets, no files.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/testing/consensus_conformance.hpp"
#include "support/libraft_fixture.hpp"

namespace {

using namespace quorlite;
using quorlite::testing::conformance_report;
using quorlite::tests::fixture_flaw;
using quorlite::tests::fixture_world;

conformance_report examine(fixture_flaw flaw) {
  conformance_report report;
  quorlite::testing::run_consensus_conformance(
      [flaw](std::size_t servers) { return std::make_unique<fixture_world>(servers, flaw); },
      report);
  return report;
}

}  // namespace

TEST_CASE("the libraft adapter keeps every law that its fixture can examine", "[libraft]") {
  const conformance_report report = examine(fixture_flaw::none);
  INFO(report.text());
  CHECK(report.clean());
  for (const char* law : {"P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9", "P11", "P12", "A1",
                          "A2", "A3", "A4", "A5", "A6", "A7", "L1", "L2", "L3", "L4",  "L5",  "L6",
                          "S3", "S4", "S1", "S2", "S5", "S6", "S7", "W1", "W2", "W3", "W4", "B1", "B2", "T1"}) {
    INFO(law);
    CHECK(report.passed(law));
  }
  for (const char* law : {"P10"}) {
    INFO(law);
    CHECK(report.skipped(law));
  }
}
