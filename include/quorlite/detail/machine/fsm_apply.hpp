/// @file
/// What each kind of entry does to the machine. A part of fsm.hpp; include that.
#pragma once

#include "quorlite/config.hpp"
#include "quorlite/fsm.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
verdict fsm<Consensus, Storage, Codec>::carry_out(const log_entry& entry, transaction_id id,
                                                  const detail::frames_command& frames) {
  result<std::optional<detail::assembled_transaction>> whole = std::optional<detail::assembled_transaction>{};
  {
    const std::lock_guard guard(mutex_);
    counters_.entry_bytes += entry.bytes.size();
    for (const detail::database_frames& one : frames.databases) {
      counters_.page_bytes += std::uint64_t{one.page_size} * one.pages.size();
    }
    whole = assembly_.take(id, frames, entry);
    if (!whole) {
      return refuse(entry, id, whole.error());
    }
    if (!*whole) {
      advance(entry.at);
      return verdict::applied;
    }
    // The leader's own, if the tips still have it: the pages are there already.
    const row own = proposals_.find(id);
    if (own != nullptr && promote_claims(*own, **whole)) {
      return committed(entry, id);
    }
  }
  return commit(entry, id, **whole);
}

/// Builds what a whole transaction commits, off every lock, and installs it.
template <consensus Consensus, storage Storage, detail::entry_codec Codec>
verdict fsm<Consensus, Storage, Codec>::commit(const log_entry& entry, transaction_id id,
                                               const detail::assembled_transaction& whole) {
  std::vector<detail::prepared_frames> ready;
  const bool redo = is_redoing();
  for (const detail::database_frames& frames : whole.databases) {
    result<detail::prepared_frames> one = prepare(frames, redo);
    if (!one) {
      const std::lock_guard guard(mutex_);
      if (one.error() == errc::diverged) {
        return halt(errc::diverged,
                    "other bytes than the leader's in '" + std::string(frames.name) + "' at",
                    entry.at.index);
      }
      return refuse(entry, id, one.error());
    }
    ready.push_back(std::move(*one));
  }
  const std::lock_guard guard(mutex_);
  for (detail::prepared_frames& one : ready) {
    if (one.store->tip().version != one.store->committed().version) {
      one.store->discard_tip();  // somebody else's entry: what this replica hoped for is void
    }
    one.store->install_committed(std::move(one.pages), one.page_count, one.hash);
  }
  return committed(entry, id);
}

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
result<detail::prepared_frames> fsm<Consensus, Storage, Codec>::prepare(const detail::database_frames& frames,
                                                                bool redo) const {
  std::shared_ptr<database> target = databases_.find(frames.name);
  if (target == nullptr || !target->exists()) {
    return failed(errc::no_such_database);
  }
  return detail::prepare_frames(frames, std::move(target), options_.lock_byte, redo);
}

/// @returns false if the tips are not, or no longer, the ones that `own` was proposed with
template <consensus Consensus, storage Storage, detail::entry_codec Codec>
bool fsm<Consensus, Storage, Codec>::promote_claims(const proposal_type& own,
                                                    const detail::assembled_transaction& whole) {
  if (own.claims.size() != whole.databases.size()) {
    return false;
  }
  for (const detail::database_frames& frames : whole.databases) {
    const detail::tip_claim* found = nullptr;
    for (const detail::tip_claim& claim : own.claims) {
      found = claim.target->name() == frames.name ? &claim : found;
    }
    if (found == nullptr || !found->target->exists() || found->target->store() != found->store ||
        found->store->epoch() != found->epoch || found->hash != frames.result_hash) {
      return false;
    }
    const detail::page_store::state base = found->store->committed();
    const bool next =
        base.version.next() == found->version && found->store->tip().version >= found->version;
    if (!next || base.counted() != frames.base_version || base.hash != frames.base_hash) {
      return false;
    }
  }
  for (const detail::tip_claim& claim : own.claims) {
    claim.store->promote();
  }
  return true;
}

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
verdict fsm<Consensus, Storage, Codec>::carry_out(const log_entry& entry, transaction_id id,
                                                  const detail::open_command& open) {
  const std::lock_guard guard(mutex_);
  const std::shared_ptr<database> known = databases_.find(open.name);
  if (known == nullptr || !known->exists()) {
    if (databases_.existing().size() >= limits::databases) {
      return refuse(entry, id, make_error_code(errc::too_many_databases));
    }
    databases_.take_in(open.name)->set_exists(true);
  }
  return done(entry, id);
}

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
verdict fsm<Consensus, Storage, Codec>::carry_out(const log_entry& entry, transaction_id id,
                                                  const detail::drop_command& drop) {
  std::shared_ptr<detail::page_store> replaced;  // freed after mutex_: it may take a while
  const std::lock_guard guard(mutex_);
  const std::shared_ptr<database> target = databases_.find(drop.name);
  if (target != nullptr && target->exists()) {
    replaced = target->replace_store(target->make_store({}));
    target->set_exists(false);
  }
  assembly_.foreign().drop(drop.name);
  return done(entry, id);
}

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
verdict fsm<Consensus, Storage, Codec>::carry_out(const log_entry& entry, transaction_id id,
                                                  const detail::undo_command& undo) {
  const std::lock_guard guard(mutex_);
  assembly_.undo(undo.target);
  return done(entry, id);
}

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
verdict fsm<Consensus, Storage, Codec>::done(const log_entry& entry, transaction_id id) {
  if (const row own = proposals_.find(id)) {
    proposals_.answer(own, answer::applied, reason::none, entry.at);
  }
  advance(entry.at);
  return verdict::applied;
}

