/// @file
/// A whole cluster in one thread: virtual time, servers, wires, clients, and everything that can go
/// wrong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <memory>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/testing/detail/raft/election.hpp"
#include "quorlite/testing/detail/raft/lifecycle.hpp"
#include "quorlite/testing/detail/raft/network.hpp"
#include "quorlite/testing/detail/raft/node.hpp"
#include "quorlite/testing/detail/raft/replication.hpp"
#include "quorlite/testing/detail/raft/restore.hpp"
#include "quorlite/testing/detail/simulation/client_scheduler.hpp"
#include "quorlite/testing/detail/simulation/event_hash.hpp"
#include "quorlite/testing/detail/simulation/event_queue.hpp"
#include "quorlite/testing/detail/simulation/unique_function.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

/// Raft servers with simulated disks, joined by simulated wires. Nothing happens but inside `step`
/// and what calls it, and what happens is a function of the options and of what the test does: one
/// seed, one run.
///
/// The order of things: ready clients first, one at a time, a seeded draw among them; with none
/// ready, the next event, by time and then by order of posting.
///
/// Machines, adapters and what clients refer to may die before the world only after
/// `finish_clients`, or when no client can touch them any more. The world outlives its adapters.
/// One thread of control throughout.
class world final : private node_environment {
 public:
  explicit world(world_options options = {});
  ~world();

  // ---- time
  [[nodiscard]] milliseconds now() const noexcept { return milliseconds{now_us_ / 1000}; }
  [[nodiscard]] std::uint64_t now_us() const noexcept override { return now_us_; }
  /// One client's turn, or one event. @returns false if nothing will ever happen. Throws what a
  /// client or a callback of the test throws.
  bool step() { return step_until(~std::uint64_t{0}); }
  /// Steps until so much time has passed.
  void run_for(milliseconds span);
  /// Steps until the predicate holds, asked after every step. @returns whether it does within the
  /// limit
  template <class Predicate>
  bool run_until(Predicate&& holds, milliseconds limit) {
    const std::uint64_t end_us = now_us_ + limit.value * 1000;
    while (!holds()) {
      if (!step_until(end_us)) {
        return holds();
      }
    }
    return true;
  }
  /// Runs a callback of the test as an event, on the main stack.
  void after(milliseconds span, unique_function<void()> callback);

  // ---- clients
  /// A client begins at the next step; it may block in `test_raft::wait` only.
  client_id spawn(client_body body) { return clients_.spawn(std::move(body)); }
  /// Lets time pass for the caller: a client, or the main stack. @pre not in an event
  void sleep(milliseconds span) {
    client_signal never;
    static_cast<void>(wait(never, span, 0, server_id{}));
  }
  [[nodiscard]] bool finished(client_id id) const noexcept { return clients_.finished(id); }
  [[nodiscard]] std::size_t unfinished_clients() const noexcept { return clients_.unfinished(); }
  /// From now on nobody waits: every wait gives false at once, until all clients have ended. What
  /// they throw is dropped. For the end of a test, passed or failed.
  void finish_clients() noexcept;

  // ---- servers
  [[nodiscard]] std::vector<server_id> servers() const;
  /// The server of the highest term whose machine was told that it leads.
  [[nodiscard]] std::optional<server_id> leader() const noexcept;
  [[nodiscard]] bool running(server_id id) const noexcept { return node_of(id).running(); }
  /// What a server knows and keeps.
  [[nodiscard]] const raft_node& node(server_id id) const noexcept { return node_of(id); }
  /// To begin in the middle: a disk before the first start. @pre not running
  [[nodiscard]] server_disk& disk_to_prepare(server_id id);

  /// The server is gone at once, without another call to its machine; its disk stays, as far as it
  /// was synced. Waits at its adapter give false. The owner drops machine and adapter when its
  /// clients have left them.
  void crash(server_id id);
  /// Asks the owner, by the hook, for a new machine and adapter; any `test_raft::start` will do as
  /// well.
  void restart(server_id id);
  void on_restart(unique_function<void(server_id)> hook) { on_restart_ = std::move(hook); }
  /// As the adapter's stop(): in good order.
  void stop(server_id id);

  /// Asks the leader, if there is one, to hand over. Best effort.
  void transfer(server_id to);
  /// Deposes whoever leads when its `ordinal`-th command of the term (counted from 1, no-ops not
  /// counted) is at the milestone, before anything else happens. Once; several may be set.
  void depose_leader_when(milestone what, std::uint64_t ordinal,
                          deposition way = deposition::step_down);
  struct deposed_leader {
    server_id server;
    quorlite::term term;
    log_index command;  ///< the entry that was at the milestone
  };
  /// Those that were carried out, in order.
  [[nodiscard]] const std::vector<deposed_leader>& depositions() const noexcept { return deposed_; }

