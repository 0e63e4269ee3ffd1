/// @file
/// Consensus laws about withdraw(), by which a machine that halted tells its adapter: L7 to L10.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
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

/// From where the machine of a leader tells that it has halted.
enum class halted_at : std::uint8_t {
  elsewhere,  ///< on a thread of a reader or a flush, outside of the adapter
  apply,      ///< in an apply, which may be inside propose()
};

/// As a machine does that halts now. Again and again, on several threads at once where the adapter
/// is for threads: the second call changes nothing.
template <consensus_harness H>
void halt_elsewhere(consensus_scene<H>& scene, std::size_t server) {
  scene.machine(server).halt_now();
  auto& adapter = scene.harness().node(server);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; H::faults.threads && i < 2; ++i) {
    threads.emplace_back([&adapter] { adapter.withdraw(); });
  }
  adapter.withdraw();
  for (std::thread& thread : threads) {
    thread.join();
  }
  adapter.withdraw();
}

/// @returns false: no entry was applied there in bounded time
template <consensus_harness H>
bool halt_in_apply(consensus_scene<H>& scene, std::size_t server) {
  auto& adapter = scene.harness().node(server);
  recording_machine& machine = scene.machine(server);
  machine.on_apply([&adapter, &machine](const log_entry&) {
    machine.halt_now();
    adapter.withdraw();
  });
  scene.propose_now(server);
  const bool halted = scene.harness().run_until([&] { return machine.halted(); });
  machine.on_apply({});
  return halted;
}

/// L7 and L8: a leader withdraws while proposals are on their way.
template <consensus_harness H, class Make>
void check_withdrawn_leader(Make& make, conformance_report& report, halted_at where) {
  law_check leaves(report, "L7",
                   "after withdraw the loss comes, no gain follows, and another server leads");
  law_check refuses(report, "L8", "what is proposed after withdraw is settled not_applied");
  consensus_scene<H> scene(make(3), report);
  const std::size_t server = scene.await_leader();
  scene.write(2);
  const term led = scene.machine(server).gained();
  for (std::size_t i = 0; i < 3; ++i) {
    scene.propose_now(server);
  }
  if (where == halted_at::apply) {
    leaves.expect(halt_in_apply(scene, server), "an entry was applied");
  } else {
    halt_elsewhere(scene, server);
  }
  const proposal_token late = scene.propose(server, led);
  leaves.expect(scene.harness().run_until([&] { return !scene.machine(server).leading(); }),
                "a leader that withdrew announces its loss in bounded time");
  refuses.expect(scene.answer_to(late).how == outcome::not_applied,
                 "a proposal after withdraw is settled not_applied");
  if (scene.size() > 1) {  // else an engine that knows no other size
    scene.await_leader(server);
    leaves.expect(scene.leader(server).has_value(), "another server leads in bounded time");
    leaves.expect(scene.write(2), "the others go on");
  }
  scene.harness().pump();  // an election, if somebody wants one
  refuses.expect(scene.answer_to(scene.propose(server, led)).how == outcome::not_applied,
                 "a proposal is settled not_applied, as long as the server is not started again");
  scene.finish({"P1", "P2", "P3", "A3", "A4", "L3"});
}

/// L9: what a majority cannot do without the server that withdrew, nobody does.
template <consensus_harness H, class Make>
void check_withdrawn_follower(Make& make, conformance_report& report) {
  if constexpr (H::faults.partition) {
    law_check law(report, "L9",
                  "who withdrew neither votes nor acknowledges until it is started again");
    consensus_scene<H> scene(make(3), report);
    const std::size_t server = scene.await_leader();
    scene.write(2);
    const std::size_t gone = scene.follower_of(server);
    const std::size_t third = 3 - server - gone;
    halt_elsewhere(scene, gone);
    scene.harness().pump();
    law.expect(scene.write(2), "the two others go on");
    const std::size_t leads = scene.await_leader(gone);
    const std::size_t follows = leads == server ? third : server;

    scene.harness().isolate(follows);
    const std::array<proposal_token, 2> alone{scene.propose_now(leads), scene.propose_now(leads)};
    scene.harness().pump();
    for (const proposal_token token : alone) {
      law.expect(scene.ledger().proposal(token).applied_at.index.value == 0,
                 "nothing is committed with its acknowledgement");
    }
    scene.harness().heal();
    law.expect(scene.write(2), "the two others go on again");

    const std::size_t last = scene.await_leader(gone);
    scene.harness().isolate(last);
    scene.harness().pump();
    law.expect(!scene.leader(last), "nobody is elected with its vote, and it is not either");
    scene.harness().heal();
    law.expect(scene.write(2), "the two others go on once more");
    if constexpr (H::faults.restart) {
      scene.stop(gone);
      scene.restart(gone);
      law.expect(scene.write(2), "after another start it catches up");
      const std::size_t now = scene.await_leader();
      scene.harness().isolate(now == gone ? last : 3 - now - gone);
      law.expect(scene.answer_to(scene.propose_now(now)).how == outcome::committed,
                 "after another start it takes part");
      scene.harness().heal();
    }
    scene.finish({});
  } else {
    report.skip("L9", "the harness does not declare partition");
  }
}

