/// @file
/// Bodies of machine_state.hpp: leadership, and the state as a whole.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/machine/database_write.hpp"
#include "quorlite/detail/machine/machine_notes.hpp"
#include "quorlite/detail/machine/machine_parts.hpp"
#include "quorlite/detail/machine/machine_state.hpp"
#include "quorlite/detail/machine/pinned_state.hpp"
#include "quorlite/detail/machine/staged_restore.hpp"
#include "quorlite/detail/machine/stored_base.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL machine_state::machine_state(const fsm_options& options, bool entry_terms)
    : machine_entries(options, entry_terms) {}
QUORLITE_DECL machine_state::~machine_state() = default;

QUORLITE_DECL const machine_counters& machine_state::counters() const noexcept {
  return parts_->counters;
}
QUORLITE_DECL log_position machine_state::durable() const noexcept { return parts_->durable; }

QUORLITE_DECL std::uint64_t machine_state::staged_bytes() const noexcept {
  return parts_->assembly.bytes_held();
}

QUORLITE_DECL base_history machine_state::base() const noexcept {
  const history_anchors& written = parts_->line.anchors();
  return {parts_->line.identity(), written.replay_from, written.at, written.ahead};
}
QUORLITE_DECL history_position machine_state::brought() const noexcept {
  return {parts_->staged_up_to, parts_->staged_hash()};
}
QUORLITE_DECL history_match machine_state::matches(log_index at, std::uint64_t low) const noexcept {
  const std::optional<std::uint64_t> here = parts_->line.low_as_of(at);
  return !here          ? history_match::not_known
         : *here == low ? history_match::equal
                        : history_match::differs;
}

QUORLITE_DECL const std::shared_ptr<memory_gauge>& machine_state::gauge() const noexcept {
  return parts_->databases.gauge();
}
QUORLITE_DECL const quorlite::leader_info& machine_state::leader() const noexcept {
  return parts_->proposals.leader();
}
QUORLITE_DECL proposal_table& machine_state::proposals() noexcept { return parts_->proposals; }
QUORLITE_DECL std::unique_ptr<restore_target> machine_state::take_installed() noexcept {
  return std::move(parts_->installed);
}
QUORLITE_DECL bool machine_state::is_behind_base() const noexcept {
  const bool ended = parts_->told.value != 0 && parts_->told < parts_->applied.index;
  return ended || parts_->staged_up_to < parts_->applied.index || is_recovering();
}

QUORLITE_DECL void machine_state::halt_behind_base() noexcept try {
  const log_index log = parts_->told.value != 0 ? parts_->told : parts_->staged_up_to;
  const log_index files = std::max(parts_->applied.index, parts_->redo_until);
  // A flush that a crash cut short has left pages of two positions: SQLite opens no such file.
  const char* const remedy =
      is_recovering()
          ? "Keep the files, of which a crash cut the writing short: without the end of the log "
            "they are no databases. Bring that back, or the whole server from a backup; if others "
            "have the rows, start it with an empty folder. The files were on the way to"
          : "Keep the files, and start this server with an empty folder; if it is the only one, "
            "export them. They may hold everything up to";
  halt(errc::log_too_short,
       "the log ends at " + std::to_string(std::min(log, files).value) +
           ", and what it had behind that is gone. " + remedy,
       files);
} catch (const std::bad_alloc&) {
  halt(errc::log_too_short, "the log ends before the files, at", parts_->applied.index);
}

QUORLITE_DECL bool machine_state::is_blank() const {
  return !parts_->line.has_begun() && parts_->databases.existing().empty() &&
         parts_->outcomes.size() == 0 && parts_->outcomes.floor() == transaction_id{} &&
         parts_->assembly.entries_held() == 0;
}

// ---- leadership

QUORLITE_DECL std::error_code machine_state::name_proposal(proposal& planned, term in_term) {
  const result<transaction_id> id = parts_->proposals.next_id(in_term);
  if (!id) {
    return id.error();
  }
  planned.id = *id;
  planned.witness = parts_->line.has_begun()
                        ? history_witness{parts_->applied.index, parts_->line.position().hash.low}
                        : history_witness{};
  return {};
}

QUORLITE_DECL void machine_state::change_leadership(const leadership& now) {
  if (parts_->proposals.is_loss(now)) {
    parts_->databases.discard_heads();
  }
  parts_->proposals.change_leadership(now);
}