  // ---- wires
  /// Only servers of one side hear each other; a server on neither side hears nobody. Replaces
  /// earlier cuts.
  void partition(std::vector<server_id> one_side, std::vector<server_id> other_side) {
    network_.partition({std::move(one_side), std::move(other_side)});
  }
  void isolate(server_id id) { network_.isolate(id); }
  void heal() { network_.heal(); }
  /// All of it: single links, one direction only, other probabilities.
  [[nodiscard]] simulated_network& network() noexcept { return network_; }

  // ---- evidence
  /// Of every event and every client's turn so far. Equal runs, equal hashes, whatever the engine.
  [[nodiscard]] std::uint64_t event_hash() const noexcept { return hash_.value(); }
  [[nodiscard]] std::uint64_t events() const noexcept { return events_; }
  /// A line for every event from now on, borrowed for the call. An empty function ends it.
  void trace(unique_function<void(std::string_view)> reader) { reader_ = std::move(reader); }

  // ---- for test_raft: a life is one span of a server from start to crash or stop, and never comes
  // again
  [[nodiscard]] result<std::uint64_t> begin_life(server_id id, state_machine& machine);
  [[nodiscard]] bool is_alive(server_id id, std::uint64_t life) const noexcept {
    return life != 0 && lives_[place(id)].life == life && running(id);
  }
  [[nodiscard]] raft_node& node_of_adapter(server_id id) noexcept { return nodes_[place(id)]; }
  /// @param life 0: not started yet
  bool wait(client_signal& signal, milliseconds limit, std::uint64_t life_started, server_id id);
  void run_in_background(server_id id, background_task& task);
  [[nodiscard]] const raft_options& raft() const noexcept { return options_.raft; }

 private:
  struct node_wake {
    server_id server;
    wake_kind kind;
    std::uint64_t stamp;
  };
  struct client_deadline {
    client_id client;
  };
  struct task_start {
    server_id server;
    std::uint64_t life;
  };
  struct test_callback {
    unique_function<void()> run;
  };
  using event = std::variant<message, node_wake, client_deadline, task_start, test_callback>;

  struct server_life {
    std::uint64_t life = 0;  // 0: none
    std::deque<background_task*> tasks;
  };
  struct armed_deposition {
    milestone what;
    std::uint64_t ordinal;
    deposition way;
  };

  bool step_until(std::uint64_t limit_us);
  void happen(message& what);
  void happen(node_wake& what);
  void happen(client_deadline& what);
  void happen(task_start& what);
  void happen(test_callback& what);
  void end_life(server_id id);
  void trace_event(const char* what, std::uint64_t first, std::uint64_t second,
                   std::uint64_t third);

  void send(message what) override;
  void wake_at(server_id whom, wake_kind kind, std::uint64_t at_us, std::uint64_t stamp) override;
  [[nodiscard]] bool is_any_armed() const noexcept override { return !armed_.empty(); }
  [[nodiscard]] bool is_armed(milestone what, std::uint64_t ordinal) const noexcept override;
  deposition depose(server_id whom, milestone what, std::uint64_t ordinal, log_index at) override;
  void retired(server_id whom) override { end_life(whom); }
  [[nodiscard]] bool is_traced() const noexcept override { return static_cast<bool>(reader_); }
  void trace_line(server_id whom, const char* text) override;

  [[nodiscard]] std::size_t place(server_id id) const noexcept {
    QUORLITE_ASSERT(id.value >= 1 && id.value <= nodes_.size());
    return static_cast<std::size_t>(id.value - 1);
  }
  [[nodiscard]] const raft_node& node_of(server_id id) const noexcept { return nodes_[place(id)]; }

  const world_options options_;
  std::uint64_t now_us_ = 0;
  std::uint64_t events_ = 0;
  std::uint64_t lives_begun_ = 0;
  bool inside_event_ = false;
  bool finishing_ = false;
  testing::event_hash hash_;
  random background_random_;
  simulated_network network_;
  client_scheduler clients_;
  event_queue<event> queue_;
  std::deque<raft_node> nodes_;
  std::vector<server_life> lives_;
  std::vector<armed_deposition> armed_;
  std::vector<deposed_leader> deposed_;
  unique_function<void(server_id)> on_restart_;
  unique_function<void(std::string_view)> reader_;
};

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#include "quorlite/testing/detail/raft/world_inline.hpp"  // IWYU pragma: export
