/// @file
/// Bodies of raft_node: entries go out, are committed and applied (Raft paper, 5.3 and 5.4.2;
/// thesis, 6.4 for reads and 10.2 for pipelining).
#pragma once

#include <algorithm>
#include <optional>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/testing/detail/raft/node.hpp"
#include "quorlite/testing/test_raft.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

// ---- the leader: taking proposals

QUORLITE_DECL void raft_node::propose(quorlite::term expected, proposal_token token,
                                      bytes_view entry) {
  if (options_.proposal_max.value == 0) {
    look_at(expected, token, entry);
    return;
  }
  waiting_.oldest_first.push_back(
      {.expected = expected, .token = token, .entry = bytes(entry.begin(), entry.end())});
  if (waiting_.stamp == 0) {
    waiting_.stamp = ++stamps_;
    const std::uint64_t takes_us = random_.between(0, options_.proposal_max.value * 1000);
    environment_.wake_at(self_, wake_kind::proposals, environment_.now_us() + takes_us,
                         waiting_.stamp);
  }
}

QUORLITE_DECL void raft_node::look_at(quorlite::term expected, proposal_token token,
                                      bytes_view entry) {
  const bool is_open = leads() && leading_.announced && !withdrawn_;
  const bool is_full =
      options_.max_in_flight != 0 && leading_.proposals.size() >= options_.max_in_flight;
  settle_reason refusal = settle_reason::none;
  if (!is_open) {
    refusal = settle_reason::not_leader;
  } else if (expected != disk_.term) {
    refusal = settle_reason::stale_term;
  } else if (entry.size() > options_.max_entry_bytes) {
    refusal = settle_reason::too_large;
  } else if (leading_.transfer || is_full ||
             (options_.refuse > 0 && random_.chance(options_.refuse))) {
    refusal = settle_reason::busy;
  }
  if (refusal != settle_reason::none) {
    settle(token, outcome::not_applied, refusal);
    return;
  }
  append_locally(entry_kind::command, entry);
  const log_index at = disk_.log.last_index();
  const std::uint64_t ordinal = ++leading_.commands;
  leading_.proposals.push_back({.index = at, .token = token, .ordinal = ordinal});
  if (environment_.is_armed(commit_phase::enqueued, ordinal)) {
    if (environment_.depose(self_, commit_phase::enqueued, ordinal, at) ==
        leadership_loss::step_down) {
      step_down();
    }
    return;
  }
  post_outbox();
}

/// Thesis, 6.4: what is committed now, as soon as a quorum confirms that nobody else could have
/// committed more.
QUORLITE_DECL void raft_node::read_barrier(proposal_token token) {
  if (!leads() || !leading_.announced || withdrawn_) {
    settle(token, outcome::not_applied, settle_reason::not_leader);
    return;
  }
  leading_.barriers.push_back({.token = token, .read_index = commit_, .round = leading_.round + 1});
  post_outbox();
}

QUORLITE_DECL void raft_node::settle_barriers() {
  if (leading_.barriers.empty()) {
    return;
  }
  const std::uint64_t confirmed = leading_.reached_by_quorum(
      leading_.round, [](const follower_progress& each) { return each.round; });
  while (!leading_.barriers.empty()) {
    const leader_state::barrier oldest = leading_.barriers.front();
    if (oldest.round > confirmed || oldest.read_index > applied_) {
      return;
    }
    leading_.barriers.pop_front();
    settle(oldest.token, outcome::committed, settle_reason::none);
  }
}

QUORLITE_DECL void raft_node::append_locally(entry_kind kind, bytes_view payload) {
  disk_.log.append({.term = disk_.term,
                    .made_for = disk_.log.last_index().next(),
                    .kind = kind,
                    .payload_hash = hash_of_bytes(payload),
                    .payload = bytes(payload.begin(), payload.end())});
  environment_.witness(*this, raft_event::appended, disk_.log.last_index());
  sync_if_needed();
}

// ---- durability, leader and follower alike

