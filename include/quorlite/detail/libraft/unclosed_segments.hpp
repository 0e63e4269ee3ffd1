/// @file
/// Segments that the engine was to close and could not, found at a start.
///
/// Before it writes to the next one, cuts its log or takes a snapshot, libraft 0.15 closes a
/// segment. If that fails it goes on without a word (open_segments.hpp is what looks for it while a
/// server runs), and what it closes or writes later has a higher place: its own next start finds a
/// gap, or reads the entries behind those that came after them. Where entries tell their index,
/// such a segment is told from the one that was written last, and gets the name that it was to
/// have.
#pragma once

#include <cstdint>
#include <string>
#include <system_error>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/log_file.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/detail/libraft/log_format.hpp"
#include "quorlite/error.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Those of one folder. Changes nothing there. One thread at a time.
class libraft_unclosed_segments {
 public:
  /// @param from, note, newest outlive this. @param newest the snapshot that counts; index 0: none
  /// @param term_max no entry has a higher one
  /// @param one_batch_a_write see libraft_segment_reader::end_of_open()
  libraft_unclosed_segments(libraft_folder& from, const libraft_log_note& note,
                            const libraft_snapshot_file& newest, std::uint64_t term_max,
                            bool one_batch_a_write) noexcept
      : folder_(from),
        note_(note),
        newest_(newest),
        term_max_(term_max),
        one_batch_a_write_(one_batch_a_write) {}

  /// Moves them to the closed ones, or leaves them out if all that they hold is before the
  /// snapshot; what a start has to do with them comes to the leftovers. Those that are not whole,
  /// or have no place among the others, stay where they are. Throws std::bad_alloc.
  /// @param open that were written; ascending, as is `closed`
  /// @returns what the system says if one cannot be read
  [[nodiscard]] std::error_code take(std::vector<libraft_log_file>& open,
                                     std::vector<libraft_log_file>& closed,
                                     std::vector<libraft_log_leftover>& leftovers) const;

  /// While a server runs on the folder: the engine closes this segment no more. If its entries tell
  /// no index it gets a name under which nobody reads it, durably: a start would take it for what
  /// was written last, where a snapshot covers the gap. If that fails, it keeps its name. Blocks on
  /// the disk.
  static void set_aside(const std::string& directory, std::uint64_t number) noexcept;

 private:
  using files = std::vector<libraft_log_file>;

  [[nodiscard]] result<bool> take_one(const libraft_log_file& one, files& closed,
                                      std::vector<libraft_log_leftover>& leftovers) const;
  [[nodiscard]] bool is_late(std::uint64_t first, const files& closed) const noexcept;
  [[nodiscard]] bool goes_with_cut(std::uint64_t first) const noexcept;
  [[nodiscard]] bool has_room(const libraft_log_file& one, const files& closed) const;

  libraft_folder& folder_;
  const libraft_log_note& note_;
  const libraft_snapshot_file& newest_;
  const std::uint64_t term_max_;
  const bool one_batch_a_write_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/unclosed_segments.ipp"  // IWYU pragma: keep
#endif
