/// @file
/// A machine between an adapter and the suite's, for harnesses that crash servers by stopping them.
#pragma once

#include <atomic>
#include <memory>
#include <system_error>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// Passes everything on until it is muted; from then on nothing, not even an answer to a proposal.
/// So a stop after it looks like a crash to everybody who held the machine: nobody heard of it.
class QUORLITE_API muted_machine final : public state_machine {
 public:
  explicit muted_machine(state_machine& real) noexcept : real_(real) {}

  /// Any thread. A call that is under way may still pass on what it began.
  void mute() noexcept { muted_ = true; }

  apply_result apply(const log_entry& entry) noexcept override;
  apply_result skip(log_position upto) noexcept override;
  void leadership_changed(const leadership& now) noexcept override;
  [[nodiscard]] result<std::unique_ptr<snapshot_reader>> take_snapshot() noexcept override;
  apply_result install(std::unique_ptr<snapshot_stage> finished,
                       log_position engine_at) noexcept override;
  void settled(proposal_token which, outcome how, settle_reason why) noexcept override;
  [[nodiscard]] result<std::unique_ptr<snapshot_stage>> begin_restore() noexcept override;
  [[nodiscard]] log_position applied() const noexcept override { return real_.applied(); }
  [[nodiscard]] log_position durable() const noexcept override { return real_.durable(); }
  [[nodiscard]] base_history base() const noexcept override { return real_.base(); }
  [[nodiscard]] history_position history() const noexcept override { return real_.history(); }
  [[nodiscard]] history_match matches(log_index at, std::uint64_t low) const noexcept override {
    return real_.matches(at, low);
  }
  [[nodiscard]] std::error_code flush(log_index upto) noexcept override;

 private:
  state_machine& real_;
  std::atomic<bool> muted_{false};
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/laws/muted_machine.ipp"  // IWYU pragma: keep
#endif
