/// @file
/// How much old versions may take that readers alone keep: the oldest readers are ended beyond it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The limit that all stores of one replica share. Any thread.
///
/// Its mutex is taken before that of a store, never within one: enforce() is for whoever has let go
/// of the store that it changed.
class pin_limit {
 public:
  /// One store: who has readers that may be ended. Its own mutex orders its calls.
  class holder {
   public:
    holder() = default;
    holder(const holder&) = delete;
    holder& operator=(const holder&) = delete;
    /// When the oldest reader began that keeps something; 0: there is none.
    [[nodiscard]] virtual std::uint64_t oldest_reader() const noexcept = 0;
    /// Ends that one. @returns false: it has gone meanwhile, or keeps nothing any more
    virtual bool end_reader(std::uint64_t since) noexcept = 0;

   protected:
    ~holder() = default;

   private:
    friend class pin_limit;
    std::atomic<std::size_t> bytes_{0};
    holder* next_ = nullptr;
    holder* previous_ = nullptr;
  };

  /// Bytes; 0: there is no limit.
  void set(std::size_t bytes) noexcept { limit_.store(bytes, std::memory_order_relaxed); }

  void attach(holder& store) noexcept {
    const std::lock_guard lock(mutex_);
    store.next_ = first_;
    if (first_ != nullptr) {
      first_->previous_ = &store;
    }
    first_ = &store;
  }
  /// Waits until nobody looks at it. @pre nobody stands on it
  void detach(holder& store) noexcept {
    const std::lock_guard lock(mutex_);
    (store.previous_ == nullptr ? first_ : store.previous_->next_) = store.next_;
    if (store.next_ != nullptr) {
      store.next_->previous_ = store.previous_;
    }
    tell(store, 0);
  }

  /// So much the readers of a store keep now. Under the store's mutex.
  void tell(holder& store, std::size_t bytes) noexcept {
    const std::size_t before = store.bytes_.exchange(bytes, std::memory_order_relaxed);
    if (before != bytes) {
      bytes_.fetch_add(bytes - before, std::memory_order_relaxed);
    }
  }

  /// A number for a reader that begins: later ones have larger ones. From 1.
  [[nodiscard]] std::uint64_t next_moment() noexcept {
    return moments_.fetch_add(1, std::memory_order_relaxed) + 1;
  }

  /// Ends readers, the oldest first, until what is left of them keeps no more than the limit.
  /// O(stores) for each. @pre the caller holds the mutex of no store
  void enforce() noexcept {
    while (is_over() && end_oldest()) {
    }
  }

  /// What readers keep now. Bytes.
  [[nodiscard]] std::size_t bytes() const noexcept {
    return bytes_.load(std::memory_order_relaxed);
  }
  /// States whose readers were ended.
  [[nodiscard]] std::uint64_t ended() const noexcept {
    return ended_.load(std::memory_order_relaxed);
  }

 private:
  [[nodiscard]] bool is_over() const noexcept {
    const std::size_t limit = limit_.load(std::memory_order_relaxed);
    return limit != 0 && bytes() > limit;
  }

  /// @returns false: nobody can be ended
  bool end_oldest() noexcept {
    const std::lock_guard lock(mutex_);
    holder* oldest = nullptr;
    std::uint64_t since = ~std::uint64_t{0};
    for (holder* one = first_; one != nullptr; one = one->next_) {
      const bool keeps = one->bytes_.load(std::memory_order_relaxed) != 0;
      const std::uint64_t moment = keeps ? one->oldest_reader() : 0;
      if (moment != 0 && moment < since) {
        oldest = one;
        since = moment;
      }
    }
    if (oldest != nullptr && oldest->end_reader(since)) {
      ended_.fetch_add(1, std::memory_order_relaxed);
    }
    return oldest != nullptr;
  }

  std::atomic<std::size_t> limit_{0};
  std::atomic<std::size_t> bytes_{0};  // of all stores: the sums wrap, and end up right
  std::atomic<std::uint64_t> moments_{0};
  std::atomic<std::uint64_t> ended_{0};
  std::mutex mutex_;
  holder* first_ = nullptr;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
