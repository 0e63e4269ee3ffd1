/// @file
/// How the simulated cluster of test_raft_world.hpp works. Not to be included by itself.
#pragma once

#include <algorithm>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/testing/detail/raft/world.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// Labels of the parts that draw random numbers, each from a generator of its own.
enum class randomness : std::uint64_t { network = 1, clients = 2, background = 3, server = 100 };

[[nodiscard]] inline random random_for(std::uint64_t seed, randomness part,
                                       std::uint64_t which = 0) noexcept {
  return random{seed}.fork(static_cast<std::uint64_t>(part) + which);
}

}  // namespace detail

inline world::world(world_options options)
    : options_(options),
      background_random_(detail::random_for(options.seed, detail::randomness::background)),
      network_(options.replicas, options.network,
               detail::random_for(options.seed, detail::randomness::network)),
      clients_(options.engine, detail::random_for(options.seed, detail::randomness::clients)),
      lives_(options.replicas) {
  QUORLITE_ASSERT(options.replicas > 0);
  hash_.add(options.seed);
  for (std::uint64_t id = 1; id <= options.replicas; ++id) {
    nodes_.emplace_back(server_id{id}, options_, static_cast<node_environment&>(*this),
                        detail::random_for(options.seed, detail::randomness::server, id));
  }
}

inline world::~world() { finish_clients(); }

// ---- time

inline bool world::step_until(std::uint64_t limit_us) {
  QUORLITE_ASSERT(!inside_event_ && !clients_.inside_client());
  if (clients_.any_ready()) {
    const client_id chosen = clients_.draw();
    hash_.add(now_us_, 0xC11E, chosen.value);
    ++events_;
    if (reader_) {
      trace_event("turn of client", chosen.value, 0, 0);
    }
    clients_.run(chosen);
    return true;
  }
  if (queue_.empty() || queue_.next_at_us() > limit_us) {
    now_us_ = limit_us == ~std::uint64_t{0} ? now_us_ : std::max(now_us_, limit_us);
    return false;
  }
  event_queue<event>::timed next = queue_.take();
  now_us_ = next.at_us;
  ++events_;
  struct on_return {
    bool& flag;
    ~on_return() { flag = false; }
  } const guard{inside_event_};
  inside_event_ = true;
  std::visit([this](auto& what) { happen(what); }, next.event);
  return true;
}

inline void world::run_for(milliseconds span) {
  const std::uint64_t end_us = now_us_ + span.value * 1000;
  while (step_until(end_us)) {
  }
}

inline void world::after(milliseconds span, unique_function<void()> callback) {
  queue_.post(now_us_ + span.value * 1000, test_callback{.run = std::move(callback)});
}

inline void world::happen(message& what) {
  const detail::message_digest digest = detail::digest(what);
  hash_.add(now_us_, what.body.index(), what.from.value, what.to.value, what.term.value, digest.at,
            digest.details);
  if (reader_) {
    trace_event(digest.name, what.from.value, what.to.value, digest.at);
  }
  if (network_.connected(what.from, what.to)) {
    nodes_[place(what.to)].receive(what);
  }
}

inline void world::happen(node_wake& what) {
  raft_node& node = nodes_[place(what.server)];
  hash_.add(now_us_, 0x3A6E, what.server.value, static_cast<std::uint64_t>(what.kind),
            node.term().value, node.commit_index().value);
  node.wake(what.kind, what.stamp);
}

inline void world::happen(client_deadline& what) {
  if (const auto again = clients_.deadline_came(what.client, now_us_)) {
    queue_.post(*again, client_deadline{what.client});
  }
}

inline void world::happen(task_start& what) {
  server_life& life = lives_[place(what.server)];
  if (life.life == what.life && !life.tasks.empty()) {
    hash_.add(now_us_, 0x7A5C, what.server.value);
    background_task* const task = life.tasks.front();
    life.tasks.pop_front();
    task->run();
  }
}

inline void world::happen(test_callback& what) {
  hash_.add(now_us_, 0xCA11);
  what.run();
}

// ---- clients

inline bool world::wait(client_signal& signal, milliseconds limit, std::uint64_t life_started,
                        server_id id) {
  const auto given_up = [&] {
    return finishing_ || (life_started != 0 && !is_alive(id, life_started));
  };
  if (signal.raised() || given_up()) {
    return signal.raised();
  }
  // Even a wait for nothing lets time pass: else a client that polls would stop the clock for ever.
  const std::uint64_t deadline_us = now_us_ + std::max<std::uint64_t>(limit.value * 1000, 1);
  if (!clients_.inside_client()) {
    QUORLITE_ASSERT(!inside_event_);  // the lane, a task and a callback must not wait
    while (!signal.raised() && !given_up() && step_until(deadline_us)) {
    }
    return signal.raised();
  }
  if (const auto client = clients_.begin_wait(signal, deadline_us, life_started)) {
    queue_.post(deadline_us, client_deadline{*client});
  }
  return clients_.pause(signal);
}

inline void world::finish_clients() noexcept {
  finishing_ = true;
  // A client that waits in a loop gets false every time, so a bound is needed only against one that
  // never looks.
  for (std::size_t turns = 0; clients_.unfinished() > 0; ++turns) {
    QUORLITE_ASSERT(turns < 1000000);
    clients_.release(0);
    try {
      clients_.run(clients_.draw());
    } catch (...) {  // NOLINT: the test is over
    }
  }
  finishing_ = false;
}

