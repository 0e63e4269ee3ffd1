/// @file
/// The signal of adapters whose clients are ordinary threads.
#pragma once

#include <condition_variable>
#include <mutex>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

/// A sticky flag with a blocking wait. Any thread may raise it, any number may wait.
class QUORLITE_API thread_signal {
 public:
  void raise() noexcept;

  /// Blocks the calling thread. @returns true once raised, false after `limit`
  [[nodiscard]] bool wait(milliseconds limit) noexcept;

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool raised_ = false;
};

static_assert(raisable_signal<thread_signal>);

}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/thread_signal.ipp"  // IWYU pragma: keep
#endif
