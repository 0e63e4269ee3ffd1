/// @file
/// Storage laws about crashes: D3 and D5, and what D2, D4, D6, D14, D25 and D26 say of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/storage.hpp"
#include "quorlite/testing/detail/laws/conformance_report.hpp"
#include "quorlite/testing/detail/laws/storage_examination.hpp"
#include "quorlite/testing/detail/laws/storage_history.hpp"
#include "quorlite/testing/faulty_disk.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// How much a run of the fault laws tries.
struct fault_sweep {
  std::size_t images = 64;     ///< what one crash may leave, at most so many possibilities
  std::size_t damages = 4000;  ///< bytes at rest, about so many
  /// Sectors in flight may hold garbage after a crash, neither the old nor the new bytes: for
  /// storages that promise to survive that.
  bool garbage = false;
};

/// For messages: the call in which something happened.
[[nodiscard]] QUORLITE_DECL std::string text_of_call(const faulty_disk& disk,
                                                     std::uint64_t ordinal);

/// A whole history without a fault.
/// @returns the calls that it makes; 0 if it fails
template <faulty_storage_harness H>
[[nodiscard]] std::uint64_t count_calls(H& harness, const std::vector<history_step>& steps,
                                        std::string& broken) {
  faulty_disk disk;
  history_progress progress;
  const auto storage = harness.mount(disk);
  run_history(*storage, steps, progress);
  broken = progress.error ? "step " + std::to_string(progress.done + 1) +
                                " of the history fails: " + progress.error.message()
                          : difference_in_pages(*storage, progress.settled);
  return broken.empty() ? disk.calls() : 0;
}

/// Another crash while a crash is recovered from.
template <faulty_storage_harness H>
void crash_recovery(H& harness, const faulty_disk& image, const history_progress& progress,
                    law_checks& laws, const std::string& where) {
  std::uint64_t calls = 0;
  {
    faulty_disk disk(image);
    const auto storage = harness.mount(disk);
    static_cast<void>(storage->recover());
    calls = disk.calls();
  }
  for (std::uint64_t ordinal = 1; ordinal <= calls; ++ordinal) {
    faulty_disk disk(image);
    disk.crash_at(ordinal);
    {
      const auto storage = harness.mount(disk);
      static_cast<void>(storage->recover());
    }
    crash_images(disk, 4, [&](faulty_disk& again, const crash_fates& fates) {
      const auto storage = harness.mount(again);
      laws.conclude(examine(*storage, progress, H::atomic),
                    where + "; then in " + text_of_call(disk, ordinal) +
                        " of the recovery: " + text_of(fates));
    });
  }
}

/// A new process on what is there.
/// @param lives_on whether it makes another flush, followed by another crash
template <faulty_storage_harness H>
void look_at_image(H& harness, faulty_disk& image, const history_progress& progress,
                   law_checks& laws, const std::string& where, bool lives_on) {
  auto storage = harness.mount(image);
  examination found = examine(*storage, progress, H::atomic);
  if (found.law.empty() && lives_on) {
    found.broken = live_on(harness, image, std::move(storage), progress, found.now);
    found.law = found.broken.empty() ? "" : "D6";
  }
  laws.conclude(found, where);
}

/// The power fails in every call of a history, and leaves all that it may leave.
template <faulty_storage_harness H>
void check_crashes(H& harness, conformance_report& report, const fault_sweep& sweep) {
  law_checks laws(report);
  laws.add("D2", "what a commit or publish has made true survives every crash");
  laws.add("D3", "a crash gives the old or the new position, whole");
  laws.add("D4", "after a crash, with ahead == at, every page reads as of at");
  laws.add("D5", "after a crash, with ahead > at, every page that was not written reads as of at");
  laws.add("D6", "after a crash the next flush sets all right");
  laws.add("D14", "publish replaces everything or nothing, whenever it crashes");
  laws.add("D25", "after a crash, with ahead > at, recover tells the history that came with ahead");
  laws.add("D26", "after a crash, with ahead == at, recover tells no history");
  const std::vector<history_step> steps = make_history();
  std::string broken;
  const std::uint64_t calls = count_calls(harness, steps, broken);
  if (calls == 0) {
    laws.conclude(examination::of_broken("D3", broken), "no fault at all");
    return;
  }
  for (std::uint64_t ordinal = 1; ordinal <= calls; ++ordinal) {
    faulty_disk disk;
    disk.crash_at(ordinal);
    history_progress progress;
    {
      const auto storage = harness.mount(disk);
      run_history(*storage, steps, progress);
    }
    // Only the process ends: the next one sees all that was written, durable or not.
    faulty_disk killed(disk);
    look_at_image(harness, killed, progress, laws, "killed in " + text_of_call(disk, ordinal),
                  true);
    std::size_t number = 0;
    const auto look = [&](faulty_disk& image, const crash_fates& fates) {
      const std::string where =
          "crash in " + text_of_call(disk, ordinal) + "; unsynced, x survived: " + text_of(fates);
      if (number % 16 == 0) {
        crash_recovery(harness, image, progress, laws, where);
      }
      look_at_image(harness, image, progress, laws, where, number % 4 == 0);
      ++number;
    };
    crash_images(disk, sweep.images, look, {.garbage = sweep.garbage, .seed = ordinal});
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/laws/storage_laws_crashes.ipp"  // IWYU pragma: keep
#endif
