/// @file
/// Bodies of safety_checker.
#pragma once

#include "quorlite/testing/detail/raft/safety_checker.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <tuple>

#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/raft/configuration.hpp"
#include "quorlite/testing/detail/raft/log.hpp"
#include "quorlite/testing/detail/raft/node.hpp"
#include "quorlite/testing/detail/simulation/event_hash.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// True also if the entry is compacted away: what is, was committed, and is looked at there.
[[nodiscard]] QUORLITE_DECL bool has_entry(const raft_log& log, log_position sought) noexcept {
  return sought.index <= log.base().index ||
         (sought.index <= log.last_index() && log.term_at(sought.index) == sought.term);
}

QUORLITE_DECL void safety_checker::require(bool holds, const char* property, const node_state& whom,
                                           const char* fault, log_index at) {
  if (!holds && !violation_) {
    violation_ = std::string(property) + ": server " + std::to_string(whom.id().value) +
                 " of term " + std::to_string(whom.term().value) + " " + fault + ", entry " +
                 std::to_string(at.value);
  }
}

QUORLITE_DECL void safety_checker::disregard(server_id whom, bool is_so) {
  is_so ? void(disregarded_.insert(whom)) : void(disregarded_.erase(whom));
  young_.erase(whom);
}

QUORLITE_DECL void safety_checker::witness(const node_state& whom, raft_event what, log_index at) {
  if (!disregarded_.empty() && disregarded_.contains(whom.id())) {
    if (what == raft_event::votes) {  // it counts for the others, also once the server is whole
      votes_.emplace(whom.term(), whom.id(), whom.disk().voted_for);
    }
    return;
  }
  const raft_log& log = whom.disk().log;
  const bool leads = whom.role() == raft_role::leader;
  switch (what) {
    case raft_event::votes: voted(whom); break;
    case raft_event::elected: elected(whom); break;
    case raft_event::appended:
      young_[whom.id()].appended[at] = ++events_;
      appended(whom, at);
      break;
    case raft_event::syncs: young_[whom.id()].sync_begun = ++events_; break;
    case raft_event::synced: synced(whom, at); break;
    case raft_event::removes:
      require(!leads, "leader append-only", whom, "leads and removes entries", at);
      require(at > whom.commit_index(), "state-machine safety", whom, "removes what is committed",
              at);
      break;
    case raft_event::counted: counted(whom, at); break;
    case raft_event::commits: committed(whom, at); break;
    case raft_event::applies:
      require(at <= whom.commit_index(), "state-machine safety", whom,
              "applies what is not committed", at);
      agree(whom, at);
      break;
    case raft_event::installed: installed(whom, at); break;
  }
  const auto seen = leaders_.find(whom.term());
  if (leads && seen != leaders_.end()) {
    require(seen->second.cuts == log.cuts(), "leader append-only", whom, "leads and lost entries",
            at);
  }
  const auto& snapshot = whom.disk().snapshot;
  require(log.base().index <= (snapshot == nullptr ? log_index{} : snapshot->at.index), "snapshot",
          whom, "has a log that begins behind its snapshot", log.base().index);
}

QUORLITE_DECL void safety_checker::voted(const node_state& whom) {
  const auto first = votes_.lower_bound({whom.term(), whom.id(), server_id{}});
  const server_id candidate = whom.disk().voted_for;
  require(first == votes_.end() || std::get<0>(*first) != whom.term() ||
              std::get<1>(*first) != whom.id() || std::get<2>(*first) == candidate,
          "votes", whom, "votes for a second candidate", whom.disk().log.last_index());
  votes_.emplace(whom.term(), whom.id(), candidate);
}

QUORLITE_DECL void safety_checker::elected(const node_state& whom) {
  const raft_log& log = whom.disk().log;
  const auto [seen, is_first] =
      leaders_.try_emplace(whom.term(), leadership_seen{whom.id(), log.cuts()});
  require(is_first, "election safety", whom, "leads in a term that has a leader already",
          log.last_index());
  const configuration& members = log.configured().members;
  const auto votes = std::count_if(members.voters.begin(), members.voters.end(), [&](server_id id) {
    return disregarded_.contains(id) || votes_.contains({whom.term(), id, whom.id()});
  });
  require(static_cast<std::size_t>(votes) >= members.quorum(), "votes", whom,
          "leads without the votes of a quorum", log.last_index());
  // Newer terms may have committed more already: an election may be learnt of late.
  const auto newest = std::find_if(committed_.rbegin(), committed_.rend(), [&](const auto& each) {
    return each.second.in_term < whom.term();
  });
  if (newest != committed_.rend()) {
    require(has_entry(log, {newest->first, newest->second.of_entry}), "leader completeness", whom,
            "leads without what was committed", newest->first);
  }
}

