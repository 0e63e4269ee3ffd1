/// @file
/// Bodies of replica_cluster.
#pragma once

#include "quorlite/testing/cluster.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/replica.hpp"
#include "quorlite/storage/memory.hpp"
#include "quorlite/testing/detail/raft/node.hpp"
#include "quorlite/testing/test_raft.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

QUORLITE_DECL replica_cluster::replica_cluster(simulation_options options, replica_options each)
    : each_(std::move(each)), simulation_(options), servers_(options.replicas + options.spares) {
  for (const server_id id : simulation_.servers()) {
    start(id);
  }
}

QUORLITE_DECL connection replica_cluster::connect(server_id id, std::string_view name,
                                                  connection_options options) {
  result<connection> opened = replica(id).open(name, options);
  QUORLITE_ASSERT(opened.has_value());
  return std::move(*opened);
}

QUORLITE_DECL std::optional<server_id> replica_cluster::wait_for_leader(
    std::optional<server_id> but, milliseconds limit) {
  const auto elected = [&] {
    const std::optional<server_id> leader = simulation_.leader();
    return leader.has_value() && leader != but && replica(*leader).leader().leading;
  };
  return simulation_.run_until(elected, limit) ? simulation_.leader() : std::nullopt;
}

QUORLITE_DECL void replica_cluster::take_down(server_id id) {
  at(id).replica = {};
  at(id).raft.reset();
}

QUORLITE_DECL void replica_cluster::restart(server_id id) {
  take_down(id);
  start(id);
}

QUORLITE_DECL bool replica_cluster::are_identical() {
  using content =
      std::tuple<std::string, version_number, std::uint32_t, std::uint64_t, std::uint64_t>;
  if (simulation_.violation()) {
    return false;
  }
  std::optional<std::vector<content>> first;
  for (const server_id id : servers()) {
    if (!is_up(id)) {
      continue;
    }
    std::vector<content> here;
    for (const database_status& one : replica(id).databases()) {
      here.emplace_back(one.name, one.version, one.page_size, one.page_count, one.hash);
    }
    if (first.has_value() && *first != here) {
      return false;
    }
    first = std::move(here);
  }
  return true;
}

QUORLITE_DECL void replica_cluster::start(server_id id) {
  server& one = at(id);
  one.raft.emplace(simulation_, id);
  result<quorlite::replica> started = quorlite::replica::start(*one.raft, one.storage, each_);
  QUORLITE_ASSERT(started.has_value());
  one.replica = std::move(*started);
}

QUORLITE_DECL bool replica_cluster::is_even() {
  const std::optional<server_id> leader = simulation_.leader();
  if (!leader.has_value() || !is_up(*leader)) {
    return false;
  }
  for (const server_id id : servers()) {
    if (is_up(id) &&
        (replica(id).applied() != replica(*leader).applied() ||
         simulation_.node(id).commit_index() != simulation_.node(*leader).commit_index())) {
      return false;
    }
  }
  return true;
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