QUORLITE_DECL void raft_node::sync_if_needed() {
  raft_log& log = disk_.log;
  if (disk_options_.sync_max_us == 0) {
    environment_.witness(*this, raft_event::syncs, log.last_index());
    log.mark_synced(log.last_index());
    environment_.witness(*this, raft_event::synced, log.synced_index());
  } else if (syncing_.stamp == 0 && log.synced_index() < log.last_index()) {
    syncing_ = {log.last_index(), log.cuts(), ++stamps_};
    environment_.witness(*this, raft_event::syncs, syncing_.upto);
    const std::uint64_t takes =
        random_.between(disk_options_.sync_min_us, disk_options_.sync_max_us);
    environment_.wake_at(self_, wake_kind::disk, environment_.now_us() + takes, syncing_.stamp);
  }
}

QUORLITE_DECL void raft_node::on_synced() {
  if (syncing_.cuts == disk_.log.cuts()) {
    disk_.log.mark_synced(syncing_.upto);
    environment_.witness(*this, raft_event::synced, disk_.log.synced_index());
  }
  sync_if_needed();
  if (leads()) {
    advance_commit();
  } else if (leader_ != server_id{} && verified_ > log_index{}) {
    acknowledge(leader_, 0);
  }
  apply_committed();
}

// ---- the leader: sending

/// What is proposed, or becomes committed, at one instant goes out in one message per follower.
QUORLITE_DECL void raft_node::post_outbox() {
  if (outbox_stamp_ == 0) {
    outbox_stamp_ = ++stamps_;
    environment_.wake_at(self_, wake_kind::outbox, environment_.now_us(), outbox_stamp_);
  }
}

QUORLITE_DECL void raft_node::on_outbox() {
  if (!leads()) {
    return;
  }
  advance_commit();  // for a server that is its own quorum
  if (!leads()) {
    return;
  }
  const bool has_new_barrier =
      !leading_.barriers.empty() && leading_.barriers.back().round > leading_.round;
  if (has_new_barrier) {
    ++leading_.round;
  }
  for (follower_progress& each : leading_.followers) {
    send_entries(each, /*even_if_empty=*/has_new_barrier);
  }
  settle_barriers();
}

QUORLITE_DECL void raft_node::send_heartbeats() {
  leading_.heartbeat_at_us = environment_.now_us() + options_.heartbeat_interval.value * 1000;
  for (follower_progress& each : leading_.followers) {
    send_entries(each, /*even_if_empty=*/true);
  }
}

/// @param even_if_empty a message must go out now: it is a heartbeat, and repeats a probe or chunk
/// that was lost
QUORLITE_DECL void raft_node::send_entries(follower_progress& to, bool even_if_empty) {
  using mode = follower_progress::mode;
  if (to.how != mode::snapshot && to.next < disk_.log.first_index()) {
    to.how = mode::snapshot;
    to.sending = disk_.snapshot;
    to.sending_offset = 0;
    trace("sends a snapshot to, of", to.server.value, to.sending->at.index.value);
    send_chunk(to);
    return;
  }
  if (to.how == mode::snapshot) {
    if (even_if_empty) {
      send_chunk(to);
    }
    return;
  }
  if (to.how == mode::probe) {
    if (even_if_empty || !to.awaits_probe) {
      to.awaits_probe = true;
      send_one_append(to, /*with_entries=*/true);
    }
    return;
  }
  bool sent = false;
  while (to.next <= disk_.log.last_index() &&
         to.next.value <= to.match.value + options_.window_entries) {
    send_one_append(to, /*with_entries=*/true);
    sent = true;
  }
  if (!sent && (even_if_empty || to.commit_sent < commit_)) {
    send_one_append(to, /*with_entries=*/false);
  }
}

/// As many entries as one message may carry, at least one if there is one.
QUORLITE_DECL void raft_node::send_one_append(follower_progress& to, bool with_entries) {
  const log_index previous{to.next.value - 1};
  append_request request{.previous = {previous, disk_.log.term_at(previous)},
                         .commit_index = commit_,
                         .round = leading_.round,
                         .entries = {}};
  log_index next = to.next;
  std::size_t payload_bytes = 0;
  while (with_entries && next <= disk_.log.last_index() &&
         request.entries.size() < options_.window_entries) {
    const stored_entry& entry = disk_.log.at(next);
    payload_bytes += entry.payload.size();
    if (payload_bytes > options_.batch_bytes && !request.entries.empty()) {
      break;
    }
    request.entries.push_back(entry);
    next = log_index{next.value + 1};
  }
  if (to.how == follower_progress::mode::replicate) {
    to.next = next;
  }
  to.commit_sent = commit_;
  send(to.server, disk_.term, std::move(request));
}

