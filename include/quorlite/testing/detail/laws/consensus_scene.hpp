/// @file
/// One run of the consensus suite: a cluster from the harness, a recording machine per server, and
/// the moves that the laws are told with.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/laws/conformance_report.hpp"
#include "quorlite/testing/detail/laws/consensus_harness.hpp"
#include "quorlite/testing/detail/laws/consensus_ledger.hpp"
#include "quorlite/testing/detail/laws/recording_machine.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// The laws that are watched in every run, and what it means to keep them.
struct law_text {
  std::string_view law;
  std::string_view sentence;
};
inline constexpr std::array<law_text, 20> watched_laws{{
    {"P1", "every proposal is settled exactly once, before stop returns"},
    {"P2", "what is settled committed is applied everywhere, once"},
    {"P3", "what is settled not_applied is never applied"},
    {"P4", "an applied entry has exactly the proposed bytes"},
    {"P5", "an entry's term is the one its proposal expected"},
    {"P7", "proposals one after the other keep their order"},
    {"A1", "indices of new entries increase, terms never decrease"},
    {"A2", "two servers apply the same bytes at the same index"},
    {"A3", "strand calls never overlap"},
    {"A4", "after halted there is no further strand call but a loss"},
    {"A6", "skip passes no entry that was not applied"},
    {"A7", "views stay valid during the call"},
    {"L1", "at a gain every committed entry of older terms is applied"},
    {"L2", "each gain has a higher term than any before"},
    {"L3", "a gain follows a loss, and stop ends with a loss"},
    {"L4", "no two servers gain the same term"},
    {"L5", "nothing proposed after a loss is appended"},
    {"S1", "the first entry after a restart is at most durable + 1"},
    {"S2", "a machine that answers already to replays ends equal"},
    {"S4", "a snapshot taken during writes equals the state at its position"},
}};

/// What a flush is asked for.
inline constexpr log_index everything_applied{std::numeric_limits<std::uint64_t>::max()};

/// A cluster at work. Single-threaded, apart from what the harness does.
template <consensus_harness H>
class consensus_scene {
 public:
  using adapter_type = typename H::adapter_type;
  static constexpr consensus_abilities abilities = adapter_type::abilities;

  /// Starts every server. @param harness fresh, nothing started
  /// @param first where the machine of server 0 halts by itself, and withdraws
  consensus_scene(std::unique_ptr<H> harness, conformance_report& report,
                  halts_in first = halts_in::none);
  consensus_scene(const consensus_scene&) = delete;
  consensus_scene& operator=(const consensus_scene&) = delete;
  ~consensus_scene();

  [[nodiscard]] H& harness() noexcept { return *harness_; }
  [[nodiscard]] consensus_ledger& ledger() noexcept { return ledger_; }
  [[nodiscard]] recording_machine& machine(std::size_t server) { return *machines_[server]; }
  [[nodiscard]] std::size_t size() const noexcept { return machines_.size(); }
  [[nodiscard]] bool alive(std::size_t server) const { return alive_[server]; }

  /// A server whose machine believes that it leads, other than `but`.
  [[nodiscard]] std::optional<std::size_t> leader(std::optional<std::size_t> but = {}) const;
  /// Lets the simulation go on until somebody other than `but` leads. Without a leader law L6 is
  /// broken and 0 returned.
  std::size_t await_leader(std::optional<std::size_t> but = {});
  [[nodiscard]] std::size_t follower_of(std::size_t leader_server) const;

  /// Proposes `bytes_count` bytes and spoils the buffer as soon as propose has returned (law P9).
  proposal_token propose(std::size_t server, quorlite::term expected,
                         std::size_t bytes_count = 100);
  /// At the term that the server has announced.
  proposal_token propose_now(std::size_t server, std::size_t bytes_count = 100);
  bool await_settled(proposal_token token);
  /// Waits until some server has applied the proposal.
  bool await_applied(proposal_token token);
  /// Waits for the answer. @returns unknown if none came
  settlement answer_to(proposal_token token);
  /// Proposes `count` entries on whoever leads, and waits until they are answered and applied
  /// everywhere.
  bool write(std::size_t count, std::size_t bytes_count = 100);
  /// Waits until every living server that is not halted has applied all that any server has, and
  /// holds it.
  bool converge();

  // ---- faults; only where the harness declares them

  void crash(std::size_t server);
  /// Stops the adapter as an orderly process would, and lets the server go.
  void stop(std::size_t server);
  /// Brings a server back with a new machine that starts from what the old one had made durable. It
  /// flushes as that did.
  /// @param halts where it halts by itself, and withdraws. alive() is false if start() said then
  ///   that it failed
  void restart(std::size_t server, halts_in halts = halts_in::none);

  /// Runs code that waits, in the way that the harness needs. @returns false if it did not end in
  /// bounded time
  bool as_client(std::function<void()> body);

