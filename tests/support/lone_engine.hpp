// An engine of one server without a log: what is proposed is applied at once, or refused, as the
// test says. Allocates nothing.
#pragma once

#include <atomic>
#include <cstddef>
#include <system_error>
#include <utility>

#include "quorlite/consensus.hpp"

namespace quorlite::tests {

class lone_engine {
 public:
  static constexpr consensus_abilities abilities{
      .entry_terms = true, .contiguous = true, .read_barrier = true};
  struct signal_type {
    void raise() noexcept { raised.store(true); }
    std::atomic<bool> raised{false};
  };

  // What happens to the next proposals and barriers, if not the best.
  settle_reason refuses = settle_reason::none;
  std::error_code broken;       // what engine_error() says
  std::error_code start_error;  // what start() says
  std::atomic<int> stops{0};
  std::atomic<bool> withdrawn{false};
  void (*while_waiting)(lone_engine&) = nullptr;
  bool is_silent = false;  // nobody is told anything
  bool follows = false;    // it does not lead when it starts

  std::error_code start(state_machine& machine) noexcept {
    if (start_error) {
      return start_error;
    }
    machine_ = &machine;
    at_ = machine.applied().index;
    if (!follows) {
      lead(machine.applied().term.next());
    }
    return {};
  }
  void stop() noexcept {
    ++stops;
    follow("");
  }
  void propose(term expected, proposal_token token, bytes_view entry) noexcept {
    if (is_silent) {
      return;
    }
    if (refuses != settle_reason::none || !leading_ || withdrawn.load() || expected != term_) {
      const settle_reason why =
          refuses != settle_reason::none ? refuses : settle_reason::stale_term;
      machine_->settled(token, outcome::not_applied, why);
      return;
    }
    at_ = at_.next();
    const bool halted = machine_->apply({{at_, term_}, entry}) == apply_result::halted;
    machine_->settled(token, halted ? outcome::unknown : outcome::committed,
                      halted ? settle_reason::stopped : settle_reason::none);
  }
  void read_barrier(proposal_token token) noexcept {
    if (!is_silent) {
      const bool fine = refuses == settle_reason::none;
      machine_->settled(token, fine ? outcome::committed : outcome::not_applied, refuses);
    }
  }
  [[nodiscard]] std::size_t max_entry_bytes() const noexcept { return std::size_t{1} << 24U; }
  bool wait(signal_type& signal, milliseconds) noexcept {
    if (!signal.raised.load() && while_waiting != nullptr) {
      while_waiting(*this);
    }
    return signal.raised.load();
  }
  void withdraw() noexcept { withdrawn.store(true); }
  [[nodiscard]] std::error_code engine_error() const noexcept { return broken; }

  void lead(term now) noexcept {
    term_ = now;
    leading_ = true;
    machine_->leadership_changed({.term = term_, .leading = true, .leader_hint = "me"});
  }
  void follow(std::string_view whom) noexcept {
    if (std::exchange(leading_, false)) {
      machine_->leadership_changed({.term = term_, .leading = false, .leader_hint = whom});
    }
  }

 private:
  state_machine* machine_ = nullptr;
  term term_;
  log_index at_;
  bool leading_ = false;
};

static_assert(consensus<lone_engine>);

}  // namespace quorlite::tests
