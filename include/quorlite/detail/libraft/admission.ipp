/// @file
/// Bodies of libraft_admission. The numbers are the rules in docs/design/history.md, section 6.
#pragma once

#include "quorlite/detail/libraft/admission.hpp"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <new>
#include <optional>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/codec/history_judge.hpp"
#include "quorlite/detail/core/history_trail.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/proposals.hpp"
#include "quorlite/detail/libraft/snapshot.hpp"
#include "quorlite/detail/libraft/strand.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL void libraft_admission::attach(const ::raft& engine, const libraft_strand& strand,
                                             history_trail& trail) noexcept {
  engine_ = &engine;
  strand_ = &strand;
  trail_ = &trail;
}

/// The term of a message; 0 where it does not matter, for nothing of such a message is stored.
[[nodiscard]] inline raft_term libraft_term_of(const raft_message& message) noexcept {
  switch (message.type) {
    case RAFT_IO_APPEND_ENTRIES: return message.append_entries.term;
    case RAFT_IO_INSTALL_SNAPSHOT: return message.install_snapshot.term;
    case RAFT_IO_REQUEST_VOTE: return message.request_vote.term;
    default: return 0;
  }
}

/// An engine that was not started has no clock.
[[nodiscard]] inline raft_time libraft_now(const ::raft& engine) noexcept {
  return engine.io == nullptr ? 0 : engine.io->time(engine.io);
}

[[nodiscard]] inline bool libraft_is_member(const ::raft& engine, server_id id) noexcept {
  const raft_configuration& members = engine.configuration;
  return std::any_of(members.servers, members.servers + members.n,
                     [id](const raft_server& one) { return one.id == id.value; });
}

/// Messages go to addresses, and only members are sent any. An answer of somebody else tells who is
/// at a member's address now; the engine does not count it, and tells nobody. So the leader knows,
/// and who would like to be it.
QUORLITE_DECL void libraft_admission::note_stranger(const raft_message& message) {
  const server_id from{message.server_id};
  const bool is_answer =
      message.type == RAFT_IO_APPEND_ENTRIES_RESULT || message.type == RAFT_IO_REQUEST_VOTE_RESULT;
  if (libraft_is_member(*engine_, from)) {
    forget_stranger(from);
    return;
  }
  if (!is_answer) {
    return;
  }
  const raft_configuration& members = engine_->configuration;
  for (unsigned i = 0; i < members.n; ++i) {
    const server_id member{members.servers[i].id};
    if (libraft_number_of(member) == libraft_number_of(from)) {
      forget_stranger(member);
      strangers_.push_back({from, member});
      return;
    }
  }
}

/// Whoever was in this member's place: there is another one, or the member is back.
QUORLITE_DECL void libraft_admission::forget_stranger(server_id member) noexcept {
  strangers_.erase(
      std::remove_if(strangers_.begin(), strangers_.end(),
                     [&](const libraft_stranger& one) { return one.member == member; }),
      strangers_.end());
}

QUORLITE_DECL std::vector<libraft_stranger> libraft_admission::strangers() const {
  std::vector<libraft_stranger> found;
  std::copy_if(strangers_.begin(), strangers_.end(), std::back_inserter(found),
               [this](const libraft_stranger& one) {
                 return libraft_is_member(*engine_, one.member) &&
                        !libraft_is_member(*engine_, one.id);
               });
  return found;
}

/// True for what only a leader sends.
[[nodiscard]] inline bool libraft_is_of_leader(const raft_message& message) noexcept {
  return message.type == RAFT_IO_APPEND_ENTRIES || message.type == RAFT_IO_INSTALL_SNAPSHOT;
}

