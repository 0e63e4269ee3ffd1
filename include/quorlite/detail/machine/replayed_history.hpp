/// @file
/// The history that a log tells, held against the one that the files were made from.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The log and the files part somewhere after `equal` and at or before `differs`.
struct history_gap {
  log_index equal;    ///< the last anchor that was found equal; 0: none was
  log_index differs;  ///< the anchor that was not

  friend constexpr bool operator==(const history_gap&, const history_gap&) noexcept = default;
};

/// The history as of the last entry that the log brought. It is not known at first: it becomes so
/// at an anchor, or is told. From then on it is extended by each entry, and compared at each
/// anchor. An anchor is an index whose history is written down. Never allocates. Not synchronised.
class QUORLITE_API replayed_history {
 public:
  static constexpr std::size_t anchors_max = 4;

  /// Begins anew: the log brought everything up to `from`, and nothing is known of it.
  void stand_at(log_index from) noexcept;
  /// Compare with this one, when the log comes there. Call it after stand_at(), by ascending index.
  /// One with no hash, or below the position, is none.
  void expect(const history_position& anchor) noexcept;

  [[nodiscard]] bool is_known() const noexcept { return is_known_; }
  /// How far the log came, and the history there: zero as long as it is not known.
  [[nodiscard]] const history_position& position() const noexcept { return position_; }

  /// It came to this position, and no anchor is left.
  [[nodiscard]] bool has_ended_at(const history_position& there) const noexcept {
    return is_known_ && next_ == end_ && position_ == there;
  }
  /// Stands there from now on. @pre it had ended
  void follow(const history_position& there) noexcept { position_ = there; }

  // ---- what the log brings. All of them do their work also if they find a difference.

  /// No entry that is hashed follows up to `to`.
  [[nodiscard]] std::optional<history_gap> pass(log_index to) noexcept;
  /// The next hashed entry. @pre `n` is above the position
  [[nodiscard]] std::optional<history_gap> add(log_index n, std::uint64_t length,
                                               const history_hash& digest) noexcept;
  /// The history is known there, by other means than the entries: a snapshot's, say. Anchors below
  /// it are let go. @pre `there` is not below the position
  [[nodiscard]] std::optional<history_gap> resume(const history_position& there) noexcept;
  /// What the log had up to there was not brought, and nobody tells the history. Anchors below it
  /// are let go. @pre `upto` is not below the position
  [[nodiscard]] std::optional<history_gap> leap(log_index upto) noexcept;

 private:
  void let_go_below(log_index there) noexcept;

  std::array<history_position, anchors_max> anchors_{};
  std::size_t next_ = 0;  // of the anchors: the first one that was not compared
  std::size_t end_ = 0;   // of the anchors
  history_position position_;
  bool is_known_ = false;
  log_index equal_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/machine/replayed_history.ipp"  // IWYU pragma: keep
#endif
