// A small honest cluster in one process, and dishonest variants of it, for tests of the consensus
// suite.
//
// There is one log for all servers; a server *holds* a prefix of it. The simulation advances in
// steps, each the smallest thing that can happen next: an election, one entry to one server, one
// entry applied. No clock and no chance: the same calls give the same run. Whoever leads keeps
// leadership until it is moved, cut off or gone.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "quorlite/adapter_kit.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/consensus_conformance.hpp"

namespace quorlite::tests {

using namespace quorlite::detail;  // NOLINT: tests of this library only

enum class loop_flaw {
  none,
  settles_twice,
  settles_on_propose,  // says committed at once, and drops the entry
  keeps_span,          // looks at the caller's buffer when the entry is applied
  announces_early,     // a gain before the entries of older terms are applied
  ignores_term,
  overlaps_strand,    // a skip from a second thread during apply
  false_not_applied,  // says not_applied, and appends
  replays_with_hole,  // restarts from durable + 2
  reproposes,         // what a lost term left behind is appended in the next one
  commits_alone,      // applies what only the leader holds
  silent_stop,        // no loss at stop
  unsettled_stop,     // proposals stay unanswered at stop
  reuses_term,        // an election does not raise the term
  compacts_too_far,   // drops entries above durable()
  waits_badly,        // does not notice a signal raised before
  waits_for_nothing,  // true although nobody raised the signal
  barrier_lies,       // every barrier is committed at once
  calls_halted,       // goes on after halted
  forwards,           // a follower appends proposals on behalf of the leader
  shuffles,           // the last two proposals change places
  skips_entries,      // a follower skips over an entry
  damages_entries,    // a byte changes on the way
  forks,              // a byte changes on the way to one server
  forgets_empty,      // an entry of no bytes is taken for a no-op
  takes_any_size,
  gives_up_restores,    // a restore that was interrupted or refused is never tried again
  installs_unfinished,  // an interrupted stage is installed as it is
  runs_tasks_twice,
  commits_when_cut,  // a leader without a quorum says committed
  repeats_gain,
};

class loop_cluster;

// The adapter of one server. Any thread, if the cluster's simulation runs in a thread of its own.
class loop_consensus {
 public:
  static constexpr consensus_abilities abilities{.entry_terms = true,
                                                 .contiguous = true,
                                                 .read_barrier = true,
                                                 .leadership_transfer = true,
                                                 .background_work = true};
  using signal_type = thread_signal;

  loop_consensus(loop_cluster& cluster, std::size_t server) : cluster_(cluster), server_(server) {}

  std::error_code start(state_machine& machine) noexcept;
  void stop() noexcept;
  void propose(term expected, proposal_token token, bytes_view entry) noexcept;
  [[nodiscard]] std::size_t max_entry_bytes() const noexcept { return std::size_t{1} << 16U; }
  bool wait(thread_signal& signal, milliseconds limit) noexcept;
  void read_barrier(proposal_token token) noexcept;
  void transfer_leadership() noexcept;
  void run(background_task& task) noexcept;

 private:
  loop_cluster& cluster_;
  std::size_t server_;
};

static_assert(consensus<loop_consensus>);

class loop_cluster {
 public:
  explicit loop_cluster(std::size_t servers, loop_flaw flaw = loop_flaw::none,
                        bool threaded = false)
      : flaw_(flaw), threaded_(threaded), servers_(servers) {
    for (std::size_t i = 0; i < servers; ++i) {
      nodes_.emplace_back(*this, i);
    }
  }
  loop_cluster(const loop_cluster&) = delete;
  loop_cluster& operator=(const loop_cluster&) = delete;

  [[nodiscard]] std::size_t size() const noexcept { return servers_.size(); }
  [[nodiscard]] loop_consensus& node(std::size_t server) noexcept { return nodes_[server]; }

  // One small event. @returns false if nothing can happen
  bool step() {
    const std::lock_guard guard(mutex_);
    if (flaw_ == loop_flaw::commits_alone && apply_next()) {
      return true;
    }
    return elect_if_needed() || announce_losses() || replicate() || apply_next() ||
           announce_gain() || settle_barriers() || run_a_task();
  }

  // ---- what may happen to servers