  /// Ends the run: heals, waits, stops all, checks what can be checked only now, and reports. Laws
  /// named in `exercised` pass if nothing in this run broke them. May be called once; later calls
  /// do nothing.
  void finish(std::initializer_list<std::string_view> exercised);

  /// Notes under `law` what differs between a machine and all that was applied up to where it
  /// stands.
  void check_equal(std::size_t server, std::string_view law = {});

 private:
  void bury(std::size_t server);
  /// Before a start. The adapter is looked for when the time has come, for a restart may make it.
  void let_halt(std::size_t server, halts_in halts);
  /// @param failed a start @param law what it breaks, unless the machine has halted in it
  void note_start(std::size_t server, bool failed, std::string_view law, const char* fault);

  conformance_report& report_;
  consensus_ledger ledger_;
  std::deque<bytes> buffers_;
  std::vector<std::unique_ptr<recording_machine>> machines_;
  std::vector<std::unique_ptr<recording_machine>> former_;
  std::vector<bool> alive_;
  bool finished_ = false;
  std::unique_ptr<H> harness_;
};

template <consensus_harness H>
consensus_scene<H>::consensus_scene(std::unique_ptr<H> harness, conformance_report& report,
                                    halts_in first)
    : report_(report),
      ledger_(abilities.entry_terms),
      alive_(harness->size(), false),
      harness_(std::move(harness)) {
  for (std::size_t i = 0; i < harness_->size(); ++i) {
    machines_.push_back(std::make_unique<recording_machine>(i, ledger_, abilities));
    let_halt(i, i == 0 ? first : halts_in::none);
    const bool failed = static_cast<bool>(harness_->start(i, *machines_[i]));
    note_start(i, failed, "L6", "start() of a fresh server failed");
  }
}

template <consensus_harness H>
consensus_scene<H>::~consensus_scene() {
  finish({});
  harness_.reset();  // before the machines and the ledger that its threads may still look at
}

template <consensus_harness H>
std::optional<std::size_t> consensus_scene<H>::leader(std::optional<std::size_t> but) const {
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < machines_.size(); ++i) {
    const bool leads = alive_[i] && machines_[i]->leading() && i != but;
    if (leads && (!best || machines_[*best]->gained() < machines_[i]->gained())) {
      best = i;
    }
  }
  return best;
}

template <consensus_harness H>
std::size_t consensus_scene<H>::await_leader(std::optional<std::size_t> but) {
  if (!harness_->run_until([&] { return leader(but).has_value(); })) {
    ledger_.fault("L6", "no server gained leadership in bounded time");
    return but == 0 ? 1 : 0;
  }
  return *leader(but);
}

template <consensus_harness H>
std::size_t consensus_scene<H>::follower_of(std::size_t leader_server) const {
  return leader_server == 0 ? size() - 1 : 0;
}

template <consensus_harness H>
proposal_token consensus_scene<H>::propose(std::size_t server, quorlite::term expected,
                                           std::size_t bytes_count) {
  const proposal_token token = ledger_.begin(server, expected, bytes_count);
  // stays, so that a late look is no crash
  bytes& buffer = buffers_.emplace_back(ledger_.payload_of(token));
  harness_->node(server).propose(expected, token, buffer);
  ledger_.returned();
  std::fill(buffer.begin(), buffer.end(), std::byte{0xEE});
  return token;
}

template <consensus_harness H>
proposal_token consensus_scene<H>::propose_now(std::size_t server, std::size_t bytes_count) {
  return propose(server, machines_[server]->gained(), bytes_count);
}

template <consensus_harness H>
bool consensus_scene<H>::await_settled(proposal_token token) {
  return harness_->run_until([&] { return ledger_.settled(token); });
}

template <consensus_harness H>
bool consensus_scene<H>::await_applied(proposal_token token) {
  return harness_->run_until([&] { return ledger_.proposal(token).applied_at.index.value != 0; });
}

template <consensus_harness H>
settlement consensus_scene<H>::answer_to(proposal_token token) {
  await_settled(token);
  return ledger_.proposal(token).answer.value_or(settlement{});
}

template <consensus_harness H>
bool consensus_scene<H>::write(std::size_t count, std::size_t bytes_count) {
  const std::size_t server = await_leader();
  proposal_token last;
  for (std::size_t i = 0; i < count; ++i) {
    last = propose_now(server, bytes_count);
  }
  if (count == 0) {
    return converge();
  }
  const bool committed = answer_to(last).how == outcome::committed;
  return committed && (bytes_count < 8 || await_applied(last)) && converge();
}

template <consensus_harness H>
bool consensus_scene<H>::converge() {
  return harness_->run_until([&] {
    const log_index last = ledger_.last_index();
    for (std::size_t i = 0; i < machines_.size(); ++i) {
      if (alive_[i] && !machines_[i]->halted() && machines_[i]->applied().index < last) {
        return false;
      }
    }
    return true;
  });
}

