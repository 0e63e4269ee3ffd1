// Folders of a cluster of three as a crash, or a stop, has left them; older copies of them, and one
// of another cluster. Some hundred damages are done to copies of one base.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "chance.hpp"
#include "cluster.hpp"
#include "folder.hpp"

namespace damage {

// How the history of a cluster began.
enum class beginning : std::uint8_t { founded, upgraded, old };

inline const char* name_of(beginning is) {
  return is == beginning::founded ? "founded" : is == beginning::upgraded ? "upgraded" : "old";
}

struct shape {
  beginning began = beginning::founded;
  settings with;
  bool flushes = false;
  bool staged = false;    // parts of a transaction are in the log, and their end is not
  bool clean = false;     // stopped, not killed
  bool restarts = false;  // of one server, before the last rows

  [[nodiscard]] std::string text() const {
    return std::string(name_of(began)) + (with.snapshots ? ", snapshots" : "") +
           (flushes ? ", flushes" : "") + (with.double_write ? ", written twice" : "") +
           (with.databases > 1 ? ", several databases" : "") + (staged ? ", staged parts" : "") +
           (restarts ? ", a restart" : "") + (clean ? ", stopped" : ", killed");
  }
};

// @param never_upgraded no history begins
inline shape draw_shape(chance& draw, bool never_upgraded) {
  shape made;
  const bool is_upgraded = draw.percent(25);
  made.began = never_upgraded ? beginning::old
               : is_upgraded  ? beginning::upgraded
                              : beginning::founded;
  made.with.snapshots = draw.percent(45);
  made.with.double_write = draw.percent(20);
  made.with.databases = draw.percent(60) ? 1 : static_cast<std::size_t>(draw.between(2, 4));
  made.flushes = draw.percent(60);
  made.staged = draw.percent(20);
  made.clean = draw.percent(20);
  made.restarts = draw.percent(40);
  return made;
}

// A row that was acknowledged so long before the end, or longer, is never excused.
inline constexpr std::int64_t last_second_ms = 1000;

class base {
 public:
  base(fs::path root, std::string network, chance draw, bool never_upgraded)
      : root_(std::move(root)),
        draw_(draw),
        shape_(draw_shape(draw_, never_upgraded)),
        place_{root_ / "live", std::move(network)} {
    fs::remove_all(root_);
    fs::create_directories(place_.root);
    make_other_cluster();
    damage::cluster live(place_, shape_.with, draw_);
    found(live);
    fill(live);
    fs::remove_all(place_.root);
  }

  [[nodiscard]] const shape& of() const noexcept { return shape_; }
  [[nodiscard]] const std::string& network() const noexcept { return place_.network; }
  [[nodiscard]] const std::vector<row>& rows() const noexcept { return rows_; }
  [[nodiscard]] std::size_t lagging() const noexcept { return lagging_; }
  [[nodiscard]] bool is_of_last_second(const row& one) const noexcept {
    return one.at_ms > ended_ms_ - last_second_ms;
  }

  // Of the cluster; zero: it has no name.
  [[nodiscard]] const quorlite::cluster_identity& cluster() const noexcept { return cluster_; }
  [[nodiscard]] fs::path folder(std::size_t server) const {
    return root_ / "end" / std::to_string(server + 1);
  }
  [[nodiscard]] std::vector<fs::path> stale(std::size_t server) const {
    std::vector<fs::path> all;
    for (std::size_t i = 0; i < copies_; ++i) {
      const fs::path one = copy(i, server);
      if (fs::exists(one)) {
        all.push_back(one);
      }
    }
    return all;
  }
  [[nodiscard]] fs::path other_cluster(std::size_t server) const {
    return root_ / "another cluster" / std::to_string(server + 1);
  }

 private:
  static void must(bool holds, const char* what) {
    if (!holds) {
      throw std::runtime_error(std::string("a base cannot be made: ") + what);
    }
  }
  [[nodiscard]] fs::path copy(std::size_t number, std::size_t server) const {
    return root_ / ("older copy " + std::to_string(number + 1)) / std::to_string(server + 1);
  }
  void copy_all(const std::vector<std::size_t>& which) {
    for (const std::size_t one : which) {
      copy_folder(place_.folder(one), copy(copies_, one));
    }
    ++copies_;
  }

