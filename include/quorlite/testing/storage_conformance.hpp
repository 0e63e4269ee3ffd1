/// @file
/// The laws of a storage, as a suite that you run on yours.
///
/// @code
/// struct my_harness {
///   using storage_type = my_storage;
///   static constexpr bool atomic = true;
///   std::unique_ptr<my_storage> make();
///   std::unique_ptr<my_storage> reopen(std::unique_ptr<my_storage> old);
/// };
/// quorlite::testing::conformance_report report;
/// quorlite::testing::run_storage_conformance(my_harness{}, report);
/// // then: report.clean(), report.text()
/// @endcode
///
/// D3, D5, D17 and D18 speak of crashes, failing calls and damage. They are told to a harness that
/// can put the storage on a disk for tests, and else reported as skipped:
///
/// @code
///   std::unique_ptr<my_storage> mount(quorlite::testing::faulty_disk& disk) {
///     return std::make_unique<my_storage>(quorlite::testing::faulty_file_system(disk));
///   }
/// @endcode
#pragma once

#include <type_traits>

#include "quorlite/config.hpp"
#include "quorlite/testing/detail/laws/conformance_report.hpp"
#include "quorlite/testing/detail/laws/storage_history.hpp"
#include "quorlite/testing/detail/laws/storage_laws_catalogue.hpp"
#include "quorlite/testing/detail/laws/storage_laws_crashes.hpp"
#include "quorlite/testing/detail/laws/storage_laws_faults.hpp"
#include "quorlite/testing/detail/laws/storage_laws_handles.hpp"
#include "quorlite/testing/detail/laws/storage_laws_pages.hpp"
#include "quorlite/testing/detail/laws/storage_laws_replace.hpp"
#include "quorlite/testing/detail/laws/storage_scene.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

/// What a run found: see detail/laws/conformance_report.hpp.
using detail::conformance_report;
using detail::law_finding;
using detail::law_result;

/// What you write: see detail/laws/storage_scene.hpp and storage_history.hpp.
using detail::faulty_storage_harness;
using detail::storage_harness;

/// How much the laws about faults try: see detail/laws/storage_laws_crashes.hpp.
using detail::fault_sweep;

/// Runs every law, each on fresh places. One thread, apart from law D12, which starts a second one
/// for a moment.
/// @param sweep how much the laws about faults try; some seconds as it is
template <class H>
requires storage_harness<std::remove_reference_t<H>>
void run_storage_conformance(H&& harness, conformance_report& report,
                             const fault_sweep& sweep = {}) {
  detail::run_storage_page_laws(harness, report);
  detail::run_storage_catalogue_laws(harness, report);
  detail::run_storage_replace_laws(harness, report);
  detail::run_storage_handle_laws(harness, report);
  if constexpr (faulty_storage_harness<std::remove_reference_t<H>>) {
    detail::run_storage_fault_laws(harness, report, sweep);
  } else {
    static_cast<void>(sweep);
    report.skip("D3", "a crash inside commit needs a storage whose process can be killed");
    report.skip("D5", "a crash inside a flush needs a storage whose process can be killed");
    report.skip("D17", "failing calls need a storage with injected faults");
    report.skip("D18", "damage at rest needs a storage with injected faults");
  }
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
