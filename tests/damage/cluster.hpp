// Three replicas over libraft and files in this process, and the rows that clients of theirs were
// told of.
#pragma once

#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "chance.hpp"
#include "folder.hpp"
#include "quorlite/raft/libraft.hpp"
#include "quorlite/replica.hpp"
#include "quorlite/storage/file.hpp"
#include "support/started_replica.hpp"
#include "support/wait_until.hpp"

namespace damage {

using quorlite::milliseconds;
using quorlite::server_id;
using quorlite::tests::wait_until;

inline constexpr std::size_t servers = 3;

// Where the servers of one cluster are. The log has their addresses, so these go with the folders.
struct place {
  fs::path root;
  std::string network;  // "127.130.7": of each worker its own

  [[nodiscard]] std::string address(std::size_t server) const {
    return network + "." + std::to_string(server + 1) + ":17803";
  }
  [[nodiscard]] fs::path folder(std::size_t server) const {
    return root / std::to_string(server + 1);
  }
};

// What the servers of a cluster are run with, the same at each start.
struct settings {
  bool snapshots = false;
  bool double_write = false;
  std::size_t databases = 1;
};

// An engine that can keep proposals back, so that a transaction of several entries stays in parts.
class keeping_engine : public quorlite::libraft {
 public:
  using libraft::libraft;

  [[nodiscard]] std::error_code start(quorlite::state_machine& machine) noexcept {
    machine_ = &machine;
    return libraft::start(machine);
  }
  void propose(quorlite::term expected, quorlite::proposal_token token,
               quorlite::bytes_view entry) noexcept {
    if (passes == 0) {
      machine_->settled(token, quorlite::outcome::unknown,
                        quorlite::settle_reason::leadership_lost);
      return;
    }
    --passes;
    libraft::propose(expected, token, entry);
  }

  std::atomic<std::size_t> passes = ~std::size_t{0};

 private:
  quorlite::state_machine* machine_ = nullptr;
};

struct start_flags {
  bool found = false;
  bool join = false;
  bool bootstrap = false;  // as before there was `found`: all of them at once
};

class server {
 public:
  server(const place& where, std::size_t index, const settings& with, start_flags flags)
      : storage_((fs::create_directories(where.folder(index)),
                  (where.folder(index) / databases_folder).string()),
                 {.double_write = with.double_write}),
        raft_(engine_options(where, index, with, flags)),
        node_(raft_, storage_, replica_options(said_)) {}

  [[nodiscard]] std::error_code status() const { return node_.status(); }
  [[nodiscard]] keeping_engine& raft() noexcept { return raft_; }
  [[nodiscard]] auto& node() noexcept { return node_; }
  [[nodiscard]] bool leads() { return !status() && node_.leader().leading; }
  // What people were told of a start that was refused, and of a halt.
  [[nodiscard]] std::string told() {
    std::string text = status() ? status().message() : "";
    for (const auto& one : raft_.log_report().defects) {
      text += (text.empty() ? "" : " | ") + one.text();
    }
    const std::lock_guard lock(said_.mutex);
    return text + (said_.text.empty() ? "" : " | ") + said_.text;
  }

 private:
  struct words {
    std::mutex mutex;
    std::string text;
  };

