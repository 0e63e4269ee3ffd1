/// @file
/// The walk of a start over the log that the engine has loaded (history_walk.hpp), before the
/// engine may vote; and what it leaves for what comes behind.
#pragma once

#include <cstdint>
#include <optional>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/core/history_trail.hpp"
#include "quorlite/detail/libraft/history_walk.hpp"
#include "quorlite/detail/libraft/loaded_log.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// What stands in the way of a start, and where it was seen.
struct libraft_seen_defect {
  libraft_log_defect what;
  std::uint64_t entry = 0;  ///< of libraft, if no file is named; 0: where the log begins
};

/// The history along the log of one server. One thread at a time. The functions may throw
/// std::bad_alloc.
class QUORLITE_API libraft_history {
 public:
  /// Walks over all of it. What cannot be read is left to whoever applies it, and ends the walk.
  /// @param machine as it was loaded, before any call on its strand; outlives the call
  /// @returns what stands in the way of a start: too_short, starts_late, diverged, another_cluster
  ///   or damaged. It names no file, see reached()
  [[nodiscard]] std::optional<libraft_log_defect> walk(const state_machine& machine,
                                                       const libraft_loaded_log& log);

  /// The entry of libraft up to which the last walk came: what it returned was seen there. 0: where
  /// the log begins.
  [[nodiscard]] std::uint64_t reached() const noexcept { return reached_; }

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
  history_trail trail_;
  libraft_history_landmarks passed_;
  std::uint64_t reached_ = 0;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/history.ipp"  // IWYU pragma: keep
#endif
