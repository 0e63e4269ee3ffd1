/// @file
/// What a machine of the consensus suite has made durable, and how its flushes go: no better than
/// those of a real one.
#pragma once

#include <cstdint>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/laws/recorded_state.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// How a machine answers flush(). A real one does all of this.
enum class flush_manner : std::uint8_t {
  at_once,
  slowly,  ///< what is applied meanwhile is not in it
  /// No room, then well and durable() stays, and so on by turns: as a full disk answers, and a
  /// machine whose parts of a transaction wait for the rest
  late,
};

/// Not synchronised.
class QUORLITE_API recorded_disk {
 public:
  /// @param found what a former machine left
  explicit recorded_disk(recorded_state found)
      : state_(std::move(found)), replayed_(state_.replay_from) {}

  [[nodiscard]] const recorded_state& state() const noexcept { return state_; }
  /// What a machine calls durable().
  [[nodiscard]] log_index durable() const noexcept { return state_.replay_from; }

  [[nodiscard]] flush_manner manner() const noexcept { return manner_; }
  void flush_in(flush_manner manner) noexcept { manner_ = manner; }
  /// Takes turns, if its manner is to be late. @returns errc::storage_full
  [[nodiscard]] std::error_code make_room() noexcept;
  void store(recorded_state pinned);

  /// What was installed is on it after a flush only.
  void note_install() noexcept { is_installed_ = true; }
  /// After a restart: entries up to here came again, or a snapshot that holds them.
  void note_replay(log_index upto) noexcept;
  [[nodiscard]] log_index replayed() const noexcept { return replayed_; }

 private:
  recorded_state state_;
  log_index replayed_;
  flush_manner manner_ = flush_manner::at_once;
  bool has_room_ = true;
  bool is_installed_ = false;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/laws/recorded_disk.ipp"  // IWYU pragma: keep
#endif