  // Three clusters of one, each at the address of a server of ours, and with its number.
  void make_other_cluster() {
    const place there{root_ / "another cluster", place_.network};
    for (std::size_t i = 0; i < servers; ++i) {
      damage::cluster alone(there, shape_.with, draw_);
      const start_flags flags{.found = shape_.began != beginning::old,
                              .bootstrap = shape_.began == beginning::old};
      if (shape_.began == beginning::old) {
        continue;  // see trial::may_be()
      }
      must(alone.start(i, flags), "another cluster");
      std::vector<row> rows;
      must(alone.insert(rows, static_cast<std::size_t>(draw_.between(1, 12))), "its rows");
      for (std::uint64_t again = draw_.below(4); again > 0; --again) {
        alone.stop(i);
        must(alone.start(i), "another cluster, again");  // in a higher term
        must(alone.insert(rows, 2), "its rows");
      }
      alone.stop(i);
    }
  }

  void found(damage::cluster& live) {
    const bool from_old = shape_.began != beginning::founded;
    for (std::size_t i = 0; i < servers; ++i) {
      const start_flags flags{
          .found = !from_old && i == 0, .join = !from_old && i != 0, .bootstrap = from_old};
      const bool started = live.start(i, flags);
      must(started, started ? "" : live.at(i).told().c_str());
      if (!from_old) {
        must(i == 0 ? live.await_leader() : live.take_in(i), "its members");
      }
    }
    must(live.insert(rows_, static_cast<std::size_t>(draw_.between(2, 6))), "its first rows");
    if (shape_.began == beginning::upgraded) {
      must(live.on_leader([](server& one) { return one.node().upgrade(); }), "its upgrade");
    }
  }

  void flush_some(damage::cluster& live) {
    for (std::size_t i = 0; i < servers; ++i) {
      if (shape_.flushes && live.runs(i) && draw_.percent(60)) {
        must(!live.at(i).node().flush(), "a flush");
      }
    }
  }
  void leave_parts(damage::cluster& live) {
    must(live.on_leader([](server& one) {
      auto db = one.node().open("parts.db");
      if (!db || run(*db, "CREATE TABLE IF NOT EXISTS item(number INTEGER PRIMARY KEY, body)") !=
                     SQLITE_OK) {
        return std::make_error_code(std::errc::resource_unavailable_try_again);
      }
      one.raft().passes = 2;
      const int code = run(*db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n "
                                "LIMIT 50) INSERT INTO item SELECT NULL, randomblob(900) FROM n");
      one.raft().passes = ~std::size_t{0};
      return code != SQLITE_OK ? std::error_code{}
                               : std::make_error_code(std::errc::resource_unavailable_try_again);
    }),
         "a transaction in parts");
  }

  void fill(damage::cluster& live) {
    const std::vector<std::size_t> all{0, 1, 2};
    const auto some = [&](std::uint64_t least, std::uint64_t most) {
      must(live.insert(rows_, static_cast<std::size_t>(draw_.between(least, most))), "rows");
    };
    some(5, 40);
    cluster_ = live.at(live.leader().value_or(0)).node().metrics().history.cluster;
    flush_some(live);
    must(wait_until([&] { return live.even(all); }), "all even");
    copy_all(all);
    some(20, 120);
    flush_some(live);
    must(wait_until([&] { return live.even(all); }), "all even");
    copy_all(all);
    some(0, 10);
    lagging_ = static_cast<std::size_t>(draw_.below(servers));
    leave(live, lagging_, draw_.percent(50));
    std::vector<std::size_t> others;
    for (const std::size_t one : all) {
      if (one != lagging_) {
        others.push_back(one);
      }
    }
    some(10, 80);
    flush_some(live);
    if (shape_.restarts) {
      const std::size_t one = draw_.one_of(others);
      live.stop(one);
      must(live.start(one), "a restart");
      some(2, 10);
    }
    must(wait_until([&] { return live.even(others); }), "two even");
    copy_all(others);
    some(2, 12);
    if (shape_.staged) {
      leave_parts(live);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(last_second_ms + 300));
    some(1, 8);
    ended_ms_ = now_ms();
    for (const std::size_t one : others) {
      leave(live, one, shape_.clean);
    }
    must(now_ms() - ended_ms_ < 60'000, "an end");
  }
  // @param clean it is stopped; else its folder is what a kill would leave
  void leave(damage::cluster& live, std::size_t one, bool clean) {
    if (clean) {
      live.stop(one);
    }
    copy_folder(place_.folder(one), folder(one));
    live.end(one);
  }

  const fs::path root_;
  chance draw_;
  const shape shape_;
  const place place_;
  std::vector<row> rows_;
  quorlite::cluster_identity cluster_{};
  std::size_t lagging_ = 0;
  std::size_t copies_ = 0;
  std::int64_t ended_ms_ = 0;
};

}  // namespace damage