  static quorlite::libraft_options engine_options(const place& where, std::size_t index,
                                                  const settings& with, start_flags flags) {
    quorlite::libraft_options options;
    options.id = server_id{index + 1};
    options.address = where.address(index);
    options.directory = where.folder(index).string();
    options.found = flags.found;
    options.join = flags.join;
    for (std::size_t i = 0; flags.bootstrap && i < servers; ++i) {
      options.bootstrap.push_back({server_id{i + 1}, where.address(i)});
    }
    options.election_timeout = milliseconds{150};
    options.heartbeat = milliseconds{30};
    // So small that a log has several segments.
    options.entry_bytes = std::size_t{48} << 10U;
    options.batch_bytes = std::size_t{16} << 10U;
    options.segment_bytes = std::size_t{320} << 10U;
    if (with.snapshots) {
      options.snapshot_min_bytes = std::uint64_t{96} << 10U;
      options.trailing_bytes = std::uint64_t{24} << 10U;
    }
    return options;
  }
  static quorlite::replica_options replica_options(words& said) {
    quorlite::replica_options options;
    options.memory_bytes = std::size_t{16} << 20U;
    options.entry_bytes = std::size_t{12} << 10U;
    options.commit_timeout = milliseconds{4000};
    options.log_context = &said;
    options.log = [](void* to, std::string_view text) {
      auto& into = *static_cast<words*>(to);
      const std::lock_guard lock(into.mutex);
      into.text.append(into.text.empty() ? "" : " | ").append(text);
    };
    return options;
  }

  words said_;
  quorlite::file_storage storage_;
  keeping_engine raft_;
  quorlite::tests::started_replica<keeping_engine, quorlite::file_storage> node_;
};

// A row that a client wrote, and what it was told.
struct row {
  enum class answer : std::uint8_t { acknowledged, refused, unknown };

  std::string database;
  std::uint64_t number = 0;
  answer told = answer::unknown;
  std::int64_t at_ms = 0;
};

inline std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

inline int run(sqlite3* db, const std::string& sql) {
  return sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr);
}

class cluster {
 public:
  cluster(place where, settings with, chance& draw)
      : where_(std::move(where)), with_(with), draw_(draw) {}

  [[nodiscard]] const place& where() const noexcept { return where_; }
  [[nodiscard]] const settings& with() const noexcept { return with_; }
  [[nodiscard]] bool has(std::size_t index) const { return nodes_[index] != nullptr; }
  [[nodiscard]] server& at(std::size_t index) { return *nodes_[index]; }

  // @returns whether it runs; if not, it can be asked why until it is stopped
  bool start(std::size_t index, start_flags flags = {}) {
    nodes_[index] = std::make_unique<server>(where_, index, with_, flags);
    return !nodes_[index]->status();
  }
  [[nodiscard]] bool runs(std::size_t index) const {
    return has(index) && !nodes_[index]->status();
  }
  // As one that is killed: what it has not flushed is in its log.
  void end(std::size_t index) { nodes_[index].reset(); }
  void stop(std::size_t index) {
    if (runs(index)) {
      static_cast<void>(nodes_[index]->node().stop());
    }
    end(index);
  }

  // From now on servers of another cluster are nobody's leaders: clients know whom they speak to.
  void expect(const quorlite::cluster_identity& identity) { identity_ = identity; }

  // Of several the one of the latest term.
  [[nodiscard]] std::optional<std::size_t> leader() {
    std::optional<std::size_t> found;
    for (std::size_t i = 0; i < servers; ++i) {
      if (runs(i) && at(i).leads() && is_ours(i) &&
          (!found || at(*found).node().leader().term < at(i).node().leader().term)) {
        found = i;
      }
    }
    return found;
  }
  bool await_leader(int limit_ms = 20'000) {
    return wait_until([&] { return leader().has_value(); }, limit_ms);
  }

  // On the leader, which may change meanwhile. @returns whether it is done in time
  bool on_leader(const std::function<std::error_code(server&)>& what, int limit_ms = 20'000) {
    return wait_until(
        [&] {
          const auto one = leader();
          return one && !what(at(*one));
        },
        limit_ms);
  }
  bool take_in(std::size_t index) {
    const server_id id = at(index).raft().status().id;
    return on_leader([&](server& leader) {
      const std::error_code error = leader.raft().add({id, where_.address(index)});
      const bool there = error == std::errc::invalid_argument;
      return error && !there ? error : leader.raft().promote(id);
    });
  }

