/// @file
/// The history of this replica: the hash over what was applied, and what is remembered of older
/// ones (docs/design/history.md, sections 1, 2 and 5).
#pragma once

#include <cstdint>
#include <optional>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/codec/history_notes.hpp"
#include "quorlite/detail/core/history_marks.hpp"
#include "quorlite/detail/machine/history_ring.hpp"
#include "quorlite/detail/machine/replayed_history.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Positions whose history is written down somewhere else. A hash of zero: none.
struct history_anchors {
  history_position replay_from;  ///< of the base
  history_position at;           ///< of the base
  history_position ahead;        ///< of the base, while it is between two positions
  history_position snapshot;     ///< the last one that was installed
};

/// The hash over the applied entries (H), and the one over what the log brought again (C).
///
/// Whatever is at or below the position when it comes is *replayed*; it moves C, and fills what is
/// remembered of recent entries, so that their witnesses are judged. All else moves H, and C with
/// it. Where C or H comes to an anchor that says something else, the call still does its work, and
/// tells: whoever calls stops the replica.
///
/// Not synchronised: the machine's lock guards it. What may throw std::bad_alloc says so, and has
/// changed nothing then; all else does not throw.
class QUORLITE_API history {
 public:
  using gap = std::optional<history_gap>;

  [[nodiscard]] bool has_begun() const noexcept { return identity_.begins_at.value != 0; }
  [[nodiscard]] const history_identity& identity() const noexcept { return identity_; }
  /// The last index that was told, whether it was hashed or not, and H as of it: what a proposal
  /// takes for its witness. H is zero before it has begun.
  [[nodiscard]] const history_position& position() const noexcept { return position_; }
  /// C, and how far the log came.
  [[nodiscard]] const replayed_history& replayed() const noexcept { return replayed_; }
  /// The low half of the history as of `w`, by which a witness is judged. Nothing: it is not known.
  /// That is always so above the position: an engine that leaves out entries which hold nothing
  /// asks for the position instead.
  [[nodiscard]] std::optional<std::uint64_t> low_as_of(log_index w) const noexcept;

  [[nodiscard]] const history_anchors& anchors() const noexcept { return anchors_; }
  /// Their indices are known from now on. Nothing is compared with them.
  void set_anchors(const history_anchors& now) noexcept { anchors_ = now; }

  // ---- above the position

  /// The identity entry is hashed as the first one. May throw. @pre it has not begun
  [[nodiscard]] gap begin(const history_identity& identity, std::uint64_t length,
                          const history_hash& digest);
  /// May throw. @pre it has begun
  [[nodiscard]] gap add(log_index n, std::uint64_t length, const history_hash& digest);
  /// Nothing that is hashed follows up to `to`: skips, empty entries, and what was applied before
  /// it began.
  [[nodiscard]] gap advance(log_index to) noexcept;

  // ---- at or below the position, once more. What C has passed already is of no interest

  /// An entry that is hashed if it is k or above. May throw.
  [[nodiscard]] gap replay(log_index n, std::uint64_t length, const history_hash& digest);
  [[nodiscard]] gap replay_to(log_index upto) noexcept;
  /// The log begins anew behind an engine's own snapshot. @param there with no hash if the snapshot
  ///   tells none
  [[nodiscard]] gap replay_behind(const history_position& there) noexcept;

  // ---- as a whole

  /// A base was loaded. C stands at its replay_from, and is to be compared at each of its anchors.
  /// @param notes what the base tells; nothing: it had not begun @param ahead no hash: none was
  ///   recorded @returns a gap if the base contradicts itself @pre replay_from <= at <= ahead
  [[nodiscard]] gap load(const std::optional<history_notes>& notes, log_index replay_from,
                         log_index at, const history_position& ahead) noexcept;
  /// A snapshot takes the place of the state. @pre `at` is above the position
  [[nodiscard]] gap install(const history_notes& notes, log_index at) noexcept;
  /// What travels. @pre it has begun @param replay_from H as of there; zero in a snapshot
  [[nodiscard]] history_notes notes(const history_hash& replay_from = {}) const noexcept;
  /// What an engine may put before a snapshot of this position. All zero: it has not begun.
  [[nodiscard]] snapshot_history told() const noexcept;

 private:
  void take(const history_notes& notes, log_index at) noexcept;
  void extend(log_index n, std::uint64_t length, const history_hash& digest) noexcept;

  history_identity identity_;
  history_position position_;
  history_ring ring_;
  history_marks marks_;
  history_anchors anchors_;
  replayed_history replayed_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/machine/history.ipp"  // IWYU pragma: keep
#endif
