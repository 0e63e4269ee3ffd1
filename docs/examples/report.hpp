/// @file
/// What three_replicas shows: progress while it runs, a table or a JSON object at the end.
#pragma once

#include <fmt/format.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "sql_script.hpp"

namespace example {

/// One replica at the end.
struct replica_report {
  std::uint64_t id = 0;
  std::string role;
  std::uint64_t applied_index = 0;
  std::uint64_t page_count = 0;
  std::string page_hash;
  std::string integrity;  ///< what PRAGMA integrity_check says: "ok"
};

/// The whole run.
struct report {
  std::uint64_t statements = 0;    ///< of the script
  std::uint64_t transactions = 0;  ///< committed by them
  std::uint64_t failovers = 0;
  std::uint64_t retries = 0;              ///< transactions that were run again from their BEGIN
  std::uint64_t unknown_resolved = 0;     ///< commits whose outcome was asked for by their id
  std::uint64_t entries = 0;              ///< log entries proposed, lost ones included
  std::uint64_t entry_bytes = 0;          ///< their size
  std::uint64_t full_page_bytes = 0;      ///< what the pages in them are in full
  std::uint64_t snapshots_installed = 0;  ///< replicas that came back by a snapshot
  std::vector<replica_report> replicas;
  bool identical = false;       ///< all replicas, page by page
  bool matches_sqlite = false;  ///< content as on plain SQLite
  double seconds = 0;           ///< real time

  std::uint64_t refused_alike = 0;  ///< statements that fail on plain SQLite too; not in JSON

  [[nodiscard]] bool intact() const {
    for (const replica_report& one : replicas) {
      if (one.integrity != "ok") {
        return false;
      }
    }
    return true;
  }
  [[nodiscard]] bool good() const { return identical && matches_sqlite && intact(); }
};

[[nodiscard]] inline std::string to_json(const report& run) {
  using json = nlohmann::ordered_json;
  json replicas = json::array();
  for (const replica_report& one : run.replicas) {
    replicas.push_back({{"id", one.id},
                        {"role", one.role},
                        {"applied_index", one.applied_index},
                        {"page_count", one.page_count},
                        {"page_hash", one.page_hash},
                        {"integrity", one.integrity}});
  }
  const json whole = {{"statements", run.statements},
                      {"transactions", run.transactions},
                      {"failovers", run.failovers},
                      {"retries", run.retries},
                      {"unknown_resolved", run.unknown_resolved},
                      {"entries", run.entries},
                      {"entry_bytes", run.entry_bytes},
                      {"full_page_bytes", run.full_page_bytes},
                      {"snapshots_installed", run.snapshots_installed},
                      {"replicas", replicas},
                      {"identical", run.identical},
                      {"matches_sqlite", run.matches_sqlite},
                      {"seconds", run.seconds}};
  return whole.dump(2);
}

inline void print_table(const report& run) {
  const double share = run.full_page_bytes == 0 ? 0.0
                                                : 100.0 * static_cast<double>(run.entry_bytes) /
                                                      static_cast<double>(run.full_page_bytes);
  fmt::print("\n{:<22}{}\n", "statements", run.statements);
  if (run.refused_alike > 0) {
    fmt::print("{:<22}{} (plain SQLite refuses them too)\n", "  refused", run.refused_alike);
  }
  fmt::print("{:<22}{}\n", "transactions", run.transactions);
  fmt::print("{:<22}{}\n", "failovers", run.failovers);
  fmt::print("{:<22}{}\n", "  run again", run.retries);
  fmt::print("{:<22}{}\n", "  resolved by id", run.unknown_resolved);
  fmt::print("{:<22}{}\n", "snapshots installed", run.snapshots_installed);
  fmt::print("{:<22}{}\n", "log entries", run.entries);
  fmt::print("{:<22}{} ({:.1f} % of the {} in full pages)\n", "  bytes", run.entry_bytes, share,
             run.full_page_bytes);
  fmt::print("\n{:>7}  {:<9}{:>9}{:>8}  {:<18}{}\n", "replica", "role", "applied", "pages",
             "page hash", "integrity");
  for (const replica_report& one : run.replicas) {
    fmt::print("{:>7}  {:<9}{:>9}{:>8}  {:<18}{}\n", one.id, one.role, one.applied_index,
               one.page_count, one.page_hash, one.integrity);
  }
  fmt::print("\nreplicas {}; content {} plain SQLite; {:.2f} s\n",
             run.identical ? "identical, page by page" : "DIFFER",
             run.matches_sqlite ? "as on" : "DIFFERS from", run.seconds);
}

/// Messages, and on a terminal one line that is rewritten again and again.
class progress {
 public:
  /// @param quiet only errors are shown
  explicit progress(bool quiet) : quiet_(quiet), live_(!quiet && isatty(STDOUT_FILENO) != 0) {}
  progress(const progress&) = delete;
  progress& operator=(const progress&) = delete;
  ~progress() { clear(); }

  /// A line that stays.
  void say(const std::string& text) {
    if (!quiet_) {
      clear();
      fmt::print("{}\n", text);
      std::fflush(stdout);
    }
  }

  /// Where the script is: shown all the time on a terminal, at each quarter elsewhere.
  void at(std::size_t index, std::size_t statements, std::uint64_t leader,
          std::string_view statement) {
    const std::size_t percent = index * 100 / statements;
    if (quiet_ || (percent == shown_percent_ && (!live_ || index % 64 != 0))) {
      return;
    }
    shown_percent_ = percent;
    if (live_) {
      fmt::print("\r\x1B[K{:>3} %  statement {} of {}, leader {}: {}", percent, index + 1,
                 statements, leader, shortened(statement, 40));
      std::fflush(stdout);
    } else if (percent / 25 != shown_quarter_) {
      shown_quarter_ = percent / 25;
      say(fmt::format("{} %: statement {} of {}", percent, index + 1, statements));
    }
  }

  void clear() {
    if (live_) {
      fmt::print("\r\x1B[K");
      std::fflush(stdout);
    }
  }

 private:
  const bool quiet_;
  const bool live_;
  std::size_t shown_percent_ = ~std::size_t{0};
  std::size_t shown_quarter_ = 0;
};

}  // namespace example
