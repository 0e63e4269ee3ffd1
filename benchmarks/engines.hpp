/// @file
/// The engines that are compared, and how a process of each is made.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "node.hpp"

namespace bench {

// Each is compiled on its own, and only where its package was found; quorlite needs libraft here.
std::unique_ptr<node> make_sqlite_node(const node_setup& setup);
std::unique_ptr<node> make_raft_node(const node_setup& setup);
std::unique_ptr<node> make_quorlite_node(const node_setup& setup);
std::unique_ptr<node> make_quorlite_groups_node(const node_setup& setup);
std::unique_ptr<node> make_dqlite_node(const node_setup& setup);
std::unique_ptr<node> make_dqlite_load(const node_setup& setup);

/// Where the entries of an engine can be looked at.
enum class entry_source { none, log, counters };

struct engine {
  std::string name;
  std::string what;  ///< for people
  int nodes = 3;     ///< processes
  std::uint64_t most_clients = ~std::uint64_t{0};
  bool nodelay = false;         ///< the benchmark sets TCP_NODELAY, as the engine does not
  bool remote_clients = false;  ///< clients have a process of their own; else the leader's
  entry_source entries = entry_source::none;
  node_maker make;
  node_maker make_load;  ///< of the clients' process
};

/// All that this program was built with, in the order of the tables.
[[nodiscard]] inline std::vector<engine> all_engines() {
  std::vector<engine> all;
  all.push_back({.name = "sqlite",
                 .what = "stock SQLite, WAL, synchronous=FULL: one process, nothing is replicated",
                 .nodes = 1,
                 .most_clients = 1,  // more would only wait for each other
                 .make = make_sqlite_node,
                 .make_load = {}});
#ifdef QUORLITE_BENCH_RAFT
  all.push_back({.name = "raft",
                 .what = "libraft bare, TCP_NODELAY set: entries that nobody looks into",
                 .nodelay = true,
                 .entries = entry_source::log,
                 .make = make_raft_node,
                 .make_load = {}});
  all.push_back({.name = "quorlite",
                 .what = "quorlite on libraft, storage in files, plain connections",
                 .entries = entry_source::counters,
                 .make = make_quorlite_node,
                 .make_load = {}});
  all.push_back({.name = "quorlite-groups",
                 .what = "the same, but the clients call write(), which groups their commits",
                 .entries = entry_source::counters,
                 .make = make_quorlite_groups_node,
                 .make_load = {}});
#endif
#ifdef QUORLITE_BENCH_DQLITE
  for (const bool nodelay : {true, false}) {
    all.push_back({.name = nodelay ? "dqlite" : "dqlite-stock",
                   .what = nodelay ? "dqlite, TCP_NODELAY set on its sockets from outside"
                                   : "dqlite as it is: it does not set TCP_NODELAY",
                   .nodelay = nodelay,
                   .remote_clients = true,
                   .entries = entry_source::log,
                   .make = make_dqlite_node,
                   .make_load = make_dqlite_load});
  }
#endif
  return all;
}

/// Those that could be there but are not.
[[nodiscard]] inline std::vector<std::string> missing_engines() {
  std::vector<std::string> missing;
  const std::vector<engine> here = all_engines();
  for (const char* name : {"raft", "quorlite", "dqlite"}) {
    if (std::none_of(here.begin(), here.end(),
                     [&](const engine& one) { return one.name == name; })) {
      missing.emplace_back(name);
    }
  }
  return missing;
}

}  // namespace bench
