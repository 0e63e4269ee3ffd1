// A state machine that notes what it is told, and answers as it was told to.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "quorlite/consensus.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite::tests {

class heard_machine final : public state_machine {
 public:
  apply_result apply(const log_entry& entry) noexcept override { return move("apply", entry.at); }
  apply_result skip(log_position upto) noexcept override { return move("skip", upto); }
  void leadership_changed(const leadership& now) noexcept override {
    const strand_call call(*this);
    hear((now.leading ? "gain " : "loss ") + std::to_string(now.term.value) + " [" +
         std::string(now.leader_hint) + "]");
  }
  result<std::unique_ptr<snapshot_reader>> take_snapshot() noexcept override {
    const strand_call call(*this);
    hear("take_snapshot");
    return fail(errc::busy);
  }
  apply_result install(std::unique_ptr<snapshot_stage> /*finished*/,
                       log_position engine_at) noexcept override {
    return move("install", engine_at);
  }
  void settled(proposal_token which, outcome how, settle_reason why) noexcept override {
    const char* const outcomes[] = {"committed", "not_applied", "unknown"};
    hear(std::to_string(which.value) + " " + outcomes[static_cast<int>(how)] + " " +
         std::to_string(static_cast<int>(why)));
    ++settled_count;
  }
  result<std::unique_ptr<snapshot_stage>> begin_restore() noexcept override {
    return fail(errc::busy);
  }
  [[nodiscard]] log_position applied() const noexcept override {
    const std::lock_guard guard(mutex_);
    return at_;
  }
  [[nodiscard]] log_position durable() const noexcept override { return {}; }
  std::error_code flush(log_index /*upto*/) noexcept override { return {}; }

  /// What was heard since the last time.
  std::vector<std::string> heard() {
    const std::lock_guard guard(mutex_);
    return std::exchange(heard_, {});
  }
  void stand_at(log_position at) {
    const std::lock_guard guard(mutex_);
    at_ = at;
  }

  std::function<void()> inside;  ///< each strand call, if there is one; not while others call
  std::atomic<bool> halts_next{false};
  std::atomic<bool> keeps_notes{true};
  std::atomic<bool> lingers{false};  ///< in strand calls: room for another one
  std::atomic<std::uint64_t> settled_count{0};
  std::atomic<std::uint64_t> overlaps{0};  ///< strand calls that met another one
  std::atomic<std::uint64_t> strand_calls{0};

 private:
  struct strand_call {
    explicit strand_call(heard_machine& owner) : machine(owner) {
      machine.overlaps += machine.busy_.exchange(true) ? 1 : 0;
      ++machine.strand_calls;
      if (machine.lingers) {
        std::this_thread::yield();
      }
      if (machine.inside) {
        machine.inside();
      }
    }
    ~strand_call() { machine.busy_ = false; }
    heard_machine& machine;
  };

  apply_result move(const char* what, log_position at) {
    const strand_call call(*this);
    hear(what + (" " + std::to_string(at.index.value)));
    if (halts_next.exchange(false)) {
      return apply_result::halted;
    }
    const std::lock_guard guard(mutex_);
    if (at.index <= at_.index) {
      return apply_result::already;
    }
    at_ = at;
    return apply_result::applied;
  }
  void hear(std::string what) {
    if (keeps_notes) {
      const std::lock_guard guard(mutex_);
      heard_.push_back(std::move(what));
    }
  }

  std::atomic<bool> busy_{false};
  mutable std::mutex mutex_;
  std::vector<std::string> heard_;
  log_position at_;
};

}  // namespace quorlite::tests
