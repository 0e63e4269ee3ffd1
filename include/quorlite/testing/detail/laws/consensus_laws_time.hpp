/// @file
/// Consensus laws about the clock and random numbers: N1 to N7.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/testing/detail/laws/conformance_report.hpp"
#include "quorlite/testing/detail/laws/consensus_scene.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// Compares each reading with those that had been taken before it was begun. Any thread.
class steady_watch {
 public:
  template <class Adapter>
  void look_at(Adapter& adapter) noexcept {
    const std::uint64_t floor = latest_.load();
    const std::uint64_t seen = adapter.now().steady_us;
    went_back_ = went_back_ || seen < floor;
    for (std::uint64_t known = floor; known < seen;) {
      if (latest_.compare_exchange_weak(known, seen)) {
        break;
      }
    }
  }
  [[nodiscard]] bool went_back() const noexcept { return went_back_; }

 private:
  std::atomic<std::uint64_t> latest_{0};
  std::atomic<bool> went_back_{false};
};

/// Calls `look` so many times: from several threads at once, where the adapter is made for them.
template <consensus_harness H, class Look>
void look_often(std::size_t times, Look look) {
  const auto repeat = [times, &look] {
    for (std::size_t i = 0; i < times; ++i) {
      look();
    }
  };
  std::vector<std::thread> threads;
  for (std::size_t i = 0; H::faults.threads && i < 3; ++i) {
    threads.emplace_back(repeat);
  }
  repeat();
  for (std::thread& thread : threads) {
    thread.join();
  }
}

/// N1: before the start, on the strand, beside it, and after the stop.
template <consensus_harness H, class Make>
void check_steady_clock(Make& make, conformance_report& report) {
  law_check law(report, "N1", "the steady clock never goes back, on the strand or off it");
  {
    const std::unique_ptr<H> never_started = make(1);
    steady_watch watch;
    watch.look_at(never_started->node(0));
    watch.look_at(never_started->node(0));
    law.expect(!watch.went_back(), "it goes on before the start");
  }
  steady_watch watch;
  consensus_scene<H> scene(make(3), report);
  const std::size_t server = scene.await_leader();
  auto& adapter = scene.harness().node(server);
  scene.machine(server).on_apply([&](const log_entry&) { watch.look_at(adapter); });
  for (std::size_t round = 0; round < 8; ++round) {
    const proposal_token token = scene.propose_now(server);
    look_often<H>(200, [&] { watch.look_at(adapter); });
    scene.await_settled(token);
  }
  scene.machine(server).on_apply({});
  scene.finish({});
  watch.look_at(adapter);
  law.expect(!watch.went_back(), "no reading is below one that was taken before");
}

/// N2, with so much room above that only a wrong unit does not fit.
template <consensus_harness H, class Make>
void check_clock_of_waits(Make& make, conformance_report& report) {
  using signal_type = typename H::adapter_type::signal_type;
  constexpr std::uint64_t limit_us = 40'000;
  law_check law(report, "N2", "a wait that ends at its limit moves the steady clock by that");
  consensus_scene<H> scene(make(1), report);
  scene.await_leader();
  std::uint64_t passed_us = 0;
  const bool ended = scene.as_client([&] {
    signal_type signal;
    const std::uint64_t before_us = scene.harness().node(0).now().steady_us;
    static_cast<void>(scene.harness().node(0).wait(signal, milliseconds{limit_us / 1000}));
    passed_us = scene.harness().node(0).now().steady_us - before_us;
  });
  law.expect(ended && passed_us + 1000 >= limit_us, "no less has passed, but for a millisecond");
  law.expect(passed_us <= limit_us * 500, "what has passed is of that order");
  scene.finish({});
}

/// N3: not the right time, which nobody here knows, but the right unit and origin.
template <consensus_harness H, class Make>
void check_utc_clock(Make& make, conformance_report& report) {
  constexpr std::uint64_t first_us = 946'684'800'000'000;     // of the year 2000
  constexpr std::uint64_t last_us = 253'402'300'799'999'999;  // of the year 9999
  law_check law(report, "N3", "the UTC clock counts microseconds since 1970");
  consensus_scene<H> scene(make(3), report);
  scene.await_leader();
  for (std::size_t server = 0; server < scene.size(); ++server) {
    const std::uint64_t utc_us = scene.harness().node(server).now().utc_us;
    law.expect(utc_us >= first_us && utc_us <= last_us, "it tells a year from 2000 to 9999");
  }
  scene.finish({});
}

template <consensus_harness H, class Make>
void run_clock_laws(Make& make, conformance_report& report) {
  if constexpr (H::adapter_type::abilities.now) {
    check_steady_clock<H>(make, report);
    check_clock_of_waits<H>(make, report);
    check_utc_clock<H>(make, report);
  } else {
    for (const char* law : {"N1", "N2", "N3"}) {
      report.skip(law, "now is not declared");
    }
  }
}

