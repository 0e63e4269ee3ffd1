/// @file
/// One server of the test Raft: the protocol and nothing around it.
///
/// It has no clock, no network and no thread: the simulation calls `receive` and `wake`, and the
/// node answers through its environment. The machine's strand is the caller's stack. Bodies, a
/// chapter each: lifecycle.ipp, election.ipp, replication.ipp, membership.ipp, snapshots.ipp.
///
/// Follows the Raft paper (Ongaro and Ousterhout, extended version) and, where it says "thesis",
/// Ongaro's thesis.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <system_error>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/raft/admission.hpp"
#include "quorlite/testing/detail/raft/configuration.hpp"
#include "quorlite/testing/detail/raft/leader_state.hpp"
#include "quorlite/testing/detail/raft/log.hpp"
#include "quorlite/testing/detail/raft/message.hpp"
#include "quorlite/testing/detail/raft/options_fwd.hpp"
#include "quorlite/testing/detail/simulation/random.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// What a node asks to be woken for.
enum class wake_kind : std::uint8_t {
  timer,       ///< an election timeout or a heartbeat may be due
  outbox,      ///< what was proposed at this instant goes out together
  disk,        ///< a sync has ended
  snapshot,    ///< the next part of a pinned snapshot can be read
  withdrawal,  ///< the machine has halted, and is called no more
  proposals,   ///< what is proposed can be looked at
};

class node_state;

/// What happens to a server, told right behind it unless it says otherwise, for whoever checks that
/// Raft keeps its properties.
enum class raft_event : std::uint8_t {
  votes,     ///< it has given its vote of this term; at: its last entry
  elected,   ///< it leads from now on; at: its last entry
  appended,  ///< at: the entry
  syncs,     ///< told before: what it has now, up to at, is on its way to its disk
  synced,    ///< it takes everything up to at for durable
  removes,   ///< told before: at and what follows goes
  counted,   ///< as the leader, that a quorum has everything up to at, or what it has not itself
  commits,   ///< at is committed; told for each entry, ascending
  applies,   ///< told before: at is next
  installed  ///< a snapshot as of at
};

/// What a node sees of the simulation.
class node_environment {
 public:
  node_environment() = default;
  node_environment(const node_environment&) = delete;
  node_environment& operator=(const node_environment&) = delete;

  [[nodiscard]] virtual std::uint64_t now_us() const noexcept = 0;
  virtual void send(message what) = 0;
  /// Calls `raft_node::wake(kind, stamp)` at that time.
  virtual void wake_at(server_id whom, wake_kind kind, std::uint64_t at_us,
                       std::uint64_t stamp) = 0;
  [[nodiscard]] virtual bool is_any_armed() const noexcept = 0;
  /// Is a leadership loss set for the leader's `ordinal`-th command of the term at this commit
  /// phase?
  [[nodiscard]] virtual bool is_armed(commit_phase what, std::uint64_t ordinal) const noexcept = 0;
  /// Carries it out, except for stepping down, which is the node's part.
  virtual leadership_loss depose(server_id whom, commit_phase what, std::uint64_t ordinal,
                                 log_index at) = 0;
  /// The node has fallen out of service by itself: its machine has halted.
  virtual void retired(server_id whom) = 0;
  /// One line for people; only asked for when somebody reads.
  [[nodiscard]] virtual bool is_traced() const noexcept = 0;
  virtual void trace_line(server_id whom, const char* text) = 0;
  /// Looks on. Nobody needs to.
  virtual void witness(const node_state& /*whom*/, raft_event /*what*/, log_index /*at*/) {}

 protected:
  ~node_environment() = default;
};

/// A snapshot of this server's machine, being copied to its disk.
struct pinned_snapshot {
  std::unique_ptr<snapshot_reader> reader;
  stored_snapshot copy;
  std::uint64_t offset = 0;
};
/// A leader's snapshot, being received.
struct incoming_snapshot {
  std::unique_ptr<snapshot_stage> stage;
  stored_snapshot copy;
  std::uint64_t total_bytes = 0;
};

