/// @file
/// The simulated wires: how long a message takes, whether it arrives, how often, and who is cut off
/// from whom.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/test_raft_options.hpp"
#include "quorlite/testing/detail/simulation/random.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

/// Decides the fate of messages, and nothing else: it keeps none. Servers are 1 … n.
class simulated_network {
 public:
  simulated_network(std::uint32_t servers, const network_options& options, random source)
      : servers_(servers), random_(source), links_(std::size_t{servers} * servers) {
    for (link& each : links_) {
      each.options = options;
    }
  }

  /// When the copies of one message arrive: none, one or two.
  struct arrivals {
    std::size_t count = 0;
    std::array<std::uint64_t, 2> at_us{};
  };

  [[nodiscard]] arrivals send(server_id from, server_id to, std::uint64_t now_us) {
    link& wire = at(from, to);
    arrivals answer;
    const network_options& options = wire.options;
    const bool lost = random_.chance(options.drop);
    const std::size_t copies = random_.chance(options.duplicate) ? 2 : 1;
    if (wire.cut || lost) {
      return answer;
    }
    for (std::size_t copy = 0; copy < copies; ++copy) {
      std::uint64_t arrival = now_us + random_.between(options.delay_min_us, options.delay_max_us);
      if (random_.chance(options.reorder)) {
        arrival +=
            random_.between(0, 4 * options.delay_max_us);  // late, and others may overtake it
      } else {
        arrival = std::max(arrival, wire.busy_until_us);
        wire.busy_until_us = arrival;
      }
      answer.at_us[answer.count++] = arrival;
    }
    return answer;
  }

  /// Also asked when a message arrives: what was on its way when a link was cut is lost.
  [[nodiscard]] bool connected(server_id from, server_id to) const noexcept {
    return !links_[place(from, to)].cut;
  }

  void set(server_id from, server_id to, const network_options& options) {
    at(from, to).options = options;
  }
  void set_all(const network_options& options) {
    for (link& each : links_) {
      each.options = options;
    }
  }

  void cut(server_id from, server_id to) { at(from, to).cut = true; }

  /// Cuts every link to and from this server.
  void isolate(server_id whom) {
    for (std::uint64_t other = 1; other <= servers_; ++other) {
      if (other != whom.value) {
        cut(whom, server_id{other});
        cut(server_id{other}, whom);
      }
    }
  }

  /// Only servers of one group hear each other; a server in no group hears nobody. Replaces earlier
  /// cuts.
  void partition(const std::vector<std::vector<server_id>>& groups) {
    std::vector<std::size_t> group_of(servers_ + 1, 0);
    for (std::size_t group = 0; group < groups.size(); ++group) {
      for (const server_id member : groups[group]) {
        QUORLITE_ASSERT(member.value >= 1 && member.value <= servers_);
        group_of[static_cast<std::size_t>(member.value)] = group + 1;
      }
    }
    for (std::uint64_t from = 1; from <= servers_; ++from) {
      for (std::uint64_t to = 1; to <= servers_; ++to) {
        const bool together = group_of[from] != 0 && group_of[from] == group_of[to];
        at(server_id{from}, server_id{to}).cut = from != to && !together;
      }
    }
  }

  /// No link is cut. Probabilities and delays stay.
  void heal() {
    for (link& each : links_) {
      each.cut = false;
    }
  }

 private:
  struct link {
    network_options options;
    bool cut = false;
    std::uint64_t busy_until_us = 0;
  };

  [[nodiscard]] std::size_t place(server_id from, server_id to) const noexcept {
    QUORLITE_ASSERT(from.value >= 1 && from.value <= servers_ && to.value >= 1 &&
                    to.value <= servers_);
    return static_cast<std::size_t>((from.value - 1) * servers_ + (to.value - 1));
  }
  [[nodiscard]] link& at(server_id from, server_id to) noexcept { return links_[place(from, to)]; }

  std::uint32_t servers_;
  random random_;
  std::vector<link> links_;
};

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
