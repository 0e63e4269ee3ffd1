/// @file
/// The commands of the shell that start with a dot. A part of sql_shell.hpp; include that.
#pragma once

#include <fmt/format.h>
#include <sqlite3.h>

#include <array>
#include <cctype>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "quorlite/transfer.hpp"
#include "sql_shell.hpp"

namespace example {

inline constexpr std::string_view shell_help =
    R"(.add ID=HOST:PORT    Let a server take part that was started with --join, by the line that it
                     printed; ID is like 2.1f3a09c4d7 (on the leader)
.backup FILE         Write the database to FILE, a new and ordinary SQLite file
.bail on|off         Stop after an error
.databases           List the replicated databases
.headers on|off      Print the names of the columns
.help                This text
.leader [SECONDS]    Wait until a leader is known (default 10), and print its address
.mode list|json      How rows are printed
.open NAME           Use another replicated database, such as other.db
.outcome TERM.N      What became of a transaction whose COMMIT was answered with 10506
.print TEXT          Print TEXT
.quit                Stop this server
.read FILE           Carry out the lines of FILE
.readmit ID          Listen again to a server that this one refuses (.status: "refused"), once its
                     right folder is back (on each server that refuses it)
.remove ID           Let a server take no part any more; its number will do (on the leader)
.restore FILE        Replace the database by the content of FILE (on the leader)
.schema [NAME]       Show the CREATE statements
.status              Show what this server knows, as JSON
.tables              List the tables and views
.timeout MS          How long a write waits for other writers
.transfer ID         Hand leadership over (on the leader)
.upgrade             Begin the history of a cluster of before there was --found, once every server
                     runs this version: older ones stop then (on the leader)
)";

/// One line, cut into words: "quoted ones" and 'such' may hold spaces.
[[nodiscard]] inline std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> words;
  for (std::size_t i = 0; i < line.size();) {
    const char first = line[i];
    if (std::isspace(static_cast<unsigned char>(first)) != 0) {
      ++i;
    } else if (first == '"' || first == '\'') {
      const std::size_t end = std::min(line.find(first, i + 1), line.size());
      words.emplace_back(line.substr(i + 1, end - i - 1));
      i = end + 1;
    } else {
      const std::size_t end = std::min(line.find_first_of(" \t\r", i), line.size());
      words.emplace_back(line.substr(i, end - i));
      i = end;
    }
  }
  return words;
}

/// Tells on a terminal how far a copy is, and wipes that away at the end.
class transfer_report {
 public:
  explicit transfer_report(bool terminal) noexcept : terminal_(terminal) {}
  transfer_report(const transfer_report&) = delete;
  transfer_report& operator=(const transfer_report&) = delete;
  ~transfer_report() {
    if (terminal_) {
      std::fputs("\r\033[K", stderr);
    }
  }

  bool operator()(quorlite::transfer_progress at) const {
    if (terminal_ && at.total != 0) {
      fmt::print(stderr, "\r{} % of {} pages", at.done * 100 / at.total, at.total);
    }
    return !stop_signal::asked();
  }

 private:
  const bool terminal_;
};

/// Carries out one of them.
class shell_commands {
  using words = std::vector<std::string>;

 public:
  explicit shell_commands(sql_shell& shell) : shell_(shell) {}

  sql_shell::flow run(std::string_view line) {
    const words given = words_of(line);
    if (given[0] == ".quit" || given[0] == ".exit") {
      return sql_shell::flow::end;
    }
    if (given[0] == ".read" && given.size() == 2) {
      return read(given[1]);
    }
    for (const entry& one : table()) {
      const std::size_t count = given.size() - 1;
      if (one.name == given[0] && count >= one.least && count <= one.most) {
        try {
          (this->*one.action)(given);
        } catch (const usage_error& error) {
          shell_.fail(fmt::format("Error: {}", error.what()));
        }
        std::fflush(stdout);
        return sql_shell::flow::go_on;
      }
    }
    shell_.fail(fmt::format(
        "Error: unknown command or invalid arguments:  \"{}\". Enter \".help\" for help",
        line.substr(1)));
    return sql_shell::flow::go_on;
  }

