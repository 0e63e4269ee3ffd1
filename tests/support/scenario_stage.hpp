// What the scenario files in tests/scenarios can do: a cluster on the test Raft, plain SQLite
// connections to it, and ways to take the leader's office away at an exact point.
#pragma once

#include <sqlite3.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "quorlite/sqlite/result_code.hpp"
#include "quorlite/testing/replica_cluster.hpp"
#include "support/sql.hpp"

namespace quorlite::tests {

/// Runs the commands of one file, in order; each says what happened in no, one or several lines.
/// The trace names no times and no log indices, so that it is the same under every seed.
///
///     replicas N seed=S [entry_bytes=B] [one_at_a_time] [snapshot_every=E trailing=T]
///     elect ID                         ID leads, whatever it takes; behind a barrier, all even
///     connect ID NAME                  a connection
///     exec NAME SQL                    a statement
///     insert NAME FIRST..LAST          a statement for each row
///     async NAME SQL / join            the statement in a client of its own; wait for all of them
///     isolate|depose when command N is enqueued|appended|committed
///                                      of this leader: it is cut off and will notice, or steps
///                                      down at once and stays connected
///     isolate ID                       now; whoever it leads is as before until `elect`
///     heal                             no link is cut
///     hand over to ID                  asks the leader; it takes no proposals from then on
///     await the fall of ID             until ID knows that it does not lead
///     commands ID                      how many are in the log of ID, which keeps them all
///     spilled NAME                     has SQLite written pages before COMMIT?
///     outcome NAME on ID               the fate of NAME's last transaction, behind a barrier
///     snapshots ID                     taken and installed
///     await even                       until all that are connected have applied the same
///     await N ms                       time passes
///     expect rows 1..N on all replicas
///     expect identical                 bytes, versions, hashes; and integrity_check
class scenario_stage {
 public:
  /// @param seed_offset added to the seed of the file
  explicit scenario_stage(std::uint64_t seed_offset) : seed_offset_(seed_offset) {}
  scenario_stage(const scenario_stage&) = delete;
  scenario_stage& operator=(const scenario_stage&) = delete;
  ~scenario_stage() {
    if (cluster_) {
      cluster_->world().finish_clients();
      connections_.clear();
    }
  }

  /// What a command says. An expectation that does not hold is remembered as well.
  [[nodiscard]] std::vector<std::string> run(const std::string& command) {
    said_.clear();
    std::istringstream words(command);
    std::string verb;
    words >> verb;
    if (!cluster_ && verb != "replicas") {
      fail("a scenario begins with `replicas N`");
    } else if (!dispatch(verb, words)) {
      fail("no such command: " + command);
    }
    return said_;
  }

  /// Call it after the last command.
  void finish() {
    if (cluster_ && armed_ != cluster_->world().depositions().size()) {
      failures_.push_back("a deposition that was asked for did not happen");
    }
  }
  /// What is wrong whatever the file says: a rewrite does not make it right.
  [[nodiscard]] const std::vector<std::string>& failures() const noexcept { return failures_; }

 private:
  using deposition = quorlite::testing::deposition;
  using milestone = quorlite::testing::milestone;

  [[nodiscard]] bool dispatch(const std::string& verb, std::istringstream& words) {
    return act(verb, words) || fall(verb, words) || look(verb, words);
  }

  // ---- verbs of clients

  [[nodiscard]] bool act(const std::string& verb, std::istringstream& words) {
    if (verb == "replicas") {
      start(words);
    } else if (verb == "connect") {
      const server_id on = server(words);
      const std::string name = word(words);
      connections_.insert_or_assign(name, cluster_->connect(on));
    } else if (verb == "exec") {
      const std::string name = word(words);
      const std::string sql = rest(words);
      say(name + " " + sql + ": " + execute(name, sql));
    } else if (verb == "async") {
      const std::string name = word(words);
      const std::string sql = rest(words);
      cluster_->world().spawn(
          [this, name, sql] { later_.push_back(name + " " + sql + ": " + execute(name, sql)); });
    } else if (verb == "join") {
      const auto none_left = [&] { return cluster_->world().unfinished_clients() == 0; };
      if (!cluster_->world().run_until(none_left, patience)) {
        fail("a client does not come back");
      }
      for (const std::string& line : std::exchange(later_, {})) {
        say(line);
      }
    } else if (verb == "insert") {
      insert(words);
    } else {
      return false;
    }
    return true;
  }

