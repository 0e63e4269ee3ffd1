/// @file
/// Bodies of thread_signal.hpp: raising, and waiting for so long at most.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/thread_signal.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

QUORLITE_DECL void thread_signal::raise() noexcept {
  const std::lock_guard guard(mutex_);
  raised_ = true;
  wake_.notify_all();  // under the lock: a waiter may destroy the signal as soon as it is free
}

QUORLITE_DECL bool thread_signal::wait(milliseconds limit) noexcept {
  std::unique_lock lock(mutex_);
  return wake_.wait_for(lock, std::chrono::milliseconds(limit.value), [this] { return raised_; });
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite
