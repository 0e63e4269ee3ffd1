/// @file
/// What each kind of entry does to the machine. The second half of fsm.hpp; include that.
#pragma once

#include "quorlite/fsm.hpp"

namespace quorlite {
inline namespace v0 {

template <consensus Consensus, storage Storage>
verdict fsm<Consensus, Storage>::carry_out(const log_entry& entry, transaction_id id, const frames_command& frames) {
  result<std::optional<assembled_transaction>> whole = std::optional<assembled_transaction>{};
  {
    const std::lock_guard guard(mutex_);
    counters_.entry_bytes += entry.bytes.size();
    for (const database_frames& one : frames.databases) {
      counters_.page_bytes += std::uint64_t{one.page_size} * one.pages.size();
    }
    whole = assembly_.take(id, frames, entry);
  }
  if (!whole) {
    return refuse(entry, id, whole.error());
  }
  if (!*whole) {
    const std::lock_guard guard(mutex_);
    advance(entry.at);
    return verdict::applied;
  }
  return commit(entry, id, **whole);
}

template <consensus Consensus, storage Storage>
verdict fsm<Consensus, Storage>::commit(const log_entry& entry, transaction_id id, const assembled_transaction& whole) {
  {
    // The leader's own, if the tips still have it: the pages are there already.
    const std::lock_guard guard(mutex_);
    const row own = proposals_.find(id);
    if (own != nullptr && promote_claims(*own, whole)) {
      for (const database_frames& frames : whole.databases) {
        if (databases_.find(frames.name)->store()->committed().hash != frames.result_hash) {
          return halt(errc::diverged, "the tip of '" + std::string(frames.name) + "' was not what was proposed at",
                      entry.at.index);
        }
      }
      outcomes_.record(id, entry.at.index);
      ++counters_.transactions;
      advance(entry.at);
      proposals_.answer(own, answer::applied, reason::none, entry.at);
      return verdict::applied;
    }
  }
  std::vector<prepared_frames> ready;
  for (const database_frames& frames : whole.databases) {
    const std::shared_ptr<database> target = databases_.find(frames.name);
    if (target == nullptr || !target->exists()) {
      return refuse(entry, id, make_error_code(errc::no_such_database));
    }
    result<prepared_frames> one = prepare_frames(frames, target, options_.lock_byte);
    if (!one && one.error() == errc::diverged) {
      const std::lock_guard guard(mutex_);
      return halt(errc::diverged, "other bytes than the leader's in '" + target->name() + "' at", entry.at.index);
    }
    if (!one) {
      return refuse(entry, id, one.error());
    }
    ready.push_back(std::move(*one));
  }
  const std::lock_guard guard(mutex_);
  for (prepared_frames& one : ready) {
    if (one.store->tip().version != one.store->committed().version) {
      one.store->discard_tip();  // somebody else's entry: what this replica hoped for is void
    }
    one.store->install_committed(std::move(one.pages), one.page_count, one.hash);
  }
  outcomes_.record(id, entry.at.index);
  ++counters_.transactions;
  advance(entry.at);
  if (const row own = proposals_.find(id)) {
    proposals_.answer(own, answer::applied, reason::none, entry.at);
  }
  return verdict::applied;
}

/// @returns false if the tips are not, or no longer, the ones that `own` was proposed with
template <consensus Consensus, storage Storage>
bool fsm<Consensus, Storage>::promote_claims(const proposal_type& own, const assembled_transaction& whole) {
  if (own.claims.size() != whole.databases.size()) {
    return false;
  }
  for (const database_frames& frames : whole.databases) {
    const tip_claim* found = nullptr;
    for (const tip_claim& claim : own.claims) {
      found = claim.target->name() == frames.name ? &claim : found;
    }
    if (found == nullptr || !found->target->exists() || found->target->store() != found->store ||
        found->store->epoch() != found->epoch) {
      return false;
    }
    const page_store::state base = found->store->committed();
    const bool next = base.version.next() == found->version && found->store->tip().version >= found->version;
    if (!next || base.version != frames.base_version || base.hash != frames.base_hash) {
      return false;
    }
  }
  for (const tip_claim& claim : own.claims) {
    claim.store->promote();
  }
  return true;
}

template <consensus Consensus, storage Storage>
verdict fsm<Consensus, Storage>::carry_out(const log_entry& entry, transaction_id id, const open_command& open) {
  const std::shared_ptr<database> known = databases_.find(open.name);
  if (known == nullptr || !known->exists()) {
    if (databases_.existing().size() >= limits::databases) {
      return refuse(entry, id, make_error_code(errc::too_many_databases));
    }
    const auto target = databases_.find_or_make(open.name);
    if (!target) {
      const std::lock_guard guard(mutex_);
      return halt(errc::too_many_databases, "no room for '" + std::string(open.name) + "' at", entry.at.index);
    }
    (*target)->set_exists(true);
  }
  return done(entry, id);
}

template <consensus Consensus, storage Storage>
verdict fsm<Consensus, Storage>::carry_out(const log_entry& entry, transaction_id id, const drop_command& drop) {
  const std::shared_ptr<database> target = databases_.find(drop.name);
  if (target != nullptr && target->exists()) {
    const std::lock_guard guard(mutex_);
    target->replace_store(target->make_store({}));
    target->set_exists(false);
  }
  return done(entry, id);
}

template <consensus Consensus, storage Storage>
verdict fsm<Consensus, Storage>::carry_out(const log_entry& entry, transaction_id id, const undo_command& undo) {
  {
    const std::lock_guard guard(mutex_);
    assembly_.undo(undo.target);
  }
  return done(entry, id);
}

template <consensus Consensus, storage Storage>
verdict fsm<Consensus, Storage>::done(const log_entry& entry, transaction_id id) {
  const std::lock_guard guard(mutex_);
  advance(entry.at);
  if (const row own = proposals_.find(id)) {
    proposals_.answer(own, answer::applied, reason::none, entry.at);
  }
  return verdict::applied;
}

/// The entry changes nothing, on any replica.
template <consensus Consensus, storage Storage>
verdict fsm<Consensus, Storage>::refuse(const log_entry& entry, transaction_id id, std::error_code why) {
  const std::lock_guard guard(mutex_);
  ++(why == errc::conflict ? counters_.conflicts : counters_.malformed);
  advance(entry.at);
  if (const row own = proposals_.find(id)) {
    drop_claims(*own);
    proposals_.answer(own, answer::conflict, reason::none, entry.at);
  }
  return verdict::applied;
}

/// Foreign bytes mean the same to every replica: nothing. Damaged ones do not, so this replica must not go on.
template <consensus Consensus, storage Storage>
verdict fsm<Consensus, Storage>::undecodable(const log_entry& entry, std::error_code why) {
  if (why == errc::corrupt || why == errc::needs_upgrade) {
    return halt(static_cast<errc>(why.value()), why.message() + " in the entry at", entry.at.index);
  }
  ++counters_.malformed;
  advance(entry.at);
  return verdict::applied;
}

/// A replay of what the base holds already, but for the frames that were staged when it was stored.
template <consensus Consensus, storage Storage>
void fsm<Consensus, Storage>::stage_again(const log_entry& entry) {
  if (entry.at.index <= staged_up_to_) {
    return;
  }
  staged_up_to_ = entry.at.index;
  const result<command> decoded = native::decode(entry.bytes, options_.lock_byte);
  if (!decoded) {
    return;
  }
  if (const auto* const frames = std::get_if<frames_command>(&decoded->body)) {
    static_cast<void>(assembly_.take(decoded->id, *frames, entry));
  } else if (const auto* const undo = std::get_if<undo_command>(&decoded->body)) {
    assembly_.undo(undo->target);
  }
}

template <consensus Consensus, storage Storage>
void fsm<Consensus, Storage>::advance(log_position to) {
  ++counters_.entries;
  applied_.index = to.index;
  applied_.term = to.term.value == 0 ? applied_.term : to.term;
  staged_up_to_ = applied_.index;
  if (Consensus::abilities.entry_terms) {
    proposals_.overtake(applied_.term);
  }
}

template <consensus Consensus, storage Storage>
void fsm<Consensus, Storage>::drop_tips() {
  for (const std::shared_ptr<database>& one : databases_.all()) {
    one->store()->discard_tip();
  }
}

/// A proposal that will not come: what was built on it cannot either.
template <consensus Consensus, storage Storage>
void fsm<Consensus, Storage>::drop_claims(const proposal_type& lost) {
  for (const tip_claim& claim : lost.claims) {
    const bool pending = claim.store->epoch() == claim.epoch && claim.store->committed().version < claim.version;
    if (pending) {
      claim.store->discard_tip();
    }
  }
}

template <consensus Consensus, storage Storage>
verdict fsm<Consensus, Storage>::halt(errc why, const std::string& what, log_index at) {
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

template <consensus Consensus, storage Storage>
bool fsm<Consensus, Storage>::swap_in(restored_state state) {
  std::vector<std::shared_ptr<database>> targets;
  for (const snapshot_database& one : state.header.databases) {
    auto target = databases_.find_or_make(one.name);
    if (!target) {
      return false;
    }
    targets.push_back(std::move(*target));
  }
  for (const std::shared_ptr<database>& one : databases_.existing()) {
    one->replace_store(one->make_store({}));
    one->set_exists(false);
  }
  for (std::size_t i = 0; i < targets.size(); ++i) {
    targets[i]->replace_store(state.stores[i]);
    targets[i]->set_exists(true);
  }
  assembly_.staged().clear();
  for (bytes& raw : state.header.staged) {
    const result<command> part = native::decode(raw, options_.lock_byte);
    const auto* const frames = part ? std::get_if<frames_command>(&part->body) : nullptr;
    if (frames != nullptr) {
      static_cast<void>(assembly_.take(part->id, *frames, {log_position{}, raw}));
    }
  }
  outcomes_ = std::move(state.outcomes);
  for (const row& one : proposals_.rows()) {
    if (const auto at = outcomes_.find(one->id)) {
      proposals_.answer(one, answer::applied, reason::none, {*at, one->id.term});
    } else if (one->id <= outcomes_.floor()) {
      proposals_.answer(one, answer::unknown, reason::leadership_lost);
    }
  }
  advance(state.header.at);
  return true;
}

template <consensus Consensus, storage Storage>
captured_state fsm<Consensus, Storage>::capture() const {
  captured_state state;
  state.at = applied_;
  state.replay_from = assembly_.staged().replay_from(applied_.index);
  for (const std::shared_ptr<database>& one : databases_.existing()) {
    std::shared_ptr<page_store> store = one->store();
    page_store::pin pin = store->pin_committed();
    state.databases.push_back({one->name(), std::move(store), std::move(pin)});
  }
  outcomes_.encode(state.notes);
  for (const auto& [id, open] : assembly_.staged().all()) {
    state.staged.insert(state.staged.end(), open.parts().begin(), open.parts().end());
  }
  return state;
}

template <consensus Consensus, storage Storage>
std::error_code fsm<Consensus, Storage>::may_propose(term expected) const {
  if (health_.halted) {
    return make_error_code(errc::halted);
  }
  if (!office_.leading) {
    return make_error_code(errc::not_leader);
  }
  return office_.term == expected ? std::error_code{} : make_error_code(errc::stale_term);
}

}  // namespace v0
}  // namespace quorlite
