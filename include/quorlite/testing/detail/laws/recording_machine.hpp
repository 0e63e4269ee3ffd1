/// @file
/// The state machine of the consensus suite: it keeps every entry, checks what one server can see
/// of the laws, and tells the ledger the rest.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/laws/consensus_ledger.hpp"
#include "quorlite/testing/detail/laws/recorded_state.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

/// One server's machine. Any thread, as its base class says; the rest (hooks, questions) from any
/// thread too.
class recording_machine final : public state_machine {
 public:
  /// @param disk where it starts: what a former machine of this server had made durable
  recording_machine(std::size_t server, consensus_ledger& ledger, consensus_abilities abilities,
                    recorded_state disk = {}, bool restarted = false)
      : server_(server),
        ledger_(ledger),
        abilities_(abilities),
        restarted_(restarted),
        state_(disk),
        disk_(std::move(disk)) {}

  // ---- the lane

  verdict apply(const log_entry& entry) noexcept override {
    const lane_call call(*this, "apply");
    if (!call.alone) {
      return verdict::already;
    }
    const bytes before(entry.bytes.begin(), entry.bytes.end());
    const verdict answer = take(entry);
    if (answer == verdict::applied) {
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

  verdict skip(log_position upto) noexcept override {
    const lane_call call(*this, "skip");
    if (!call.alone) {
      return verdict::already;
    }
    log_index from;
    {
      const std::lock_guard guard(mutex_);
      if (halted_) {
        ledger_.fault("A4", "a skip came after the machine had answered halted");
        return verdict::halted;
      }
      if (upto.index <= state_.at.index) {
        return verdict::already;
      }
      from = state_.at.index;
      state_.at = upto;
    }
    ledger_.skip(from, upto.index);
    call.linger();
    return verdict::applied;
  }

  void leadership_changed(const leadership& now) noexcept override {
    const lane_call call(*this, "leadership_changed");
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
    if (halted_) {
      ledger_.fault("A4",
                    "an office was announced as gained after the machine had answered halted");
    }
    if (now.term <= gained_) {
      ledger_.fault("L2", "a gain has no higher term than the gain before");
    }
    gained_ = now.term;
    ledger_.gain(server_, now.term);
    if (ledger_.last_index_below(now.term) > state_.at.index) {
      ledger_.fault(
          "L1",
          "a gain was announced before every committed entry of older terms was applied here");
    }
    if (hint != now.leader_hint) {
      ledger_.fault("A7", "the leader hint changed during leadership_changed");
    }
  }

  [[nodiscard]] result<std::unique_ptr<snapshot_reader>> take_snapshot() noexcept override {
    const lane_call call(*this, "take_snapshot");
    const std::lock_guard guard(mutex_);
    return std::make_unique<recording_reader>(state_);
  }

  verdict install(std::unique_ptr<snapshot_stage> finished,
                  log_position engine_at) noexcept override {
    const lane_call call(*this, "install");
    auto* const stage = dynamic_cast<recording_stage*>(finished.get());
    if (!call.alone) {
      return verdict::already;
    }
    if (stage == nullptr || !stage->finished()) {
      ledger_.fault("S6", "a stage was installed that had not been finished");
      return verdict::halted;
    }
    if (engine_at.index.value != 0 && stage->state().at.index > engine_at.index) {
      ledger_.fault("S4", "the engine says that a snapshot stands below its content");
    }
    const std::lock_guard guard(mutex_);
    if (stage->state().at.index <= state_.at.index) {
      return verdict::already;
    }
    state_ = std::move(stage->state());
    state_.at = engine_at.index > state_.at.index ? engine_at : state_.at;
    disk_ = state_;  // a published stage is durable
    ++counters_->installed;
    return verdict::applied;
  }

  // ---- any thread

  void settled(proposal_token which, outcome how, reason why) noexcept override {
    if (gone_) {
      ledger_.fault("P1", "a proposal was settled after stop had returned");
    }
    ledger_.settle(server_, which, {how, why}, applied().index);
  }
  [[nodiscard]] result<std::unique_ptr<snapshot_stage>> begin_restore() noexcept override {
    return std::make_unique<recording_stage>(counters_);
  }
  [[nodiscard]] log_position applied() const noexcept override {
    const std::lock_guard guard(mutex_);
    return state_.at;
  }
  [[nodiscard]] log_position durable() const noexcept override {
    const std::lock_guard guard(mutex_);
    return disk_.at;
  }
  [[nodiscard]] std::error_code flush(log_index upto) noexcept override {
    const std::lock_guard guard(mutex_);
    if (disk_.at.index < upto) {
      disk_ = state_;
    }
    return {};
  }

  // ---- for the suite

  [[nodiscard]] bool leading() const { return copy_of(leading_); }
  [[nodiscard]] quorlite::term gained() const { return copy_of(gained_); }
  [[nodiscard]] bool halted() const { return copy_of(halted_); }
  [[nodiscard]] bool restarted() const noexcept { return restarted_; }
  [[nodiscard]] recorded_state state() const { return copy_of(state_); }
  [[nodiscard]] recorded_state disk() const { return copy_of(disk_); }
  [[nodiscard]] bool holds(log_index index) const {
    const std::lock_guard guard(mutex_);
    return state_.entries.contains(index.value);
  }
  [[nodiscard]] stage_counters& stages() noexcept { return *counters_; }

  /// Called at the end of each apply that moved the machine, on the lane. Must not call the
  /// adapter.
  void on_apply(std::function<void(const log_entry&)> hook) {
    const std::lock_guard guard(mutex_);
    on_apply_ = std::move(hook);
  }
  /// The next entry is answered with `halted`.
  void halt_at_next() {
    const std::lock_guard guard(mutex_);
    halt_next_ = true;
  }
  /// Runs in the middle of each lane call that moved the machine: room for another call to overlap.
  void linger_with(std::function<void()> pause) {
    const std::lock_guard guard(mutex_);
    linger_ = std::move(pause);
  }
  /// The server was stopped or crashed: any further call is a broken law.
  void expect_silence() noexcept { gone_ = true; }

 private:
  // A3: lane calls never overlap, whatever their threads.
  struct lane_call {
    lane_call(recording_machine& owner, const char* what)
        : machine(owner), alone(!owner.lane_.test_and_set(std::memory_order_acquire)) {
      if (!alone) {
        machine.ledger_.fault("A3", std::string(what) + " overlapped another lane call");
      }
      if (machine.gone_) {
        machine.ledger_.fault("A3", std::string(what) + " came after stop had returned");
      }
    }
    lane_call(const lane_call&) = delete;
    lane_call& operator=(const lane_call&) = delete;
    ~lane_call() {
      if (alone) {
        machine.lane_.clear(std::memory_order_release);
      }
    }
    void linger() const {
      if (const auto pause = machine.copy_of(machine.linger_)) {
        pause();
      }
    }
    recording_machine& machine;
    const bool alone;
  };

  template <class T>
  T copy_of(const T& place) const {
    const std::lock_guard guard(mutex_);
    return place;
  }

  verdict take(const log_entry& entry) {
    const std::lock_guard guard(mutex_);
    if (halted_) {
      ledger_.fault("A4", "an entry came after the machine had answered halted");
      return verdict::halted;
    }
    const std::uint64_t index = entry.at.index.value;
    if (entry.at.index <= state_.at.index) {
      const std::uint64_t first = state_.entries.empty() ? index : state_.entries.begin()->first;
      if (index > first && !state_.entries.contains(index)) {
        ledger_.fault("A1", "an entry came after a later one, or after a skip over it");
      }
      return verdict::already;
    }
    if (std::exchange(halt_next_, false)) {
      halted_ = true;
      return verdict::halted;
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
    return verdict::applied;
  }

  const std::size_t server_;
  consensus_ledger& ledger_;
  const consensus_abilities abilities_;
  const bool restarted_;
  std::shared_ptr<stage_counters> counters_ = std::make_shared<stage_counters>();
  std::atomic_flag lane_ = ATOMIC_FLAG_INIT;
  std::atomic<bool> gone_{false};

  mutable std::mutex mutex_;  // of everything below
  recorded_state state_;
  recorded_state disk_;
  bool leading_ = false;
  bool halted_ = false;
  bool halt_next_ = false;
  quorlite::term gained_;
  std::function<void(const log_entry&)> on_apply_;
  std::function<void()> linger_;
};

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
