/// @file
/// What all rounds measured, as tables and as JSON.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "cluster.hpp"
#include "cluster_options.hpp"
#include "message_channel.hpp"
#include "sample_set.hpp"
#include "text_table.hpp"

namespace bench {

/// What is kept of a measurement, in the order of the JSON.
inline constexpr std::array<std::pair<const char*, double (*)(const measurement&)>, 15> metrics{{
    {"transactions_per_second",
     [](const measurement& of) {
       return static_cast<double>(of.load.transactions) / of.load.seconds;
     }},
    {"p50_ms", [](const measurement& of) { return of.load.p50_us / 1000; }},
    {"p99_ms", [](const measurement& of) { return of.load.p99_us / 1000; }},
    {"max_ms", [](const measurement& of) { return of.load.max_us / 1000; }},
    {"leader_cpu_us", [](const measurement& of) { return of.leader_cpu_us; }},
    {"follower_cpu_us", [](const measurement& of) { return of.follower_cpu_us; }},
    {"client_cpu_us", [](const measurement& of) { return of.client_cpu_us; }},
    {"cluster_cpu_us",
     [](const measurement& of) { return of.leader_cpu_us + 2 * of.follower_cpu_us; }},
    {"transactions_of_entry",
     [](const measurement& of) {
       const double entries = of.load.log_entries;
       return entries == 0 ? 1 : static_cast<double>(of.load.transactions) / entries;
     }},
    {"entry_bytes", [](const measurement& of) { return of.entry_bytes; }},
    {"loopback_bytes", [](const measurement& of) { return of.loopback_bytes; }},
    {"leader_disk_bytes", [](const measurement& of) { return of.leader_disk_bytes; }},
    {"follower_disk_bytes", [](const measurement& of) { return of.follower_disk_bytes; }},
    {"busy_retries",
     [](const measurement& of) {
       return static_cast<double>(of.load.busy) / static_cast<double>(of.load.transactions);
     }},
    {"errors", [](const measurement& of) { return static_cast<double>(of.load.errors); }},
}};

class cluster_report {
 public:
  using metric_samples = std::map<std::string, sample_set>;

  void add(std::uint64_t round, const std::string& medium, std::uint64_t clients,
           const std::string& engine_name, const measurement& seen) {
    metric_samples& into = cells_[{medium, clients, engine_name}];
    into["round"].add(static_cast<double>(round));
    for (const auto& [name, read] : metrics) {
      into[name].add(read(seen));
    }
  }
  void fail(std::string what) { failures_.push_back(std::move(what)); }

  [[nodiscard]] bool complete() const { return failures_.empty(); }

  void print(const cluster_options& asked) const {
    print_engines(asked);
    for (const std::string& medium : asked.media) {
      for (const std::uint64_t clients : asked.clients) {
        fmt::print("\n{}, {} {}\n", medium, clients, clients == 1 ? "client" : "clients");
        print_table(asked, medium, clients);
      }
    }
    fmt::print("{}", notes);
    for (const std::string& what : failures_) {
      fmt::print("NOT MEASURED: {}\n", what);
    }
  }

  [[nodiscard]] json to_json(const cluster_options& asked) const {
    json engines = json::object();
    for (const engine& one : all_engines()) {
      engines[one.name] = one.what;
    }
    json cells = json::array();
    for (const std::string& medium : asked.media) {
      for (const std::uint64_t clients : asked.clients) {
        for (const std::string& name : asked.engines) {
          if (const metric_samples* const found = find(medium, clients, name)) {
            cells.push_back(cell_json(medium, clients, name, *found));
          }
        }
      }
    }
    return {{"engines", engines},       {"missing", missing_engines()}, {"rounds", asked.rounds},
            {"seconds", asked.seconds}, {"cells", std::move(cells)},    {"failures", failures_}};
  }

 private:
  static constexpr const char* notes =
      R"(
txn/s: median of the rounds [min..max]. x: how many times that engine's rate, round by round, in
the median. Other columns: medians; bytes and CPU are those of one transaction.
CPU us: leader / one follower / a process with nothing but clients. Clients of quorlite and sqlite
are threads inside the leader's process, with plain sqlite3 connections or (quorlite-groups) in
write(), as that is how these are used; dqlite's are threads of another process and talk its wire
protocol. The engine sqlite always has one client: more would only wait for each other.
txn/entry: transactions that share an entry of the log. entry: bytes in the log.
lo: on the loopback device, with headers, with dqlite's clients, and with what else the machine sent
there. disk: written by leader / one follower. busy: retries.
)";

