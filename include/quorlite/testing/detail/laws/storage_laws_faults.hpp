/// @file
/// Storage laws about calls that fail and bytes that rot: D17, D18.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/storage.hpp"
#include "quorlite/testing/detail/laws/conformance_report.hpp"
#include "quorlite/testing/detail/laws/storage_examination.hpp"
#include "quorlite/testing/detail/laws/storage_history.hpp"
#include "quorlite/testing/detail/laws/storage_laws_crashes.hpp"
#include "quorlite/testing/detail/laws/storage_scene.hpp"
#include "quorlite/testing/faulty_disk.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// A way for a call to fail.
enum class call_failure : std::uint8_t {
  error_once,
  error_for_good,
  no_space_once,
  no_space_for_good,
  short_write,
};

QUORLITE_DECL void plan_failure(faulty_disk& disk, call_failure how, std::uint64_t ordinal);

[[nodiscard]] QUORLITE_DECL const char* text_of(call_failure how) noexcept;

/// One failure in one call of a history.
template <faulty_storage_harness H>
class failing_call {
 public:
  failing_call(H& harness, const std::vector<history_step>& steps, call_failure how,
               std::uint64_t ordinal);

  /// @returns the first thing that is wrong, or nothing
  [[nodiscard]] std::string run();

  [[nodiscard]] std::string where() const { return text_of(how_) + text_of_call(disk_, ordinal_); }

 private:
  [[nodiscard]] bool failed_a_sync() const;

  /// What a crash now leaves must hold what was promised.
  [[nodiscard]] std::string look_after_crashes(const std::string& when);

  /// A new process, the power still on: it may see more than the disk has. What it calls recovered
  /// must be there after a crash too, since the log below may go.
  [[nodiscard]] std::string look_after_restart();

  H& harness_;
  const std::vector<history_step>& steps_;
  faulty_disk disk_;
  history_progress progress_;
  call_failure how_;
  std::uint64_t ordinal_;
};

template <faulty_storage_harness H>
failing_call<H>::failing_call(H& harness, const std::vector<history_step>& steps, call_failure how,
                              std::uint64_t ordinal)
    : harness_(harness), steps_(steps), how_(how), ordinal_(ordinal) {
  plan_failure(disk_, how, ordinal);
}

template <faulty_storage_harness H>
std::string failing_call<H>::run() {
  auto storage = harness_.mount(disk_);
  run_history(*storage, steps_, progress_);
  const std::error_code error = progress_.error;
  if (error && error != failure::fatal && error != errc::storage_full) {
    return "the storage gives an error that says neither 'full' nor 'broken': " + error.message();
  }
  if (error == errc::storage_full && failed_a_sync()) {
    return "a failed sync is not 'try again'";
  }
  std::string wrong = look_after_crashes("after the failure");
  disk_.heal();
  if (wrong.empty() && error) {
    wrong = look_after_restart();
  }
  if (!wrong.empty() || !error) {
    return wrong;
  }
  if (!progress_.recovered) {  // recover() is called once: the next start tries again
    storage.reset();
    storage = harness_.mount(disk_);
  }
  run_history(*storage, steps_, progress_);  // whatever is called a success now must be one
  if (progress_.error && error == errc::storage_full) {
    return "'full' cannot be tried again: " + progress_.error.message();
  }
  wrong = look_after_crashes("after another try");
  return wrong.empty() && !progress_.error ? difference_in_pages(*storage, progress_.settled)
                                           : wrong;
}

template <faulty_storage_harness H>
bool failing_call<H>::failed_a_sync() const {
  const disk_call_kind kind = disk_.call(ordinal_).kind;
  const bool is_sync = kind == disk_call_kind::sync || kind == disk_call_kind::sync_directory;
  return is_sync && how_ != call_failure::no_space_for_good;  // that one is for writes
}

