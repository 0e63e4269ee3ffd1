/// @file
/// Bodies of simulation: what it holds, how time goes on, and its clients.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/testing/detail/raft/network.hpp"
#include "quorlite/testing/detail/raft/node.hpp"
#include "quorlite/testing/detail/raft/safety_checker.hpp"
#include "quorlite/testing/detail/simulation/event_hash.hpp"
#include "quorlite/testing/detail/simulation/event_queue.hpp"
#include "quorlite/testing/detail/simulation/random.hpp"
#include "quorlite/testing/test_raft.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// Labels of the parts that draw random numbers, each from a generator of its own.
enum class randomness : std::uint64_t {
  network = 1,
  clients = 2,
  background = 3,
  adapters = 4,
  server = 100
};

[[nodiscard]] QUORLITE_DECL random random_for(std::uint64_t seed, randomness part,
                                              std::uint64_t which = 0) noexcept {
  return random{seed}.fork(static_cast<std::uint64_t>(part) + which);
}

// ---- what can happen, besides the arrival of a message

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
  std::uint64_t boot;
};
struct test_callback {
  unique_function<void()> run;
};
using simulation_event =
    std::variant<message, node_wake, client_deadline, task_start, test_callback>;

/// A boot is one span of a server from start to crash or stop, and never comes again.
struct server_boot {
  std::uint64_t boot = 0;      // 0: none
  std::uint64_t adapters = 0;  // that were made for it so far
  std::deque<background_task*> tasks;
  std::uint64_t paused_until_us = 0;
  std::uint64_t log_hangs_until_us = 0;
};

struct armed_leadership_loss {
  commit_phase what;
  std::uint64_t ordinal;
  leadership_loss way;
};

}  // namespace detail

struct simulation::state final : detail::node_environment {
  explicit state(const simulation_options& chosen);

  bool step_until(std::uint64_t limit_us);
  void happen(detail::message& what);
  void happen(detail::node_wake& what);
  void happen(detail::client_deadline& what);
  void happen(detail::task_start& what);
  void happen(detail::test_callback& what);
  /// @param boot_started 0: not started yet
  bool wait(detail::client_signal& signal, milliseconds limit, std::uint64_t boot_started,
            server_id id);
  void trace_event(const char* what, std::uint64_t first, std::uint64_t second,
                   std::uint64_t third) const;

  [[nodiscard]] result<std::uint64_t> begin_boot(server_id id, state_machine& machine);
  void end_boot(server_id id);
  /// Each task runs exactly once, and before a stop returns.
  void run_tasks(server_id id);
  /// What the next adapter of the server draws from.
  [[nodiscard]] detail::random numbers_for_adapter(server_id id) noexcept {
    return detail::random_for(options.seed, detail::randomness::adapters)
        .fork(id.value)
        .fork(++boot_of(id).adapters);
  }
  void crash(server_id id);
  void run_in_background(server_id id, background_task& task);
  [[nodiscard]] change_result change(detail::configuration_change step);
  /// Posts an event that has come for a paused server once more, for when it goes on.
  template <class Event>
  [[nodiscard]] bool is_put_off(server_id whom, Event& what);
  [[nodiscard]] bool is_alive(server_id id, std::uint64_t boot) noexcept {
    return boot != 0 && boot_of(id).boot == boot && node(id).running();
  }

  // ---- what nodes ask for
  [[nodiscard]] std::uint64_t now_us() const noexcept override { return now; }
  void send(detail::message what) override;
  void wake_at(server_id whom, detail::wake_kind kind, std::uint64_t at_us,
               std::uint64_t stamp) override;
  [[nodiscard]] bool is_any_armed() const noexcept override { return !armed.empty(); }
  [[nodiscard]] bool is_armed(commit_phase what, std::uint64_t ordinal) const noexcept override;
  leadership_loss depose(server_id whom, commit_phase what, std::uint64_t ordinal,
                         log_index at) override;
  void retired(server_id whom) override {
    run_tasks(whom);
    end_boot(whom);
  }
  [[nodiscard]] bool is_traced() const noexcept override { return static_cast<bool>(reader); }
  void trace_line(server_id whom, const char* text) override;
  void witness(const detail::node_state& whom, detail::raft_event what, log_index at) override {
    checker.witness(whom, what, at);
  }