  // So many rows are acknowledged, one after the other. @returns false: not in time
  bool insert(std::vector<row>& rows, std::size_t count, int limit_ms = 20'000) {
    const std::int64_t end = now_ms() + limit_ms;
    for (std::size_t i = 0; i < count;) {
      if (!wait_until([&] { return leader().has_value(); },
                      static_cast<int>(std::max<std::int64_t>(end - now_ms(), 0)))) {
        return false;
      }
      i += insert_one(rows) ? 1 : 0;
      if (now_ms() > end) {
        return i >= count;
      }
    }
    return true;
  }

  [[nodiscard]] bool even(const std::vector<std::size_t>& all) {
    for (const std::size_t one : all) {
      if (!runs(one) || at(one).node().applied() != at(all.front()).node().applied() ||
          at(one).node().metrics().history_at != at(all.front()).node().metrics().history_at) {
        return false;
      }
    }
    const auto first = leader();
    return first && std::find(all.begin(), all.end(), *first) != all.end() &&
           at(*first).raft().status().position.index == at(*first).node().applied().index;
  }

  // The numbers of all rows that a server has. Nothing: it cannot be read.
  [[nodiscard]] std::optional<std::map<std::string, std::set<std::uint64_t>>> rows_at(
      std::size_t index) {
    std::map<std::string, std::set<std::uint64_t>> found;
    for (const auto& one : at(index).node().databases()) {
      auto db = at(index).node().open(one.name);
      if (!db) {
        return std::nullopt;
      }
      const auto take = [](void* into, int, char** columns, char**) {
        static_cast<std::set<std::uint64_t>*>(into)->insert(std::stoull(columns[0]));
        return 0;
      };
      if (sqlite3_exec(*db, "SELECT number FROM item", take, &found[one.name], nullptr) !=
          SQLITE_OK) {
        return std::nullopt;
      }
    }
    return found;
  }

  static std::string database(std::size_t number) {
    return number == 0 ? "app.db" : "other-" + std::to_string(number) + ".db";
  }

 private:
  static constexpr const char* schema =
      "CREATE TABLE IF NOT EXISTS item(number INTEGER PRIMARY KEY, body);"
      "CREATE INDEX IF NOT EXISTS item_by_size ON item(length(body))";

  [[nodiscard]] bool is_ours(std::size_t index) {
    const auto theirs = at(index).node().metrics().history.cluster;
    const quorlite::cluster_identity nobody{};
    return identity_ == nobody || theirs == nobody || theirs == identity_;
  }

  bool insert_one(std::vector<row>& rows) {
    const auto first = leader();
    row made{database(static_cast<std::size_t>(draw_.below(with_.databases))), rows.size() + 1};
    const auto size = draw_.percent(15) ? draw_.between(2000, 9000) : draw_.between(10, 900);
    const std::string sql = "BEGIN IMMEDIATE; INSERT INTO item VALUES(" +
                            std::to_string(made.number) + ", randomblob(" + std::to_string(size) +
                            ")); UPDATE item SET body = randomblob(" + std::to_string(size) +
                            ") WHERE number = " + std::to_string(1 + draw_.below(made.number)) +
                            "; COMMIT";
    auto db =
        first ? at(*first).node().open(made.database)
              : quorlite::result<quorlite::connection>(quorlite::fail(quorlite::errc::not_leader));
    if (!db || run(*db, schema) != SQLITE_OK) {
      return false;
    }
    const int code = run(*db, sql);
    const std::error_code error = db->last_error();
    made.told = code == SQLITE_OK                         ? row::answer::acknowledged
                : error == quorlite::failure::not_applied ? row::answer::refused
                                                          : row::answer::unknown;
    made.at_ms = now_ms();
    rows.push_back(made);
    return code == SQLITE_OK;
  }

  const place where_;
  const settings with_;
  chance& draw_;
  quorlite::cluster_identity identity_{};
  std::array<std::unique_ptr<server>, servers> nodes_;
};

}  // namespace damage
