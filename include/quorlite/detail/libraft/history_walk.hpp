/// @file
/// One walk over the entries of a log, which holds them against the files of its machine
/// (docs/design/history.md, section 5).
///
/// The history is carried from the snapshot that the folder has, or from the begin of its log, over
/// every entry. What is written down of it anywhere has to say the same: the files' anchors, the
/// snapshot, `log_end`, and what each entry tells of its proposer. That holds for entries that are
/// not committed too: whoever has an entry at its index has all that lies below it. So a log of
/// another cluster, one that lost a part, or files of another server are found before they count.
///
/// Who gives it the entries: libraft_history what the engine has loaded, at a start; folder_check
/// what the folder holds, where no engine is to run.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/codec/history_judge.hpp"
#include "quorlite/detail/core/history_trail.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

struct libraft_snapshot_header;

/// What a trail forgets, if much is behind it.
struct libraft_history_landmarks {
  std::uint64_t of_files = 0;  ///< the entry in which the files, or log_end, end
  std::uint64_t of_begin = 0;  ///< the one that names the cluster
  cluster_identity cluster;
};

/// Each step says whether the next one is to be made. If not, found() says why; nothing there: it
/// is left to whoever applies the entries. Memory: what a history_trail takes. One thread at a
/// time. The functions may throw std::bad_alloc.
class QUORLITE_API libraft_history_walk {
 public:
  /// @param machine as it was loaded, before any call on its strand; outlives this
  /// @param noted what log_end says was applied; index 0: nothing
  libraft_history_walk(const state_machine& machine, const history_position& noted) noexcept;

  /// @param snapshot of the folder; nullptr: there is none
  /// @param first index of libraft, of the first entry that is there; 0: none is
  [[nodiscard]] bool begin(const libraft_snapshot_header* snapshot, std::uint64_t first);
  /// The next entry. Those that a snapshot contains may be among them. @pre begin() went on
  /// @param index of libraft
  /// @param batch of commands, as the log holds it; nothing: an entry of another kind
  [[nodiscard]] bool take(std::uint64_t index, const std::optional<bytes_view>& batch);
  /// Every entry was taken. @pre each step went on
  [[nodiscard]] bool end();

  /// What stands in the way of a start: too_short, starts_late, diverged, another_cluster or
  /// damaged. It names no file: who gave the entries knows where the last one is. Once.
  [[nodiscard]] std::optional<libraft_log_defect> found() { return std::move(found_); }
  /// The history along what was taken. @pre begin() went on
  [[nodiscard]] const history_trail& trail() const noexcept { return judge_->run(); }
  /// What was passed so far.
  [[nodiscard]] const libraft_history_landmarks& passed() const noexcept { return passed_; }

 private:
  [[nodiscard]] bool begin_behind(const libraft_snapshot_header& snapshot, history_place& place);
  [[nodiscard]] bool take_command(std::uint64_t index, bytes_view command);
  [[nodiscard]] bool compare_anchors();
  void note(const history_place& place) noexcept;

  bool object(libraft_log_fault fault, std::string what);
  bool part(log_index at, const std::string& because);
  bool of_another_cluster(const std::string& what, const cluster_identity& told);

  const state_machine& machine_;
  const base_history base_;
  const log_index settled_at_;    // all up to there was committed
  const history_position noted_;  // by log_end; it was committed, as all that the files hold
  const history_trail nothing_;
  libraft_history_landmarks passed_;
  std::optional<history_judge> judge_;
  log_index equal_;  // the last anchor that was found equal
  std::optional<libraft_log_defect> found_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/history_walk.ipp"  // IWYU pragma: keep
#endif
