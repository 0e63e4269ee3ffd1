/// @file
/// Bodies of machine_entries.hpp: what entries do.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/machine/database_write.hpp"
#include "quorlite/detail/machine/hashed_entry.hpp"
#include "quorlite/detail/machine/machine_entries.hpp"
#include "quorlite/detail/machine/machine_parts.hpp"
#include "quorlite/detail/machine/pinned_state.hpp"
#include "quorlite/detail/machine/prepare_frames.hpp"
#include "quorlite/detail/machine/stored_base.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL machine_entries::machine_entries(const fsm_options& options, bool entry_terms)
    : options_(options),
      entry_terms_(entry_terms),
      lock_(options.log, options.log_context),
      parts_(std::make_unique<parts>(options)) {}
QUORLITE_DECL machine_entries::~machine_entries() = default;

QUORLITE_DECL const quorlite::health& machine_entries::health() const noexcept {
  return parts_->health;
}
QUORLITE_DECL log_position machine_entries::applied() const noexcept { return parts_->applied; }
QUORLITE_DECL bool machine_entries::is_recovering() const noexcept {
  return parts_->redo_until.value != 0;
}
QUORLITE_DECL registry& machine_entries::databases() noexcept { return parts_->databases; }
QUORLITE_DECL transaction_assembly& machine_entries::assembly() noexcept {
  return parts_->assembly;
}

QUORLITE_DECL bool machine_entries::misses_before(log_index at) const noexcept {
  return at > parts_->staged_up_to.next();
}

QUORLITE_DECL void machine_entries::overtake(term now) noexcept { parts_->assembly.overtake(now); }

QUORLITE_DECL void machine_entries::count_frames(const hashed_entry& entry,
                                                 std::uint64_t page_bytes) noexcept {
  parts_->counters.entry_bytes += entry.bytes.size();
  parts_->counters.page_bytes += page_bytes;
}

QUORLITE_DECL std::optional<apply_result> machine_entries::assemble(const hashed_entry& entry,
                                                                    transaction_id id,
                                                                    const write_set_command& frames,
                                                                    assembled_transaction& whole) {
  count_frames(entry, full_page_bytes(frames));
  result<std::optional<assembled_transaction>> taken =
      parts_->assembly.take(id, frames, entry, parts_->line.position().hash);
  if (!taken) {
    return refuse(entry, id, taken.error());
  }
  if (!*taken) {
    if (const row own = parts_->proposals.find(id)) {
      own->parts.applied = frames.part + 1;
      own->parts.tell();
    }
    advance(entry);
    return apply_result::applied;
  }
  if (commit_own(id, **taken)) {
    return committed(entry, id);
  }
  whole = std::move(**taken);
  return std::nullopt;
}

/// A function of the log alone: whether the history has begun is one.
QUORLITE_DECL std::size_t machine_entries::databases_max() const noexcept {
  return parts_->line.has_begun() ? limits::databases : limits::databases_before_history;
}

QUORLITE_DECL apply_result machine_entries::carry_out(const hashed_entry& entry,
                                                      const command& what, stores& replaced) {
  if (const auto* const open = std::get_if<open_command>(&what.body)) {
    const std::shared_ptr<database> known = parts_->databases.find(open->name);
    if (known == nullptr || !known->exists()) {
      if (parts_->databases.existing_count() >= databases_max()) {
        return refuse(entry, what.id, make_error_code(errc::too_many_databases));
      }
      parts_->databases.take_in(open->name)->set_exists(true);
    }
  } else if (const auto* const drop = std::get_if<drop_command>(&what.body)) {
    const std::shared_ptr<database> target = parts_->databases.find(drop->name);
    const bool exists = target != nullptr && target->exists();
    if (drop->builds_on != (exists ? target->store()->committed().made_by : transaction_id{})) {
      return refuse(entry, what.id, make_error_code(errc::conflict));
    }
    if (exists) {
      replaced.push_back(target->replace_store(target->make_store({})));
      target->set_exists(false);
    }
    parts_->assembly.drop_database(drop->name);
  } else if (const auto* const undo = std::get_if<undo_command>(&what.body)) {
    parts_->assembly.undo(undo->target);
  }  // a checkpoint is a hint, a barrier is there to be applied
  return done(entry, what.id);
}

/// The leader's own transaction, if the heads still have it: the pages are there already.
/// @returns false if the heads are not, or no longer, the ones that it was proposed with
QUORLITE_DECL bool machine_entries::commit_own(transaction_id id,
                                               const assembled_transaction& whole) {
  const row own = parts_->proposals.find(id);
  if (own == nullptr || own->writes.size() != whole.databases.size()) {
    return false;
  }
  for (const database_write_set& frames : whole.databases) {
    const auto found = std::find_if(
        own->writes.begin(), own->writes.end(),
        [&](const database_write& write) { return write.target->name() == frames.name; });
    if (found == own->writes.end() || !found->target->exists() ||
        found->target->store() != found->store ||
        found->store->history() != found->ticket.history || found->hash != frames.result_hash) {
      return false;
    }
    const page_store::state base = found->store->committed();
    const bool next =
        base.version.next() == found->version && found->store->head().version >= found->version;
    if (!next || check_base(frames, base)) {
      return false;
    }
  }
  for (const database_write& write : own->writes) {
    write.store->commit_next();
  }
  return true;
}

