/// @file
/// What two servers that are far apart can compare: the history as of fixed indices.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The history as of each multiple of 16384, the 64 newest. A multiple that has no entry of its
/// own (a skip went over it, or it is empty) has the history that ends below it. Never allocates.
/// Not synchronised.
class QUORLITE_API history_marks {
 public:
  static constexpr std::uint64_t distance = 16384;  ///< from one mark to the next, in indices
  static constexpr std::size_t kept_max = 64;

  /// No mark is known; the first one will lie above `from`.
  void clear(log_index from) noexcept;

  /// The history was `hash` as of every index above the last one that was told, up to `to`.
  void pass(log_index to, const history_hash& hash) noexcept {
    if (to.value / distance > passed_) {
      mark(to.value / distance, hash);
    }
  }

  /// The mark at this very index; nothing if there is none.
  [[nodiscard]] std::optional<history_hash> find(log_index at) const noexcept;

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// The number m of the newest mark, which stands at index m * distance; 0: there is none.
  [[nodiscard]] std::uint64_t newest() const noexcept { return size_ == 0 ? 0 : passed_; }
  /// @param i 0: the oldest one @pre i < size()
  [[nodiscard]] const history_hash& from_oldest(std::size_t i) const noexcept {
    return marks_[(passed_ - size_ + 1 + i) % kept_max];
  }

  /// Takes the place of all: marks that came from another server or a file.
  /// @param newest number of the newest one, 0 if there is none
  /// @param oldest_first at most kept_max @param begin the history begins at this index, above 0
  /// @param at the position that they were brought with
  /// @returns false, and nothing has changed: no server has such marks at that position
  [[nodiscard]] bool assign(std::uint64_t newest, std::span<const history_hash> oldest_first,
                            log_index begin, log_index at) noexcept;

  [[nodiscard]] bool operator==(const history_marks& other) const noexcept;

 private:
  void mark(std::uint64_t last, const history_hash& hash) noexcept;

  std::array<history_hash, kept_max> marks_{};  // number m at m % kept_max
  std::uint64_t passed_ = 0;                    // number of the multiple that was passed last
  std::size_t size_ = 0;                        // so many up to passed_ are known
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/core/history_marks.ipp"  // IWYU pragma: keep
#endif
