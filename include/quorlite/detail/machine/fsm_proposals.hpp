/// @file
/// The machine as its writers see it: the office, the tips, the proposals. A part of fsm.hpp;
/// include that.
#pragma once

#include "quorlite/config.hpp"
#include "quorlite/fsm.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
void fsm<Consensus, Storage, Codec>::leadership_changed(const leadership& now) noexcept {
  const lane_visit lane(in_lane_);
  const std::lock_guard guard(mutex_);
  const bool led = office_.leading;
  const term was = office_.term;
  office_.leading = now.leading && !health_.halted;
  office_.term = now.term;
  office_.leader_hint = now.leader_hint;
  if (led && !(office_.leading && was == now.term)) {
    drop_tips();
    proposals_.lose_office(was);
  }
  if (office_.leading && was != now.term) {
    next_sequence_ = 1;
  }
}

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
void fsm<Consensus, Storage, Codec>::settled(proposal_token which, outcome how,
                                             reason why) noexcept {
  const std::lock_guard guard(mutex_);
  const row one = proposals_.take(which);
  if (one == nullptr) {
    return;
  }
  if (one->barrier) {
    proposals_.answer(one, how == outcome::committed ? answer::applied : answer::not_applied, why);
  } else if (how == outcome::not_applied) {
    drop_claims(*one);  // also if its waiter has left: what it built on the tips goes with it
    proposals_.answer(one, answer::not_applied, why);
  } else if (how == outcome::unknown && one->answer == answer::waiting) {
    proposals_.doubt(one, why);
  }  // good news is for apply to tell
}

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
std::error_code fsm<Consensus, Storage, Codec>::may_propose(term expected) const {
  if (health_.halted) {
    return make_error_code(errc::halted);
  }
  if (!office_.leading) {
    return make_error_code(errc::not_leader);
  }
  return office_.term == expected ? std::error_code{} : make_error_code(errc::stale_term);
}

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
result<transaction_id> fsm<Consensus, Storage, Codec>::next_id(term expected) {
  const std::lock_guard guard(mutex_);
  if (const std::error_code error = may_propose(expected)) {
    return failed(error);
  }
  return transaction_id{expected, next_sequence_++};
}

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
result<proposal_token> fsm<Consensus, Storage, Codec>::enter(const row& proposed,
                                                             std::span<tip_install> installs,
                                                             std::uint32_t entries) {
  const std::lock_guard guard(mutex_);
  if (const std::error_code error = may_propose(proposed->id.term)) {
    return failed(error);
  }
  for (const tip_install& one : installs) {
    const detail::tip_claim& claim = one.claim;
    const bool fits = claim.target->store() == claim.store && claim.store->epoch() == claim.epoch &&
                      claim.store->tip().version.next() == claim.version;
    if (!fits) {
      return failed(errc::stale_term);
    }
  }
  for (tip_install& one : installs) {
    detail::page_store& store = *one.claim.store;
    const std::error_code error =
        store.install_tip(one.claim.epoch, std::move(one.pages), one.page_count, one.hash);
    QUORLITE_ASSERT(!error);  // versions change under mutex_ only
    one.claim.hash = one.hash;
    one.standing.emplace(std::move(*store.pin_version(one.claim.epoch, one.claim.version)));
    proposed->claims.push_back(one.claim);
  }
  return proposals_.add(proposed, entries);
}

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
transaction_fate fsm<Consensus, Storage, Codec>::fate_of(transaction_id id) const {
  const std::lock_guard guard(mutex_);
  if (outcomes_.find(id)) {
    return transaction_fate::committed;
  }
  if (id <= outcomes_.floor()) {
    return transaction_fate::expired;
  }
  // A foreign one has no term of its own: it may be committed in any later one.
  const bool overtaken =
      Consensus::abilities.entry_terms && id.term.value != 0 && id.term < applied_.term;
  return overtaken ? transaction_fate::not_committed : transaction_fate::open;
}

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
void fsm<Consensus, Storage, Codec>::drop_tips() {
  for (const std::shared_ptr<database>& one : databases_.all()) {
    one->store()->discard_tip();
  }
}

/// A proposal that will not come: what was built on it cannot either.
template <consensus Consensus, storage Storage, detail::entry_codec Codec>
void fsm<Consensus, Storage, Codec>::drop_claims(const proposal_type& lost) {
  for (const detail::tip_claim& claim : lost.claims) {
    const bool pending =
        claim.store->epoch() == claim.epoch && claim.store->committed().version < claim.version;
    if (pending) {
      claim.store->discard_tip();
    }
  }
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite
