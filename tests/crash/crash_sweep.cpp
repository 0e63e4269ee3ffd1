// Crashes a replica on files at every call of the file system, keeps every subset of what was not
// synced, torn at sectors of 512 bytes, and starts it again: it must end with the bytes that the
// cluster has. Then the same with calls that fail. `crash_sweep --help` tells more.
#include <fmt/format.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "crash/history.hpp"
#include "crash/scenarios.hpp"
#include "crash/victim.hpp"
#include "quorlite/testing/faulty_disk.hpp"

namespace {

using namespace quorlite::tests;
using quorlite::testing::crash_fates;
using quorlite::testing::crash_images;
using quorlite::testing::fault_duration;
using quorlite::testing::faulty_disk;

struct options {
  bool json = false;
  bool shorter = false;
  std::size_t images = 256;      // at most, for each call
  std::size_t nested_every = 2;  // crash the recovery as well, for each so-manieth call
  std::size_t threads = 2;
  std::string only;        // a scenario's name
  std::uint64_t call = 0;  // only this call
  bool faults = true;
  bool crashes = true;
};

struct tally {
  std::atomic<std::uint64_t> crashes{0};
  std::atomic<std::uint64_t> nested{0};
  std::atomic<std::uint64_t> faults{0};
  std::atomic<std::uint64_t> halted{0};   // by a fault: stopped, and started again in the end
  std::atomic<std::uint64_t> resumed{0};  // went on when the fault was over
  std::atomic<std::uint64_t> failures{0};
  std::mutex mutex;
  std::vector<std::string> messages;

