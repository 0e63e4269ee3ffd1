/// @file
/// The log and the snapshots of go-dqlite (2018), as a machine takes them.
///
/// Where the system that wrote such a log stopped its process, the entry is refused here: nothing
/// changes, the index moves on, counters().malformed tells.
///
/// | entry | outcome |
/// |-------|---------|
/// | bytes against the rules of the format | refused |
/// | open of a database that exists | nothing |
/// | frames for a database that was never opened | refused |
/// | frames without commit | wait, see foreign_staging.hpp |
/// | frames with commit | all that waited and these are one transaction |
/// | frames of another page size than the database's | refused, with all that waited for them |
/// | undo of a transaction that nobody knows | nothing: undone before, or begun without a frame |
/// | begin, end | nothing |
/// | checkpoint | nothing; refused for a database that was never opened |
#pragma once

#include <cstdint>
#include <memory>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/legacy/foreign_entry.hpp"
#include "quorlite/detail/machine/legacy_format.hpp"
#include "quorlite/detail/machine/pinned_state.hpp"
#include "quorlite/error.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Has no state; see legacy_format.
class go_dqlite_log final : public legacy_format {
 public:
  go_dqlite_log() = default;
  ~go_dqlite_log() = default;

  [[nodiscard]] bool admits(bytes_view entry) const noexcept override;
  [[nodiscard]] std::unique_ptr<legacy_staging> make_staging() const override;
  apply_result apply(machine_state& machine, const hashed_entry& entry) const override;
  void stage_again(transaction_assembly& assembly, const log_entry& entry) const override;
  [[nodiscard]] bool stage_restored(transaction_assembly& assembly,
                                    bytes_view entry) const override;
  [[nodiscard]] std::unique_ptr<legacy_restore> begin_restore(
      restored_state& into, std::uint64_t lock_byte) const override;
  [[nodiscard]] result<std::unique_ptr<snapshot_reader>> snapshot_of(
      pinned_state&& state, std::uint64_t lock_byte) const override;

  /// What an entry means. Total: any bytes give a command or an error.
  /// @returns errc::malformed, too_large, invalid_name: refused alike on every replica
  [[nodiscard]] static result<foreign_command> decode(bytes_view entry, std::uint64_t lock_byte);
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/legacy/go_dqlite_format.ipp"  // IWYU pragma: keep
#endif
