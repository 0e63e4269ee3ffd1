/// @file
/// What one page_store takes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// What a store keeps in memory. All numbers are of the same moment.
struct page_store_usage {
  std::size_t images = 0;       ///< page images that somebody can find
  std::size_t tombstones = 0;   ///< marks of pages that were cut off
  std::size_t held = 0;         ///< of both: superseded, but seen by a pin
  std::size_t backlog = 0;      ///< of both: superseded, to be pruned by and by
  std::size_t limbo = 0;        ///< unlinked, freed as soon as no reader can stand on them
  std::size_t bytes = 0;        ///< all of the above and the page table
  std::size_t dirty_bytes = 0;  ///< of these, of versions that the base does not hold
  std::size_t pending = 0;      ///< versions above committed
  std::uint64_t pins = 0;       ///< pins alive, doomed ones included
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
