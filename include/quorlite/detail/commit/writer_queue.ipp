/// @file
/// Bodies of writer_queue.hpp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <new>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/commit/writer_queue.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL bool writer_queue::try_acquire(const database& target, const void* owner) {
  const std::lock_guard guard(mutex_);
  slot& asked = slots_[&target];
  if (asked.holder == nullptr) {
    asked.holder = owner;
  }
  return asked.holder == owner;
}

QUORLITE_DECL void writer_queue::release(const database& target, const void* owner) noexcept {
  const std::lock_guard guard(mutex_);
  const auto found = slots_.find(&target);
  if (found == slots_.end() || owner == nullptr || found->second.holder != owner) {
    return;
  }
  slot& freed = found->second;
  const auto first =
      std::min_element(freed.waiters.begin(), freed.waiters.end(),
                       [](const waiter& a, const waiter& b) { return a.place < b.place; });
  if (first == freed.waiters.end()) {
    freed.holder = nullptr;
    forget(found);
    return;
  }
  freed.holder = first->owner;
  first->given->raise();  // its owner cannot leave wait() before the lock here is gone
  freed.waiters.erase(first);
}

QUORLITE_DECL bool writer_queue::wait(const database& target, const void* owner,
                                      std::uint64_t& place) noexcept {
  port_signal given(engine_);
  {
    const std::lock_guard guard(mutex_);
    const auto found = slots_.find(&target);
    if (found == slots_.end() || found->second.holder == nullptr) {
      return false;  // it is free: the caller asks again
    }
    place = place == 0 ? ++places_ : place;
    try {
      found->second.waiters.push_back({&given, owner, place});
    } catch (const std::bad_alloc&) {
      return false;  // the caller asks again
    }
  }
  static_cast<void>(given.wait(engine_, slice));
  const std::lock_guard guard(mutex_);
  const auto found = slots_.find(&target);
  if (found->second.holder == owner) {
    return true;
  }
  std::vector<waiter>& waiters = found->second.waiters;
  waiters.erase(std::find_if(waiters.begin(), waiters.end(),
                             [&](const waiter& own) { return own.given == &given; }));
  forget(found);
  return false;
}

/// A slot that nobody holds or waits for says no more than none, whatever its address names later.
QUORLITE_DECL void writer_queue::forget(slots::iterator free_one) noexcept {
  if (slots_.size() > kept && free_one->second.holder == nullptr &&
      free_one->second.waiters.empty()) {
    slots_.erase(free_one);
  }
}

QUORLITE_DECL const void* writer_queue::holder_of(const database& target) const {
  const std::lock_guard guard(mutex_);
  const auto found = slots_.find(&target);
  return found == slots_.end() ? nullptr : found->second.holder;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
