// Waits for what other threads do.
#pragma once

#include <chrono>
#include <thread>

namespace quorlite::tests {

template <class Condition>
bool wait_until(Condition condition, int limit_ms = 20'000) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(limit_ms);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) {
      return condition();
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace quorlite::tests
