// What one transaction costs without consensus: quorlite on a memory storage beside SQLite's own
// ways, and what a follower pays to apply the same transactions. All variants take turns in one
// run; compare ratios, not microseconds.

#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "immediate_consensus.hpp"
#include "quorlite/quorlite.hpp"
#include "quorlite/storage/memory.hpp"

namespace {

using replica = quorlite::replica<bench::immediate_consensus, quorlite::memory_storage>;
using clock_type = std::chrono::steady_clock;

struct settings {
  int rounds = 9;
  int transactions = 2000;
  int table_rows = 50'000;
  bool json = false;
};

void must(int rc, sqlite3* db, const char* what) {
  if (rc != SQLITE_OK && rc != SQLITE_DONE && rc != SQLITE_ROW) {
    fmt::print(stderr, "commit_cost: {}: {}\n", what, sqlite3_errmsg(db));
    std::exit(1);
  }
}
void run(sqlite3* db, const std::string& sql) {
  must(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr), db, sql.c_str());
}

/// One database and the statement that is timed.
class subject {
 public:
  subject(std::string name, sqlite3* db, int table_rows) : name_(std::move(name)), db_(db) {
    run(db_, "CREATE TABLE t(id INTEGER PRIMARY KEY, counter INT, text TEXT)");
    run(db_, fmt::format("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{}) "
                         "INSERT INTO t SELECT i, 0, printf('%0100d', i) FROM n",
                         table_rows));
    must(sqlite3_prepare_v2(db_, "UPDATE t SET counter=counter+1 WHERE id=?1", -1, &update_,
                            nullptr),
         db_, "prepare");
  }
  subject(const subject&) = delete;
  subject& operator=(const subject&) = delete;
  ~subject() { sqlite3_finalize(update_); }

  [[nodiscard]] const std::string& name() const { return name_; }

  /// Microseconds per transaction of `rows` single-row updates.
  double time(int transactions, int rows, int table_rows, std::uint64_t& state) {
    const auto begin = clock_type::now();
    for (int i = 0; i < transactions; ++i) {
      if (rows > 1) {
        run(db_, "BEGIN IMMEDIATE");
      }
      for (int row = 0; row < rows; ++row) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        sqlite3_bind_int64(update_, 1,
                           1 + static_cast<sqlite3_int64>((state >> 33U) %
                                                          static_cast<std::uint64_t>(table_rows)));
        must(sqlite3_step(update_), db_, "update");
        must(sqlite3_reset(update_), db_, "update");
      }
      if (rows > 1) {
        run(db_, "COMMIT");
      }
    }
    const std::chrono::duration<double, std::micro> spent = clock_type::now() - begin;
    return spent.count() / transactions;
  }

 private:
  std::string name_;
  sqlite3* db_;
  sqlite3_stmt* update_ = nullptr;
};

double median(std::vector<double> of) {
  std::sort(of.begin(), of.end());
  return of[of.size() / 2];
}

struct plain_database {
  plain_database(const std::string& path, const char* journal, const char* synchronous) {
    must(sqlite3_open(path.c_str(), &db), db, path.c_str());
    run(db, fmt::format("PRAGMA journal_mode={}", journal));
    run(db, fmt::format("PRAGMA synchronous={}", synchronous));
  }
  plain_database(const plain_database&) = delete;
  plain_database& operator=(const plain_database&) = delete;
  ~plain_database() { sqlite3_close(db); }
  sqlite3* db = nullptr;
};

/// Microseconds per entry, page by page, on a replica that did not write them.
double time_apply(const std::vector<quorlite::bytes>& log, std::size_t from) {
  quorlite::memory_storage storage;
  quorlite::fsm<bench::immediate_consensus, quorlite::memory_storage> follower(storage);
  quorlite::log_index at;
  auto begin = clock_type::now();
  for (std::size_t i = 0; i < log.size(); ++i) {
    if (i == from) {
      begin = clock_type::now();
    }
    at = at.next();
    if (follower.apply({{at, quorlite::term{1}}, log[i]}) != quorlite::verdict::applied) {
      fmt::print(stderr, "commit_cost: the follower refused entry {}\n", at.value);
      std::exit(1);
    }
  }
  const std::chrono::duration<double, std::micro> spent = clock_type::now() - begin;
  return spent.count() / static_cast<double>(log.size() - from);
}

