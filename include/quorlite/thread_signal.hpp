/// @file
/// The signal of adapters whose clients are ordinary threads.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

/// A sticky flag with a blocking wait. Any thread may raise it, any number may wait.
class thread_signal {
 public:
  void raise() noexcept {
    const std::lock_guard guard(mutex_);
    raised_ = true;
    wake_.notify_all();  // under the lock: a waiter may destroy the signal as soon as it is free
  }

  /// Blocks the calling thread. @returns true once raised, false after `limit`
  [[nodiscard]] bool wait(milliseconds limit) noexcept {
    std::unique_lock lock(mutex_);
    return wake_.wait_for(lock, std::chrono::milliseconds(limit.value), [this] { return raised_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool raised_ = false;
};

static_assert(raisable_signal<thread_signal>);

}  // namespace QUORLITE_ABI
}  // namespace quorlite
