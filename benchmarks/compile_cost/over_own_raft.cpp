// The library over an engine of the user's own, which no compiled part can know: the least of one,
// a single server without a log.
#include <cstddef>
#include <system_error>
#include <utility>

#include "quorlite/quorlite.hpp"
#include "quorlite/storage/memory.hpp"

namespace {

class own_raft {
 public:
  struct signal_type {
    void raise() noexcept { raised = true; }
    bool raised = false;
  };
  static constexpr quorlite::consensus_abilities abilities{.entry_terms = true, .contiguous = true};

  std::error_code start(quorlite::state_machine& machine) noexcept {
    machine_ = &machine;
    leading_ = true;
    at_ = machine.applied().index;
    term_ = machine.applied().term.next();
    machine.leadership_changed({.term = term_, .leading = true, .leader_hint = {}});
    return {};
  }
  void stop() noexcept {
    if (std::exchange(leading_, false)) {
      machine_->leadership_changed({.term = term_, .leading = false, .leader_hint = {}});
    }
  }
  void propose(quorlite::term expected, quorlite::proposal_token token,
               quorlite::bytes_view entry) noexcept {
    if (!leading_ || withdrawn_ || expected != term_) {
      machine_->settled(token, quorlite::outcome::not_applied, quorlite::settle_reason::stale_term);
      return;
    }
    at_ = at_.next();
    const bool halted = machine_->apply({{at_, term_}, entry}) == quorlite::apply_result::halted;
    machine_->settled(token, halted ? quorlite::outcome::unknown : quorlite::outcome::committed,
                      halted ? quorlite::settle_reason::stopped : quorlite::settle_reason::none);
  }
  std::size_t max_entry_bytes() const noexcept { return std::size_t{1} << 24U; }
  bool wait(signal_type& signal, quorlite::milliseconds) noexcept { return signal.raised; }
  void withdraw() noexcept { withdrawn_ = true; }

 private:
  quorlite::state_machine* machine_ = nullptr;
  quorlite::term term_;
  quorlite::log_index at_;
  bool leading_ = false;
  bool withdrawn_ = false;
};

}  // namespace

int main() {
  quorlite::memory_storage storage;
  own_raft raft;
  auto replica = quorlite::replica::start(raft, storage);
  return replica && replica->open("app.db") ? 0 : 1;
}