 private:
  struct entry {
    std::string_view name;
    std::size_t least;  ///< arguments
    std::size_t most;
    void (shell_commands::*action)(const words&);
  };

  // ---- databases

  void backup(const words& given) {
    if (!shell_.is_open()) {
      return;
    }
    const transfer_report report(shell_.terminal_);
    const std::error_code error =
        quorlite::export_database(shell_.db_, given[1], std::cref(report));
    if (error) {
      const std::string why = error == quorlite::errc::sqlite_failed
                                  ? "SQLite cannot make a file there"
                              : error == std::errc::operation_not_permitted
                                  ? "it leads into the data folder of this server"
                                  : error.message();
      shell_.fail(fmt::format("Error: cannot write '{}': {}", given[1], why));
    }
  }

  void restore(const words& given) {
    shell_.wait_for_leader_once();
    if (!shell_.is_open()) {
      return;
    }
    const transfer_report report(shell_.terminal_);
    const std::error_code error =
        shell_.node_.import_file(shell_.name_, given[1], std::cref(report));
    if (error == quorlite::errc::sqlite_failed) {
      shell_.fail(
          fmt::format("Error: cannot restore from '{}': empty, or not an SQLite file", given[1]));
    } else if (error == quorlite::errc::other_page_size) {
      shell_.fail(fmt::format(
          "Error: cannot restore from '{0}': its pages have {1} bytes, those of '{2}' have {3}. "
          "Restore it as another database (.open NAME), or give a copy of it this size: "
          "PRAGMA page_size={3}; VACUUM",
          given[1], page_size_of(given[1]), shell_.name_,
          read_column(shell_.db_, "PRAGMA page_size").at(0)));
    } else if (error == quorlite::errc::too_large) {
      shell_.fail(fmt::format(
          "Error: cannot restore from '{}': more than one transaction may be. It takes half of "
          "--log-mib: start every server with more, twice the file and some MiB",
          given[1]));
    } else if (error) {
      answer(error);
    }
  }

  /// As its header says.
  [[nodiscard]] static std::uint32_t page_size_of(const std::string& path) {
    std::array<unsigned char, 18> head{};
    std::ifstream file(path, std::ios::binary);
    file.read(reinterpret_cast<char*>(head.data()), head.size());
    const std::uint32_t told = head[16] * 256U + head[17];
    return told == 1 ? 65536 : told;
  }

  void databases(const words&) {
    for (const std::string& name : shell_.node_.databases()) {
      fmt::print("{}\n", name);
    }
  }

  void open(const words& given) {
    if (!quorlite::is_database_name(given[1])) {
      throw usage_error(make_error_code(quorlite::errc::invalid_name).message());
    }
    shell_.open(given[1]);
  }

  void schema(const words& given) {
    std::string query =
        "SELECT sql || ';' FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite~_%' "
        "ESCAPE '~'";
    if (given.size() > 1) {
      query += fmt::format(" AND lower(tbl_name) = lower({})", in_quotes(given[1], '\''));
    }
    print_lines(query + " ORDER BY rowid");
  }

  void tables(const words&) {
    print_lines("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE "
                "'sqlite~_%' ESCAPE '~' ORDER BY name");
  }

  void print_lines(const std::string& query) {
    if (!shell_.is_open()) {
      return;
    }
    for (const std::string& line : read_column(shell_.db_, query)) {
      fmt::print("{}\n", line);
    }
  }

  void timeout(const words& given) {
    const std::uint64_t limit = parse_number(given[0], given[1], 0, 86'400'000);
    const std::string pragma = fmt::format("PRAGMA busy_timeout={}", limit);
    if (!shell_.is_open()) {
      return;
    }
    sqlite3_exec(shell_.db_, pragma.c_str(), nullptr, nullptr, nullptr);
  }

  // ---- the cluster

