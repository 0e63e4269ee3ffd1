/// @file
/// Bodies of libraft_history_walk: the begin, the steps, and what is said of a difference.
#pragma once

#include "quorlite/detail/libraft/history_walk.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/codec/command.hpp"
#include "quorlite/detail/codec/history_judge.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/core/history_trail.hpp"
#include "quorlite/detail/libraft/identity.hpp"
#include "quorlite/detail/libraft/proposals.hpp"
#include "quorlite/detail/libraft/snapshot.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL libraft_history_walk::libraft_history_walk(const state_machine& machine,
                                                         const history_position& noted) noexcept
    : machine_(machine),
      base_(machine.base()),
      settled_at_(std::max({machine.applied().index, base_.ahead.index, noted.index})),
      noted_(noted) {}

[[nodiscard]] inline std::string log_index_text(log_index at) {
  return "log index " + std::to_string(at.value);
}

/// @returns false
QUORLITE_DECL bool libraft_history_walk::object(libraft_log_fault fault, std::string what) {
  const char* remedy =
      "Keep this folder: it may hold what nobody else has. Export what is missing elsewhere; "
      "then start this server with an empty folder, and add it to its cluster. If it is the "
      "only one, export its databases, and found the cluster anew";
  if (fault == libraft_log_fault::damaged) {
    remedy = "Bring back the folder from a backup, or remove this server and add it again, empty";
  } else if (base_.at.index < base_.ahead.index) {
    remedy =
        "Keep this folder, and its databases. A crash cut the writing of these short: without the "
        "log that belongs to them SQLite opens none. Bring back the log, or the whole server from "
        "a "
        "backup; if others have the rows, start it with an empty folder, and add it to its cluster";
  }
  found_ = libraft_log_defect{fault, "", 0, std::move(what), remedy};
  return false;
}

/// @returns false
QUORLITE_DECL bool libraft_history_walk::part(log_index at, const std::string& because) {
  return object(libraft_log_fault::diverged, "the log and the files part between " +
                                                 log_index_text(equal_) + " and " +
                                                 std::to_string(at.value) + ": " + because);
}

/// @returns false
QUORLITE_DECL bool libraft_history_walk::of_another_cluster(const std::string& what,
                                                            const cluster_identity& told) {
  object(libraft_log_fault::another_cluster, what + " is of cluster " + libraft_cluster_text(told) +
                                                 ", and the files of cluster " +
                                                 libraft_cluster_text(base_.begun.cluster));
  found_->remedy =
      "The log belongs to cluster " + libraft_cluster_text(told) +
      ": give this server its own folder, with log and databases of one cluster. Keep both of "
      "these: either may hold what its cluster has nowhere else";
  return false;
}

// ---- the begin

QUORLITE_DECL bool libraft_history_walk::begin(const libraft_snapshot_header* snapshot,
                                               std::uint64_t first) {
  history_place place{0, {}, true, base_.begun};
  if (snapshot != nullptr && !begin_behind(*snapshot, place)) {
    return false;
  }
  if (first > place.entry + 1) {
    return object(libraft_log_fault::starts_late,
                  "the log begins with entry " + std::to_string(first) +
                      " of the engine, and no snapshot has all that is before it");
  }
  equal_ = place.at.index;
  judge_.emplace(machine_, nothing_, place);
  return compare_anchors();
}

/// The history of a snapshot that tells none has not begun: a server writes the other form from
/// then on.
QUORLITE_DECL bool libraft_history_walk::begin_behind(const libraft_snapshot_header& snapshot,
                                                      history_place& place) {
  const log_index at = snapshot.at.at.index;
  const snapshot_history& told = snapshot.history;
  const bool is_begun = base_.begun != history_identity{};
  if (is_begun && snapshot.tells_history() && told.begun.cluster != base_.begun.cluster) {
    return of_another_cluster("the snapshot in the log's folder", told.begun.cluster);
  }
  if (const auto objection = objection_to(told, at, machine_)) {
    equal_ = {};
    return part(objection->at, "the snapshot in the log's folder is of another history as of " +
                                   log_index_text(objection->compared));
  }
  if (!is_begun && snapshot.tells_history() && told.begun.begins_at <= base_.at.index) {
    return part(base_.at.index, "the history of the snapshot begins at " +
                                    log_index_text(told.begun.begins_at) +
                                    ", and the files hold that without a history");
  }
  place = {snapshot.at.entry, {at, told.at.hash}, true, is_begun ? base_.begun : told.begun};
  return true;
}

