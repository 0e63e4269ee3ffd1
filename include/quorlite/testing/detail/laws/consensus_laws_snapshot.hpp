/// @file
/// Consensus laws about restarts and snapshots: S1 to S8, and L2 over restarts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/laws/conformance_report.hpp"
#include "quorlite/testing/detail/laws/consensus_scene.hpp"
#include "quorlite/testing/detail/laws/recording_machine.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// The server that is not alive, or `other` if all are.
template <consensus_harness H>
std::size_t follower_or(const consensus_scene<H>& scene, std::size_t other) {
  for (std::size_t i = 0; i < scene.size(); ++i) {
    other = scene.alive(i) ? other : i;
  }
  return other;
}

/// S1 and S2: a follower, a leader and then all of them come back from what they had made durable.
template <consensus_harness H, class Make>
void check_restart(Make& make, conformance_report& report) {
  if constexpr (H::faults.crash && H::faults.restart) {
    consensus_scene<H> scene(make(3), report);
    std::size_t server = scene.await_leader();
    scene.write(5);
    const std::size_t follower = scene.follower_of(server);
    if (scene.machine(follower).flush(everything_applied)) {
      scene.ledger().fault("S1", "flush of a recording machine failed");
    }
    scene.write(5);
    scene.crash(follower);  // durable at 5 of 10 entries, and two more rounds behind
    scene.propose_now(server);
    scene.harness().pump();
    scene.restart(follower);
    scene.write(2);
    scene.check_equal(follower, "S2");
    scene.crash(server);  // nothing durable at all: everything is replayed
    server = scene.await_leader(server);
    scene.propose_now(server);
    scene.restart(follower_or(scene, server));
    scene.write(2);
    for (std::size_t i = 0; i < scene.size(); ++i) {
      if (scene.alive(i)) {
        scene.crash(i);
      }
    }
    for (std::size_t i = 0; i < scene.size(); ++i) {
      scene.restart(i);
    }
    scene.write(3);
    for (std::size_t i = 0; i < scene.size(); ++i) {
      scene.check_equal(i, "S2");
    }
    scene.finish({"S1", "S2", "P2", "L2"});
  } else {
    report.skip("S1", "the harness does not declare crash and restart");
    report.skip("S2", "the harness does not declare crash and restart");
  }
}

/// Ends a server, in the hardest way that the harness has.
template <consensus_harness H>
void end_server(consensus_scene<H>& scene, std::size_t server) {
  if constexpr (H::faults.crash) {
    scene.crash(server);
  } else {
    scene.stop(server);
  }
}

/// L2: nobody votes for a server that is alone, so nothing makes it begin a higher term after a
/// restart but itself. In the term that it led before, names that were given then would be given
/// again.
template <consensus_harness H, class Make>
void check_lone_restart(Make& make, conformance_report& report) {
  if constexpr (H::faults.restart) {
    consensus_scene<H> scene(make(1), report);
    for (std::size_t round = 0; round < 4; ++round) {
      const std::size_t server = scene.await_leader();
      if (round != 1) {  // a term may also pass in which nothing is written
        scene.write(2);
        scene.propose_now(server);
      }
      if (round == 2) {
        scene.stop(server);
      } else {
        end_server(scene, server);
      }
      scene.restart(server);
    }
    scene.write(2);
    scene.finish({"L2", "S1", "S2"});
  }
}

template <consensus_harness H>
inline constexpr bool falls_behind = H::faults.compact && (H::faults.partition ||
                                                           (H::faults.crash && H::faults.restart));

/// Takes one follower away, writes on, makes all durable and compacts the others. @returns the one
/// that is away
template <consensus_harness H>
std::size_t leave_one_behind(consensus_scene<H>& scene, std::size_t entries) {
  const std::size_t server = scene.await_leader();
  scene.write(3);
  const std::size_t behind = scene.follower_of(server);
  if constexpr (H::faults.partition) {
    scene.harness().isolate(behind);
  } else {
    scene.crash(behind);
  }
  proposal_token last;
  for (std::size_t i = 0; i < entries; ++i) {
    last = scene.propose_now(server, 300);
  }
  scene.await_settled(last);
  scene.harness().pump();
  for (std::size_t i = 0; i < scene.size(); ++i) {
    if (i != behind) {
      if (scene.machine(i).flush(everything_applied)) {
        scene.ledger().fault("S3", "flush of a recording machine failed");
      }
      scene.harness().compact(i);
    }
  }
  return behind;
}

template <consensus_harness H>
void bring_back(consensus_scene<H>& scene, std::size_t behind) {
  if constexpr (H::faults.partition) {
    scene.harness().heal();
  } else {
    scene.restart(behind);
  }
}

