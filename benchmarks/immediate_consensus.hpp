/// @file
/// No consensus at all: one replica, every entry is committed inside propose(), so
/// that a benchmark sees what the library costs and nothing else. Followers may be fed the same
/// entries. It has no log: after a restart it goes on where the storage stands, in a later term.
#pragma once

#include <atomic>
#include <cstddef>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/consensus.hpp"

namespace bench {

class immediate_consensus {
 public:
  struct signal_type {
    void raise() noexcept { raised = true; }
    bool raised = false;
  };
  static constexpr quorlite::consensus_abilities abilities{.entry_terms = true,
                                                           .contiguous = true,
                                                           .read_barrier = false,
                                                           .leadership_transfer = false,
                                                           .background_work = false};

  std::error_code start(quorlite::state_machine& machine) noexcept {
    machine_ = &machine;
    leading_ = true;
    withdrawn_ = false;
    at_ = machine.applied().index;
    term_ = machine.applied().term.next();
    machine.leadership_changed({.term = term_, .leading = true, .leader_hint = {}});
    if (withdrawn_) {
      stop();
    }
    return {};
  }
  void stop() noexcept {
    if (std::exchange(leading_, false)) {
      machine_->leadership_changed({.term = term_, .leading = false, .leader_hint = {}});
    }
  }
  void propose(quorlite::term expected, quorlite::proposal_token token,
               quorlite::bytes_view entry) noexcept {
    if (withdrawn_) {
      stop();
    }
    const bool fits = entry.size() <= max_entry_bytes();
    if (!fits || !leading_ || expected != term_) {
      machine_->settled(
          token, quorlite::outcome::not_applied,
          fits ? quorlite::settle_reason::stale_term : quorlite::settle_reason::too_large);
      return;
    }
    at_ = at_.next();
    if (recording) {
      log.emplace_back(entry.begin(), entry.end());
    }
    const bool halted = machine_->apply({{at_, term_}, entry}) == quorlite::apply_result::halted;
    machine_->settled(token, halted ? quorlite::outcome::unknown : quorlite::outcome::committed,
                      halted ? quorlite::settle_reason::stopped : quorlite::settle_reason::none);
    if (halted || withdrawn_) {
      stop();
    }
  }
  [[nodiscard]] std::size_t max_entry_bytes() const noexcept { return std::size_t{1} << 24U; }
  bool wait(signal_type& signal, quorlite::milliseconds) noexcept { return signal.raised; }
  void withdraw() noexcept { withdrawn_ = true; }  // the next proposal finds out

  bool recording = false;
  std::vector<quorlite::bytes> log;  ///< what was proposed while recording

 private:
  quorlite::state_machine* machine_ = nullptr;
  quorlite::term term_;
  quorlite::log_index at_;
  bool leading_ = false;
  std::atomic<bool> withdrawn_{false};
};

static_assert(quorlite::consensus<immediate_consensus>);

}  // namespace bench