  void start(std::istringstream& words) {
    quorlite::testing::world_options options;
    replica_options each;
    words >> options.replicas;
    for (std::string word; words >> word;) {
      const std::size_t equals = word.find('=');
      const std::string name = word.substr(0, equals);
      const std::uint64_t value =
          equals == std::string::npos ? 0 : std::strtoull(&word[equals + 1], nullptr, 10);
      if (name == "seed") {
        options.seed = value + seed_offset_;
      } else if (name == "entry_bytes") {
        each.commits.entry_bytes = static_cast<std::size_t>(value);
      } else if (name == "one_at_a_time") {
        options.raft.window_entries = 1;
      } else if (name == "snapshot_every") {
        options.compaction.threshold_entries = value;
      } else if (name == "trailing") {
        options.compaction.trailing_entries = value;
      } else {
        fail("no such option: " + word);
      }
    }
    cluster_.emplace(options, each);
  }

  [[nodiscard]] std::string execute(const std::string& name, const std::string& sql) {
    return meaning(name, ::run(connections_.at(name), sql));
  }

  /// A result code and what may be concluded from it.
  [[nodiscard]] std::string meaning(const std::string& name, int code) {
    if (code == SQLITE_OK) {
      return "ok";
    }
    const connection& db = connections_.at(name);
    std::string text = std::to_string(code) + " ";
    if (code == sqlite_not_leader) {
      text += "not applied: " + db.last_error().message();
    } else if (code == sqlite_outcome_unknown) {
      text += "outcome unknown: " + db.last_error().message();
    } else {
      text += sqlite3_errmsg(db);
    }
    return text + (sqlite3_get_autocommit(db) == 0 ? "; the transaction is still open" : "");
  }

  void insert(std::istringstream& words) {
    const std::string name = word(words);
    const std::string range = word(words);
    const std::size_t dots = range.find("..");
    const std::uint64_t first = std::strtoull(range.c_str(), nullptr, 10);
    const std::uint64_t last =
        dots == std::string::npos ? first : std::strtoull(&range[dots + 2], nullptr, 10);
    const std::string start = name + " insert " + range + ": ";
    for (std::uint64_t row = first; row <= last; ++row) {
      const int code =
          ::run(connections_.at(name), "INSERT INTO test(n) VALUES(" + std::to_string(row) + ")");
      if (code != SQLITE_OK) {
        const std::string where = first == last ? "" : "at row " + std::to_string(row) + ": ";
        say(start + where + meaning(name, code));
        return;
      }
    }
    say(start + "ok");
  }

  // ---- verbs of misfortune, and elections

  [[nodiscard]] bool fall(const std::string& verb, std::istringstream& words) {
    if (verb == "elect") {
      elect(server(words));
    } else if (verb == "hand") {
      skip_words(words, 2);  // over to
      const server_id to = server(words);
      cluster_->world().transfer(to);
      successor_ = to;
    } else if (verb == "heal") {
      cluster_->world().heal();
    } else if (verb == "isolate" || verb == "depose") {
      const std::string next = word(words);
      if (next == "when") {
        arm(verb == "isolate" ? deposition::isolate : deposition::step_down, words);
      } else if (verb == "isolate") {
        cut_off_ = server_id{std::strtoull(next.c_str(), nullptr, 10)};
        cluster_->world().isolate(*cut_off_);
        keep_followers_apart();
      } else {
        return false;
      }
    } else if (verb == "await") {
      await(words);
    } else {
      return false;
    }
    return true;
  }

  void arm(deposition way, std::istringstream& words) {
    skip_words(words, 1);  // command
    const std::uint64_t ordinal = std::strtoull(word(words).c_str(), nullptr, 10);
    skip_words(words, 1);  // is
    const std::string what = word(words);
    const milestone at = what == "enqueued"   ? milestone::enqueued
                         : what == "appended" ? milestone::appended
                                              : milestone::committed;
    if (ordinal == 0 || (at == milestone::committed && what != "committed")) {
      fail("depose when command N is enqueued|appended|committed");
      return;
    }
    cluster_->world().depose_leader_when(at, ordinal, way);
    keep_followers_apart();
    ++armed_;
  }

  /// They hear the leader but not each other, so that nobody is elected before `elect` says who.
  void keep_followers_apart() {
    const std::optional<server_id> leader = cluster_->world().leader();
    for (const server_id one : cluster_->servers()) {
      for (const server_id other : cluster_->servers()) {
        if (one != other && one != leader && other != leader) {
          cluster_->world().network().cut(one, other);
        }
      }
    }
  }

  void await(std::istringstream& words) {
    const std::string first = word(words);
    if (first == "even") {
      if (!cluster_->wait_until_even()) {
        fail("the replicas do not become even");
      }
      return;
    }
    if (first != "the") {
      cluster_->world().run_for(milliseconds{std::strtoull(first.c_str(), nullptr, 10)});
      return;
    }
    skip_words(words, 2);  // fall of
    const server_id whose = server(words);
    if (await_fall(whose)) {
      say(name_of(whose) + " knows that it does not lead");
    } else {
      fail(name_of(whose) + " goes on leading");
    }
  }

