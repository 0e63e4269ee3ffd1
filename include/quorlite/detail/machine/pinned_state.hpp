/// @file
/// A state of the whole machine, pinned: what snapshots send and flushes store.
#pragma once

#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/machine/transaction.hpp"
#include "quorlite/detail/pages/page_store.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// One database of a captured state.
struct captured_database {
  std::string name;
  std::shared_ptr<page_store> store;
  page_store::pin pin;
};

/// All databases as of one entry. Taking it is O(databases); it holds what it pins until it is
/// destroyed.
struct pinned_state {
  pinned_state();
  pinned_state(pinned_state&& other) noexcept;
  pinned_state& operator=(pinned_state&& other) noexcept;
  ~pinned_state();

  log_position at;
  log_index replay_from;                     ///< staged transactions begin after this entry
  std::vector<captured_database> databases;  ///< ascending by name
  snapshot_history history;                  ///< as of `at`; all zero: it has not begun
  history_hash replayed_history;             ///< as of replay_from; of a flush
  bytes notes;                               ///< machine_notes.hpp
  std::vector<transaction::part> staged;     ///< entries, in the order of their transactions
};

/// Copies one page of a pinned state; a page that holds no data (the lock page) reads as zeros.
/// @param reader one on the same store @returns errors of page_store::reader::image()
[[nodiscard]] QUORLITE_DECL std::error_code copy_page(const captured_database& from,
                                                      page_store::reader& reader,
                                                      page_number number, bytes_span into) noexcept;

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/machine/pinned_state.ipp"  // IWYU pragma: keep
#endif
