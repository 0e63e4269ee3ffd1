/// @file
/// What the user of `cluster` may choose.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engines.hpp"
#include "flags.hpp"

namespace bench {

struct cluster_options {
  std::vector<std::string> engines;  ///< in the order in which they take turns
  std::vector<std::uint64_t> clients{1, 8, 64};
  std::vector<std::string> media{"disk", "tmpfs"};
  std::string folder = ".";  ///< for the medium disk
  std::uint64_t rounds = 5;
  std::uint64_t seconds = 3;
  std::uint64_t warm_ms = 1000;
  std::uint64_t raft_bytes = 320;
  bool json = false;
  bool help = false;

  /// The folder in which a medium lies.
  [[nodiscard]] std::filesystem::path place_of(const std::string& medium) const {
    return medium == "tmpfs" ? "/dev/shm" : folder;
  }
};

inline constexpr std::string_view cluster_usage =
    R"(usage: cluster [--engines LIST] [--clients LIST] [--media LIST] [--rounds N] [--seconds N]
               [--warm-ms N] [--raft-bytes N] [--folder DIR] [--json] [--help]

Three processes on 127.0.0.1 replicate the same work, engine by engine in one run: each client
inserts rows of 100 bytes, one a transaction, the next when the one before is answered. Each
measurement has a cluster of its own, on an empty folder; in every round all engines take turns.

  --engines LIST   names with commas between (default: all that are here, see below)
  --clients LIST   numbers of clients (default 1,8,64)
  --media LIST     disk, tmpfs (default both)
  --rounds N       1 to 1000 (default 5)
  --seconds N      length of the window that is measured (default 3; dqlite's checkpoints make
                   a cycle of 1000 transactions, which the window should not be shorter than)
  --warm-ms N      load before the window (default 1000)
  --raft-bytes N   size of an entry of the engine raft (default 320: about that of quorlite)
  --folder DIR     where the medium disk has its files (default: the current folder)
  --json           print one JSON object, and nothing else, on the standard output
  --help           this text

exit status: 0 all was measured; 1 something was not, the messages say what; 2 a bad flag
)";

namespace detail {

[[nodiscard]] inline std::string with_commas(const std::vector<std::string>& words) {
  std::string all;
  for (const std::string& one : words) {
    all += (all.empty() ? "" : ", ") + one;
  }
  return all;
}

inline void check_words(std::string_view flag, const std::vector<std::string>& words,
                        const std::vector<std::string>& known) {
  for (const std::string& one : words) {
    if (std::find(known.begin(), known.end(), one) == known.end()) {
      throw usage_error(
          fmt::format("{}: there is no '{}' here, but {}", flag, one, with_commas(known)));
    }
  }
}

inline void read_flag(flags& given, cluster_options& into) {
  const std::string_view name = given.name();
  if (name == "--engines") {
    into.engines = given.words();
  } else if (name == "--clients") {
    into.clients = given.numbers(1, 256);
  } else if (name == "--media") {
    into.media = given.words();
  } else if (name == "--rounds") {
    into.rounds = given.number(1, 1000);
  } else if (name == "--seconds") {
    into.seconds = given.number(1, 600);
  } else if (name == "--warm-ms") {
    into.warm_ms = given.number(0, 60'000);
  } else if (name == "--raft-bytes") {
    into.raft_bytes = given.number(1, 1'000'000);
  } else if (name == "--folder") {
    into.folder = given.text();
  } else if (name == "--json") {
    into.json = true;
  } else if (name == "--help" || name == "-h") {
    into.help = true;
  } else {
    given.refuse();
  }
}

}  // namespace detail

/// @throws usage_error
[[nodiscard]] inline cluster_options parse_cluster_options(std::span<char* const> arguments) {
  std::vector<std::string> here;
  for (const engine& one : all_engines()) {
    here.push_back(one.name);
  }
  cluster_options asked;
  asked.engines = here;
  flags given(arguments);
  while (given.next()) {
    detail::read_flag(given, asked);
  }
  detail::check_words("--engines", asked.engines, here);
  detail::check_words("--media", asked.media, {"disk", "tmpfs"});
  for (const std::string& medium : asked.media) {
    if (!std::filesystem::is_directory(asked.place_of(medium))) {
      throw usage_error(fmt::format("{} is not a folder", asked.place_of(medium).string()));
    }
  }
  return asked;
}

}  // namespace bench