  void fail(const std::string& what) {
    failures.fetch_add(1);
    const std::lock_guard guard(mutex);
    if (messages.size() < 20) {
      messages.push_back(what);
      std::cerr << "FAILED " << what << '\n';
    }
  }
  [[nodiscard]] std::uint64_t cases() const { return crashes + nested + faults; }
};

/// Starts on a disk that a crash left, lets the log do its work, and looks.
std::string after_restart(faulty_disk& disk, const history& told, bool and_again) {
  player again(disk, told);
  if (const std::error_code error = again.start()) {
    return "does not start: " + error.message() + " (" + again.now().machine().health().what + ")";
  }
  if (!again.play(true)) {
    return "stops during the replay: " + again.now().machine().health().what;
  }
  std::string difference = again.difference();
  if (!difference.empty() || !and_again) {
    return difference;
  }
  auto& machine = again.now().machine();
  if (const std::error_code error = machine.flush(machine.applied().index)) {
    return "cannot flush afterwards: " + error.message();
  }
  if (machine.durable().index != told.end.index) {
    return "is not durable after a flush";
  }
  again.kill();
  player third(disk, told);
  if (const std::error_code error = third.start()) {
    return "does not start a second time: " + error.message();
  }
  return third.difference();
}

/// Runs the history until the disk crashes. @returns false if it ended before
bool run_until_crash(faulty_disk& disk, const history& told) {
  player first(disk, told);
  if (!first.start()) {
    static_cast<void>(first.play(false));
  }
  first.kill();
  return disk.crashed();
}

/// Crashes the recovery from `image` at each of its calls in turn.
void crash_again(const faulty_disk& image, const history& told, const std::string& where,
                 tally& sum) {
  for (std::uint64_t call = 1;; ++call) {
    faulty_disk disk = image;
    disk.crash_at(call);
    {
      player second(disk, told);
      if (!second.start() && second.play(true)) {
        auto& machine = second.now().machine();
        static_cast<void>(machine.flush(machine.applied().index));
      }
      second.kill();
    }
    if (!disk.crashed()) {
      return;
    }
    crash_images(disk, 3, [&](faulty_disk& twice, const crash_fates& fates) {
      sum.nested.fetch_add(1);
      const std::string difference = after_restart(twice, told, false);
      if (!difference.empty()) {
        sum.fail(fmt::format("{}, then at call {} of the recovery ({} {}), units {}: {}", where,
                             call, name_of(disk.call(call).kind), disk.call(call).path,
                             text_of(fates), difference));
      }
    });
  }
}

void sweep_crash(const history& told, std::uint64_t call, const options& chosen, tally& sum) {
  faulty_disk disk;
  disk.crash_at(call);
  if (!run_until_crash(disk, told)) {
    return;
  }
  const bool nested = call % chosen.nested_every == 0;
  std::size_t nth = 0;
  crash_images(disk, chosen.images,
               [&](faulty_disk& image, const crash_fates& fates) {
                 sum.crashes.fetch_add(1);
                 const std::string where = fmt::format(
                     "{} crashed at call {} ({} {}), units {}", told.name, call,
                     name_of(disk.call(call).kind), disk.call(call).path, text_of(fates));
                 const faulty_disk untouched = image;
                 const std::string difference = after_restart(image, told, nth % 16 == 0);
                 if (!difference.empty()) {
                   sum.fail(where + ": " + difference);
                 } else if (nested && nth < 2) {
                   crash_again(untouched, told, where, sum);
                 }
                 ++nth;
               },
               {.garbage = told.double_write, .seed = call});
}

enum class fault { broken_once, broken_for_good, full_once, full_for_long, short_write };
constexpr std::array faults{fault::broken_once, fault::broken_for_good, fault::full_once,
                            fault::full_for_long, fault::short_write};

void arm(faulty_disk& disk, fault what, std::uint64_t call) {
  switch (what) {
    case fault::broken_once: disk.fail_at(call, std::errc::io_error, fault_duration::once); break;
    case fault::broken_for_good:
      disk.fail_at(call, std::errc::io_error, fault_duration::persistent);
      break;
    case fault::full_once:
      disk.fail_at(call, std::errc::no_space_on_device, fault_duration::once);
      break;
    case fault::full_for_long: disk.full_from(call); break;
    case fault::short_write: disk.short_write_at(call); break;
  }
}

/// One call fails, or all from one on. What comes out is typed; what is there stays right; when the
/// fault is over the replica goes on, or it had stopped and can be started again.
void sweep_fault(const history& told, std::uint64_t call, fault what, tally& sum) {
  const std::string where =
      fmt::format("{} with fault {} at call {}", told.name, static_cast<int>(what), call);
  sum.faults.fetch_add(1);
  faulty_disk disk;
  arm(disk, what, call);
  std::string difference;
  bool goes_on = false;
  {
    player first(disk, told);
    if (!first.start() && first.play(false)) {
      disk.heal();
      auto& machine = first.now().machine();
      const std::error_code error = machine.flush(machine.applied().index);
      goes_on = !error && !first.halted();
      difference = goes_on ? first.difference() : "";
      if (goes_on && machine.durable().index != told.end.index) {
        difference = "cannot flush although the fault is over";
      }
    }
    // No promise of the disk was broken, so nothing may stop for good that has memory left. (Only
    // the copy of a double write has no other way.)
    if (what == fault::full_for_long && !told.double_write && first.halted() &&
        !first.now().loaded()) {
      difference = "halted by a full disk: " + first.now().machine().health().what;
    }
    if (first.saw_untyped_error()) {
      difference = "an error that is none of ours";
    }
    if (first.saw_wrong_read()) {
      difference = "a reader did not get its state";
    }
    first.kill();
  }
  (goes_on ? sum.resumed : sum.halted).fetch_add(1);
  disk.heal();
  if (difference.empty()) {
    difference = after_restart(disk, told, true);
  }
  if (!difference.empty()) {
    sum.fail(where + ": " + difference);
  }
}

/// The calls that the history makes when nothing fails. @returns nothing if it does not end well
std::optional<std::uint64_t> calls_of(const history& told, tally& sum) {
  faulty_disk disk;
  player first(disk, told);
  const std::error_code error = first.start();
  const bool plays = !error && first.play(false);
  const std::string difference = plays ? first.difference() : error.message();
  if (!plays || !difference.empty() || first.saw_wrong_read()) {
    sum.fail(told.name + " without any fault: " + difference);
    return std::nullopt;
  }
  return disk.calls();
}

void sweep(const history& told, std::uint64_t calls, const options& chosen, tally& sum) {
  std::atomic<std::uint64_t> next{chosen.call == 0 ? 1 : chosen.call};
  const std::uint64_t last = chosen.call == 0 ? calls : chosen.call;
  std::vector<std::thread> workers;
  for (std::size_t i = 0; i < chosen.threads; ++i) {
    workers.emplace_back([&] {
      for (std::uint64_t call = next.fetch_add(1); call <= last; call = next.fetch_add(1)) {
        if (chosen.crashes) {
          sweep_crash(told, call, chosen, sum);
        }
        for (const fault what : faults) {
          if (chosen.faults) {
            sweep_fault(told, call, what, sum);
          }
        }
      }
    });
  }
  for (std::thread& worker : workers) {
    worker.join();
  }
}

std::vector<variation> variations(bool shorter) {
  if (shorter) {
    return {{.page_size = 512, .double_write = false, .flush_every = 3}};
  }
  return {{512, false, 2}, {4096, false, 3}, {1024, true, 3}};
}

constexpr std::string_view help = R"(usage: crash_sweep [options]
Six scenarios of three replicas (rows, shrink, databases, behind, parts, restarts), each in three
variations. One replica has its databases in files on a simulated disk.
  --json             the result as JSON on standard output
  --short            one variation, fewer subsets; as with QUORLITE_TEST_PROFILE=short
  --scenario NAME    only this one
  --call N           only a crash or fault at this call: what a failure says
  --images N         subsets of the unsynced writes for each call, at most (256)
  --no-faults        crashes only
  --no-crashes       failing calls only
  --threads N        (2)
Exit status: 0 if nothing failed, 1 if something did, 2 for a wrong argument.
)";

