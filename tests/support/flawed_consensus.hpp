// The model cluster with one mistake at a time, to test the consensus suite: which law says so?
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "quorlite/bytes.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/consensus_conformance.hpp"
#include "quorlite/testing/detail/model/model_cluster.hpp"
#include "quorlite/testing/detail/model/model_harness.hpp"
#include "quorlite/testing/detail/simulation/random.hpp"

namespace quorlite::tests {

using namespace quorlite::detail;           // NOLINT: tests of this library only
using namespace quorlite::testing::detail;  // NOLINT: the same

enum class consensus_flaw {
  none,
  settles_twice,
  settles_on_propose,  // says committed at once, and drops the entry
  keeps_span,          // looks at the caller's buffer when the entry is applied
  announces_early,     // a gain before the entries of older terms are applied
  ignores_term,
  overlaps_strand,    // a skip from a second thread during apply
  false_not_applied,  // says not_applied, and appends
  replays_with_hole,  // restarts from durable + 2
  replays_applied,    // restarts from what the machine applied, not from durable()
  reproposes,         // what a lost term left behind is appended in the next one
  commits_alone,      // applies what only the leader holds
  silent_stop,        // no loss at stop
  unsettled_stop,     // proposals stay unanswered at stop
  reuses_term,        // an election does not raise the term
  leads_on,           // the same, of a server that is alone
  compacts_too_far,   // drops entries above durable()
  compacts_by_flush,  // drops what it asked a flush for, whatever durable() says
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
  keeps_no_install,     // keeps no snapshot that came, and restarts at the start of its log
  trusts_flush,         // flushes after an install, and restarts there whatever came of it
  forgets_log_start,    // does not record where its log starts: takes it for durable() + 1
  runs_tasks_twice,
  commits_when_cut,  // a leader without a quorum says committed
  repeats_gain,
  clock_goes_back,     // every second reading is older
  clock_stands,        // what waits count is another clock
  clock_counts_ms,     // of both clocks the unit is wrong
  utc_from_the_start,  // instead of from 1970
  draws_32_bits,
  draws_twice,         // each number comes twice
  draws_alike,         // on all servers
  draws_anew,          // the same again after a restart
  draws_from_outside,  // a simulation that is no function of its seed
  clock_from_outside,  // the same
  ignores_withdraw,
  withdraws_in_silence,  // gone for the others, and the machine is told no loss
  votes_on,              // leads no more, and takes part as a follower
  proposes_on,           // what comes after withdraw is taken, if it led
  opens_late,            // forgets a withdrawal that comes while it begins to start
  votes_when_started,    // the same, but for what is told to its own machine
};

class flawed_cluster final : public model_cluster {
 public:
  flawed_cluster(std::size_t servers, consensus_flaw flaw) : model_cluster(servers), flaw_(flaw) {}

 private:
  // ---- what adapters ask

  void start(std::size_t server, state_machine& machine) override {
    if (flaw_ == consensus_flaw::opens_late) {
      static_cast<void>(machine.durable());
    }
    model_cluster::start(server, machine);
    if (nodes_[server].has_withdrawn()) {
      withdrew_at_start_.insert(server);
    } else {
      withdrew_at_start_.erase(server);
    }
    model_boot& boot = *servers_[server].boot;
    if (flaw_ == consensus_flaw::draws_anew) {
      draws_of_[server] = 0;
    }
    if (flaw_ == consensus_flaw::replays_with_hole && boot.applied > 0) {
      ++boot.applied;
    }
    const std::uint64_t compacted = servers_[server].compacted;
    switch (flaw_) {
      case consensus_flaw::replays_applied: boot.applied = machine.applied().index.value; break;
      case consensus_flaw::compacts_too_far:
      case consensus_flaw::compacts_by_flush:
      case consensus_flaw::keeps_no_install:
      case consensus_flaw::trusts_flush: boot.applied = std::max(boot.applied, compacted); break;
      case consensus_flaw::forgets_log_start:
        shifted_by_[server] = compacted > boot.applied ? compacted - boot.applied : 0;
        boot.applied = std::max(boot.applied, compacted);
        break;
      default: break;
    }
  }

  void propose(std::size_t server, term expected, proposal_token token,
               bytes_view payload) override {
    model_boot& boot = *servers_[server].boot;
    model_entry entry{expected, false, {payload.begin(), payload.end()}, token, server};
    const bool is_taken = boot.strand.refusal(expected) == settle_reason::none &&
                          payload.size() <= nodes_[server].max_entry_bytes();
    switch (flaw_) {
      case consensus_flaw::settles_on_propose:
        if (is_taken) {
          return boot.machine.settled(token, outcome::committed, settle_reason::none);
        }
        break;
      case consensus_flaw::commits_when_cut:
        if (is_taken && servers_[server].isolated) {
          return boot.machine.settled(token, outcome::committed, settle_reason::none);
        }
        break;
      case consensus_flaw::false_not_applied:
        if (is_taken && token.value % 3 == 0) {
          append(server, std::move(entry));
          return boot.machine.settled(token, outcome::not_applied, settle_reason::busy);
        }
        break;
      case consensus_flaw::forwards:
        if (leader_ && leader_ != server && reachable(*leader_) && boot.pending.add(token)) {
          return append(*leader_, std::move(entry));
        }
        break;
      case consensus_flaw::takes_any_size:
        if (payload.size() > nodes_[server].max_entry_bytes() && boot.pending.add(token)) {
          return append(server, std::move(entry));
        }
        break;
      case consensus_flaw::proposes_on:
        if (leader_ == server && nodes_[server].has_withdrawn() && boot.pending.add(token)) {
          return append(server, std::move(entry));
        }
        break;
      case consensus_flaw::keeps_span: spans_[token.value] = payload; break;
      case consensus_flaw::ignores_term: expected = boot.strand.announced(); break;
      default: break;
    }
    model_cluster::propose(server, expected, token, payload);
  }

