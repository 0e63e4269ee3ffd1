/// @file
/// Where a withdrawal goes that comes while a start makes the runtime that is to be told.
#pragma once

#include <mutex>

#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

class libraft_runtime;

/// A machine may halt in the first call that a start makes, or be read by another thread then. Any
/// thread; no call waits for more than a short lock, nor calls the machine.
class libraft_withdrawal {
 public:
  /// A start begins, and what was withdrawn before is over.
  void begin() noexcept;
  /// Its runtime, which is told at once if it is late. @param made outlives the next begin()
  void hand_over_to(libraft_runtime& made) noexcept;

  void withdraw() noexcept;

 private:
  std::mutex mutex_;
  libraft_runtime* runtime_ = nullptr;
  bool came_early_ = false;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/withdrawal.ipp"  // IWYU pragma: keep
#endif
