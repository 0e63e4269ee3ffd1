/// @file
/// What `sql_node --check FOLDER` does: reads the log and the databases of a stopped server, and
/// holds one against the other.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "node_flags.hpp"
#include "quorlite/fsm.hpp"
#include "quorlite/raft/libraft.hpp"
#include "quorlite/storage/file.hpp"
#include "quorlite/storage/memory.hpp"

namespace example {

class folder_check {
 public:
  using ordered_json = nlohmann::ordered_json;

  explicit folder_check(const node_settings& asked) : folder_(asked.check), json_(asked.json) {
    const std::string directory = folder_ + "/databases";
    std::error_code unknown;
    const bool is_there =
        std::filesystem::exists(std::filesystem::symlink_status(directory, unknown));
    if (std::filesystem::is_directory(directory, unknown)) {
      quorlite::file_storage storage{directory};
      read_databases(storage);
      read_log(storage);
    } else {           // in memory, so they come from the log at each start
      if (is_there) {  // such as a link to what is not mounted
        databases_error_ = std::make_error_code(std::errc::not_a_directory);
        databases_damage_ = "databases";
      }
      quorlite::memory_storage storage;
      read_log(storage);
    }
    is_of_nobody_ = !is_there && log_ && log_->is_empty() && log_->server.value == 0;
  }

  /// Prints what was found. @returns the exit status
  [[nodiscard]] int report() const {
    if (json_) {
      fmt::print("{}\n", as_json().dump(2));
    } else {
      print_text();
    }
    return is_whole() ? 0 : 1;
  }

 private:
  [[nodiscard]] bool is_whole() const {
    return log_ && log_->defects.empty() && !databases_error_ && !is_of_nobody_ &&
           (!databases_ || databases_->is_whole());
  }

  void read_databases(quorlite::file_storage& storage) {
    auto read = quorlite::verify(storage);
    if (read) {
      databases_ = std::move(*read);
    } else {
      databases_error_ = read.error();
      databases_damage_ = storage.damage();
    }
  }

  /// Against a machine as a start makes it. If that cannot be, the log is read alone.
  template <class Storage>
  void read_log(Storage& storage) {
    quorlite::fsm<quorlite::libraft, Storage> machine(storage);
    const std::error_code unloaded =
        databases_error_ ? databases_error_ : std::error_code(machine.load());
    if (!unloaded) {
      base_ = machine.base();
    } else if (!databases_ || databases_->is_whole()) {
      databases_error_ = unloaded;
    }
    const quorlite::log_index at =
        databases_ ? std::max(databases_->at.index, databases_->ahead) : quorlite::log_index{};
    auto read = unloaded ? quorlite::libraft::check(folder_, at)
                         : quorlite::libraft::check(folder_, machine);
    if (read) {
      log_ = std::move(*read);
    } else {
      log_error_ = read.error();
    }
  }

  // ---- text

  void print_text() const {
    print_log();
    print_databases();
    if (is_of_nobody_) {
      fmt::print("nothing in this folder is a server's: is it the one that --data names?\n");
    }
    fmt::print("{}\n", is_whole() ? "whole" : "NOT WHOLE: see what is said above");
  }

