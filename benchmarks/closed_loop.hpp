/// @file
/// Clients in threads: each begins its next transaction when the one before is answered.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "latency_histogram.hpp"
#include "load_result.hpp"

namespace bench {

enum class attempt { done, busy, failed };

class client {
 public:
  client() = default;
  client(const client&) = delete;
  client& operator=(const client&) = delete;
  virtual ~client() = default;

  /// One transaction. Called by one thread.
  virtual attempt transact() = 0;
  /// Why the last one failed.
  [[nodiscard]] virtual std::string error() const = 0;
};

class closed_loop {
 public:
  using clock_type = std::chrono::steady_clock;

  /// Begins at once; counts when a window is open.
  explicit closed_loop(std::vector<std::unique_ptr<client>> clients) {
    for (std::unique_ptr<client>& one : clients) {
      states_.push_back(std::make_unique<state>());
      states_.back()->who = std::move(one);
      states_.back()->chance.seed(static_cast<unsigned>(states_.size()));
    }
    for (const std::unique_ptr<state>& one : states_) {
      threads_.emplace_back([this, mine = one.get()] { run(*mine); });
    }
  }
  closed_loop(const closed_loop&) = delete;
  closed_loop& operator=(const closed_loop&) = delete;
  ~closed_loop() { join(); }

  void open_window() {
    opened_ = clock_type::now();
    open_.store(true);
  }
  void close_window() {
    open_.store(false);
    seconds_ = std::chrono::duration<double>(clock_type::now() - opened_).count();
  }

  /// Ends the clients and tells what they saw in the window.
  load_result finish() {
    join();
    load_result all;
    latency_histogram latencies;
    for (const std::unique_ptr<state>& one : states_) {
      latencies.merge(one->latencies);
      all.busy += one->busy;
      all.errors += one->errors;
      all.acknowledged += one->acknowledged;
      if (all.first_error.empty()) {
        all.first_error = one->first_error;
      }
    }
    all.seconds = seconds_;
    all.transactions = latencies.count();
    all.p50_us = latencies.quantile_us(0.5);
    all.p99_us = latencies.quantile_us(0.99);
    all.max_us = latencies.quantile_us(1);
    return all;
  }

 private:
  // A client that fails again and again has nothing more to say.
  static constexpr std::uint64_t most_errors = 100;

  struct state {
    std::unique_ptr<client> who;
    std::minstd_rand chance;
    latency_histogram latencies;
    std::uint64_t busy = 0;
    std::uint64_t errors = 0;
    std::uint64_t acknowledged = 0;
    std::string first_error;
  };

  void run(state& mine) {
    while (!stop_.load(std::memory_order_relaxed) && mine.errors < most_errors) {
      const auto begin = clock_type::now();
      attempt how = mine.who->transact();
      while (how == attempt::busy && !stop_.load(std::memory_order_relaxed)) {
        mine.busy += open_.load(std::memory_order_relaxed) ? 1 : 0;
        std::this_thread::sleep_for(back_off(mine.chance));
        how = mine.who->transact();
      }
      if (how == attempt::failed) {
        mine.first_error = mine.errors == 0 ? mine.who->error() : mine.first_error;
        ++mine.errors;
        std::this_thread::sleep_for(std::chrono::milliseconds{10});
      } else if (how == attempt::done) {
        ++mine.acknowledged;
        if (open_.load(std::memory_order_relaxed)) {
          const auto spent = clock_type::now() - begin;
          mine.latencies.add(static_cast<std::uint64_t>(
              std::chrono::duration_cast<std::chrono::nanoseconds>(spent).count()));
        }
      }
    }
  }

  /// 0.25 to 0.75 ms: clients that are refused together must not come back together.
  static std::chrono::microseconds back_off(std::minstd_rand& chance) {
    return std::chrono::microseconds{std::uniform_int_distribution<int>{250, 750}(chance)};
  }

  void join() {
    stop_.store(true);
    for (std::thread& one : threads_) {
      one.join();
    }
    threads_.clear();
  }

  std::vector<std::unique_ptr<state>> states_;
  std::vector<std::thread> threads_;
  std::atomic<bool> open_{false};
  std::atomic<bool> stop_{false};
  clock_type::time_point opened_;
  double seconds_ = 0;
};

}  // namespace bench
