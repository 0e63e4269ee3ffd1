/// @file
/// A client that runs an SQL script to its end, however often the leader is lost meanwhile.
///
/// This is what any client of a replicated database does about failures, in four rules:
/// 1. The answer "not applied" (10250): run the transaction again, from its BEGIN, on the new
///    leader.
/// 2. The answer "unknown" (10506): ask the new leader what became of the transaction's id, then go
///    on behind it, or run it again.
/// 3. The leader's process is gone: what was not committed is lost; as rule 1.
/// 4. A new connection knows nothing of the old one's settings: set them again.
#pragma once

#include <fmt/format.h>
#include <sqlite3.h>

#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "cluster.hpp"
#include "failover_plan.hpp"
#include "plain_sqlite.hpp"
#include "quorlite/error.hpp"
#include "quorlite/testing/detail/raft/node.hpp"
#include "report.hpp"
#include "sql_script.hpp"

namespace example {

class script_client {
 public:
  /// Borrows everything. @param expected what plain SQLite answers to each statement
  script_client(cluster& replicas, const std::vector<std::string>& script,
                const std::vector<expectation>& expected, std::vector<failover> plan, report& into,
                progress& shown)
      : cluster_(replicas),
        script_(script),
        expected_(expected),
        plan_(std::move(plan)),
        report_(into),
        progress_(shown) {}

  /// Runs all of it. @throws std::runtime_error for a statement that only fails here
  void run() {
    connect_to_leader();
    while (next_ < script_.size()) {
      bring_back_if_due();
      lose_leader_if_due();
      progress_.at(next_, script_.size(), server_.value, script_[next_]);
      if (run_next()) {
        ++next_;
        attempts_ = 0;
        note_end_of_transaction();
        cluster_.maintain();
      } else {
        run_again();
      }
    }
    while (report_.failovers < plan_.size()) {  // the script was too short for some
      next_failover_ = static_cast<std::size_t>(report_.failovers);
      bring_back();
      lose_leader_now(plan_[next_failover_]);
      server_ = cluster_.wait_for_leader();
    }
    db_ = {};
    bring_back();
  }

 private:
  using commit_phase = quorlite::testing::commit_phase;
  using leadership_loss = quorlite::testing::leadership_loss;

  // ---- statements

  /// @returns true if the next statement has had its effect, false if its transaction must be run
  /// again
  bool run_next() {
    const std::string& statement = script_[next_];
    const bool between_transactions = sqlite3_get_autocommit(db_) != 0;
    const statement_result got = run_statement(db_, statement);
    note_leadership_loss();
    if (got.code == quorlite::sqlite_outcome_unknown) {
      return resolve_unknown(db_.last_transaction());
    }
    if (db_.last_error() == quorlite::failure::not_applied) {
      return false;
    }
    if (got.code != expected_[next_].code) {
      fail(got);
    }
    report_.refused_alike += got.code == SQLITE_OK ? 0 : 1;
    if (between_transactions && starts_with_word(statement, "pragma") &&
        db_.last_transaction() == proposed_last_) {
      session_.push_back(next_);
    }
    return true;
  }

  [[noreturn]] void fail(const statement_result& got) const {
    const std::string said = got.code == SQLITE_OK ? "it succeeded" : db_.error_message();
    throw std::runtime_error(fmt::format(
        "statement {} of {}: {}\n  {} (code {}; on plain SQLite: {})", next_ + 1, script_.size(),
        shortened(script_[next_], 200), said, got.code, sqlite3_errstr(expected_[next_].code)));
  }

  /// Rule 2. A read barrier first: then the replica knows everything that was committed before.
  bool resolve_unknown(quorlite::transaction_id id) {
    const sqlite3_int64 rowid = sqlite3_last_insert_rowid(db_);
    ++report_.unknown_resolved;
    for (;;) {
      connect_to_leader();
      if (!cluster_.replica(server_).read_barrier()) {
        switch (cluster_.replica(server_).outcome(id)) {
          case quorlite::transaction_outcome::committed:
            ++report_.transactions;
            sqlite3_set_last_insert_rowid(db_, rowid);
            return true;
          case quorlite::transaction_outcome::not_committed: return false;
          case quorlite::transaction_outcome::expired:
            throw std::runtime_error("a transaction's outcome was forgotten before it was asked");
          case quorlite::transaction_outcome::undecided: break;
        }
      }
      cluster_.simulation().run_for(milliseconds{20});
    }
  }

  /// Rules 1 and 3.
  void run_again() {
    if (++attempts_ > 100) {
      throw std::runtime_error(fmt::format("statement {} is refused again and again: {}", next_ + 1,
                                           db_.error_message()));
    }
    ++report_.retries;
    next_ = begin_;
    connect_to_leader();
  }

