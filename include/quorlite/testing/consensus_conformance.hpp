/// @file
/// The laws of a consensus adapter, as a suite that you run on yours.
///
/// @code
/// quorlite::testing::conformance_report report;
/// quorlite::testing::run_consensus_conformance(
///     [](std::size_t servers) { return std::make_unique<my_harness>(servers); }, report);
/// // then: report.clean(), report.text()
/// @endcode
///
/// The laws, by the letter of their names: P proposing, A applying, L leadership, S restart and
/// snapshot, W waiting, B barriers, T tasks. docs/how-to/consensus_adapter.md tells them in order.
/// A law that needs a fault which the harness does not declare is reported as skipped.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/testing/detail/laws/conformance_report.hpp"
#include "quorlite/testing/detail/laws/consensus_harness.hpp"
#include "quorlite/testing/detail/laws/consensus_laws_apply.hpp"
#include "quorlite/testing/detail/laws/consensus_laws_halt.hpp"
#include "quorlite/testing/detail/laws/consensus_laws_propose.hpp"
#include "quorlite/testing/detail/laws/consensus_laws_snapshot.hpp"
#include "quorlite/testing/detail/laws/consensus_laws_time.hpp"
#include "quorlite/testing/detail/laws/consensus_laws_wait.hpp"
#include "quorlite/testing/detail/laws/threaded_harness.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

/// What a run found: see detail/laws/conformance_report.hpp.
using detail::conformance_report;
using detail::law_finding;
using detail::law_result;

/// What you write, and what it can do to its servers: see detail/laws/consensus_harness.hpp.
using detail::consensus_harness;
using detail::harness_faults;

/// What harnesses with threads have in common: see detail/laws/threaded_harness.hpp.
using detail::harness_pace;
using detail::threaded_harness;

/// Runs every law that the harness allows, each on fresh clusters of one, three or five servers.
/// Where no server ever leads, only that is told (L6): each law would wait for one in vain.
/// @param make called with a number of servers; gives a `std::unique_ptr` of a harness with nothing
/// started
template <class Make>
void run_consensus_conformance(Make&& make, conformance_report& report) {
  using harness_type = typename decltype(make(std::size_t{}))::element_type;
  static_assert(consensus_harness<harness_type>);
  if constexpr (consensus_harness<harness_type>) {  // else the line above has said it all
    if (!detail::check_some_leader<harness_type>(make, report)) {
      return;
    }
    detail::run_propose_laws<harness_type>(make, report);
    detail::run_apply_laws<harness_type>(make, report);
    detail::run_halt_laws<harness_type>(make, report);
    detail::run_snapshot_laws<harness_type>(make, report);
    detail::run_wait_laws<harness_type>(make, report);
    detail::run_time_laws<harness_type>(make, report);
  }
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
