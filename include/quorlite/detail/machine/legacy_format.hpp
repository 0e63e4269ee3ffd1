/// @file
/// An older format of entries and snapshots, as the machine sees it.
///
/// A machine always takes its own. With a legacy format it takes those of one older system as well.
/// Which of the two an entry or a snapshot is, its magic says; what is neither is refused. Nothing
/// is guessed from content. What the older entries mean, and what waits between them, is the
/// format's business: see detail/legacy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <system_error>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

struct hashed_entry;
struct pinned_state;
class transaction_assembly;
class machine_state;
struct restored_state;

/// Entries of the format that wait for their commit: one object for each transaction_assembly.
/// Strand only; what it answers depends on the log alone.
class legacy_staging {
 public:
  legacy_staging() = default;
  legacy_staging(const legacy_staging&) = delete;
  legacy_staging& operator=(const legacy_staging&) = delete;
  virtual ~legacy_staging() = default;

  /// A native transaction on this database came, or its drop: nothing that waits can commit.
  virtual void drop(std::string_view name) = 0;
  [[nodiscard]] virtual std::size_t entries_held() const noexcept = 0;
  [[nodiscard]] virtual std::uint64_t bytes_held() const noexcept = 0;
  /// See staged_transactions.
  [[nodiscard]] virtual bool any_from_snapshot() const noexcept = 0;
  [[nodiscard]] virtual log_index replay_from(log_index applied) const noexcept = 0;
  /// What a snapshot carries of it: entries that legacy_format::stage_restored() takes.
  virtual void capture(std::vector<std::shared_ptr<const bytes>>& into) const = 0;
};

/// A snapshot of the format on its way in. One thread at a time.
class legacy_restore {
 public:
  legacy_restore() = default;
  legacy_restore(const legacy_restore&) = delete;
  legacy_restore& operator=(const legacy_restore&) = delete;
  virtual ~legacy_restore() = default;

  /// @returns as snapshot_stage does
  [[nodiscard]] virtual std::error_code append(bytes_view chunk) = 0;
  [[nodiscard]] virtual std::error_code finish() = 0;
};

/// One format. Has no state: any number of machines may share it; it outlives them.
class legacy_format {
 public:
  legacy_format(const legacy_format&) = delete;
  legacy_format& operator=(const legacy_format&) = delete;

  /// True: the entry is not a native one, not even a damaged one, and the format is asked.
  [[nodiscard]] virtual bool admits(bytes_view entry) const noexcept = 0;
  [[nodiscard]] virtual std::unique_ptr<legacy_staging> make_staging() const = 0;

  /// Carries an entry out, as fsm::apply does with native ones. The strand; takes the machine's
  /// lock.
  virtual apply_result apply(machine_state& machine, const hashed_entry& entry) const = 0;
  /// A replay brings an entry that the base holds: what it staged is staged again.
  virtual void stage_again(transaction_assembly& assembly, const log_entry& entry) const = 0;
  /// Takes an entry that a snapshot staged. @returns false: no machine stages this
  [[nodiscard]] virtual bool stage_restored(transaction_assembly& assembly,
                                            bytes_view entry) const = 0;

  /// @param into outlives it
  [[nodiscard]] virtual std::unique_ptr<legacy_restore> begin_restore(
      restored_state& into, std::uint64_t lock_byte) const = 0;
  /// A state in the format. @returns errc::unsupported, too_large: it cannot be told there
  [[nodiscard]] virtual result<std::unique_ptr<snapshot_reader>> snapshot_of(
      pinned_state&& state, std::uint64_t lock_byte) const = 0;

 protected:
  legacy_format() = default;
  ~legacy_format() = default;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
