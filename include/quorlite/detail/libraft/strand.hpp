/// @file
/// From the log of libraft to the machine: which log index a command has, and when it is applied.
///
/// An entry of libraft holds several commands, and some entries are libraft's own, so its indices
/// are not ours. Ours are counted as entries are applied: a batch moves on by its commands, any
/// other entry (a barrier, a configuration) by one. The count is a function of the log alone, hence
/// the same on every server; a snapshot carries it (snapshot.hpp). So there is no hole in what the
/// machine sees, and it can tell if there ever is one.
#pragma once

#include <cstdint>
#include <system_error>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Up to where the machine was told: the same place, counted in both ways.
struct libraft_cursor {
  std::uint64_t entry = 0;  ///< index of libraft
  log_position at;          ///< ours
};

/// The strand of one machine. Every call is made on the loop of the engine.
class libraft_strand {
 public:
  /// @param engine, machine outlive this
  void attach(const ::raft& engine, state_machine& machine) noexcept;

  [[nodiscard]] state_machine& machine() const noexcept { return *machine_; }
  [[nodiscard]] const ::raft& engine() const noexcept { return *engine_; }
  [[nodiscard]] const libraft_cursor& cursor() const noexcept { return cursor_; }

  /// True: no strand call may follow but the loss of leadership.
  [[nodiscard]] bool ended() const noexcept { return ended_; }
  [[nodiscard]] std::error_code failure() const noexcept { return failure_; }
  /// The first reason stays. @param why none: an orderly stop
  void end(std::error_code why) noexcept;

  /// From inside the engine's apply: the entry after raft.last_applied.
  void apply(const raft_buffer& buffer) noexcept;

  /// Passes what the engine has applied and kept to itself. Not from inside the engine's apply.
  void catch_up() noexcept { skip_to(engine_->last_applied); }

  /// A snapshot took the place of everything up to there.
  void move_to(const libraft_cursor& to) noexcept { cursor_ = to; }
  /// @returns false: ended
  bool carried_on(apply_result answer) noexcept;

  /// What the entries that were applied or skipped since the start take of the engine's memory, see
  /// libraft_bytes_held(); and commands in them.
  [[nodiscard]] std::uint64_t applied_bytes() const noexcept { return applied_bytes_; }
  [[nodiscard]] std::uint64_t commands() const noexcept { return commands_; }

 private:
  /// Terms never decrease, so a term that the engine forgot is at least the last one seen.
  [[nodiscard]] term term_of(std::uint64_t entry) const noexcept;
  void skip_to(std::uint64_t entry) noexcept;

  const ::raft* engine_ = nullptr;
  state_machine* machine_ = nullptr;
  libraft_cursor cursor_;
  std::uint64_t applied_bytes_ = 0;
  std::uint64_t commands_ = 0;
  bool ended_ = false;
  std::error_code failure_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/strand.ipp"  // IWYU pragma: keep
#endif
