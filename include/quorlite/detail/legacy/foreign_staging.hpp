/// @file
/// Frames of the 2018 format that wait for their commit.
///
/// That format's ids are unique per database at best, and grow there; an undo names no database.
/// So at most one transaction waits for each database, found by the database's name. What the log
/// brings next decides about it:
///
/// | next in the log                        | what becomes of the transaction that waits       |
/// |----------------------------------------|--------------------------------------------------|
/// | frames of its id                       | they are added; or all of it is committed        |
/// | frames of a larger id                  | dropped: its leader is gone                      |
/// | frames of a smaller id                 | stays; they are refused                          |
/// | refused frames of its id, no commit    | doomed: no later part of it may commit alone     |
/// | refused frames of its id, with commit  | dropped                                          |
/// | undo of its id, if no other has the id | dropped                                          |
/// | undo of an id that waits twice         | stays; the undo is refused                       |
/// | undo of another id                     | stays                                            |
/// | native transaction, drop of the name   | dropped                                          |
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/legacy/foreign_entry.hpp"
#include "quorlite/detail/machine/legacy_format.hpp"
#include "quorlite/detail/machine/transaction.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// One foreign transaction without its commit.
struct staged_foreign {
  transaction_id id;
  log_index first;                       ///< the entry that began it; 0: it came with a snapshot
  bool doomed = false;                   ///< nothing of it can be committed any more
  std::vector<transaction::part> parts;  ///< entries, as they stood in the log
  std::vector<foreign_frames> frames;    ///< the same, decoded: views into the parts
};

/// Strand only. What it answers depends on the log alone.
class foreign_staging final : public legacy_staging {
 public:
  /// @param encode_mark appends an entry that means the mark, for capture()
  explicit foreign_staging(void (*encode_mark)(const foreign_mark& mark, bytes& out)) noexcept
      : encode_mark_(encode_mark) {}

  [[nodiscard]] const staged_foreign* find(std::string_view name) const noexcept;

  /// Whether the table above lets these frames go on. An abandoned transaction is dropped.
  /// @returns errc::malformed: refuse() them
  [[nodiscard]] std::error_code admit(const foreign_frames& next);
  /// Adds frames. @pre admit() had nothing against them; their views point into `entry`
  void stage(transaction::part entry, foreign_frames frames, log_index at);
  /// Frames that were not taken, for whatever reason.
  void refuse(const foreign_frames& refused, log_index at);
  void doom(const foreign_mark& which, log_index first);
  /// @returns errc::malformed: it could be that of one database or of another; nothing is dropped
  [[nodiscard]] std::error_code undo(transaction_id target);

  void drop(std::string_view name) override;
  /// As many as a snapshot carries for them.
  [[nodiscard]] std::size_t entries_held() const noexcept override;
  [[nodiscard]] std::uint64_t bytes_held() const noexcept override;
  [[nodiscard]] bool any_from_snapshot() const noexcept override;
  [[nodiscard]] log_index replay_from(log_index applied) const noexcept override;
  void capture(std::vector<transaction::part>& into) const override;

 private:
  void (*encode_mark_)(const foreign_mark& mark, bytes& out);
  std::map<std::string, staged_foreign, std::less<>> by_name_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/legacy/foreign_staging.ipp"  // IWYU pragma: keep
#endif