QUORLITE_DECL void machine_state::settle(proposal_token which, outcome how, settle_reason why) {
  const row settled = parts_->proposals.take(which);
  if (settled == nullptr) {
    return;
  }
  if (settled->barrier) {
    parts_->proposals.answer(
        settled, how == outcome::committed ? proposal_state::applied : proposal_state::not_applied,
        why);
  } else if (how == outcome::not_applied && why == settle_reason::busy &&
             parts_->proposals.refuse_part(settled, which)) {
    return;  // who sends the parts proposes it again
  } else if (how == outcome::not_applied) {
    drop_writes(*settled);  // also if its waiter has left: what it built on the heads goes with it
    parts_->proposals.answer(settled, proposal_state::not_applied, why);
  } else if (how == outcome::unknown && settled->state == proposal_state::waiting) {
    parts_->proposals.doubt(settled, why);
  }  // good news is for apply to tell
}

QUORLITE_DECL void machine_state::end() noexcept {
  const auto held = hold();
  parts_->databases.discard_heads();
  parts_->proposals.end();
}

/// What was installed is in the row, also if this throws.
/// @param by the name of the versions
inline void install_heads(proposal& proposed, std::span<database_write> writes, transaction_id by) {
  proposed.writes.reserve(writes.size());
  for (database_write& write : writes) {
    proposed.writes.push_back({write.target,
                               write.store,
                               nullptr,
                               nullptr,
                               write.ticket,
                               {},
                               write.page_count,
                               write.hash,
                               write.version,
                               {}});
    const std::error_code error = write.store->install_head(
        write.ticket.history, std::move(write.pages), write.page_count, write.hash, by);
    QUORLITE_ASSERT(!error);  // versions change under the lock only
    result<page_store::pin> made =
        write.store->pin_version(write.ticket.history, write.version, pin_kind::reader);
    QUORLITE_ASSERT(made.has_value());
    write.committed.emplace(std::move(*made));
  }
}

QUORLITE_DECL result<proposal_token> machine_state::enter(const row& proposed,
                                                          std::span<database_write> writes,
                                                          std::uint32_t entries) {
  if (const std::error_code error = parts_->proposals.may_propose(proposed->id.term)) {
    return fail(error);
  }
  for (const database_write& write : writes) {
    const bool fits = write.target->store() == write.store &&
                      write.store->history() == write.ticket.history &&
                      write.store->head().version.next() == write.version;
    if (!fits) {
      return fail(errc::stale_term);
    }
  }
  try {
    install_heads(*proposed, writes, parts_->maker(proposed->id));
    return parts_->proposals.add(proposed, entries);
  } catch (const std::bad_alloc&) {
    drop_writes(*proposed);
    throw std::bad_alloc();  // clang-tidy takes a bare `throw` for any exception
  }
}

/// Certain, for the part that commits was not proposed.
QUORLITE_DECL void machine_state::give_up(const row& sent, settle_reason why) {
  if (sent->state == proposal_state::waiting) {
    drop_writes(*sent);
    parts_->proposals.answer(sent, proposal_state::not_applied, why);
  }
}

QUORLITE_DECL transaction_outcome machine_state::outcome_of(transaction_id id) const {
  if (parts_->outcomes.find(id)) {
    return transaction_outcome::committed;
  }
  if (id <= parts_->outcomes.floor()) {
    return transaction_outcome::expired;
  }
  // A legacy one has no term of its own: it may be committed in any later one.
  const bool overtaken = entry_terms_ && id.term.value != 0 && id.term < parts_->applied.term;
  return overtaken ? transaction_outcome::not_committed : transaction_outcome::undecided;
}

// ---- the state as a whole

