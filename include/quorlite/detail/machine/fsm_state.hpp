/// @file
/// The state of the machine as a whole: loaded, captured, flushed, sent and replaced. A part of
/// fsm.hpp; include that.
#pragma once

#include "quorlite/config.hpp"
#include "quorlite/fsm.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
std::error_code fsm<Consensus, Storage, Codec>::load() {
  result<detail::loaded_base> base = base_.load();
  const std::lock_guard guard(mutex_);
  if (!base) {
    halt(static_cast<errc>(base.error().value()), "the storage cannot be used, after", {});
    return base.error();
  }
  if (!base->found.notes.empty()) {
    result<detail::outcome_table> outcomes = detail::outcome_table::decode(base->found.notes);
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
  redo_until_ = base->found.ahead > applied_.index ? base->found.ahead : log_index{};
  staged_up_to_ = base->found.replay_from;
  durable_ = position_to_replay_after(applied_, staged_up_to_);
  return {};
}

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
result<std::unique_ptr<snapshot_stage>> fsm<Consensus, Storage, Codec>::begin_restore() noexcept
    try {
  auto target = base_.begin_restore();
  if (!target) {
    return failed(target.error());
  }
  return std::unique_ptr<snapshot_stage>(std::make_unique<detail::staged_restore<Codec>>(
      this, std::move(*target), options_.cluster_id, options_.lock_byte));
} catch (const std::bad_alloc&) {
  return failed(errc::storage_full);
}

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
result<std::unique_ptr<snapshot_reader>> fsm<Consensus, Storage, Codec>::take_snapshot() noexcept {
  const lane_visit lane(in_lane_);
  result<detail::captured_state> state = capture_whole();
  if (!state) {
    return failed(state.error());
  }
  return detail::pinned_snapshot::make(std::move(*state), options_.lock_byte);
}

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
result<detail::captured_state> fsm<Consensus, Storage, Codec>::capture_whole() {
  const std::lock_guard guard(mutex_);
  if (health_.halted) {
    return failed(errc::halted);
  }
  if (staged_up_to_ < applied_.index || redo_until_.value != 0) {
    return failed(errc::busy);  // a replay is still bringing back what is staged, or torn
  }
  ++counters_.snapshots_taken;
  return capture();
}

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
verdict fsm<Consensus, Storage, Codec>::install(std::unique_ptr<snapshot_stage> finished,
                                                log_position engine_at) noexcept {
  const lane_visit lane(in_lane_);
  auto* const stage = dynamic_cast<detail::staged_restore<Codec>*>(finished.get());
  QUORLITE_ASSERT(stage != nullptr && stage->finished_for(this));
  std::vector<std::shared_ptr<detail::page_store>> replaced;
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
  return end_of_redo(applied_.index > before ? verdict::applied : verdict::already);
}

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
void fsm<Consensus, Storage, Codec>::swap_in(detail::restored_state state,
                                             std::vector<std::shared_ptr<detail::page_store>>& replaced) {
  detail::registry::list targets;
  for (const detail::snapshot_database& one : state.header.databases) {
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
  installed_ = std::move(state.target);
  redo_until_ = {};
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

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
detail::captured_state fsm<Consensus, Storage, Codec>::capture() const {
  detail::captured_state state;
  state.at = applied_;
  state.replay_from = assembly_.replay_from(staged_up_to_);
  for (const std::shared_ptr<database>& one : databases_.existing()) {
    std::shared_ptr<detail::page_store> store = one->store();
    detail::page_store::pin pin = store->pin_committed();
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
        static_cast<void>(Codec::encode(detail::foreign_mark{waiting.id, name}, *mark));
        state.staged.push_back(std::move(mark));
      }
    }
  }
  return state;
}

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
std::error_code fsm<Consensus, Storage, Codec>::flush(log_index upto) noexcept {
  return flush_now(upto, 0);
}

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
std::error_code fsm<Consensus, Storage, Codec>::flush_now(log_index upto,
                                                          std::size_t unless_dirty) noexcept try {
  const std::lock_guard one_at_a_time(flush_mutex_);
  std::optional<detail::captured_state> state;
  std::unique_ptr<detail::restore_target> installed;
  {
    const std::lock_guard guard(mutex_);
    if (health_.halted) {
      return make_error_code(errc::halted);
    }
    const bool enough = unless_dirty != 0 && memory().dirty_bytes() <= unless_dirty;
    if (durable_.index >= upto || durable_.index == applied_.index || enough ||
        redo_until_.value != 0 || replay_would_differ()) {
      return {};
    }
    state.emplace(capture());
    installed = std::move(installed_);
  }
  if (installed != nullptr) {
    base_.replace_with(std::move(installed));
  }
  const std::error_code error = base_.flush(*state);
  {
    const std::lock_guard guard(mutex_);
    if (!error) {
      ++counters_.flushes;
      durable_ = position_to_replay_after(state->at, state->replay_from);
    } else if (error != errc::storage_full || memory().dirty_bytes() > options_.memory_bytes) {
      // No room for what comes in either: no promise is broken, but this replica cannot follow.
      halt(error == errc::storage_full ? errc::storage_full : errc::storage_broken,
           "a flush failed (" + error.message() + ") at", state->at.index);
    }
  }
  state.reset();  // its pins first: what they keep cannot go
  evict();
  return error;
} catch (const std::bad_alloc&) {
  return make_error_code(errc::storage_full);
}

/// Drops what the storage holds as well, until half of the memory is free.
template <consensus Consensus, storage Storage, detail::entry_codec Codec>
void fsm<Consensus, Storage, Codec>::evict() {
  for (const std::shared_ptr<database>& one : databases_.existing()) {
    const std::size_t taken = memory().bytes();
    if (taken > options_.memory_bytes / 2) {
      one->store()->evict(taken - options_.memory_bytes / 2);
    }
  }
}

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
bool fsm<Consensus, Storage, Codec>::replay_would_differ() const {
  return assembly_.any_from_snapshot() ||
         assembly_.last_refusal() > assembly_.replay_from(staged_up_to_);
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite
