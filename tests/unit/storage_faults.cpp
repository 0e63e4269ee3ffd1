// The storage laws about faults: kept by a plain storage in files, broken by every flaw of it.
#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "catch2_shim.hpp"
#include "quorlite/testing/faulty_disk.hpp"
#include "quorlite/testing/storage_conformance.hpp"
#include "support/plain_file_storage.hpp"
#include "support/profile.hpp"

namespace {

using quorlite::testing::conformance_report;
using quorlite::testing::fault_sweep;
using quorlite::testing::faulty_disk;
using quorlite::testing::faulty_file_system;
using quorlite::tests::plain_flaw;

struct plain_harness {
  using storage_type = quorlite::tests::plain_file_storage<faulty_file_system>;
  static constexpr bool atomic = false;
  plain_flaw flaw = plain_flaw::none;
  std::deque<faulty_disk> disks{};  // a place of its own for each; they stay where they are

  std::unique_ptr<storage_type> mount(faulty_disk& disk) {
    return std::make_unique<storage_type>(faulty_file_system(disk), flaw);
  }
  std::unique_ptr<storage_type> make() { return mount(disks.emplace_back()); }
  std::unique_ptr<storage_type> reopen(std::unique_ptr<storage_type> old) {
    old.reset();
    return mount(disks.back());
  }
};

static_assert(quorlite::testing::faulty_storage_harness<plain_harness>);

fault_sweep sweep_of_this_run() {
  return quorlite::tests::is_short_profile() ? fault_sweep{16, 500} : fault_sweep{};
}

void expect_caught(plain_flaw flaw, const std::string& law) {
  plain_harness harness{flaw};
  conformance_report report;
  quorlite::testing::detail::run_storage_fault_laws(harness, report, {8, 1000});
  INFO("flaw " << static_cast<int>(flaw) << " must break " << law << '\n' << report.text());
  CHECK(report.failed(law));
}

}  // namespace

TEST_CASE("a plain storage in files keeps every law, with faults", "[storage][faults]") {
  conformance_report report;
  quorlite::testing::run_storage_conformance(plain_harness{}, report, sweep_of_this_run());
  INFO(report.text());
  CHECK(report.clean());
  for (const char* law :
       {"D2", "D3", "D4", "D5", "D6", "D14", "D17", "D18", "D23", "D24", "D25", "D26"}) {
    INFO(law);
    CHECK(report.passed(law));
  }
}

TEST_CASE("the laws without faults catch what goes wrong with the history of ahead", "[storage]") {
  for (const auto& [flaw, law] :
       {std::pair(plain_flaw::ahead_alone, "D25"), std::pair(plain_flaw::keeps_history, "D26")}) {
    plain_harness harness{flaw};
    conformance_report report;
    quorlite::testing::detail::run_storage_catalogue_laws(harness, report);
    INFO(law << '\n' << report.text());
    CHECK(report.failed(law));
  }
}

TEST_CASE("the fault laws catch every flaw", "[storage][faults]") {
  expect_caught(plain_flaw::position_before_data, "D4");
  expect_caught(plain_flaw::no_directory_sync, "D2");
  expect_caught(plain_flaw::ahead_later, "D5");
  expect_caught(plain_flaw::forgets_history, "D25");
  expect_caught(plain_flaw::keeps_history, "D26");
  expect_caught(plain_flaw::truncates_before_commit, "D5");
  expect_caught(plain_flaw::one_slot, "D2");
  expect_caught(plain_flaw::removes_before_publish, "D14");
  expect_caught(plain_flaw::ignores_failed_sync, "D17");
  expect_caught(plain_flaw::syncs_again, "D17");
  expect_caught(plain_flaw::trusts_the_cache, "D17");
  expect_caught(plain_flaw::calls_all_full, "D17");
  expect_caught(plain_flaw::trusts_pages, "D18");
  expect_caught(plain_flaw::trusts_slots, "D18");
}