  void isolate(std::size_t server) {
    const std::lock_guard guard(mutex_);
    servers_[server].isolated = true;
    drop_transfer(servers_[server]);
  }
  void heal() {
    const std::lock_guard guard(mutex_);
    for (std::size_t i = 0; i < servers_.size(); ++i) {
      servers_[i].isolated = false;
      if (leads(i)) {  // still in leadership: what waited for the quorum goes into the log
        for (auto& [token, entry] : std::exchange(servers_[i].strays, {})) {
          append(i, std::move(entry));
        }
      }
    }
  }
  void crash(std::size_t server) {
    const std::lock_guard guard(mutex_);
    forget(server);
  }
  void compact(std::size_t server) {
    const std::lock_guard guard(mutex_);
    member& self = servers_[server];
    const std::uint64_t upto =
        flaw_ == loop_flaw::compacts_too_far ? self.applied : self.machine->durable().index.value;
    self.compacted = std::max(self.compacted, std::min(upto, self.held));
  }
  void fail_log_write(std::size_t server) {
    const std::lock_guard guard(mutex_);
    servers_[server].log_fails = true;
  }
  // Gives leadership to `to`, if it holds all that is committed.
  void move_leader(std::size_t to) {
    const std::lock_guard guard(mutex_);
    if (reachable(to) && servers_[to].held >= commit_) {
      elect(to);
    }
  }

 private:
  friend class loop_consensus;

  struct stored_entry {
    quorlite::term term;
    bool no_op = false;
    bytes payload;
    bytes_view borrowed;  // of keeps_span
    proposal_token token;
    std::size_t proposer = 0;
  };
  struct barrier {
    proposal_token token;
    std::uint64_t target = 0;
  };
  struct member {
    state_machine* machine = nullptr;  // null: not running
    bool isolated = false;
    bool halted = false;
    bool log_fails = false;
    std::uint64_t held = 0;       // entries of the log it holds
    std::uint64_t compacted = 0;  // of these, no longer there
    std::uint64_t committed = 0;  // that it knows of
    std::uint64_t applied = 0;
    bool announced = false;
    quorlite::term leader;
    bool gave_up = false;
    std::map<std::uint64_t, bool> pending;  // tokens not yet settled
    std::map<std::uint64_t, stored_entry> strays;
    std::vector<barrier> barriers;
    std::unique_ptr<snapshot_reader> reader;
    std::unique_ptr<snapshot_stage> stage;
    std::uint64_t sent_bytes = 0;
  };

  bool reachable(std::size_t i) const {
    return servers_[i].machine != nullptr && !servers_[i].isolated && !servers_[i].halted;
  }
  bool leads(std::size_t i) const {
    return leader_ == i && servers_[i].announced && servers_[i].leader == term_;
  }
  std::size_t quorum() const { return servers_.size() / 2 + 1; }

  // ---- elections

  bool elect_if_needed() {
    if (leader_ && reachable(*leader_)) {
      return false;
    }
    return elect_longest({});
  }
  bool elect_longest(std::optional<std::size_t> but) {
    std::optional<std::size_t> best;
    std::size_t present = 0;
    for (std::size_t i = 0; i < servers_.size(); ++i) {
      present += reachable(i) ? 1U : 0U;
      if (reachable(i) && i != but && (!best || servers_[i].held > servers_[*best].held)) {
        best = i;
      }
    }
    if (!best || present < quorum() || servers_[*best].held < commit_) {
      return false;
    }
    elect(*best);
    return true;
  }
  void elect(std::size_t winner) {
    log_.resize(servers_[winner].held);  // what the winner does not hold is lost
    for (member& other : servers_) {
      other.held = std::min<std::uint64_t>(other.held, log_.size());
      drop_transfer(other);
    }
    if (flaw_ != loop_flaw::reuses_term || term_.value == 0) {
      term_ = term_.next();
    }
    leader_ = winner;
    stored_entry no_op;
    no_op.term = term_;
    no_op.no_op = true;
    log_.push_back(std::move(no_op));
    servers_[winner].held = log_.size();
    leadership_index_ = log_.size();
    if (flaw_ == loop_flaw::announces_early) {
      announce_losses();
      gain(servers_[winner]);
    }
  }
  void gain(member& self) {
    self.announced = true;
    self.leader = term_;
    self.machine->leadership_changed({term_, true, "loop"});
  }
  bool announce_gain() {
    if (!leader_ || !reachable(*leader_)) {
      return false;
    }
    member& self = servers_[*leader_];
    if (self.announced || self.applied < leadership_index_) {
      return false;
    }
    gain(self);
    if (flaw_ == loop_flaw::repeats_gain) {
      gain(self);
    }
    return true;
  }
  bool announce_losses() {
    bool any = false;
    for (std::size_t i = 0; i < servers_.size(); ++i) {
      member& self = servers_[i];
      const bool told = self.machine != nullptr && (!self.isolated || self.halted);
      if (told && self.announced && (self.halted || leader_ != i || self.leader != term_)) {
        lose(self, settle_reason::leadership_lost);
        any = true;
      }
    }
    return any;
  }
  void lose(member& self, settle_reason why) {
    self.announced = false;
    self.machine->leadership_changed({self.leader, false, {}});
    if (flaw_ == loop_flaw::reproposes && leader_) {
      for (auto& [token, entry] : self.strays) {
        entry.term = term_;
        log_.push_back(entry);
        servers_[*leader_].held = log_.size();
      }
    }
    settle_all(self, why);
  }
  void settle_all(member& self, settle_reason why) {
    self.strays.clear();
    for (const barrier& asked : std::exchange(self.barriers, {})) {
      self.machine->settled(asked.token, outcome::unknown, why);
    }
    for (const auto& [token, unused] : std::exchange(self.pending, {})) {
      self.machine->settled(proposal_token{token}, outcome::unknown, why);
    }
  }

