/// @file
/// Puts the parts of transactions together: in comes one frames command at a time, out comes a
/// whole transaction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/codec/command.hpp"
#include "quorlite/detail/machine/assembled_transaction.hpp"
#include "quorlite/detail/machine/legacy_format.hpp"
#include "quorlite/detail/machine/transaction.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Strand only. What it answers depends on the log alone, so every replica answers alike.
class transaction_assembly {
 public:
  /// @param legacy a format whose entries may wait here too; nullptr: none
  explicit transaction_assembly(std::uint64_t lock_byte, const legacy_format* legacy = nullptr)
      : lock_byte_(lock_byte),
        legacy_format_(legacy),
        legacy_(legacy == nullptr ? nullptr : legacy->make_staging()) {}

  [[nodiscard]] std::uint64_t lock_byte() const noexcept { return lock_byte_; }
  [[nodiscard]] staged_transactions& staged() noexcept { return staged_; }
  [[nodiscard]] const staged_transactions& staged() const noexcept { return staged_; }
  /// What waits of the legacy format. @pre the assembly was made with one
  [[nodiscard]] legacy_staging& legacy() noexcept { return *legacy_; }

  /// Takes one entry of transaction `id`.
  /// @param before the history that ended before the entry
  /// @returns the whole transaction if this entry commits it: what was staged of it stays until
  ///   end(), so that a flush meanwhile knows that its entries are needed. Nothing if the entry was
  ///   staged. errc::malformed: a part is missing, or parts contradict each other; errc::too_large:
  ///   no room to stage it. The transaction is over then, for whoever calls end()
  [[nodiscard]] result<std::optional<assembled_transaction>> take(transaction_id id,
                                                                  const write_set_command& frames,
                                                                  const log_entry& entry,
                                                                  const history_hash& before = {});

  /// Takes back what is staged of a transaction. @returns false if nothing is
  bool undo(transaction_id target);
  /// Nothing more is to come of this transaction.
  void end(transaction_id id) noexcept { staged_.drop(id); }
  /// A leader of `now` speaks in the log: what leaders of older terms left unfinished stays so.
  void overtake(term now) noexcept { staged_.drop_older(now); }
  /// Nothing that waits will be committed.
  void drop_all();
  /// The database is gone.
  void drop_database(std::string_view name);

  /// @param begins the entry is the first of a native transaction
  [[nodiscard]] bool has_room_for(std::size_t entry_bytes, bool begins) const noexcept;
  /// Entries that wait, of either format: what a snapshot carries.
  [[nodiscard]] std::size_t entries_held() const noexcept;
  [[nodiscard]] std::uint64_t bytes_held() const noexcept;
  void capture(std::vector<transaction::part>& into) const;
  /// True if some of them came with a snapshot, so that no replay of the log would bring them
  /// again.
  [[nodiscard]] bool any_from_snapshot() const noexcept;
  /// All of them begin after this entry. `applied` if there is none.
  [[nodiscard]] history_position replay_from(history_position applied) const noexcept;

  /// An entry was refused for what stands around it, so a replay that starts late may not refuse
  /// it.
  void note_refusal(log_index at) noexcept { last_refusal_ = at; }
  /// The last entry that was refused for want of room, or noted. A replay that starts after the
  /// transactions that took the room away would not refuse it.
  [[nodiscard]] log_index last_refusal() const noexcept { return last_refusal_; }

 private:
  [[nodiscard]] result<std::optional<assembled_transaction>> whole_of(
      const transaction* staged, const write_set_command& last) const;

  std::uint64_t lock_byte_;
  const legacy_format* legacy_format_;
  staged_transactions staged_;
  std::unique_ptr<legacy_staging> legacy_;
  log_index last_refusal_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/machine/transaction_assembly.ipp"  // IWYU pragma: keep
#endif