  [[nodiscard]] bool await_fall(server_id whose) {
    return cluster_->world().run_until([&] { return !cluster_->replica(whose).office().leading; },
                                       patience);
  }

  /// Whoever lost its office stays out of an election that another one is to win; one that is to
  /// win again gets a single voter beside it. What wins otherwise hands over.
  void elect(server_id wanted) {
    const std::optional<server_id> fallen = fallen_leader();
    if (fallen.has_value()) {
      if (fallen == wanted && !await_fall(wanted)) {
        fail(name_of(wanted) + " goes on leading");
        return;
      }
      const server_id away = *fallen == wanted ? other_than(wanted) : *fallen;
      cluster_->world().partition(all_but(away), {away});
      const auto elected = [&] {
        const std::optional<server_id> leader = cluster_->world().leader();
        return leader.has_value() && leader != away && leader_serves(*leader);
      };
      if (!cluster_->world().run_until(elected, patience)) {
        fail("nobody is elected");
        return;
      }
    } else if (successor_.has_value()) {
      static_cast<void>(
          cluster_->world().run_until([&] { return leader_serves(*successor_); }, patience));
    }
    if (!hand_over_until_it_leads(wanted)) {
      fail(name_of(wanted) + " is not elected");
      return;
    }
    cluster_->world().heal();
    successor_.reset();
    cut_off_.reset();
    if (cluster_->replica(wanted).read_barrier() || !cluster_->wait_until_even() ||
        cluster_->world().leader() != wanted) {
      fail("no barrier on " + name_of(wanted));
    }
    say((fallen.has_value() ? name_of(*fallen) + " was deposed; " : "") + name_of(wanted) +
        " leads");
  }

  [[nodiscard]] std::optional<server_id> fallen_leader() {
    const auto& all = cluster_->world().depositions();
    if (all.size() > deposed_) {
      deposed_ = all.size();
      return all.back().server;
    }
    return cut_off_;
  }

  [[nodiscard]] bool hand_over_until_it_leads(server_id wanted) {
    for (int attempt = 0; attempt < 20; ++attempt) {
      if (cluster_->world().leader() == wanted && leader_serves(wanted)) {
        return true;
      }
      if (cluster_->wait_for_leader() != wanted) {
        cluster_->world().transfer(wanted);
      }
      static_cast<void>(cluster_->world().run_until(
          [&] { return cluster_->world().leader() == wanted && leader_serves(wanted); },
          milliseconds{1000}));
    }
    return false;
  }

  [[nodiscard]] bool leader_serves(server_id id) { return cluster_->replica(id).office().leading; }

  // ---- verbs of observers

  [[nodiscard]] bool look(const std::string& verb, std::istringstream& words) {
    if (verb == "commands") {
      const server_id of = server(words);
      say(name_of(of) + " has " + std::to_string(commands_in_log(of)) + " in its log");
    } else if (verb == "spilled") {
      const std::string name = word(words);
      int spills = 0;
      int unused = 0;
      sqlite3_db_status(connections_.at(name), SQLITE_DBSTATUS_CACHE_SPILL, &spills, &unused, 0);
      say(name + (spills > 0 ? " has spilled pages" : " has spilled nothing"));
    } else if (verb == "outcome") {
      const std::string name = word(words);
      skip_words(words, 1);  // on
      tell_outcome(name, server(words));
    } else if (verb == "snapshots") {
      const server_id of = server(words);
      const machine_counters counted = cluster_->replica(of).counters();
      say(name_of(of) + " took " + std::to_string(counted.snapshots_taken) + ", installed " +
          std::to_string(counted.snapshots_installed));
    } else if (verb == "expect") {
      expect(words);
    } else {
      return false;
    }
    return true;
  }

  [[nodiscard]] std::uint64_t commands_in_log(server_id of) {
    const auto& log = cluster_->world().node(of).disk().log;
    std::uint64_t count = 0;
    for (log_index at = log.first_index(); at <= log.last_index(); at = at.next()) {
      count += log.at(at).kind == quorlite::testing::entry_kind::command ? 1U : 0U;
    }
    return count;
  }

  void tell_outcome(const std::string& name, server_id on) {
    if (cluster_->replica(on).read_barrier()) {
      fail("no barrier on " + name_of(on));
      return;
    }
    const transaction_id id = connections_.at(name).last_transaction();
    const transaction_fate fate = cluster_->replica(on).outcome(id);
    say(name + "'s transaction: " +
        (fate == transaction_fate::committed       ? "committed"
         : fate == transaction_fate::not_committed ? "not committed"
         : fate == transaction_fate::open          ? "open"
                                                   : "expired"));
  }

