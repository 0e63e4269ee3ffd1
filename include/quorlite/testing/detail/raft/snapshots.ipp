/// @file
/// Bodies of raft_node: snapshots are taken, kept, sent and installed (Raft paper, 7).
#pragma once

#include <algorithm>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/testing/detail/raft/node.hpp"
#include "quorlite/testing/test_raft.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

// ---- taking one

/// The state is pinned here, on the strand; it is read in later events, between which entries are
/// applied.
QUORLITE_DECL void raft_node::take_snapshot_if_due() {
  const log_index last = disk_.snapshot == nullptr ? log_index{} : disk_.snapshot->at.index;
  if (compaction_.threshold_entries == 0 || taking_ ||
      applied_.value < last.value + compaction_.threshold_entries) {
    return;
  }
  result<std::unique_ptr<snapshot_reader>> reader = machine_->take_snapshot();
  if (!reader) {
    return;  // asked again after the next entry
  }
  taking_.emplace();
  taking_->reader = *std::move(reader);
  taking_->copy.at = {applied_, disk_.log.term_at(applied_)};
  taking_->copy.members = disk_.log.configured_at(applied_).members;
  taking_->copy.history = std::make_shared<const snapshot_history>(taking_->reader->history());
  taking_->copy.content.resize(static_cast<std::size_t>(taking_->reader->size_bytes()));
  snapshot_stamp_ = ++stamps_;
  environment_.wake_at(self_, wake_kind::snapshot, environment_.now_us() + 1, snapshot_stamp_);
}

QUORLITE_DECL void raft_node::on_snapshot_part() {
  constexpr std::uint64_t part_takes_us = 50;
  bytes& content = taking_->copy.content;
  const std::uint64_t count =
      std::min<std::uint64_t>(compaction_.read_bytes, content.size() - taking_->offset);
  const bytes_span part = bytes_span(content).subspan(static_cast<std::size_t>(taking_->offset),
                                                      static_cast<std::size_t>(count));
  if (taking_->reader->read(taking_->offset, part)) {
    taking_.reset();
    return;
  }
  taking_->offset += count;
  if (taking_->offset < content.size()) {
    environment_.wake_at(self_, wake_kind::snapshot, environment_.now_us() + part_takes_us,
                         snapshot_stamp_);
    return;
  }
  const log_index at = taking_->copy.at.index;
  disk_.snapshot = std::make_shared<const stored_snapshot>(std::move(taking_->copy));
  taking_.reset();
  // Only now, with the snapshot on disk, may entries below it go.
  if (at.value > compaction_.trailing_entries) {
    disk_.log.compact_prefix(log_index{at.value - compaction_.trailing_entries});
  }
  trace("keeps a snapshot of, first", at.value, disk_.log.first_index().value);
}

// ---- sending one

QUORLITE_DECL void raft_node::send_chunk(follower_progress& to) {
  if (to.sending_offset == 0) {
    to.sending = disk_.snapshot;  // nothing of an older one has arrived: the newest will do better
  }
  const bytes& content = to.sending->content;
  const auto offset = static_cast<std::size_t>(to.sending_offset);
  const std::size_t count = std::min(options_.chunk_bytes, content.size() - offset);
  const bytes_view chunk = bytes_view(content).subspan(offset, count);
  send(to.server, disk_.term,
       snapshot_request{.at = to.sending->at,
                        .offset = to.sending_offset,
                        .total_bytes = content.size(),
                        .round = leading_.round,
                        .chunk = bytes(chunk.begin(), chunk.end()),
                        .members = to.sending->members,
                        .history = to.sending->history});
}

QUORLITE_DECL void raft_node::on_message(const message& envelope, const snapshot_reply& reply) {
  follower_progress* const from = leads() ? leading_.find(envelope.from) : nullptr;
  if (from == nullptr) {
    return;
  }
  from->heard = true;
  from->round = std::max(from->round, reply.round);
  settle_barriers();
  const bool is_current =
      from->how == follower_progress::mode::snapshot && reply.at == from->sending->at.index;
  if (!is_current) {
    return;
  }
  if (reply.installed) {
    from->match = std::max(from->match, reply.at);
    from->probe_from(log_index{from->match.value + 1});
    send_entries(*from, /*even_if_empty=*/true);
  } else if (reply.next_offset != from->sending_offset &&
             reply.next_offset <= from->sending->content.size()) {
    from->sending_offset = reply.next_offset;  // back as well: the follower may have lost its stage
    send_chunk(*from);
  }
}

