/// @file
/// When a page version that was unlinked may be freed: reclamation by generations (others say
/// *epochs*), with one slot for each reader.
///
/// A reader announces the generation it starts in, and reads. The store unlinks a version, stamps
/// it with the generation, and starts the next one. A reader of a later generation cannot find the
/// version any more, so it is freed as soon as every announced generation is later than its stamp.
///
/// The announcement and the check behind it are sequentially consistent operations on atomics, no
/// fences: a scan that misses an announcement comes before it in the single total order, so that
/// the reader's check sees the new generation, and with it the unlinking.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "quorlite/config.hpp"
#include "quorlite/detail/pages/page_version.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Where one reader announces itself. Has a cache line of its own: readers share none.
class alignas(64) reader_slot {
 public:
  reader_slot() = default;
  reader_slot(const reader_slot&) = delete;
  reader_slot& operator=(const reader_slot&) = delete;

 private:
  friend class reclaimer;
  friend class read_guard;

  std::atomic<std::uint64_t> generation_{0};  // 0: not reading
  reader_slot* next_ = nullptr;               // under the store's mutex
  reader_slot* previous_ = nullptr;
};

/// While it lives, nothing that its reader finds is freed. Keep it short (one copy of a page):
/// everything that the store unlinks meanwhile stays in memory. One at a time for each slot.
class [[nodiscard]] read_guard {
 public:
  read_guard(const read_guard&) = delete;
  read_guard& operator=(const read_guard&) = delete;
  // Release: what was read under the guard was read before the store frees it.
  ~read_guard() { slot_.generation_.store(0, std::memory_order_release); }

  [[nodiscard]] bool belongs_to(const reader_slot& slot) const noexcept { return &slot_ == &slot; }

 private:
  friend class reclaimer;
  explicit read_guard(reader_slot& slot) noexcept : slot_(slot) {}

  reader_slot& slot_;
};

/// The slots and the unlinked versions of one store. `enter` runs on the slot's own thread, without
/// a lock; everything else under the store's mutex.
class reclaimer {
 public:
  reclaimer() = default;
  reclaimer(const reclaimer&) = delete;
  reclaimer& operator=(const reclaimer&) = delete;
  /// @pre every slot was detached
  ~reclaimer();

  void attach(reader_slot& slot) noexcept;

  /// @pre attached here, and no guard of it lives
  void detach(reader_slot& slot) noexcept;

  /// Announces a reader. Lock-free: repeats only when the store started a generation meanwhile.
  read_guard enter(reader_slot& slot) const noexcept {
    QUORLITE_ASSERT(slot.generation_.load(std::memory_order_relaxed) == 0);
    std::uint64_t seen = generation_.load(std::memory_order_seq_cst);
    for (;;) {
      slot.generation_.store(seen, std::memory_order_seq_cst);
      const std::uint64_t now = generation_.load(std::memory_order_seq_cst);
      if (now == seen) {
        return read_guard{slot};
      }
      seen = now;
    }
  }

  /// Takes a node that was just unlinked: no reader of the next generation will find it. Its own
  /// `older` stays as it is, for readers that stand on it.
  void retire(page_version* node) noexcept;

  /// Starts a generation and frees at most `most` nodes that nobody can stand on, oldest first.
  /// O(slots + freed). @returns how many were freed
  std::size_t collect(std::size_t most) noexcept;

  /// Nodes that were retired and not freed yet, and their memory.
  [[nodiscard]] std::size_t limbo_size() const noexcept { return limbo_.size(); }
  [[nodiscard]] std::size_t limbo_bytes() const noexcept { return limbo_bytes_; }

 private:
  std::atomic<std::uint64_t> generation_{1};
  reader_slot* slots_ = nullptr;
  node_list limbo_;  // ascending by stamp
  std::size_t limbo_bytes_ = 0;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/pages/reclaim.ipp"  // IWYU pragma: keep
#endif
