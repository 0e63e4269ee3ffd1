/// @file
/// Bodies of machine_state.hpp: the office, and the state as a whole.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/machine/machine_state.hpp"
#include "quorlite/detail/machine/staged_restore.hpp"
#include "quorlite/detail/machine/stored_base.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL machine_state::machine_state(const fsm_options& options, bool entry_terms)
    : options_(options),
      entry_terms_(entry_terms),
      databases_(options.lock_byte),
      assembly_(options.lock_byte, options.legacy),
      outcomes_(options.cluster_id) {}

// ---- the office

QUORLITE_DECL void machine_state::change_office(const leadership& now) {
  if (proposals_.is_loss(now)) {
    drop_tips();
  }
  proposals_.change_office(now);
}

QUORLITE_DECL void machine_state::settle(proposal_token which, outcome how, reason why) {
  const row settled = proposals_.take(which);
  if (settled == nullptr) {
    return;
  }
  if (settled->barrier) {
    proposals_.answer(settled, how == outcome::committed ? answer::applied : answer::not_applied,
                      why);
  } else if (how == outcome::not_applied) {
    drop_writes(*settled);  // also if its waiter has left: what it built on the tips goes with it
    proposals_.answer(settled, answer::not_applied, why);
  } else if (how == outcome::unknown && settled->answer == answer::waiting) {
    proposals_.doubt(settled, why);
  }  // good news is for apply to tell
}

QUORLITE_DECL result<proposal_token> machine_state::enter(const row& proposed,
                                                          std::span<database_write> writes,
                                                          std::uint32_t entries) {
  if (const std::error_code error = proposals_.may_propose(proposed->id.term)) {
    return failed(error);
  }
  for (const database_write& write : writes) {
    const bool fits = write.target->store() == write.store &&
                      write.store->epoch() == write.ticket.epoch &&
                      write.store->tip().version.next() == write.version;
    if (!fits) {
      return failed(errc::stale_term);
    }
  }
  for (database_write& write : writes) {
    const std::error_code error = write.store->install_tip(
        write.ticket.epoch, std::move(write.pages), write.page_count, write.hash);
    QUORLITE_ASSERT(!error);  // versions change under the lock only
    result<page_store::pin> made = write.store->pin_version(write.ticket.epoch, write.version);
    QUORLITE_ASSERT(made.has_value());
    write.committed.emplace(std::move(*made));
    proposed->writes.push_back({write.target,
                                write.store,
                                nullptr,
                                nullptr,
                                write.ticket,
                                {},
                                write.page_count,
                                write.hash,
                                write.version,
                                {}});
  }
  return proposals_.add(proposed, entries);
}

QUORLITE_DECL transaction_fate machine_state::fate_of(transaction_id id) const {
  if (outcomes_.find(id)) {
    return transaction_fate::committed;
  }
  if (id <= outcomes_.floor()) {
    return transaction_fate::expired;
  }
  // A legacy one has no term of its own: it may be committed in any later one.
  const bool overtaken = entry_terms_ && id.term.value != 0 && id.term < applied_.term;
  return overtaken ? transaction_fate::not_committed : transaction_fate::open;
}

QUORLITE_DECL void machine_state::drop_tips() {
  for (const std::shared_ptr<database>& target : databases_.all()) {
    target->store()->discard_tip();
  }
}

/// A proposal that will not come: what was built on it cannot either.
QUORLITE_DECL void machine_state::drop_writes(const proposal& lost) {
  for (const database_write& write : lost.writes) {
    const bool pending = write.store->epoch() == write.ticket.epoch &&
                         write.store->committed().version < write.version;
    if (pending) {
      write.store->discard_tip();
    }
  }
}

// ---- the state as a whole

QUORLITE_DECL std::error_code machine_state::take_base(loaded_base base) {
  if (!base.found.notes.empty()) {
    result<outcome_table> outcomes = outcome_table::decode(base.found.notes);
    if (!outcomes || outcomes->cluster_id() != options_.cluster_id) {
      return outcomes ? make_error_code(errc::malformed) : outcomes.error();
    }
    outcomes_ = std::move(*outcomes);
  }
  for (std::size_t i = 0; i < base.stores.size(); ++i) {
    const std::shared_ptr<database> target = databases_.take_in(base.found.databases[i].name);
    target->replace_store(base.stores[i]);
    target->set_exists(true);
  }
  applied_ = base.found.at;
  redo_until_ = base.found.ahead > applied_.index ? base.found.ahead : log_index{};
  staged_up_to_ = base.found.replay_from;
  durable_ = staged_up_to_ == applied_.index ? applied_ : log_position{staged_up_to_, {}};
  return {};
}

