/// @file
/// When the leader is lost, and how: drawn from the seed, spread over the script.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "command_line.hpp"
#include "plain_sqlite.hpp"
#include "quorlite/testing/test_raft.hpp"

namespace example {

/// The moment in a statement's life at which the leader is lost.
enum class moment : std::uint8_t {
  before,     ///< between two transactions
  inside,     ///< an explicit transaction is open
  at_commit,  ///< while COMMIT waits for a quorum
};

struct failover {
  std::size_t statement = 0;
  moment when = moment::before;
  bool crash = false;  ///< the process is gone; else it is cut off and does not know
  /// For at_commit: how far the transaction had come.
  quorlite::testing::commit_phase come_to = quorlite::testing::commit_phase::enqueued;
  bool noticed = false;       ///< a leader that was cut off finds out before the next statement
  bool returns_late = false;  ///< just before the next failover; else after the next statement
};

[[nodiscard]] inline std::string describe(const failover& one) {
  using quorlite::testing::commit_phase;
  if (one.when != moment::at_commit) {
    return one.when == moment::inside ? "inside a transaction" : "between two transactions";
  }
  switch (one.come_to) {
    case commit_phase::enqueued: return "at COMMIT, its entry sent to nobody";
    case commit_phase::appended: return "at COMMIT, its entry on a quorum";
    case commit_phase::committed: return "at COMMIT, its entry committed";
  }
  return "";
}

[[nodiscard]] inline bool fits(const expectation& statement, moment when) {
  switch (when) {
    case moment::before: return !statement.inside_transaction;
    case moment::inside: return statement.inside_transaction;
    case moment::at_commit: return statement.ends_a_transaction;
  }
  return false;
}

/// Statements in [first, last) at which the leader can be lost at that moment.
[[nodiscard]] inline std::vector<std::size_t> places(const std::vector<expectation>& script,
                                                     std::size_t first, std::size_t last,
                                                     moment when) {
  std::vector<std::size_t> found;
  for (std::size_t i = first; i < last; ++i) {
    if (fits(script[i], when)) {
      found.push_back(i);
    }
  }
  return found;
}

/// One failover in each of as many equal parts of the script. The three moments take turns where
/// the script allows it; so do crash and partition.
[[nodiscard]] inline std::vector<failover> plan_failovers(const std::vector<expectation>& script,
                                                          const settings& asked) {
  quorlite::testing::random random(asked.seed);
  std::vector<failover> plan;
  for (std::size_t i = 0; i < asked.failovers && !script.empty(); ++i) {
    const std::size_t first = script.size() * i / asked.failovers;
    const std::size_t last = std::max(first + 1, script.size() * (i + 1) / asked.failovers);
    failover one;
    one.crash = (i + asked.seed) % 2 == 0 || asked.replicas == 1;
    one.come_to = static_cast<quorlite::testing::commit_phase>(random.below(3));
    one.noticed = random.chance(0.5);
    one.returns_late = random.chance(0.6);
    one.statement = first;
    // From the moment whose turn it is, on to those that are easier to find.
    static constexpr moment turns[] = {moment::inside, moment::at_commit, moment::before};
    for (std::size_t turn = i % 3; turn < i % 3 + 3; ++turn) {
      const auto found = places(script, first, last, turns[turn % 3]);
      if (!found.empty()) {
        one.when = turns[turn % 3];
        one.statement = found[static_cast<std::size_t>(random.below(found.size()))];
        break;
      }
    }
    plan.push_back(one);
  }
  return plan;
}

}  // namespace example