// ---- the steps

QUORLITE_DECL bool libraft_history_walk::take(std::uint64_t index,
                                              const std::optional<bytes_view>& batch_of) {
  if (index <= judge_->run().end_place().entry) {
    return true;  // kept before the snapshot
  }
  if (!batch_of) {
    judge_->pass(index);
    return compare_anchors();
  }
  const result<libraft_batch> batch = libraft_batch::decode(*batch_of);
  bool goes_on = batch.has_value();  // what is none has no place; the strand will say so
  if (batch && !batch->may_be_at(index)) {
    return object(libraft_log_fault::diverged,
                  "entry " + std::to_string(index) + " of the engine was written as another one");
  }
  if (batch) {
    batch->for_each([&](bytes_view command) { return goes_on = take_command(index, command); });
  }
  return goes_on;
}

QUORLITE_DECL bool libraft_history_walk::take_command(std::uint64_t index, bytes_view command) {
  const log_index at = judge_->run().end_place().at.index.next();
  switch (judge_->add(index, command)) {
    case history_verdict::fine: return compare_anchors();
    case history_verdict::drop:
      return object(libraft_log_fault::damaged,
                    "the command at " + log_index_text(at) + " is damaged");
    case history_verdict::refuse: break;
  }
  const auto said = native::decode(command);
  if (const auto* const identity = said ? std::get_if<identity_command>(&said->body) : nullptr) {
    return of_another_cluster("the log, by its entry at " + log_index_text(at) + ",",
                              identity->cluster);
  }
  const history_objection& objection = judge_->objection();
  return part(at, "the server that proposed the command there " + std::string(objection.why) +
                      (objection.compared == log_index{} || objection.compared == at
                           ? ""
                           : ", as of " + log_index_text(objection.compared)));
}

/// At the place that was reached. An anchor without a hash tells nothing; but files that hold more
/// than a history's begin have one.
QUORLITE_DECL bool libraft_history_walk::compare_anchors() {
  const history_place place = judge_->run().end_place();
  note(place);
  const bool is_begun = base_.begun != history_identity{};
  if (!is_begun && place.begun != history_identity{} && place.at.index == base_.at.index) {
    return part(place.at.index, "the history begins at " + log_index_text(place.begun.begins_at) +
                                    " of the log, and the files hold that without a history");
  }
  for (const history_position& anchor : {base_.replay_from, base_.at, base_.ahead}) {
    if (anchor.index != place.at.index || anchor.hash == history_hash{}) {
      continue;
    }
    if (anchor.hash != place.at.hash) {
      return part(anchor.index, "what the files were made from is another history");
    }
    equal_ = anchor.index;
  }
  if (noted_.index == place.at.index && noted_.hash != history_hash{}) {
    if (noted_.hash != place.at.hash) {
      part(noted_.index, "by log_end the log had another history there");
      found_->remedy +=
          ". If you know that nothing of the log was exchanged or lost, it is that file which is "
          "wrong: remove log_end and quorlite.log, and the log is taken as it is";
      return false;
    }
    equal_ = noted_.index;
  }
  return true;
}

/// An entry of several commands is committed as a whole.
QUORLITE_DECL void libraft_history_walk::note(const history_place& place) noexcept {
  if (place.at.index <= settled_at_) {
    passed_.of_files = place.entry;
  }
  if (place.begun != history_identity{} && place.at.index == place.begun.begins_at) {
    passed_.of_begin = place.entry;
    passed_.cluster = place.begun.cluster;
  }
}

QUORLITE_DECL bool libraft_history_walk::end() {
  const log_index last = judge_->run().end_place().at.index;
  if (last < base_.ahead.index) {
    return object(libraft_log_fault::too_short, "the log ends at " + log_index_text(last) +
                                                    ", and the databases may stand at " +
                                                    std::to_string(base_.ahead.index.value) +
                                                    ": what is between them is gone from the log");
  }
  if (last < noted_.index) {
    return object(libraft_log_fault::too_short,
                  "the log ends at " + log_index_text(last) + ", and by log_end " +
                      log_index_text(noted_.index) +
                      " was applied: what is between them is gone from the log");
  }
  return true;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
