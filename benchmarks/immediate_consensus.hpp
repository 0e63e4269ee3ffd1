/// @file
/// The fastest consensus there is: none. One replica, every entry is committed inside propose(), so
/// that a benchmark sees what the library costs and nothing else. Followers may be fed the same
/// entries.
#pragma once

#include <cstddef>
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
    machine.leadership_changed({quorlite::term{1}, true, {}});
    return {};
  }
  void stop() noexcept { machine_->leadership_changed({quorlite::term{1}, false, {}}); }
  void propose(quorlite::term, quorlite::proposal_token token,
               quorlite::bytes_view entry) noexcept {
    at_ = at_.next();
    if (recording) {
      log.emplace_back(entry.begin(), entry.end());
    }
    static_cast<void>(machine_->apply({{at_, quorlite::term{1}}, entry}));
    machine_->settled(token, quorlite::outcome::committed, quorlite::reason::none);
  }
  [[nodiscard]] std::size_t max_entry_bytes() const noexcept { return std::size_t{1} << 24U; }
  bool wait(signal_type& signal, quorlite::milliseconds) noexcept { return signal.raised; }

  bool recording = false;
  std::vector<quorlite::bytes> log;  ///< what was proposed while recording

 private:
  quorlite::state_machine* machine_ = nullptr;
  quorlite::log_index at_;
};

static_assert(quorlite::consensus<immediate_consensus>);

}  // namespace bench
