/// @file
/// Bodies of raft_admission. The numbers are the rules in docs/design/history.md, section 6.
#pragma once

#include "quorlite/testing/detail/raft/admission.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <variant>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/codec/history_judge.hpp"
#include "quorlite/detail/core/history_trail.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/raft/log.hpp"
#include "quorlite/testing/detail/raft/message.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// Everything up to here is committed, whatever is still to be replayed: every leader has it. So is
/// the entry that names the cluster, once the folder tells of it.
[[nodiscard]] inline log_index settled_upto(const state_machine& machine,
                                            const server_disk& disk) noexcept {
  return std::max({machine.applied().index, machine.base().ahead.index, disk.note.begun.begins_at});
}

/// True for an entry that is not the one which was committed here.
[[nodiscard]] inline bool contradicts(log_position told, const raft_log& log,
                                      log_index settled) noexcept {
  return told.index <= settled && told.index >= log.base().index &&
         told.index <= log.last_index() && log.term_at(told.index) != told.term;
}

inline constexpr const char* another_log = "has another log than was applied here";

QUORLITE_DECL bool raft_admission::admits(const message& what, const server_disk& disk,
                                          const state_machine& machine) {
  const bool is_refused =
      std::any_of(refused_.begin(), refused_.end(),
                  [&](const refused_peer& each) { return each.peer == what.from; });
  if (is_refused) {
    return false;
  }
  if (what.term < disk.term) {
    return true;  // 0: whoever sent it learns the newer term, and has done nothing wrong
  }
  if (const auto* const entries = std::get_if<append_request>(&what.body)) {
    return admits_entries(what, *entries, disk, machine);
  }
  if (const auto* const snapshot = std::get_if<snapshot_request>(&what.body)) {
    return admits_snapshot(what, *snapshot, disk, machine);
  }
  // 7: who can be elected has all that is committed
  const auto* const ask = std::get_if<vote_request>(&what.body);
  return ask == nullptr || ask->last.index >= settled_upto(machine, disk);
}

QUORLITE_DECL bool raft_admission::admits_entries(const message& envelope,
                                                  const append_request& ask,
                                                  const server_disk& disk,
                                                  const state_machine& machine) {
  using quorlite::detail::history_verdict;
  const raft_log& log = disk.log;
  const log_index previous = ask.previous.index;
  const log_index settled = settled_upto(machine, disk);
  log_position told = ask.previous;
  for (std::size_t i = 0; i <= ask.entries.size(); ++i) {
    if (contradicts(told, log, settled)) {  // 1
      return refuse(envelope.from, {told.index, {}, another_log});
    }
    told = {told.index.next(), i < ask.entries.size() ? ask.entries[i].term : term{}};
  }
  if (previous < log.base().index) {
    return true;  // 5: nothing of it is taken, and its sender learns where our log begins
  }
  const bool is_in_log = previous <= log.last_index() && log.term_at(previous) == ask.previous.term;
  if (ask.entries.empty() || !is_in_log || !carry_trail(previous, log, machine)) {
    return true;  // 5
  }
  // What the machine was brought is one with our log, as was just seen; what follows is judged.
  const std::uint64_t behind = std::max(previous.value, trail_.begin_place().entry);
  const auto place = trail_.behind(behind);
  if (!place) {
    return true;
  }
  quorlite::detail::history_judge judge(machine, trail_, *place);
  for (std::uint64_t i = behind - previous.value; i < ask.entries.size(); ++i) {  // 2, 3
    const stored_entry& entry = ask.entries[static_cast<std::size_t>(i)];
    const std::uint64_t at = previous.value + 1 + i;
    if (entry.kind != entry_kind::command) {
      judge.pass(at);
    } else if (const history_verdict said = judge.add(at, entry.payload);
               said != history_verdict::fine) {
      return said == history_verdict::refuse && refuse(envelope.from, judge.objection());
    }
  }
  return true;
}

QUORLITE_DECL bool raft_admission::admits_snapshot(const message& envelope,
                                                   const snapshot_request& ask,
                                                   const server_disk& disk,
                                                   const state_machine& machine) {
  if (contradicts(ask.at, disk.log, settled_upto(machine, disk))) {  // 1
    return refuse(envelope.from, {ask.at.index, {}, another_log});
  }
  const snapshot_history told = ask.history == nullptr ? snapshot_history{} : *ask.history;
  const history_identity own = disk.note.begun;  // the machine may have none yet, after a restart
  if (own != history_identity{}) {
    if (told.begun == history_identity{} && ask.at.index >= own.begins_at) {
      return refuse(envelope.from, {ask.at.index, {}, "has a snapshot without a history"});
    }
    if (told.begun != history_identity{} && told.begun.cluster != own.cluster) {
      return refuse(envelope.from, {ask.at.index, {}, "has a snapshot of another cluster"});
    }
  }
  const auto found = quorlite::detail::objection_to(told, ask.at.index, machine);  // 6
  return !found || refuse(envelope.from, *found);
}

/// @returns false: the log begins later
QUORLITE_DECL bool raft_admission::carry_trail(log_index upto, const raft_log& log,
                                               const state_machine& machine) {
  const std::uint64_t brought = machine.history().index.value;
  const bool is_behind = trail_.is_empty() || trail_.end_place().entry < brought;
  if (is_behind || trail_.begin_place().entry > std::max(brought, upto.value)) {
    trail_.begin(quorlite::detail::place_of(machine, brought));
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

/// @returns false
QUORLITE_DECL bool raft_admission::refuse(server_id peer,
                                          const quorlite::detail::history_objection& why) {
  refused_.push_back({peer, why});
  return false;
}

QUORLITE_DECL void raft_admission::readmit(server_id peer) noexcept {
  refused_.erase(std::remove_if(refused_.begin(), refused_.end(),
                                [&](const refused_peer& each) { return each.peer == peer; }),
                 refused_.end());
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
