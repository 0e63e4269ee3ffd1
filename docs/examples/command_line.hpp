/// @file
/// The flags of three_replicas, read and checked.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "flag_value.hpp"

namespace example {

/// What the user asks for, with the defaults.
struct settings {
  std::string script;  ///< a file; empty: the script that comes with the program
  std::uint32_t replicas = 3;
  std::uint32_t failovers = 0;
  std::uint64_t seed = 1;
  std::uint32_t page_size = 4096;
  std::string dump_folder;  ///< empty: nothing is dumped
  bool json = false;
  bool help = false;
};

inline constexpr std::string_view usage =
    R"(usage: three_replicas [--sql FILE] [--replicas N] [--failovers N] [--seed N]
                      [--page-size N] [--dump DIR] [--json] [--help]

Runs an SQL script, statement by statement, on a replicated SQLite database whose replicas live in
this process, takes the leader away again and again, and compares what is left in the end: the
replicas with each other, page by page, and their content with the same script on plain SQLite.

  --sql FILE      the script; without it, a small library that lends books (three_replicas.sql).
                  It should not depend on chance or on the time of day: plain SQLite must be able
                  to repeat it. Temporary tables and attached databases are lost together
                  with the leader that held them.
  --replicas N    1 to 9 (default 3)
  --failovers N   how often the leader is lost, by a crash or a partition (default 0)
  --seed N        chooses every event of the run; the same seed gives the same run (default 1)
  --page-size N   512, 1024, 2048 ... 65536 bytes (default 4096)
  --dump DIR      write each replica's database as an ordinary SQLite file, DIR/replica-<id>.db
  --json          print one JSON object, and nothing else, on the standard output
  --help          this text

exit status: 0 the replicas are identical, intact and as on plain SQLite; 1 they are not, or a
statement failed that plain SQLite carries out; 2 a bad flag or file
)";

[[nodiscard]] inline std::uint32_t parse_page_size(std::string_view text) {
  const std::uint64_t size = parse_number("--page-size", text, 512, 65536);
  if ((size & (size - 1)) != 0) {
    throw usage_error(fmt::format("--page-size takes a power of two, not '{}'", text));
  }
  return static_cast<std::uint32_t>(size);
}

/// Reads one flag and, for those that have one, its value. @returns false for an unknown flag
[[nodiscard]] inline bool parse_flag(settings& into, std::string_view flag,
                                     const std::optional<std::string_view>& value) {
  if (flag == "--json") {
    into.json = true;
    return true;
  }
  if (flag == "--help" || flag == "-h") {
    into.help = true;
    return true;
  }
  const auto needed = [&] {
    if (!value || value->empty()) {
      throw usage_error(fmt::format("{} needs a value", flag));
    }
    return *value;
  };
  if (flag == "--sql") {
    into.script = needed();
  } else if (flag == "--replicas") {
    into.replicas = static_cast<std::uint32_t>(parse_number(flag, needed(), 1, 9));
  } else if (flag == "--failovers") {
    into.failovers = static_cast<std::uint32_t>(parse_number(flag, needed(), 0, 1'000'000));
  } else if (flag == "--seed") {
    into.seed = parse_number(flag, needed(), 0, ~std::uint64_t{0});
  } else if (flag == "--page-size") {
    into.page_size = parse_page_size(needed());
  } else if (flag == "--dump") {
    into.dump_folder = needed();
  } else {
    return false;
  }
  return true;
}

/// Accepts `--flag value` and `--flag=value`. @throws usage_error
[[nodiscard]] inline settings parse_command_line(std::span<char* const> arguments) {
  settings asked;
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    const std::string_view whole = arguments[i];
    const std::size_t sign = std::min(whole.find('='), whole.size());
    const std::string_view flag = whole.substr(0, sign);
    const bool joined = sign < whole.size();
    const bool stands_alone = flag == "--json" || flag == "--help" || flag == "-h";
    std::optional<std::string_view> value;
    if (joined) {
      value = whole.substr(sign + 1);
    } else if (!stands_alone && i + 1 < arguments.size()) {
      value = arguments[++i];
    }
    if ((joined && stands_alone) || !parse_flag(asked, flag, value)) {
      throw usage_error(fmt::format("unknown flag '{}'", whole));
    }
  }
  return asked;
}

/// Makes the folder for --dump before any work is done. @throws usage_error
inline void prepare_dump_folder(const settings& asked) {
  std::error_code error;
  if (!asked.dump_folder.empty()) {
    std::filesystem::create_directories(asked.dump_folder, error);
    if (error || !std::filesystem::is_directory(asked.dump_folder)) {
      throw usage_error(fmt::format("--dump: '{}' is not a folder, and cannot be made one: {}",
                                    asked.dump_folder, error.message()));
    }
  }
}

}  // namespace example