  void expect(std::istringstream& words) {
    if (!cluster_->wait_until_even()) {
      fail("the replicas do not become even");
    } else if (word(words) == "identical") {
      expect_identical();
    } else {
      expect_rows(word(words));
    }
  }

  void expect_rows(const std::string& wanted) {
    bool right = true;
    for (const server_id id : cluster_->servers()) {
      const connection db = cluster_->connect(id);
      const std::string found = in_ranges(ask(db, "SELECT n FROM test ORDER BY n"));
      if (found != (wanted == "1..1" ? "1" : wanted)) {
        right = false;
        fail(name_of(id) + " has the rows " + found);
      }
    }
    if (right) {
      say("exactly these");
    }
  }

  /// "1;2;3;7" becomes "1..3 7"; an error stays what it is.
  [[nodiscard]] static std::string in_ranges(const std::string& rows) {
    if (rows.empty() || rows.front() == '!') {
      return rows.empty() ? "(none)" : rows;
    }
    std::string text;
    std::istringstream numbers(rows);
    long long first = 0;
    long long last = 0;
    const auto print = [&] {
      text += (text.empty() ? "" : " ") + std::to_string(first) +
              (first == last ? "" : ".." + std::to_string(last));
    };
    for (std::string one; std::getline(numbers, one, ';');) {
      const long long number = std::strtoll(one.c_str(), nullptr, 10);
      if (last != 0 && number != last + 1) {
        print();
      }
      first = last != 0 && number == last + 1 ? first : number;
      last = number;
    }
    print();
    return text;
  }

  /// The files as SQLite reads them, byte for byte, and everything that the replicas say of them.
  void expect_identical() {
    bool right = cluster_->are_identical();
    if (!right) {
      fail("versions, page counts or hashes differ");
    }
    std::optional<std::string> first;
    for (const server_id id : cluster_->servers()) {
      const connection db = cluster_->connect(id);
      const std::string integrity = ask(db, "PRAGMA integrity_check");
      sqlite3_int64 size = 0;
      unsigned char* const image = sqlite3_serialize(db, "main", &size, 0);
      const std::string bytes =
          image == nullptr
              ? std::string{}
              : std::string(reinterpret_cast<char*>(image), static_cast<std::size_t>(size));
      sqlite3_free(image);
      if (bytes.empty() || (first.has_value() && *first != bytes)) {
        right = false;
        fail(name_of(id) + " has other bytes than " + name_of(cluster_->servers().front()));
      }
      if (integrity != "ok" || cluster_->replica(id).health().halted) {
        right = false;
        fail(name_of(id) + " is not sound: " + integrity);
      }
      first = first.has_value() ? first : bytes;
    }
    if (right) {
      say("the same bytes on all " + std::to_string(cluster_->servers().size()) +
          ", integrity ok");
    }
  }

  // ---- words

  [[nodiscard]] static std::string word(std::istringstream& words) {
    std::string next;
    words >> next;
    return next;
  }
  static void skip_words(std::istringstream& words, int count) {
    for (int i = 0; i < count; ++i) {
      static_cast<void>(word(words));
    }
  }
  [[nodiscard]] static std::string rest(std::istringstream& words) {
    std::string line;
    std::getline(words >> std::ws, line);
    return line;
  }
  [[nodiscard]] server_id server(std::istringstream& words) {
    const server_id id{std::strtoull(word(words).c_str(), nullptr, 10)};
    QUORLITE_ASSERT(id.value >= 1 && id.value <= cluster_->servers().size());
    return id;
  }
  [[nodiscard]] static std::string name_of(server_id id) { return std::to_string(id.value); }

  [[nodiscard]] server_id other_than(server_id one) const {
    return server_id{one.value == 1 ? 2U : 1U};
  }
  [[nodiscard]] std::vector<server_id> all_but(server_id one) {
    std::vector<server_id> others;
    for (const server_id id : cluster_->servers()) {
      if (id != one) {
        others.push_back(id);
      }
    }
    return others;
  }

  void say(std::string line) { said_.push_back(std::move(line)); }
  void fail(const std::string& what) {
    failures_.push_back(what);
    said_.push_back("WRONG: " + what);
  }

  static constexpr milliseconds patience{60'000};

  const std::uint64_t seed_offset_;
  std::optional<quorlite::testing::replica_cluster> cluster_;
  std::map<std::string, connection> connections_;
  std::vector<std::string> said_;
  std::vector<std::string> later_;  ///< what clients of their own have said
  std::vector<std::string> failures_;
  std::size_t armed_ = 0;
  std::size_t deposed_ = 0;             ///< depositions that an election followed
  std::optional<server_id> cut_off_;    ///< by hand, and no election since
  std::optional<server_id> successor_;  ///< asked to take over, and no election since
};

}  // namespace quorlite::tests
