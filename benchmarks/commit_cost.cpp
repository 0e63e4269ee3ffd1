// What one transaction costs without consensus: quorlite on a memory storage beside SQLite's own
// ways, and what a follower pays to apply the same transactions. All variants take turns in one
// run; compare ratios, not microseconds.

#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "flags.hpp"
#include "immediate_consensus.hpp"
#include "plain_database.hpp"
#include "quorlite/quorlite.hpp"
#include "quorlite/storage/memory.hpp"
#include "random_rows.hpp"
#include "sample_set.hpp"
#include "scratch_folder.hpp"
#include "update_subject.hpp"

namespace {

struct settings {
  std::uint64_t rounds = 9;
  std::uint64_t transactions = 2000;
  std::uint64_t table_rows = 50'000;
  std::vector<std::string> only;  ///< none: all
  bool json = false;
  bool help = false;
};

/// Microseconds per entry, page by page, on a replica that did not write them.
double time_apply(const std::vector<quorlite::bytes>& log, std::size_t from) {
  quorlite::memory_storage storage;
  quorlite::fsm<bench::immediate_consensus, quorlite::memory_storage> follower(storage);
  quorlite::log_index at;
  auto begin = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < log.size(); ++i) {
    if (i == from) {
      begin = std::chrono::steady_clock::now();
    }
    at = at.next();
    if (follower.apply({{at, quorlite::term{1}}, log[i]}) != quorlite::apply_result::applied) {
      throw std::runtime_error(fmt::format("the follower refused entry {}", at.value));
    }
  }
  const std::chrono::duration<double, std::micro> spent = std::chrono::steady_clock::now() - begin;
  return spent.count() / static_cast<double>(log.size() - from);
}

settings parse(std::span<char* const> arguments) {
  settings chosen;
  bench::flags given(arguments);
  while (given.next()) {
    if (given.name() == "--json") {
      chosen.json = true;
    } else if (given.name() == "--rounds") {
      chosen.rounds = given.number(1, 1000);
    } else if (given.name() == "--transactions") {
      chosen.transactions = given.number(10, 1'000'000);
    } else if (given.name() == "--only") {
      chosen.only = given.words();
    } else if (given.name() == "--help") {
      chosen.help = true;
    } else {
      given.refuse();
    }
  }
  return chosen;
}

using subjects = std::vector<std::unique_ptr<bench::update_subject>>;

/// Rounds in which all subjects take turns; every one touches the same rows.
std::vector<bench::sample_set> time_all(const subjects& all, const settings& chosen, int rows) {
  std::vector<bench::sample_set> times(all.size());
  bench::random_rows chance(chosen.table_rows);
  for (std::uint64_t round = 0; round < chosen.rounds; ++round) {
    bench::random_rows next = chance;
    for (std::size_t i = 0; i < all.size(); ++i) {
      next = chance;
      times[i].add(
          all[i]->time(chosen.transactions / static_cast<std::uint64_t>(rows), rows, next));
    }
    chance = next;
  }
  return times;
}

void show(const subjects& all, const settings& chosen, int rows, nlohmann::json& report) {
  const std::vector<bench::sample_set> times = time_all(all, chosen, rows);
  const double ours_us = times[0].median();
  for (std::size_t i = 0; i < all.size(); ++i) {
    const double us = times[i].median();
    report[fmt::format("{} rows", rows)][all[i]->name()] = {{"us", us},
                                                            {"quorlite_is_times", ours_us / us}};
    if (!chosen.json) {
      fmt::print("{:2} rows  {:18} {:9.2f} us   quorlite is {:5.2f}x\n", rows, all[i]->name(), us,
                 ours_us / us);
    }
  }
}

/// A replica on a storage in memory, and a connection to its database.
class local_subject {
 public:
  /// @param founded its entries say what they build on, and their history is hashed
  explicit local_subject(bool founded) {
    engine_.recording = true;
    one_ = quorlite::replica::start(engine_, storage_, {.found = founded}).value();
    db_ = one_.open("bench.db").value();
  }

  [[nodiscard]] sqlite3* db() const { return db_; }
  [[nodiscard]] bench::immediate_consensus& engine() { return engine_; }

 private:
  bench::immediate_consensus engine_;
  quorlite::memory_storage storage_;
  quorlite::replica one_;
  quorlite::connection db_;
};

/// What a follower pays for the entries that came since `loaded`.
void show_apply(const std::vector<quorlite::bytes>& log, std::size_t loaded, const settings& chosen,
                nlohmann::json& report) {
  bench::sample_set applied;
  for (int round = 0; round < 3; ++round) {
    applied.add(time_apply(log, loaded));
  }
  report["apply_us"] = applied.median();
  if (!chosen.json) {
    fmt::print(" 1 rows  {:18} {:9.2f} us\n", "follower's apply", applied.median());
  }
}

void run(const settings& chosen) {
  const bench::scratch_folder folder("/tmp");
  std::vector<std::unique_ptr<local_subject>> ours;
  std::vector<bench::plain_database> plain;
  subjects all;
  const auto wanted = [&](const char* name) {
    return chosen.only.empty() ||
           std::find(chosen.only.begin(), chosen.only.end(), name) != chosen.only.end();
  };
  const auto add = [&](const char* name, sqlite3* db) {
    all.push_back(std::make_unique<bench::update_subject>(name, db, chosen.table_rows));
  };
  const auto add_ours = [&](const char* name, bool founded) {
    if (wanted(name)) {
      ours.push_back(std::make_unique<local_subject>(founded));
      add(name, ours.back()->db());
    }
  };
  const auto add_plain = [&](const char* name, const std::string& path, const char* journal,
                             const char* synchronous) {
    if (wanted(name)) {
      plain.emplace_back(path, journal, synchronous);
      add(name, plain.back().get());
    }
  };
  add_ours("quorlite", true);
  add_ours("quorlite-old", false);
  add_plain("sqlite-memory", ":memory:", "MEMORY", "OFF");
  add_plain("sqlite-wal-off", folder.path() / "wal_off.db", "WAL", "OFF");
  add_plain("sqlite-wal-normal", folder.path() / "wal_normal.db", "WAL", "NORMAL");
  add_plain("sqlite-wal-full", folder.path() / "wal_full.db", "WAL", "FULL");
  if (all.empty()) {
    throw bench::usage_error("--only names no variant");
  }

  nlohmann::json report;
  bench::immediate_consensus* const engine = ours.empty() ? nullptr : &ours.front()->engine();
  const std::size_t loaded = engine == nullptr ? 0 : engine->log.size();
  show(all, chosen, 1, report);
  if (engine != nullptr) {
    show_apply(engine->log, loaded, chosen, report);
  }
  for (const auto& one : ours) {
    one->engine().recording = false;
  }
  show(all, chosen, 10, report);
  if (chosen.json) {
    fmt::print("{}\n", report.dump(2));
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::span<char* const> whole(argv, static_cast<std::size_t>(argc));
  try {
    const settings chosen = parse(whole.subspan(1));
    if (chosen.help) {
      fmt::print(
          "commit_cost [--rounds N] [--transactions N] [--only VARIANT,...] [--json]\n"
          "Microseconds per transaction, medians of N rounds in which all variants take turns.\n"
          "Of ours: quorlite was founded; quorlite-old writes what was written before histories\n"
          "were hashed. What a follower pays is measured with the first of them.\n");
      return 0;
    }
    run(chosen);
    return 0;
  } catch (const bench::usage_error& error) {
    fmt::print(stderr, "commit_cost: {}; --help tells more\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "commit_cost: {}\n", error.what());
    return 1;
  }
}
