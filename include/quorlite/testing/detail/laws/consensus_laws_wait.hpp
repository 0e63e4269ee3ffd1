/// @file
/// Consensus laws about waiting, barriers and background work: W1 to W4, B1, B2, T1.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/laws/conformance_report.hpp"
#include "quorlite/testing/detail/laws/consensus_scene.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// W1 and W2: one waiter.
template <consensus_harness H, class Make>
void check_single_wait(Make& make, conformance_report& report) {
  using signal_type = typename H::adapter_type::signal_type;
  consensus_scene<H> scene(make(1), report);
  scene.await_leader();
  {
    law_check law(report, "W1", "a signal raised before wait returns at once");
    bool raised = false;
    const bool ended = scene.as_client([&] {
      signal_type signal;
      signal.raise();
      raised = scene.harness().node(0).wait(signal, milliseconds{10000}) &&
               scene.harness().node(0).wait(signal, milliseconds{0});  // sticky
    });
    law.expect(ended && raised, "wait for a raised signal is true");
  }
  {
    law_check law(report, "W2", "an unraised signal returns false after the limit");
    bool raised = true;
    const bool ended = scene.as_client([&] {
      signal_type signal;
      raised = scene.harness().node(0).wait(signal, milliseconds{20});
    });
    law.expect(ended && !raised, "wait for a signal that nobody raises is false");
  }
  scene.finish({});
}

