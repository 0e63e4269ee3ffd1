/// @file
/// Bodies of raft_node: what came from another server is held against the history that stands here,
/// before anything of it counts (docs/design/history.md, section 6; the numbers are its rules).
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <variant>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/codec/history_judge.hpp"
#include "quorlite/detail/core/history_trail.hpp"
#include "quorlite/testing/detail/raft/node.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// @returns false: the message is dropped, as if it was lost
QUORLITE_DECL bool raft_node::admits(const message& what) {
  const bool is_refused = std::any_of(refused_.begin(), refused_.end(),
                                      [&](const auto& each) { return each.peer == what.from; });
  if (is_refused) {
    return false;
  }
  if (what.term < disk_.term) {
    return true;  // 0: whoever sent it learns the newer term, and has done nothing wrong
  }
  if (const auto* const entries = std::get_if<append_request>(&what.body)) {
    return admits(what, *entries);
  }
  if (const auto* const snapshot = std::get_if<snapshot_request>(&what.body)) {
    return admits(what, *snapshot);
  }
  const auto* const ask = std::get_if<vote_request>(&what.body);
  return ask == nullptr || admits(what, *ask);
}

/// Everything up to here is committed, whatever is still to be replayed: whoever leads has it.
QUORLITE_DECL log_index raft_node::settled_upto() const {
  return std::max(machine_->applied().index, machine_->base().ahead.index);
}

QUORLITE_DECL bool raft_node::contradicts_log(log_position told, log_index settled) const {
  const raft_log& log = disk_.log;
  return told.index <= settled && told.index >= log.base().index &&
         told.index <= log.last_index() && log.term_at(told.index) != told.term;
}

/// @returns false: the log begins later, or is not long enough
QUORLITE_DECL bool raft_node::carry_trail(log_index upto) {
  const raft_log& log = disk_.log;
  const log_index brought = machine_->history().index;
  const bool is_behind = trail_.is_empty() || trail_.end_place().entry < brought.value;
  const bool forgot = !is_behind && trail_.begin_place().entry > std::max(brought, upto).value;
  if (is_behind || forgot) {
    trail_.begin(quorlite::detail::place_of(*machine_, brought.value));
  }
  for (std::uint64_t next = trail_.end_place().entry + 1; next <= upto.value; ++next) {
    if (next < log.first_index().value) {
      return false;
    }
    const stored_entry& entry = log.at(log_index{next});
    entry.kind == entry_kind::command ? quorlite::detail::carry(trail_, next, entry.payload)
                                      : trail_.pass(next);
  }
  return true;
}

QUORLITE_DECL bool raft_node::admits(const message& envelope, const append_request& ask) {
  using verdict = quorlite::detail::history_verdict;
  const raft_log& log = disk_.log;
  const log_index previous = ask.previous.index;
  const log_index settled = settled_upto();
  if (contradicts_log(ask.previous, settled)) {  // 1
    return refuse(envelope.from, {previous, previous, "has another log than was applied here"});
  }
  for (std::uint64_t i = 0; i < ask.entries.size(); ++i) {
    const log_position at{log_index{previous.value + 1 + i}, ask.entries[i].term};
    if (contradicts_log(at, settled)) {  // 1
      return refuse(envelope.from, {at.index, at.index, "has another log than was applied here"});
    }
  }
  const bool is_in_log =
      previous <= log.last_index() &&
      (previous < log.base().index || log.term_at(previous) == ask.previous.term);
  if (ask.entries.empty() || !is_in_log || !carry_trail(previous)) {
    return true;  // 5
  }
  // What the machine has been brought is one with our log, as was just seen; what follows is judged.
  const std::uint64_t behind = std::max(previous.value, trail_.begin_place().entry);
  const std::optional<quorlite::detail::history_place> from = trail_.behind(behind);
  if (!from) {
    return true;
  }
  quorlite::detail::history_judge judge(*machine_, trail_, *from);
  for (std::uint64_t i = behind - previous.value; i < ask.entries.size(); ++i) {
    const stored_entry& entry = ask.entries[static_cast<std::size_t>(i)];
    const std::uint64_t at = previous.value + 1 + i;
    if (entry.kind != entry_kind::command) {
      judge.pass(at);
    } else if (const verdict said = judge.add(at, entry.payload); said != verdict::fine) {
      return said == verdict::refuse && refuse(envelope.from, judge.objection());
    }
  }
  return true;
}

QUORLITE_DECL bool raft_node::admits(const message& envelope, const snapshot_request& ask) {
  if (contradicts_log(ask.at, settled_upto())) {  // 1
    return refuse(envelope.from,
                  {ask.at.index, ask.at.index, "has another log than was applied here"});
  }
  const snapshot_history told = ask.history == nullptr ? snapshot_history{} : *ask.history;
  const auto found = quorlite::detail::objection_to(told, ask.at.index, *machine_);
  return !found || refuse(envelope.from, *found);
}

/// 7: who can be elected has all that is committed, so this one cannot.
QUORLITE_DECL bool raft_node::admits(const message& /*envelope*/, const vote_request& ask) {
  return ask.last.index >= settled_upto();
}

/// @returns false
QUORLITE_DECL bool raft_node::refuse(server_id peer,
                                     const quorlite::detail::history_objection& why) {
  refused_.push_back({peer, why});
  trace("refuses a peer for its history, at", peer.value, why.at.value);
  return false;
}

QUORLITE_DECL void raft_node::readmit(server_id peer) {
  refused_.erase(std::remove_if(refused_.begin(), refused_.end(),
                                [&](const refused_peer& each) { return each.peer == peer; }),
                 refused_.end());
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