QUORLITE_DECL void raft_node::on_message(const message& envelope, const append_reply& reply) {
  using mode = follower_progress::mode;
  follower_progress* const from = leads() ? leading_.find(envelope.from) : nullptr;
  if (from == nullptr) {
    return;
  }
  from->heard = true;
  from->round = std::max(from->round, reply.round);
  if (!reply.accepted) {
    // Answers may be late or doubled: only the one to what was asked last counts. Who rejects what
    // it has acknowledged lost a part of its log: that mends nothing, and is not asked for ever.
    // Whose log begins later is asked there, if it can be: what others compacted a leader has.
    const bool begins_later = reply.begins > reply.rejected;
    const log_index told = begins_later ? reply.begins : reply.rejected;
    const bool is_stale =
        told <= from->match || (begins_later && told > disk_.log.last_index()) ||
        (from->how == mode::probe && reply.rejected.value + 1 != from->next.value);
    if (from->how != mode::snapshot && !is_stale) {
      const std::uint64_t below = std::min(reply.rejected.value, reply.hint.value + 1);
      from->probe_from(begins_later ? told.next() : log_index{below});
      send_entries(*from, /*even_if_empty=*/false);
    }
    settle_barriers();
    return;
  }
  if (reply.match > disk_.log.last_index()) {
    environment_.witness(*this, raft_event::counted, reply.match);
    return;  // nobody can have what its leader has not
  }
  from->match = std::max(from->match, reply.match);
  const bool has_caught_up = from->how == mode::snapshot && from->match >= from->sending->at.index;
  if (from->how == mode::probe || has_caught_up) {
    from->how = mode::replicate;
    from->sending.reset();
  }
  from->next = std::max(from->next, log_index{from->match.value + 1});
  advance_commit();
  if (leads()) {
    continue_transfer();
    settle_barriers();
    from->next <= disk_.log.last_index() ? send_entries(*from, false) : void();
  }
}

// ---- the follower

QUORLITE_DECL void raft_node::on_message(const message& envelope, const append_request& ask) {
  hear_leader(envelope.from);
  const raft_log& log = disk_.log;
  const log_index previous = ask.previous.index;
  if (previous > log.last_index()) {
    send(envelope.from, disk_.term,
         append_reply{.rejected = previous, .hint = log.last_index(), .round = ask.round});
    return;
  }
  if (previous < log.base().index) {
    send(envelope.from, disk_.term,
         append_reply{.rejected = previous, .begins = log.base().index, .round = ask.round});
    return;
  }
  if (log.term_at(previous) != ask.previous.term) {
    const log_index hint = std::max(commit_, log.last_before_term(previous));
    send(envelope.from, disk_.term,
         append_reply{.rejected = previous, .hint = hint, .round = ask.round});
    return;
  }
  accept_entries(ask);
  if (running() && !withdrawn_) {
    acknowledge(envelope.from, ask.round);
  }
}

/// Paper, figure 2, AppendEntries 3 to 5: only what really conflicts is removed, since the message
/// may be old.
QUORLITE_DECL void raft_node::accept_entries(const append_request& ask) {
  raft_log& log = disk_.log;
  log_index at = ask.previous.index;
  for (const stored_entry& entry : ask.entries) {
    at = log_index{at.value + 1};
    if (at <= log.last_index() && log.term_at(at) == entry.term) {
      continue;
    }
    if (at <= log.last_index()) {
      environment_.witness(*this, raft_event::removes, at);
      trace("removes a suffix, from, last", at.value, log.last_index().value);
      disk_.note_cut(at);
      log.truncate_suffix(at);
      admission_.cut(at);
    }
    log.append(entry);
    environment_.witness(*this, raft_event::appended, at);
  }
  sync_if_needed();
  disk_.note_end_if_due(environment_.now_us());
  commit_upto(std::min(ask.commit_index, at));
  verified_ = std::max({verified_, at, commit_});
  apply_committed();
}

