/// @file
/// The folder of a log, read before the engine does: libraft 0.15 cuts, numbers anew and starts
/// where it should say that something is gone.
///
/// Honest folders are those that its steps leave, cut short anywhere: see docs/how-to/damage.md for
/// the list, and tests/unit/libraft_log.cpp for each of them. What is none of them is a defect.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/log_end.hpp"
#include "quorlite/detail/libraft/log_file.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/detail/libraft/log_format.hpp"
#include "quorlite/detail/libraft/log_segment.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// What the operator can do, where nothing better is known.
[[nodiscard]] QUORLITE_DECL const char* remedy_for(libraft_log_fault fault) noexcept;

/// Reads one folder, once. Memory: a few MiB, and what the report takes. Changes nothing.
class libraft_log_reader {
 public:
  /// @param from outlives this; nobody writes there meanwhile
  /// @param files_at up to where the machine's files stand; 0: they hold nothing
  libraft_log_reader(libraft_folder& from, log_index files_at)
      : folder_(from), files_at_(files_at) {}

  /// @returns what the system says if the folder cannot be read, or memory or descriptors are
  ///   short; errc::out_of_memory. Damage is no error here, but in the report, and so is a file
  ///   that the disk does not give
  [[nodiscard]] result<libraft_log_report> read() noexcept;

 private:
  using segment = libraft_log_file;
  using snapshot = libraft_snapshot_file;
  using metadata_file = std::pair<bool, std::optional<libraft_metadata>>;  // there; whole
  using step = std::error_code (libraft_log_reader::*)();

  // The steps, in this order. Each returns what the system says.
  [[nodiscard]] std::error_code list();
  [[nodiscard]] std::error_code read_note();
  [[nodiscard]] std::error_code read_metadata();
  [[nodiscard]] std::error_code read_log_end();
  [[nodiscard]] std::error_code read_snapshot();
  [[nodiscard]] std::error_code read_snapshot_content(libraft_file& file, std::uint64_t from);
  [[nodiscard]] std::error_code look_at_open();
  [[nodiscard]] std::error_code take_unclosed();
  [[nodiscard]] std::error_code finish_steps();
  [[nodiscard]] std::error_code choose_closed();
  [[nodiscard]] std::error_code read_closed();
  [[nodiscard]] std::error_code read_open();
  [[nodiscard]] std::error_code compare();

  void take_name(const std::string& name);
  void choose_snapshot();
  [[nodiscard]] result<metadata_file> read_metadata_file(const char* name);
  void weigh_metadata(const metadata_file& odd, const metadata_file& even);
  void take_metadata(const char* name, const libraft_metadata& told);
  void compare_vote(const libraft_log_end& noted);
  [[nodiscard]] std::error_code read_snapshot_meta();
  void finish_truncation();
  [[nodiscard]] std::error_code drop_repeated();
  [[nodiscard]] result<bool> begins_with(const segment& longer, const segment& shorter);
  [[nodiscard]] std::uint64_t keep_last_run();
  void take_batch(const segment& of, const libraft_segment_reader& reader);
  void take_entry(const std::string& file, std::uint64_t byte, const libraft_entry_head& head);
  [[nodiscard]] term term_of(std::uint64_t entry) const;
  void compare_with_log_end();
  [[nodiscard]] std::string end_file() const;
  void end_open(const segment& one, std::uint64_t size, const libraft_segment_end& end);

  void defect(libraft_log_fault fault, std::string file, std::uint64_t byte, std::string what);
  void leftover(std::string file, std::string what);
  void leftover(std::string file, std::uint64_t cut_at, std::string what);

  libraft_watched_folder folder_;
  const log_index files_at_;
  libraft_log_report report_;
  libraft_log_note note_;
  bool noted_ = false;  // this adapter wrote here: one batch a write
  bool has_log_end_ = false;
  bool has_metadata_[2] = {false, false};
  std::vector<segment> closed_;
  std::vector<segment> open_;  // but for those that were never written
  std::vector<snapshot> snapshots_;
  snapshot newest_;             // index 0: none
  std::uint64_t term_max_ = 0;  // no entry has a higher one
  std::uint64_t at_ = 0;        // the last entry that was read
  std::uint64_t at_term_ = 0;
  bool broken_ = false;  // entries from here on have no number that is sure
  std::string metadata_file_;
  std::string last_file_;
  std::uint64_t last_byte_ = 0;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/log_reader.ipp"  // IWYU pragma: keep
#endif