/// @param restart see page_store::install_committed()
QUORLITE_DECL void machine_entries::install(database_write& ready, transaction_id by,
                                            bool restart) {
  if (ready.store->head().version != ready.store->committed().version) {
    ready.store->discard_head();  // another leader's entry: what is pending here is void
  }
  ready.store->install_committed(std::move(ready.pages), ready.page_count, ready.hash,
                                 parts_->maker(by), restart);
}

QUORLITE_DECL void machine_entries::install(prepared_transaction& ready, transaction_id by) {
  for (database_write& write : ready.writes()) {
    install(write, by);
  }
}

/// The pages are in place: the transaction is part of the history.
QUORLITE_DECL apply_result machine_entries::committed(const hashed_entry& entry,
                                                      transaction_id id) {
  parts_->assembly.end(id);
  parts_->outcomes.record(id, entry.at.index);
  ++parts_->counters.transactions;
  return done(entry, id);
}

QUORLITE_DECL apply_result machine_entries::done(const hashed_entry& entry, transaction_id id) {
  answer(entry, id);
  advance(entry);
  return apply_result::applied;
}

QUORLITE_DECL void machine_entries::answer(const hashed_entry& entry, transaction_id id) {
  if (const row own = parts_->proposals.find(id)) {
    parts_->proposals.answer(own, proposal_state::applied, settle_reason::none, entry.at);
  }
}

/// The entry changes nothing, on any replica.
QUORLITE_DECL apply_result machine_entries::refuse(const hashed_entry& entry, transaction_id id,
                                                   std::error_code why) {
  parts_->assembly.end(id);
  ++(why == errc::conflict ? parts_->counters.conflicts : parts_->counters.malformed);
  if (const row own = parts_->proposals.find(id)) {
    drop_writes(*own);
    parts_->proposals.answer(own, proposal_state::conflict, settle_reason::none, entry.at);
  }
  advance(entry);
  return apply_result::applied;
}

/// Foreign bytes mean the same to every replica: nothing. Damaged ones do not, so this replica must
/// not go on.
QUORLITE_DECL apply_result machine_entries::undecodable(const hashed_entry& entry,
                                                        std::error_code why) {
  if (why == errc::corrupt || why == errc::needs_upgrade) {
    return halt(static_cast<errc>(why.value()), why.message() + " in the entry at", entry.at.index);
  }
  ++parts_->counters.malformed;
  advance(entry);
  return apply_result::applied;
}

/// Call it after the rows of the entry were answered.
QUORLITE_DECL void machine_entries::advance(const hashed_entry& entry) {
  if (parts_->line.has_begun()) {
    note(parts_->line.add(entry.at.index, entry.bytes.size(), entry.digest));
  }
  advance(entry.at);
}

QUORLITE_DECL void machine_entries::advance(log_position to) {
  ++parts_->counters.entries;
  note(parts_->line.advance(to.index));
  parts_->told = std::max(parts_->told, to.index);
  parts_->applied.index = to.index;
  parts_->applied.term = to.term.value == 0 ? parts_->applied.term : to.term;
  parts_->staged_up_to = parts_->applied.index;
  if (entry_terms_) {
    parts_->proposals.overtake(parts_->applied.term);
  }
}

/// The base is at one position again, if the log is what it was made from: every page is what the
/// entries say.
QUORLITE_DECL apply_result machine_entries::end_of_redo(apply_result said) {
  if (parts_->health.halted) {
    return apply_result::halted;
  }
  if (parts_->redo_until.value == 0 || parts_->applied.index < parts_->redo_until) {
    return said;
  }
  parts_->recover_until({});
  for (const std::shared_ptr<database>& target : parts_->databases.existing()) {
    const std::shared_ptr<page_store> store = target->store();
    if (store->sum_of_hashes() != store->committed().hash) {
      return halt(errc::corrupt,
                  "after a crash the base and the log do not make '" + target->name() + "' at",
                  parts_->applied.index);
    }
  }
  return said;
}

/// A proposal that will not come: what was built on it cannot either.
QUORLITE_DECL void machine_entries::drop_writes(const proposal& lost) {
  for (const database_write& write : lost.writes) {
    const bool pending = write.store->history() == write.ticket.history &&
                         write.store->committed().version < write.version;
    if (pending) {
      write.store->discard_head();
    }
  }
}

QUORLITE_DECL apply_result machine_entries::halt(errc why, std::string_view what,
                                                 log_index at) noexcept {
  if (!parts_->health.halted) {
    quorlite::health& now = parts_->health;
    now.halted = true;
    now.error = make_error_code(why);
    parts_->databases.discard_heads();
    parts_->proposals.close();
    lock_.withdraw();
    try {
      now.what = std::string(what) + " log index " + std::to_string(at.value);
      lock_.say("halted: " + now.what + ": " + now.error.message());
    } catch (const std::bad_alloc&) {  // the code must do
    }
  }
  return apply_result::halted;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