/// @param round of the request that is answered; 0: none is
QUORLITE_DECL void raft_node::acknowledge(server_id leader, std::uint64_t round) {
  const log_index match = std::min(verified_, disk_.log.synced_index());
  send(leader, disk_.term, append_reply{.accepted = true, .match = match, .round = round});
}

// ---- committing and applying

/// Paper, 5.4.2: by counting a leader commits entries of its own term only; older ones go with them
/// (figure 8).
QUORLITE_DECL void raft_node::advance_commit() {
  log_index candidate = leading_.reached_by_quorum(
      disk_.log.synced_index(), [](const follower_progress& each) { return each.match; });
  candidate = std::min(candidate, leading_.commit_ceiling);
  const bool is_next = candidate > commit_ && disk_.log.term_at(candidate) == disk_.term;
  if (is_next) {
    environment_.witness(*this, raft_event::counted, candidate);
  }
  if (is_next && !depose_on_the_way_to(candidate)) {
    commit_upto(candidate);
    post_outbox();
    apply_committed();
  }
  leave_if_removed();
}

/// Never back: what is committed stays so.
QUORLITE_DECL void node_state::commit_upto(log_index upto) {
  while (commit_ < upto) {
    commit_ = commit_.next();
    environment_.witness(*this, raft_event::commits, commit_);
  }
}

/// Looks for a leadership loss at a command in (commit, candidate]. What is below that command is
/// committed and applied first, so that the point is exact whatever was in the same batch.
/// @returns true if one was carried out, or the machine halted before it
QUORLITE_DECL bool raft_node::depose_on_the_way_to(log_index candidate) {
  if (!environment_.is_any_armed()) {
    return false;
  }
  std::optional<commit_phase> what;
  leader_state::proposal target;
  for (const leader_state::proposal& each : leading_.proposals) {
    if (what || each.index > candidate) {
      break;
    }
    for (const commit_phase point : {commit_phase::appended, commit_phase::committed}) {
      if (!what && each.index > commit_ && environment_.is_armed(point, each.ordinal)) {
        what = point;
        target = each;
      }
    }
  }
  if (!what) {
    return false;
  }
  commit_upto(log_index{target.index.value - 1});
  apply_committed();
  if (!leads()) {
    return true;
  }
  if (what == commit_phase::committed) {
    commit_upto(target.index);
  } else {
    leading_.commit_ceiling = log_index{target.index.value - 1};
  }
  if (environment_.depose(self_, *what, target.ordinal, target.index) ==
      leadership_loss::step_down) {
    step_down();
  }
  apply_committed();
  return true;
}

/// Only what is durable here is applied: else a machine could be ahead of its own log after a
/// crash.
QUORLITE_DECL void raft_node::apply_committed() {
  while (running() && !withdrawn_ && applied_ < std::min(commit_, disk_.log.synced_index())) {
    if (!apply_next()) {
      return;
    }
  }
  settle_barriers();
}

/// @returns false if the machine halted, or the server crashed meanwhile
QUORLITE_DECL bool raft_node::apply_next() {
  const log_index at{applied_.value + 1};
  environment_.witness(*this, raft_event::applies, at);
  const stored_entry& entry = disk_.log.at(at);
  const log_position place{at, entry.term};
  const apply_result answer = entry.kind == entry_kind::command
                                  ? machine_->apply({.at = place, .bytes = entry.payload})
                                  : machine_->skip(place);
  if (!running()) {
    return false;
  }
  if (answer == apply_result::halted) {
    retire();
    return false;
  }
  applied_ = at;
  disk_.note_begin(*machine_);
  if (!leading_.proposals.empty() && leading_.proposals.front().index == at) {
    const proposal_token token = leading_.proposals.front().token;
    leading_.proposals.pop_front();
    settle(token, outcome::committed, settle_reason::none);
  }
  if (withdrawn_) {
    return false;  // from inside that call
  }
  announce_if_due();
  take_snapshot_if_due();
  return running();
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
