/// @file
/// What one database is at a version, and what its store takes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// One state of one database.
struct database_state {
  version_number version;        ///< grows with every transaction, for pins and readers
  std::uint64_t page_count = 0;  ///< pages
  std::uint64_t hash = 0;        ///< sum of the hashes of its pages, modulo 2^64
  std::uint32_t page_size = 0;   ///< bytes; 0: it never had a page
  std::uint64_t uncounted = 0;   ///< of these versions, those that are this replica's own business
  transaction_id made_by = {};   ///< {0, 0}: no page yet, or made before the history was hashed

  /// The version as log, snapshots and storage call it.
  [[nodiscard]] constexpr version_number counted() const noexcept {
    return version_number{version.value - uncounted};
  }

  friend constexpr bool operator==(const database_state&, const database_state&) noexcept = default;
};

/// What a store keeps in memory. All numbers are of the same moment.
struct page_store_usage {
  std::size_t images = 0;       ///< page images that somebody can find
  std::size_t tombstones = 0;   ///< marks of pages that were cut off
  std::size_t held = 0;         ///< of both: superseded, but seen by a pin
  std::size_t backlog = 0;      ///< of both: superseded, to be pruned by and by
  std::size_t limbo = 0;        ///< unlinked, freed as soon as no reader can stand on them
  std::size_t bytes = 0;        ///< all of the above and the page table
  std::size_t dirty_bytes = 0;  ///< of these, of versions that the base does not hold
  /// Of `bytes`, what is there for the pins alone: superseded versions that one of them sees; all
  /// of it once the store was replaced
  std::size_t pinned_bytes = 0;
  std::size_t pending = 0;  ///< versions above committed
  std::uint64_t pins = 0;   ///< pins alive, invalidated ones included
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