void shorten(options& chosen) {
  chosen.shorter = true;
  chosen.images = 16;
  chosen.nested_every = 8;
}

std::optional<options> parse(int count, char** words) {
  options chosen;
  const char* const profile = std::getenv("QUORLITE_TEST_PROFILE");
  if (profile != nullptr && std::string_view(profile) == "short") {
    shorten(chosen);
  }
  for (int i = 1; i < count; ++i) {
    const std::string_view word = words[i];
    const bool has_value = i + 1 < count;
    if (word == "--json") {
      chosen.json = true;
    } else if (word == "--short") {
      shorten(chosen);
    } else if (word == "--no-faults") {
      chosen.faults = false;
    } else if (word == "--no-crashes") {
      chosen.crashes = false;
    } else if (word == "--scenario" && has_value) {
      chosen.only = words[++i];
    } else if (word == "--call" && has_value) {
      chosen.call = std::strtoull(words[++i], nullptr, 10);
    } else if (word == "--images" && has_value) {
      chosen.images = std::max<std::size_t>(1, std::strtoull(words[++i], nullptr, 10));
    } else if (word == "--threads" && has_value) {
      chosen.threads = std::max<std::size_t>(1, std::strtoull(words[++i], nullptr, 10));
    } else {
      return std::nullopt;
    }
  }
  return chosen;
}

}  // namespace

int main(int count, char** words) {
  if (count == 2 && std::string_view(words[1]) == "--help") {
    std::cout << help;
    return 0;
  }
  const std::optional<options> chosen = parse(count, words);
  if (!chosen) {
    std::cerr << help;
    return 2;
  }
  const auto began = std::chrono::steady_clock::now();
  tally sum;
  nlohmann::json told_scenarios = nlohmann::json::array();
  for (const scenario& which : scenarios) {
    if (!chosen->only.empty() && chosen->only != which.name) {
      continue;
    }
    for (const variation& how : variations(chosen->shorter)) {
      const history told = record(which, how);
      const std::uint64_t before = sum.cases();
      if (const std::optional<std::uint64_t> calls = calls_of(told, sum)) {
        sweep(told, *calls, *chosen, sum);
        told_scenarios.push_back({{"name", told.name},
                                  {"calls", *calls},
                                  {"events", told.events.size()},
                                  {"cases", sum.cases() - before}});
        std::cerr << fmt::format("{}: {} calls, {} cases, {} failures\n", told.name, *calls,
                                 sum.cases() - before, sum.failures.load());
      }
    }
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  if (chosen->json) {
    const nlohmann::json report{{"scenarios", told_scenarios},
                                {"cases", sum.cases()},
                                {"crashes", sum.crashes.load()},
                                {"crashes_in_recovery", sum.nested.load()},
                                {"failing_calls", sum.faults.load()},
                                {"stopped_by_a_fault", sum.halted.load()},
                                {"went_on_after_a_fault", sum.resumed.load()},
                                {"failures", sum.failures.load()},
                                {"messages", sum.messages},
                                {"seconds", took.count()}};
    std::cout << report.dump(2) << '\n';
  } else {
    std::cout << fmt::format("{} cases, {} failures, {:.1f} s\n", sum.cases(), sum.failures.load(),
                             took.count());
  }
  return sum.failures.load() == 0 ? 0 : 1;
}