  void print_log() const {
    if (!log_) {
      fmt::print("log: it cannot be read: {}\n", log_error_.message());
      return;
    }
    if (log_->server.value != 0) {
      fmt::print("the folder of server {}{}\n", quorlite::libraft_id_text(log_->server),
                 log_->cluster == quorlite::cluster_identity{}
                     ? std::string()
                     : ", of cluster " + text_of(log_->cluster));
    }
    fmt::print("log: term {}, {}\n", log_->term.value,
               log_->vote.value == 0
                   ? "nobody chosen in it"
                   : fmt::format("server {} chosen in it", quorlite::libraft_id_text(log_->vote)));
    if (log_->snapshot_index != 0) {
      fmt::print("  a snapshot up to entry {}\n", log_->snapshot_index);
    }
    for (const auto& one : log_->ranges) {
      fmt::print("  {}: entries {} to {} of term {}\n", one.file, one.first, one.last,
                 one.term.value);
    }
    fmt::print("  ends with entry {}, position {}\n", log_->last_index, log_->end.value);
    if (log_->noted_index != 0) {
      fmt::print("  log_end: it had entry {} of term {}\n", log_->noted_index,
                 log_->noted_term.value);
    }
    if (log_->noted_applied.index.value != 0) {
      fmt::print("  log_end: position {} was applied{}\n", log_->noted_applied.index.value,
                 as_of(log_->noted_applied.hash));
    }
    print_history();
    for (const auto& one : log_->leftovers) {
      if (one.becomes.empty()) {
        fmt::print("  left by a power cut or a kill, a start clears it away: {}: {}\n", one.file,
                   one.what);
      } else {
        fmt::print("  a start gives it the name {}: {}: {}\n", one.becomes, one.file, one.what);
      }
    }
    for (const auto& one : log_->defects) {
      fmt::print("  DAMAGE: {}\n", one.text());
    }
  }

  void print_history() const {
    if (!log_->was_compared) {
      fmt::print("  which history it has is not told, for what is said of damage\n");
    } else if (log_->history.begins_at.value == 0) {
      fmt::print("  its history has not begun, so it names no cluster\n");
    } else {
      fmt::print("  cluster {}, since position {}; at its end{}\n", text_of(log_->history.cluster),
                 log_->history.begins_at.value, as_of(log_->end_history));
    }
  }

  void print_databases() const {
    if (databases_error_) {
      fmt::print("databases: {}{}{}\n", databases_error_.message(),
                 databases_damage_.empty() ? "" : ": ", databases_damage_);
    }
    if (!databases_) {
      return;
    }
    fmt::print("databases: position {}{}", databases_->at.index.value, as_of(base_.at.hash));
    if (databases_->ahead != databases_->at.index) {
      fmt::print(", pages up to position {}: they are settled when the log was replayed",
                 databases_->ahead.value);
    }
    fmt::print("\n");
    for (const auto& one : databases_->databases) {
      const bool fine = one.bad_pages == 0 && one.hashes_add_up;
      fmt::print("  {}: {} pages of {} bytes, {}\n", one.name, one.page_count, one.page_size,
                 databases_->ahead != databases_->at.index ? "not settled"
                 : fine                                    ? "as their hashes say"
                 : one.bad_pages > 0
                     ? fmt::format("DAMAGE: {} of them, the first is {}", one.bad_pages,
                                   one.first_bad.value)
                     : std::string("DAMAGE: their hashes are not those of the position"));
    }
  }

  // ---- JSON

  [[nodiscard]] ordered_json as_json() const {
    return {{"folder", folder_},
            {"whole", is_whole()},
            {"of_nobody", is_of_nobody_},
            {"log", log_as_json()},
            {"databases", databases_as_json()}};
  }

  [[nodiscard]] ordered_json log_as_json() const {
    if (!log_) {
      return {{"error", log_error_.message()}};
    }
    ordered_json ranges = ordered_json::array();
    for (const auto& one : log_->ranges) {
      ranges.push_back(
          {{"file", one.file}, {"first", one.first}, {"last", one.last}, {"term", one.term.value}});
    }
    ordered_json leftovers = ordered_json::array();
    for (const auto& one : log_->leftovers) {
      leftovers.push_back(
          {{"file", one.file},
           {"removed", one.whole},
           {"cut_at", one.whole ? ordered_json() : ordered_json(one.byte)},
           {"becomes", one.becomes.empty() ? ordered_json() : ordered_json(one.becomes)},
           {"what", one.what}});
    }
    constexpr const char* faults[] = {"damaged", "missing",     "too_short",       "starts_late",
                                      "unknown", "diverged",    "another_cluster", "another_server",
                                      "copied",  "not_founded", "already_founded", "unusable"};
    ordered_json defects = ordered_json::array();
    for (const auto& one : log_->defects) {
      defects.push_back({{"fault", faults[static_cast<std::size_t>(one.fault)]},
                         {"file", one.file},
                         {"byte", one.byte},
                         {"what", one.what},
                         {"remedy", one.remedy}});
    }
    return {{"server", server_as_json(log_->server)},
            {"cluster", cluster_as_json(log_->cluster)},
            {"term", log_->term.value},
            {"vote", server_as_json(log_->vote)},
            {"snapshot_index", log_->snapshot_index},
            {"last_index", log_->last_index},
            {"position", log_->end.value},
            {"history", log_history_as_json()},
            {"compared", log_->was_compared},
            {"log_end", log_end_as_json()},
            {"ranges", std::move(ranges)},
            {"leftovers", std::move(leftovers)},
            {"defects", std::move(defects)}};
  }