template <consensus_harness H>
void consensus_scene<H>::crash(std::size_t server) {
  harness_->crash(server);
  bury(server);
}

template <consensus_harness H>
void consensus_scene<H>::stop(std::size_t server) {
  harness_->node(server).stop();
  if (machines_[server]->leading()) {
    ledger_.fault("L3", "stop returned without announcing a loss");
  }
  for (const proposal_token token : ledger_.unsettled()) {
    if (ledger_.proposal(token).server == server) {
      ledger_.fault("P1", "stop returned with a proposal unsettled");
    }
  }
  bury(server);
}

template <consensus_harness H>
void consensus_scene<H>::restart(std::size_t server, halts_in halts) {
  auto fresh = std::make_unique<recording_machine>(server, ledger_, abilities,
                                                   machines_[server]->stored(), true);
  fresh->flush_in(machines_[server]->flushes());
  former_.push_back(std::exchange(machines_[server], std::move(fresh)));
  let_halt(server, halts);
  const bool failed = static_cast<bool>(harness_->restart(server, *machines_[server]));
  note_start(server, failed, "S1", "start() after a restart failed");
}

template <consensus_harness H>
bool consensus_scene<H>::as_client(std::function<void()> body) {
  if constexpr (H::faults.clients) {
    const auto done = std::make_shared<bool>(false);
    harness_->spawn([body = std::move(body), done] {
      body();
      *done = true;
    });
    return harness_->run_until([done] { return *done; });
  } else {
    body();
    return true;
  }
}

template <consensus_harness H>
void consensus_scene<H>::finish(std::initializer_list<std::string_view> exercised) {
  if (std::exchange(finished_, true)) {
    return;
  }
  if constexpr (H::faults.partition) {
    harness_->heal();
  }
  harness_->pump();
  if (!converge()) {
    ledger_.fault("P2", "a living server did not apply in bounded time what others had applied");
  }
  for (std::size_t i = 0; i < machines_.size(); ++i) {
    if (alive_[i]) {
      check_equal(i);
      stop(i);
    }
  }
  harness_->pump();  // whatever still comes is a fault
  ledger_.check_committed();
  ledger_.drain(report_);
  for (const std::string_view law : exercised) {
    const auto text = std::find_if(watched_laws.begin(), watched_laws.end(),
                                   [law](const law_text& known) { return known.law == law; });
    report_.pass(law, text == watched_laws.end() ? std::string_view("kept") : text->sentence);
  }
}

template <consensus_harness H>
void consensus_scene<H>::check_equal(std::size_t server, std::string_view law) {
  const recorded_state state = machines_[server]->state();
  if (law.empty()) {
    law = machines_[server]->stages().installed > 0 ? "S4"
          : machines_[server]->restarted()          ? "S1"
                                                    : "P2";
  }
  for (const auto& [index, entry] : ledger_.entries()) {
    const auto own = state.entries.find(index);
    if (index <= state.at.index.value && (own == state.entries.end() || own->second != entry)) {
      ledger_.fault(law, "server " + std::to_string(server) + " is past index " +
                             std::to_string(index) + " and does not hold its entry");
      return;
    }
  }
}

template <consensus_harness H>
void consensus_scene<H>::let_halt(std::size_t server, halts_in halts) {
  machines_[server]->own_halt().set(halts, [this, server] {
    machines_[server]->halt_now();
    harness_->node(server).withdraw();
  });
}

template <consensus_harness H>
void consensus_scene<H>::note_start(std::size_t server, bool failed, std::string_view law,
                                    const char* fault) {
  alive_[server] = !failed;
  if (failed && machines_[server]->halted()) {
    bury(server);  // a start that failed calls nobody any more
  } else if (failed) {
    ledger_.fault(law, fault);
  }
}

template <consensus_harness H>
void consensus_scene<H>::bury(std::size_t server) {
  machines_[server]->expect_silence();
  ledger_.forget_server(server);
  alive_[server] = false;
}

/// True if the adapter and the harness can move leadership by force or by request.
template <consensus_harness H>
inline constexpr bool moves_leadership = H::adapter_type::abilities.leadership_transfer ||
                                         H::faults.partition ||
                                         (H::faults.crash && H::faults.restart);

/// Takes leadership from `server` in the gentlest way there is. @returns who leads then
template <consensus_harness H>
requires moves_leadership<H> std::size_t move_leadership(consensus_scene<H>& scene,
                                                         std::size_t server) {
  if constexpr (H::adapter_type::abilities.leadership_transfer) {
    scene.harness().node(server).transfer_leadership();
    return scene.await_leader(server);
  } else if constexpr (H::faults.partition) {
    scene.harness().isolate(server);
    const std::size_t next = scene.await_leader(server);
    scene.harness().heal();
    return next;
  } else {
    scene.crash(server);
    const std::size_t next = scene.await_leader(server);
    scene.restart(server);
    return next;
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
