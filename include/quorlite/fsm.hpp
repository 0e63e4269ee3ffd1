/// @file
/// The replicated state machine: the one place where committed state changes.
///
/// A leader's writers put versions on the heads of the databases and propose what they did; nothing
/// of it is visible before consensus hands the entry back to `apply`, which then commits the
/// version that is already there. Everybody else builds the same version from the entry. If
/// leadership is lost, the heads are dropped; nothing that a reader saw has to be undone.
///
/// This template is the order of the steps, over any engine and any storage. The steps themselves
/// depend on neither and are compiled once, in detail/machine: machine_state.hpp (what moves),
/// assembled_transaction.hpp (what entries make of pages), stored_base.hpp (what lies in the
/// storage), snapshots.hpp.
///
/// **Memory.** What an adapter may be told again (a snapshot, a restore, a flush) answers
/// errc::out_of_memory. An entry cannot be refused here alone, so it halts this replica.
///
/// **Locks.** `in_strand_` catches adapters whose strand calls overlap. The machine's lock
/// (machine_state::hold) orders every change of state; it is never held while a page is built or
/// the storage is asked. `flush_mutex_` makes flushes wait for each other.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/codec/command.hpp"
#include "quorlite/detail/core/storage_port.hpp"
#include "quorlite/detail/machine/assembled_transaction.hpp"
#include "quorlite/detail/machine/corruption_report.hpp"
#include "quorlite/detail/machine/decoded_entry.hpp"
#include "quorlite/detail/machine/flush_port.hpp"
#include "quorlite/detail/machine/hashed_entry.hpp"
#include "quorlite/detail/machine/legacy_format.hpp"
#include "quorlite/detail/machine/machine_state.hpp"
#include "quorlite/detail/machine/restore_target.hpp"
#include "quorlite/detail/machine/snapshots.hpp"
#include "quorlite/detail/machine/stored_base.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/options.hpp"
#include "quorlite/replica_status.hpp"
#include "quorlite/storage.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

namespace detail {

/// Adapters promise that strand calls never overlap; a second one is their error, not an outcome.
class strand_visit {
 public:
  explicit strand_visit(std::atomic<bool>& busy) noexcept : busy_(busy) {
    const bool overlaps = busy_.exchange(true, std::memory_order_acquire);
    QUORLITE_ASSERT(!overlaps);
  }
  strand_visit(const strand_visit&) = delete;
  strand_visit& operator=(const strand_visit&) = delete;
  ~strand_visit() { busy_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool>& busy_;
};

}  // namespace detail

/// Implements `state_machine` (consensus.hpp) for an engine, on a storage. `replica` makes one; by
/// itself it is for tools and tests that go below SQLite.
///
/// The storage must outlive it, or its leave_storage(). Threads, blocking and errors of the
/// overridden calls are told at `state_machine`; all others may be made on any thread and do not
/// block, unless they say so.
template <consensus Consensus, storage Storage>
class fsm final : public state_machine, public detail::flush_port, private detail::damage_listener {
 public:
  explicit fsm(Storage& storage, fsm_options options = {})
      : storage_(storage),
        state_(options, Consensus::abilities.entry_terms),
        corruption_(
            std::make_shared<detail::corruption_report>(static_cast<damage_listener&>(*this))),
        base_(storage_, options.lock_byte, state_.gauge(), corruption_) {}
  ~fsm() { corruption_->detach(); }

  [[nodiscard]] std::error_code load() override;
  void leave_storage() noexcept override;

  // ---- the strand

  apply_result apply(const log_entry& entry) noexcept override;
  apply_result skip(log_position upto) noexcept override;
  void leadership_changed(const leadership& now) noexcept override;
  [[nodiscard]] result<std::unique_ptr<snapshot_reader>> take_snapshot() noexcept override;
  apply_result install(std::unique_ptr<snapshot_stage> finished,
                       log_position engine_at) noexcept override;
  /// The present state in the legacy format. That tells neither versions, outcomes nor the term, so
  /// it is for a cluster of its own: all of its members start from it. Otherwise used as
  /// take_snapshot().
  /// @returns errc::unsupported: there is no such format, or a transaction waits for its commit
  ///   (try later)
  [[nodiscard]] result<std::unique_ptr<snapshot_reader>> take_legacy_snapshot() noexcept;

