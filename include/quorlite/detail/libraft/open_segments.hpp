/// @file
/// Looks whether the engine has left a segment of its log open that it was to close.
///
/// libraft 0.15 closes segments one by one, by their numbers, in the background. If that fails it
/// goes on without a word, and later segments are closed: the log has a gap then, with which no
/// server starts. It also makes them one by one, and each is made before it is written: so one that
/// stays while a later one goes was not closed. That depends on no time, however slow the disk is.
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

/// Of one server, from when the engine has read its log. One thread at a time. Blocks on the disk.
class libraft_open_segments {
 public:
  /// @param directory empty: there is no disk, and nothing is looked at
  explicit libraft_open_segments(std::string directory) : directory_(std::move(directory)) {}

  /// Lists the folder. Says nothing while the engine closes its disk and removes what it had made.
  /// @returns the number of a segment that could not be closed; 0: none, or the
  /// folder cannot be read
  [[nodiscard]] std::uint64_t look() noexcept;

  /// Open segments that hold something are there, beside the one that is written, though all before
  /// this step were to be closed. @pre nothing was appended behind it, but for its first write
  /// @returns true, too, if the folder cannot be read
  [[nodiscard]] static bool are_left(const std::string& directory,
                                     libraft_log_note::step behind) noexcept;

 private:
  /// Throws std::bad_alloc. @returns the number of one that stays though a later one went; 0: none
  [[nodiscard]] std::uint64_t find_suspect();

  const std::string directory_;
  std::vector<std::uint64_t> made_;  // numbers that were seen; ascending, few
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/open_segments.ipp"  // IWYU pragma: keep
#endif
