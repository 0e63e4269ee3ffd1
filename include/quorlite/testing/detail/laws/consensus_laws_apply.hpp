/// @file
/// Consensus laws about the strand and leadership: A3 to A5, L1, L5, L6.
#pragma once

#include <chrono>
#include <cstddef>
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

/// A3: machines that take their time, so that a second strand call would be seen.
template <consensus_harness H, class Make>
void check_strand(Make& make, conformance_report& report) {
  consensus_scene<H> scene(make(3), report);
  const std::size_t server = scene.await_leader();
  for (std::size_t i = 0; i < scene.size(); ++i) {
    scene.machine(i).linger_with([] { std::this_thread::sleep_for(std::chrono::milliseconds(2)); });
  }
  std::vector<proposal_token> tokens;
  for (std::size_t i = 0; i < 6; ++i) {
    tokens.push_back(scene.propose_now(server));
  }
  for (const proposal_token token : tokens) {
    scene.await_settled(token);
  }
  scene.finish({"A3"});
}

/// A4: a follower halts, then a leader.
template <consensus_harness H, class Make>
void check_halted(Make& make, conformance_report& report) {
  consensus_scene<H> scene(make(5), report);
  const std::size_t server = scene.await_leader();
  scene.write(2);
  const bool is_alone = scene.size() == 1;  // an engine that knows no other size
  if (!is_alone) {
    scene.machine(scene.follower_of(server)).halt_at_next();
    scene.write(3);
  }
  scene.machine(server).halt_at_next();
  scene.propose_now(server);
  scene.propose_now(server);
  if (!scene.harness().run_until(
          [&] { return scene.machine(server).halted() && !scene.machine(server).leading(); })) {
    scene.ledger().fault("A4", "a leader whose machine halted kept its leadership");
  }
  if (!is_alone) {
    scene.await_leader(server);
    scene.write(2);
  }
  scene.finish({"A4", "P1"});
}

/// A5: as soon as the proposer has applied an entry, it is gone; the others must hold the entry.
template <consensus_harness H, class Make>
void check_quorum_before_apply(Make& make, conformance_report& report) {
  if constexpr (H::faults.crash || H::faults.partition) {
    law_check law(report, "A5", "an entry is applied only after a quorum holds it");
    for (std::size_t round = 0; round < 3; ++round) {
      consensus_scene<H> scene(make(3), report);
      const std::size_t server = scene.await_leader();
      scene.write(round);
      const std::size_t before = scene.ledger().entries().size();
      for (std::size_t i = 0; i < 4; ++i) {
        scene.propose_now(server);
      }
      scene.harness().run_until([&] { return scene.ledger().entries().size() > before; });
      if constexpr (H::faults.crash) {
        scene.crash(server);
      } else {
        scene.harness().isolate(server);
      }
      const auto applied = scene.ledger().entries();
      const std::size_t next = scene.await_leader(server);
      const proposal_token last = scene.propose_now(next);
      scene.await_settled(last);
      scene.harness().run_until(
          [&] { return scene.machine(next).applied().index >= scene.ledger().last_index(); });
      for (const auto& [index, entry] : applied) {
        law.expect(scene.machine(next).holds(log_index{index}),
                   "the next leader holds what the last one applied");
      }
      scene.finish({"P2", "P3", "L1", "L2"});
    }
  } else {
    report.skip("A5", "the harness declares neither crash nor partition");
  }
}

/// L1, L2, L5, L6: leadership moves while entries are on their way.
template <consensus_harness H, class Make>
void check_moving_leadership(Make& make, conformance_report& report) {
  if constexpr (moves_leadership<H>) {
    law_check moved(report, "L6",
                    "some server gains leadership in bounded time, and a transfer moves it");
    consensus_scene<H> scene(make(3), report);
    std::size_t server = scene.await_leader();
    moved.expect(scene.leader().has_value(),
                 "some server gains the first leadership in bounded time");
    for (std::size_t round = 0; round < 6; ++round) {
      const term old = scene.machine(server).gained();
      proposal_token last;
      for (std::size_t i = 0; i < 8; ++i) {
        last = scene.propose(server, old);
      }
      if (round % 2 == 0) {  // some are committed, and not applied everywhere
        scene.await_settled(last);
      }
      const std::size_t next = move_leadership(scene, server);
      if (!moved.expect(scene.leader(server).has_value(),
                        "another server gains leadership after a transfer")) {
        break;
      }
      scene.harness().run_until([&] { return !scene.machine(server).leading(); });
      if (scene.alive(server) && !scene.machine(server).leading()) {
        scene.propose(server, old);  // L5: the ledger watches what becomes of it
      }
      scene.propose_now(next);
      server = next;
    }
    scene.harness().pump();
    scene.finish({"P1", "P2", "P3", "P5", "A1", "A2", "L1", "L2", "L3", "L4", "L5"});
  } else {
    for (const char* law : {"L1", "L5"}) {
      report.skip(law, "neither the adapter nor the harness can move leadership");
    }
    law_check first(report, "L6", "some server gains leadership in bounded time");
    consensus_scene<H> scene(make(3), report);
    scene.await_leader();
    first.expect(scene.leader().has_value(),
                 "some server gains the first leadership in bounded time");
    scene.finish({});
  }
}

/// L6, before all others, each of which would wait for a leader until the harness gives up.
/// @returns false: there is none, and it was told
template <consensus_harness H, class Make>
bool check_some_leader(Make& make, conformance_report& report) {
  law_check law(report, "L6", "some server gains leadership in bounded time");
  consensus_scene<H> scene(make(3), report);
  return law.expect(scene.harness().run_until([&] { return scene.leader().has_value(); }),
                    "some server gains the first leadership in bounded time; without one no other "
                    "law was looked at");
}

template <consensus_harness H, class Make>
void run_apply_laws(Make& make, conformance_report& report) {
  check_strand<H>(make, report);
  check_halted<H>(make, report);
  check_quorum_before_apply<H>(make, report);
  check_moving_leadership<H>(make, report);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