/// What was drawn, all together. Any thread.
class drawn_numbers {
 public:
  void add(std::uint64_t number) {
    const std::lock_guard guard(mutex_);
    is_repeated_ = is_repeated_ || !numbers_.insert(number).second;
    ones_ |= number;
    zeros_ |= ~number;
  }
  template <class Adapter>
  void draw_from(Adapter& adapter, std::size_t times) {
    for (std::size_t i = 0; i < times; ++i) {
      add(adapter.random());
    }
  }
  [[nodiscard]] bool is_repeated() const noexcept { return is_repeated_; }
  /// True if no bit was the same in all of them.
  [[nodiscard]] bool is_every_bit_moved() const noexcept { return ~ones_ == 0 && ~zeros_ == 0; }

 private:
  std::mutex mutex_;
  std::set<std::uint64_t> numbers_;
  std::uint64_t ones_ = 0;
  std::uint64_t zeros_ = 0;
  bool is_repeated_ = false;
};

/// N4. An honest source breaks it once in 2^40 runs or less.
template <consensus_harness H, class Make>
void check_draws(Make& make, conformance_report& report) {
  law_check law(report, "N4", "each random draw is another, in every one of its 64 bits");
  drawn_numbers all;
  consensus_scene<H> scene(make(3), report);
  const std::size_t server = scene.await_leader();
  auto& adapter = scene.harness().node(server);
  scene.machine(server).on_apply([&](const log_entry&) { all.draw_from(adapter, 1); });
  const proposal_token token = scene.propose_now(server);
  look_often<H>(500, [&] { all.draw_from(adapter, 1); });
  scene.await_settled(token);
  scene.await_applied(token);
  scene.machine(server).on_apply({});
  scene.finish({});
  all.draw_from(adapter, 4);  // after the stop, too
  law.expect(!all.is_repeated(), "no number comes twice");
  law.expect(all.is_every_bit_moved(), "no bit is always the same");
}

/// N5.
template <consensus_harness H, class Make>
void check_draws_of_servers(Make& make, conformance_report& report) {
  law_check law(report, "N5", "two servers draw different random numbers");
  drawn_numbers all;
  consensus_scene<H> scene(make(3), report);
  scene.await_leader();
  for (std::size_t server = 0; server < scene.size(); ++server) {
    all.draw_from(scene.harness().node(server), 64);
  }
  law.expect(!all.is_repeated(), "no number is drawn on two of them");
  scene.finish({});
}

/// N6: after a crash, where the harness can make one, and after a stop.
template <consensus_harness H, class Make>
void check_draws_after_restart(Make& make, conformance_report& report) {
  if constexpr (H::faults.restart) {
    law_check law(report, "N6", "a server that was restarted draws nothing that it drew before");
    drawn_numbers all;
    consensus_scene<H> scene(make(3), report);
    const std::size_t server = scene.follower_of(scene.await_leader());
    all.draw_from(scene.harness().node(server), 64);
    if constexpr (H::faults.crash) {
      scene.crash(server);
      scene.restart(server);
      all.draw_from(scene.harness().node(server), 64);
    }
    scene.stop(server);
    scene.restart(server);
    all.draw_from(scene.harness().node(server), 64);
    law.expect(!all.is_repeated(), "no number comes again");
    scene.finish({});
  } else {
    report.skip("N6", "the harness does not declare restart");
  }
}

template <consensus_harness H, class Make>
void run_random_laws(Make& make, conformance_report& report) {
  if constexpr (H::adapter_type::abilities.random) {
    check_draws<H>(make, report);
    check_draws_of_servers<H>(make, report);
    check_draws_after_restart<H>(make, report);
  } else {
    for (const char* law : {"N4", "N5", "N6"}) {
      report.skip(law, "random is not declared");
    }
  }
}

/// N7: what the servers of one short run show and draw.
template <consensus_harness H, class Make>
std::vector<std::uint64_t> numbers_of_a_run(Make& make, conformance_report& report) {
  using adapter_type = typename H::adapter_type;
  std::vector<std::uint64_t> numbers;
  consensus_scene<H> scene(make(3), report);
  scene.write(3);
  for (std::size_t server = 0; server < scene.size(); ++server) {
    if constexpr (adapter_type::abilities.now) {
      const clock_reading now = scene.harness().node(server).now();
      numbers.insert(numbers.end(), {now.steady_us, now.utc_us});
    }
    if constexpr (adapter_type::abilities.random) {
      numbers.push_back(scene.harness().node(server).random());
    }
  }
  scene.finish({});
  return numbers;
}

template <consensus_harness H, class Make>
void check_repeatable(Make& make, conformance_report& report) {
  using adapter_type = typename H::adapter_type;
  if constexpr (!H::faults.repeatable) {
    report.skip("N7", "the harness does not declare repeatable");
  } else if constexpr (!adapter_type::abilities.now && !adapter_type::abilities.random) {
    report.skip("N7", "neither now nor random is declared");
  } else {
    law_check law(report, "N7", "simulations made alike show the same times and numbers");
    law.expect(numbers_of_a_run<H>(make, report) == numbers_of_a_run<H>(make, report),
               "a second run shows what the first one did");
  }
}

template <consensus_harness H, class Make>
void run_time_laws(Make& make, conformance_report& report) {
  run_clock_laws<H>(make, report);
  run_random_laws<H>(make, report);
  check_repeatable<H>(make, report);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
