/// @file
/// Bodies of start_check.hpp.
#pragma once

#include "quorlite/testing/detail/raft/start_check.hpp"

#include <optional>
#include <system_error>
#include <variant>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/codec/command.hpp"
#include "quorlite/detail/codec/history_judge.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/core/history_trail.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/raft/log.hpp"
#include "quorlite/testing/detail/raft/message.hpp"
#include "quorlite/testing/detail/simulation/event_hash.hpp"
#include "quorlite/testing/test_raft.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

[[nodiscard]] QUORLITE_DECL std::error_code check_folder(const folder_note& note, server_id self) {
  if (note.owner == server_id{}) {
    return make_error_code(errc::not_founded);
  }
  if (note.owner != self) {
    return make_error_code(errc::another_server);
  }
  return note.seal == seal_of(self) ? std::error_code{} : make_error_code(errc::copied);
}

/// The log, term and vote against what was noted of them, and each entry against its place.
[[nodiscard]] QUORLITE_DECL std::error_code check_log_end(const server_disk& disk) {
  const raft_log& log = disk.log;
  const folder_note& note = disk.note;
  const bool is_vote_there =
      disk.term > note.term || (disk.term == note.term && disk.voted_for == note.voted_for);
  if (!is_vote_there) {
    return make_error_code(errc::log_damaged);
  }
  if (log.last_index() < note.end.index) {
    return make_error_code(errc::log_too_short);
  }
  if (note.end.index >= log.base().index && log.term_at(note.end.index) != note.end.term) {
    return make_error_code(errc::log_damaged);
  }
  for (log_index at = log.first_index(); at <= log.last_index(); at = at.next()) {
    if (log.at(at).made_for != at) {
      return make_error_code(errc::log_damaged);
    }
  }
  return {};
}

/// One walk along a log, as the adapter for libraft makes it.
class start_walk {
 public:
  start_walk(const server_disk& disk, const state_machine& machine)
      : disk_(disk), machine_(machine), base_(machine.base()) {}

  [[nodiscard]] std::error_code operator()() {
    const raft_log& log = disk_.log;
    if (disk_.term < log.last().term) {
      return make_error_code(errc::log_damaged);
    }
    history_place place{0, {}, true, base_.begun};
    if (const std::error_code error = begin(place)) {
      return error;
    }
    judge_.emplace(machine_, nothing_, place);
    for (log_index at = log.first_index(); at <= log.last_index(); at = at.next()) {
      if (hash_of_bytes(log.at(at).payload) != log.at(at).payload_hash) {
        return make_error_code(errc::log_damaged);
      }
    }
    for (log_index at = log_index{place.entry}.next(); at <= log.last_index(); at = at.next()) {
      if (const std::error_code error = take(at, log.at(at))) {
        return error;
      }
    }
    if (log.last_index() < base_.ahead.index) {
      return make_error_code(errc::log_too_short);
    }
    // What is noted was applied, so the log had it; databases in memory tell nothing of that.
    const cluster_identity noted = disk_.note.begun.cluster;
    const bool is_of_another =
        noted != cluster_identity{} && noted != judge_->run().end_place().begun.cluster;
    return is_of_another ? make_error_code(errc::another_cluster) : std::error_code{};
  }

 private:
  using history_place = quorlite::detail::history_place;
  using history_verdict = quorlite::detail::history_verdict;

  /// @param place out: where the walk begins
  [[nodiscard]] std::error_code begin(history_place& place) const {
    const log_index begins = disk_.log.base().index;
    const stored_snapshot* const snapshot = disk_.snapshot.get();
    if (snapshot == nullptr) {
      return begins == log_index{}              ? std::error_code{}
             : begins > base_.replay_from.index ? make_error_code(errc::log_starts_late)
                                                : make_error_code(errc::log_damaged);
    }
    if (snapshot->at.index < begins) {
      return make_error_code(errc::log_damaged);
    }
    if (snapshot->at.index > disk_.log.last_index()) {
      return make_error_code(errc::log_too_short);
    }
    const snapshot_history told =
        snapshot->history == nullptr ? snapshot_history{} : *snapshot->history;
    const bool both = base_.begun != history_identity{} && told.begun != history_identity{};
    if (both && told.begun.cluster != base_.begun.cluster) {
      return make_error_code(errc::another_cluster);
    }
    if (quorlite::detail::objection_to(told, snapshot->at.index, machine_)) {
      return make_error_code(errc::diverged);
    }
    const history_identity begun = base_.begun == history_identity{} ? told.begun : base_.begun;
    place = {snapshot->at.index.value, {snapshot->at.index, told.at.hash}, true, begun};
    return {};
  }

  [[nodiscard]] std::error_code take(log_index at, const stored_entry& entry) {
    if (entry.kind != entry_kind::command) {
      judge_->pass(at.value);
      return compare_anchors();
    }
    switch (judge_->add(at.value, entry.payload)) {
      case history_verdict::fine: return compare_anchors();
      case history_verdict::drop: return make_error_code(errc::log_damaged);
      case history_verdict::refuse: break;
    }
    const auto said = quorlite::detail::native::decode(entry.payload);
    const bool names_cluster =
        said && std::holds_alternative<quorlite::detail::identity_command>(said->body);
    return make_error_code(names_cluster ? errc::another_cluster : errc::diverged);
  }

  [[nodiscard]] std::error_code compare_anchors() const {
    const history_place place = judge_->run().end_place();
    for (const history_position& anchor : {base_.replay_from, base_.at, base_.ahead}) {
      const bool is_here = anchor.index == place.at.index && anchor.hash != history_hash{};
      if (is_here && anchor.hash != place.at.hash) {
        return make_error_code(errc::diverged);
      }
    }
    return {};
  }

  const server_disk& disk_;
  const state_machine& machine_;
  const base_history base_;
  const quorlite::detail::history_trail nothing_;
  std::optional<quorlite::detail::history_judge> judge_;
};

QUORLITE_DECL std::error_code check_start(const server_disk& disk, server_id self,
                                          const state_machine& machine, start_check upto) {
  std::error_code error;
  if (upto >= start_check::folder) {
    error = check_folder(disk.note, self);
  }
  if (!error && upto >= start_check::log_end) {
    error = check_log_end(disk);
  }
  if (!error && upto >= start_check::history) {
    error = start_walk(disk, machine)();
  }
  return error;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