QUORLITE_DECL void safety_checker::synced(const node_state& whom, log_index at) {
  young_entries& young = young_[whom.id()];
  const auto end = young.appended.upper_bound(at);
  for (auto each = young.appended.begin(); each != end; ++each) {
    require(each->second < young.sync_begun, "durability", whom,
            "takes for durable what came after the sync began", each->first);
  }
  young.appended.erase(young.appended.begin(), end);
}

QUORLITE_DECL void safety_checker::appended(const node_state& whom, log_index at) {
  const raft_log& log = whom.disk().log;
  const stored_entry& entry = log.at(at);
  event_hash content;
  content.add(static_cast<std::uint64_t>(entry.kind), entry.payload_hash);
  const entry_seen here{log.term_at(log_index{at.value - 1}), content.value()};
  const auto [known, is_new] = entries_.try_emplace({at, entry.term}, here);
  require(known->second == here, "log matching", whom,
          "has another entry, or other entries before it", at);
  require((log.configured().at == at) == (entry.kind == entry_kind::members),
          "single-server change", whom, "goes by a configuration that is in no entry of its log",
          at);
  if (whom.role() == raft_role::leader) {
    require(entry.term == whom.term(), "leader append-only", whom, "makes an entry of another term",
            at);
    if (entry.kind == entry_kind::members) {
      check_change(whom);
    }
  }
}

QUORLITE_DECL void safety_checker::check_change(const node_state& whom) {
  const raft_log& log = whom.disk().log;
  const auto& all = log.configurations();
  const placed_configuration& next = all.back();
  const placed_configuration& before = all[all.size() - 2];
  require(difference(before.members, next.members) == 1 && !next.members.voters.empty(),
          "single-server change", whom, "changes more than one server", next.at);
  require(before.at <= whom.commit_index(), "single-server change", whom,
          "changes again before the change before is committed", next.at);
  require(log.term_at(whom.commit_index()) == whom.term(), "single-server change", whom,
          "changes before it has committed an entry of its term", next.at);
}

QUORLITE_DECL void safety_checker::counted(const node_state& whom, log_index at) {
  const raft_log& log = whom.disk().log;
  require(at <= log.last_index(), "quorum", whom, "is told of what it has not", at);
  if (at > log.last_index()) {
    return;
  }
  const configuration& members = log.configured().members;
  const log_position place{at, log.term_at(at)};
  const auto holders =
      std::count_if(members.voters.begin(), members.voters.end(), [&](server_id id) {
        const raft_log& other = nodes_[static_cast<std::size_t>(id.value - 1)].disk().log;
        return disregarded_.contains(id) || (other.synced_index() >= at && has_entry(other, place));
      });
  require(place.term == whom.term(), "committed in the current term", whom,
          "commits by counting what is older", at);
  require(static_cast<std::size_t>(holders) >= members.quorum(), "quorum", whom,
          "commits what no quorum has", at);
}

QUORLITE_DECL void safety_checker::committed(const node_state& whom, log_index at) {
  const raft_log& log = whom.disk().log;
  require(at <= log.last_index(), "state-machine safety", whom, "commits what it has not", at);
  if (at <= log.base().index || at > log.last_index()) {
    return;
  }
  agree(whom, at);
  if (log.at(at).kind == entry_kind::members) {
    committed_members_.try_emplace(at, log.configured_at(at).members);
  }
}

QUORLITE_DECL void safety_checker::agree(const node_state& whom, log_index at) {
  const quorlite::term here = whom.disk().log.term_at(at);
  const auto [known, is_new] = committed_.try_emplace(at, commit_seen{here, whom.term()});
  require(known->second.of_entry == here, "state-machine safety", whom,
          "commits or applies another entry than others did", at);
}

/// What it contains is durable with it, whatever sync is under way.
QUORLITE_DECL void safety_checker::installed(const node_state& whom, log_index at) {
  std::map<log_index, std::uint64_t>& appended = young_[whom.id()].appended;
  appended.erase(appended.begin(), appended.upper_bound(at));
  agree(whom, at);
  const configuration& expected = std::prev(committed_members_.upper_bound(at))->second;
  require(whom.disk().log.configured_at(at).members == expected, "single-server change", whom,
          "has a snapshot with another configuration than that of its position", at);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
