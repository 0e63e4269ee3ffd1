/// @file
/// The test Raft: a deterministic cluster in one thread, and the consensus adapter that one replica
/// of it holds.
///
/// ```
/// simulation cluster{{.seed = 7, .replicas = 3}};
/// test_raft raft{cluster, server_id{1}};   // one for each server
/// raft.start(machine);
/// cluster.run_until([&] { return cluster.leader().has_value(); }, milliseconds{5000});
/// cluster.spawn([&] {
///   raft.propose(term, token, bytes);
///   raft.wait(signal, milliseconds{1000});  // others run meanwhile
/// });
/// cluster.run_for(milliseconds{2000});
/// ```
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/raft/configuration.hpp"
#include "quorlite/testing/detail/simulation/client_scheduler.hpp"
#include "quorlite/testing/detail/simulation/engines.hpp"
#include "quorlite/testing/detail/simulation/random.hpp"
#include "quorlite/testing/detail/simulation/unique_function.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

class raft_node;
class simulated_network;
struct server_disk;

}  // namespace detail

/// What runs the clients: fibers, or threads of which one runs at a time.
using detail::engine_kind;

/// Names a client, and what it does: a callable, run once.
using detail::client_body;
using detail::client_id;

/// Random numbers that are the same on every machine, for tests that draw what they do.
using detail::random;

/// How one link treats what is sent over it. Every direction of every pair of servers is a link.
struct network_options {
  std::uint64_t delay_min_us = 500;   ///< one way, microseconds
  std::uint64_t delay_max_us = 1500;  ///< at least delay_min_us
  double drop = 0.0;                  ///< probability that a message is lost
  double duplicate = 0.0;             ///< probability that it arrives twice
  double reorder = 0.0;  ///< probability that it may be overtaken; else a link keeps the order
};

/// What a server looks at before it takes part with what is on its disk: each has what is above it
/// too. An engine does as much as it can; what it does not look at, peers and machine may find out.
enum class start_check : std::uint8_t {
  nothing,  ///< it starts on whatever there is
  folder,   ///< whose it is: not_founded (it is empty), another_server, copied
  history,  ///< checksums of entries; the log against itself and against the machine's files:
            ///< log_damaged, log_too_short, log_starts_late, diverged, another_cluster
  log_end,  ///< what entries say of their index, and what was noted of log, term and vote
};

/// The protocol's own settings.
struct raft_options {
  /// Each server draws from [min, max] anew (Raft paper, 5.2)
  milliseconds election_timeout_min{150};
  milliseconds election_timeout_max{300};               ///< at least the minimum
  milliseconds heartbeat_interval{50};                  ///< well below election_timeout_min
  std::size_t max_entry_bytes = std::size_t{1} << 20U;  ///< a larger proposal is too_large
  std::size_t max_in_flight = 0;  ///< proposals not yet applied; more are busy. 0: no limit
  double refuse = 0.0;            ///< probability that a proposal is busy all the same
  std::size_t batch_bytes = std::size_t{64}
                            << 10U;           ///< of payload in one message; one entry always fits
  std::size_t window_entries = 512;           ///< sent to a follower and not yet answered for
  std::size_t chunk_bytes = 4096;             ///< of a snapshot in one message
  start_check checks = start_check::nothing;  ///< of every start
  /// How long a leader takes at most to come to what it was told by withdraw(), drawn anew. 0: it
  /// is the next thing that it does
  milliseconds withdrawal_max{0};
  /// How long a server takes at most to come to what is proposed, drawn anew; more that is proposed
  /// meanwhile waits behind it, in order. 0: propose() itself takes or refuses it
  milliseconds proposal_max{0};
};

/// When a server takes a snapshot of its machine, and how much log it keeps below it.
struct compaction_options {
  std::uint64_t threshold_entries = 0;  ///< applied since the last snapshot. 0: never
  /// Kept below the snapshot, for followers that are a little behind
  std::uint64_t trailing_entries = 16;
  /// Read from the pinned snapshot per event; writes go on in between
  std::size_t read_bytes = 4096;
};

/// How long an append takes to be durable. At 0 it is at once; else a crash loses entries that are
/// younger, and the server neither acknowledges nor applies them before. Term and vote are always
/// durable at once.
struct disk_options {
  std::uint64_t sync_min_us = 0;  ///< microseconds
  std::uint64_t sync_max_us = 0;  ///< at least sync_min_us
};

