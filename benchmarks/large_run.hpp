/// @file
/// A database that is larger than memory, from the first row to the last check.
#pragma once

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "child_process.hpp"
#include "large_steps.hpp"
#include "message_channel.hpp"
#include "scratch_folder.hpp"
#include "storage_options.hpp"
#include "text_table.hpp"

namespace bench {

class large_run {
 public:
  explicit large_run(storage_options asked) : asked_(std::move(asked)) {}

  /// @returns true if everything was as it should be @throws std::runtime_error
  bool run(const std::vector<std::string>& kinds) {
    for (const std::string& kind : kinds) {
      const scratch_folder folder(asked_.folder);
      large_setup setup{.kind = kind,
                        .folder = folder.path().string(),
                        .database_mib = asked_.database_mib,
                        .memory_mib = asked_.memory_mib,
                        .rows = 0,
                        .updates = asked_.updates};
      for (const char* step : {"load", "update", "verify", "check"}) {
        json seen = run_step(step, setup);
        if (std::string(step) == "load") {
          setup.rows = seen.at("rows");
        }
        judge(kind, step, seen);
        report_[kind][step] = std::move(seen);
      }
    }
    show();
    return faults_.empty();
  }

 private:
  static json run_step(const std::string& step, const large_setup& setup) {
    child_process process(setup.kind + ' ' + step, {"step", step, json(setup).dump()});
    constexpr std::chrono::hours limit{6};
    return process.answer(limit);
  }

  void judge(const std::string& kind, const std::string& step, const json& seen) {
    const auto expect = [&](bool right, const std::string& what) {
      if (!right) {
        faults_.push_back(fmt::format("{}, {}: {}", kind, step, what));
      }
    };
    expect(seen.value("wrong_rows", std::uint64_t{0}) == 0, "rows are not what was written");
    expect(seen.value("integrity", "ok") == "ok", "stock SQLite finds the file corrupt");
    expect(seen.value("hash", "") == seen.value("hash_of_file", ""),
           "the hash is not that of the file");
    // The check is stock SQLite's work, whoever wrote the file.
    expect(kind == "sqlite" || step == "check" ||
               seen.at("peak_kib").get<std::uint64_t>() <= asked_.memory_mib * 1024,
           "the process used more memory than it may");
  }

  void show() const {
    if (asked_.json) {
      json whole{{"database_mib", asked_.database_mib},
                 {"memory_mib", asked_.memory_mib},
                 {"steps", report_},
                 {"faults", faults_}};
      fmt::print("{}\n", whole.dump(2));
      return;
    }
    text_table table({fmt::format("{} MiB within {} MiB", asked_.database_mib, asked_.memory_mib),
                      "seconds", "transactions", "us each", "p50", "p99", "max", "written B each",
                      "peak MiB", "found"});
    for (const auto& [kind, steps] : report_.items()) {
      for (const auto& [step, seen] : steps.items()) {
        table.add(line(kind + ", " + step, seen));
      }
    }
    table.print(stdout);
    fmt::print("{}", notes);
    for (const std::string& fault : faults_) {
      fmt::print("NOT RIGHT: {}\n", fault);
    }
  }

  static constexpr const char* notes =
      R"(
load: transactions of 1000 rows; update: of one row, chosen by chance, with all flushes in their
time. Each step is a process of its own, begins with a restart, and tells the most memory that it
had at a time. quorlite and sqlite may use three quarters of the memory for pages. sqlite is stock
SQLite, WAL, synchronous=NORMAL, which syncs when it checkpoints as quorlite does when it flushes.
check is stock SQLite on the file.
)";

  [[nodiscard]] static std::vector<std::string> line(const std::string& name, const json& seen) {
    const double seconds = seen.at("seconds");
    const double transactions = seen.at("transactions");
    const bool timed = transactions > 0;
    const auto each = [&](double of) { return timed ? short_number(of / transactions) : "-"; };
    const auto told = [&](const char* what) {
      return seen.contains(what) ? short_number(seen[what].get<double>()) : std::string("-");
    };
    std::string found = seen.contains("rows")
                            ? fmt::format("{} rows", seen["rows"].get<std::uint64_t>())
                            : std::string();
    for (const char* what : {"wrong_rows", "hash", "hash_of_file", "integrity"}) {
      if (seen.contains(what)) {
        found += fmt::format(", {} {}", what,
                             seen[what].is_string() ? seen[what].get<std::string>()
                                                    : std::to_string(seen[what].get<long>()));
      }
    }
    return {name,
            short_number(seconds),
            timed ? fmt::format("{:.0f}", transactions) : "-",
            each(seconds * 1e6),
            told("p50_us"),
            told("p99_us"),
            told("max_us"),
            each(seen.at("written_bytes")),
            short_number(seen.at("peak_kib").get<double>() / 1024),
            found};
  }

  const storage_options asked_;
  json report_ = json::object();
  std::vector<std::string> faults_;
};

}  // namespace bench