  void ask_barrier(std::size_t server, proposal_token token) override {
    if (flaw_ == consensus_flaw::barrier_lies) {
      servers_[server].boot->machine.settled(token, outcome::committed, settle_reason::none);
    } else {
      model_cluster::ask_barrier(server, token);
    }
  }

  void accept(std::size_t server, background_task& task) override {
    model_cluster::accept(server, task);
    if (flaw_ == consensus_flaw::runs_tasks_twice) {
      model_cluster::accept(server, task);
    }
  }

  bool wait(thread_signal& signal, milliseconds limit) override {
    switch (flaw_) {
      case consensus_flaw::waits_badly: return false;
      case consensus_flaw::waits_for_nothing: return true;
      default: return model_cluster::wait(signal, limit);
    }
  }

  clock_reading now(std::size_t server) override {
    clock_reading shown = model_cluster::now(server);
    switch (flaw_) {
      case consensus_flaw::clock_goes_back:
        shown.steady_us += 1'000'000 + (++readings_ % 2) * 5000;
        break;
      case consensus_flaw::clock_stands: shown.steady_us = 7; break;
      case consensus_flaw::clock_counts_ms:
        shown = {.steady_us = shown.steady_us / 1000, .utc_us = shown.utc_us / 1000};
        break;
      case consensus_flaw::utc_from_the_start: shown.utc_us = shown.steady_us; break;
      case consensus_flaw::clock_from_outside: shown.utc_us += outside()++; break;
      default: break;
    }
    return shown;
  }

  std::uint64_t random(std::size_t server) override {
    const auto own_number = [&] { return mix_bits(++draws_of_[server]); };
    switch (flaw_) {
      case consensus_flaw::draws_32_bits: return model_cluster::random(server) >> 32U;
      case consensus_flaw::draws_twice: return mix_bits(readings_++ / 2);
      case consensus_flaw::draws_alike: return own_number();
      case consensus_flaw::draws_anew: return own_number() ^ server;
      case consensus_flaw::draws_from_outside: return mix_bits(outside()++);
      default: return model_cluster::random(server);
    }
  }

  // What lies outside of every simulation.
  static std::uint64_t& outside() {
    static std::uint64_t count = 0;
    return count;
  }

  void end(model_boot& boot) override {
    if (flaw_ != consensus_flaw::silent_stop) {
      boot.strand.close();
    }
    if (flaw_ != consensus_flaw::unsettled_stop) {
      boot.pending.close();
    }
  }

  [[nodiscard]] std::uint64_t compactable(const model_server& server) const override {
    const std::uint64_t applied = server.boot->applied;
    const bool goes_too_far = flaw_ == consensus_flaw::compacts_too_far ||
                              (flaw_ == consensus_flaw::compacts_by_flush &&
                               !server.boot->machine.flush(log_index{applied}));
    return goes_too_far ? applied : model_cluster::compactable(server);
  }

  void install(std::size_t server) override {
    model_cluster::install(server);
    if (flaw_ == consensus_flaw::trusts_flush) {
      model_boot& boot = *servers_[server].boot;
      static_cast<void>(boot.machine.flush(log_index{boot.applied}));
    }
  }

  // ---- events

  bool advance() override {
    if (flaw_ == consensus_flaw::commits_alone && leader_) {
      servers_[*leader_].boot->committed = servers_[*leader_].held;
      if (apply_next()) {
        return true;
      }
    }
    const bool led = leader_ && leads(*leader_);
    const bool any = model_cluster::advance();
    if (flaw_ == consensus_flaw::repeats_gain && !led && leader_ && leads(*leader_)) {
      servers_[*leader_].boot->machine.leadership_changed({term_, true, "again"});
    }
    return any;
  }

  void elect(std::size_t winner) override {
    const quorlite::term was = term_;
    model_cluster::elect(winner);
    const bool leads_on = flaw_ == consensus_flaw::leads_on && servers_.size() == 1;
    if ((flaw_ == consensus_flaw::reuses_term || leads_on) && was.value != 0) {
      term_ = log_.back().term = was;
      for (model_server& each : servers_) {
        if (each.boot != nullptr) {
          each.boot->heard = {};
        }
      }
    }
    if (flaw_ == consensus_flaw::announces_early) {
      while (spread_news()) {
      }
      servers_[winner].boot->machine.leadership_changed({term_, true, "early"});
    }
  }

