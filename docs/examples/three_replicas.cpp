/// @file
/// Three replicas of a SQLite database in one process run an SQL script, lose their leader again
/// and again, and are compared in the end. Start reading at main().
///
/// The parts: sql_script.hpp cuts the script into statements, plain_sqlite.hpp runs it on plain
/// SQLite for comparison, cluster.hpp holds the replicas, failover_plan.hpp decides when a leader
/// is lost, script_client.hpp is the client that copes with it, report.hpp shows what happened.

#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cluster.hpp"
#include "command_line.hpp"
#include "failover_plan.hpp"
#include "page_compare.hpp"
#include "plain_sqlite.hpp"
#include "report.hpp"
#include "script_client.hpp"
#include "sql_script.hpp"

namespace example {
namespace {

/// Where the build found the script that comes with this program.
#ifndef QUORLITE_EXAMPLE_SCRIPT
#define QUORLITE_EXAMPLE_SCRIPT "three_replicas.sql"
#endif

/// Often enough that a replica which was away for long must come back by a snapshot.
[[nodiscard]] std::uint64_t entries_between_snapshots(std::size_t statements,
                                                      std::uint32_t failovers) {
  const std::uint64_t even = statements / (std::uint64_t{6} * (failovers + 1));
  return std::clamp<std::uint64_t>(even, 4, 4096);
}

[[nodiscard]] std::string integrity_of(sqlite3* db) {
  std::string all;
  for (const std::string& line : read_column(db, "PRAGMA integrity_check")) {
    all += (all.empty() ? "" : "; ") + line;
  }
  return all;
}

/// Looks at every replica through SQLite, and at its pages below SQLite.
void compare_replicas(cluster& replicas, const settings& asked, report& into) {
  const server_id leader = replicas.wait_for_leader();
  into.identical = true;
  for (std::uint64_t number = 1; number <= replicas.size(); ++number) {
    const server_id id{number};
    const quorlite::connection db = replicas.connect(id);
    pinned_pages first = replicas.pages(server_id{1});
    pinned_pages pages = replicas.pages(id);
    if (const auto page = first_different_page(first, pages)) {
      fmt::print(stderr, "replica {} differs from replica 1, first in page {} (0: in length)\n",
                 number, *page);
      into.identical = false;
    }
    into.replicas.push_back({.id = number,
                             .role = id == leader ? "leader" : "follower",
                             .applied_index = replicas.replica(id).applied().index.value,
                             .page_count = pages.count(),
                             .page_hash = fmt::format("{:016x}", pages.hash()),
                             .integrity = integrity_of(db)});
    into.identical = into.identical &&
                     into.replicas.back().applied_index == into.replicas.front().applied_index &&
                     into.replicas.back().page_hash == into.replicas.front().page_hash;
    if (!asked.dump_folder.empty()) {
      write_database_file(pages, fmt::format("{}/replica-{}.db", asked.dump_folder, number));
    }
  }
}

/// Does the leader's database mean what plain SQLite's does?
void compare_content(cluster& replicas, sqlite3* plain, report& into) {
  const quorlite::connection db = replicas.connect(replicas.wait_for_leader());
  const std::optional<std::string> difference = first_difference(db, plain);
  if (difference) {
    fmt::print(stderr, "the content differs from plain SQLite's: {}\n", *difference);
  }
  into.matches_sqlite = !difference;
}

[[nodiscard]] report run(const settings& asked) {
  const auto begin = std::chrono::steady_clock::now();
  const std::vector<std::string> script =
      split_statements(read_file(asked.script.empty() ? QUORLITE_EXAMPLE_SCRIPT : asked.script));
  report result;
  result.statements = script.size();

  const plain_run plain = run_on_plain_sqlite(script, asked.page_size);
  cluster replicas(asked, entries_between_snapshots(script.size(), asked.failovers));
  progress shown(asked.json);
  script_client client(replicas, script, plain.expected, plan_failovers(plain.expected, asked),
                       result, shown);
  client.run();

  replicas.wait_until_even();
  compare_replicas(replicas, asked, result);
  compare_content(replicas, plain.db.get(), result);

  const cluster_counters counters = replicas.counters();
  result.entries = counters.entries;
  result.entry_bytes = counters.entry_bytes;
  result.full_page_bytes = counters.full_page_bytes;
  result.snapshots_installed = counters.snapshots_installed;
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begin;
  result.seconds = spent.count();
  return result;
}

}  // namespace
}  // namespace example

int main(int count, char** arguments) {
  try {
    const example::settings asked = example::parse_command_line(
        std::span<char* const>(arguments, static_cast<std::size_t>(count)));
    if (asked.help) {
      fmt::print("{}", example::usage);
      return 0;
    }
    example::prepare_dump_folder(asked);
    const example::report result = example::run(asked);
    if (asked.json) {
      fmt::print("{}\n", example::to_json(result));
    } else {
      example::print_table(result);
    }
    return result.good() ? 0 : 1;
  } catch (const example::usage_error& error) {
    fmt::print(stderr, "three_replicas: {}\nTry --help.\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "three_replicas: {}\n", error.what());
    return 1;
  }
}