/// A whole simulated cluster.
struct simulation_options {
  std::uint64_t seed = 1;      ///< two states of it with equal options and equal clients run alike
  std::uint32_t replicas = 3;  ///< servers 1 … replicas, the voters of the beginning
  std::uint32_t spares = 0;    ///< servers after those, which are no members until they are added
  engine_kind engine = engine_kind::fiber;  ///< what runs the clients; the run is the same
  network_options network{};                ///< of every link
  raft_options raft{};                      ///< of every server
  compaction_options compaction{};          ///< of every server
  disk_options disk{};                      ///< of every server
  std::uint64_t background_max_us = 500;    ///< a background task starts within this time
};

/// A point in the life of a leader's command.
enum class commit_phase : std::uint8_t {
  enqueued,   ///< in the leader's log, sent to nobody
  appended,   ///< on a quorum, as the leader has just learnt; its commit index is still below
  committed,  ///< below the leader's commit index; applied nowhere, and nobody else knows
};

/// How a leader is deposed at a commit phase.
enum class leadership_loss : std::uint8_t {
  step_down,  ///< it becomes a follower at once and stays connected; it may win again
  isolate,    ///< it is cut off and steps down when it notices; it commits nothing beyond the
              ///< commit phase. One that is a quorum by itself would never notice: step_down
  crash,      ///< as simulation::crash
};

/// The members of a cluster: voters, and learners, which get the log and have no vote.
using detail::configuration;
/// What a server said when it was asked to change the members, and why.
using detail::change_result;

/// A leader that was deposed at a commit phase.
struct deposed_leader {
  server_id server;     ///< the one that led
  quorlite::term term;  ///< in which it led
  log_index command;    ///< the entry that was at the commit phase
};

/// A server from which another one takes nothing any more: not its entries, its votes, nor its
/// answers (docs/design/history.md, section 6).
struct refused_server {
  server_id server;    ///< the one that is not heard
  log_index at;        ///< the entry, or the position of the snapshot, that spoke against it
  log_index compared;  ///< where its history was compared with that of who refuses it; 0: nowhere
};

/// Raft servers with simulated disks, joined by simulated wires. Nothing happens but inside `step`
/// and what calls it, and what happens is a function of the options and of what the test does: one
/// seed, one run.
///
/// The order of things: ready clients first, one at a time, a seeded draw among them; with none
/// ready, the next event, by time and then by order of posting.
///
/// Machines, adapters and what clients refer to may die before the simulation only after
/// `finish_clients`, or when no client can touch them any more. The simulation outlives its
/// adapters. One thread of control throughout.
class QUORLITE_API simulation {
 public:
  /// Nothing runs yet.
  explicit simulation(simulation_options options = {});
  simulation(const simulation&) = delete;
  simulation& operator=(const simulation&) = delete;
  ~simulation();

  // ---- time
  /// Since the simulation was made.
  [[nodiscard]] milliseconds now() const noexcept { return milliseconds{now_us() / 1000}; }
  /// The same in microseconds.
  [[nodiscard]] std::uint64_t now_us() const noexcept;
  /// One client's turn, or one event. @returns false if nothing will ever happen. Throws what a
  /// client or a callback of the test throws.
  bool step() { return step_until(~std::uint64_t{0}); }
  /// Steps until so much time has passed.
  void run_for(milliseconds span);
  /// Steps until the predicate holds, asked after every step. @returns whether it does within the
  /// limit
  template <class Predicate>
  bool run_until(Predicate&& holds, milliseconds limit);
  /// Runs a callback of the test as an event, on the main stack.
  void after(milliseconds span, detail::unique_function<void()> callback);

  // ---- clients
  /// A client begins at the next step; it may block in `test_raft::wait` only.
  client_id spawn(client_body body);
  /// Lets time pass for the caller: a client, or the main stack. @pre not in an event
  void sleep(milliseconds span);
  /// True once the client's body has returned or thrown.
  [[nodiscard]] bool finished(client_id id) const noexcept;
  /// How many were spawned and have not ended.
  [[nodiscard]] std::size_t unfinished_clients() const noexcept;
  /// From now on nobody waits: every wait gives false at once, until all clients have ended. What
  /// they throw is dropped. For the end of a test, passed or failed.
  void finish_clients() noexcept;