  [[nodiscard]] std::size_t place(server_id id) const noexcept {
    QUORLITE_ASSERT(id.value >= 1 && id.value <= nodes.size());
    return static_cast<std::size_t>(id.value - 1);
  }
  [[nodiscard]] detail::raft_node& node(server_id id) noexcept { return nodes[place(id)]; }
  [[nodiscard]] detail::server_boot& boot_of(server_id id) noexcept { return lives[place(id)]; }

  const simulation_options options;
  std::uint64_t now = 0;  // microseconds
  std::uint64_t events = 0;
  std::uint64_t boots_begun = 0;
  bool inside_event = false;
  bool finishing = false;
  detail::event_hash hash;
  detail::random background_random;
  detail::simulated_network network;
  detail::client_scheduler clients;
  detail::event_queue<detail::simulation_event> queue;
  std::deque<detail::raft_node> nodes;
  detail::safety_checker checker;
  std::vector<detail::server_boot> lives;
  std::vector<detail::armed_leadership_loss> armed;
  std::vector<deposed_leader> deposed;
  detail::unique_function<void(server_id)> on_restart;
  detail::unique_function<void(std::string_view)> reader;
};

QUORLITE_DECL simulation::state::state(const simulation_options& chosen)
    : options(chosen),
      background_random(detail::random_for(chosen.seed, detail::randomness::background)),
      network(chosen.replicas + chosen.spares, chosen.network,
              detail::random_for(chosen.seed, detail::randomness::network)),
      clients(chosen.engine, detail::random_for(chosen.seed, detail::randomness::clients)),
      checker(nodes, configuration::of_voters(chosen.replicas)),
      lives(chosen.replicas + chosen.spares) {
  QUORLITE_ASSERT(chosen.replicas > 0);
  hash.add(chosen.seed);
  for (std::uint64_t id = 1; id <= chosen.replicas + chosen.spares; ++id) {
    nodes.emplace_back(server_id{id}, options, static_cast<detail::node_environment&>(*this),
                       detail::random_for(chosen.seed, detail::randomness::server, id));
  }
}

QUORLITE_DECL simulation::simulation(simulation_options options)
    : state_(std::make_unique<state>(options)) {}
QUORLITE_DECL simulation::~simulation() { finish_clients(); }

// ---- time

QUORLITE_DECL std::uint64_t simulation::now_us() const noexcept { return state_->now; }

QUORLITE_DECL bool simulation::step_until(std::uint64_t limit_us) {
  return state_->step_until(limit_us);
}

QUORLITE_DECL bool simulation::state::step_until(std::uint64_t limit_us) {
  QUORLITE_ASSERT(!inside_event && !clients.inside_client());
  if (clients.any_ready()) {
    const client_id chosen = clients.draw();
    hash.add(now, 0xC11E, chosen.value);
    ++events;
    if (reader) {
      trace_event("turn of client", chosen.value, 0, 0);
    }
    clients.run(chosen);
    return true;
  }
  if (queue.empty() || queue.next_at_us() > limit_us) {
    now = limit_us == ~std::uint64_t{0} ? now : std::max(now, limit_us);
    return false;
  }
  auto next = queue.take();
  now = next.at_us;
  ++events;
  struct on_return {
    bool& flag;
    ~on_return() { flag = false; }
  } const guard{inside_event};
  inside_event = true;
  std::visit([this](auto& what) { happen(what); }, next.event);
  return true;
}

QUORLITE_DECL void simulation::run_for(milliseconds span) {
  const std::uint64_t end_us = now_us() + span.value * 1000;
  while (step_until(end_us)) {
  }
}

QUORLITE_DECL void simulation::after(milliseconds span, detail::unique_function<void()> callback) {
  state_->queue.post(now_us() + span.value * 1000,
                     detail::test_callback{.run = std::move(callback)});
}

template <class Event>
bool simulation::state::is_put_off(server_id whom, Event& what) {
  const std::uint64_t until_us = boot_of(whom).paused_until_us;
  if (now < until_us) {
    queue.post(until_us, std::move(what));
  }
  return now < until_us;
}