// ---- receiving one

QUORLITE_DECL void raft_node::on_message(const message& envelope, const snapshot_request& ask) {
  hear_leader(envelope.from);
  snapshot_reply reply{.at = ask.at.index, .round = ask.round};
  if (ask.at.index <= std::max(applied_, disk_.note.begun.begins_at)) {
    reply.installed = true;  // in the log it is, and will be applied, if it was not yet
  } else {
    reply.installed = receive_chunk(ask);
    reply.next_offset = incoming_ ? incoming_->copy.content.size() : 0;
  }
  if (running() && !withdrawn_) {
    send(envelope.from, disk_.term, reply);
  }
}

/// @returns true if that was the last chunk and the snapshot is in place
QUORLITE_DECL bool raft_node::receive_chunk(const snapshot_request& ask) {
  if (!incoming_ || incoming_->copy.at != ask.at) {
    incoming_.reset();
    if (ask.offset != 0) {
      return false;
    }
    result<std::unique_ptr<snapshot_stage>> stage = machine_->begin_restore();
    if (!stage) {
      return false;
    }
    incoming_.emplace();
    incoming_->stage = *std::move(stage);
    incoming_->copy.at = ask.at;
    incoming_->copy.members = ask.members;
    incoming_->copy.history = ask.history;
    incoming_->total_bytes = ask.total_bytes;
  }
  bytes& content = incoming_->copy.content;
  if (ask.offset != content.size() || ask.total_bytes != incoming_->total_bytes) {
    return false;  // doubled, or out of order: the answer says where to go on
  }
  if (incoming_->stage->append(ask.chunk)) {
    incoming_.reset();
    return false;
  }
  content.insert(content.end(), ask.chunk.begin(), ask.chunk.end());
  return content.size() == incoming_->total_bytes && install_received();
}

QUORLITE_DECL bool raft_node::install_received() {
  incoming_snapshot arrived = *std::exchange(incoming_, std::nullopt);
  if (arrived.stage->finish()) {
    return false;
  }
  const log_position at = arrived.copy.at;
  const apply_result answer = machine_->install(std::move(arrived.stage), at);
  if (!running()) {
    return false;
  }
  if (answer == apply_result::halted) {
    retire();
    return false;
  }
  trace("installs a snapshot of", at.index.value);
  disk_.snapshot = std::make_shared<const stored_snapshot>(std::move(arrived.copy));
  taking_.reset();
  snapshot_stamp_ = 0;
  raft_log& log = disk_.log;
  const bool is_in_log = at.index <= log.last_index() && log.term_at(at.index) == at.term;
  if (is_in_log) {
    log.compact_prefix(at.index);  // what follows is still good (paper, figure 13, step 6)
  } else {
    log.reset(at, disk_.snapshot->members);
    admission_.cut({});  // all of it
    disk_.note_end(environment_.now_us());
  }
  disk_.note_begin(*machine_);
  applied_ = at.index;
  commit_ = std::max(commit_, at.index);
  environment_.witness(*this, raft_event::installed, at.index);
  verified_ = std::max(verified_, at.index);
  apply_committed();
  return running();
}

/// After a crash: the machine is behind what this server's log begins with.
QUORLITE_DECL std::error_code raft_node::restore_own_snapshot() {
  result<std::unique_ptr<snapshot_stage>> stage = machine_->begin_restore();
  if (!stage) {
    return stage.error();
  }
  bytes_view rest = disk_.snapshot->content;
  while (!rest.empty()) {
    const bytes_view chunk = rest.first(std::min(rest.size(), options_.chunk_bytes));
    if (const std::error_code error = (*stage)->append(chunk)) {
      return error;
    }
    rest = rest.subspan(chunk.size());
  }
  if (const std::error_code error = (*stage)->finish()) {
    return error;
  }
  const apply_result answer = machine_->install(*std::move(stage), disk_.snapshot->at);
  return answer == apply_result::halted ? make_error_code(errc::halted) : std::error_code{};
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
