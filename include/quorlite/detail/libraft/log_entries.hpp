/// @file
/// The entries of a folder that its reader has found whole, once more, and with what they hold: the
/// reader itself looks at their heads alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <system_error>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/detail/libraft/log_segment.hpp"
#include "quorlite/detail/libraft/snapshot.hpp"
#include "quorlite/error.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// What stands in front of a snapshot. Nothing: it is not what was written.
/// @returns what the system says
[[nodiscard]] QUORLITE_DECL result<std::optional<libraft_snapshot_header>> read_snapshot_header(
    libraft_file& from);

/// Nothing is wrong with the folder, or only with the content of a snapshot, whose header is whole.
[[nodiscard]] inline bool has_whole_entries(const libraft_log_report& report) noexcept {
  return report.defects.empty() || (report.snapshot_spoiled && report.defects.size() == 1);
}

/// Those that a start would load, in their order. Memory: one entry, which is in the file, and what
/// a libraft_segment_reader takes. Changes nothing. One thread at a time. The functions may throw
/// std::bad_alloc.
class libraft_log_entries {
 public:
  /// @param from, report outlive this; the one was read, and is as it was; the other tells of it
  libraft_log_entries(libraft_folder& from, const libraft_log_report& report) noexcept
      : folder_(from), report_(report) {}

  /// Reads on. @returns false: there are no more, or error()
  [[nodiscard]] bool next();

  /// Of the entry that next() has read: its index of libraft.
  [[nodiscard]] std::uint64_t index() const noexcept { return index_; }
  /// What a command is written as, until the next call of next(). Nothing: an entry of another
  /// kind.
  [[nodiscard]] std::optional<bytes_view> batch() const noexcept {
    return is_command_ ? std::optional<bytes_view>(data_) : std::nullopt;
  }
  /// Where it is.
  [[nodiscard]] const std::string& file() const noexcept { return report_.ranges[range_].file; }
  /// Where in it the batch of libraft begins that it is in.
  [[nodiscard]] std::uint64_t byte() const noexcept { return segment_->begin(); }

  /// What the system says; std::errc::io_error if the folder is not as it was.
  [[nodiscard]] std::error_code error() const noexcept { return error_; }

 private:
  [[nodiscard]] bool open_segment();
  [[nodiscard]] bool read_batch();
  [[nodiscard]] bool read_data();

  libraft_folder& folder_;
  const libraft_log_report& report_;
  std::size_t range_ = 0;
  std::uint64_t index_ = 0;
  std::unique_ptr<libraft_file> file_;
  std::optional<libraft_segment_reader> segment_;
  std::size_t head_ = 0;       // the next one of the batch
  std::uint64_t data_at_ = 0;  // of that entry, in the file
  bool is_command_ = false;
  bytes data_;
  std::error_code error_;
};

/// Names the place of a defect that was seen in an entry: the file that holds it, and the byte at
/// which its batch begins. May throw std::bad_alloc.
/// @param report of the folder as it is now; with whole entries, or only the file is named
/// @param entry its index of libraft; 0, or one that is not there: what all begin behind, which is
///   the snapshot, or the first file. Without either nothing is named
QUORLITE_DECL void place_defect(libraft_log_defect& found, libraft_folder& from,
                                const libraft_log_report& report, std::uint64_t entry);

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/log_entries.ipp"  // IWYU pragma: keep
#endif
