/// @file
/// The state of the machine as a whole: loaded, captured, flushed, sent and replaced. A part of
/// fsm.hpp; include that.
#pragma once

#include "quorlite/fsm.hpp"

namespace quorlite {
inline namespace v0 {

template <consensus Consensus, storage Storage, entry_codec Codec>
std::error_code fsm<Consensus, Storage, Codec>::load() {
  result<loaded_base> base = base_.load(options_.lock_byte);
  if (!base) {
    return base.error();
  }
  const std::lock_guard guard(mutex_);
  if (!base->found.notes.empty()) {
    result<outcome_table> outcomes = outcome_table::decode(base->found.notes);
    if (!outcomes || outcomes->cluster_id() != options_.cluster_id) {
      return outcomes ? make_error_code(errc::malformed) : outcomes.error();
    }
    outcomes_ = std::move(*outcomes);
  }
  for (std::size_t i = 0; i < base->stores.size(); ++i) {
    const std::shared_ptr<database> target = databases_.take_in(base->found.databases[i].name);
    target->replace_store(base->stores[i]);
    target->set_exists(true);
  }
  applied_ = base->found.at;
  staged_up_to_ = base->found.replay_from;
  durable_ = position_to_replay_after(applied_, staged_up_to_);
  return {};
}

template <consensus Consensus, storage Storage, entry_codec Codec>
result<std::unique_ptr<snapshot_reader>> fsm<Consensus, Storage, Codec>::take_snapshot() noexcept {
  const lane_visit lane(in_lane_);
  result<captured_state> state = capture_whole();
  if (!state) {
    return failed(state.error());
  }
  return pinned_snapshot::make(std::move(*state), options_.lock_byte);
}

template <consensus Consensus, storage Storage, entry_codec Codec>
result<captured_state> fsm<Consensus, Storage, Codec>::capture_whole() {
  const std::lock_guard guard(mutex_);
  if (health_.halted) {
    return failed(errc::halted);
  }
  if (staged_up_to_ < applied_.index) {
    return failed(errc::busy);  // a replay is still bringing back what is staged
  }
  ++counters_.snapshots_taken;
  return capture();
}

template <consensus Consensus, storage Storage, entry_codec Codec>
verdict fsm<Consensus, Storage, Codec>::install(std::unique_ptr<snapshot_stage> finished,
                                                log_position engine_at) noexcept {
  const lane_visit lane(in_lane_);
  auto* const stage = dynamic_cast<staged_restore<Codec>*>(finished.get());
  QUORLITE_ASSERT(stage != nullptr && stage->finished_for(this));
  std::vector<std::shared_ptr<page_store>> replaced;
  const std::lock_guard guard(mutex_);
  if (health_.halted) {
    return verdict::halted;
  }
  const log_index before = applied_.index;
  if (stage->at().index > applied_.index) {
    swap_in(stage->take({engine_at.index, std::max(engine_at.term, applied_.term)}), replaced);
    ++counters_.snapshots_installed;
  } else if (stage->at().index > staged_up_to_) {
    // A restart: entries up to here will not be replayed, so what they staged is taken from it.
    staged_up_to_ = stage->at().index;
    assembly_ = stage->take({}).assembly;
  }
  if (engine_at.index > applied_.index) {
    advance(engine_at);  // entries after the content held nothing for us
  }
  return applied_.index > before ? verdict::applied : verdict::already;
}

template <consensus Consensus, storage Storage, entry_codec Codec>
void fsm<Consensus, Storage, Codec>::swap_in(restored_state state,
                                             std::vector<std::shared_ptr<page_store>>& replaced) {
  registry::list targets;
  for (const snapshot_database& one : state.header.databases) {
    targets.push_back(databases_.take_in(one.name));
  }
  for (const std::shared_ptr<database>& one : databases_.existing()) {
    // Never empty for a moment: what stays is replaced in one step.
    if (std::find(targets.begin(), targets.end(), one) == targets.end()) {
      replaced.push_back(one->replace_store(one->make_store({})));
      one->set_exists(false);
    }
  }
  for (std::size_t i = 0; i < targets.size(); ++i) {
    replaced.push_back(targets[i]->replace_store(std::move(state.stores[i])));
    targets[i]->set_exists(true);
  }
  assembly_ = std::move(state.assembly);
  outcomes_ = std::move(state.outcomes);
  for (const row& one : proposals_.rows()) {
    if (const auto at = outcomes_.find(one->id)) {
      proposals_.answer(one, answer::applied, reason::none, {*at, one->id.term});
    } else if (one->id <= outcomes_.floor()) {
      proposals_.answer(one, answer::unknown, reason::leadership_lost);
    }
  }
  advance(state.header.at);
}

template <consensus Consensus, storage Storage, entry_codec Codec>
captured_state fsm<Consensus, Storage, Codec>::capture() const {
  captured_state state;
  state.at = applied_;
  state.replay_from = assembly_.replay_from(staged_up_to_);
  for (const std::shared_ptr<database>& one : databases_.existing()) {
    std::shared_ptr<page_store> store = one->store();
    page_store::pin pin = store->pin_committed();
    state.databases.push_back({one->name(), std::move(store), std::move(pin)});
  }
  outcomes_.encode(state.notes);
  for (const auto& [id, open] : assembly_.staged().all()) {
    state.staged.insert(state.staged.end(), open.parts().begin(), open.parts().end());
  }
  if constexpr (Codec::foreign) {
    for (const auto& [name, waiting] : assembly_.foreign().all()) {
      state.staged.insert(state.staged.end(), waiting.parts.begin(), waiting.parts.end());
      if (waiting.doomed) {
        auto mark = std::make_shared<bytes>();
        static_cast<void>(Codec::encode(foreign_mark{waiting.id, name}, *mark));
        state.staged.push_back(std::move(mark));
      }
    }
  }
  return state;
}

template <consensus Consensus, storage Storage, entry_codec Codec>
std::error_code fsm<Consensus, Storage, Codec>::flush(log_index upto) noexcept {
  const std::lock_guard one_at_a_time(flush_mutex_);
  std::optional<captured_state> state;
  {
    const std::lock_guard guard(mutex_);
    if (health_.halted) {
      return make_error_code(errc::halted);
    }
    if (durable_.index >= upto || durable_.index == applied_.index || replay_would_differ()) {
      return {};
    }
    state.emplace(capture());
  }
  const std::error_code error = base_.flush(*state);
  const std::lock_guard guard(mutex_);
  if (!error) {
    ++counters_.flushes;
    durable_ = position_to_replay_after(state->at, state->replay_from);
  } else if (error != errc::storage_full) {
    halt(errc::storage_broken, "a flush failed (" + error.message() + ") at", state->at.index);
  }
  return error;
}

template <consensus Consensus, storage Storage, entry_codec Codec>
bool fsm<Consensus, Storage, Codec>::replay_would_differ() const {
  return assembly_.any_from_snapshot() ||
         assembly_.last_refusal() > assembly_.replay_from(staged_up_to_);
}

}  // namespace v0
}  // namespace quorlite
