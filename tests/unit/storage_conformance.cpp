// The storage suite on the storages that we ship, and on storages that break one law each.
#include <memory>
#include <string>

#include "catch2_shim.hpp"
#include "quorlite/storage/memory.hpp"
#include "quorlite/testing/storage_conformance.hpp"
#include "support/flawed_storage.hpp"

namespace storage_conformance_test {
namespace {

using quorlite::memory_storage;
using quorlite::testing::conformance_report;
using quorlite::tests::flawed_storage;
using quorlite::tests::storage_flaw;

// A storage in the heap outlives whoever used it: reopening is nothing but a new owner.
struct memory_harness {
  using storage_type = memory_storage;
  static constexpr bool atomic = true;
  std::unique_ptr<memory_storage> make() { return std::make_unique<memory_storage>(); }
  std::unique_ptr<memory_storage> reopen(std::unique_ptr<memory_storage> old) { return old; }
};
struct flawed_harness {
  using storage_type = flawed_storage;
  static constexpr bool atomic = true;
  storage_flaw flaw = storage_flaw::none;
  std::unique_ptr<flawed_storage> make() { return std::make_unique<flawed_storage>(flaw); }
  std::unique_ptr<flawed_storage> reopen(std::unique_ptr<flawed_storage> old) { return old; }
};

template <class Harness>
conformance_report examine(Harness harness) {
  conformance_report report;
  quorlite::testing::run_storage_conformance(harness, report);
  return report;
}

void expect_caught(storage_flaw flaw, const char* law) {
  const conformance_report report = examine(flawed_harness{flaw});
  INFO("flaw " << static_cast<int>(flaw) << " must break " << law << '\n' << report.text());
  CHECK(report.failed(law));
}

}  // namespace

TEST_CASE("memory_storage keeps every law", "[storage]") {
  const conformance_report report = examine(memory_harness{});
  INFO(report.text());
  CHECK(report.clean());
  for (const char* law :
       {"D1",  "D2",  "D4",  "D6",  "D7",  "D8",  "D9",  "D10", "D11", "D12", "D13",
        "D14", "D15", "D16", "D19", "D20", "D21", "D22", "D23", "D24", "D26"}) {
    INFO(law);
    CHECK(report.passed(law));
  }
  for (const char* law : {"D3", "D5", "D17", "D18", "D25"}) {
    INFO(law);
    CHECK(report.skipped(law));
  }
}

TEST_CASE("the storage suite passes the mutant without a flaw", "[storage]") {
  const conformance_report report = examine(flawed_harness{});
  INFO(report.text());
  CHECK(report.clean());
}

TEST_CASE("the storage suite catches every flaw in its law", "[storage]") {
  expect_caught(storage_flaw::loses_pages, "D4");
  expect_caught(storage_flaw::keeps_shrunken_pages, "D11");
  expect_caught(storage_flaw::drops_notes, "D22");
  expect_caught(storage_flaw::merges_on_publish, "D14");
  expect_caught(storage_flaw::accepts_names, "D19");
  expect_caught(storage_flaw::writes_before_commit, "D7");
  expect_caught(storage_flaw::goes_back, "D8");
  expect_caught(storage_flaw::accepts_page_sizes, "D21");
  expect_caught(storage_flaw::forgets_hashes, "D20");
  expect_caught(storage_flaw::stages_in_place, "D15");
  expect_caught(storage_flaw::tears_pages, "D6");
  expect_caught(storage_flaw::keeps_dropped_pages, "D10");
  expect_caught(storage_flaw::serves_zeros, "D9");
  expect_caught(storage_flaw::invents_a_database, "D1");
  expect_caught(storage_flaw::forgets_replay_from, "D2");
  expect_caught(storage_flaw::tells_a_history, "D26");
}

TEST_CASE("a report sums up its findings by law", "[report]") {
  conformance_report report;
  CHECK(!report.clean());
  CHECK(report.skipped("P1"));
  report.skip("P1", "not declared");
  CHECK(report.skipped("P1"));
  report.pass("P1", "all settled");
  CHECK(report.passed("P1"));
  CHECK(report.clean());
  report.fail("P1", "settled twice");
  report.pass("P1", "all settled");
  CHECK(report.failed("P1"));
  CHECK(!report.clean());
  CHECK(report.text() == "P1 FAILED: settled twice\n");
  CHECK(report.findings().size() == 4);
  CHECK(report.laws(quorlite::testing::law_result::failed) == std::vector<std::string>{"P1"});
  {
    quorlite::testing::detail::law_check check(report, "A1", "in order");
    CHECK(check.expect(true, "one"));
    CHECK(!check.expect(false, "two"));
    CHECK(!check.expect(false, "three"));
  }
  CHECK(report.findings().back().sentence == "expected: two");
  { const quorlite::testing::detail::law_check unused(report, "A9", "never asked"); }
  CHECK(report.skipped("A9"));
}

}  // namespace storage_conformance_test