  // ---- servers
  /// All of them, running or not, ascending.
  [[nodiscard]] std::vector<server_id> servers() const;
  /// The server of the highest term whose machine was told that it leads.
  [[nodiscard]] std::optional<server_id> leader() const noexcept;
  /// True between a start and the next crash or stop.
  [[nodiscard]] bool running(server_id id) const noexcept;
  /// What a server knows and keeps: quorlite/testing/detail/raft/node.hpp.
  [[nodiscard]] const detail::raft_node& node(server_id id) const noexcept;
  /// To begin in the middle: a disk before the first start. @pre not running
  [[nodiscard]] detail::server_disk& disk_to_prepare(server_id id);

  /// The server is gone at once, without another call to its machine; its disk stays, as far as it
  /// was synced. Waits at its adapter give false. The owner drops machine and adapter when its
  /// clients have left them.
  void crash(server_id id);
  /// Asks the owner, by the hook, for a new machine and adapter; any `test_raft::start` will do as
  /// well.
  void restart(server_id id);
  /// What restart() calls.
  void on_restart(detail::unique_function<void(server_id)> hook);
  /// As the adapter's stop(): in good order.
  void stop(server_id id);

  /// The process is stopped for so long, as by SIGSTOP: what is sent to it waits, its timers and
  /// background tasks too, and what its clients make it send leaves afterwards.
  void pause(server_id id, milliseconds span);
  /// Until when pause() holds the server, by now_us(). In the past, or 0: it runs on.
  [[nodiscard]] std::uint64_t paused_until_us(server_id id) const noexcept;

  /// The disk that has the log answers nothing for so long: a sync, or a part of a snapshot, that
  /// ends meanwhile ends then. The server itself goes on.
  void hang_log(server_id id, milliseconds span);

  // ---- histories
  /// Whom this server refuses since its start, in that order.
  [[nodiscard]] std::vector<refused_server> refused_by(server_id id) const;
  /// It takes messages of that server again, for the right disk may have come back.
  void readmit(server_id id, server_id refused);

  // ---- disks that are not what they were
  /// Another machine, with an empty disk: a server of the next id, which never ran and is no member
  /// until it is added. An id names an incarnation: who lost a disk comes back as another server.
  server_id add_machine();
  /// The disk of this server was tampered with, so what it does is held against nobody: whether
  /// Raft keeps its promises is looked for at the others. @param is_so false: it is whole again
  void disregard(server_id id, bool is_so = true);

  // ---- members (Raft thesis, 4)
  /// Asks who leads in the highest term, announced or not, to begin with one step. It is in force
  /// where it is known, which is at first the leader, and can be lost again with the leader, until
  /// `members` tells of it. This one makes a server that is no member a learner.
  change_result add_server(server_id id);
  /// Makes a learner that has caught up a voter.
  change_result promote(server_id id);
  /// Makes a voter a learner. A leader leads until that is committed.
  change_result demote(server_id id);
  /// Of voters and learners. The server is told nothing any more; what it has, it keeps.
  change_result remove_server(server_id id);
  /// The newest configuration that some server knows to be committed, now or before it crashed.
  /// What is in force at a server: `node(id).disk().log.configured()`.
  [[nodiscard]] const configuration& members() const noexcept;

  /// Asks the leader, if there is one, to hand over to a voter. Best effort.
  void transfer(server_id to);
  /// Deposes whoever leads when its `ordinal`-th command of the term (counted from 1, no-ops not
  /// counted) is at the commit phase, before anything else happens. Once; several may be set.
  void depose_leader_when(commit_phase phase, std::uint64_t ordinal,
                          leadership_loss way = leadership_loss::step_down);
  /// Nobody is deposed any more, but by what is set from now on.
  void depose_nobody() noexcept;
  /// Those that were carried out, in order.
  [[nodiscard]] const std::vector<deposed_leader>& leadership_losses() const noexcept;

  // ---- wires
  /// Only servers of one side hear each other; a server on neither side hears nobody. Replaces
  /// earlier cuts.
  void partition(std::vector<server_id> one_side, std::vector<server_id> other_side);
  /// Nobody hears it, and it hears nobody. Replaces earlier cuts.
  void isolate(server_id id);
  /// Ends every cut.
  void heal();
  /// All of it: single links, one direction only, other probabilities. See
  /// quorlite/testing/detail/raft/network.hpp.
  [[nodiscard]] detail::simulated_network& network() noexcept;