  void leave(std::size_t server) override {
    if (flaw_ != consensus_flaw::withdraws_in_silence &&
        flaw_ != consensus_flaw::ignores_withdraw) {
      model_cluster::leave(server);
    }
  }

  [[nodiscard]] bool reachable(std::size_t server) const override {
    const model_server& self = servers_[server];
    const bool stays =
        flaw_ == consensus_flaw::ignores_withdraw ||
        (flaw_ == consensus_flaw::votes_on && leader_ != server) ||
        (flaw_ == consensus_flaw::votes_when_started && withdrew_at_start_.count(server) != 0);
    const bool may_stay = self.boot != nullptr && !self.isolated && nodes_[server].has_withdrawn();
    return (stays && may_stay) || model_cluster::reachable(server);
  }

  void lose(std::size_t server, settle_reason why) override {
    if (flaw_ == consensus_flaw::reproposes && leader_) {
      for (auto& [token, entry] : servers_[server].boot->strays) {
        append(*leader_, entry);
      }
    }
    model_cluster::lose(server, why);
  }

  void append(std::size_t server, model_entry entry) override {
    model_cluster::append(server, std::move(entry));
    std::uint64_t elsewhere = commit_;
    for (std::size_t i = 0; i < servers_.size(); ++i) {
      elsewhere = i == server ? elsewhere : std::max(elsewhere, servers_[i].held);
    }
    if (flaw_ == consensus_flaw::shuffles && log_.size() >= elsewhere + 2) {
      std::swap(log_[log_.size() - 1], log_[log_.size() - 2]);
    }
  }

  [[nodiscard]] bool receives(std::size_t server) const override {
    return model_cluster::receives(server) && gave_up_.count(server) == 0;
  }

  void drop_transfer(std::size_t server) override {
    model_boot* const boot = servers_[server].boot.get();
    if (boot != nullptr && boot->stage != nullptr) {
      if (flaw_ == consensus_flaw::gives_up_restores) {
        gave_up_.insert(server);
      }
      if (flaw_ == consensus_flaw::installs_unfinished) {
        static_cast<void>(boot->machine.install(std::move(boot->stage), {}));
      }
    }
    model_cluster::drop_transfer(server);
  }

  [[nodiscard]] bool may_apply(std::size_t server) const override {
    const model_server& self = servers_[server];
    if (flaw_ == consensus_flaw::calls_halted && self.boot != nullptr &&
        self.boot->strand.halted()) {
      return self.boot->applied < std::min(self.boot->committed, self.held);
    }
    return model_cluster::may_apply(server);
  }

  apply_result deliver(std::size_t server, log_position at, const model_entry& entry) override {
    model_boot& boot = *servers_[server].boot;
    at.index.value -= shifted_by_[server];
    model_entry changed = entry;
    if (const auto span = spans_.find(entry.token.value); span != spans_.end()) {
      changed.payload.assign(span->second.begin(), span->second.end());
    }
    const bool damages = flaw_ == consensus_flaw::damages_entries ||
                         (flaw_ == consensus_flaw::forks && server + 1 == servers_.size());
    if (damages && changed.payload.size() > 20) {
      changed.payload[20] ^= std::byte{1};
    }
    changed.no_op |= flaw_ == consensus_flaw::forgets_empty && entry.payload.empty();
    changed.no_op |=
        flaw_ == consensus_flaw::skips_entries && leader_ != server && at.index.value % 5 == 0;
    if (boot.strand.halted()) {
      return boot.machine.apply({at, changed.payload});  // calls_halted
    }
    if (flaw_ == consensus_flaw::overlaps_strand && !changed.no_op) {
      return apply_beside_skips(boot, {at, changed.payload});
    }
    return model_cluster::deliver(server, at, changed);
  }

  void settle_applied(model_boot& boot, const model_entry& entry) override {
    model_cluster::settle_applied(boot, entry);
    if (flaw_ == consensus_flaw::settles_twice) {
      boot.machine.settled(entry.token, outcome::committed, settle_reason::none);
    }
  }

  static apply_result apply_beside_skips(model_boot& boot, const log_entry& entry) {
    std::atomic<bool> done{false};
    std::thread second([&] {
      while (!done) {
        static_cast<void>(boot.machine.skip({log_index{entry.at.index.value - 1}, entry.at.term}));
      }
    });
    const apply_result answer = boot.machine.apply(entry);
    done = true;
    second.join();
    return answer;
  }

  const consensus_flaw flaw_;
  std::map<std::uint64_t, bytes_view> spans_;  // by token
  std::set<std::size_t> gave_up_;
  std::set<std::size_t> withdrew_at_start_;
  std::map<std::size_t, std::uint64_t> draws_of_;    // by server
  std::map<std::size_t, std::uint64_t> shifted_by_;  // by server: its entries have too low indices
  std::uint64_t readings_ = 0;
};

using flawed_harness = model_harness<flawed_cluster>;

}  // namespace quorlite::tests
