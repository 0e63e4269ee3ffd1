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
  freed.holder = nullptr;
  const auto longest =
      std::max_element(freed.waiters.begin(), freed.waiters.end(),
                       [](const waiter& a, const waiter& b) { return a.waits < b.waits; });
  if (longest != freed.waiters.end() && longest->waits >= waits_max) {
    freed.holder = longest->owner;
    longest->called->raise();  // its owner cannot leave wait() before the lock here is gone
    freed.waiters.erase(longest);
    return;
  }
  for (waiter& next : freed.waiters) {
    if (!next.woken) {
      next.woken = true;
      next.called->raise();
      return;  // one slot, one waiter: the others have their slices
    }
  }
  forget(found);
}

QUORLITE_DECL writer_queue::waited writer_queue::wait(const database& target, const void* owner,
                                                      std::uint32_t& waits) noexcept {
  port_signal called(engine_);
  ++waits;
  bool is_queued = true;
  {
    const std::lock_guard guard(mutex_);
    const auto found = slots_.find(&target);
    if (found == slots_.end() || found->second.holder == nullptr) {
      return waited::called;
    }
    try {
      found->second.waiters.push_back({&called, owner, waits - 1, false});
    } catch (const std::bad_alloc&) {
      is_queued = false;
    }
  }
  const bool was_called = called.wait(engine_, slice);
  if (!is_queued) {
    return waited::a_slice;
  }
  const std::lock_guard guard(mutex_);
  const auto found = slots_.find(&target);
  if (found->second.holder == owner) {
    return waited::given;
  }
  std::vector<waiter>& waiters = found->second.waiters;
  waiters.erase(std::find_if(waiters.begin(), waiters.end(),
                             [&](const waiter& own) { return own.called == &called; }));
  forget(found);
  return was_called ? waited::called : waited::a_slice;
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
