// What one transaction costs without consensus: quorlite on a memory storage beside SQLite's own
// ways, and what a follower pays to apply the same transactions. All variants take turns in one
// run; compare ratios, not microseconds.

#include <fmt/format.h>
#include <sqlite3.h>

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

void run(const settings& chosen) {
  const bench::scratch_folder folder("/tmp");
  const auto in_folder = [&](const char* name) { return folder.path() / name; };
  bench::immediate_consensus consensus;
  quorlite::memory_storage storage;
  quorlite::replica one = quorlite::replica::start(consensus, storage).value();
  const quorlite::connection ours = one.open("bench.db").value();
  consensus.recording = true;
  const bench::plain_database memory(":memory:", "MEMORY", "OFF");
  const bench::plain_database wal_off(in_folder("wal_off.db"), "WAL", "OFF");
  const bench::plain_database wal_normal(in_folder("wal_normal.db"), "WAL", "NORMAL");
  const bench::plain_database wal_full(in_folder("wal_full.db"), "WAL", "FULL");

  subjects all;
  const auto add = [&](const char* name, sqlite3* db) {
    all.push_back(std::make_unique<bench::update_subject>(name, db, chosen.table_rows));
  };
  add("quorlite", ours);
  add("sqlite :memory:", memory.get());
  add("sqlite WAL OFF", wal_off.get());
  add("sqlite WAL NORMAL", wal_normal.get());
  add("sqlite WAL FULL", wal_full.get());
  const std::size_t loaded = consensus.log.size();

  nlohmann::json report;
  show(all, chosen, 1, report);
  bench::sample_set applied;
  for (int round = 0; round < 3; ++round) {
    applied.add(time_apply(consensus.log, loaded));
  }
  report["apply_us"] = applied.median();
  if (!chosen.json) {
    fmt::print(" 1 rows  {:18} {:9.2f} us\n", "follower's apply", applied.median());
  }
  consensus.recording = false;
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
          "commit_cost [--rounds N] [--transactions N] [--json]\n"
          "Microseconds per transaction, medians of N rounds in which all variants take turns.\n");
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
