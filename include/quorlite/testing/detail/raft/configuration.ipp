/// @file
/// Bodies of configuration.
#pragma once

#include "quorlite/testing/detail/raft/configuration.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL configuration configuration::of_voters(std::uint32_t count) {
  configuration members;
  for (std::uint64_t id = 1; id <= count; ++id) {
    members.voters.emplace_back(id);
  }
  return members;
}

QUORLITE_DECL bool configuration::has_voter(server_id id) const noexcept {
  return std::binary_search(voters.begin(), voters.end(), id);
}

QUORLITE_DECL bool configuration::has_learner(server_id id) const noexcept {
  return std::binary_search(learners.begin(), learners.end(), id);
}

QUORLITE_DECL configuration configuration::after(configuration_change step) const {
  const auto insert = [&](std::vector<server_id>& into) {
    into.insert(std::lower_bound(into.begin(), into.end(), step.server), step.server);
  };
  const bool is_possible = step.kind == change_kind::add       ? !has(step.server)
                           : step.kind == change_kind::promote ? has_learner(step.server)
                           : step.kind == change_kind::demote  ? has_voter(step.server)
                                                               : has(step.server);
  configuration next = *this;
  if (!is_possible) {
    return next;
  }
  std::erase(next.voters, step.server);
  std::erase(next.learners, step.server);
  if (step.kind == change_kind::promote) {
    insert(next.voters);
  } else if (step.kind != change_kind::remove) {
    insert(next.learners);
  }
  return next;
}

QUORLITE_DECL std::string configuration::text() const {
  std::string line = "voters";
  for (const server_id each : voters) {
    line += " " + std::to_string(each.value);
  }
  line += learners.empty() ? "" : ", learners";
  for (const server_id each : learners) {
    line += " " + std::to_string(each.value);
  }
  return line;
}

QUORLITE_DECL std::size_t difference(const configuration& one, const configuration& other) {
  std::vector<server_id> changed;
  for (const configuration* each : {&one, &other}) {
    for (const std::vector<server_id>* list : {&each->voters, &each->learners}) {
      for (const server_id id : *list) {
        if (one.has_voter(id) != other.has_voter(id) ||
            one.has_learner(id) != other.has_learner(id)) {
          changed.push_back(id);
        }
      }
    }
  }
  std::sort(changed.begin(), changed.end());
  return static_cast<std::size_t>(std::unique(changed.begin(), changed.end()) - changed.begin());
}

// A word for each member, as this machine keeps it: these bytes leave no process.

QUORLITE_DECL bytes encode(const configuration& members) {
  bytes payload;
  const auto add = [&](server_id id, bool votes) {
    const std::uint64_t word = id.value << 1U | (votes ? 1U : 0U);
    payload.resize(payload.size() + sizeof word);
    std::memcpy(payload.data() + payload.size() - sizeof word, &word, sizeof word);
  };
  for (const server_id id : members.voters) {
    add(id, true);
  }
  for (const server_id id : members.learners) {
    add(id, false);
  }
  return payload;
}

QUORLITE_DECL configuration decode_configuration(bytes_view payload) {
  QUORLITE_ASSERT(payload.size() % sizeof(std::uint64_t) == 0);
  configuration members;
  for (std::size_t at = 0; at < payload.size(); at += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, payload.data() + at, sizeof word);
    ((word & 1U) != 0 ? members.voters : members.learners).emplace_back(word >> 1U);
  }
  return members;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
