/// @file
/// What a machine is made of: for its bodies.
#pragma once

#include <memory>

#include "quorlite/config.hpp"
#include "quorlite/detail/machine/history.hpp"
#include "quorlite/detail/machine/machine_entries.hpp"
#include "quorlite/detail/machine/outcome_table.hpp"
#include "quorlite/detail/machine/proposals.hpp"
#include "quorlite/detail/machine/restore_target.hpp"
#include "quorlite/detail/machine/transaction_assembly.hpp"
#include "quorlite/detail/pages/registry.hpp"
#include "quorlite/options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

struct machine_entries::parts {
  explicit parts(const fsm_options& options)
      : databases(options.lock_byte),
        assembly(options.lock_byte, options.legacy),
        outcomes(options.cluster_id) {
    databases.gauge()->readers().set(options.pinned_bytes);
  }

  /// @param at 0: the base stands at one position
  void recover_until(log_index at) noexcept {
    redo_until = at;
    health.recovering = at.value != 0;
  }

  /// What a version that `by` makes is called: nothing, before the history has begun.
  [[nodiscard]] transaction_id maker(transaction_id by) const noexcept {
    return line.has_begun() ? by : transaction_id{};
  }

  /// The history as of `staged_up_to`. All zero: it has not begun there, or is not known.
  [[nodiscard]] history_hash staged_hash() const noexcept {
    return staged_up_to == applied.index ? line.position().hash : line.replayed().position().hash;
  }

  registry databases;
  transaction_assembly assembly;
  outcome_table outcomes;
  history line;           ///< as of `applied`
  log_index equal_as_of;  ///< the last witness that was known here, and right
  proposal_table proposals;
  log_position applied;
  log_position durable;
  log_index redo_until;    ///< 0: the base stood at one position, or does again
  log_index told;          ///< the newest index that the engine brought since the start; 0: none
  log_index staged_up_to;  ///< entries above it, up to applied, are replayed for what they staged
  quorlite::health health;
  machine_counters counters;
  std::unique_ptr<restore_target> installed;  ///< the pages of a restore, for the next flush
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
