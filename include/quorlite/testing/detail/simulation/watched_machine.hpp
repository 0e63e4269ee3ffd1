/// @file
/// A machine as its engine sees it, and the test Raft's adapter with that in between.
#pragma once

#include <cstdint>
#include <memory>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/simulation/process_watch.hpp"
#include "quorlite/testing/test_raft.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// Hands every call on, and tells what came of it. A process that dies meanwhile answers with an
/// error: the engine may have let go of everything by then.
class watched_machine final : public state_machine {
 public:
  explicit watched_machine(std::shared_ptr<process_watch> watch) noexcept
      : watch_(std::move(watch)) {}
  void stand_before(state_machine& real) noexcept { real_ = &real; }

  apply_result apply(const log_entry& entry) noexcept override;
  apply_result skip(log_position upto) noexcept override;
  void leadership_changed(const leadership& now) noexcept override;
  [[nodiscard]] result<std::unique_ptr<snapshot_reader>> take_snapshot() noexcept override;
  apply_result install(std::unique_ptr<snapshot_stage> finished,
                       log_position engine_at) noexcept override;
  void settled(proposal_token token, outcome answer, settle_reason reason) noexcept override;
  [[nodiscard]] result<std::unique_ptr<snapshot_stage>> begin_restore() noexcept override;
  [[nodiscard]] log_position applied() const noexcept override { return real_->applied(); }
  [[nodiscard]] log_position durable() const noexcept override { return real_->durable(); }
  [[nodiscard]] base_history base() const noexcept override { return real_->base(); }
  [[nodiscard]] history_position history() const noexcept override { return real_->history(); }
  [[nodiscard]] history_match matches(log_index at, std::uint64_t low) const noexcept override {
    return real_->matches(at, low);
  }
  [[nodiscard]] std::error_code flush(log_index upto) noexcept override;

 private:
  apply_result told(apply_result said) noexcept;

  std::shared_ptr<process_watch> watch_;
  state_machine* real_ = nullptr;
};

/// The test Raft with a watched machine.
class watched_raft : public test_raft {
 public:
  watched_raft(simulation& cluster, std::shared_ptr<process_watch> watch) noexcept
      : test_raft(cluster, watch->self), machine_(std::move(watch)) {}

  [[nodiscard]] std::error_code start(state_machine& machine) noexcept {
    machine_.stand_before(machine);
    return test_raft::start(machine_);
  }

 private:
  watched_machine machine_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/simulation/watched_machine.ipp"  // IWYU pragma: keep
#endif
