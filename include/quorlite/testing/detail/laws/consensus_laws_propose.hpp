/// @file
/// Consensus laws about proposing: P1 to P12, and those that every run watches.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/laws/conformance_report.hpp"
#include "quorlite/testing/detail/laws/consensus_scene.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// Entries larger than this are not tried: the suite keeps a copy per server.
inline constexpr std::size_t conformance_entry_bytes = std::size_t{4} << 20U;
/// A page of SQLite's default size and what goes with it: with less no COMMIT fits in an entry.
inline constexpr std::size_t smallest_entry_limit = 4096 + 1024;

/// P1, P2, P4, P5, P7, P9, A1, A2, A6, A7, L2 to L4: many proposals back to back, of many sizes.
template <consensus_harness H, class Make>
void check_many_proposals(Make& make, conformance_report& report) {
  consensus_scene<H> scene(make(3), report);
  const std::size_t server = scene.await_leader();
  std::vector<proposal_token> tokens;
  for (std::size_t i = 0; i < 40; ++i) {
    tokens.push_back(scene.propose_now(server, 8 + i * i));
    if (i % 8 == 7) {
      scene.await_settled(tokens.back());
    }
  }
  {
    law_check law(report, "P9", "the caller may overwrite its buffer as soon as propose returns");
    for (const proposal_token token : tokens) {
      law.expect(scene.answer_to(token).how != outcome::committed || scene.await_applied(token),
                 "an entry is applied with the bytes that propose() was given");
    }
  }
  scene.finish({"P1", "P2", "P4", "P5", "P7", "A1", "A2", "A3", "A6", "A7", "L2", "L3", "L4"});
}

/// P1 and L3: a leader is stopped with proposals on their way.
template <consensus_harness H, class Make>
void check_stop(Make& make, conformance_report& report) {
  consensus_scene<H> scene(make(3), report);
  const std::size_t server = scene.await_leader();
  scene.write(1);
  for (std::size_t i = 0; i < 5; ++i) {
    scene.propose_now(server);
  }
  scene.stop(server);
  scene.finish({"P1", "P3", "L3"});
}

/// P6: a term that is over, or has not come.
template <consensus_harness H, class Make>
void check_expected_term(Make& make, conformance_report& report) {
  law_check law(report, "P6", "with a stale or future expected term nothing is appended");
  consensus_scene<H> scene(make(3), report);
  const std::size_t server = scene.await_leader();
  scene.write(2);
  const std::uint64_t now = scene.machine(server).gained().value;
  for (const std::uint64_t wrong : {now - 1, now + 1, std::uint64_t{0}}) {
    const proposal_token token = scene.propose(server, term{wrong});
    law.expect(scene.answer_to(token).how == outcome::not_applied,
               "a proposal at another term than the leader's is settled not_applied");
    scene.harness().pump();
    law.expect(scene.ledger().proposal(token).applied_at.index.value == 0,
               "a proposal at another term than the leader's is not appended");
  }
  law.expect(scene.write(1), "the leader still takes proposals");
  scene.finish({"P3"});
}

/// P8: the smallest and the largest entries.
template <consensus_harness H, class Make>
void check_sizes(Make& make, conformance_report& report) {
  law_check law(report, "P8", "entries of size 0, 1 and max are carried, max + 1 is too_large");
  consensus_scene<H> scene(make(3), report);
  const std::size_t server = scene.await_leader();
  const std::size_t max = scene.harness().node(server).max_entry_bytes();
  law.expect(max >= smallest_entry_limit, "max_entry_bytes is at least 5120: a page, and more");
  std::vector<std::size_t> sizes{0, 1};
  if (max <= conformance_entry_bytes) {
    sizes.push_back(max);
  }
  for (const std::size_t size : sizes) {
    const std::size_t before = scene.ledger().entries().size();
    const proposal_token token = scene.propose_now(server, size);
    const std::string which = "an entry of " + std::to_string(size) + " bytes ";
    law.expect(scene.answer_to(token).how == outcome::committed, which + "is committed");
    scene.harness().run_until([&] { return scene.ledger().entries().size() > before; });
    scene.converge();
    const auto entries = scene.ledger().entries();
    law.expect(entries.size() == before + 1 &&
                   entries.rbegin()->second.payload == scene.ledger().payload_of(token),
               which + "is applied, once");
  }
  if (max < conformance_entry_bytes) {
    const proposal_token token = scene.propose_now(server, max + 1);
    const settlement answer = scene.answer_to(token);
    law.expect(answer.how == outcome::not_applied && answer.why == settle_reason::too_large,
               "a larger entry is settled not_applied, too_large");
  }
  scene.finish({"P3"});
}