template <faulty_storage_harness H>
std::string failing_call<H>::look_after_crashes(const std::string& when) {
  std::string wrong;
  crash_images(disk_, 8, [&](faulty_disk& image, const crash_fates& fates) {
    if (wrong.empty()) {
      const auto storage = harness_.mount(image);
      const examination found = examine(*storage, progress_, H::atomic);
      wrong = found.law.empty() ? ""
                                : found.law + ": " + found.broken + ", " + when +
                                      " and a crash: " + text_of(fates);
    }
  });
  return wrong;
}

template <faulty_storage_harness H>
std::string failing_call<H>::look_after_restart() {
  faulty_disk killed(disk_);
  log_index at;
  {
    const auto storage = harness_.mount(killed);
    const examination found = examine(*storage, progress_, H::atomic);
    if (!found.law.empty()) {
      return found.law + ": " + found.broken + ", after the failure and a restart";
    }
    at = found.now.at.index;
  }
  faulty_disk image = killed.after_crash({});
  const auto storage = harness_.mount(image);
  const examination found = examine(*storage, progress_, H::atomic);
  if (!found.law.empty()) {
    return found.law + ": " + found.broken + ", after the failure, a restart and a crash";
  }
  return found.now.at.index == at
             ? ""
             : "recover() has shown a position that is not durable, after a failed sync";
}

/// D17 for reads: an error is told as one.
template <faulty_storage_harness H>
void check_failing_reads(H& harness, law_check& law) {
  faulty_disk disk;
  const auto storage = harness.mount(disk);
  history_progress progress;
  const std::vector<history_step> steps = make_history();
  run_history(*storage, {steps.front()}, progress);
  const auto handle = storage->open("a.db", 512);
  if (!law.expect(!progress.error && handle, "the first step of the history works")) {
    return;
  }
  for (std::uint32_t page = 1; page <= 6; ++page) {
    const std::uint64_t before = disk.calls();
    disk.fail_at(before + 1, std::errc::io_error);
    bytes into(512);
    const std::error_code error = storage->read(*handle, page_number{page}, into);
    disk.heal();
    law.expect(disk.calls() == before || error == failure::fatal,
               "a read that fails is 'broken', not served");
    law.expect(reads(*storage, *handle, page, 512, 1), "a page is still there after a failed read");
  }
}

/// D17: every call of a history fails, in every way.
template <faulty_storage_harness H>
void check_failing_calls(H& harness, conformance_report& report) {
  law_check law(report, "D17",
                "a failing call is an error, leaves what was promised, and is no success later");
  const std::vector<history_step> steps = make_history();
  std::string broken;
  const std::uint64_t calls = count_calls(harness, steps, broken);
  if (!law.expect(calls != 0, broken)) {
    return;
  }
  for (const call_failure how :
       {call_failure::error_once, call_failure::error_for_good, call_failure::no_space_once,
        call_failure::no_space_for_good, call_failure::short_write}) {
    for (std::uint64_t ordinal = 1; ordinal <= calls; ++ordinal) {
      failing_call attempt(harness, steps, how, ordinal);
      const std::string wrong = attempt.run();
      if (!law.expect(wrong.empty(), wrong + " (" + attempt.where() + ")")) {
        return;
      }
    }
  }
  check_failing_reads(harness, law);
}

/// True if a wrong page is taken for a right one: neither the read fails, nor do the hashes differ
/// that the storage is asked for, or that the position has if it keeps none.
template <class S>
[[nodiscard]] bool serves_damage(S& storage, const model_content& content,
                                 const history_progress& progress, bool ahead) {
  for (const auto& [name, database] : content.databases) {
    const auto handle = storage.open(name, database.page_size);
    std::uint64_t sum = 0;
    bool wrong = false;
    for (auto page = database.seeds.begin(); handle && page != database.seeds.end(); ++page) {
      const page_number number{page->first};
      bytes image(database.page_size);
      if (storage.read(*handle, number, image)) {
        sum = ~model_position::hash_of(database);  // reported
        continue;
      }
      const std::uint64_t hash = quorlite::detail::page_hash(number, image);
      sum += hash;
      if (image == page_image(page->second, page->first, database.page_size) ||
          (ahead && progress.is_touched(name, page->first))) {
        continue;
      }
      wrong = true;
      if constexpr (S::abilities.page_hashes) {
        std::uint64_t kept = 0;
        if (!storage.read_hashes(*handle, number, {&kept, 1}) && kept == hash) {
          return true;
        }
      }
    }
    if (!S::abilities.page_hashes && wrong && sum == model_position::hash_of(database)) {
      return true;
    }
  }
  return false;
}

