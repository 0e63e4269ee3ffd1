/// @file
/// The state of a replica, and the steps by which it moves: what does not depend on the engine or
/// the storage. Who makes which step when is told in fsm.hpp.
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
#include "quorlite/detail/machine/machine_lock.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/options.hpp"
#include "quorlite/replica_status.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

struct assembled_transaction;
struct pinned_state;
struct command;
struct database_write;
class transaction_assembly;
struct write_set_command;
struct loaded_base;
class memory_gauge;
class page_store;
class prepared_transaction;
struct proposal;
class proposal_table;
class registry;
class restore_target;
struct restored_state;

/// Position, databases, outcomes, proposals and the health of one replica.
///
/// **The lock.** All but options(), databases() and evict() is called under hold(). It orders every
/// change of committed or uncommitted versions. It is a leaf for callers: adapters may hold their
/// own locks while they call in, and nothing is called out with it held (signals are raised under
/// it; they call nobody). What is said under it (machine_lock::say) is told after it.
class QUORLITE_API machine_state {
 public:
  using row = std::shared_ptr<proposal>;
  using stores = std::vector<std::shared_ptr<page_store>>;

  /// @param entry_terms the engine tells the true term of each entry
  machine_state(const fsm_options& options, bool entry_terms);
  ~machine_state();

  [[nodiscard]] machine_lock::holder hold() const { return machine_lock::holder(lock_); }
  [[nodiscard]] machine_lock& lock() noexcept { return lock_; }
  [[nodiscard]] const fsm_options& options() const noexcept { return options_; }
  [[nodiscard]] registry& databases() noexcept;
  /// Knows the memory that all pages take.
  [[nodiscard]] const std::shared_ptr<memory_gauge>& gauge() const noexcept;
  /// Drops pages that the storage holds as well, until half of the memory is free.
  void evict();

  [[nodiscard]] const quorlite::health& health() const noexcept;
  [[nodiscard]] const machine_counters& counters() const noexcept;
  void count_frames(const log_entry& entry, std::uint64_t page_bytes) noexcept;
  [[nodiscard]] log_position applied() const noexcept;
  [[nodiscard]] log_position durable() const noexcept;
  /// The base stands between two positions until the log was replayed to the later one.
  [[nodiscard]] bool is_recovering() const noexcept;
  [[nodiscard]] const quorlite::leader_info& leader() const noexcept;
  [[nodiscard]] transaction_assembly& assembly() noexcept;
  [[nodiscard]] proposal_table& proposals() noexcept;

  // ---- entries: see fsm::apply. What an entry changes and the position move in one hold.

  /// True if entries before this one were neither applied nor skipped.
  [[nodiscard]] bool misses_before(log_index at) const noexcept;
  /// A leader of `now` speaks: what older ones left unfinished stays so.
  void overtake(term now) noexcept;
  void stage_again(const log_entry& entry);
  void skip_again(log_index upto) noexcept;
  /// Takes the frames of one entry to what is staged of its transaction.
  /// @returns what to answer: they were refused, or wait, or commit what this leader has on its
  ///   heads. Nothing: they make `whole`, which is to be prepared and installed
  [[nodiscard]] std::optional<apply_result> assemble(const log_entry& entry, transaction_id id,
                                                     const write_set_command& frames,
                                                     assembled_transaction& whole);
  /// @param restart see page_store::install_committed()
  void install(database_write& ready, bool restart = false);
  void install(prepared_transaction& ready);
  /// Carries out a command that changes no page. @param replaced as for install()
  apply_result carry_out(const log_entry& entry, const command& what, stores& replaced);
  apply_result committed(const log_entry& entry, transaction_id id);
  apply_result done(const log_entry& entry, transaction_id id);
  apply_result refuse(const log_entry& entry, transaction_id id, std::error_code why);
  apply_result undecodable(const log_entry& entry, std::error_code why);
  void advance(log_position to);
  apply_result end_of_redo(apply_result said);
  /// The first reason stays. The engine withdraws as soon as the lock is free.
  apply_result halt(errc why, std::string_view what, log_index at) noexcept;

  // ---- leadership, and what is proposed in it

  void change_leadership(const leadership& now);
  void settle(proposal_token which, outcome how, settle_reason why);
  /// The engine does not run any more. Takes the lock itself.
  void end() noexcept;
  /// Puts the versions on the heads and the row into the table, together, before propose() is
  /// called. @param entries of the transaction; their tokens are consecutive from the one returned
  /// @returns errc::not_leader, stale_term, halted, stopped: nothing was changed.
  ///   @throws std::bad_alloc, as if the proposal had been refused
  [[nodiscard]] result<proposal_token> enter(const row& proposed, std::span<database_write> writes,
                                             std::uint32_t entries);
  [[nodiscard]] transaction_outcome outcome_of(transaction_id id) const;

  // ---- the state as a whole

  [[nodiscard]] std::error_code take_base(loaded_base&& base);
  [[nodiscard]] std::shared_ptr<pinned_state> capture() const;
  /// For a snapshot. @returns errc::halted; errc::busy: a replay has not brought everything back
  [[nodiscard]] result<std::shared_ptr<pinned_state>> capture_whole();
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
  struct parts;

  [[nodiscard]] bool commit_own(transaction_id id, const assembled_transaction& whole);
  static void drop_writes(const proposal& lost);
  void swap_in(restored_state state, stores& replaced);

  const fsm_options options_;
  const bool entry_terms_;
  mutable machine_lock lock_;
  const std::unique_ptr<parts> parts_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/machine/machine_entries.ipp"  // IWYU pragma: keep
#include "quorlite/detail/machine/machine_state.ipp"    // IWYU pragma: keep
#endif
