/// @file
/// One server of a replicated SQLite database, with a shell. README.md runs three of them.
///
/// The parts: node_flags.hpp reads the command line, folder_check.hpp reads a folder without
/// serving it, node.hpp joins engine, storage and replica,
/// upkeep.hpp is the thread that flushes and that stops the server on a signal (stop_signal.hpp),
/// sql_shell.hpp and shell_commands.hpp talk to the user: lines from line_source.hpp, rows to
/// row_printer.hpp.

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include "folder_check.hpp"
#include "line_source.hpp"
#include "node.hpp"
#include "node_flags.hpp"
#include "quorlite/raft/libraft.hpp"
#include "quorlite/storage/file.hpp"
#include "quorlite/storage/memory.hpp"
#include "sql_shell.hpp"
#include "stop_signal.hpp"
#include "upkeep.hpp"

namespace example {
namespace {

[[nodiscard]] quorlite::libraft_options engine_options(const node_settings& asked) {
  quorlite::libraft_options options;
  options.id = quorlite::server_id{asked.id};
  options.address = asked.address;
  options.directory = asked.data;
  options.snapshot_min_bytes = asked.snapshot_bytes;
  options.trailing_bytes = std::min(options.trailing_bytes, asked.snapshot_bytes / 4);
  options.log_bytes = asked.log_mib << 20U;
  options.election_timeout = quorlite::milliseconds{asked.election_ms};
  options.heartbeat = quorlite::milliseconds{std::max<std::uint64_t>(asked.election_ms / 10, 1)};
  options.found = asked.found;
  options.join = asked.join;
  options.moved = asked.moved;
  return options;
}

[[nodiscard]] std::unique_ptr<line_source> standard_input(const stop_signal& stop) {
  auto plain = std::make_unique<input_lines>(stop);
#ifdef QUORLITE_HAVE_LIBEDIT
  if (plain->is_terminal()) {
    return std::make_unique<edited_lines>(stop);
  }
#endif
  return plain;
}

/// What to do about a start that was refused, with the flags that say it.
void explain(const node_settings& asked, const quorlite::libraft& raft, std::error_code error,
             const std::vector<std::string>& said) {
  fmt::print(stderr, "sql_node: server {} cannot start in '{}' at {}: {}\n", asked.id, asked.data,
             asked.address, error.message());
  for (const quorlite::libraft_log_defect& one : raft.log_report().defects) {
    fmt::print(stderr, "sql_node: {}\n", one.text());
  }
  for (const std::string& line : said) {
    fmt::print(stderr, "sql_node: {}\n", line);
  }
  if (error == quorlite::errc::busy) {
    fmt::print(stderr,
               "sql_node: another process uses '{}': a server runs there, or --check does\n",
               asked.data);
  }
  if (error == quorlite::errc::not_founded) {
    const std::string command =
        fmt::format("sql_node --id {} --data {} --address {}", asked.id, asked.data, asked.address);
    fmt::print(stderr,
               "sql_node: to begin a new cluster, once:    {} --found\n"
               "sql_node: to take part in one that exists: {} --join\n",
               command, command);
  }
}

/// Serves until the user or a signal ends it. @returns the exit status
template <class Storage>
[[nodiscard]] int serve(const node_settings& asked, const stop_signal& stop, Storage& storage) {
  quorlite::libraft raft(engine_options(asked));
  running_node served{asked, raft, storage};
  if (const std::error_code error = served.started()) {
    explain(asked, raft, error, served.said());
    if constexpr (quorlite::names_damage<Storage>) {
      if (!storage.damage().empty()) {
        fmt::print(stderr, "sql_node: that file is in '{}/databases'\n", asked.data);
      }
    }
    return 1;
  }
  const std::vector<std::string> wanted = served.to_be_said_on_leader();
  for (const std::string& line : wanted) {
    fmt::print(stderr, "server {} waits. Say on the leader:  {}\n", asked.id, line);
  }
  if (wanted.empty() && raft.status().waits) {
    fmt::print(
        stderr,
        "server {} waits, under an id of before, without random bits. If the leader lists it "
        "in .status, it has only to catch up. Else give it an empty folder and --join\n",
        asked.id);
  }
  if (const auto elsewhere = served.looked_for_at()) {
    const std::string id = quorlite::libraft_id_text(raft.status().id);
    fmt::print(
        stderr,
        "server {0} runs at {1}, and as far as its log goes the cluster looks for it at {2}. "
        "Unless that has changed since, nobody finds it here. "
        "Start it with --address {2}. If it has moved, say on the leader:\n"
        ".remove {3}\n.add {3}={1}\n",
        asked.id, asked.address, *elsewhere, id);
  }
  const upkeep worker(served, stop);
  sql_shell shell(served, asked);
  const std::unique_ptr<line_source> lines = standard_input(stop);
  const bool quit = shell.run(*lines);
  while (asked.serve && !quit && stop.wait(-1, -1) != stop_signal::event::stop) {
  }
  return stop_signal::asked() || shell.errors() == 0 ? 0 : 1;
}

void make_data_folder(const node_settings& asked) {
  std::error_code error;
  std::filesystem::create_directories(asked.data, error);
  if (error || !std::filesystem::is_directory(asked.data)) {
    throw usage_error(fmt::format("--data: '{}' is not a folder, and cannot be made one: {}",
                                  asked.data, error.message()));
  }
}

/// A link to a volume that is not mounted, say. The storage would call it broken.
[[nodiscard]] bool can_hold_databases(const node_settings& asked) {
  const std::string directory = asked.data + "/databases";
  std::error_code unknown;
  const bool is_there =
      std::filesystem::exists(std::filesystem::symlink_status(directory, unknown));
  if (is_there && !std::filesystem::is_directory(directory, unknown)) {
    fmt::print(stderr,
               "sql_node: '{}' is no folder. If it is a link to another volume, see that this is "
               "mounted\n",
               directory);
    return false;
  }
  return true;
}

[[nodiscard]] int run(const node_settings& asked) {
  if (!asked.check.empty()) {
    return folder_check(asked).report();
  }
  make_data_folder(asked);
  const stop_signal stop;
  if (asked.memory) {
    quorlite::memory_storage storage;
    return serve(asked, stop, storage);
  }
  if (!can_hold_databases(asked)) {
    return 1;
  }
  quorlite::file_storage storage{asked.data + "/databases"};  // beside the log
  return serve(asked, stop, storage);
}

}  // namespace
}  // namespace example

int main(int count, char** arguments) {
  try {
    const example::node_settings asked = example::parse_node_flags(
        std::span<char* const>(arguments, static_cast<std::size_t>(count)));
    if (asked.help) {
      fmt::print("{}", example::node_usage);
      return 0;
    }
    return example::run(asked);
  } catch (const example::usage_error& error) {
    fmt::print(stderr, "sql_node: {}\nTry --help.\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "sql_node: {}\n", error.what());
    return 1;
  }
}
