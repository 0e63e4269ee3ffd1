/// @file
/// A shell over a server's databases: lines in, rows and errors out, as the sqlite3 shell does it.
#pragma once

#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "line_source.hpp"
#include "node.hpp"
#include "plain_sqlite.hpp"
#include "quorlite/error.hpp"
#include "row_printer.hpp"
#include "sql_script.hpp"
#include "stop_signal.hpp"

namespace example {

class sql_shell {
 public:
  /// Borrows the server. Close the shell first.
  sql_shell(node& served, const node_settings& asked)
      : node_(served), wait_seconds_(asked.wait_seconds), name_(asked.database) {}

  /// Uses a database in place of the present one, from the next statement on.
  void open(std::string name) {
    name_ = std::move(name);
    db_ = {};
  }

  /// Carries out everything up to the end of the input, .quit, or the stop signal.
  /// @returns true for .quit, and for an error after .bail on
  bool run(line_source& lines) {
    terminal_ = lines.is_terminal();
    return read(lines) == flow::end;
  }

  [[nodiscard]] std::size_t errors() const noexcept { return errors_; }

 private:
  friend class shell_commands;

  enum class flow { go_on, end };

  /// A whole source. @returns end: .quit, or an error after .bail on
  flow read(line_source& lines);  // in shell_commands.hpp

  /// After a crash a database cannot be opened before its log was replayed, and how far that goes
  /// only a leader can tell. @returns false: it said why not
  [[nodiscard]] bool is_open() {
    if (db_.get() != nullptr) {
      return true;
    }
    auto opened = node_.open(name_);
    const auto decided = [&] {
      if (!opened && opened.error() == quorlite::errc::busy) {
        opened = node_.open(name_);
      }
      return opened || opened.error() != quorlite::errc::busy;
    };
    if (!wait_for(decided, wait_seconds_) || !opened) {
      const bool replayed = opened.error() == quorlite::errc::busy;
      fail(fmt::format(
          "Error: cannot open '{}': {}", name_,
          replayed ? "its log is still replayed: try again" : opened.error().message()));
      return false;
    }
    db_ = std::move(*opened);
    // A long query ends when the process shall; a waiting COMMIT is answered by the server.
    sqlite3_progress_handler(
        db_, 10'000, [](void*) { return stop_signal::asked() ? 1 : 0; }, nullptr);
    return true;
  }

  /// One or more whole statements. `line` is where they began.
  void run_statements(const std::string& text, std::size_t line) {
    wait_for_leader_once();
    if (!is_open()) {
      return;
    }
    const char* rest = text.c_str();
    while (*rest != '\0') {
      sqlite3_stmt* compiled = nullptr;
      while (std::isspace(static_cast<unsigned char>(*rest)) != 0) {
        ++rest;
      }
      const char* const begin = rest;
      const int code = sqlite3_prepare_v2(db_, rest, -1, &compiled, &rest);
      const owned_query query(compiled);
      if (code != SQLITE_OK) {
        report("Parse error", line, where_in(begin));
        return;
      }
      if (query != nullptr && !step_through(query.get())) {
        report("Runtime error", line, {});
        return;
      }
    }
  }

  /// @returns false: it failed
  bool step_through(sqlite3_stmt* query) {
    int code = sqlite3_step(query);
    for (; code == SQLITE_ROW; code = sqlite3_step(query)) {
      rows_.row(query);
    }
    rows_.end();
    return code == SQLITE_DONE;
  }

  /// The words of the sqlite3 shell. Our own codes are shown whole, SQLite's as it shows them.
  void report(std::string_view kind, std::size_t line, const std::string& where) {
    const int code = sqlite3_extended_errcode(db_);
    const bool ours =
        code == quorlite::sqlite_not_leader || code == quorlite::sqlite_outcome_unknown ||
        code == quorlite::sqlite_busy_rolled_back || code == quorlite::sqlite_transaction_over;
    const int shown = ours ? code : code & 0xFF;
    std::string text = terminal_ && depth_ == 0 ? fmt::format("{}: ", kind)
                                                : fmt::format("{} near line {}: ", kind, line);
    text += db_.error_message();
    if (code == quorlite::sqlite_outcome_unknown) {
      const quorlite::transaction_id id = db_.last_transaction();
      text += fmt::format("; on the leader, ask .outcome {}.{}", id.term.value, id.sequence);
    }
    fail(text + (shown > SQLITE_ERROR ? fmt::format(" ({})", shown) : std::string()) + where);
  }

  /// The place of a syntax error, marked.
  [[nodiscard]] std::string where_in(const char* begin) const {
    constexpr std::size_t before = 50;
    constexpr std::size_t width = 78;
    const int found = sqlite3_error_offset(db_);
    std::string_view text(begin);
    if (found < 0 || static_cast<std::size_t>(found) >= text.size()) {
      return {};
    }
    auto at = static_cast<std::size_t>(found);
    const auto inside_letter = [](char byte) {
      return (static_cast<unsigned char>(byte) & 0xC0U) == 0x80U;
    };
    while (at > before) {
      do {
        text.remove_prefix(1);
        --at;
      } while (at > 0 && inside_letter(text.front()));
    }
    std::size_t length = std::min(width, text.size());
    while (length < text.size() && length > 0 && inside_letter(text[length])) {
      --length;
    }
    std::string line(text.substr(0, length));
    for (char& letter : line) {
      letter = std::isspace(static_cast<unsigned char>(letter)) != 0 ? ' ' : letter;
    }
    return at < 25 ? fmt::format("\n  {}\n  {:{}}^--- error here", line, "", at)
                   : fmt::format("\n  {}\n  {:{}}error here ---^", line, "", at - 14);
  }

  /// What went wrong, on the standard error, behind all that was printed before.
  void fail(const std::string& text) {
    ++errors_;
    std::fflush(stdout);
    fmt::print(stderr, "{}\n", text);
  }

  /// Right after the start there is no leader, and a script should not fail for that.
  void wait_for_leader_once() {
    if (std::exchange(waited_, true)) {
      return;
    }
    const auto knows_one = [this] {
      const quorlite::leader_info now = node_.leader();
      return now.leading || !now.leader_hint.empty();
    };
    if (!wait_for(knows_one, wait_seconds_)) {
      fmt::print(stderr,
                 "no leader is known: reads see what is here, writes fail until more than half of "
                 "the servers run\n");
    }
  }

  template <class Condition>
  [[nodiscard]] static bool wait_for(Condition holds, std::uint64_t seconds) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
    while (!holds()) {
      if (stop_signal::asked() || std::chrono::steady_clock::now() >= end) {
        return false;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return true;
  }

  node& node_;
  const std::uint64_t wait_seconds_;
  std::string name_;         ///< of the database
  quorlite::connection db_;  ///< null until a statement needs it
  row_printer rows_;
  std::size_t errors_ = 0;
  std::size_t depth_ = 0;  ///< of files that read each other
  bool terminal_ = false;
  bool waited_ = false;
  bool bail_ = false;  ///< the first error ends the script
};

}  // namespace example

#include "shell_commands.hpp"
