// What the scenario files in tests/scenarios can do: a cluster on the test Raft, plain SQLite
// connections to it, and ways to take the leader's leadership away at an exact point.
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

#include "quorlite/error.hpp"
#include "quorlite/testing/detail/raft/node.hpp"
#include "quorlite/testing/simulation.hpp"
#include "support/scenario_checks.hpp"
#include "support/scenario_elections.hpp"
#include "support/sql.hpp"

namespace quorlite::tests {

using namespace quorlite::detail;  // NOLINT: tests of this library only

/// Runs the commands of one file, in order; each says what happened in no, one or several lines.
/// The trace names no times and no log indices, so that it is the same under every seed.
///
///     replicas N seed=S [entry_bytes=B] [one_at_a_time] [snapshot_every=E trailing=T]
///     elect ID                         ID leads, whatever it takes; behind a barrier, all even
///     connect ID NAME                  a connection
///     exec NAME SQL                    a statement
///     insert NAME FIRST[..LAST]        a statement for each row
///     async NAME SQL / join            the statement in a client of its own; wait for all of them
///     isolate|depose when command N is enqueued|appended|committed
///                                      of this leader's term: it is cut off and will notice, or
///                                      steps down at once; nobody is elected before `elect`
///     isolate ID / heal                now / no link is cut
///     hand over to ID                  asks the leader; it takes no proposals from then on
///     await the fall of ID             until ID knows that it does not lead
///     await even                       until all that are connected have applied the same
///     await N ms                       time passes
///     commands ID                      how many are in the log of ID, which keeps them all
///     spilled NAME                     has SQLite written pages before COMMIT?
///     outcome NAME on ID               the fate of NAME's last transaction, behind a barrier
///     snapshots ID                     taken and installed
///     flush ID                         and tell whether the storage stands at what is applied, or
///                                      staged parts need older entries again
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
      cluster_->simulation().finish_clients();
      connections_.clear();
    }
  }

  /// What a command says. An expectation that does not hold is remembered as well.
  [[nodiscard]] std::vector<std::string> run(const std::string& command) {
    said_.clear();
    std::istringstream words(command);
    const std::string verb = word(words);
    if (!cluster_ && verb != "replicas") {
      fail("a scenario begins with `replicas N`");
    } else if (!act(verb, words) && !fall(verb, words) && !look(verb, words)) {
      fail("no such command: " + command);
    }
    return said_;
  }

  /// Call it after the last command.
  void finish() {
    if (elections_ && !elections_->all_leadership_losses_happened()) {
      failures_.emplace_back("a leadership_loss that was asked for did not happen");
    }
  }
  /// What is wrong whatever the file says: a rewrite does not make it right.
  [[nodiscard]] const std::vector<std::string>& failures() const noexcept { return failures_; }

 private:
  // ---- verbs of clients

  [[nodiscard]] bool act(const std::string& verb, std::istringstream& words) {
    if (verb == "replicas") {
      start(words);
    } else if (verb == "connect") {
      const server_id on = server(words);
      connections_.insert_or_assign(word(words), cluster_->connect(on));
    } else if (verb == "exec") {
      const std::string name = word(words);
      const std::string sql = rest(words);
      say(name + " " + sql + ": " + execute(name, sql));
    } else if (verb == "async") {
      const std::string name = word(words);
      const std::string sql = rest(words);
      cluster_->simulation().spawn(
          [this, name, sql] { later_.push_back(name + " " + sql + ": " + execute(name, sql)); });
    } else if (verb == "join") {
      join();
    } else if (verb == "insert") {
      insert(words);
    } else {
      return false;
    }
    return true;
  }

  void start(std::istringstream& words) {
    quorlite::testing::simulation_options options;
    replica_options each;
    words >> options.replicas;
    for (std::string word; words >> word;) {
      const std::size_t equals = word.find('=');
      const std::string name = word.substr(0, equals);
      const std::uint64_t value = equals == std::string::npos ? 0 : number(&word[equals + 1]);
      if (name == "seed") {
        options.seed = value + seed_offset_;
      } else if (name == "entry_bytes") {
        each.entry_bytes = static_cast<std::size_t>(value);
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
    elections_.emplace(*cluster_);
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
    const std::uint64_t first = number(range);
    const std::uint64_t last = dots == std::string::npos ? first : number(range.substr(dots + 2));
    const std::string start = name + " insert " + range + ": ";
    for (std::uint64_t row = first; row <= last; ++row) {
      const std::string answer =
          execute(name, "INSERT INTO test(n) VALUES(" + std::to_string(row) + ")");
      if (answer != "ok") {
        say(start + (first == last ? "" : "at row " + std::to_string(row) + ": ") + answer);
        return;
      }
    }
    say(start + "ok");
  }

  void join() {
    const auto none_left = [&] { return cluster_->simulation().unfinished_clients() == 0; };
    if (!cluster_->simulation().run_until(none_left, milliseconds{60'000})) {
      fail("a client does not come back");
    }
    for (const std::string& line : std::exchange(later_, {})) {
      say(line);
    }
  }

  // ---- verbs of misfortune, and elections

  [[nodiscard]] bool fall(const std::string& verb, std::istringstream& words) {
    if (verb == "elect") {
      elect(server(words));
    } else if (verb == "hand") {
      skip_words(words, 2);  // over to
      elections_->hand_over(server(words));
    } else if (verb == "heal") {
      cluster_->simulation().heal();
    } else if (verb == "isolate" || verb == "depose") {
      lose_leadership(verb, words);
    } else if (verb == "await") {
      await(words);
    } else {
      return false;
    }
    return true;
  }

  void elect(server_id wanted) {
    const std::optional<server_id> fallen = elections_->fallen();
    if (!elections_->elect(wanted)) {
      fail(name_of(wanted) + " is not elected");
      return;
    }
    say((fallen.has_value() ? name_of(*fallen) + " was deposed; " : "") + name_of(wanted) +
        " leads");
  }

  void lose_leadership(const std::string& verb, std::istringstream& words) {
    using quorlite::testing::commit_phase;
    using quorlite::testing::leadership_loss;
    const std::map<std::string, commit_phase> commit_phases{{"enqueued", commit_phase::enqueued},
                                                            {"appended", commit_phase::appended},
                                                            {"committed", commit_phase::committed}};
    const std::string next = word(words);
    if (next != "when" && verb == "isolate" && number(next) != 0) {
      elections_->isolate(server_id{number(next)});
      return;
    }
    skip_words(words, 1);  // command
    const std::uint64_t ordinal = number(word(words));
    skip_words(words, 1);  // is
    const auto what = commit_phases.find(word(words));
    if (ordinal == 0 || what == commit_phases.end()) {
      fail(verb + " when command N is enqueued|appended|committed");
      return;
    }
    elections_->depose_when(
        what->second, ordinal,
        verb == "isolate" ? leadership_loss::isolate : leadership_loss::step_down);
  }

  void await(std::istringstream& words) {
    const std::string what = word(words);
    if (what == "even") {
      if (!cluster_->wait_until_even()) {
        fail("the replicas do not become even");
      }
    } else if (what == "the") {
      skip_words(words, 2);  // fall of
      const server_id whose = server(words);
      if (elections_->await_fall(whose)) {
        say(name_of(whose) + " knows that it does not lead");
      } else {
        fail(name_of(whose) + " goes on leading");
      }
    } else {
      cluster_->simulation().run_for(milliseconds{number(what)});
    }
  }

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
      const machine_counters counted = cluster_->replica(of).metrics().machine;
      say(name_of(of) + " took " + std::to_string(counted.snapshots_taken) + ", installed " +
          std::to_string(counted.snapshots_installed));
    } else if (verb == "flush") {
      flush(server(words));
    } else if (verb == "expect") {
      expect(words);
    } else {
      return false;
    }
    return true;
  }

  [[nodiscard]] std::uint64_t commands_in_log(server_id of) {
    const auto& log = cluster_->simulation().node(of).disk().log;
    std::uint64_t count = 0;
    for (log_index at = log.first_index(); at <= log.last_index(); at = at.next()) {
      count += log.at(at).kind == quorlite::testing::detail::entry_kind::command ? 1U : 0U;
    }
    return count;
  }

  void flush(server_id where) {
    auto& replica = cluster_->replica(where);
    if (replica.flush()) {
      fail(name_of(where) + " cannot flush");
      return;
    }
    const bool staged = replica.metrics().durable.index < replica.applied().index;
    say(name_of(where) + (staged ? " has parts staged" : " has nothing staged"));
  }

  void tell_outcome(const std::string& name, server_id on) {
    if (cluster_->replica(on).read_barrier()) {
      fail("no barrier on " + name_of(on));
      return;
    }
    const transaction_id id = connections_.at(name).last_transaction();
    const transaction_outcome fate = cluster_->replica(on).outcome(id);
    say(name + "'s transaction: " +
        (fate == transaction_outcome::committed       ? "committed"
         : fate == transaction_outcome::not_committed ? "not committed"
         : fate == transaction_outcome::undecided     ? "open"
                                                      : "expired"));
  }

  void expect(std::istringstream& words) {
    if (!cluster_->wait_until_even()) {
      fail("the replicas do not become even");
      return;
    }
    const bool bytes = word(words) == "identical";
    const std::vector<std::string> wrong =
        bytes ? check_identical(*cluster_) : check_rows(*cluster_, word(words));
    for (const std::string& fault : wrong) {
      fail(fault);
    }
    if (wrong.empty()) {
      const std::string all = std::to_string(cluster_->servers().size());
      say(bytes ? "the same bytes on all " + all + ", integrity ok"
                : "exactly these on all " + all);
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
  [[nodiscard]] static std::uint64_t number(const std::string& text) {
    return std::strtoull(text.c_str(), nullptr, 10);
  }
  [[nodiscard]] server_id server(std::istringstream& words) {
    const server_id id{number(word(words))};
    QUORLITE_ASSERT(id.value >= 1 && id.value <= cluster_->servers().size());
    return id;
  }
  [[nodiscard]] static std::string name_of(server_id id) { return std::to_string(id.value); }

  void say(std::string line) { said_.push_back(std::move(line)); }
  void fail(const std::string& what) {
    failures_.push_back(what);
    said_.push_back("WRONG: " + what);
  }

  const std::uint64_t seed_offset_;
  std::optional<quorlite::testing::replica_cluster> cluster_;
  std::optional<scenario_elections> elections_;
  std::map<std::string, connection> connections_;
  std::vector<std::string> said_;
  std::vector<std::string> later_;  ///< what clients of their own have said
  std::vector<std::string> failures_;
};

}  // namespace quorlite::tests