// ---- servers

inline std::vector<server_id> world::servers() const {
  std::vector<server_id> all;
  for (const raft_node& each : nodes_) {
    all.push_back(each.id());
  }
  return all;
}

inline std::optional<server_id> world::leader() const noexcept {
  const raft_node* best = nullptr;
  for (const raft_node& each : nodes_) {
    if (each.announced() && (best == nullptr || each.term() > best->term())) {
      best = &each;
    }
  }
  return best == nullptr ? std::nullopt : std::optional{best->id()};
}

inline server_disk& world::disk_to_prepare(server_id id) {
  QUORLITE_ASSERT(!running(id));
  return nodes_[place(id)].disk_to_prepare();
}

inline result<std::uint64_t> world::begin_life(server_id id, state_machine& machine) {
  QUORLITE_ASSERT(!running(id));
  const std::uint64_t life = ++lives_begun_;
  lives_[place(id)].life = life;
  if (const std::error_code error = nodes_[place(id)].start(machine)) {
    lives_[place(id)].life = 0;
    return failed(error);
  }
  return life;
}

/// Nobody who waited there may wait on: their stacks must come free.
inline void world::end_life(server_id id) {
  server_life& ending = lives_[place(id)];
  const std::uint64_t life = std::exchange(ending.life, 0);
  ending.tasks.clear();
  clients_.release(life);
}

inline void world::crash(server_id id) {
  if (running(id)) {
    nodes_[place(id)].crash();
    end_life(id);
  }
}

inline void world::restart(server_id id) {
  QUORLITE_ASSERT(!running(id) && static_cast<bool>(on_restart_));
  on_restart_(id);
}

inline void world::stop(server_id id) {
  if (running(id)) {
    server_life& life = lives_[place(id)];
    while (!life.tasks.empty()) {  // each task runs exactly once, and before stop returns
      background_task* const task = life.tasks.front();
      life.tasks.pop_front();
      task->run();
    }
    nodes_[place(id)].stop();
    end_life(id);
  }
}

inline void world::transfer(server_id to) {
  if (const std::optional<server_id> from = leader()) {
    nodes_[place(*from)].transfer_leadership(to);
  }
}

inline void world::run_in_background(server_id id, background_task& task) {
  server_life& life = lives_[place(id)];
  life.tasks.push_back(&task);
  queue_.post(now_us_ + background_random_.between(
                            1, std::max<std::uint64_t>(1, options_.background_max_us)),
              task_start{.server = id, .life = life.life});
}

// ---- depositions

inline void world::depose_leader_when(milestone what, std::uint64_t ordinal, deposition way) {
  QUORLITE_ASSERT(ordinal > 0);
  armed_.push_back({.what = what, .ordinal = ordinal, .way = way});
}

inline bool world::is_armed(milestone what, std::uint64_t ordinal) const noexcept {
  return std::any_of(armed_.begin(), armed_.end(), [&](const armed_deposition& each) {
    return each.what == what && each.ordinal == ordinal;
  });
}

inline deposition world::depose(server_id whom, milestone what, std::uint64_t ordinal,
                                log_index at) {
  const auto found = std::find_if(armed_.begin(), armed_.end(), [&](const armed_deposition& each) {
    return each.what == what && each.ordinal == ordinal;
  });
  QUORLITE_ASSERT(found != armed_.end());
  const deposition way = found->way;
  armed_.erase(found);
  deposed_.push_back({.server = whom, .term = node_of(whom).term(), .command = at});
  hash_.add(now_us_, 0xDE90, whom.value, at.value, static_cast<std::uint64_t>(way));
  if (reader_) {
    trace_event("deposition of, at entry", whom.value, at.value, 0);
  }
  if (way == deposition::crash) {
    crash(whom);
  } else if (way == deposition::isolate) {
    isolate(whom);
  }
  return way;
}

// ---- what nodes ask for

inline void world::send(message what) {
  const simulated_network::arrivals arrivals = network_.send(what.from, what.to, now_us_);
  if (arrivals.count == 2) {
    queue_.post(arrivals.at_us[1], what);
  }
  if (arrivals.count > 0) {
    queue_.post(arrivals.at_us[0], std::move(what));
  }
}

inline void world::wake_at(server_id whom, wake_kind kind, std::uint64_t at_us,
                           std::uint64_t stamp) {
  queue_.post(at_us, node_wake{.server = whom, .kind = kind, .stamp = stamp});
}

inline void world::trace_line(server_id whom, const char* text) {
  char line[240];
  const int length = std::snprintf(line, sizeof line, "%10.3f ms  server %llu %s",
                                   static_cast<double>(now_us_) / 1000.0,
                                   static_cast<unsigned long long>(whom.value), text);
  reader_(std::string_view(line, std::min(static_cast<std::size_t>(length), sizeof line - 1)));
}

inline void world::trace_event(const char* what, std::uint64_t first, std::uint64_t second,
                               std::uint64_t third) {
  char line[240];
  const int length = std::snprintf(
      line, sizeof line, "%10.3f ms  %s %llu %llu %llu", static_cast<double>(now_us_) / 1000.0,
      what, static_cast<unsigned long long>(first), static_cast<unsigned long long>(second),
      static_cast<unsigned long long>(third));
  reader_(std::string_view(line, std::min(static_cast<std::size_t>(length), sizeof line - 1)));
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
