/// @file
/// The recent history, by which witnesses are judged.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The low half of the history after each of the 65536 newest hashed entries: 1 MiB when it is
/// full, nothing as long as it is empty. It has no gaps: what it knows is known of every index from
/// where it begins to the one that it covers. Not synchronised.
class QUORLITE_API history_ring {
 public:
  static constexpr std::size_t entries_max = 65536;

  /// Knows nothing, and covers nothing. Keeps its memory.
  void clear() noexcept;
  /// Begins anew, with what is known of one position. Takes no memory for that.
  void begin(const history_position& at) noexcept;
  /// Makes room for one call of push(). Throws std::bad_alloc, and nothing has changed.
  void reserve();
  /// The history ends in `low` after entry `n`; none was hashed between covered() and this one.
  /// @pre n above covered(), and room was made
  void push(log_index n, std::uint64_t low) noexcept;
  /// No entry up to here was hashed since the last one. @pre not below covered()
  void cover(log_index upto) noexcept { covered_ = upto; }

  /// What the ring knows ends here.
  [[nodiscard]] log_index covered() const noexcept { return covered_; }
  /// The low half of the history as of this index. Nothing: it lies below the oldest one, or above
  /// covered().
  [[nodiscard]] std::optional<std::uint64_t> low_as_of(log_index w) const noexcept;

 private:
  struct entry {
    log_index index;
    std::uint64_t low = 0;
  };
  /// @param i 0: the oldest one
  [[nodiscard]] const entry& from_oldest(std::size_t i) const noexcept {
    return entries_[(first_ + i) % entries_max];
  }
  [[nodiscard]] std::uint64_t search(log_index w) const noexcept;

  std::optional<entry> begin_;  // before the oldest entry, until one is forgotten
  std::vector<entry> entries_;  // grows to entries_max, then goes round
  std::size_t first_ = 0;       // the oldest entry
  log_index covered_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/machine/history_ring.ipp"  // IWYU pragma: keep
#endif
