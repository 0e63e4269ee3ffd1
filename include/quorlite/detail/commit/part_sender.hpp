/// @file
/// A transaction of several entries on its way into the log: not faster than there is room.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/core/consensus_port.hpp"
#include "quorlite/detail/machine/machine_state.hpp"
#include "quorlite/detail/machine/proposals.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Proposes the parts in order. Two things make it wait. Its own parts that are not applied here
/// yet: the rest of the room is for others. And an engine without room, which is asked again when
/// a part was applied, or after a slice of its time: so the log may be cut meanwhile. (If it
/// refuses a part when a later one is under way, that may be in the log: the transaction is over.)
///
/// One thread, once.
class part_sender {
 public:
  /// @param sent entered, with the tokens of its parts from `first` on
  /// @param parts at least one; each is freed as soon as it will not be proposed again
  /// @param window bytes of parts that may be under way; one part always may
  /// @param timeout the transaction is given up after so long without a part taken or applied
  part_sender(consensus_port& engine, machine_state& machine, const machine_state::row& sent,
              proposal_token first, std::span<bytes> parts, std::size_t window,
              milliseconds timeout) noexcept;
  part_sender(const part_sender&) = delete;
  part_sender& operator=(const part_sender&) = delete;

  /// Blocks until each part was proposed, or the row has its answer.
  // NOLINTNEXTLINE(bugprone-exception-escape): a mutex that cannot be locked ends the process
  void send() noexcept;

 private:
  enum class step : std::uint8_t { propose, wait, end };
  /// Under the machine's lock.
  [[nodiscard]] step look(port_signal& news);
  void note_progress() noexcept;
  void propose_again();
  void leave(settle_reason why);
  [[nodiscard]] settle_reason why_it_is_over() const noexcept;
  [[nodiscard]] bool are_all_taken() const noexcept;
  void wait(port_signal& news) noexcept;
  void propose() noexcept;

  consensus_port& engine_;
  machine_state& machine_;
  proposal& sent_;
  const machine_state::row row_;
  const proposal_token first_;
  const std::span<bytes> parts_;
  const std::size_t under_way_max_;  ///< parts
  const milliseconds timeout_;
  std::uint32_t next_ = 0;       ///< part
  proposal_token token_;         ///< of that one
  std::uint32_t taken_ = 0;      ///< parts, by the last look
  std::uint32_t applied_ = 0;    ///< parts, by the last look
  std::uint64_t waited_ms_ = 0;  ///< since one of the two has changed
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/commit/part_sender.ipp"  // IWYU pragma: keep
#endif