/// What is on its way to the disk.
struct disk_sync {
  log_index upto;
  std::uint64_t cuts = 0;   ///< raft_log::cuts() when it began
  std::uint64_t stamp = 0;  ///< of the wake-up at its end. 0: nothing is
};

/// What was proposed, and its server has not come to.
struct waiting_proposals {
  struct proposal {
    quorlite::term expected;
    proposal_token token;
    bytes entry;
  };
  std::deque<proposal> oldest_first;
  std::uint64_t stamp = 0;  ///< of the wake-up for all of them. 0: none is there
};

enum class raft_role : std::uint8_t { follower, pre_candidate, candidate, leader };
enum class election_kind : std::uint8_t { pre_vote, vote, handed_over };

/// A server without what it does: its settings, its disk, and what a crash takes from it. Not
/// movable: events name it. One thread of control.
class node_state {
 public:
  node_state(const node_state&) = delete;
  node_state& operator=(const node_state&) = delete;

  [[nodiscard]] server_id id() const noexcept { return self_; }
  [[nodiscard]] bool running() const noexcept { return machine_ != nullptr; }
  [[nodiscard]] raft_role role() const noexcept { return role_; }
  [[nodiscard]] quorlite::term term() const noexcept { return disk_.term; }
  [[nodiscard]] bool announced() const noexcept { return leading_.announced; }
  [[nodiscard]] server_id known_leader() const noexcept { return leader_; }
  [[nodiscard]] log_index commit_index() const noexcept { return commit_; }
  [[nodiscard]] log_index applied_index() const noexcept { return applied_; }
  [[nodiscard]] const server_disk& disk() const noexcept { return disk_; }
  [[nodiscard]] const leader_state& leading_state() const noexcept { return leading_; }
  /// Lost in a crash.
  [[nodiscard]] const raft_admission& admission() const noexcept { return admission_; }
  /// The peer is heard again.
  void readmit(server_id peer) noexcept { admission_.readmit(peer); }
  /// For tests that begin in the middle. @pre not running
  [[nodiscard]] server_disk& disk_to_prepare() noexcept { return disk_; }

 protected:
  /// @param options outlive this
  node_state(server_id self, const simulation_options& options, node_environment& environment,
             random source);
  ~node_state() = default;

  /// All that is lost in a crash.
  void forget_everything();
  [[nodiscard]] const placed_configuration& configured() const noexcept {
    return disk_.log.configured();
  }
  [[nodiscard]] std::size_t quorum() const noexcept { return configured().members.quorum(); }
  [[nodiscard]] bool leads() const noexcept { return role_ == raft_role::leader; }
  [[nodiscard]] bool hears_leader() const noexcept;
  [[nodiscard]] bool may_campaign() const noexcept;
  void commit_upto(log_index upto);
  void send(server_id to, quorlite::term term, decltype(message::body) body);
  void settle(proposal_token token, outcome how, settle_reason why) {
    machine_->settled(token, how, why);
  }
  void trace(const char* what, std::uint64_t first = 0, std::uint64_t second = 0);

  // ---- for good
  const server_id self_;
  const raft_options& options_;
  const compaction_options& compaction_;
  const disk_options& disk_options_;
  node_environment& environment_;
  random random_;
  // Never used twice: a wake-up asked for before a crash is not taken for ours.
  std::uint64_t stamps_ = 0;
  server_disk disk_;

  // ---- lost in a crash
  state_machine* machine_ = nullptr;
  raft_role role_ = raft_role::follower;
  server_id leader_;
  log_index commit_;
  log_index applied_;
  log_index verified_;  // equal to the log of this term's leader up to here
  std::vector<server_id> votes_;
  std::uint64_t election_at_us_ = 0;
  std::uint64_t election_timeout_us_ = 0;
  std::uint64_t leader_heard_us_ = 0;
  std::uint64_t timer_armed_us_ = 0;
  std::uint64_t timer_stamp_ = 0;
  std::uint64_t outbox_stamp_ = 0;
  std::uint64_t snapshot_stamp_ = 0;
  std::uint64_t withdrawal_stamp_ = 0;
  waiting_proposals waiting_;
  bool withdrawn_ = false;  // the machine is told a loss at most; who does not lead is silent
  disk_sync syncing_;
  leader_state leading_;
  std::optional<pinned_snapshot> taking_;
  std::optional<incoming_snapshot> incoming_;
  raft_admission admission_;
};

