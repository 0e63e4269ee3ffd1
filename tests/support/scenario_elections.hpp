// Who leads in a scenario: terms of leadership lost at an exact point, and elections that one
// server wins.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "quorlite/testing/detail/raft/network.hpp"
#include "quorlite/testing/detail/raft/node.hpp"
#include "quorlite/testing/simulation.hpp"

namespace quorlite::tests {

using namespace quorlite::detail;  // NOLINT: tests of this library only

/// Works on a cluster that the caller owns. What fails here fails within a minute of the
/// simulation's time.
class scenario_elections {
 public:
  using leadership_loss = quorlite::testing::leadership_loss;
  using commit_phase = quorlite::testing::commit_phase;

  explicit scenario_elections(quorlite::testing::replica_cluster& cluster) : cluster_(cluster) {}

  // ---- misfortune

  /// From then on nobody is elected before elect() says who.
  void depose_when(commit_phase what, std::uint64_t ordinal, leadership_loss way) {
    simulation().depose_leader_when(what, ordinal, way);
    keep_followers_apart();
    ++armed_;
  }
  /// Now. It leads on until it notices.
  void isolate(server_id id) {
    cut_off_ = id;
    simulation().isolate(id);
    keep_followers_apart();
  }
  /// Asks the leader, which takes no proposals from then on.
  void hand_over(server_id to) {
    simulation().transfer(to);
    successor_ = to;
  }
  /// Until it knows that it does not lead.
  [[nodiscard]] bool await_fall(server_id whose) {
    return simulation().run_until([&] { return !serves(whose); }, timeout);
  }
  [[nodiscard]] bool all_leadership_losses_happened() {
    return armed_ == simulation().leadership_losses().size();
  }

  // ---- elections

  /// The server that lost its leadership since the last election.
  [[nodiscard]] std::optional<server_id> fallen() {
    const auto& all = simulation().leadership_losses();
    return all.size() > deposed_ ? all.back().server : cut_off_;
  }

  /// Makes a server lead, with all cuts healed, everything applied everywhere and a barrier passed.
  ///
  /// Whoever lost its leadership stays out of the election; one that is to win again gets a single
  /// voter beside it. If that one wins, it hands over.
  [[nodiscard]] bool elect(server_id wanted) {
    if (!elect_without_the_fallen(wanted) || !hand_over_until_it_leads(wanted)) {
      return false;
    }
    simulation().heal();
    deposed_ = simulation().leadership_losses().size();
    successor_.reset();
    cut_off_.reset();
    return !cluster_.replica(wanted).read_barrier() && cluster_.wait_until_even() &&
           simulation().leader() == wanted;
  }

 private:
  [[nodiscard]] quorlite::testing::simulation& simulation() { return cluster_.simulation(); }
  [[nodiscard]] bool serves(server_id id) { return cluster_.replica(id).leader().leading; }
  [[nodiscard]] bool leads(server_id id) { return simulation().leader() == id && serves(id); }

  /// They hear the leader, but not each other.
  void keep_followers_apart() {
    const std::optional<server_id> leader = simulation().leader();
    for (const server_id one : cluster_.servers()) {
      for (const server_id other : cluster_.servers()) {
        if (one != other && one != leader && other != leader) {
          simulation().network().cut(one, other);
        }
      }
    }
  }

  [[nodiscard]] bool elect_without_the_fallen(server_id wanted) {
    const std::optional<server_id> gone = fallen();
    if (!gone.has_value()) {
      return !successor_.has_value() ||
             simulation().run_until([&] { return leads(*successor_); }, timeout);
    }
    if (gone == wanted && !await_fall(wanted)) {
      return false;
    }
    const server_id away = gone == wanted ? server_id{wanted.value == 1 ? 2U : 1U} : *gone;
    std::vector<server_id> voters;
    for (const server_id id : cluster_.servers()) {
      if (id != away) {
        voters.push_back(id);
      }
    }
    simulation().partition(voters, {away});
    const auto elected = [&] {
      const std::optional<server_id> leader = simulation().leader();
      return leader.has_value() && leader != away && serves(*leader);
    };
    return simulation().run_until(elected, timeout);
  }

  [[nodiscard]] bool hand_over_until_it_leads(server_id wanted) {
    constexpr int attempts = 20;
    for (int attempt = 0; attempt < attempts && !leads(wanted); ++attempt) {
      if (cluster_.wait_for_leader() != wanted) {
        simulation().transfer(wanted);
      }
      static_cast<void>(simulation().run_until([&] { return leads(wanted); }, milliseconds{1000}));
    }
    return leads(wanted);
  }

  static constexpr milliseconds timeout{60'000};

  quorlite::testing::replica_cluster& cluster_;
  std::size_t armed_ = 0;
  std::size_t deposed_ = 0;             ///< leadership_losses that an election followed
  std::optional<server_id> cut_off_;    ///< by isolate(), and no election since
  std::optional<server_id> successor_;  ///< asked to take over, and no election since
};

}  // namespace quorlite::tests