/// Where memory is short nothing is known of a message, so it is lost.
QUORLITE_DECL bool libraft_admission::admits(const raft_message& message) noexcept try {
  const server_id from{message.server_id};
  told_upto_ = 0;
  if (from.value == engine_->id) {
    return false;  // at another member's address we hear ourselves: nobody is to be refused for it
  }
  note_stranger(message);
  bool is_admitted = std::none_of(refused_.begin(), refused_.end(),
                                  [&](const libraft_refused& each) { return each.id == from; });
  if (is_admitted && libraft_term_of(message) >= engine_->current_term) {  // 0: else it is rejected
    if (leads_beside_us(message)) {                                        // 8
      is_admitted =
          refuse(from, {strand_->cursor().at.index, {}, "leads in the term that is ours"});
    } else if (leads_beside_another(message)) {  // 10: of the two, who is wrong is not known here
      is_admitted = false;
    } else if (message.type == RAFT_IO_APPEND_ENTRIES) {
      is_admitted = admits_entries(from, message.append_entries);
    } else if (message.type == RAFT_IO_INSTALL_SNAPSHOT) {
      is_admitted = admits_snapshot(from, message.install_snapshot);
    } else if (message.type == RAFT_IO_REQUEST_VOTE) {  // 7: who can be elected has all of that
      is_admitted = message.request_vote.last_log_index >= settled_upto();
    }
  }
  if (is_admitted && libraft_is_of_leader(message) &&
      libraft_term_of(message) >= engine_->current_term) {
    heard_ = {libraft_term_of(message), from, libraft_now(*engine_)};
    strangers_.clear();  // it leads, and is answered from now on
  }
  dropped_ += is_admitted ? 0U : 1U;
  return is_admitted;
} catch (const std::bad_alloc&) {
  trail_->clear();
  ++dropped_;
  return false;
}

/// A term has one leader. libraft 0.15 takes that for granted: as a leader it would write what only
/// a follower has, over what only a leader has.
QUORLITE_DECL bool libraft_admission::leads_beside_us(const raft_message& message) const noexcept {
  return libraft_is_of_leader(message) && engine_->state == RAFT_LEADER &&
         libraft_term_of(message) == engine_->current_term;
}

/// And where we follow, the engine would answer one leader for what the other one has sent. Until
/// the first one is silent for so long that a voter would campaign.
QUORLITE_DECL bool libraft_admission::leads_beside_another(
    const raft_message& message) const noexcept {
  return libraft_is_of_leader(message) && engine_->state == RAFT_FOLLOWER &&
         heard_.in == libraft_term_of(message) && heard_.leader != server_id{message.server_id} &&
         libraft_now(*engine_) - heard_.at_ms < engine_->election_timeout;
}

/// What was judged and stored need not be read again.
QUORLITE_DECL void libraft_admission::received() noexcept try {
  if (told_upto_ != 0) {
    std::uint64_t stored = judge_->run().begin_place().entry;
    while (stored < told_upto_ && libraft_entry_at(engine_->log, stored + 1) != nullptr) {
      ++stored;
    }
    trail_->follow(judge_->run(), stored);
    told_upto_ = 0;
  }
  judge_.reset();
} catch (const std::bad_alloc&) {
  trail_->clear();
}

/// The one place that says whom it refused: once for each.
QUORLITE_DECL bool libraft_admission::refuse(server_id from, const history_objection& why) {
  refused_.push_back({from, why.at, why.compared, why.why});
  heard_ = heard_.leader == from ? heard_leader{} : heard_;
  return false;
}

QUORLITE_DECL void libraft_admission::readmit(server_id id) noexcept {
  refused_.erase(std::remove_if(refused_.begin(), refused_.end(),
                                [&](const libraft_refused& each) { return each.id == id; }),
                 refused_.end());
}

// ---- entries

QUORLITE_DECL std::uint64_t libraft_admission::settled_upto() const noexcept {
  return std::max(
      {strand_->cursor().entry, settled_at_start_, std::uint64_t{engine_->commit_index}});
}

QUORLITE_DECL std::uint64_t libraft_admission::contradicts_log(
    const raft_append_entries& message) const noexcept {
  const std::uint64_t settled = settled_upto();
  const auto differs = [&](std::uint64_t index, raft_term in) {
    const term here = libraft_term_at(engine_->log, index);
    const bool is_later = index < engine_->log.snapshot.last_index &&
                          in > engine_->log.snapshot.last_term;  // terms never fall along a log
    return index <= settled && (here != term{} ? here != term{in} : is_later);
  };
  const std::uint64_t previous = message.prev_log_index;
  if (differs(previous, message.prev_log_term)) {
    return previous;
  }
  for (unsigned i = 0; i < message.n_entries; ++i) {
    if (differs(previous + 1 + i, message.entries[i].term)) {
      return previous + 1 + i;
    }
  }
  return 0;
}

/// @returns the first entry that was written as another one; nothing: none says so
[[nodiscard]] inline const raft_entry* misplaced_entry(const raft_append_entries& message) {
  for (unsigned i = 0; i < message.n_entries; ++i) {
    const raft_entry& one = message.entries[i];
    const std::uint64_t told =
        one.type == RAFT_COMMAND ? libraft_batch::entry_in(libraft_bytes(one.buf)) : 0;
    if (told != 0 && told != message.prev_log_index + 1 + i) {
      return &one;
    }
  }
  return nullptr;
}