  void add(const words& given) {
    const id_and_address parts = split_member(given[0], given[1], "2.1f3a09c4d7");
    const quorlite::server_id id = shell_.node_.named(given[0], parts.id);
    if (quorlite::libraft_id_text(id) != parts.id ||
        (quorlite::libraft_number_of(id) == id.value && !is_member(id))) {
      throw usage_error(fmt::format(
          ".add wants the id that server {} printed, as in {}.1f3a09c4d7={}: a number alone names "
          "none whose folder could be another one",
          parts.id, parts.id, parts.address));
    }
    shell_.wait_for_leader_once();
    std::error_code error;
    const auto decided = [&] {
      error = shell_.node_.add(id, parts.address);
      return error != quorlite::errc::busy;  // a leader that has only just begun is
    };
    static_cast<void>(sql_shell::wait_for(decided, shell_.wait_seconds_));
    if (error == quorlite::errc::busy && is_member(id)) {
      throw usage_error(fmt::format(
          "server {0} is listed and has no vote yet, for it does not catch up: see that it runs "
          "at {1}, and began with --join; then say this again. The wrong one:  .remove {0}",
          parts.id, parts.address));
    }
    answer(error);
  }
  void remove(const words& given) {
    answer(shell_.node_.remove(shell_.node_.named(given[0], given[1])));
  }
  void transfer(const words& given) {
    answer(shell_.node_.transfer(shell_.node_.named(given[0], given[1])));
  }

  void readmit(const words& given) {
    if (!shell_.node_.readmit(shell_.node_.named(given[0], given[1]))) {
      shell_.fail("Error: no server of that id is refused here");
    }
  }

  void upgrade(const words&) {
    shell_.wait_for_leader_once();
    answer(shell_.node_.upgrade());
  }

  [[nodiscard]] bool is_member(quorlite::server_id id) {
    const ordered_json status = shell_.node_.status();
    for (const ordered_json& one : status["servers"]) {
      if (one["server"] == quorlite::libraft_id_text(id)) {
        return true;
      }
    }
    return false;
  }

  /// Nothing if all is well; else why not, and where to ask instead.
  void answer(std::error_code error) {
    if (error) {
      const quorlite::leader_info now = shell_.node_.leader();
      const bool elsewhere = !now.leading && !now.leader_hint.empty();
      const std::string why = error == std::errc::invalid_argument
                                  ? "no such server, or one that is there already"
                              : error == std::errc::operation_not_permitted
                                  ? "it is the only one that votes: without it nobody could write, "
                                    "or take in another. Add the one that shall go on first"
                                  : error.message();
      shell_.fail(fmt::format("Error: {}{}", why,
                              elsewhere ? "; the leader is " + now.leader_hint : std::string()));
    }
  }

