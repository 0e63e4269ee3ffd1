/// @file
/// A snapshot on its way in: built beside the state, verified, then swapped in by the machine.
/// Native ones are known by their magic; what is not is for the legacy format, if there is one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <system_error>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/codec/history_notes.hpp"
#include "quorlite/detail/codec/snapshot.hpp"
#include "quorlite/detail/machine/legacy_format.hpp"
#include "quorlite/detail/machine/outcome_table.hpp"
#include "quorlite/detail/machine/restore_target.hpp"
#include "quorlite/detail/machine/transaction_assembly.hpp"
#include "quorlite/detail/pages/page_store.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

class machine_state;

/// Verified content, ready to take the place of the present one.
struct restored_state {
  std::unique_ptr<restore_target> target;  ///< holds the pages
  snapshot_header header;
  std::vector<std::shared_ptr<page_store>> stores;  ///< one per database of the header
  outcome_table outcomes;
  std::optional<history_notes> history;  ///< none if it had not begun
  std::vector<transaction_id> makers;    ///< one per database of the header; none in legacy ones
  transaction_assembly assembly;         ///< what the header staged

  /// Begins databases of the header in the target, in their order, until so many are begun.
  [[nodiscard]] std::error_code begin_up_to(std::size_t count);
};

/// The stage that the machine hands out.
class staged_restore final : public snapshot_stage {
 public:
  /// @param owner who may install it @param target takes the pages
  /// @param machine outlives every call but the destruction
  staged_restore(const void* owner, std::unique_ptr<restore_target> target,
                 const machine_state& machine);

  [[nodiscard]] std::error_code append(bytes_view chunk) noexcept override;
  [[nodiscard]] std::error_code finish() noexcept override;

  [[nodiscard]] bool finished_for(const void* owner) const noexcept {
    return finished_ && owner == owner_;
  }
  [[nodiscard]] log_position at() const noexcept { return state_.header.at; }
  [[nodiscard]] const std::optional<history_notes>& history() const noexcept {
    return state_.history;
  }
  /// @param installed_at where the engine says it stands then. A legacy snapshot does not tell its
  ///   term, which is this one's; nor outcomes, so those of all transactions up to it are hidden
  [[nodiscard]] restored_state take(log_position installed_at);

  // ---- called by the parser

  [[nodiscard]] std::error_code on_header(const snapshot_header& header);
  [[nodiscard]] std::error_code on_page(std::size_t ordinal, page_number number, std::uint64_t hash,
                                        bytes_view image);

 private:
  std::error_code refused(std::error_code why) noexcept;
  [[nodiscard]] std::error_code parse(bytes_view chunk);
  [[nodiscard]] std::error_code end();
  [[nodiscard]] bool stage(const std::vector<transaction::part>& entries);

  const void* owner_;
  const machine_state& machine_;
  const fsm_options options_;
  bytes start_;   // of a snapshot that may be a legacy one, until its kind is known
  bool is_open_;  // the kind is not known yet
  snapshot_parser parser_;
  restored_state state_;
  std::unique_ptr<legacy_restore> legacy_;  // the snapshot is one
  std::error_code error_;
  bool finished_ = false;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/machine/staged_restore.ipp"  // IWYU pragma: keep
#endif