/// One term and one index is one entry, unless a term had two leaders: somebody forgot whom it had
/// chosen. The engine compares terms only, and would take its own entry for the leader's.
/// @returns the first entry that is another one here; 0: there is none
QUORLITE_DECL std::uint64_t libraft_admission::contradicts_entry(
    const raft_append_entries& message) const noexcept {
  for (unsigned i = 0; i < message.n_entries; ++i) {
    const raft_entry& theirs = message.entries[i];
    const std::uint64_t index = message.prev_log_index + 1 + i;
    const raft_entry* const ours = libraft_entry_at(engine_->log, index);
    if (ours == nullptr || ours->term != theirs.term) {
      continue;
    }
    const bytes_view one = libraft_bytes(ours->buf);
    const bytes_view other = libraft_bytes(theirs.buf);
    if (ours->type != theirs.type ||
        !std::equal(one.begin(), one.end(), other.begin(), other.end())) {
      return index;
    }
  }
  return 0;
}

QUORLITE_DECL bool libraft_admission::admits_entries(server_id from,
                                                     const raft_append_entries& message) {
  if (const raft_entry* const misplaced = misplaced_entry(message)) {
    const bool is_whole = libraft_batch::decode(libraft_bytes(misplaced->buf)).has_value();
    return is_whole && refuse(from, {strand_->cursor().at.index, {}, "has lost a part of its log"});
  }
  if (const std::uint64_t entry = contradicts_log(message)) {  // 1
    const log_index at = strand_->cursor().at.index;
    const auto place = trail_->behind(entry);
    return refuse(from,
                  {place ? place->at.index : at, {}, "has another log than was applied here"});
  }
  if (const std::uint64_t entry = contradicts_entry(message)) {  // 9
    const auto place = trail_->behind(entry);
    return refuse(from, {place ? place->at.index : strand_->cursor().at.index,
                         {},
                         "has another entry of the same term than is here"});
  }
  const std::uint64_t previous = message.prev_log_index;
  if (previous == 0 && engine_->log.offset != 0 && message.n_entries != 0) {
    return false;  // 5: what ours begins with is not in there, and the engine would append it all
  }
  const bool is_in_log =
      previous == 0 || (message.prev_log_term != 0 &&
                        libraft_term_at(engine_->log, previous) == term{message.prev_log_term});
  if (message.n_entries == 0 || !is_in_log || !carry_trail(previous)) {  // 5
    return true;
  }
  const std::uint64_t behind = std::max(previous, trail_->begin_place().entry);
  if (!trail_->behind(behind) || behind >= previous + message.n_entries) {
    return true;
  }
  const history_verdict said = judge(message, behind);
  if (said != history_verdict::fine) {
    return said == history_verdict::refuse && refuse(from, judge_->objection());
  }
  const bool is_behind_end = trail_->end_place().entry == previous &&
                             libraft_entry_at(engine_->log, previous + 1) == nullptr;
  told_upto_ = is_behind_end ? previous + message.n_entries : 0;
  cut_trail(message);
  return true;
}

/// 2 to 4. @param behind entries up to there are one with ours
QUORLITE_DECL history_verdict libraft_admission::judge(const raft_append_entries& message,
                                                       std::uint64_t behind) {
  judge_.emplace(strand_->machine(), *trail_, *trail_->behind(behind));
  for (std::uint64_t i = behind - message.prev_log_index; i < message.n_entries; ++i) {
    const history_verdict said = judge(message.entries[i], message.prev_log_index + 1 + i);
    if (said != history_verdict::fine) {
      return said;
    }
  }
  return history_verdict::fine;
}

QUORLITE_DECL history_verdict libraft_admission::judge(const raft_entry& entry,
                                                       std::uint64_t index) {
  if (entry.type != RAFT_COMMAND) {
    judge_->pass(index);
    return history_verdict::fine;
  }
  const result<libraft_batch> batch = libraft_batch::decode(libraft_bytes(entry.buf));
  history_verdict said = batch ? history_verdict::fine : history_verdict::drop;  // 4
  if (batch) {
    batch->for_each([&](bytes_view command) {
      said = judge_->add(index, command);
      return said == history_verdict::fine;
    });
  }
  return said;
}

// ---- snapshots

