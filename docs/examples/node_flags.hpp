/// @file
/// The flags of sql_node, read and checked.
#pragma once

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "flag_value.hpp"
#include "quorlite/quorlite.hpp"

namespace example {

/// A server of the cluster, as the user names it: `1=127.0.0.1:9001`.
struct cluster_member {
  std::uint64_t id = 0;
  std::string address;
};

/// What the user asks for, with the defaults.
struct node_settings {
  std::uint64_t id = 0;
  std::string data;     ///< a folder; made if it is missing
  std::string address;  ///< of this server
  std::vector<cluster_member> cluster;
  std::string database = "app.db";
  bool found = false;
  bool join = false;
  bool moved = false;
  bool memory = false;
  bool serve = false;
  std::uint64_t wait_seconds = 10;
  std::uint64_t snapshot_bytes = std::uint64_t{16} << 20U;
  std::uint64_t flush_bytes = std::uint64_t{64} << 20U;
  std::uint64_t memory_mib = 256;
  std::uint64_t pinned_mib = 1024;
  std::uint64_t log_mib = 256;
  std::uint64_t election_ms = 1000;
  std::string check;  ///< a folder to read, instead of serving
  bool json = false;
  bool help = false;

  [[nodiscard]] const cluster_member* member(std::uint64_t with_id) const {
    const auto one = std::find_if(cluster.begin(), cluster.end(),
                                  [&](const cluster_member& each) { return each.id == with_id; });
    return one == cluster.end() ? nullptr : &*one;
  }
};

inline constexpr std::string_view node_usage =
    R"(usage: sql_node --id N --data DIR --address HOST:PORT [--found | --join] [--moved] [--memory]
                [--serve] [--database NAME] [--wait SECONDS] [--snapshot-bytes N]
                [--flush-bytes N] [--memory-mib N] [--pinned-mib N] [--log-mib N]
                [--election-ms N] [--help]
       sql_node --check DIR [--json]

One server of a replicated SQLite database. It reads SQL from the standard input and answers as the
sqlite3 shell does; .help lists the commands that start with a dot. Every server reads; writes go to
the leader, and any other server answers them with the leader's address.

  --id N          this server's number, from 1
  --data DIR      where its log is kept, and its databases in DIR/databases: SQLite files, which
                  SQLite itself can read after a clean stop. One folder for each server
  --address HOST:PORT
                  where the other servers find this one: an IPv4 address and a port
  --found         begin a new cluster in an empty folder. Once in its life, on one server: it takes
                  in the others by .add
  --join          in an empty folder, wait until the leader is told to .add this server; the line
                  to say there is printed. For a new server, and for one whose folder was lost
                  (.remove the old one first). It may be said at each start
  --moved         the folder was moved here while the server was stopped, and nothing runs on the
                  original. Never for a backup, unless all servers are brought back from backups:
                  one that is older than the others loses rows
  --cluster LIST  instead of --address, as it was said before there was --found: the address of
                  each server, 1=127.0.0.1:9001,2=127.0.0.1:9002. It begins nothing
  --memory        keep the databases in memory; the log in DIR brings them back at a restart
  --serve         go on after the end of the input, until SIGTERM (sql_node ... --serve < /dev/null)
  --database NAME the database to open (default app.db); .open changes it
  --wait SECONDS  how long the first statement waits until a leader is known (default 10)
  --snapshot-bytes N
                  bytes of log between two snapshots, at least (default 16777216)
  --flush-bytes N bytes of log between two flushes of the databases to DIR (default 67108864)
  --memory-mib N  memory for pages, in MiB (default 256); databases may be larger
  --pinned-mib N  memory for old versions of pages that readers keep, on top of it, in MiB (default
                  1024; 0: no limit). Beyond it the oldest reader is ended, by an error
  --log-mib N     memory for the log, in MiB (default 256). A transaction may take half of it, and
                  .restore is one. The same on every server
  --election-ms N how long a leader may be silent before another server is elected (default 1000).
                  Longer than a disk, or a COMMIT, keeps a server busy: some seconds where
                  transactions have hundreds of MiB. The same on every server
  --check DIR     read the log and the databases of a server that is stopped, hold one against the
                  other, and say what is damaged or does not belong there, where, and what can be
                  done. The log is left as it is; at the databases, what a crash left due is done,
                  as a start would
  --json          print what --check finds as one JSON object
  --help          this text

SIGTERM, SIGINT, .quit and, without --serve, the end of the input stop the server cleanly: a leader
hands over first.

exit status: 0 all went well, or a signal stopped it; 1 a statement failed, or the server could not
run, or --check found damage; 2 a bad flag
)";