/// W3: several waiters, whose signals the machine raises in another order than they wait.
template <consensus_harness H, class Make>
void check_many_waits(Make& make, conformance_report& report) {
  using signal_type = typename H::adapter_type::signal_type;
  law_check law(report, "W3", "several waiters, raised in any order, all return");
  consensus_scene<H> scene(make(3), report);
  const std::size_t server = scene.await_leader();
  constexpr std::size_t count = 5;
  std::array<signal_type, count> signals;
  std::atomic<std::size_t> applied{0};
  scene.machine(server).on_apply([&](const log_entry&) {
    const std::size_t turn = applied++;
    if (turn < count) {
      signals[(turn * 3 + 2) % count].raise();  // 2, 0, 3, 1, 4
    }
  });
  std::array<std::atomic<int>, count> answers{};
  const auto wait_for = [&](std::size_t i) {
    answers[i] = scene.harness().node(server).wait(signals[i], milliseconds{20000}) ? 1 : 2;
  };
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < count; ++i) {
    if constexpr (H::faults.threads) {
      threads.emplace_back(wait_for, i);
    } else if constexpr (H::faults.clients) {
      scene.harness().spawn([&wait_for, i] { wait_for(i); });
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    scene.propose_now(server);
  }
  for (std::size_t i = 0; i < count; ++i) {
    if constexpr (!H::faults.threads && !H::faults.clients) {
      wait_for(i);  // one after the other: the simulation must go on inside each
    }
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  scene.harness().run_until([&] {
    return std::all_of(answers.begin(), answers.end(),
                       [](const auto& answer) { return answer != 0; });
  });
  for (const auto& answer : answers) {
    law.expect(answer == 1, "every waiter returns true");
  }
  scene.machine(server).on_apply({});
  scene.finish({});
}

/// W4: what was proposed before the wait is applied during it.
template <consensus_harness H, class Make>
void check_progress_in_wait(Make& make, conformance_report& report) {
  using signal_type = typename H::adapter_type::signal_type;
  law_check law(report, "W4", "the simulation goes on while a client waits");
  consensus_scene<H> scene(make(3), report);
  const std::size_t server = scene.await_leader();
  bool raised = false;
  const bool ended = scene.as_client([&] {
    signal_type signal;
    scene.machine(server).on_apply([&](const log_entry&) { signal.raise(); });
    scene.propose_now(server);
    raised = scene.harness().node(server).wait(signal, milliseconds{20000});
    scene.machine(server).on_apply({});
  });
  law.expect(ended && raised, "a signal raised by the apply of an entry ends the wait for it");
  scene.finish({});
}

/// B1: a barrier asked while entries are on their way. The ledger compares when it is settled.
template <consensus_harness H>
proposal_token ask_barrier(consensus_scene<H>& scene, std::size_t server) {
  const proposal_token token =
      scene.ledger().begin(server, scene.machine(server).gained(), 0, true);
  scene.harness().node(server).read_barrier(token);
  scene.ledger().returned();
  return token;
}

template <consensus_harness H, class Make>
void check_barriers(Make& make, conformance_report& report) {
  if constexpr (H::adapter_type::abilities.read_barrier) {
    {
      law_check law(report, "B1",
                    "a committed barrier implies that what was committed before is applied here");
      consensus_scene<H> scene(make(3), report);
      const std::size_t server = scene.await_leader();
      for (std::size_t round = 0; round < 5; ++round) {
        const std::size_t before = scene.ledger().entries().size();
        for (std::size_t i = 0; i < 4; ++i) {
          scene.propose_now(server);
        }
        // Another server may be the first to apply: that is when a careless barrier is too early.
        scene.harness().run_until(
            [&] { return scene.ledger().entries().size() > before + round % 4; });
        const proposal_token on_leader = ask_barrier(scene, server);
        const proposal_token on_follower = ask_barrier(scene, scene.follower_of(server));
        law.expect(scene.answer_to(on_leader).how == outcome::committed,
                   "the leader's barrier is settled committed");
        law.expect(scene.await_settled(on_follower), "a follower's barrier is settled, in any way");
      }
      scene.finish({"B1"});
    }
    if constexpr (H::faults.partition) {
      law_check law(report, "B2", "a deposed leader's barrier never says committed");
      consensus_scene<H> scene(make(3), report);
      const std::size_t server = scene.await_leader();
      scene.write(2);
      scene.harness().isolate(server);
      const std::size_t next = scene.await_leader(server);
      const proposal_token newer = scene.propose_now(next);
      scene.await_settled(newer);
      scene.ledger().barriers_count_for("B2");
      const proposal_token stale = ask_barrier(scene, server);
      scene.harness().pump();
      const auto answer = scene.ledger().proposal(stale).answer;
      law.expect(!answer || answer->how != outcome::committed,
                 "cut off, a barrier is not settled committed");
      scene.finish({});
    } else {
      report.skip("B2", "the harness does not declare partition");
    }
  } else {
    report.skip("B1", "read_barrier is not declared");
    report.skip("B2", "read_barrier is not declared");
  }
}

/// Counts its runs.
class counting_task final : public background_task {
 public:
  void run() noexcept override { ++runs; }
  std::atomic<int> runs{0};
};

/// T1: a task that is handed over runs once, at the latest before stop returns.
template <consensus_harness H, class Make>
void check_background_work(Make& make, conformance_report& report) {
  if constexpr (H::adapter_type::abilities.background_work) {
    law_check law(report, "T1", "a background task runs exactly once, before stop returns");
    std::array<counting_task, 6> tasks;
    {
      consensus_scene<H> scene(make(3), report);
      const std::size_t server = scene.await_leader();
      for (std::size_t i = 0; i < tasks.size(); ++i) {
        scene.harness().node(server).run(tasks[i]);
        if (i == 2) {
          law.expect(scene.harness().run_until([&] { return tasks[2].runs > 0; }),
                     "a task runs in bounded time");
        }
      }
      scene.finish({});
    }
    for (const counting_task& task : tasks) {
      law.expect(task.runs == 1, "each task has run once when stop has returned");
    }
  } else {
    report.skip("T1", "background_work is not declared");
  }
}

template <consensus_harness H, class Make>
void run_wait_laws(Make& make, conformance_report& report) {
  check_single_wait<H>(make, report);
  check_many_waits<H>(make, report);
  check_progress_in_wait<H>(make, report);
  check_barriers<H>(make, report);
  check_background_work<H>(make, report);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
