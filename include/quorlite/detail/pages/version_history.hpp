/// @file
/// The states of one database in their order: committed, and the pending ones above it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/pages/page_version.hpp"
#include "quorlite/detail/pages/pin_ledger.hpp"
#include "quorlite/detail/pages/reclaim.hpp"
#include "quorlite/detail/pages/version_chains.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The states of one history on top of their chains: committed, and the pending ones above it.
/// Under the store's mutex.
class version_history {
 public:
  version_history(const database_state& from, std::uint64_t lock_byte, reclaimer& limbo);

  [[nodiscard]] const database_state& committed() const noexcept { return committed_; }
  [[nodiscard]] const database_state& head() const noexcept {
    return pending_.empty() ? committed_ : pending_.back().at;
  }
  /// @pre version in [committed, head]
  [[nodiscard]] const database_state& state_at(version_number version) const noexcept;
  [[nodiscard]] std::size_t pending_size() const noexcept { return pending_.size(); }

  [[nodiscard]] version_chains& chains() noexcept { return chains_; }
  [[nodiscard]] const version_chains& chains() const noexcept { return chains_; }

  /// See page_store::load_page.
  void load(page_block page);

  /// Makes the version after the head, pending. See page_store::install_head.
  /// @param restart the log counts versions from this one on, which is 1
  void append(std::vector<page_block>& pages, std::uint64_t page_count, std::uint64_t hash,
              transaction_id by, bool restart);

  /// Who made the committed state that the history was begun with. @pre nothing is pending
  void set_maker(transaction_id by) noexcept;

  /// Commits the oldest pending version. @returns how many nodes it has @pre there is one
  std::size_t commit_next() noexcept;

  /// Takes everything above committed back. Pins first: whoever reads without a lock copies a page
  /// and then looks at its pin.
  void discard() noexcept;

 private:
  struct pending_version {
    database_state at;
    node_list nodes;
  };

  /// Only a programmer's mistakes are found here: entries from outside were validated before.
  void check(const std::vector<page_block>& pages, const database_state& next) const noexcept;

  const std::uint64_t lock_byte_;
  database_state committed_;
  std::deque<pending_version> pending_;  // ascending, without gaps, from committed + 1
  version_chains chains_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/pages/version_history.ipp"  // IWYU pragma: keep
#endif