  // ---- entries

  void append(std::size_t server, stored_entry entry) {
    entry.term = term_;
    log_.push_back(std::move(entry));
    servers_[server].held = log_.size();
    std::uint64_t elsewhere = commit_;
    for (std::size_t i = 0; i < servers_.size(); ++i) {
      elsewhere = i == server ? elsewhere : std::max(elsewhere, servers_[i].held);
    }
    if (flaw_ == loop_flaw::shuffles && log_.size() >= elsewhere + 2) {
      std::swap(log_[log_.size() - 1], log_[log_.size() - 2]);
    }
  }
  bool replicate() {
    if (!leader_ || !reachable(*leader_)) {
      return false;
    }
    member& source = servers_[*leader_];
    for (std::size_t i = 0; i < servers_.size(); ++i) {
      member& target = servers_[i];
      if (i == *leader_ || !reachable(i) || target.gave_up) {
        continue;
      }
      if (target.held < source.compacted || target.applied < target.compacted) {
        send_snapshot(source, target);
        return true;
      }
      if (target.held < source.held) {
        ++target.held;
        return true;
      }
    }
    std::vector<std::uint64_t> held;
    for (std::size_t i = 0; i < servers_.size(); ++i) {
      held.push_back(reachable(i) ? servers_[i].held : 0);
    }
    std::sort(held.rbegin(), held.rend());
    commit_ = std::max(commit_, held[quorum() - 1]);
    for (std::size_t i = 0; i < servers_.size(); ++i) {
      if (reachable(i)) {
        servers_[i].committed =
            std::max(servers_[i].committed, std::min(commit_, servers_[i].held));
      }
    }
    return false;
  }
  // The leader first: followers lag behind it, as they do in life.
  bool apply_next() {
    if (leader_ && flaw_ == loop_flaw::commits_alone) {
      servers_[*leader_].committed = servers_[*leader_].held;
    }
    if (leader_ && apply_one(*leader_)) {
      return true;
    }
    for (std::size_t i = 0; i < servers_.size(); ++i) {
      if (apply_one(i)) {
        return true;
      }
    }
    return false;
  }
  bool apply_one(std::size_t server) {
    member& self = servers_[server];
    const bool stopped = self.halted && flaw_ != loop_flaw::calls_halted;
    if (self.machine == nullptr || stopped || self.stage || self.applied < self.compacted ||
        self.applied >= std::min(self.committed, self.held)) {
      return false;
    }
    const std::uint64_t index = ++self.applied;
    stored_entry& entry = log_[static_cast<std::size_t>(index - 1)];
    const log_position at{log_index{index}, entry.term};
    if (!entry.borrowed.empty()) {
      entry.payload.assign(entry.borrowed.begin(), entry.borrowed.end());
    }
    const bool skips = flaw_ == loop_flaw::skips_entries && leader_ != server && index % 5 == 0;
    const bool forgotten = flaw_ == loop_flaw::forgets_empty && entry.payload.empty();
    const apply_result answer =
        entry.no_op || skips || forgotten ? self.machine->skip(at) : give(self, at, entry.payload);
    if (answer == apply_result::halted) {
      self.halted = true;
    }
    if (entry.proposer == server && answer != apply_result::halted &&
        self.pending.erase(entry.token.value) > 0) {
      self.machine->settled(entry.token, outcome::committed, settle_reason::none);
      if (flaw_ == loop_flaw::settles_twice) {
        self.machine->settled(entry.token, outcome::committed, settle_reason::none);
      }
    }
    return true;
  }
  apply_result give(member& self, log_position at, const bytes& payload) {
    bytes copy = payload;
    const bool forked = flaw_ == loop_flaw::forks && &self == &servers_.back();
    if ((flaw_ == loop_flaw::damages_entries || forked) && copy.size() > 20) {
      copy[20] ^= std::byte{1};
    }
    if (flaw_ != loop_flaw::overlaps_strand) {
      return self.machine->apply({at, copy});
    }
    std::atomic<bool> done{false};
    std::thread second([&] {
      while (!done) {
        static_cast<void>(self.machine->skip({log_index{at.index.value - 1}, at.term}));
      }
    });
    const apply_result answer = self.machine->apply({at, copy});
    done = true;
    second.join();
    return answer;
  }

