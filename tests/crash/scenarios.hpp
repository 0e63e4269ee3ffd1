/// @file
/// The canonical scenarios: three replicas, about ten transactions each, with flushes, a snapshot
/// install and restarts at the replica that is written down.
#pragma once

#include <sqlite3.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "crash/history.hpp"
#include "quorlite/config.hpp"
#include "quorlite/replica.hpp"
#include "quorlite/storage/memory.hpp"
#include "support/started_replica.hpp"

namespace quorlite::tests {

/// A cluster of three, one of which is written down.
class recorded_cluster {
 public:
  using replica_type = started_replica<tapped_raft, memory_storage>;

  recorded_cluster(std::uint64_t seed, std::uint64_t snapshot_entries, std::size_t entry_bytes)
      : simulation_(
            {.seed = seed,
             .compaction = {.threshold_entries = snapshot_entries, .trailing_entries = 1}}) {
    replica_options each;
    each.entry_bytes = entry_bytes;
    for (std::size_t i = 0; i < 3; ++i) {
      server& one = servers_[i];
      one.raft.emplace(simulation_, server_id{i + 1}, one.events);
      one.replica.emplace(*one.raft, one.storage, each);
      QUORLITE_ASSERT(!one.replica->status());
    }
    const bool elected = simulation_.run_until([this] { return leader() != nullptr; }, timeout);
    QUORLITE_ASSERT(elected);
    victim_ = victim_ == led_by_ ? (led_by_ + 1) % 3 : victim_;
  }
  ~recorded_cluster() { simulation_.finish_clients(); }

  /// Runs SQL on whoever leads. @pre it succeeds
  void run(const std::string& database, const std::string& sql, std::uint32_t page_size) {
    connection_options options;
    options.page_size = page_size;
    connection db = leader()->open(database, options).value();
    const int code = sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr);
    QUORLITE_ASSERT(code == SQLITE_OK);
  }
  /// Drops a database. @pre it succeeds
  void drop(const std::string& database) {
    const std::error_code error = leader()->drop(database);
    QUORLITE_ASSERT(!error);
  }
  /// The victim hears nothing while `meanwhile` runs, long enough to need a snapshot after.
  template <class Work>
  void without_victim(Work meanwhile) {
    simulation_.isolate(server_id{victim_ + 1});
    meanwhile();
    simulation_.heal();
    settle();
  }
  void settle() {
    const bool settled = simulation_.run_until(
        [this] {
          replica_type* const first = leader();
          return first != nullptr && servers_[0].replica->applied() == first->applied() &&
                 servers_[1].replica->applied() == first->applied() &&
                 servers_[2].replica->applied() == first->applied();
        },
        timeout);
    QUORLITE_ASSERT(settled);
  }
  void note(event::kind what) { servers_[victim_].events.push_back({what, {}, {}}); }

  [[nodiscard]] history finish(std::string name) {
    settle();
    history told;
    told.name = std::move(name);
    told.events = servers_[victim_].events;
    told.end = leader()->applied();
    for (const auto& one : leader()->databases()) {
      told.databases[one.name] = {one.version.value, one.page_count, one.hash};
    }
    return told;
  }

