// The signal of threaded adapters: sticky, raised by anybody, waited for by many, destroyed as soon
// as it was seen.
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/adapter_kit.hpp"

namespace thread_signal_test {
namespace {

using quorlite::milliseconds;
using quorlite::thread_signal;

constexpr milliseconds long_enough{60000};

}  // namespace

TEST_CASE("a raised signal stays raised", "[thread_signal]") {
  thread_signal signal;
  CHECK(!signal.wait(milliseconds{0}));
  signal.raise();
  CHECK(signal.wait(milliseconds{0}));
  CHECK(signal.wait(long_enough));
  signal.raise();
  CHECK(signal.wait(milliseconds{0}));
}

TEST_CASE("an unraised signal is waited for as long as the limit says", "[thread_signal]") {
  thread_signal signal;
  const auto start = std::chrono::steady_clock::now();
  CHECK(!signal.wait(milliseconds{30}));
  CHECK(std::chrono::steady_clock::now() - start >= std::chrono::milliseconds(30));
}

TEST_CASE("one raise wakes every waiter", "[thread_signal][threads]") {
  thread_signal signal;
  std::atomic<int> woken{0};
  std::vector<std::thread> waiters;
  for (int i = 0; i < 4; ++i) {
    waiters.emplace_back([&] { woken += signal.wait(long_enough) ? 1 : 0; });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  signal.raise();
  for (std::thread& waiter : waiters) {
    waiter.join();
  }
  CHECK(woken == 4);
}

// The one who waits may end the signal the moment it returns: raise() must be through with it by
// then.
TEST_CASE("a waiter may destroy the signal at once", "[thread_signal][threads]") {
  for (int round = 0; round < 500; ++round) {
    auto signal = std::make_unique<thread_signal>();
    std::thread raiser([raw = signal.get()] { raw->raise(); });
    REQUIRE(signal->wait(long_enough));
    signal.reset();
    raiser.join();
  }
}

TEST_CASE("what was written before raise is seen after wait", "[thread_signal][threads]") {
  for (int round = 0; round < 200; ++round) {
    thread_signal signal;
    int answer = 0;
    std::thread raiser([&] {
      answer = round;
      signal.raise();
    });
    REQUIRE(signal.wait(long_enough));
    CHECK(answer == round);
    raiser.join();
  }
}

}  // namespace thread_signal_test