  // ---- evidence
  /// Of every event and every client's turn so far. Equal runs, equal hashes, whatever the engine.
  [[nodiscard]] std::uint64_t event_hash() const noexcept;
  /// How many events there were.
  [[nodiscard]] std::uint64_t events() const noexcept;
  /// The first breach of what Raft promises, as a sentence that begins with the property's name;
  /// nothing: it was kept so far. Always looked for: see
  /// quorlite/testing/detail/raft/safety_checker.hpp.
  [[nodiscard]] const std::optional<std::string>& violation() const noexcept;
  /// A line for every event from now on, borrowed for the call. An empty function ends it.
  void trace(detail::unique_function<void(std::string_view)> reader);

 private:
  friend class test_raft;
  struct state;

  bool step_until(std::uint64_t limit_us);

  const std::unique_ptr<state> state_;
};

template <class Predicate>
bool simulation::run_until(Predicate&& holds, milliseconds limit) {
  const std::uint64_t end_us = now_us() + limit.value * 1000;
  while (!holds()) {
    if (!step_until(end_us)) {
      return holds();
    }
  }
  return true;
}

/// One replica's way into a simulation. Made before or between boots of its server, for one boot: a
/// restart needs another. One thread of control, as everything in that simulation.
///
/// After a crash the adapter has no server: proposals are settled not_applied/stopped from
/// inside propose and waits give false after a microsecond, so that the clients on their stacks can
/// leave.
class QUORLITE_API test_raft {
 public:
  /// All of them.
  static constexpr consensus_abilities abilities{.entry_terms = true,
                                                 .contiguous = true,
                                                 .read_barrier = true,
                                                 .leadership_transfer = true,
                                                 .background_work = true,
                                                 .now = true,
                                                 .random = true};
  /// Lets other clients run while one waits.
  using signal_type = detail::client_signal;

  /// @param cluster outlives this
  test_raft(simulation& cluster, server_id self) noexcept;
  test_raft(const test_raft&) = delete;
  test_raft& operator=(const test_raft&) = delete;
  /// Still started: the server crashes.
  ~test_raft();

  /// Restores the server's snapshot if the machine is behind it; entries follow as events.
  /// @returns errors of begin_restore, append and finish, and errc::halted; the machine's strand
  /// was not entered, except by an install that answered halted
  [[nodiscard]] std::error_code start(state_machine& machine) noexcept;
  /// In good order: announces a loss, settles every proposal. Idempotent.
  void stop() noexcept;

  /// @pre started
  void propose(term expected, proposal_token token, bytes_view entry) noexcept;
  /// As raft_options::max_entry_bytes says.
  [[nodiscard]] std::size_t max_entry_bytes() const noexcept;

  /// Inside a client: others run meanwhile. On the main stack: the simulation runs. Not in an
  /// event. A limit of 0 takes a microsecond.
  [[nodiscard]] bool wait(signal_type& signal, milliseconds limit) noexcept;

  /// The server leaves by an event at this instant. A leader hands over first, to whoever is
  /// furthest, for election_timeout_min at most.
  void withdraw() noexcept;

  /// @pre started
  void read_barrier(proposal_token token) noexcept;
  /// To the follower that was heard of last, and of those to the one with most of the log. Best
  /// effort.
  void transfer_leadership() noexcept;
  /// The task runs as an event. After a crash it never runs, as in a process that is gone.
  void run(background_task& task) noexcept;

  /// The simulation's time, the same on all servers; it began on 2020-01-01 UTC.
  [[nodiscard]] clock_reading now() noexcept;
  /// A function of the seed, of the server, and of how many adapters it had before; nothing else in
  /// the simulation draws from there.
  [[nodiscard]] std::uint64_t random() noexcept { return numbers_.next(); }

  /// Its server.
  [[nodiscard]] server_id self() const noexcept { return self_; }

 private:
  [[nodiscard]] bool is_alive() const noexcept;

  simulation& simulation_;
  const server_id self_;
  detail::random numbers_;
  std::uint64_t boot_ = 0;
  state_machine* machine_ = nullptr;
  bool withdrew_early_ = false;  // inside start(): there is no boot yet that could be told
};

static_assert(consensus<test_raft>);

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/test_raft.ipp"  // IWYU pragma: keep
#endif