/// What is wrong with the storage on a damaged disk; `committed`: the last two contents.
template <faulty_storage_harness H>
[[nodiscard]] std::string look_at_damage(H& harness, faulty_disk& disk,
                                         const std::array<model_content, 2>& committed) {
  const auto storage = harness.mount(disk);
  const auto found = storage->recover();
  if (!found) {
    return found.error() == failure::fatal ? "" : "recover() fails without saying 'broken'";
  }
  history_progress progress;  // the older record may be used; then pages are ahead of it
  progress.settled = committed[0];
  progress.flights = {committed[1]};
  const model_content& now = found->at == committed[1].at ? committed[1] : committed[0];
  std::string difference = difference_in_position(*found, now);
  if (!difference.empty()) {
    return difference;
  }
  const bool ahead = found->ahead != found->at.index;
  return serves_damage(*storage, now, progress, ahead && found->at == committed[0].at)
             ? "a damaged page is served"
             : "";
}

/// Every byte at rest, or with little room every few bytes, damaged on a copy of the disk.
template <faulty_storage_harness H>
void damage_all(H& harness, law_check& law, const faulty_disk& disk,
                const std::array<model_content, 2>& committed, std::size_t at_most) {
  std::vector<std::pair<std::string, std::uint64_t>> places;
  for (const std::string& path : disk.files()) {
    const sparse_bytes content = disk.content(path);
    for (std::uint64_t at = 0; at < content.size(); at += content.is_hole(at) ? 4096 : 1) {
      places.emplace_back(path, at);
    }
  }
  const std::size_t step = std::max<std::size_t>(1, places.size() / at_most) | 1U;
  for (std::size_t i = 0; i < places.size(); i += step) {
    faulty_disk damaged(disk);
    damaged.damage(places[i].first, places[i].second, std::byte{1} << (i % 8));
    const std::string wrong = look_at_damage(harness, damaged, committed);
    law.expect(wrong.empty(), wrong + " (byte " + std::to_string(places[i].second) + " of '" +
                                  places[i].first + "')");
  }
}

/// D18: bytes at rest change, one at a time, after a crash and after an end in good order.
template <faulty_storage_harness H>
void check_damage(H& harness, conformance_report& report, const fault_sweep& sweep) {
  law_check law(report, "D18", "damage is reported, not served");
  const std::vector<history_step> steps = make_history();
  const std::array<model_content, 2> committed{steps[0].next, steps[1].next};
  faulty_disk disk;
  history_progress progress;
  auto storage = harness.mount(disk);
  run_history(*storage, {steps[0], steps[1]}, progress);
  if (law.expect(!progress.error, "the first steps of the history work")) {
    damage_all(harness, law, disk.after_crash({}), committed, sweep.damages / 2);
    storage.reset();
    damage_all(harness, law, disk.after_crash({}), committed, sweep.damages / 2);
  }
}

/// Runs D3, D5, D17, D18, and what other laws say of crashes.
template <faulty_storage_harness H>
void run_storage_fault_laws(H& harness, conformance_report& report, const fault_sweep& sweep) {
  check_crashes(harness, report, sweep);
  check_failing_calls(harness, report);
  check_damage(harness, report, sweep);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/laws/storage_laws_faults.ipp"  // IWYU pragma: keep
#endif