  // ---- snapshots

  void drop_transfer(member& target) {
    if (target.stage && flaw_ == loop_flaw::gives_up_restores) {
      target.gave_up = true;
    }
    if (target.stage && flaw_ == loop_flaw::installs_unfinished && target.machine != nullptr) {
      static_cast<void>(target.machine->install(std::move(target.stage), {}));
    }
    target.reader.reset();
    target.stage.reset();
    target.sent_bytes = 0;
  }
  // One chunk.
  void send_snapshot(member& source, member& target) {
    if (!target.stage) {
      auto reader = source.machine->take_snapshot();
      auto stage = target.machine->begin_restore();
      if (!reader || !stage) {
        return;
      }
      target.reader = std::move(*reader);
      target.stage = std::move(*stage);
      target.sent_bytes = 0;
    }
    const std::uint64_t left = target.reader->size_bytes() - target.sent_bytes;
    bytes chunk(static_cast<std::size_t>(std::min<std::uint64_t>(left, 512)));
    if (target.reader->read(target.sent_bytes, chunk) || target.stage->append(chunk)) {
      drop_transfer(target);
      return;
    }
    target.sent_bytes += chunk.size();
    if (target.sent_bytes < target.reader->size_bytes()) {
      return;
    }
    if (target.stage->finish()) {
      drop_transfer(target);
      return;
    }
    const log_position at = target.reader->at();
    target.halted = target.machine->install(std::move(target.stage), at) == apply_result::halted;
    target.stage.reset();
    target.reader.reset();
    target.held = std::max(target.held, at.index.value);
    target.compacted = at.index.value;
    target.applied = at.index.value;
    target.committed = std::max(target.committed, at.index.value);
  }

  // ---- barriers and tasks

  // All that was committed when a barrier was asked is applied, and leadership is still held: a
  // majority is in reach.
  bool settle_barriers() {
    for (std::size_t i = 0; i < servers_.size(); ++i) {
      member& self = servers_[i];
      if (self.barriers.empty() || !reachable(i) || !leads(i)) {
        continue;
      }
      std::size_t present = 0;
      for (std::size_t other = 0; other < servers_.size(); ++other) {
        present += reachable(other) ? 1U : 0U;
      }
      if (present >= quorum() && self.applied >= self.barriers.front().target) {
        const proposal_token token = self.barriers.front().token;
        self.barriers.erase(self.barriers.begin());
        self.machine->settled(token, outcome::committed, settle_reason::none);
        return true;
      }
    }
    return false;
  }
  bool run_a_task() {
    if (tasks_.empty()) {
      return false;
    }
    background_task& task = *tasks_.front().second;
    tasks_.pop_front();
    task.run();
    if (flaw_ == loop_flaw::runs_tasks_twice) {
      task.run();
    }
    return true;
  }

  // ---- what adapters ask