  void leader(const words& given) {
    const std::uint64_t seconds =
        given.size() > 1 ? parse_number(given[0], given[1], 0, 86'400) : 10;
    ordered_json found;
    const auto known = [&] {
      found = shell_.node_.status()["leader"];
      return !found.is_null();
    };
    if (sql_shell::wait_for(known, seconds)) {
      fmt::print("{}\n", found["address"].get<std::string>());
    } else {
      shell_.fail("Error: no leader is known");
    }
  }

  void outcome(const words& given) {
    const std::string_view text = given[1];
    const std::size_t dot = std::min(text.find('.'), text.size());
    quorlite::transaction_id id;
    id.term = quorlite::term{parse_number(given[0], text.substr(0, dot), 1, ~std::uint64_t{0})};
    id.sequence =
        parse_number(given[0], text.substr(std::min(dot + 1, text.size())), 1, ~std::uint64_t{0});
    switch (shell_.node_.outcome(id)) {
      case quorlite::transaction_outcome::committed: fmt::print("committed\n"); break;
      case quorlite::transaction_outcome::not_committed: fmt::print("not committed\n"); break;
      case quorlite::transaction_outcome::undecided:
        fmt::print("undecided: ask again, on the leader\n");
        break;
      case quorlite::transaction_outcome::expired: fmt::print("too old to be known\n"); break;
    }
  }

  void status(const words&) {
    const int indent = shell_.terminal_ ? 2 : -1;
    fmt::print("{}\n", shell_.node_.status().dump(indent));
  }

  // ---- the shell

  void help(const words&) { fmt::print("{}", shell_help); }
  void print(const words& given) {
    for (std::size_t i = 1; i < given.size(); ++i) {
      fmt::print("{}{}", i > 1 ? " " : "", given[i]);
    }
    fmt::print("\n");
  }
  void bail(const words& given) { shell_.bail_ = switched(given); }
  void headers(const words& given) { shell_.rows_.headers = switched(given); }
  void mode(const words& given) {
    if (given[1] != "list" && given[1] != "json") {
      throw usage_error(fmt::format(".mode takes list or json, not '{}'", given[1]));
    }
    shell_.rows_.mode = given[1] == "list" ? row_mode::list : row_mode::json;
  }

  [[nodiscard]] static bool switched(const words& given) {
    if (given[1] != "on" && given[1] != "off") {
      throw usage_error(fmt::format("{} takes on or off, not '{}'", given[0], given[1]));
    }
    return given[1] == "on";
  }

  sql_shell::flow read(const std::string& path) {
    constexpr std::size_t most = 25;
    file_lines lines(path);
    if (!lines.good() || shell_.depth_ == most) {
      shell_.fail(fmt::format("Error: cannot open \"{}\"{}", path,
                              shell_.depth_ == most ? ": files read each other too deeply" : ""));
      return sql_shell::flow::go_on;
    }
    ++shell_.depth_;
    const sql_shell::flow after = shell_.read(lines);
    --shell_.depth_;
    return after;
  }

  [[nodiscard]] static std::span<const entry> table() {
    static constexpr entry all[] = {
        {".add", 1, 1, &shell_commands::add},
        {".backup", 1, 1, &shell_commands::backup},
        {".bail", 1, 1, &shell_commands::bail},
        {".databases", 0, 0, &shell_commands::databases},
        {".headers", 1, 1, &shell_commands::headers},
        {".help", 0, 0, &shell_commands::help},
        {".leader", 0, 1, &shell_commands::leader},
        {".mode", 1, 1, &shell_commands::mode},
        {".open", 1, 1, &shell_commands::open},
        {".outcome", 1, 1, &shell_commands::outcome},
        {".print", 0, ~std::size_t{0}, &shell_commands::print},
        {".readmit", 1, 1, &shell_commands::readmit},
        {".remove", 1, 1, &shell_commands::remove},
        {".restore", 1, 1, &shell_commands::restore},
        {".schema", 0, 1, &shell_commands::schema},
        {".status", 0, 0, &shell_commands::status},
        {".tables", 0, 0, &shell_commands::tables},
        {".timeout", 1, 1, &shell_commands::timeout},
        {".transfer", 1, 1, &shell_commands::transfer},
        {".upgrade", 0, 0, &shell_commands::upgrade},
    };
    return all;
  }

  sql_shell& shell_;
};

inline sql_shell::flow sql_shell::read(line_source& lines) {
  std::string pending;
  std::size_t began = 0;
  std::size_t number = 0;
  const auto stopped_by_error = [&, before = errors_] { return bail_ && errors_ > before; };
  while (auto line = lines.next(pending.empty() ? "sql> " : "...> ")) {
    ++number;
    if (pending.empty()) {
      if (line->starts_with('.')) {
        if (shell_commands(*this).run(*line) == flow::end || stopped_by_error()) {
          return flow::end;
        }
        continue;
      }
      if (line->starts_with('#') || skip_blank(*line).empty()) {
        continue;
      }
      began = number;
    }
    const bool may_be_whole = line->find(';') != std::string::npos;
    pending += (pending.empty() ? "" : "\n") + *line;
    if (may_be_whole && sqlite3_complete(pending.c_str()) != 0) {
      run_statements(std::exchange(pending, {}), began);
      if (stopped_by_error()) {
        return flow::end;
      }
    }
  }
  if (!skip_blank(pending).empty() && !stop_signal::asked()) {
    run_statements(pending, began);  // the last statement may do without its semicolon
  }
  return stopped_by_error() ? flow::end : flow::go_on;
}

}  // namespace example