/// `127.0.0.1:9001`: it is told to all others, and one address has one spelling.
/// @throws usage_error
[[nodiscard]] inline std::string parse_address(std::string_view flag, std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) {
    throw usage_error(
        fmt::format("{} wants HOST:PORT, as in 127.0.0.1:9001, not '{}'", flag, text));
  }
  const std::uint64_t port = parse_number(fmt::format("{}: the port in '{}'", flag, text),
                                          text.substr(colon + 1), 1, 65535);
  const std::string host(text.substr(0, colon));
  in_addr read{};
  if (::inet_pton(AF_INET, host.c_str(), &read) != 1) {
    throw usage_error(
        fmt::format("{} wants an IPv4 address, as in 127.0.0.1:9001, not '{}'", flag, text));
  }
  if (read.s_addr == INADDR_ANY) {
    throw usage_error(fmt::format("{}: nobody else finds a server at '{}': say the address of this "
                                  "machine that the others reach",
                                  flag, text));
  }
  return fmt::format("{}:{}", host, port);
}

/// What is left and right of the sign in `1=127.0.0.1:9001`.
struct id_and_address {
  std::string_view id;
  std::string address;
};

/// @throws usage_error
[[nodiscard]] inline id_and_address split_member(std::string_view flag, std::string_view text,
                                                 std::string_view example) {
  const std::size_t sign = text.find('=');
  if (sign == std::string_view::npos || text.find(':', sign) == std::string_view::npos ||
      text[sign + 1] == ':') {
    throw usage_error(fmt::format("{} wants ID=HOST:PORT, as in {}=127.0.0.1:9001, not '{}'", flag,
                                  example, text));
  }
  return {text.substr(0, sign), parse_address(flag, text.substr(sign + 1))};
}

/// `1=127.0.0.1:9001`. @throws usage_error
[[nodiscard]] inline cluster_member parse_member(std::string_view flag, std::string_view text) {
  const id_and_address parts = split_member(flag, text, "1");
  const std::string where = fmt::format("{}: the id in '{}'", flag, text);
  return {parse_number(where, parts.id, 1, ~std::uint64_t{0} >> 1U), parts.address};
}

/// @throws usage_error
[[nodiscard]] inline std::vector<cluster_member> parse_cluster(std::string_view text) {
  std::vector<cluster_member> members;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    cluster_member one = parse_member("--cluster", text.substr(0, comma));
    for (const cluster_member& other : members) {
      if (other.id == one.id || other.address == one.address) {
        throw usage_error(fmt::format("--cluster names {}={} and {}={}: ids and addresses differ",
                                      other.id, other.address, one.id, one.address));
      }
    }
    members.push_back(std::move(one));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return members;
}

/// Takes one of the flags that stand alone. @returns false: it is none of them
[[nodiscard]] inline bool take_switch(node_settings& into, std::string_view flag) {
  bool* const chosen = flag == "--found"                  ? &into.found
                       : flag == "--join"                 ? &into.join
                       : flag == "--moved"                ? &into.moved
                       : flag == "--memory"               ? &into.memory
                       : flag == "--serve"                ? &into.serve
                       : flag == "--json"                 ? &into.json
                       : flag == "--help" || flag == "-h" ? &into.help
                                                          : nullptr;
  if (chosen != nullptr) {
    *chosen = true;
  }
  return chosen != nullptr;
}