  void forget(std::size_t server) {
    member& self = servers_[server];
    if (leader_ == server) {
      leader_.reset();  // leadership does not outlive its process
    }
    self.machine = nullptr;
    self.halted = false;
    self.announced = false;
    self.applied = 0;
    self.committed = 0;
    self.pending.clear();
    self.strays.clear();
    self.barriers.clear();
    self.reader.reset();
    self.stage.reset();
  }
  std::error_code start(std::size_t server, state_machine& machine) {
    const std::lock_guard guard(mutex_);
    member& self = servers_[server];
    self.machine = &machine;
    const std::uint64_t durable = machine.durable().index.value;
    self.applied = durable;
    if (flaw_ == loop_flaw::replays_with_hole && durable > 0) {
      ++self.applied;
    }
    if (flaw_ == loop_flaw::compacts_too_far) {
      self.applied = std::max(durable, self.compacted);
    }
    return {};
  }
  void stop(std::size_t server) {
    const std::lock_guard guard(mutex_);
    member& self = servers_[server];
    if (self.machine == nullptr) {
      return;
    }
    while (std::any_of(tasks_.begin(), tasks_.end(),
                       [&](const auto& task) { return task.first == server; })) {
      run_a_task();
    }
    if (self.announced && flaw_ != loop_flaw::silent_stop) {
      self.announced = false;
      self.machine->leadership_changed({self.leader, false, {}});
    }
    if (flaw_ != loop_flaw::unsettled_stop) {
      settle_all(self, settle_reason::stopped);
    }
    forget(server);
  }
  void propose(std::size_t server, term expected, proposal_token token, bytes_view payload) {
    const std::lock_guard guard(mutex_);
    member& self = servers_[server];
    const auto refuse = [&](settle_reason why) {
      self.machine->settled(token, outcome::not_applied, why);
    };
    stored_entry entry;
    entry.token = token;
    entry.proposer = server;
    if (flaw_ == loop_flaw::keeps_span) {
      entry.borrowed = payload;
    } else {
      entry.payload.assign(payload.begin(), payload.end());
    }
    if (payload.size() > nodes_[server].max_entry_bytes() && flaw_ != loop_flaw::takes_any_size) {
      return refuse(settle_reason::too_large);
    }
    if (flaw_ == loop_flaw::forwards && leader_ && leader_ != server && reachable(*leader_)) {
      self.pending[token.value] = true;
      return append(*leader_, std::move(entry));
    }
    if (self.halted || !self.announced) {
      return refuse(settle_reason::not_leader);
    }
    if (expected != self.leader && flaw_ != loop_flaw::ignores_term) {
      return refuse(settle_reason::stale_term);
    }
    if (std::exchange(self.log_fails, false)) {
      return refuse(settle_reason::log_failed);
    }
    if (flaw_ == loop_flaw::settles_on_propose ||
        (flaw_ == loop_flaw::commits_when_cut && self.isolated)) {
      return self.machine->settled(token, outcome::committed, settle_reason::none);
    }
    if (flaw_ == loop_flaw::false_not_applied && token.value % 3 == 0) {
      append(server, std::move(entry));
      return refuse(settle_reason::busy);
    }
    self.pending[token.value] = true;
    if (self.isolated || !leads(server)) {
      self.strays.emplace(token.value, std::move(entry));
    } else {
      append(server, std::move(entry));
    }
  }
  void ask_barrier(std::size_t server, proposal_token token) {
    const std::lock_guard guard(mutex_);
    member& self = servers_[server];
    if (flaw_ == loop_flaw::barrier_lies) {
      self.machine->settled(token, outcome::committed, settle_reason::none);
    } else if (self.halted || !self.announced) {
      self.machine->settled(token, outcome::not_applied, settle_reason::not_leader);
    } else {
      self.barriers.push_back({token, commit_});
    }
  }
  void transfer(std::size_t server) {
    const std::lock_guard guard(mutex_);
    if (leads(server) && reachable(server)) {
      elect_longest(server);
    }
  }
  void accept(std::size_t server, background_task& task) {
    const std::lock_guard guard(mutex_);
    tasks_.emplace_back(server, &task);
  }
  bool wait(thread_signal& signal, milliseconds limit) {
    if (flaw_ == loop_flaw::waits_badly || flaw_ == loop_flaw::waits_for_nothing) {
      return flaw_ == loop_flaw::waits_for_nothing;
    }
    if (threaded_) {
      return signal.wait(limit);
    }
    for (std::uint64_t passed = 0; !signal.wait(milliseconds{0});
         ++passed) {  // a step is a millisecond
      if (passed >= limit.value || !step()) {
        return false;
      }
    }
    return true;
  }

