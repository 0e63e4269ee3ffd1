/// @file
/// Who may write a database now, and who waits for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/core/consensus_port.hpp"
#include "quorlite/detail/pages/registry.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The writer slots of a replica's databases: one writer at a time builds on a head. A slot belongs
/// to the name, over drops and restores. Who waits does so in slices, by the engine's wait, and
/// comes again after each, so nobody is kept waiting by one who has left. A slot that is given back
/// is free, and one of those who wait is called: whoever runs anyway may come first, for to hand it
/// over each time would cost a third of the transactions of 64 writers (benchmarks/cluster). Only
/// who has waited often in vain is given the slot itself. Any thread.
class writer_queue {
 public:
  /// A waiter's share: how long one wait lasts before it looks again.
  static constexpr milliseconds slice{2};
  /// Who has waited so often in vain is given the slot before whoever comes.
  static constexpr std::uint32_t waits_max = 8;

  explicit writer_queue(consensus_port& engine) noexcept : engine_(engine) {}
  writer_queue(const writer_queue&) = delete;
  writer_queue& operator=(const writer_queue&) = delete;

  /// @param owner any address of the caller's
  /// @returns false if another one holds the slot; true also if `owner` has it already
  [[nodiscard]] bool try_acquire(const database& target, const void* owner);
  /// Takes the slot from `owner`, if it has it. It goes to who has waited often enough, or one who
  /// waits for it is called.
  void release(const database& target, const void* owner) noexcept;
  enum class waited : std::uint8_t {
    given,   ///< `owner` has the slot
    called,  ///< it was free a moment ago
    a_slice  ///< it was not
  };
  /// Blocks for a slice at most.
  /// @param waits in vain so far, for this turn; one is added
  [[nodiscard]] waited wait(const database& target, const void* owner,
                            std::uint32_t& waits) noexcept;
  /// nullptr: the slot is free.
  [[nodiscard]] const void* holder_of(const database& target) const;

 private:
  struct waiter {
    port_signal* called;
    const void* owner;
    std::uint32_t waits;
    bool woken;
  };
  struct slot {
    const void* holder = nullptr;
    std::vector<waiter> waiters;
  };
  using slots = std::map<const database*, slot>;

  /// Free slots that are kept, so that the next transaction need not make one.
  static constexpr std::size_t kept = 64;

  void forget(slots::iterator free_one) noexcept;

  consensus_port& engine_;
  mutable std::mutex mutex_;
  slots slots_;  ///< of those that somebody holds or waits for, and some more
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/commit/writer_queue.ipp"  // IWYU pragma: keep
#endif
