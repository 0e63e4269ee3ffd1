/// @file
/// What will happen, and when: the heart of the virtual clock.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// Events by (time, order of posting): equal times happen in the order in which they were asked
/// for, so that nothing is left to chance. Posting and taking are logarithmic and move only small
/// keys.
template <class Event>
class event_queue {
 public:
  struct timed {
    std::uint64_t at_us = 0;
    Event event;
  };

  void post(std::uint64_t at_us, Event event) {
    std::size_t slot = events_.size();
    if (free_.empty()) {
      events_.push_back(std::move(event));
    } else {
      slot = free_.back();
      free_.pop_back();
      events_[slot] = std::move(event);
    }
    heap_.push_back({.at_us = at_us, .sequence = posted_++, .slot = slot});
    std::push_heap(heap_.begin(), heap_.end(), is_later{});
  }

  [[nodiscard]] bool empty() const noexcept { return heap_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return heap_.size(); }
  /// @pre !empty()
  [[nodiscard]] std::uint64_t next_at_us() const noexcept { return heap_.front().at_us; }

  /// @pre !empty()
  [[nodiscard]] timed take() {
    QUORLITE_ASSERT(!heap_.empty());
    std::pop_heap(heap_.begin(), heap_.end(), is_later{});
    const key first = heap_.back();
    heap_.pop_back();
    free_.push_back(first.slot);
    return {.at_us = first.at_us, .event = std::move(events_[first.slot])};
  }

 private:
  struct key {
    std::uint64_t at_us = 0;
    std::uint64_t sequence = 0;
    std::size_t slot = 0;
  };
  struct is_later {
    bool operator()(const key& left, const key& right) const noexcept {
      return left.at_us != right.at_us ? left.at_us > right.at_us : left.sequence > right.sequence;
    }
  };

  std::vector<key> heap_;
  std::vector<Event> events_;
  std::vector<std::size_t> free_;
  std::uint64_t posted_ = 0;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