QUORLITE_DECL void simulation::state::happen(detail::message& what) {
  if (is_put_off(what.to, what)) {
    return;
  }
  const detail::message_digest digest = detail::digest(what);
  hash.add(now, what.body.index(), what.from.value, what.to.value, what.term.value, digest.at,
           digest.details);
  if (reader) {
    trace_event(digest.name, what.from.value, what.to.value, digest.at);
  }
  if (network.connected(what.from, what.to)) {
    node(what.to).receive(what);
  }
}

QUORLITE_DECL void simulation::state::happen(detail::node_wake& what) {
  const bool is_of_log =
      what.kind == detail::wake_kind::disk || what.kind == detail::wake_kind::snapshot;
  const std::uint64_t hangs_until_us = boot_of(what.server).log_hangs_until_us;
  if (is_of_log && now < hangs_until_us) {
    queue.post(hangs_until_us, what);
    return;
  }
  if (is_put_off(what.server, what)) {
    return;
  }
  detail::raft_node& woken = node(what.server);
  hash.add(now, 0x3A6E, what.server.value, static_cast<std::uint64_t>(what.kind),
           woken.term().value, woken.commit_index().value);
  woken.wake(what.kind, what.stamp);
}

QUORLITE_DECL void simulation::state::happen(detail::client_deadline& what) {
  if (const auto again = clients.deadline_came(what.client, now)) {
    queue.post(*again, detail::client_deadline{what.client});
  }
}

QUORLITE_DECL void simulation::state::happen(detail::task_start& what) {
  if (is_put_off(what.server, what)) {
    return;
  }
  detail::server_boot& boot = boot_of(what.server);
  if (boot.boot == what.boot && !boot.tasks.empty()) {
    hash.add(now, 0x7A5C, what.server.value);
    background_task* const task = boot.tasks.front();
    boot.tasks.pop_front();
    task->run();
  }
}

QUORLITE_DECL void simulation::state::happen(detail::test_callback& what) {
  hash.add(now, 0xCA11);
  what.run();
}

// ---- clients

QUORLITE_DECL client_id simulation::spawn(client_body body) {
  return state_->clients.spawn(std::move(body));
}

QUORLITE_DECL void simulation::sleep(milliseconds span) {
  detail::client_signal never;
  static_cast<void>(state_->wait(never, span, 0, server_id{}));
}

QUORLITE_DECL bool simulation::finished(client_id id) const noexcept {
  return state_->clients.finished(id);
}

QUORLITE_DECL std::size_t simulation::unfinished_clients() const noexcept {
  return state_->clients.unfinished();
}

QUORLITE_DECL bool simulation::state::wait(detail::client_signal& signal, milliseconds limit,
                                           std::uint64_t boot_started, server_id id) {
  const auto given_up = [&] {
    return finishing || (boot_started != 0 && !is_alive(id, boot_started));
  };
  if (signal.raised()) {
    return true;
  }
  // Even a wait for nothing lets time pass and others run: else a client that polls would stop the
  // clock for ever, or wait for somebody who never gets a turn.
  const std::uint64_t span_us = given_up() ? 0 : limit.value * 1000;
  const std::uint64_t deadline_us = now + std::max<std::uint64_t>(span_us, 1);
  if (!clients.inside_client()) {
    QUORLITE_ASSERT(!inside_event);  // the strand, a task and a callback must not wait
    while (!signal.raised() && step_until(deadline_us) && !given_up()) {
    }
    return signal.raised();
  }
  if (const auto client = clients.begin_wait(signal, deadline_us, boot_started)) {
    queue.post(deadline_us, detail::client_deadline{*client});
  }
  return clients.pause(signal);
}

QUORLITE_DECL void simulation::finish_clients() noexcept {
  state_->finishing = true;
  // A client that waits in a loop gets false every time, so a bound is needed only against one that
  // never looks.
  for (std::size_t turns = 0; state_->clients.unfinished() > 0; ++turns) {
    QUORLITE_ASSERT(turns < 1000000);
    state_->clients.release(0);
    try {
      state_->clients.run(state_->clients.draw());
    } catch (...) {  // NOLINT: the test is over
    }
  }
  state_->finishing = false;
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