  /// Rule 4, as far as a script can tell: pragmas and last_insert_rowid().
  void connect_to_leader() {
    db_ = {};
    server_ = cluster_.wait_for_leader();
    db_ = cluster_.connect(server_);
    for (const std::size_t pragma : session_) {
      static_cast<void>(run_statement(db_, script_[pragma]));
    }
    sqlite3_set_last_insert_rowid(db_, rowid_at_begin_);
    proposed_last_ = db_.last_transaction();
  }

  void note_end_of_transaction() {
    if (sqlite3_get_autocommit(db_) != 0) {
      begin_ = next_;
      rowid_at_begin_ = sqlite3_last_insert_rowid(db_);
      const quorlite::transaction_id last = db_.last_transaction();
      report_.transactions += last == proposed_last_ ? 0 : 1;
      proposed_last_ = last;
    }
  }

  // ---- failovers

  void lose_leader_if_due() {
    const bool one_is_set = leadership_losses_set_ > leadership_losses_seen_;
    if (one_is_set || next_failover_ == plan_.size() || plan_[next_failover_].statement > next_) {
      return;
    }
    bring_back();
    const failover& one = plan_[next_failover_];
    if (one.when == moment::at_commit) {
      depose_at_commit(one);
    } else {
      lose_leader_now(one);
      ++next_failover_;
    }
  }

  /// The leader's next command will be the one at which it falls.
  void depose_at_commit(const failover& one) {
    const std::uint64_t ordinal = cluster_.simulation().node(server_).leading_state().commands + 1;
    cluster_.simulation().depose_leader_when(
        one.come_to, ordinal, one.crash ? leadership_loss::crash : leadership_loss::isolate);
    ++leadership_losses_set_;
  }

  void note_leadership_loss() {
    const auto& carried_out = cluster_.simulation().leadership_losses();
    if (carried_out.size() > leadership_losses_seen_) {
      leadership_losses_seen_ = carried_out.size();
      cluster_.note_lost(carried_out.back().server);
      tell(plan_[next_failover_++], carried_out.back().server);
    }
  }

  void lose_leader_now(const failover& one) {
    const server_id victim = cluster_.wait_for_leader();
    tell(one, victim);
    if (one.crash) {
      const bool is_ours = victim == server_;
      if (is_ours) {
        db_ = {};
      }
      cluster_.crash(victim);
      if (is_ours && next_ < script_.size()) {
        report_.retries += next_ > begin_ ? 1 : 0;
        next_ = begin_;
        connect_to_leader();
      }
      return;
    }
    cluster_.isolate(victim);
    if (one.noticed) {
      cluster_.simulation().run_for(milliseconds{1000});
    }
  }

  void tell(const failover& one, server_id victim) {
    ++report_.failovers;
    returns_at_ = one.returns_late ? script_.size() : next_ + 1;
    progress_.say(fmt::format("failover {} of {}: replica {} {} {} (statement {})",
                              report_.failovers, plan_.size(), victim.value,
                              one.crash ? "crashes" : "is cut off", describe(one), next_ + 1));
  }

  void bring_back_if_due() {
    if (cluster_.lost() && next_ >= returns_at_) {
      bring_back();
    }
  }

  void bring_back() {
    const std::optional<server_id> lost = cluster_.lost();
    if (!lost) {
      return;
    }
    if (cluster_.has_crashed(*lost) && server_ == *lost && db_.get() != nullptr) {
      run_again();  // it answered before it died
    }
    const std::uint64_t before = cluster_.counters().snapshots_installed;
    cluster_.bring_back();
    cluster_.simulation().run_for(milliseconds{200});
    const bool by_snapshot = cluster_.counters().snapshots_installed > before;
    progress_.say(fmt::format("  replica {} is back, by {}; replica {} leads", lost->value,
                              by_snapshot ? "a snapshot" : "the log",
                              cluster_.wait_for_leader().value));
  }

  cluster& cluster_;
  const std::vector<std::string>& script_;
  const std::vector<expectation>& expected_;
  const std::vector<failover> plan_;
  report& report_;
  progress& progress_;

  quorlite::connection db_;
  server_id server_;       ///< where db_ is
  std::size_t next_ = 0;   ///< the statement to run
  std::size_t begin_ = 0;  ///< where its transaction began
  sqlite3_int64 rowid_at_begin_ = 0;
  quorlite::transaction_id proposed_last_;  ///< over db_
  std::vector<std::size_t> session_;        ///< statements that every new connection needs
  std::size_t attempts_ = 0;

  std::size_t next_failover_ = 0;
  std::size_t returns_at_ = 0;  ///< the statement before which the lost server returns
  std::size_t leadership_losses_set_ = 0;
  std::size_t leadership_losses_seen_ = 0;
};

}  // namespace example