QUORLITE_DECL std::error_code machine_state::take_base(loaded_base&& base) {
  machine_notes notes;
  notes.last_ids.resize(base.stores.size());
  if (!base.found.notes.empty()) {
    result<machine_notes> read =
        decode_notes(base.found.notes, base.found.at.index, base.stores.size());
    if (!read || read->outcomes.cluster_id() != options_.cluster_id) {
      return read ? make_error_code(errc::malformed) : read.error();
    }
    notes = std::move(*read);
    parts_->outcomes = std::move(notes.outcomes);
  }
  for (std::size_t i = 0; i < base.stores.size(); ++i) {
    const std::shared_ptr<database> target =
        parts_->databases.take_in(base.found.databases[i].name);
    base.stores[i]->set_maker(notes.last_ids[i]);
    target->replace_store(base.stores[i]);
    target->set_exists(true);
  }
  parts_->applied = base.found.at;
  parts_->recover_until(base.found.ahead > parts_->applied.index ? base.found.ahead : log_index{});
  parts_->staged_up_to = base.found.replay_from;
  parts_->durable = parts_->staged_up_to == parts_->applied.index
                        ? parts_->applied
                        : log_position{parts_->staged_up_to, {}};
  const log_index ahead = std::max(base.found.ahead, parts_->applied.index);
  note(parts_->line.load(notes.history, parts_->staged_up_to, parts_->applied.index,
                         {ahead, base.found.ahead_history}));
  return parts_->health.error;
}

/// @param replay_from the history as of there, for a base
QUORLITE_DECL std::shared_ptr<pinned_state> machine_state::capture(
    const history_hash& replay_from) const {
  auto captured = std::make_shared<pinned_state>();
  pinned_state& state = *captured;
  state.at = parts_->applied;
  state.replay_from = replay_position().index;
  state.history = parts_->line.told();
  state.replayed_history = replay_from;
  std::vector<transaction_id> makers;
  for (const std::shared_ptr<database>& target : parts_->databases.existing()) {
    std::shared_ptr<page_store> store = target->store();
    page_store::pin pin = store->pin_committed();
    makers.push_back(pin.at().made_by);
    state.databases.push_back({target->name(), std::move(store), std::move(pin)});
  }
  if (parts_->line.has_begun()) {
    encode_notes(parts_->line.notes(replay_from), makers, parts_->outcomes, state.notes);
  } else {
    encode_notes(std::nullopt, {}, parts_->outcomes, state.notes);
  }
  parts_->assembly.capture(state.staged);
  return captured;
}

/// All that is staged begins behind it.
QUORLITE_DECL history_position machine_state::replay_position() const noexcept {
  return parts_->assembly.replay_from({parts_->staged_up_to, parts_->staged_hash()});
}

QUORLITE_DECL std::shared_ptr<pinned_state> machine_state::capture() const {
  return capture(replay_position().hash);
}

QUORLITE_DECL result<std::shared_ptr<pinned_state>> machine_state::capture_whole() {
  if (parts_->health.halted) {
    return fail(errc::halted);
  }
  if (parts_->staged_up_to < parts_->applied.index || parts_->redo_until.value != 0) {
    return fail(errc::busy);  // a replay is still bringing back what is staged, or torn
  }
  ++parts_->counters.snapshots_taken;
  return capture(history_hash{});
}

QUORLITE_DECL bool machine_state::contradicts(const std::optional<history_notes>& notes,
                                              log_index at) const {
  const history& line = parts_->line;
  if (!notes) {
    return line.has_begun() && at >= line.identity().begins_at;
  }
  if (!line.has_begun()) {
    return notes->begins_at <= parts_->applied.index;
  }
  const history_identity told{notes->begins_at, notes->begins_in, notes->cluster};
  const auto differs = [&line](log_index there, const history_hash& hash) {
    const std::optional<std::uint64_t> low = line.low_as_of(there);
    return low && *low != hash.low;
  };
  bool found = told != line.identity() || differs(at, notes->at);
  const history_marks& marks = notes->marks;
  for (std::size_t i = 0; i < marks.size(); ++i) {
    const std::uint64_t number = marks.newest() - marks.size() + 1 + i;
    found = found || differs(log_index{number * history_marks::distance}, marks.from_oldest(i));
  }
  return found;
}

QUORLITE_DECL apply_result machine_state::install(snapshot_stage& finished, const void* owner,
                                                  log_position engine_at, stores& replaced) {
  auto& stage = static_cast<staged_restore&>(finished);
  QUORLITE_ASSERT(stage.finished_for(owner));
  if (parts_->health.halted) {
    return apply_result::halted;
  }
  if (contradicts(stage.history(), stage.at().index)) {
    return halt(errc::diverged, "a snapshot of another history was brought, of", stage.at().index);
  }
  const log_index before = parts_->applied.index;
  if (stage.at().index > parts_->applied.index) {
    swap_in(stage.take({engine_at.index, std::max(engine_at.term, parts_->applied.term)}),
            replaced);
    ++parts_->counters.snapshots_installed;
  } else if (stage.at().index > parts_->staged_up_to) {
    // A restart: entries up to here will not be replayed, so what they staged is taken from it.
    parts_->staged_up_to = stage.at().index;
    parts_->told = std::max(parts_->told, stage.at().index);
    note(parts_->line.replay_behind(
        {stage.at().index, stage.history() ? stage.history()->at : history_hash{}}));
    parts_->assembly = stage.take({}).assembly;
  }
  if (engine_at.index > parts_->applied.index) {
    advance(engine_at);  // entries after the content held nothing for us
  }
  return end_of_redo(parts_->applied.index > before ? apply_result::applied
                                                    : apply_result::already);
}