/// The machine may know of no history yet, as after a restart with databases in memory. What the
/// folder names was applied here: a snapshot from there on has a history. Of one that ends before
/// it the engine takes nothing, for its log goes on from there.
/// @returns nullptr: none
QUORLITE_DECL const char* libraft_admission::folder_objection(const snapshot_history& told,
                                                              std::uint64_t last) const noexcept {
  if (cluster_of_folder_ == cluster_identity{}) {
    return nullptr;
  }
  if (told.begun != history_identity{}) {
    return told.begun.cluster == cluster_of_folder_ ? nullptr : "has a snapshot of another cluster";
  }
  const bool is_begun_here = strand_->machine().base().begun != history_identity{};
  return is_begun_here || last < settled_at_start_ ? nullptr : "has a snapshot without a history";
}

/// Else it answers at once, or not at all, and looks at none of its bytes.
QUORLITE_DECL bool libraft_admission::is_to_install(
    const raft_install_snapshot& message) const noexcept {
  const term here = libraft_term_at(engine_->log, message.last_index);
  return engine_->snapshot.pending.term == 0 && engine_->snapshot.put.data == nullptr &&
         engine_->log.snapshot.last_index < message.last_index &&
         (here == term{} || here < term{message.last_term});
}

/// Of a newer version it may well be: the restore says so. @param header of `whole`
[[nodiscard]] inline bool libraft_snapshot_is_whole(const libraft_snapshot_header& header,
                                                    bytes_view whole) {
  libraft_snapshot_checksums check;
  static_cast<void>(check.append(whole.subspan(header.size_bytes())));
  const std::error_code said = check.finish();
  return said != errc::corrupt && said != errc::malformed;
}

/// 11: a damaged one is looked at here, all of it. The engine forgets its log before it tells
/// anybody of the snapshot, so a server that finds it out later cannot go on.
QUORLITE_DECL bool libraft_admission::admits_snapshot(server_id from,
                                                      const raft_install_snapshot& message) {
  const result<libraft_snapshot_header> header =
      libraft_snapshot_header::decode(libraft_bytes(message.data));
  const log_index at = header ? header->at.at.index : log_index{};
  const term here = libraft_term_at(engine_->log, message.last_index);
  if (message.last_index <= settled_upto() && here != term{} && here != term{message.last_term}) {
    return refuse(from, {at, {}, "has another log than was applied here"});  // 1
  }
  if (header) {
    if (const char* const why = folder_objection(header->history, message.last_index)) {
      return refuse(from, {at, {}, why});
    }
    if (const auto found = objection_to(header->history, at, strand_->machine())) {  // 6
      return refuse(from, *found);
    }
  }
  if (is_to_install(message) &&
      (!header || !libraft_snapshot_is_whole(*header, libraft_bytes(message.data)))) {
    return refuse(from, {at, {}, "sends a damaged snapshot"});
  }
  trail_->clear();  // the engine may take it in the place of its log
  return true;
}

// ---- the trail along our log

QUORLITE_DECL void libraft_admission::begin_trail() noexcept {
  const libraft_cursor& stands = strand_->cursor();
  history_place place = place_of(strand_->machine(), stands.entry);
  const history_position brought = place.at;
  if (brought.index != stands.at.index) {  // a replay has not come to what the machine has already
    const log_index begins_at = place.begun.begins_at;
    place.at = {stands.at.index, {}};
    place.is_known = begins_at == log_index{} || stands.at.index < begins_at;
  }
  trail_->begin(place, brought);
}

QUORLITE_DECL bool libraft_admission::carry_trail(std::uint64_t upto) {
  const std::uint64_t stands = strand_->cursor().entry;
  const bool is_behind = trail_->is_empty() || trail_->end_place().entry < stands;
  if (is_behind || trail_->begin_place().entry > std::max(stands, upto)) {
    begin_trail();
  }
  for (std::uint64_t next = trail_->end_place().entry + 1; next <= upto; ++next) {
    const raft_entry* const entry = libraft_entry_at(engine_->log, next);
    if (entry == nullptr) {
      return false;
    }
    if (entry->type != RAFT_COMMAND) {
      trail_->pass(next);
      continue;
    }
    const result<libraft_batch> batch = libraft_batch::decode(libraft_bytes(entry->buf));
    if (!batch) {
      return false;
    }
    batch->for_each([&](bytes_view command) {
      carry(*trail_, next, command);
      return true;
    });
  }
  return true;
}

/// The engine takes these entries in the place of ours, if it takes them.
QUORLITE_DECL void libraft_admission::cut_trail(const raft_append_entries& message) noexcept {
  for (unsigned i = 0; i < message.n_entries; ++i) {
    const std::uint64_t index = message.prev_log_index + 1 + i;
    const term here = libraft_term_at(engine_->log, index);
    if (here != term{} && here != term{message.entries[i].term}) {
      return trail_->cut(index);
    }
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
