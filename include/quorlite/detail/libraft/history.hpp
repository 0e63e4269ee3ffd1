/// @file
/// A log and the files of its machine, held against each other before the engine may vote
/// (docs/design/history.md, section 5).
///
/// The history is carried from the snapshot that the engine has, or from the begin of its log, over
/// every entry that was loaded. What is written down of it anywhere has to say the same: the files'
/// anchors, the snapshot, `log_end`, and what each entry tells of its proposer. That holds for
/// entries that are not committed too: whoever has an entry at its index has all that lies below
/// it. So a log of another cluster, one that lost a part, or files of another server are found
/// before they count.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/codec/history_judge.hpp"
#include "quorlite/detail/core/history_trail.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/loaded_log.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The history along the log of one server. One thread at a time. The functions may throw
/// std::bad_alloc.
class QUORLITE_API libraft_history {
 public:
  /// Walks over all of it. What cannot be read is left to whoever applies it, and ends the walk.
  /// @param machine as it was loaded, before any call on its strand; outlives the call
  /// @returns what stands in the way of a start: too_short, starts_late, diverged, another_cluster
  ///   or damaged, of the folder as a whole
  [[nodiscard]] std::optional<libraft_log_defect> walk(const state_machine& machine,
                                                       const libraft_loaded_log& log);

  /// From the last walk on, for what comes behind. The newest commands only; empty: none, or the
  /// walk did not reach the end.
  [[nodiscard]] history_trail& trail() noexcept { return trail_; }

  /// By the last walk, the last entry that is known to be committed: the one to which the files may
  /// have come, the one that was applied by what log_end says, or the one that names the cluster of
  /// the folder. For a folder names its cluster once that entry was applied, also where the machine
  /// knows nothing of it yet, because its base is older, or in memory.
  /// @param of_folder all zero: it names none
  /// @returns 0: none is known
  [[nodiscard]] std::uint64_t settled(const cluster_identity& of_folder) const noexcept;

 private:
  class steps;

  /// What the trail forgets, if much is behind it.
  struct landmarks {
    std::uint64_t of_files = 0;  ///< the entry in which the files, or log_end, end
    std::uint64_t of_begin = 0;  ///< the one that names the cluster
    cluster_identity cluster;
  };

  history_trail trail_;
  landmarks passed_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/history.ipp"  // IWYU pragma: keep
#endif