/// S3, S4, S7: the log no longer reaches back to where a follower stands.
template <consensus_harness H, class Make>
void check_snapshot(Make& make, conformance_report& report) {
  if constexpr (falls_behind<H>) {
    law_check law(report, "S3",
                  "a follower behind the compacted log gets a snapshot and ends equal");
    consensus_scene<H> scene(make(3), report);
    const std::size_t behind = leave_one_behind(scene, 30);
    bring_back(scene, behind);
    for (std::size_t i = 0; i < 10; ++i) {  // writes go on while the snapshot travels
      scene.propose_now(scene.await_leader());
      scene.harness().run_until(
          [&] { return scene.machine(behind).stages().appended_bytes > i * 500; });
    }
    law.expect(scene.write(3), "writes go on beside a snapshot");
    law.expect(scene.machine(behind).stages().installed > 0, "a snapshot was installed");
    scene.check_equal(behind, "S4");
    law.expect(scene.machine(behind).applied().index >= scene.ledger().last_index(),
               "the follower caught up");
    scene.finish({"S4"});
  } else {
    report.skip("S3", "the harness cannot compact and leave a follower behind");
    report.skip("S4", "the harness cannot compact and leave a follower behind");
  }
}

/// S7: also where a flush finds no room, or makes less durable than it was asked for. Then S1 says
/// more: what is replayed begins above durable(), not above what the machine holds.
template <consensus_harness H, class Make>
void check_compaction(Make& make, conformance_report& report) {
  if constexpr (H::faults.compact && H::faults.crash && H::faults.restart) {
    law_check law(report, "S7", "the log is not compacted beyond durable()");
    for (const flush_manner manner : {flush_manner::at_once, flush_manner::late}) {
      consensus_scene<H> scene(make(3), report);
      const std::size_t server = scene.await_leader();
      const std::size_t follower = scene.follower_of(server);
      scene.write(4);
      law.expect(!scene.machine(follower).flush(everything_applied), "flush works");
      scene.write(6);  // not flushed: the machine needs these again
      scene.machine(follower).flush_in(manner);
      for (int turn = 0; manner == flush_manner::late && turn < 2; ++turn) {
        static_cast<void>(scene.machine(follower).flush(everything_applied));
      }
      scene.harness().compact(follower);
      scene.harness().compact(follower);
      scene.crash(follower);
      scene.restart(follower);
      law.expect(scene.write(2), "writes go on");
      const recorded_state state = scene.machine(follower).state();
      for (const auto& [index, entry] : scene.ledger().entries()) {
        law.expect(state.entries.contains(index),
                   "after compaction and restart no entry is missing");
      }
      scene.finish({"S1"});
    }
  } else {
    report.skip("S7", "the harness does not declare compact, crash and restart");
  }
}

/// A server installs a snapshot, and is gone before or after a flush; then all are, at once. What a
/// restart needs is somewhere: in the machine's storage, with the adapter, or at another server.
template <consensus_harness H>
void restart_after_install(consensus_scene<H>& scene, law_check& law, flush_manner manner) {
  const std::size_t behind = leave_one_behind(scene, 30);
  scene.machine(behind).flush_in(manner);
  bring_back(scene, behind);
  law.expect(
      scene.harness().run_until([&] { return scene.machine(behind).stages().installed > 0; }),
      "a snapshot was installed");
  if (manner == flush_manner::at_once) {
    law.expect(!scene.machine(behind).flush(everything_applied), "flush works");
  }
  scene.crash(behind);
  law.expect(scene.write(2), "writes go on without the server that installed");
  scene.restart(behind);
  law.expect(scene.write(2), "writes go on with the server that installed");
  scene.check_equal(behind, "S8");
  for (std::size_t i = 0; i < scene.size(); ++i) {
    scene.crash(i);
  }
  for (std::size_t i = 0; i < scene.size(); ++i) {
    scene.restart(i);
  }
  law.expect(scene.write(2), "writes go on after all were restarted");
  for (std::size_t i = 0; i < scene.size(); ++i) {
    scene.check_equal(i, "S8");
  }
  scene.finish({"S1", "S2"});
}

/// S8: an install is durable after a flush only, and a flush may take its time.
template <consensus_harness H, class Make>
void check_restart_after_install(Make& make, conformance_report& report) {
  if constexpr (H::faults.compact && H::faults.crash && H::faults.restart) {
    law_check law(report, "S8",
                  "a server that restarts after an install, flushed or not, ends equal");
    for (const flush_manner manner :
         {flush_manner::at_once, flush_manner::slowly, flush_manner::late}) {
      consensus_scene<H> scene(make(3), report);
      restart_after_install(scene, law, manner);
    }
  } else {
    report.skip("S8", "the harness does not declare compact, crash and restart");
  }
}