 private:
  static constexpr milliseconds timeout{60'000};
  struct server {
    std::vector<event> events;
    memory_storage storage;
    std::optional<tapped_raft> raft;
    std::optional<replica_type> replica;
  };

  [[nodiscard]] replica_type* leader() {
    const std::optional<server_id> id = simulation_.leader();
    if (!id || !servers_[id->value - 1].replica->leader().leading) {
      return nullptr;
    }
    led_by_ = static_cast<std::size_t>(id->value - 1);
    return &*servers_[led_by_].replica;
  }

  quorlite::testing::simulation simulation_;
  std::array<server, 3> servers_;
  std::size_t led_by_ = 0;
  std::size_t victim_ = 2;
};

/// How the same scenario is varied.
struct variation {
  std::uint32_t page_size = 4096;
  bool double_write = false;
  std::size_t flush_every = 3;  ///< entries
};

inline std::string blob(std::size_t size) { return "zeroblob(" + std::to_string(size) + ")"; }

inline void play_rows(recorded_cluster& c, std::uint32_t page) {
  c.run("app.db", "CREATE TABLE t(k INTEGER PRIMARY KEY, v)", page);
  for (int i = 0; i < 5; ++i) {
    c.run("app.db", "INSERT INTO t(v) VALUES(hex(randomblob(300)))", page);
  }
  c.note(event::kind::pin);
  c.run("app.db", "UPDATE t SET v = v || 'x' WHERE k < 3", page);
  c.run("app.db", "DELETE FROM t WHERE k = 4; INSERT INTO t(v) VALUES('last')", page);
  c.settle();
  c.note(event::kind::unpin);
  c.run("app.db", "CREATE INDEX i ON t(v)", page);
}

inline void play_shrink(recorded_cluster& c, std::uint32_t page) {
  c.run("app.db", "PRAGMA auto_vacuum=FULL; CREATE TABLE t(k INTEGER PRIMARY KEY, v)", page);
  for (int i = 0; i < 4; ++i) {
    c.run("app.db", "INSERT INTO t(v) VALUES(randomblob(" + std::to_string(3 * page) + "))", page);
  }
  c.settle();
  c.note(event::kind::pin);
  c.run("app.db", "DELETE FROM t WHERE k < 4", page);
  c.run("app.db", "INSERT INTO t(v) VALUES(randomblob(" + std::to_string(5 * page) + "))", page);
  c.settle();
  c.note(event::kind::unpin);
  c.run("app.db", "DELETE FROM t", page);
  c.run("app.db", "INSERT INTO t(v) VALUES(" + blob(page * 2) + "); VACUUM", page);
}

inline void play_databases(recorded_cluster& c, std::uint32_t page) {
  c.run("a.db", "CREATE TABLE t(x); INSERT INTO t VALUES(1)", page);
  c.run("b.db", "CREATE TABLE u(y); INSERT INTO u VALUES(randomblob(900))", page);
  c.run("a.db",
        "ATTACH 'b.db' AS b; BEGIN; INSERT INTO t VALUES(2);"
        "INSERT INTO b.u VALUES(2); COMMIT",
        page);
  c.settle();
  c.note(event::kind::pin);
  c.drop("b.db");
  c.run("a.db", "UPDATE t SET x = x + 1", page);
  c.run("b.db", "CREATE TABLE w(z); INSERT INTO w VALUES(randomblob(2000))",
        page == 512 ? 1024 : 512);
  c.settle();
  c.note(event::kind::unpin);
  c.run("b.db", "INSERT INTO w VALUES(5)", page);
}

inline void play_behind(recorded_cluster& c, std::uint32_t page) {
  c.run("app.db", "CREATE TABLE t(k INTEGER PRIMARY KEY, v); INSERT INTO t(v) VALUES('first')",
        page);
  c.run("old.db", "CREATE TABLE gone(x)", page);
  c.settle();
  c.note(event::kind::flush);
  c.without_victim([&] {
    c.drop("old.db");
    for (int i = 0; i < 8; ++i) {
      c.run("app.db", "INSERT INTO t(v) VALUES(hex(randomblob(400)))", page);
    }
    c.run("new.db", "CREATE TABLE n(x); INSERT INTO n VALUES(randomblob(700))", page);
  });
  c.run("app.db", "UPDATE t SET v = 'after' WHERE k = 2", page);
  c.run("new.db", "INSERT INTO n VALUES(3)", page);
}

inline void play_parts(recorded_cluster& c, std::uint32_t page) {
  c.run("app.db", "CREATE TABLE t(k INTEGER PRIMARY KEY, v)", page);
  c.run("app.db", "INSERT INTO t(v) VALUES(randomblob(" + std::to_string(8 * page) + "))", page);
  c.run("app.db", "UPDATE t SET v = randomblob(" + std::to_string(6 * page) + ")", page);
  c.run("app.db", "INSERT INTO t(v) VALUES('small')", page);
}

inline void play_restarts(recorded_cluster& c, std::uint32_t page) {
  c.run("app.db", "CREATE TABLE t(k INTEGER PRIMARY KEY, v); INSERT INTO t(v) VALUES('first')",
        page);
  c.settle();
  c.note(event::kind::stop);
  c.run("app.db", "INSERT INTO t(v) VALUES(randomblob(1500))", page);
  c.settle();
  c.note(event::kind::stop);
  c.run("app.db", "DELETE FROM t; VACUUM", page);
}

struct scenario {
  const char* name;
  void (*play)(recorded_cluster&, std::uint32_t);
  std::uint64_t snapshot_entries = 0;  ///< 0: no snapshot
  bool in_parts = false;               ///< entries smaller than the transactions
};

inline constexpr std::array<scenario, 6> scenarios{{{"rows", play_rows},
                                                    {"shrink", play_shrink},
                                                    {"databases", play_databases},
                                                    {"too_short", play_behind, 6},
                                                    {"parts", play_parts, 0, true},
                                                    {"restarts", play_restarts}}};

/// Plays it on a cluster, and adds flushes of its own to what was written down.
inline history record(const scenario& which, const variation& how) {
  const std::size_t entry_bytes = which.in_parts ? 2 * how.page_size : std::size_t{1} << 20U;
  recorded_cluster cluster(7, which.snapshot_entries, entry_bytes);
  which.play(cluster, how.page_size);
  history told = cluster.finish(std::string(which.name) + "/" + std::to_string(how.page_size) +
                                (how.double_write ? "/double-write" : ""));
  told.double_write = how.double_write;
  std::vector<event> with_flushes;
  std::size_t since = 0;
  for (event& one : told.events) {
    since += one.what == event::kind::entry || one.what == event::kind::restore ? 1 : 0;
    with_flushes.push_back(std::move(one));
    if (since >= how.flush_every) {
      with_flushes.push_back({event::kind::flush, {}, {}});
      since = 0;
    }
  }
  told.events = std::move(with_flushes);
  return told;
}

}  // namespace quorlite::tests
