/// @file
/// Bodies of simulated_network.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/testing/detail/raft/network.hpp"
#include "quorlite/testing/test_raft.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

struct simulated_network::link {
  network_options options;
  bool cut = false;
  std::uint64_t busy_until_us = 0;
};

QUORLITE_DECL simulated_network::simulated_network(std::uint32_t servers,
                                                   const network_options& options, random source)
    : servers_(servers), random_(source), links_(std::size_t{servers} * servers) {
  set_all(options);
}

QUORLITE_DECL simulated_network::~simulated_network() = default;

QUORLITE_DECL simulated_network::arrivals simulated_network::send(server_id from, server_id to,
                                                                  std::uint64_t now_us) {
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
      arrival += random_.between(0, 4 * options.delay_max_us);  // late, and others may overtake it
    } else {
      arrival = std::max(arrival, wire.busy_until_us);
      wire.busy_until_us = arrival;
    }
    answer.at_us[answer.count++] = arrival;
  }
  return answer;
}

QUORLITE_DECL bool simulated_network::connected(server_id from, server_id to) const noexcept {
  return !links_[place(from, to)].cut;
}

QUORLITE_DECL void simulated_network::add_server(const network_options& options) {
  const std::uint32_t before = servers_++;
  std::vector<link> links(std::size_t{servers_} * servers_, link{options});
  for (std::size_t from = 0; from < before; ++from) {
    std::copy_n(links_.begin() + static_cast<std::ptrdiff_t>(from * before), before,
                links.begin() + static_cast<std::ptrdiff_t>(from * servers_));
  }
  links_ = std::move(links);
}

QUORLITE_DECL void simulated_network::set(server_id from, server_id to,
                                          const network_options& options) {
  at(from, to).options = options;
}

QUORLITE_DECL void simulated_network::set_all(const network_options& options) {
  for (link& each : links_) {
    each.options = options;
  }
}

QUORLITE_DECL void simulated_network::cut(server_id from, server_id to) { at(from, to).cut = true; }

QUORLITE_DECL void simulated_network::isolate(server_id whom) {
  for (std::uint64_t other = 1; other <= servers_; ++other) {
    if (other != whom.value) {
      cut(whom, server_id{other});
      cut(server_id{other}, whom);
    }
  }
}

QUORLITE_DECL void simulated_network::partition(const std::vector<std::vector<server_id>>& groups) {
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

QUORLITE_DECL void simulated_network::heal() {
  for (link& each : links_) {
    each.cut = false;
  }
}

QUORLITE_DECL std::size_t simulated_network::place(server_id from, server_id to) const noexcept {
  QUORLITE_ASSERT(from.value >= 1 && from.value <= servers_ && to.value >= 1 &&
                  to.value <= servers_);
  return static_cast<std::size_t>((from.value - 1) * servers_ + (to.value - 1));
}

QUORLITE_DECL simulated_network::link& simulated_network::at(server_id from,
                                                             server_id to) noexcept {
  return links_[place(from, to)];
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