  [[nodiscard]] ordered_json log_end_as_json() const {
    return log_->noted_index == 0
               ? ordered_json()
               : ordered_json{{"index", log_->noted_index},
                              {"term", log_->noted_term.value},
                              {"applied", log_->noted_applied.index.value},
                              {"applied_hash", hash_as_json(log_->noted_applied.hash)}};
  }

  [[nodiscard]] ordered_json log_history_as_json() const {
    return history_as_json(log_->history, {log_->end, log_->end_history});
  }

  /// Null: none has begun, or nothing was read of it.
  [[nodiscard]] static ordered_json history_as_json(const quorlite::history_identity& begun,
                                                    const quorlite::history_position& at) {
    if (begun.begins_at.value == 0) {
      return nullptr;
    }
    return {{"cluster", text_of(begun.cluster)},
            {"begins_at", begun.begins_at.value},
            {"position", at.index.value},
            {"hash", hash_as_json(at.hash)}};
  }

  [[nodiscard]] static ordered_json hash_as_json(const quorlite::history_hash& hash) {
    return hash == quorlite::history_hash{} ? ordered_json() : ordered_json(text_of(hash));
  }

  template <class Bits>
  [[nodiscard]] static std::string text_of(const Bits& all) {
    return fmt::format("{:016x}{:016x}", all.high, all.low);
  }

  [[nodiscard]] static std::string as_of(const quorlite::history_hash& hash) {
    return hash == quorlite::history_hash{} ? std::string() : ", history " + text_of(hash);
  }

  [[nodiscard]] static ordered_json server_as_json(quorlite::server_id id) {
    return id.value == 0 ? ordered_json() : ordered_json(quorlite::libraft_id_text(id));
  }

  [[nodiscard]] static ordered_json cluster_as_json(const quorlite::cluster_identity& cluster) {
    return cluster == quorlite::cluster_identity{} ? ordered_json()
                                                   : ordered_json(text_of(cluster));
  }

  [[nodiscard]] ordered_json databases_as_json() const {
    if (databases_error_) {
      return {{"error", databases_error_.message()}, {"damage", databases_damage_}};
    }
    if (!databases_) {
      return nullptr;
    }
    ordered_json all = ordered_json::array();
    for (const auto& one : databases_->databases) {
      all.push_back({{"name", one.name},
                     {"page_size", one.page_size},
                     {"pages", one.page_count},
                     {"bad_pages", one.bad_pages},
                     {"first_bad", one.first_bad.value},
                     {"hashes_add_up", one.hashes_add_up}});
    }
    return {{"position", databases_->at.index.value},
            {"ahead", databases_->ahead.value},
            {"history", history_as_json(base_.begun, base_.at)},
            {"databases", std::move(all)}};
  }

  const std::string folder_;
  const bool json_;
  std::optional<quorlite::libraft_log_report> log_;
  std::error_code log_error_;
  quorlite::base_history base_;
  std::optional<quorlite::verified_storage> databases_;
  std::error_code databases_error_;
  std::string databases_damage_;  // the file, where one is to be named
  bool is_of_nobody_ = false;     // not a server's folder at all, so nothing of it can be whole
};

}  // namespace example