  [[nodiscard]] const metric_samples* find(const std::string& medium, std::uint64_t clients,
                                           const std::string& name) const {
    const auto found = cells_.find({medium, clients, name});
    return found == cells_.end() ? nullptr : &found->second;
  }

  void print_engines(const cluster_options& asked) const {
    for (const engine& one : all_engines()) {
      if (std::find(asked.engines.begin(), asked.engines.end(), one.name) != asked.engines.end()) {
        fmt::print("{:<13} {}\n", one.name, one.what);
      }
    }
    for (const std::string& name : missing_engines()) {
      fmt::print("{:<13} left out: this program was built without it\n", name);
    }
  }

  void print_table(const cluster_options& asked, const std::string& medium,
                   std::uint64_t clients) const {
    text_table table({"", "txn/s", "", "x dqlite", "x sqlite", "p50 ms", "p99 ms", "CPU us",
                      "txn/entry", "entry B", "lo B", "disk B", "busy", "errors"});
    for (const std::string& name : asked.engines) {
      const metric_samples* const cell = find(medium, clients, name);
      if (cell == nullptr) {
        continue;
      }
      const auto median = [&](const char* metric) {
        return short_number(cell->at(metric).median());
      };
      const sample_set& rate = cell->at("transactions_per_second");
      table.add({name, fmt::format("{:.0f}", rate.median()),
                 fmt::format("[{:.0f}..{:.0f}]", rate.min(), rate.max()),
                 times(*cell, find(medium, clients, "dqlite")),
                 times(*cell, find(medium, clients, "sqlite")), median("p50_ms"), median("p99_ms"),
                 fmt::format("{} / {} / {}", median("leader_cpu_us"), median("follower_cpu_us"),
                             median("client_cpu_us")),
                 median("transactions_of_entry"), median("entry_bytes"), median("loopback_bytes"),
                 fmt::format("{} / {}", median("leader_disk_bytes"), median("follower_disk_bytes")),
                 median("busy_retries"), fmt::format("{:.0f}", cell->at("errors").max())});
    }
    table.print(stdout);
  }

  /// Rounds are compared in pairs: what slows the machine for a while slows both.
  [[nodiscard]] static std::string times(const metric_samples& of, const metric_samples* other) {
    const sample_set ratios = paired_ratios(of, other);
    return ratios.empty() ? "-" : short_number(ratios.median());
  }
  /// Of the rounds in which both were measured.
  [[nodiscard]] static sample_set paired_ratios(const metric_samples& of,
                                                const metric_samples* other) {
    sample_set ratios;
    if (other == nullptr) {
      return ratios;
    }
    const auto values = [](const metric_samples& from, const char* name) {
      return from.at(name).values();
    };
    const std::vector<double> our_rounds = values(of, "round");
    const std::vector<double> their_rounds = values(*other, "round");
    const std::vector<double> ours = values(of, "transactions_per_second");
    const std::vector<double> theirs = values(*other, "transactions_per_second");
    for (std::size_t i = 0; i < ours.size(); ++i) {
      const auto same = std::find(their_rounds.begin(), their_rounds.end(), our_rounds[i]);
      if (same != their_rounds.end()) {
        ratios.add(ours[i] / theirs[static_cast<std::size_t>(same - their_rounds.begin())]);
      }
    }
    return ratios;
  }

  [[nodiscard]] json cell_json(const std::string& medium, std::uint64_t clients,
                               const std::string& name, const metric_samples& of) const {
    json cell{{"medium", medium}, {"clients", clients}, {"engine", name}};
    for (const char* other : {"dqlite", "sqlite", "raft"}) {
      const sample_set ratios = paired_ratios(of, find(medium, clients, other));
      if (!ratios.empty()) {
        cell[std::string("times_") + other] = sample_json(ratios);
      }
    }
    for (const auto& [metric, read] : metrics) {
      cell[metric] = sample_json(of.at(metric));
    }
    return cell;
  }
  [[nodiscard]] static json sample_json(const sample_set& of) {
    return {{"median", of.median()}, {"min", of.min()}, {"max", of.max()}, {"rounds", of.values()}};
  }

  std::map<std::tuple<std::string, std::uint64_t, std::string>, metric_samples> cells_;
  std::vector<std::string> failures_;
};

}  // namespace bench
