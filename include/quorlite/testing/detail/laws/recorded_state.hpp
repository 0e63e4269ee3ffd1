/// @file
/// The states, snapshots and restores of the consensus suite's machine.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <system_error>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/laws/consensus_ledger.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// What a machine holds: entries by index, and how far it is.
struct recorded_state {
  log_position at;
  log_index replay_from;  ///< of what lies on a disk: entries above are needed again
  std::map<std::uint64_t, recorded_entry> entries;

  /// For a snapshot. Numbers of eight bytes, lowest first: index and term of the position, then
  /// index, term, size and bytes of each entry.
  [[nodiscard]] bytes to_bytes() const;
  /// @returns false if the bytes are not whole
  [[nodiscard]] bool from_bytes(bytes_view image);
};

/// What happened to the restores of one machine. Shared with its stages, which may outlive it.
struct stage_counters {
  std::atomic<std::size_t> begun{0};
  std::atomic<std::size_t> appended_bytes{0};
  std::atomic<std::size_t> failed{0};     ///< finish() refused, as it was told to
  std::atomic<std::size_t> abandoned{0};  ///< destroyed before finish() was called
  std::atomic<std::size_t> installed{0};
  std::atomic<bool> fail_next{false};
};

class recording_stage final : public snapshot_stage {
 public:
  explicit recording_stage(std::shared_ptr<stage_counters> counters);
  ~recording_stage() override { counters_->abandoned += ended_ ? 0U : 1U; }

  [[nodiscard]] std::error_code append(bytes_view chunk) noexcept override;
  [[nodiscard]] std::error_code finish() noexcept override;
  [[nodiscard]] bool finished() const noexcept { return finished_; }
  [[nodiscard]] recorded_state& state() noexcept { return state_; }

 private:
  std::shared_ptr<stage_counters> counters_;
  bytes image_;
  recorded_state state_;
  bool ended_ = false;
  bool finished_ = false;
};

class recording_reader final : public snapshot_reader {
 public:
  explicit recording_reader(const recorded_state& state)
      : at_(state.at), image_(state.to_bytes()) {}
  [[nodiscard]] log_position at() const noexcept override { return at_; }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept override { return image_.size(); }
  [[nodiscard]] std::error_code read(std::uint64_t offset, bytes_span into) noexcept override;

 private:
  log_position at_;
  bytes image_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/laws/recorded_state.ipp"  // IWYU pragma: keep
#endif