/// L10 of a server alone: it needs nobody's vote, so nothing but the adapter keeps it from leading.
/// The machine halts in the first call that comes, mostly as it is asked where it stands, and later
/// in the first on its strand; where start() makes neither, this is the same as L7.
template <consensus_harness H, class Make>
void check_alone_halted_in_start(Make& make, conformance_report& report) {
  law_check law(report, "L10",
                "who withdraws inside start() gains nothing, and takes no part until another "
                "start()");
  consensus_scene<H> scene(make(1), report, halts_in::any_call);
  const auto is_out = [&](term led) {
    law.expect(scene.harness().run_until([&] { return scene.machine(0).halted(); }),
               "the machine is called in bounded time");
    scene.harness().pump();  // an election, if somebody wants one
    law.expect(!scene.machine(0).leading(), "it does not lead");
    law.expect(
        !scene.alive(0) || scene.answer_to(scene.propose(0, led)).how == outcome::not_applied,
        "what is proposed then is settled not_applied");
  };
  is_out(term{1});
  if constexpr (H::faults.restart) {
    const auto again = [&](halts_in halts) {
      if (scene.alive(0)) {
        scene.stop(0);
      }
      scene.restart(0, halts);
    };
    for (const halts_in halts : {halts_in::any_call, halts_in::strand_call}) {
      again(halts_in::none);
      law.expect(scene.write(2), "after another start it leads");
      const term led = scene.machine(0).gained();
      again(halts);
      is_out(led);
    }
    again(halts_in::none);
    law.expect(scene.write(2), "it leads in the end");
  }
  scene.finish({});
}

/// L10 where others could use its vote: of three servers one is cut off before it is started again.
template <consensus_harness H, class Make>
void check_halted_in_start(Make& make, conformance_report& report) {
  if constexpr (H::faults.partition && H::faults.restart) {
    law_check law(report, "L10",
                  "who withdraws inside start() gains nothing, and takes no part until another "
                  "start()");
    consensus_scene<H> scene(make(3), report);
    const std::size_t server = scene.await_leader();
    scene.write(2);
    const std::size_t gone = scene.follower_of(server);
    const std::size_t third = 3 - server - gone;
    // What is replayed would be a call in which it says again that it has halted.
    law.expect(!scene.machine(gone).flush(everything_applied), "flush works");
    scene.stop(gone);
    scene.harness().isolate(third);
    const term led = scene.machine(server).gained();
    const proposal_token alone = scene.propose_now(server);
    scene.restart(gone, halts_in::any_call);
    scene.harness().pump();
    law.expect(scene.ledger().proposal(alone).applied_at.index.value == 0,
               "nothing is committed with its acknowledgement");
    law.expect(scene.machine(server).gained() == led, "nobody is elected with its vote");
    law.expect(!scene.machine(gone).leading(), "it does not lead");
    scene.harness().heal();
    law.expect(scene.write(2), "the two others go on");
    law.expect(
        !scene.alive(gone) || scene.answer_to(scene.propose(gone, led)).how == outcome::not_applied,
        "what is proposed on it is settled not_applied");
    if (scene.alive(gone)) {
      scene.stop(gone);
    }
    scene.restart(gone);
    law.expect(scene.write(2), "after another start it catches up");
    scene.finish({});
  }
}

template <consensus_harness H, class Make>
void run_halt_laws(Make& make, conformance_report& report) {
  check_withdrawn_leader<H>(make, report, halted_at::elsewhere);
  check_withdrawn_leader<H>(make, report, halted_at::apply);
  check_withdrawn_follower<H>(make, report);
  check_alone_halted_in_start<H>(make, report);
  check_halted_in_start<H>(make, report);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
