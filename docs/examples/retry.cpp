/// @file
/// A client that retries rightly: what an error lets one conclude decides whether to run the
/// transaction again, to ask what became of it, or to go to another server. Leaders are lost at the
/// worst moments meanwhile, and every row is there once.

#include <sqlite3.h>

#include <cstdint>
#include <cstdio>
#include <string>
#include <system_error>

#include "quorlite/quorlite.hpp"
#include "quorlite/testing/detail/raft/node.hpp"
#include "quorlite/testing/simulation.hpp"
#include "quorlite/testing/test_raft.hpp"

namespace {

namespace ql = quorlite;
using ql::testing::replica_cluster;

/// What the client met on its way.
struct tally {
  int again = 0;  ///< not applied, or not committed: run again
  int asked = 0;  ///< unknown: asked for
};

// [readme]
/// @returns true once the transaction is committed, false if it is refused, or nobody can tell
bool commit_once(replica_cluster& cluster, const std::string& transaction, tally& met) {
  for (;;) {
    const ql::server_id leader = cluster.wait_for_leader().value();  // a client asks around
    ql::connection db = cluster.connect(leader);
    sqlite3_exec(db, transaction.c_str(), nullptr, nullptr, nullptr);
    const std::error_code error = db.last_error();
    if (!error) {
      return true;
    }
    if (error == ql::failure::not_applied || error == ql::failure::fatal) {
      ++met.again;  // nothing happened; a fatal error says: not on that server
      continue;
    }
    if (error != ql::failure::outcome_unknown) {
      return false;  // the request itself is wrong: a constraint, a syntax error
    }
    ++met.asked;
    const ql::transaction_id id = db.last_transaction();
    ql::transaction_outcome fate = ql::transaction_outcome::undecided;
    while (fate == ql::transaction_outcome::undecided) {
      ql::replica& asked = cluster.replica(cluster.wait_for_leader().value());
      if (!asked.read_barrier()) {  // now it knows all that was committed before
        fate = asked.outcome(id);
      }
    }
    if (fate == ql::transaction_outcome::committed) {
      return true;
    }
    if (fate == ql::transaction_outcome::expired) {
      return false;  // asked thousands of transactions too late: look for its rows
    }
    ++met.again;  // it never will be committed: safe to run it again
  }
}
// [/readme]

int number(ql::connection& db, const char* query) {
  int found = -1;
  const auto take = [](void* into, int, char** row, char**) {
    *static_cast<int*>(into) = std::stoi(row[0]);
    return 0;
  };
  sqlite3_exec(db, query, take, &found, nullptr);
  return found;
}

}  // namespace

int main() {
  constexpr int rows = 40;
  replica_cluster cluster({.seed = 7, .replicas = 3});
  tally met;
  bool well = commit_once(cluster, "CREATE TABLE entry(number UNIQUE)", met);
  using ql::testing::commit_phase;
  using ql::testing::leadership_loss;
  const commit_phase moments[] = {commit_phase::enqueued, commit_phase::appended,
                                  commit_phase::committed};
  for (int row = 0; row < rows; ++row) {
    if (row % 5 == 2) {  // the leader is cut off while this row is on its way
      const commit_phase when = moments[row / 5 % 3];
      const ql::server_id leader = cluster.wait_for_leader().value();
      const std::uint64_t next = cluster.simulation().node(leader).leading_state().commands + 1;
      cluster.simulation().depose_leader_when(when, next, leadership_loss::isolate);
    }
    well =
        commit_once(cluster, "INSERT INTO entry VALUES(" + std::to_string(row) + ")", met) && well;
    cluster.simulation().heal();
  }
  well = !commit_once(cluster, "INSERT INTO entry VALUES(0)", met) && well;  // a constraint
  ql::connection db = cluster.connect(cluster.wait_for_leader().value());
  const int found = number(db, "SELECT count(*) FROM entry");
  std::printf("%d rows, %d transactions run again, %d asked for\n", found, met.again, met.asked);
  return well && found == rows && met.asked > met.again && met.again > 0 ? 0 : 1;
}
