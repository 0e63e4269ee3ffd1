// A machine of which nothing is asked but its history, and which says what it was told to say.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <system_error>
#include <vector>

#include "quorlite/consensus.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite::tests {

class told_machine final : public state_machine {
 public:
  base_history told;
  history_position stands;  ///< how far the log was brought
  std::vector<history_position> known;

  base_history base() const noexcept override { return told; }
  history_position history() const noexcept override { return stands; }
  history_match matches(log_index at, std::uint64_t low) const noexcept override {
    for (const history_position& each : known) {
      if (each.index == at) {
        return each.hash.low == low ? history_match::equal : history_match::differs;
      }
    }
    return history_match::not_known;
  }
  log_position applied() const noexcept override {
    return {std::max(told.at.index, stands.index), {}};
  }

  apply_result apply(const log_entry&) noexcept override { return apply_result::halted; }
  apply_result skip(log_position) noexcept override { return apply_result::halted; }
  void leadership_changed(const leadership&) noexcept override {}
  result<std::unique_ptr<snapshot_reader>> take_snapshot() noexcept override {
    return fail(errc::unsupported);
  }
  apply_result install(std::unique_ptr<snapshot_stage>, log_position) noexcept override {
    return apply_result::halted;
  }
  void settled(proposal_token, outcome, settle_reason) noexcept override {}
  result<std::unique_ptr<snapshot_stage>> begin_restore() noexcept override {
    return fail(errc::unsupported);
  }
  log_position durable() const noexcept override { return {}; }
  std::error_code flush(log_index) noexcept override { return {}; }
};

}  // namespace quorlite::tests
