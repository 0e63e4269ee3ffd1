/// @file
/// Bodies of withdrawal.hpp.
#pragma once

#include "quorlite/detail/libraft/withdrawal.hpp"

#include <mutex>

#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/runtime.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL void libraft_withdrawal::begin() noexcept {
  const std::lock_guard guard(mutex_);
  runtime_ = nullptr;
  came_early_ = false;
}

QUORLITE_DECL void libraft_withdrawal::hand_over_to(libraft_runtime& made) noexcept {
  const std::lock_guard guard(mutex_);
  runtime_ = &made;
  if (came_early_) {
    made.withdraw();
  }
}

QUORLITE_DECL void libraft_withdrawal::withdraw() noexcept {
  const std::lock_guard guard(mutex_);
  if (runtime_ != nullptr) {
    runtime_->withdraw();
  } else {
    came_early_ = true;
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