QUORLITE_DECL captured_state machine_state::capture() const {
  captured_state state;
  state.at = applied_;
  state.replay_from = assembly_.replay_from(staged_up_to_);
  for (const std::shared_ptr<database>& target : databases_.existing()) {
    std::shared_ptr<page_store> store = target->store();
    page_store::pin pin = store->pin_committed();
    state.databases.push_back({target->name(), std::move(store), std::move(pin)});
  }
  outcomes_.encode(state.notes);
  assembly_.capture(state.staged);
  return state;
}

QUORLITE_DECL result<captured_state> machine_state::capture_whole() {
  if (health_.halted) {
    return failed(errc::halted);
  }
  if (staged_up_to_ < applied_.index || redo_until_.value != 0) {
    return failed(errc::busy);  // a replay is still bringing back what is staged, or torn
  }
  ++counters_.snapshots_taken;
  return capture();
}

QUORLITE_DECL verdict machine_state::install(snapshot_stage& finished, const void* owner,
                                             log_position engine_at, stores& replaced) {
  auto& stage = static_cast<staged_restore&>(finished);
  QUORLITE_ASSERT(stage.finished_for(owner));
  if (health_.halted) {
    return verdict::halted;
  }
  const log_index before = applied_.index;
  if (stage.at().index > applied_.index) {
    swap_in(stage.take({engine_at.index, std::max(engine_at.term, applied_.term)}), replaced);
    ++counters_.snapshots_installed;
  } else if (stage.at().index > staged_up_to_) {
    // A restart: entries up to here will not be replayed, so what they staged is taken from it.
    staged_up_to_ = stage.at().index;
    assembly_ = stage.take({}).assembly;
  }
  if (engine_at.index > applied_.index) {
    advance(engine_at);  // entries after the content held nothing for us
  }
  return end_of_redo(applied_.index > before ? verdict::applied : verdict::already);
}

QUORLITE_DECL void machine_state::swap_in(restored_state state, stores& replaced) {
  registry::list targets;
  for (const snapshot_database& line : state.header.databases) {
    targets.push_back(databases_.take_in(line.name));
  }
  for (const std::shared_ptr<database>& present : databases_.existing()) {
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
  installed_ = std::move(state.target);
  redo_until_ = {};
  assembly_ = std::move(state.assembly);
  outcomes_ = std::move(state.outcomes);
  for (const row& waiting : proposals_.rows()) {
    if (const auto at = outcomes_.find(waiting->id)) {
      proposals_.answer(waiting, answer::applied, reason::none, {*at, waiting->id.term});
    } else if (waiting->id <= outcomes_.floor()) {
      proposals_.answer(waiting, answer::unknown, reason::leadership_lost);
    }
  }
  advance(state.header.at);
}

QUORLITE_DECL bool machine_state::is_flush_due(log_index upto, std::size_t unless_dirty) const {
  // What is staged came with a snapshot, or a replay would stage what was refused here: until it
  // ends, no base may say that the log brings it again.
  const bool replay_would_differ = assembly_.any_from_snapshot() ||
                                   assembly_.last_refusal() > assembly_.replay_from(staged_up_to_);
  const bool enough = unless_dirty != 0 && databases_.gauge()->dirty_bytes() <= unless_dirty;
  return durable_.index < upto && durable_.index != applied_.index && !enough &&
         redo_until_.value == 0 && !replay_would_differ;
}

QUORLITE_DECL void machine_state::flushed(const captured_state& state, std::error_code error) {
  if (!error) {
    ++counters_.flushes;
    durable_ = state.replay_from == state.at.index ? state.at : log_position{state.replay_from, {}};
  } else if (error != errc::storage_full ||
             databases_.gauge()->dirty_bytes() > options_.memory_bytes) {
    // No room for what comes in either: no promise is broken, but this replica cannot follow.
    halt(error == errc::storage_full ? errc::storage_full : errc::storage_broken,
         "a flush failed (" + error.message() + ") at", state.at.index);
  }
}

QUORLITE_DECL void machine_state::evict() {
  for (const std::shared_ptr<database>& target : databases_.existing()) {
    const std::size_t taken = databases_.gauge()->bytes();
    if (taken > options_.memory_bytes / 2) {
      target->store()->evict(taken - options_.memory_bytes / 2);
    }
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