/// L10 once more: what it halts in may be a snapshot that its engine has stored, and restores as it
/// starts.
template <consensus_harness H, class Make>
void check_halted_in_restore(Make& make, conformance_report& report) {
  if constexpr (H::faults.compact && H::faults.crash && H::faults.restart) {
    law_check law(report, "L10",
                  "who withdraws inside start() gains nothing, and takes no part until another "
                  "start()");
    consensus_scene<H> scene(make(3), report);
    const std::size_t behind = leave_one_behind(scene, 30);
    scene.machine(behind).flush_in(flush_manner::late);
    bring_back(scene, behind);
    law.expect(
        scene.harness().run_until([&] { return scene.machine(behind).stages().installed > 0; }),
        "a snapshot was installed");
    scene.crash(behind);
    scene.restart(behind, halts_in::strand_call);
    law.expect(scene.write(2), "the others go on");
    law.expect(scene.harness().run_until([&] { return scene.machine(behind).halted(); }),
               "the machine is called in bounded time");
    scene.harness().pump();
    law.expect(!scene.machine(behind).leading(), "it does not lead");
    if (scene.alive(behind)) {
      scene.stop(behind);
    }
    scene.restart(behind);
    law.expect(scene.write(2), "after another start it catches up");
    scene.check_equal(behind, "L10");
    scene.finish({});
  }
}

/// @returns false: the stage was finished before anybody could look
template <consensus_harness H, class Make>
bool abandon_stage(Make& make, law_check& law, conformance_report& report) {
  consensus_scene<H> scene(make(3), report);
  const std::size_t behind = leave_one_behind(scene, 60);
  const log_position before = scene.machine(behind).applied();
  scene.harness().heal();
  stage_counters& stages = scene.machine(behind).stages();
  scene.harness().run_until([&] { return stages.appended_bytes > 0; });
  if (stages.installed > 0) {
    return false;
  }
  scene.harness().isolate(behind);
  scene.harness().pump();
  law.expect(stages.installed > 0 || scene.machine(behind).applied() == before,
             "the state is untouched while a restore is cut off");
  scene.harness().heal();
  law.expect(scene.write(2), "writes go on after the interruption");
  law.expect(stages.installed > 0, "the restore was finished later");
  scene.check_equal(behind, "S5");
  scene.finish({});
  return true;
}

/// S5: the follower is cut off again in the middle of its restore. With threads that may take a
/// few times until somebody looks in the middle.
template <consensus_harness H, class Make>
void check_abandoned_stage(Make& make, conformance_report& report) {
  if constexpr (falls_behind<H> && H::faults.partition) {
    law_check law(report, "S5",
                  "after an abandoned stage the state is untouched, and a new stage follows");
    for (int attempt = 0; attempt < 5; ++attempt) {
      if (abandon_stage<H>(make, law, report)) {
        return;
      }
    }
    report.skip("S5",
                "no stage was ever seen half-way: this adapter passes snapshots in one piece");
  } else {
    report.skip("S5", "the harness cannot interrupt a snapshot: it needs compact and partition");
  }
}

/// S6: the stage refuses its bytes at the end.
template <consensus_harness H, class Make>
void check_failed_stage(Make& make, conformance_report& report) {
  if constexpr (falls_behind<H> && H::faults.partition) {
    law_check law(report, "S6",
                  "a stage whose finish fails leaves the server serving, and is tried again");
    consensus_scene<H> scene(make(3), report);
    const std::size_t behind = leave_one_behind(scene, 30);
    stage_counters& stages = scene.machine(behind).stages();
    stages.fail_next = true;
    scene.harness().heal();
    law.expect(scene.harness().run_until([&] { return stages.failed > 0; }),
               "the stage was finished");
    law.expect(scene.write(2), "writes go on after a failed restore");
    law.expect(stages.begun > 1 && stages.installed > 0, "the restore was tried again");
    scene.check_equal(behind, "S6");
    scene.finish({});
  } else {
    report.skip("S6", "the harness cannot leave a follower behind: it needs compact and partition");
  }
}

template <consensus_harness H, class Make>
void run_snapshot_laws(Make& make, conformance_report& report) {
  check_restart<H>(make, report);
  check_lone_restart<H>(make, report);
  check_snapshot<H>(make, report);
  check_compaction<H>(make, report);
  check_restart_after_install<H>(make, report);
  check_halted_in_restore<H>(make, report);
  check_abandoned_stage<H>(make, report);
  check_failed_stage<H>(make, report);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
