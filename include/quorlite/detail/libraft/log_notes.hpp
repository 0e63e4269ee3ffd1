/// @file
/// Keeps quorlite.log (log_format.hpp): what the engine is about to replace in its log.
///
/// Its truncation removes files one by one, and so does a snapshot that takes the place of the log.
/// Cut short, that leaves a gap that looks like a file which somebody removed. With the note the
/// next start knows better. It costs two syncs each time, on the loop; both are rare.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/log_format.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// One server's. On its loop. Codes are libraft's: 0, RAFT_IOERR, RAFT_NOMEM.
class libraft_notes {
 public:
  /// @param directory empty: there is no disk, and nothing is noted
  explicit libraft_notes(std::string directory) : directory_(std::move(directory)) {}

  [[nodiscard]] const std::string& directory() const noexcept { return directory_; }

  /// Nothing is being replaced, and from here on one write has one batch. Durable on return.
  [[nodiscard]] int begin() noexcept;

  /// Before the engine does it. Durable on return.
  [[nodiscard]] int announce(const libraft_log_note& what) noexcept;
  /// How many were announced.
  [[nodiscard]] std::uint64_t announced() const noexcept { return announced_; }
  /// Something was announced that is not done.
  [[nodiscard]] bool is_replacing() const noexcept { return !pending_.empty(); }

  /// The first `count` that were announced are done. Durable on return: after that, and not before,
  /// may anybody be told of what was appended after them. 0.15 does not say if a truncation failed,
  /// and forgets one that comes while a snapshot is taken: so it is looked for in the folder.
  /// @returns RAFT_IOERR, too, if entries are there yet: their note stays
  [[nodiscard]] int done(std::uint64_t count) noexcept;

 private:
  struct pending {
    std::uint64_t number;
    libraft_log_note what;
  };

  /// Closed segments have entries that were to be truncated; or segments could not be closed
  /// before, and were left out. @pre nothing that came later is closed
  [[nodiscard]] bool is_undone(const libraft_log_note& what) const noexcept;
  /// Entries are gone from the lowest index on that was named.
  [[nodiscard]] libraft_log_note all_of_them() const noexcept;
  [[nodiscard]] int write(const libraft_log_note& what) noexcept;

  const std::string directory_;
  std::uint64_t announced_ = 0;
  std::vector<pending> pending_;  // their numbers ascend
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/log_notes.ipp"  // IWYU pragma: keep
#endif
