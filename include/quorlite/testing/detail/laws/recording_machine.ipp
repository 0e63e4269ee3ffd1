/// @file
/// Bodies of recording_machine.
#pragma once

#include "quorlite/testing/detail/laws/recording_machine.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/laws/consensus_ledger.hpp"
#include "quorlite/testing/detail/laws/recorded_disk.hpp"
#include "quorlite/testing/detail/laws/recorded_state.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL void due_halt::set(halts_in call, std::function<void()> halt) {
  const std::lock_guard guard(mutex_);
  due_ = call;
  halt_ = std::move(halt);
}

QUORLITE_DECL void due_halt::meet(halts_in call) {
  std::function<void()> halt;
  {
    const std::lock_guard guard(mutex_);
    if (due_ == halts_in::none || (due_ == halts_in::strand_call && call != due_)) {
      return;
    }
    due_ = halts_in::none;
    halt = std::move(halt_);
  }
  halt();  // the adapter may call back
}

QUORLITE_DECL recording_machine::recording_machine(std::size_t server, consensus_ledger& ledger,
                                                   consensus_abilities abilities,
                                                   recorded_state disk, bool restarted)
    : server_(server),
      ledger_(ledger),
      abilities_(abilities),
      restarted_(restarted),
      state_(disk),
      disk_(std::move(disk)) {}

QUORLITE_DECL apply_result recording_machine::apply(const log_entry& entry) noexcept {
  const strand_call call(*this, "apply");
  if (!call.alone) {
    return apply_result::already;
  }
  const bytes before(entry.bytes.begin(), entry.bytes.end());
  const apply_result answer = take(entry);
  if (answer == apply_result::applied) {
    ledger_.apply(entry);
    call.linger();
    if (!std::equal(before.begin(), before.end(), entry.bytes.begin(), entry.bytes.end())) {
      ledger_.fault("A7", "the bytes of an entry changed during apply");
    }
    const auto hook = copy_of(on_apply_);
    if (hook) {
      hook(entry);
    }
  }
  return answer;
}

QUORLITE_DECL apply_result recording_machine::skip(log_position upto) noexcept {
  const strand_call call(*this, "skip");
  if (!call.alone) {
    return apply_result::already;
  }
  log_index from;
  {
    const std::lock_guard guard(mutex_);
    if (halt_.answered) {
      ledger_.fault("A4", "a skip came after the machine had answered halted");
      return apply_result::halted;
    }
    if (halt_.told) {
      halt_.answered = true;
      return apply_result::halted;
    }
    note_replay(upto.index);
    if (upto.index <= state_.at.index) {
      return apply_result::already;
    }
    from = state_.at.index;
    state_.at = upto;
  }
  ledger_.skip(from, upto.index);
  call.linger();
  return apply_result::applied;
}

QUORLITE_DECL void recording_machine::leadership_changed(const leadership& now) noexcept {
  const strand_call call(*this, "leadership_changed");
  const std::string hint(now.leader_hint);
  if (!call.alone) {
    return;
  }
  const std::lock_guard guard(mutex_);
  if (now.leading && leading_) {
    ledger_.fault("L3", "two gains in a row");
  }
  const bool led = std::exchange(leading_, now.leading);
  if (!now.leading) {
    if (led) {
      ledger_.loss(server_, gained_);
    }
    return;  // else news of another leader
  }
  if (halt_.answered) {
    ledger_.fault("A4", "leadership was announced as gained after the machine had answered halted");
  }
  if (halt_.told) {
    ledger_.fault("L7", "leadership was announced as gained after withdraw");
  }
  if (now.term <= gained_) {
    ledger_.fault("L2", "a gain has no higher term than the gain before");
  }
  gained_ = now.term;
  ledger_.gain(server_, now.term);
  if (ledger_.last_index_below(now.term) > state_.at.index) {
    ledger_.fault(
        "L1", "a gain was announced before every committed entry of older terms was applied here");
  }
  if (hint != now.leader_hint) {
    ledger_.fault("A7", "the leader hint changed during leadership_changed");
  }
}

QUORLITE_DECL result<std::unique_ptr<snapshot_reader>> recording_machine::take_snapshot() noexcept {
  const strand_call call(*this, "take_snapshot");
  const std::lock_guard guard(mutex_);
  return std::make_unique<recording_reader>(state_);
}

QUORLITE_DECL result<std::unique_ptr<snapshot_stage>> recording_machine::begin_restore() noexcept {
  own_halt_.meet(halts_in::any_call);
  return std::make_unique<recording_stage>(counters_);
}

QUORLITE_DECL apply_result recording_machine::install(std::unique_ptr<snapshot_stage> finished,
                                                      log_position engine_at) noexcept {
  const strand_call call(*this, "install");
  auto* const stage = static_cast<recording_stage*>(finished.get());  // one of begin_restore()
  if (!call.alone) {
    return apply_result::already;
  }
  if (stage == nullptr || !stage->finished()) {
    ledger_.fault("S6", "a stage was installed that had not been finished");
    return apply_result::halted;
  }
  if (engine_at.index.value != 0 && stage->state().at.index > engine_at.index) {
    ledger_.fault("S4", "the engine says that a snapshot stands below its content");
  }
  const std::lock_guard guard(mutex_);
  if (halt_.told) {
    halt_.answered = true;
    return apply_result::halted;
  }
  disk_.note_replay(std::max(stage->state().at.index, engine_at.index));
  if (stage->state().at.index <= state_.at.index) {
    return apply_result::already;
  }
  state_ = std::move(stage->state());
  state_.at = engine_at.index > state_.at.index ? engine_at : state_.at;
  disk_.note_install();
  ++counters_->installed;
  return apply_result::applied;
}

QUORLITE_DECL void recording_machine::settled(proposal_token which, outcome how,
                                              settle_reason why) noexcept {
  if (gone_) {
    ledger_.fault("P1", "a proposal was settled after stop had returned");
  }
  ledger_.settle(server_, which, {how, why}, applied().index);
}

QUORLITE_DECL log_position recording_machine::applied() const noexcept {
  const std::lock_guard guard(mutex_);
  return state_.at;
}

QUORLITE_DECL log_position recording_machine::durable() const noexcept {
  own_halt_.meet(halts_in::any_call);
  const std::lock_guard guard(mutex_);
  // No more than is promised: a real machine knows no term at times.
  return {disk_.durable(), {}};
}

QUORLITE_DECL std::error_code recording_machine::flush(log_index upto) noexcept {
  recorded_state pinned;
  flush_manner manner{};
  {
    const std::lock_guard guard(mutex_);
    if (disk_.durable() >= upto || disk_.durable() == state_.at.index) {
      return {};
    }
    if (const std::error_code error = disk_.make_room()) {
      return error;
    }
    pinned = state_;
    manner = disk_.manner();
  }
  if (manner == flush_manner::slowly) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  const std::lock_guard guard(mutex_);
  disk_.store(std::move(pinned));
  return {};
}

QUORLITE_DECL recorded_state recording_machine::stored() const {
  const std::lock_guard guard(mutex_);
  return disk_.state();
}

QUORLITE_DECL bool recording_machine::holds(log_index index) const {
  const std::lock_guard guard(mutex_);
  return state_.entries.contains(index.value);
}

QUORLITE_DECL void recording_machine::on_apply(std::function<void(const log_entry&)> hook) {
  const std::lock_guard guard(mutex_);
  on_apply_ = std::move(hook);
}

QUORLITE_DECL void recording_machine::halt_at_next() {
  const std::lock_guard guard(mutex_);
  halt_.at_next = true;
}

QUORLITE_DECL void recording_machine::halt_now() {
  const std::lock_guard guard(mutex_);
  halt_.told = true;
}

QUORLITE_DECL bool recording_machine::halted() const {
  const std::lock_guard guard(mutex_);
  return halt_.answered || halt_.told;
}

QUORLITE_DECL void recording_machine::flush_in(flush_manner manner) {
  const std::lock_guard guard(mutex_);
  disk_.flush_in(manner);
}

QUORLITE_DECL flush_manner recording_machine::flushes() const {
  const std::lock_guard guard(mutex_);
  return disk_.manner();
}

QUORLITE_DECL void recording_machine::linger_with(std::function<void()> pause) {
  const std::lock_guard guard(mutex_);
  linger_ = std::move(pause);
}

QUORLITE_DECL recording_machine::strand_call::strand_call(recording_machine& owner,
                                                          const char* what)
    : machine(owner), alone(!owner.strand_.test_and_set(std::memory_order_acquire)) {
  if (!alone) {
    machine.ledger_.fault("A3", std::string(what) + " overlapped another strand call");
  }
  if (machine.gone_) {
    machine.ledger_.fault("A3", std::string(what) + " came after stop had returned");
  }
}

QUORLITE_DECL recording_machine::strand_call::~strand_call() {
  if (alone) {
    machine.own_halt_.meet(halts_in::strand_call);
    machine.strand_.clear(std::memory_order_release);
  }
}

QUORLITE_DECL void recording_machine::strand_call::linger() const {
  if (const auto pause = machine.copy_of(machine.linger_)) {
    pause();
  }
}

/// S1: what is above durable() comes again, though the machine may stand higher. Under the mutex.
QUORLITE_DECL void recording_machine::note_replay(log_index at) {
  const log_index replayed = disk_.replayed();
  const bool misses = at > replayed.next() && replayed < state_.at.index;
  if (misses && (abilities_.contiguous || ledger_.has_between(replayed, at))) {
    ledger_.fault("S1", "after a restart entries above durable() did not come again");
  }
  disk_.note_replay(at);
}

QUORLITE_DECL apply_result recording_machine::take(const log_entry& entry) {
  const std::lock_guard guard(mutex_);
  if (halt_.answered) {
    ledger_.fault("A4", "an entry came after the machine had answered halted");
    return apply_result::halted;
  }
  const std::uint64_t index = entry.at.index.value;
  note_replay(entry.at.index);
  if (entry.at.index <= state_.at.index) {
    const std::uint64_t first = state_.entries.empty() ? index : state_.entries.begin()->first;
    if (index > first && !state_.entries.contains(index)) {
      ledger_.fault("A1", "an entry came after a later one, or after a skip over it");
    }
    return apply_result::already;
  }
  if (std::exchange(halt_.at_next, false) || halt_.told) {
    halt_.answered = true;
    return apply_result::halted;
  }
  if (abilities_.contiguous && index != state_.at.index.value + 1) {
    ledger_.fault(restarted_ ? "S1" : "A1", "a hole before index " + std::to_string(index));
  }
  if (abilities_.entry_terms && entry.at.term < state_.at.term) {
    ledger_.fault("A1", "the term of an entry is below that of an earlier one");
  }
  if (abilities_.entry_terms && leading_ && entry.at.term < gained_) {
    ledger_.fault("L1", "an entry of an older term was applied after a gain was announced");
  }
  const quorlite::term term = abilities_.entry_terms ? entry.at.term : quorlite::term{};
  state_.at = entry.at;
  state_.entries.emplace(index,
                         recorded_entry{term, bytes(entry.bytes.begin(), entry.bytes.end())});
  return apply_result::applied;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