  // ---- any thread

  void settled(proposal_token token, outcome answer, settle_reason reason) noexcept override;
  [[nodiscard]] result<std::unique_ptr<snapshot_stage>> begin_restore() noexcept override;
  [[nodiscard]] log_position applied() const noexcept override;
  [[nodiscard]] log_position durable() const noexcept override;
  [[nodiscard]] base_history base() const noexcept override;
  [[nodiscard]] history_position history() const noexcept override;
  [[nodiscard]] history_match matches(log_index at, std::uint64_t low) const noexcept override;
  /// Blocks on the storage, and on another flush that is under way.
  [[nodiscard]] std::error_code flush(log_index upto) noexcept override;
  /// Blocks likewise. @returns as flush(); nothing if less than half of memory_bytes is dirty
  [[nodiscard]] std::error_code flush_if_crowded() noexcept override;

  /// Who leads, as the adapter told it last. A copy.
  [[nodiscard]] quorlite::leader_info leader() const;
  /// Whether it goes on, and if not, why. A copy.
  [[nodiscard]] quorlite::health health() const;
  /// What was counted since the machine was made. A copy.
  [[nodiscard]] machine_counters counters() const;
  /// What is known of a transaction by its id. Exact on a replica that has applied an entry of a
  /// later term.
  [[nodiscard]] transaction_outcome outcome_of(transaction_id id) const;
  /// The names that this replica knows, and the store of each: for tools and tests that read pages
  /// beside SQLite. Lives as long as the machine. A look-up takes the registry's own lock; the
  /// committed states of a store are read without one.
  [[nodiscard]] detail::registry& databases() noexcept { return state_.databases(); }
  /// The plain part, for who proposes.
  [[nodiscard]] detail::machine_state& state() noexcept { return state_; }

 private:
  using hold = detail::machine_lock::holder;
  using strand_visit = detail::strand_visit;

  apply_result apply_legacy(const detail::hashed_entry& entry);
  apply_result move(const detail::hashed_entry& entry, transaction_id id,
                    const detail::write_set_command& frames);
  apply_result commit(const detail::hashed_entry& entry, transaction_id id,
                      const detail::assembled_transaction& whole);
  apply_result checked(apply_result said);
  apply_result starved(log_index at) noexcept;

  [[nodiscard]] result<std::shared_ptr<detail::pinned_state>> capture();
  [[nodiscard]] std::error_code flush_now(log_index upto, std::size_t unless_dirty) noexcept;
  void on_damage(const std::string& database, page_number number, std::uint32_t page_size,
                 std::error_code why) noexcept override;
  void on_broken_storage(std::error_code why) noexcept override;

  detail::storage_port_of<Storage> storage_;
  detail::machine_state state_;
  std::atomic<bool> in_strand_{false};
  std::shared_ptr<detail::corruption_report> corruption_;
  std::mutex flush_mutex_;
  detail::stored_base base_;  // under flush_mutex_, but for begin_restore()
};

// ---- the start

template <consensus Consensus, storage Storage>
std::error_code fsm<Consensus, Storage>::load() {
  result<detail::loaded_base> base = base_.load();
  const hold held = state_.hold();
  if (!base) {
    std::string text = "the storage cannot be used: " + base.error().message();
    const std::string_view where = storage_.damage();
    text.append(where.empty() ? "" : ": ").append(where);
    state_.lock().say(text);
    state_.halt(static_cast<errc>(base.error().value()), "the storage cannot be used, after", {});
    return base.error();
  }
  return state_.take_base(std::move(*base));
}

template <consensus Consensus, storage Storage>
void fsm<Consensus, Storage>::leave_storage() noexcept {
  corruption_->detach();
  storage_.leave();
}

// ---- how an entry is applied

template <consensus Consensus, storage Storage>
apply_result fsm<Consensus, Storage>::apply(const log_entry& entry) noexcept try {
  const strand_visit strand(in_strand_);
  const fsm_options& options = state_.options();
  const detail::hashed_entry hashed(entry);
  {
    const hold held = state_.hold();
    if (state_.health().halted) {
      return apply_result::halted;
    }
    if constexpr (Consensus::abilities.contiguous) {
      if (state_.misses_before(entry.at.index)) {
        return state_.halt(errc::corrupt, "the engine skipped entries before", entry.at.index);
      }
    }
    if (entry.at.index <= state_.applied().index) {
      state_.stage_again(hashed);
      return state_.end_of_redo(apply_result::already);
    }
    if (entry.bytes.empty()) {
      state_.advance(entry.at);
      return state_.end_of_redo(apply_result::applied);
    }
  }
  if (options.legacy != nullptr && options.legacy->admits(entry.bytes)) {
    return checked(apply_legacy(hashed));
  }
  const detail::decoded_entry decoded(entry.bytes, options.lock_byte);
  detail::machine_state::stores replaced;  // freed after the hold: that takes a while
  {
    const hold held = state_.hold();
    if (decoded.error()) {
      return state_.end_of_redo(state_.undecodable(hashed, decoded.error()));
    }
    if (const auto said = state_.judge(hashed, decoded.what())) {
      return state_.end_of_redo(*said);
    }
    state_.overtake(decoded.what().id.term);
    if (decoded.frames() == nullptr) {
      return state_.end_of_redo(state_.carry_out(hashed, decoded.what(), replaced));
    }
  }
  return checked(move(hashed, decoded.what().id, *decoded.frames()));
} catch (const std::bad_alloc&) {
  return starved(entry.at.index);
}

/// An entry of another format. No server proposes one once a history has begun: it is refused then,
/// by every replica alike.
template <consensus Consensus, storage Storage>
apply_result fsm<Consensus, Storage>::apply_legacy(const detail::hashed_entry& entry) {
  {
    const hold held = state_.hold();
    if (state_.history_has_begun()) {
      return state_.undecodable(entry, make_error_code(errc::malformed));
    }
  }
  return state_.options().legacy->apply(state_, entry);
}

template <consensus Consensus, storage Storage>
apply_result fsm<Consensus, Storage>::skip(log_position upto) noexcept try {
  const strand_visit strand(in_strand_);
  const hold held = state_.hold();
  if (state_.health().halted) {
    return apply_result::halted;
  }
  if (upto.index <= state_.applied().index) {
    state_.skip_again(upto.index);
    return state_.end_of_redo(apply_result::already);
  }
  state_.advance(upto);
  return state_.end_of_redo(apply_result::applied);
} catch (const std::bad_alloc&) {
  return starved(upto.index);
}

/// There was no memory for what every replica does: this one cannot go on.
template <consensus Consensus, storage Storage>
apply_result fsm<Consensus, Storage>::starved(log_index at) noexcept {
  const hold held = state_.hold();
  return state_.halt(errc::out_of_memory, "no memory at", at);
}

/// What an entry did, unless it was the last of a redo and the pages are wrong all the same.
template <consensus Consensus, storage Storage>
apply_result fsm<Consensus, Storage>::checked(apply_result said) {
  const hold held = state_.hold();
  return state_.end_of_redo(said);
}

// ---- how a transaction moves: frames wait for the ones that commit, then all are installed

template <consensus Consensus, storage Storage>
apply_result fsm<Consensus, Storage>::move(const detail::hashed_entry& entry, transaction_id id,
                                           const detail::write_set_command& frames) {
  detail::assembled_transaction whole;
  {
    const hold held = state_.hold();
    if (const std::optional<apply_result> said = state_.assemble(entry, id, frames, whole)) {
      return *said;  // refused, or staged, or the leader's own: its pages are on the heads already
    }
  }
  return commit(entry, id, whole);
}

/// Builds what a whole transaction commits, off every lock, and installs it.
template <consensus Consensus, storage Storage>
apply_result fsm<Consensus, Storage>::commit(const detail::hashed_entry& entry, transaction_id id,
                                             const detail::assembled_transaction& whole) {
  detail::prepared_transaction ready;
  const bool redo = state_.is_recovering();  // only the strand changes it
  const std::error_code error =
      ready.prepare(whole, state_.databases(), state_.options().lock_byte, redo);
  const hold held = state_.hold();
  if (error == errc::diverged) {
    return state_.halt(errc::diverged, ready.what() + ", at", entry.at.index);
  }
  if (error) {
    return state_.refuse(entry, id, error);
  }
  state_.install(ready, id);
  return state_.committed(entry, id);
}

// ---- how leadership, and the news of the engine, move what is proposed here

template <consensus Consensus, storage Storage>
void fsm<Consensus, Storage>::leadership_changed(const leadership& now) noexcept {
  const strand_visit strand(in_strand_);
  const hold held = state_.hold();
  if constexpr (Consensus::abilities.contiguous) {
    if (now.leading && state_.is_behind_base()) {
      // A leader has every committed entry, and all that are older than its term were brought.
      state_.halt_behind_base();
    }
  }
  state_.change_leadership(now);
}

template <consensus Consensus, storage Storage>
void fsm<Consensus, Storage>::settled(proposal_token token, outcome answer,
                                      settle_reason reason) noexcept {
  const hold held = state_.hold();
  state_.settle(token, answer, reason);
}

// ---- how a state is captured, sent, and replaced

template <consensus Consensus, storage Storage>
result<std::shared_ptr<detail::pinned_state>> fsm<Consensus, Storage>::capture() {
  const strand_visit strand(in_strand_);
  const hold held = state_.hold();
  return state_.capture_whole();
}

template <consensus Consensus, storage Storage>
result<std::unique_ptr<snapshot_reader>> fsm<Consensus, Storage>::take_snapshot() noexcept try {
  result<std::shared_ptr<detail::pinned_state>> state = capture();
  if (!state) {
    return fail(state.error());
  }
  return detail::snapshot_of(std::move(**state), state_.options().lock_byte);
} catch (const std::bad_alloc&) {
  return fail(errc::out_of_memory);
}

template <consensus Consensus, storage Storage>
result<std::unique_ptr<snapshot_reader>> fsm<Consensus, Storage>::take_legacy_snapshot() noexcept
    try {
  const detail::legacy_format* const format = state_.options().legacy;
  if (format == nullptr) {
    return fail(errc::unsupported);
  }
  result<std::shared_ptr<detail::pinned_state>> state = capture();
  if (!state) {
    return fail(state.error());
  }
  return format->snapshot_of(std::move(**state), state_.options().lock_byte);
} catch (const std::bad_alloc&) {
  return fail(errc::out_of_memory);
}

template <consensus Consensus, storage Storage>
result<std::unique_ptr<snapshot_stage>> fsm<Consensus, Storage>::begin_restore() noexcept try {
  return detail::stage_restore(this, base_, state_);
} catch (const std::bad_alloc&) {
  return fail(errc::out_of_memory);
}

template <consensus Consensus, storage Storage>
apply_result fsm<Consensus, Storage>::install(std::unique_ptr<snapshot_stage> finished,
                                              log_position engine_at) noexcept try {
  const strand_visit strand(in_strand_);
  detail::machine_state::stores replaced;  // freed after the hold
  const hold held = state_.hold();
  return state_.install(*finished, this, engine_at, replaced);
} catch (const std::bad_alloc&) {
  return starved(engine_at.index);
}

// ---- how the base in the storage moves on

template <consensus Consensus, storage Storage>
std::error_code fsm<Consensus, Storage>::flush(log_index upto) noexcept {
  return flush_now(upto, 0);
}

template <consensus Consensus, storage Storage>
std::error_code fsm<Consensus, Storage>::flush_if_crowded() noexcept {
  const std::size_t crowded = state_.options().memory_bytes / 2;
  if (state_.gauge()->dirty_bytes() <= crowded) {
    return {};
  }
  return flush_now(log_index{~std::uint64_t{0}}, crowded);
}

/// @param unless_dirty no flush if less than this is dirty by the time that others are done
template <consensus Consensus, storage Storage>
std::error_code fsm<Consensus, Storage>::flush_now(log_index upto,
                                                   std::size_t unless_dirty) noexcept try {
  const std::lock_guard one_at_a_time(flush_mutex_);
  std::shared_ptr<detail::pinned_state> state;
  std::unique_ptr<detail::restore_target> installed;
  {
    const hold held = state_.hold();
    if (state_.health().halted) {
      return make_error_code(errc::halted);
    }
    if (!state_.is_flush_due(upto, unless_dirty)) {
      return {};
    }
    state = state_.capture();
    installed = state_.take_installed();
  }
  if (installed != nullptr) {
    base_.replace_with(std::move(installed));
  }
  const std::error_code error = base_.flush(*state);
  {
    const hold held = state_.hold();
    state_.flushed(*state, error);
  }
  state.reset();  // its pins first: what they keep cannot go
  state_.evict();
  return error;
} catch (const std::bad_alloc&) {
  return make_error_code(errc::out_of_memory);
}

// ---- what others see

template <consensus Consensus, storage Storage>
log_position fsm<Consensus, Storage>::applied() const noexcept {
  const hold held = state_.hold();
  return state_.applied();
}

template <consensus Consensus, storage Storage>
log_position fsm<Consensus, Storage>::durable() const noexcept {
  const hold held = state_.hold();
  return state_.durable();
}

template <consensus Consensus, storage Storage>
base_history fsm<Consensus, Storage>::base() const noexcept {
  const hold held = state_.hold();
  return state_.base();
}

template <consensus Consensus, storage Storage>
history_position fsm<Consensus, Storage>::history() const noexcept {
  const hold held = state_.hold();
  return state_.brought();
}

template <consensus Consensus, storage Storage>
history_match fsm<Consensus, Storage>::matches(log_index at, std::uint64_t low) const noexcept {
  const hold held = state_.hold();
  return state_.matches(at, low);
}

template <consensus Consensus, storage Storage>
leader_info fsm<Consensus, Storage>::leader() const {
  const hold held = state_.hold();
  return state_.leader();
}

template <consensus Consensus, storage Storage>
health fsm<Consensus, Storage>::health() const {
  const hold held = state_.hold();
  return state_.health();
}

template <consensus Consensus, storage Storage>
machine_counters fsm<Consensus, Storage>::counters() const {
  const hold held = state_.hold();
  return state_.counters();
}

template <consensus Consensus, storage Storage>
transaction_outcome fsm<Consensus, Storage>::outcome_of(transaction_id id) const {
  const hold held = state_.hold();
  return state_.outcome_of(id);
}

template <consensus Consensus, storage Storage>
void fsm<Consensus, Storage>::on_damage(const std::string& database, page_number number,
                                        std::uint32_t page_size, std::error_code why) noexcept {
  const hold held = state_.hold();
  try {
    state_.halt(static_cast<errc>(why.value()),
                why.message() + ": " + detail::place_of_damage(database, number, page_size) + " at",
                state_.applied().index);
  } catch (const std::bad_alloc&) {
    state_.halt(static_cast<errc>(why.value()), "a page is damaged, at", state_.applied().index);
  }
}

template <consensus Consensus, storage Storage>
void fsm<Consensus, Storage>::on_broken_storage(std::error_code why) noexcept {
  const hold held = state_.hold();
  state_.halt(static_cast<errc>(why.value()), "a restore cannot be stored, at",
              state_.applied().index);
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite
