// What a replicated transaction costs: quorlite beside the bare Raft that it runs on, beside
// dqlite, and beside SQLite that replicates nothing. All in one run; compare ratios, not figures.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "cluster.hpp"
#include "cluster_options.hpp"
#include "cluster_report.hpp"
#include "engines.hpp"
#include "scratch_folder.hpp"

namespace {

using bench::cluster_options;

const bench::engine& engine_named(const std::vector<bench::engine>& all, std::string_view name) {
  const auto found = std::find_if(all.begin(), all.end(),
                                  [&](const bench::engine& one) { return one.name == name; });
  if (found == all.end()) {
    throw bench::usage_error(fmt::format("there is no engine '{}'", name));
  }
  return *found;
}

/// `node ENGINE SETUP` and `load ENGINE SETUP`: how this program starts itself again.
bool is_part_of_a_cluster(std::span<char* const> arguments) {
  return arguments.size() == 3 &&
         (std::string_view(arguments[0]) == "node" || std::string_view(arguments[0]) == "load");
}
int run_part(std::span<char* const> arguments) {
  const std::vector<bench::engine> all = bench::all_engines();
  const bench::engine& which = engine_named(all, arguments[1]);
  const bool is_load = std::string_view(arguments[0]) == "load";
  return bench::serve_node(is_load ? which.make_load : which.make,
                           bench::json::parse(arguments[2]));
}

bench::measurement measure(const bench::engine& which, const cluster_options& asked,
                           const std::string& medium, std::uint64_t clients) {
  const bench::scratch_folder folder(asked.place_of(medium));
  bench::cluster running(which, folder.path(), asked.raft_bytes);
  return running.measure(static_cast<int>(std::min(clients, which.most_clients)),
                         std::chrono::milliseconds{asked.warm_ms},
                         static_cast<double>(asked.seconds));
}

/// Twice if need be: a port may be taken, an election may be lost on a busy machine.
void measure_into(bench::cluster_report& report, const bench::engine& which,
                  const cluster_options& asked, const std::string& medium, std::uint64_t clients) {
  std::string why;
  for (int attempt = 0; attempt < 2; ++attempt) {
    try {
      const bench::measurement seen = measure(which, asked, medium, clients);
      report.add(medium, clients, which.name, seen);
      if (seen.load.errors > 0) {
        fmt::print(stderr, "  {} errors, the first: {}\n", seen.load.errors, seen.load.first_error);
      }
      return;
    } catch (const std::runtime_error& error) {
      why = error.what();
      fmt::print(stderr, "  {}\n", why);
    }
  }
  report.fail(fmt::format("{}, {}, {} clients: {}", which.name, medium, clients, why));
}

int run(const cluster_options& asked) {
  const std::vector<bench::engine> all = bench::all_engines();
  bench::cluster_report report;
  const std::size_t total =
      asked.rounds * asked.media.size() * asked.clients.size() * asked.engines.size();
  std::size_t done = 0;
  for (std::uint64_t round = 1; round <= asked.rounds; ++round) {
    for (const std::string& medium : asked.media) {
      for (const std::uint64_t clients : asked.clients) {
        for (const std::string& name : asked.engines) {
          fmt::print(stderr, "{:>4} of {}: round {}, {}, {} clients, {}\n", ++done, total, round,
                     medium, clients, name);
          measure_into(report, engine_named(all, name), asked, medium, clients);
        }
      }
    }
  }
  if (asked.json) {
    fmt::print("{}\n", report.to_json(asked).dump(2));
  } else {
    report.print(asked);
  }
  return report.complete() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::span<char* const> whole(argv, static_cast<std::size_t>(argc));
  const std::span<char* const> arguments = whole.subspan(1);
  try {
    if (is_part_of_a_cluster(arguments)) {
      return run_part(arguments);
    }
    const cluster_options asked = bench::parse_cluster_options(arguments);
    if (asked.help) {
      fmt::print("{}\nengines here:\n", bench::cluster_usage);
      for (const bench::engine& one : bench::all_engines()) {
        fmt::print("  {:<15}{}\n", one.name, one.what);
      }
      return 0;
    }
    return run(asked);
  } catch (const bench::usage_error& error) {
    fmt::print(stderr, "cluster: {}; --help tells more\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "cluster: {}\n", error.what());
    return 1;
  }
}