/// The pages are in place: the transaction is part of the history.
template <consensus Consensus, storage Storage, detail::entry_codec Codec>
verdict fsm<Consensus, Storage, Codec>::committed(const log_entry& entry, transaction_id id) {
  assembly_.end(id);
  outcomes_.record(id, entry.at.index);
  ++counters_.transactions;
  return done(entry, id);
}

/// The entry changes nothing, on any replica.
template <consensus Consensus, storage Storage, detail::entry_codec Codec>
verdict fsm<Consensus, Storage, Codec>::refuse(const log_entry& entry, transaction_id id,
                                               std::error_code why) {
  assembly_.end(id);
  ++(why == errc::conflict ? counters_.conflicts : counters_.malformed);
  if (const row own = proposals_.find(id)) {
    drop_claims(*own);
    proposals_.answer(own, answer::conflict, reason::none, entry.at);
  }
  advance(entry.at);
  return verdict::applied;
}

/// Foreign bytes mean the same to every replica: nothing. Damaged ones do not, so this replica must
/// not go on.
template <consensus Consensus, storage Storage, detail::entry_codec Codec>
verdict fsm<Consensus, Storage, Codec>::undecodable(const log_entry& entry, std::error_code why) {
  if (why == errc::corrupt || why == errc::needs_upgrade) {
    return halt(static_cast<errc>(why.value()), why.message() + " in the entry at", entry.at.index);
  }
  ++counters_.malformed;
  advance(entry.at);
  return verdict::applied;
}

/// A replay of what the base holds already, but for the frames that were staged when it was stored.
template <consensus Consensus, storage Storage, detail::entry_codec Codec>
void fsm<Consensus, Storage, Codec>::stage_again(const log_entry& entry) {
  if (entry.at.index <= staged_up_to_) {
    return;
  }
  staged_up_to_ = entry.at.index;
  if constexpr (Codec::foreign) {
    if (Codec::admits(entry.bytes)) {
      return stage_foreign_again(entry);
    }
  }
  const result<command> decoded = native::decode(entry.bytes, options_.lock_byte);
  if (!decoded) {
    return;
  }
  assembly_.overtake(decoded->id.term);
  if (const auto* const frames = std::get_if<detail::frames_command>(&decoded->body)) {
    const auto whole = assembly_.take(decoded->id, *frames, entry);
    if (!whole || *whole) {
      assembly_.end(decoded->id);
    }
  } else if (const auto* const undo = std::get_if<detail::undo_command>(&decoded->body)) {
    assembly_.undo(undo->target);
  } else if (const auto* const drop = std::get_if<detail::drop_command>(&decoded->body)) {
    assembly_.foreign().drop(drop->name);
  }
}

/// Call it after the rows of the entry were answered.
template <consensus Consensus, storage Storage, detail::entry_codec Codec>
void fsm<Consensus, Storage, Codec>::advance(log_position to) {
  ++counters_.entries;
  applied_.index = to.index;
  applied_.term = to.term.value == 0 ? applied_.term : to.term;
  staged_up_to_ = applied_.index;
  if (Consensus::abilities.entry_terms) {
    proposals_.overtake(applied_.term);
  }
}

/// The base is at one position again, if the log is what it was made from: every page is what the
/// entries say. With mutex_ held.
template <consensus Consensus, storage Storage, detail::entry_codec Codec>
verdict fsm<Consensus, Storage, Codec>::end_of_redo(verdict said) {
  if (redo_until_.value == 0 || applied_.index < redo_until_ || said == verdict::halted) {
    return said;
  }
  redo_until_ = {};
  for (const std::shared_ptr<database>& one : databases_.existing()) {
    const std::shared_ptr<detail::page_store> store = one->store();
    if (store->sum_of_hashes() != store->committed().hash) {
      return halt(errc::corrupt,
                  "after a crash the base and the log do not make '" + one->name() + "' at",
                  applied_.index);
    }
  }
  return said;
}

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
void fsm<Consensus, Storage, Codec>::on_damage(const std::string& database, page_number number,
                                               std::error_code why) noexcept {
  const std::lock_guard guard(mutex_);
  halt(static_cast<errc>(why.value()),
       why.message() + ": page " + std::to_string(number.value) + " of '" + database + "' at",
       applied_.index);
}

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
verdict fsm<Consensus, Storage, Codec>::halt(errc why, const std::string& what, log_index at) {
  if (!health_.halted) {
    health_ = {true, make_error_code(why), what + " log index " + std::to_string(at.value)};
    office_.leading = false;
    drop_tips();
    for (const row& one : proposals_.rows()) {
      proposals_.answer(one, answer::unknown, reason::stopped);
    }
  }
  return verdict::halted;
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite
