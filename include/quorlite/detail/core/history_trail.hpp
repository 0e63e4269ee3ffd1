/// @file
/// The history along a log that is stored, whether it is committed or not
/// (docs/design/history.md, section 6).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The same place in both ways of counting, and the history there.
struct history_place {
  std::uint64_t entry = 0;  ///< the engine's index of its last entry; the machine's own in some
  history_position at;      ///< the machine's; the hash is zero where it is not known, or before k
  bool is_known = false;    ///< the hash is
  history_identity begun;   ///< all zero: it has not begun here

  friend constexpr bool operator==(const history_place&, const history_place&) noexcept = default;
};

/// The history behind each entry of a log, from one place on. Entries are told in their order, and
/// taken back from the end when the log is cut. Only the 65536 newest steps are remembered: at most
/// 2 MiB. Not synchronised.
///
/// What allocates may throw std::bad_alloc, and has changed nothing then; all else does not throw.
class QUORLITE_API history_trail {
 public:
  static constexpr std::size_t steps_max = 65536;

  /// Begins anew behind this place. @param anchor if its index is above: the history there, which
  ///   makes it known if it is not yet
  void begin(const history_place& behind, const history_position& anchor = {}) noexcept;
  /// Knows no place any more.
  void clear() noexcept;

  /// An entry that holds nothing for a machine: one index. May throw.
  /// @param entry the engine's index of it, in every call the next one @pre begun
  void pass(std::uint64_t entry);
  /// The next index, for a command of this entry. May throw.
  /// @param entry the engine's index: that of the last call, or the next one @pre begun
  void add(std::uint64_t entry, bytes_view command);
  /// Likewise, and the history begins with it. @pre it has not begun
  void add_identity(std::uint64_t entry, bytes_view command, term in, cluster_identity cluster);
  /// Entries from here on are gone. One that this trail began at or above knows no place any more.
  void cut(std::uint64_t from) noexcept;
  /// The steps of another trail, which begins where this one ends, up to an entry. May throw, and
  /// has told some of them then. @pre begun, as the other one
  void follow(const history_trail& other, std::uint64_t upto);

  [[nodiscard]] bool is_empty() const noexcept { return !start_; }
  /// The oldest place that it remembers, and the newest. @pre !is_empty()
  [[nodiscard]] const history_place& begin_place() const noexcept { return *start_; }
  [[nodiscard]] history_place end_place() const noexcept;
  /// The place behind an entry. Nothing: it lies before the oldest, or was not told.
  [[nodiscard]] std::optional<history_place> behind(std::uint64_t entry) const noexcept;
  /// The entry in which an index lies. Nothing: it lies before the oldest place, or was not told.
  [[nodiscard]] std::optional<std::uint64_t> entry_of(log_index at) const noexcept;
  /// The low half of the history as of an index. Nothing: before the oldest place, above the
  /// newest, or not known.
  [[nodiscard]] std::optional<std::uint64_t> low_as_of(log_index w) const noexcept;

 private:
  struct step {
    std::uint64_t entry = 0;
    history_position at;
  };

  [[nodiscard]] const history_position& last() const noexcept {
    return steps_.empty() ? start_->at : steps_.back().at;
  }
  [[nodiscard]] history_place place_of(const step& at) const noexcept;
  void push(std::uint64_t entry, history_position next);

  std::optional<history_place> start_;
  history_position anchor_;  // index 0: none
  std::deque<step> steps_;
  log_index known_from_;    // hashes are known from this index on
  history_identity begun_;  // at the end
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/core/history_trail.ipp"  // IWYU pragma: keep
#endif