/// P11: nobody leads yet, or somebody else does.
template <consensus_harness H, class Make>
void check_without_leadership(Make& make, conformance_report& report) {
  law_check law(report, "P11", "a proposal without leadership is settled not_applied");
  consensus_scene<H> scene(make(3), report);
  std::vector<proposal_token> early;
  for (std::size_t i = 0; i < scene.size() && !scene.leader(); ++i) {
    early.push_back(scene.propose(i, term{1}));
  }
  for (const proposal_token token : early) {
    // Leadership may be gained just before the proposal arrives, so all that counts is the truth of
    // the answer.
    law.expect(scene.await_settled(token), "a proposal before the first leadership is settled");
  }
  const std::size_t server = scene.await_leader();
  if (scene.size() > 1) {
    const proposal_token token =
        scene.propose(scene.follower_of(server), scene.machine(server).gained());
    law.expect(scene.answer_to(token).how == outcome::not_applied,
               "a follower settles proposals not_applied");
    scene.harness().pump();
    law.expect(scene.ledger().proposal(token).applied_at.index.value == 0,
               "a follower does not forward proposals");
  }
  scene.finish({"P3"});
}

/// P10: many threads at once.
template <consensus_harness H, class Make>
void check_threads(Make& make, conformance_report& report) {
  if constexpr (H::faults.threads) {
    consensus_scene<H> scene(make(3), report);
    const std::size_t server = scene.await_leader();
    const term now = scene.machine(server).gained();
    constexpr std::size_t threads = 4;
    constexpr std::size_t each = 50;
    std::array<std::vector<proposal_token>, threads> tokens;
    std::vector<std::thread> clients;
    for (std::size_t t = 0; t < threads; ++t) {
      clients.emplace_back([&, t] {
        for (std::size_t i = 0; i < each; ++i) {
          const proposal_token token = scene.ledger().begin(server, now, 60);
          bytes buffer = scene.ledger().payload_of(token);
          scene.harness().node(server).propose(now, token, buffer);
          scene.ledger().returned();
          std::fill(buffer.begin(), buffer.end(), std::byte{0xEE});
          tokens[t].push_back(token);
        }
      });
    }
    for (std::thread& client : clients) {
      client.join();
    }
    law_check law(report, "P10", "proposals from many threads keep the laws of proposing");
    for (const auto& line : tokens) {
      log_index last;
      for (const proposal_token token : line) {
        const bool committed = scene.answer_to(token).how == outcome::committed;
        law.expect(!committed || scene.await_applied(token),
                   "what is settled committed is applied");
        const log_index at = scene.ledger().proposal(token).applied_at.index;
        law.expect(!committed || at > last, "a thread's own proposals keep their order");
        last = at.value != 0 ? at : last;
      }
    }
    scene.finish({"P1", "P2", "P4", "A3"});
  } else {
    report.skip("P10", "the harness does not declare threads");
  }
}

/// P12: a leader without its quorum, then healed.
template <consensus_harness H, class Make>
void check_cut_leader(Make& make, conformance_report& report) {
  if constexpr (H::faults.partition) {
    law_check law(report, "P12",
                  "a leader without a quorum says neither committed nor a false not_applied");
    consensus_scene<H> scene(make(3), report);
    const std::size_t server = scene.await_leader();
    scene.write(3);
    const term old = scene.machine(server).gained();
    scene.harness().isolate(server);
    std::vector<proposal_token> cut;
    for (std::size_t i = 0; i < 5; ++i) {
      cut.push_back(scene.propose(server, old));
    }
    scene.harness().pump();
    for (const proposal_token token : cut) {
      const auto answer = scene.ledger().proposal(token).answer;
      law.expect(!answer || answer->how != outcome::committed,
                 "without a quorum nothing is settled committed");
      law.expect(scene.ledger().proposal(token).applied_at.index.value == 0,
                 "without a quorum nothing is applied");
    }
    const std::size_t next = scene.await_leader(server);
    for (std::size_t i = 0; i < 5; ++i) {
      scene.propose_now(next);
    }
    scene.harness().pump();
    scene.harness().heal();
    law.expect(scene.write(2), "the healed cluster goes on");
    for (const proposal_token token : cut) {
      law.expect(scene.await_settled(token), "proposals of a deposed leader are settled");
    }
    scene.finish({"P1", "P2", "P3", "P5", "L2", "L3", "L4", "L5"});
  } else {
    report.skip("P12", "the harness does not declare partition");
  }
}

/// P3 once more: the disk of the leader refuses an entry. Any answer will do that is true.
template <consensus_harness H, class Make>
void check_failed_log_write(Make& make, conformance_report& report) {
  if constexpr (H::faults.fail_log_write) {
    consensus_scene<H> scene(make(3), report);
    const std::size_t server = scene.await_leader();
    scene.write(3);
    scene.harness().fail_log_write(server);
    for (std::size_t i = 0; i < 4; ++i) {
      scene.propose_now(server);
    }
    scene.harness().pump();
    scene.finish({"P1", "P2", "P3"});
  }
}

template <consensus_harness H, class Make>
void run_propose_laws(Make& make, conformance_report& report) {
  check_many_proposals<H>(make, report);
  check_stop<H>(make, report);
  check_expected_term<H>(make, report);
  check_sizes<H>(make, report);
  check_without_leadership<H>(make, report);
  check_threads<H>(make, report);
  check_cut_leader<H>(make, report);
  check_failed_log_write<H>(make, report);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
