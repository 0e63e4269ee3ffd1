/// @file
/// What every entry moves in a machine, and the steps by which it does. Who makes which step when
/// is told in fsm.hpp; the rest of a machine in machine_state.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
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
struct command;
struct database_write;
struct hashed_entry;
struct history_gap;
struct history_witness;
struct identity_command;
class page_store;
class prepared_transaction;
struct proposal;
class registry;
class transaction_assembly;
struct write_set_command;

/// The position, and all that entries of the log change with it. The base of machine_state, where
/// the lock is told of: everything here but options(), lock() and databases() is called under it.
class QUORLITE_API machine_entries {
 public:
  using row = std::shared_ptr<proposal>;
  using stores = std::vector<std::shared_ptr<page_store>>;

  machine_entries(const machine_entries&) = delete;
  machine_entries& operator=(const machine_entries&) = delete;

  [[nodiscard]] machine_lock::holder hold() const { return machine_lock::holder(lock_); }
  [[nodiscard]] machine_lock& lock() noexcept { return lock_; }
  [[nodiscard]] const fsm_options& options() const noexcept { return options_; }
  [[nodiscard]] registry& databases() noexcept;

  [[nodiscard]] const quorlite::health& health() const noexcept;
  void count_frames(const hashed_entry& entry, std::uint64_t page_bytes) noexcept;
  [[nodiscard]] log_position applied() const noexcept;
  /// The base stands between two positions until the log was replayed to the later one.
  [[nodiscard]] bool is_recovering() const noexcept;
  [[nodiscard]] bool history_has_begun() const noexcept;
  /// How many may exist now, by an entry that begins another one.
  [[nodiscard]] std::size_t databases_max() const noexcept;
  [[nodiscard]] transaction_assembly& assembly() noexcept;

  // ---- steps: see fsm::apply. What an entry changes and the position move in one hold.

  /// True if entries before this one were neither applied nor skipped.
  [[nodiscard]] bool misses_before(log_index at) const noexcept;
  /// A leader of `now` speaks: what older ones left unfinished stays so.
  void overtake(term now) noexcept;
  /// Before anything else that an entry says: whether it is of the history that stands here.
  /// @returns nothing: it is, or there is none yet. Else what to answer: the entry began it, was
  ///   refused, or halts
  [[nodiscard]] std::optional<apply_result> judge(const hashed_entry& entry, const command& what);
  void stage_again(const hashed_entry& entry);
  void skip_again(log_index upto) noexcept;
  /// Takes the frames of one entry to what is staged of its transaction.
  /// @returns what to answer: they were refused, or wait, or commit what this leader has on its
  ///   heads. Nothing: they make `whole`, which is to be prepared and installed
  [[nodiscard]] std::optional<apply_result> assemble(const hashed_entry& entry, transaction_id id,
                                                     const write_set_command& frames,
                                                     assembled_transaction& whole);
  /// @param by whose pages they are @param restart see page_store::install_committed()
  void install(database_write& ready, transaction_id by, bool restart = false);
  void install(prepared_transaction& ready, transaction_id by);
  /// Carries out a command that changes no page. @param replaced as for install()
  apply_result carry_out(const hashed_entry& entry, const command& what, stores& replaced);
  apply_result committed(const hashed_entry& entry, transaction_id id);
  apply_result done(const hashed_entry& entry, transaction_id id);
  apply_result refuse(const hashed_entry& entry, transaction_id id, std::error_code why);
  apply_result undecodable(const hashed_entry& entry, std::error_code why);
  void advance(const hashed_entry& entry);
  /// Over positions that held nothing for us.
  void advance(log_position to);
  apply_result end_of_redo(apply_result said);
  /// The first reason stays. The engine withdraws as soon as the lock is free.
  apply_result halt(errc why, std::string_view what, log_index at) noexcept;

 protected:
  struct parts;

  machine_entries(const fsm_options& options, bool entry_terms);
  ~machine_entries();

  /// The replica stops if its log and its files are not one history.
  void note(const std::optional<history_gap>& found) noexcept;
  static void drop_writes(const proposal& lost);

  const fsm_options options_;
  const bool entry_terms_;
  mutable machine_lock lock_;
  const std::unique_ptr<parts> parts_;

 private:
  void answer(const hashed_entry& entry, transaction_id id);
  [[nodiscard]] bool stands_in_history(log_index at, const command& what);
  apply_result begin_history(const hashed_entry& entry, transaction_id id,
                             const identity_command& identity);
  [[nodiscard]] std::optional<apply_result> compare(const hashed_entry& entry,
                                                    const history_witness& told);
  [[nodiscard]] bool commit_own(transaction_id id, const assembled_transaction& whole);
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/machine/machine_entries.ipp"  // IWYU pragma: keep
#include "quorlite/detail/machine/machine_history.ipp"  // IWYU pragma: keep
#endif