QUORLITE_DECL void machine_state::swap_in(restored_state state, stores& replaced) {
  registry::list targets;
  for (const snapshot_database& line : state.header.databases) {
    targets.push_back(parts_->databases.take_in(line.name));
  }
  for (const std::shared_ptr<database>& present : parts_->databases.existing()) {
    // Never empty for a moment: what stays is replaced in one step.
    if (std::find(targets.begin(), targets.end(), present) == targets.end()) {
      replaced.push_back(present->replace_store(present->make_store({})));
      present->set_exists(false);
    }
  }
  for (std::size_t i = 0; i < targets.size(); ++i) {
    replaced.push_back(targets[i]->replace_store(std::move(state.stores[i])));
    targets[i]->set_exists(true);
  }
  parts_->installed = std::move(state.target);
  parts_->recover_until({});
  if (state.history) {
    note(parts_->line.install(*state.history, state.header.at.index));
  }
  parts_->assembly = std::move(state.assembly);
  parts_->outcomes = std::move(state.outcomes);
  for (const row& waiting : parts_->proposals.rows()) {
    if (const auto at = parts_->outcomes.find(waiting->id)) {
      parts_->proposals.answer(waiting, proposal_state::applied, settle_reason::none,
                               {*at, waiting->id.term});
    } else if (waiting->id <= parts_->outcomes.floor()) {
      parts_->proposals.answer(waiting, proposal_state::unknown, settle_reason::leadership_lost);
    }
  }
  advance(state.header.at);
}

QUORLITE_DECL bool machine_state::is_flush_due(log_index upto, std::size_t unless_dirty) const {
  // What is staged came with a snapshot, or a replay would stage what was refused here, or one is
  // under way: until it ends, no base may say that the log brings it again.
  const bool replay_would_differ = parts_->assembly.any_from_snapshot() ||
                                   parts_->staged_up_to < parts_->applied.index ||
                                   parts_->assembly.last_refusal() > replay_position().index;
  const bool enough = unless_dirty != 0 && parts_->databases.gauge()->dirty_bytes() <= unless_dirty;
  return parts_->durable.index < upto && parts_->durable.index != parts_->applied.index &&
         !enough && parts_->redo_until.value == 0 && !replay_would_differ;
}

QUORLITE_DECL void machine_state::flushed(const pinned_state& state, std::error_code error) {
  if (error == errc::stopped) {
    return;  // the replica has ended meanwhile
  }
  if (error) {
    lock_.say("a flush failed: " + error.message());
  }
  if (!error) {
    ++parts_->counters.flushes;
    parts_->durable =
        state.replay_from == state.at.index ? state.at : log_position{state.replay_from, {}};
    const history_position at{state.at.index, state.history.at.hash};
    parts_->line.set_anchors(
        {{state.replay_from, state.replayed_history}, at, at, parts_->line.anchors().snapshot});
  } else if ((error != errc::storage_full && error != errc::out_of_memory) ||
             parts_->databases.gauge()->dirty_bytes() > options_.memory_bytes) {
    // No room for what comes in either: no promise is broken, but this replica cannot follow.
    const bool no_room = error == errc::storage_full || error == errc::out_of_memory;
    halt(no_room ? static_cast<errc>(error.value()) : errc::storage_broken,
         "a flush failed (" + error.message() + ") at", state.at.index);
  }
}

QUORLITE_DECL void machine_state::evict() {
  for (const std::shared_ptr<database>& target : parts_->databases.existing()) {
    const std::size_t taken = parts_->databases.gauge()->bytes();
    const std::size_t most = std::min(taken, options_.memory_bytes / 2);
    target->store()->evict(taken - most);  // nothing: what it left of the last call may stay
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