settings parse(int argc, char** argv) {
  settings chosen;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    const bool has_value = i + 1 < argc;
    if (flag == "--json") {
      chosen.json = true;
    } else if (flag == "--rounds" && has_value) {
      chosen.rounds = std::max(1, std::atoi(argv[++i]));
    } else if (flag == "--transactions" && has_value) {
      chosen.transactions = std::max(1, std::atoi(argv[++i]));
    } else {
      const bool help = flag == "--help";
      fmt::print(
          help ? stdout : stderr,
          "commit_cost [--rounds N] [--transactions N] [--json]\n"
          "Microseconds per transaction, medians of N rounds in which all variants take turns.\n");
      std::exit(help ? 0 : 2);
    }
  }
  return chosen;
}

}  // namespace

int main(int argc, char** argv) {
  const settings chosen = parse(argc, argv);
  char directory[] = "/tmp/quorlite-bench-XXXXXX";
  if (mkdtemp(directory) == nullptr) {
    fmt::print(stderr, "commit_cost: cannot make a directory under /tmp\n");
    return 1;
  }
  const std::string base = directory;

  bench::immediate_consensus consensus;
  quorlite::memory_storage storage;
  replica one(consensus, storage);
  quorlite::connection ours = one.open("bench.db").value();
  consensus.recording = true;
  plain_database memory(":memory:", "MEMORY", "OFF");
  plain_database wal_off(base + "/wal_off.db", "WAL", "OFF");
  plain_database wal_normal(base + "/wal_normal.db", "WAL", "NORMAL");
  plain_database wal_full(base + "/wal_full.db", "WAL", "FULL");

  std::vector<std::unique_ptr<subject>> subjects;
  const auto add = [&](const char* name, sqlite3* db) {
    subjects.push_back(std::make_unique<subject>(name, db, chosen.table_rows));
  };
  add("quorlite", ours);
  add("sqlite :memory:", memory.db);
  add("sqlite WAL OFF", wal_off.db);
  add("sqlite WAL NORMAL", wal_normal.db);
  add("sqlite WAL FULL", wal_full.db);
  const std::size_t loaded = consensus.log.size();

  nlohmann::json report;
  for (const int rows : {1, 10}) {
    std::vector<std::vector<double>> times(subjects.size());
    std::uint64_t state = 1;
    for (int round = 0; round < chosen.rounds; ++round) {
      for (std::size_t i = 0; i < subjects.size(); ++i) {
        std::uint64_t same = state;  // every variant touches the same rows
        times[i].push_back(
            subjects[i]->time(chosen.transactions / rows, rows, chosen.table_rows, same));
        if (i + 1 == subjects.size()) {
          state = same;
        }
      }
    }
    const double ours_us = median(times[0]);
    for (std::size_t i = 0; i < subjects.size(); ++i) {
      const double us = median(times[i]);
      report[fmt::format("{} rows", rows)][subjects[i]->name()] = {
          {"us", us}, {"quorlite_is_times", ours_us / us}};
      if (!chosen.json) {
        fmt::print("{:2} rows  {:18} {:9.2f} us   quorlite is {:5.2f}x\n", rows,
                   subjects[i]->name(), us, ours_us / us);
      }
    }
    if (rows == 1) {
      std::vector<double> applied;
      for (int round = 0; round < 3; ++round) {
        applied.push_back(time_apply(consensus.log, loaded));
      }
      report["apply_us"] = median(applied);
      if (!chosen.json) {
        fmt::print(" 1 rows  {:18} {:9.2f} us\n", "follower's apply", median(applied));
      }
      consensus.recording = false;
    }
  }
  if (chosen.json) {
    fmt::print("{}\n", report.dump(2));
  }
  subjects.clear();
  return std::system(("rm -rf '" + base + "'").c_str()) == 0 ? 0 : 1;
}