/// What a server does.
class raft_node final : public node_state {
 public:
  /// @param options outlive this
  raft_node(server_id self, const simulation_options& options, node_environment& environment,
            random source)
      : node_state(self, options, environment, source) {}

  // ---- start, stop and crash
  /// Restores this server's snapshot if the machine is behind it, then takes part.
  /// @returns what begin_restore, append or finish returned; errc::halted if the machine refused to
  /// go on
  [[nodiscard]] std::error_code start(state_machine& machine);
  /// In good order: everything is settled, a loss is announced. The disk keeps all of it.
  void stop();
  /// At once: the machine is not called again. The disk keeps what was synced.
  void crash();

  // ---- what the adapter passes on; only while running
  void propose(quorlite::term expected, proposal_token token, bytes_view entry);
  void read_barrier(proposal_token token);
  /// @param successor 0: whoever is furthest
  void transfer_leadership(server_id successor);
  [[nodiscard]] change_result change_configuration(configuration_change step);
  /// Gives up leadership without another word, and stays a follower of nobody.
  void step_down();
  /// The machine has halted. From inside its calls too: what follows is an event of its own.
  void withdraw();

  [[nodiscard]] bool takes_snapshot() const noexcept { return taking_.has_value(); }

  // ---- what happens to it
  void receive(const message& what);
  void wake(wake_kind kind, std::uint64_t stamp);

 private:
  // election
  void on_timer();
  void rest_as_follower(quorlite::term seen, server_id leader);
  void ask_for_votes(election_kind kind);
  void become_leader();
  void end_leadership();
  void count_quorum();
  void restart_election_clock(bool draw);
  void arm_timer();
  void on_message(const message& envelope, const vote_request& ask);
  void on_message(const message& envelope, const vote_reply& reply);
  void on_message(const message& envelope, const timeout_now& ask);
  void hear_leader(server_id leader);
  void leave_if_removed();

  // replication
  void look_at(quorlite::term expected, proposal_token token, bytes_view entry);
  void append_locally(entry_kind kind, bytes_view payload);
  void sync_if_needed();
  void on_synced();
  void post_outbox();
  void on_outbox();
  void send_heartbeats();
  void send_entries(follower_progress& to, bool even_if_empty);
  void send_one_append(follower_progress& to, bool with_entries);
  void accept_entries(const append_request& ask);
  void acknowledge(server_id leader, std::uint64_t round);
  void on_message(const message& envelope, const append_request& ask);
  void on_message(const message& envelope, const append_reply& reply);
  void advance_commit();
  [[nodiscard]] bool depose_on_the_way_to(log_index candidate);
  void apply_committed();
  [[nodiscard]] bool apply_next();
  void announce_if_due();
  void settle_barriers();
  void continue_transfer();
  /// The machine has halted: they end this boot by itself.
  void leave();
  void retire();

  // snapshots
  void take_snapshot_if_due();
  void on_snapshot_part();
  void send_chunk(follower_progress& to);
  void on_message(const message& envelope, const snapshot_request& ask);
  void on_message(const message& envelope, const snapshot_reply& reply);
  [[nodiscard]] bool receive_chunk(const snapshot_request& ask);
  [[nodiscard]] bool install_received();
  [[nodiscard]] std::error_code restore_own_snapshot();
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/raft/election.ipp"     // IWYU pragma: keep
#include "quorlite/testing/detail/raft/lifecycle.ipp"    // IWYU pragma: keep
#include "quorlite/testing/detail/raft/membership.ipp"   // IWYU pragma: keep
#include "quorlite/testing/detail/raft/replication.ipp"  // IWYU pragma: keep
#include "quorlite/testing/detail/raft/snapshots.ipp"    // IWYU pragma: keep
#endif
