/// @file
/// What a transaction costs on each storage, beside stock SQLite.
#pragma once

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "local_replica.hpp"
#include "message_channel.hpp"
#include "plain_database.hpp"
#include "process_usage.hpp"
#include "quorlite/storage/file.hpp"
#include "quorlite/storage/memory.hpp"
#include "random_rows.hpp"
#include "sample_set.hpp"
#include "scratch_folder.hpp"
#include "storage_options.hpp"
#include "text_table.hpp"
#include "update_subject.hpp"

namespace bench {

/// All variants, each with a table, and the rounds in which they take turns.
class storage_costs {
 public:
  explicit storage_costs(const storage_options& asked)
      : asked_(asked),
        folder_(asked.folder),
        // About 36 rows fit on a page of 4096 bytes.
        table_rows_(asked.table_mib * (std::uint64_t{1} << 20U) / 4096 * 36) {
    add_replica<quorlite::memory_storage>("quorlite memory");
    add_replica<quorlite::file_storage>("quorlite files", (folder_.path() / "quorlite").string());
    add_plain("sqlite :memory:", "MEMORY", "OFF");
    add_plain("sqlite WAL OFF", "WAL", "OFF");
    add_plain("sqlite WAL NORMAL", "WAL", "NORMAL");
    add_plain("sqlite WAL FULL", "WAL", "FULL");
  }

  /// Measures, and prints what came of it.
  void run() {
    json report = json::object();
    for (const int rows : {1, 10}) {
      measure(rows);
      report[fmt::format("{} rows", rows)] = show(rows);
    }
    if (asked_.json) {
      fmt::print("{}\n", report.dump(2));
    } else {
      fmt::print("{}", notes);
    }
  }

 private:
  static constexpr const char* notes =
      R"(
us: of a transaction, median of the rounds [min..max]. x: how many times the time of that variant,
round by round, in the median. written: bytes passed to write calls by a transaction; a flush is not
in it. flush: of the pages that a round changed, once, for one page. Quorlite has no log here: what
Raft makes durable in a cluster is not in these figures.
)";

  struct variant {
    // Owns the replica, and so must go after the statements on it.
    std::function<std::uint64_t()> flush;  ///< gives the pages that it wrote; empty: there is none
    std::unique_ptr<update_subject> subject;
    sample_set us;
    sample_set written;
    sample_set flush_us_of_page;
    sample_set flush_bytes_of_page;
  };

  template <quorlite::storage Storage, class... Place>
  void add_replica(const char* name, Place&&... place) {
    quorlite::replica_options options;
    options.vfs_name = name;  // of its own: there are replicas of several types in this process
    const auto owned =
        std::make_shared<local_replica<Storage>>(options, std::forward<Place>(place)...);
    add(name, owned->get(), [owned] {
      const std::uint64_t before = owned->pages_flushed();
      owned->flush();
      return owned->pages_flushed() - before;
    });
    variants_.back().flush();  // the table itself
  }
  void add_plain(const char* name, const char* journal, const char* synchronous) {
    const bool in_memory = std::string(name).find(':') != std::string::npos;
    plain_.push_back(std::make_unique<plain_database>(
        in_memory ? ":memory:" : (folder_.path() / (std::string(name) + ".db")).string(), journal,
        synchronous));
    add(name, plain_.back()->get(), {});
  }
  void add(const char* name, sqlite3* db, std::function<std::uint64_t()> flush) {
    fmt::print(stderr, "{}: making a table of {} rows\n", name, table_rows_);
    variants_.push_back({});
    variants_.back().flush = std::move(flush);
    variants_.back().subject = std::make_unique<update_subject>(name, db, table_rows_);
  }

  void measure(int rows) {
    random_rows chance(table_rows_, static_cast<std::uint64_t>(rows));
    for (variant& one : variants_) {
      one.us = one.written = one.flush_us_of_page = one.flush_bytes_of_page = {};
    }
    for (std::uint64_t round = 1; round <= asked_.rounds; ++round) {
      fmt::print(stderr, "{} rows, round {} of {}\n", rows, round, asked_.rounds);
      random_rows next = chance;
      for (variant& one : variants_) {
        next = chance;
        measure_one(one, rows, next);
      }
      chance = next;
    }
  }

  void measure_one(variant& one, int rows, random_rows& chance) const {
    const std::uint64_t transactions = asked_.transactions / static_cast<std::uint64_t>(rows);
    const std::uint64_t before = usage_of(::getpid()).write_bytes;
    one.us.add(one.subject->time(transactions, rows, chance));
    const std::uint64_t after = usage_of(::getpid()).write_bytes;
    one.written.add(static_cast<double>(after - before) / static_cast<double>(transactions));
    if (one.flush) {
      const auto begin = std::chrono::steady_clock::now();
      const auto pages = static_cast<double>(std::max(one.flush(), std::uint64_t{1}));
      const std::chrono::duration<double, std::micro> spent =
          std::chrono::steady_clock::now() - begin;
      one.flush_us_of_page.add(spent.count() / pages);
      one.flush_bytes_of_page.add(static_cast<double>(usage_of(::getpid()).write_bytes - after) /
                                  pages);
    }
  }

  [[nodiscard]] json show(int rows) const {
    text_table table({fmt::format("{} row{}", rows, rows == 1 ? "" : "s"), "us", "",
                      "x :memory:", "x WAL OFF", "written B", "flush us", "flush B"});
    json all = json::object();
    for (const variant& one : variants_) {
      const auto median = [](const sample_set& of) {
        return of.empty() ? std::string("-") : short_number(of.median());
      };
      const sample_set memory_ratio = ratio(one, "sqlite :memory:");
      const sample_set wal_ratio = ratio(one, "sqlite WAL OFF");
      table.add({one.subject->name(), short_number(one.us.median()),
                 fmt::format("[{}..{}]", short_number(one.us.min()), short_number(one.us.max())),
                 median(memory_ratio), median(wal_ratio), median(one.written),
                 median(one.flush_us_of_page), median(one.flush_bytes_of_page)});
      json& into = all[one.subject->name()];
      into = {{"us", one.us.median()},
              {"us_min", one.us.min()},
              {"us_max", one.us.max()},
              {"times_memory", memory_ratio.median()},
              {"times_wal_off", wal_ratio.median()},
              {"written_bytes", one.written.median()}};
      if (one.flush) {
        into["flush_us_of_page"] = one.flush_us_of_page.median();
        into["flush_bytes_of_page"] = one.flush_bytes_of_page.median();
      }
    }
    if (!asked_.json) {
      fmt::print("\n");
      table.print(stdout);
    }
    return all;
  }

  [[nodiscard]] sample_set ratio(const variant& one, const std::string& to) const {
    sample_set ratios;
    for (const variant& other : variants_) {
      for (std::size_t i = 0; other.subject->name() == to && i < one.us.values().size(); ++i) {
        ratios.add(one.us.values()[i] / other.us.values()[i]);
      }
    }
    return ratios;
  }

  const storage_options asked_;
  const scratch_folder folder_;
  const std::uint64_t table_rows_;
  std::vector<std::unique_ptr<plain_database>> plain_;
  std::vector<variant> variants_;
};

}  // namespace bench