  const loop_flaw flaw_;
  const bool threaded_;
  std::mutex mutex_;
  std::vector<member> servers_;
  std::deque<loop_consensus> nodes_;
  std::vector<stored_entry> log_;
  std::deque<std::pair<std::size_t, background_task*>> tasks_;
  std::optional<std::size_t> leader_;
  quorlite::term term_;
  std::uint64_t commit_ = 0;
  std::uint64_t leadership_index_ = 0;
};

inline std::error_code loop_consensus::start(state_machine& machine) noexcept {
  return cluster_.start(server_, machine);
}
inline void loop_consensus::stop() noexcept { cluster_.stop(server_); }
inline void loop_consensus::propose(term expected, proposal_token token,
                                    bytes_view entry) noexcept {
  cluster_.propose(server_, expected, token, entry);
}
inline bool loop_consensus::wait(thread_signal& signal, milliseconds limit) noexcept {
  return cluster_.wait(signal, limit);
}
inline void loop_consensus::read_barrier(proposal_token token) noexcept {
  cluster_.ask_barrier(server_, token);
}
inline void loop_consensus::transfer_leadership() noexcept { cluster_.transfer(server_); }
inline void loop_consensus::run(background_task& task) noexcept { cluster_.accept(server_, task); }

// The harness in one thread: everything happens inside pump, run_until and wait.
class loop_harness {
 public:
  using adapter_type = loop_consensus;
  static constexpr testing::harness_faults faults{
      .partition = true, .crash = true, .restart = true, .compact = true, .fail_log_write = true};

  explicit loop_harness(std::size_t servers, loop_flaw flaw = loop_flaw::none)
      : cluster_(servers, flaw) {}

  [[nodiscard]] std::size_t size() const noexcept { return cluster_.size(); }
  [[nodiscard]] loop_consensus& node(std::size_t server) noexcept { return cluster_.node(server); }
  std::error_code start(std::size_t server, state_machine& machine) {
    return node(server).start(machine);
  }
  void pump() {
    for (int i = 0; i < 100000 && cluster_.step(); ++i) {
    }
  }
  template <class Condition>
  bool run_until(Condition condition) {
    for (int i = 0; i < 100000; ++i) {
      if (condition()) {
        return true;
      }
      if (!cluster_.step()) {
        return condition();
      }
    }
    return false;
  }
  void isolate(std::size_t server) { cluster_.isolate(server); }
  void heal() { cluster_.heal(); }
  void crash(std::size_t server) { cluster_.crash(server); }
  std::error_code restart(std::size_t server, state_machine& machine) {
    return node(server).start(machine);
  }
  void compact(std::size_t server) { cluster_.compact(server); }
  void fail_log_write(std::size_t server) { cluster_.fail_log_write(server); }
  [[nodiscard]] loop_cluster& cluster() noexcept { return cluster_; }

 private:
  loop_cluster cluster_;
};

static_assert(testing::consensus_harness<loop_harness>);

// The same simulation, driven by a thread of its own.
class threaded_loop_harness {
 public:
  using adapter_type = loop_consensus;
  static constexpr testing::harness_faults faults{
      .partition = true, .crash = true, .restart = true, .compact = true, .threads = true};

  explicit threaded_loop_harness(std::size_t servers) : cluster_(servers, loop_flaw::none, true) {
    simulation_ = std::thread([this] {
      while (!ending_) {
        idle_ = cluster_.step() ? 0 : idle_ + 1;
        if (idle_ > 0) {
          std::this_thread::sleep_for(std::chrono::microseconds(100));
        }
      }
    });
  }
  threaded_loop_harness(const threaded_loop_harness&) = delete;
  threaded_loop_harness& operator=(const threaded_loop_harness&) = delete;
  ~threaded_loop_harness() {
    ending_ = true;
    simulation_.join();
  }

  [[nodiscard]] std::size_t size() const noexcept { return cluster_.size(); }
  [[nodiscard]] loop_consensus& node(std::size_t server) noexcept { return cluster_.node(server); }
  std::error_code start(std::size_t server, state_machine& machine) {
    return node(server).start(machine);
  }
  void pump() {
    idle_ = 0;
    run_until([this] { return idle_ > 5; });
  }
  template <class Condition>
  bool run_until(Condition condition) {
    for (int i = 0; i < 50000; ++i) {
      if (condition()) {
        return true;
      }
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    return false;
  }
  void isolate(std::size_t server) { cluster_.isolate(server); }
  void heal() { cluster_.heal(); }
  void crash(std::size_t server) { cluster_.crash(server); }
  std::error_code restart(std::size_t server, state_machine& machine) {
    return node(server).start(machine);
  }
  void compact(std::size_t server) { cluster_.compact(server); }

 private:
  loop_cluster cluster_;
  std::atomic<int> idle_{0};
  std::atomic<bool> ending_{false};
  std::thread simulation_;
};

static_assert(testing::consensus_harness<threaded_loop_harness>);

}  // namespace quorlite::tests