/// Takes a flag with its value. @throws usage_error
inline void take_value(node_settings& into, std::string_view flag, std::string_view value) {
  if (flag == "--id") {
    into.id = parse_number(flag, value, 1, ~std::uint64_t{0} >> 1U);
  } else if (flag == "--data") {
    into.data = value;
  } else if (flag == "--check") {
    into.check = value;
  } else if (flag == "--address") {
    into.address = parse_address(flag, value);
  } else if (flag == "--cluster") {
    into.cluster = parse_cluster(value);
  } else if (flag == "--database") {
    into.database = value;
  } else if (flag == "--wait") {
    into.wait_seconds = parse_number(flag, value, 0, 86'400);
  } else if (flag == "--snapshot-bytes") {
    into.snapshot_bytes = parse_number(flag, value, 1, std::uint64_t{1} << 40U);
  } else if (flag == "--memory-mib") {
    into.memory_mib = parse_number(flag, value, 1, std::uint64_t{1} << 20U);
  } else if (flag == "--pinned-mib") {
    into.pinned_mib = parse_number(flag, value, 0, std::uint64_t{1} << 20U);
  } else if (flag == "--log-mib") {
    into.log_mib = parse_number(flag, value, 16, std::uint64_t{1} << 20U);
  } else if (flag == "--election-ms") {
    into.election_ms = parse_number(flag, value, 100, 600'000);
  } else {
    into.flush_bytes = parse_number(flag, value, 1, std::uint64_t{1} << 40U);
  }
}

/// Is everything there that a server needs? @throws usage_error
inline void check_settings(const node_settings& asked) {
  if (!quorlite::is_database_name(asked.database)) {
    throw usage_error(fmt::format("--database: '{}' is {}", asked.database,
                                  make_error_code(quorlite::errc::invalid_name).message()));
  }
  if (!asked.check.empty()) {
    return;  // nothing is served
  }
  if (asked.json) {
    throw usage_error("--json goes with --check: which folder is to be read?");
  }
  if (asked.id == 0) {
    throw usage_error("--id is missing: which server of the cluster is this?");
  }
  if (asked.data.empty()) {
    throw usage_error("--data is missing: name a folder for this server's log and databases");
  }
  if (asked.found && asked.join) {
    throw usage_error("--found and --join: this server begins a cluster, or waits to take part");
  }
  if (asked.cluster.empty() && asked.address.empty()) {
    throw usage_error("--address is missing: where do the others find this server? As in "
                      "--address 127.0.0.1:9001");
  }
  if (!asked.cluster.empty() && asked.member(asked.id) == nullptr) {
    throw usage_error(
        fmt::format("--cluster does not name server {}: say --address HOST:PORT", asked.id));
  }
}

/// The address that --cluster tells, where it is not told by --address. @throws usage_error
inline void settle_address(node_settings& asked) {
  const cluster_member* const own = asked.member(asked.id);
  if (own == nullptr) {
    return;
  }
  if (!asked.address.empty() && asked.address != own->address) {
    throw usage_error(
        fmt::format("--address is {}, and --cluster says {}", asked.address, own->address));
  }
  asked.address = own->address;
}

/// Accepts `--flag value` and `--flag=value`. @throws usage_error
[[nodiscard]] inline node_settings parse_node_flags(std::span<char* const> arguments) {
  constexpr std::string_view with_value[] = {
      "--id",          "--data",        "--address",    "--cluster",        "--database",
      "--wait",        "--flush-bytes", "--memory-mib", "--snapshot-bytes", "--log-mib",
      "--election-ms", "--check",       "--pinned-mib"};
  node_settings asked;
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    const std::string_view whole = arguments[i];
    if (take_switch(asked, whole)) {
      continue;
    }
    const std::size_t sign = std::min(whole.find('='), whole.size());
    const std::string_view flag = whole.substr(0, sign);
    if (std::find(std::begin(with_value), std::end(with_value), flag) == std::end(with_value)) {
      throw usage_error(fmt::format("unknown flag '{}'", whole));
    }
    std::string_view value = whole.substr(std::min(sign + 1, whole.size()));
    if (sign == whole.size() && i + 1 < arguments.size()) {
      value = arguments[++i];
    }
    if (value.empty()) {
      throw usage_error(fmt::format("{} needs a value", flag));
    }
    take_value(asked, flag, value);
  }
  if (!asked.help) {
    check_settings(asked);
    settle_address(asked);
  }
  return asked;
}

}  // namespace example
