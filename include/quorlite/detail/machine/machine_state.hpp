/// @file
/// The state of a replica, and the steps by which it moves: what does not depend on the engine or
/// the storage. Who makes which step when is told in fsm.hpp; those of entries in
/// machine_entries.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/machine/machine_entries.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/options.hpp"
#include "quorlite/replica_status.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

struct database_write;
struct pinned_state;
struct history_notes;
struct loaded_base;
class memory_gauge;
struct proposal;
class proposal_table;
class restore_target;
struct restored_state;

/// Position, databases, outcomes, proposals and the health of one replica.
///
/// **The lock.** All but options(), databases() and evict() is called under hold(). It orders every
/// change of committed or uncommitted versions. It is a leaf for callers: adapters may hold their
/// own locks while they call in, and nothing is called out with it held (signals are raised under
/// it; they call nobody). What is said under it (machine_lock::say) is told after it.
class QUORLITE_API machine_state : public machine_entries {
 public:
  /// @param entry_terms the engine tells the true term of each entry
  machine_state(const fsm_options& options, bool entry_terms);
  ~machine_state();

  /// Knows the memory that all pages take.
  [[nodiscard]] const std::shared_ptr<memory_gauge>& gauge() const noexcept;
  /// Drops pages that the storage holds as well, until half of the memory is free.
  void evict();

  [[nodiscard]] const machine_counters& counters() const noexcept;
  [[nodiscard]] log_position durable() const noexcept;
  /// Of entries whose transaction has no end yet.
  [[nodiscard]] std::uint64_t staged_bytes() const noexcept;
  [[nodiscard]] base_history base() const noexcept;
  /// How far the log came, and the history there.
  [[nodiscard]] history_position brought() const noexcept;
  [[nodiscard]] history_match matches(log_index at, std::uint64_t low) const noexcept;
  /// The log has not brought everything again that the base holds, or may hold after a crash.
  [[nodiscard]] bool is_behind_base() const noexcept;
  /// Halts, for the log has ended before it did. @pre is_behind_base()
  void halt_behind_base() noexcept;
  /// Nothing was ever written here: a cluster could be founded.
  [[nodiscard]] bool is_blank() const;
  [[nodiscard]] const quorlite::leader_info& leader() const noexcept;
  [[nodiscard]] proposal_table& proposals() noexcept;

  // ---- leadership, and what is proposed in it

  void change_leadership(const leadership& now);
  void settle(proposal_token which, outcome how, settle_reason why);
  /// The engine does not run any more. Takes the lock itself.
  void end() noexcept;
  /// Gives a proposal its name, and the witness of what it was planned on; in one hold, so that
  /// nothing is applied between the two. @returns as proposal_table::may_propose()
  [[nodiscard]] std::error_code name_proposal(proposal& planned, term in_term);
  /// Puts the versions on the heads and the row into the table, together, before propose() is
  /// called. @param entries of the transaction; their tokens are consecutive from the one returned
  /// @returns errc::not_leader, stale_term, halted, stopped: nothing was changed.
  ///   @throws std::bad_alloc, as if the proposal had been refused
  [[nodiscard]] result<proposal_token> enter(const row& proposed, std::span<database_write> writes,
                                             std::uint32_t entries);
  /// The part that commits this transaction was not proposed, and will not be: it is not applied,
  /// unless it has its answer already.
  void give_up(const row& sent, settle_reason why);
  [[nodiscard]] transaction_outcome outcome_of(transaction_id id) const;

  // ---- the state as a whole

  [[nodiscard]] std::error_code take_base(loaded_base&& base);
  /// For a flush.
  [[nodiscard]] std::shared_ptr<pinned_state> capture() const;
  /// For a snapshot. @returns errc::halted; errc::busy: a replay has not brought everything back
  [[nodiscard]] result<std::shared_ptr<pinned_state>> capture_whole();
  using machine_entries::install;
  /// True if a snapshot with these notes cannot be of the history that stands here.
  [[nodiscard]] bool contradicts(const std::optional<history_notes>& notes, log_index at) const;
  /// @param finished one of stage_restore()
  /// @param replaced out: to be freed after the hold, for that takes a while
  apply_result install(snapshot_stage& finished, const void* owner, log_position engine_at,
                       stores& replaced);
  /// @param unless_dirty no flush if less than this is dirty; 0: whatever is dirty
  [[nodiscard]] bool is_flush_due(log_index upto, std::size_t unless_dirty) const;
  /// A restore that was installed since goes to the base, which publishes it with the next flush.
  [[nodiscard]] std::unique_ptr<restore_target> take_installed() noexcept;
  void flushed(const pinned_state& state, std::error_code error);

 private:
  [[nodiscard]] std::shared_ptr<pinned_state> capture(const history_hash& replay_from) const;
  [[nodiscard]] history_position replay_position() const noexcept;
  void swap_in(restored_state state, stores& replaced);
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/machine/machine_state.ipp"  // IWYU pragma: keep
#endif
