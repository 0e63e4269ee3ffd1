/// @file
/// What came from another server, held against the history that stands here, before anything of it
/// is acknowledged (docs/design/history.md, section 6; the numbers are its rules).
///
/// Shared by the engines that do so. What needs an engine's own log or messages (rules 0, 1, 4, 5
/// and 7) is theirs.
#pragma once

#include <cstdint>
#include <optional>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/core/history_trail.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// What is to be done with a message.
enum class history_verdict : std::uint8_t {
  fine,    ///< nothing is known against it
  drop,    ///< as if it was lost: it is damaged, or could not be looked at
  refuse,  ///< drop it and take nothing from its sender any more: that one has another history
};

/// Why a peer is refused.
struct history_objection {
  log_index at;          ///< the entry, or the position of a snapshot
  log_index compared;    ///< where the histories were compared; 0: the entry itself is the reason
  const char* why = "";  ///< the end of a sentence that begins with the peer
};

/// Where a machine stands, as the first place of a trail. @param entry the engine's index of the
/// last entry that was brought to it
[[nodiscard]] QUORLITE_API QUORLITE_DECL history_place place_of(const state_machine& machine,
                                                                std::uint64_t entry) noexcept;

/// The next command of a log goes on a trail, an identity entry as what it is. May throw
/// std::bad_alloc, and has changed nothing then.
/// @param entry as of history_trail::add()
QUORLITE_API QUORLITE_DECL void carry(history_trail& along, std::uint64_t entry,
                                      bytes_view command);

/// The entries of one message, in their order (rules 2 and 3). What was fine stays on a trail of
/// its own. One message; not synchronised.
class QUORLITE_API history_judge {
 public:
  /// @param machine, log outlive this
  /// @param log the trail of the log that is stored here, up to `behind` at least
  /// @param behind where the entries follow: by Raft's rule both logs are one up to there
  history_judge(const state_machine& machine, const history_trail& log,
                const history_place& behind) noexcept;

  /// An entry without a command. May throw std::bad_alloc. @param entry as of history_trail::pass()
  void pass(std::uint64_t entry) { run_.pass(entry); }
  /// The next command. May throw std::bad_alloc: drop the message.
  /// @param entry as of history_trail::add()
  /// @returns of all but `fine` the first one counts
  [[nodiscard]] history_verdict add(std::uint64_t entry, bytes_view command);

  /// What add() refused. @pre it did
  [[nodiscard]] const history_objection& objection() const noexcept { return objection_; }
  /// The history along the entries that were fine.
  [[nodiscard]] const history_trail& run() const noexcept { return run_; }

 private:
  struct claim;

  [[nodiscard]] bool objects_to(const claim& said);
  [[nodiscard]] bool objects_to_witness(log_index at, log_index w, std::uint64_t low);
  bool object(log_index at, log_index compared, const char* why) noexcept;

  const state_machine& machine_;
  const history_trail& log_;
  const log_index behind_;  // what is above it in our log need not be in theirs
  history_trail run_;
  history_objection objection_;
};

/// What is told in front of a snapshot (rule 6). Any thread; never allocates.
/// @param at the machine's index of the snapshot @param told all zero: a form that tells nothing
/// @returns what speaks against its sender
[[nodiscard]] QUORLITE_API QUORLITE_DECL std::optional<history_objection> objection_to(
    const snapshot_history& told, log_index at, const state_machine& machine) noexcept;

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/codec/history_judge.ipp"  // IWYU pragma: keep
#endif
