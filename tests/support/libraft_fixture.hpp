// libraft's own fixture, with virtual time and no sockets, in the hands of the consensus suite.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "quorlite/adapter_kit.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/libraft/core.hpp"
#include "quorlite/testing/consensus_conformance.hpp"
#include "support/libraft_disk.hpp"

extern "C" {
#include <raft/fixture.h>
}

namespace quorlite::tests {

using namespace quorlite::detail;  // NOLINT: tests of this library only

class fixture_simulation;

// One way to be wrong each. All but the last few stand between the adapter and the machine.
enum class fixture_flaw : std::uint8_t {
  none,
  settles_twice,
  settles_on_append,         // committed as soon as raft_apply took it
  drops_last_of_batch,       // of several proposals in one entry
  announces_early,           // without the barrier
  lost_is_not_applied,       // LEADERSHIPLOST is said to be definite
  keeps_span,                // reads the caller's bytes later
  overlaps_skip,             // a skip from inside apply
  one_index_for_a_batch,     // the index of the entry, not of the command
  indices_of_the_engine,     // leaves holes where a batch has several commands, or none
  no_terms,                  // 0 in place of the term
  forwards_after_loss,       // proposes at whatever term it is now
  barrier_without_quorum,    // answers at once
  forgets_on_stop,           // leaves proposals unsettled
  keeps_leadership_on_stop,  // without a loss
  replays_with_hole,         // the first entry after a restart is lost
  counts_from_snapshot,      // as if the snapshot held nothing: a restart of our own count
};

// What the core sees as its machine: passes everything on, wrongly if it is told to.
class flawed_machine final : public state_machine {
 public:
  explicit flawed_machine(fixture_flaw flaw) : flaw_(flaw) {}
  void set(state_machine& real) noexcept { real_ = &real; }
  [[nodiscard]] state_machine& real() noexcept { return *real_; }

  apply_result apply(const log_entry& entry) noexcept override {
    if (gone_) {
      return apply_result::already;
    }
    if (std::exchange(skips_next_, false)) {
      return real_->skip(entry.at);
    }
    log_entry changed = entry;
    switch (flaw_) {
      case fixture_flaw::one_index_for_a_batch:
        batch_base_ = entry_now() == batch_entry_ ? batch_base_ : entry.at.index;
        batch_entry_ = entry_now();
        changed.at.index = batch_base_;
        break;
      case fixture_flaw::indices_of_the_engine: changed.at.index = log_index{entry_now()}; break;
      case fixture_flaw::replays_with_hole:
        if (!std::exchange(first_seen_, true) && entry.at.index > real_->durable().index) {
          return apply_result::already;
        }
        break;
      case fixture_flaw::counts_from_snapshot: changed.at.index.value -= installed_; break;
      case fixture_flaw::no_terms: changed.at.term = term{}; break;
      default: break;
    }
    if (flaw_ == fixture_flaw::overlaps_skip) {
      std::atomic<bool> done{false};
      std::thread beside([this, &done] {
        while (!done) {
          static_cast<void>(real_->skip({}));
        }
      });
      const apply_result answer = real_->apply(changed);
      done = true;
      beside.join();
      return answer;
    }
    return real_->apply(changed);
  }
  apply_result skip(log_position upto) noexcept override {
    const bool silent = gone_ || flaw_ == fixture_flaw::indices_of_the_engine;
    return silent ? apply_result::already : real_->skip(upto);
  }
  void leadership_changed(const leadership& now) noexcept override {
    if (flaw_ == fixture_flaw::announces_early && now.leading) {
      return;  // it was, already
    }
    if (gone_) {
      return;
    }
    if (flaw_ == fixture_flaw::keeps_leadership_on_stop && stopping_) {
      return;
    }
    real_->leadership_changed(now);
  }
  void lead_early(term now) noexcept {
    if (flaw_ == fixture_flaw::announces_early && now != led_) {
      led_ = now;
      real_->leadership_changed({now, true, "early"});
    }
  }
  result<std::unique_ptr<snapshot_reader>> take_snapshot() noexcept override {
    if (gone_ || busy_) {
      return fail(errc::busy);
    }
    return real_->take_snapshot();
  }
  apply_result install(std::unique_ptr<snapshot_stage> finished,
                       log_position engine_at) noexcept override {
    installed_ = engine_at.index.value;
    return gone_ ? apply_result::already : real_->install(std::move(finished), engine_at);
  }
  void settled(proposal_token which, outcome how, settle_reason why) noexcept override {
    if (gone_ || (flaw_ == fixture_flaw::forgets_on_stop && stopping_)) {
      return;
    }
    if (flaw_ == fixture_flaw::settles_on_append && how != outcome::not_applied) {
      return;  // it was told already
    }
    if (flaw_ == fixture_flaw::lost_is_not_applied && how == outcome::unknown) {
      how = outcome::not_applied;
    }
    real_->settled(which, how, why);
    if (flaw_ == fixture_flaw::settles_twice) {
      real_->settled(which, how, why);
    }
    for (const auto& [kept, dropped] : aliases_) {
      if (kept == which) {
        real_->settled(dropped, how, why);
      }
    }
  }
  result<std::unique_ptr<snapshot_stage>> begin_restore() noexcept override {
    return real_->begin_restore();
  }
  log_position applied() const noexcept override { return real_->applied(); }
  log_position durable() const noexcept override { return real_->durable(); }
  base_history base() const noexcept override { return real_->base(); }
  history_position history() const noexcept override { return real_->history(); }
  history_match matches(log_index at, std::uint64_t low) const noexcept override {
    return real_->matches(at, low);
  }
  std::error_code flush(log_index upto) noexcept override { return real_->flush(upto); }

  void stop() noexcept { stopping_ = true; }
  // A crash: whatever the engine says from here on, nobody hears of it.
  void go() noexcept { gone_ = true; }
  // The next entry is told as one that holds nothing.
  void skip_next() noexcept { skips_next_ = true; }
  // No snapshot can be taken, or it can again.
  void be_busy(bool busy) noexcept { busy_ = busy; }
  void settle_with(proposal_token kept, proposal_token dropped) {
    aliases_.emplace_back(kept, dropped);
  }
  void watch(const ::raft& engine) noexcept { engine_ = &engine; }

 private:
  [[nodiscard]] std::uint64_t entry_now() const noexcept { return engine_->last_applied + 1; }

  const fixture_flaw flaw_;
  state_machine* real_ = nullptr;
  const ::raft* engine_ = nullptr;
  std::uint64_t batch_entry_ = 0;
  log_index batch_base_;
  term led_;
  bool stopping_ = false;
  std::atomic<bool> gone_{false};
  bool busy_ = false;
  bool first_seen_ = false;
  bool skips_next_ = false;
  std::uint64_t installed_ = 0;
  std::vector<std::pair<proposal_token, proposal_token>> aliases_;
};

// The adapter of one server. What it is given waits for the next step of the simulation, as it
// would for the next round of a loop.
class fixture_raft {
 public:
  static constexpr consensus_abilities abilities{.entry_terms = true,
                                                 .contiguous = true,
                                                 .read_barrier = true,
                                                 .leadership_transfer = true,
                                                 .background_work = true};
  using signal_type = thread_signal;

  fixture_raft(fixture_simulation& simulation, std::size_t index, const libraft_options& options,
               fixture_flaw flaw)
      : simulation_(simulation),
        index_(index),
        flaw_(flaw),
        options_(options),
        core_(options),
        machine_(flaw) {}

  [[nodiscard]] std::error_code start(state_machine& machine) noexcept;
  void stop() noexcept;

  void propose(term expected, proposal_token token, bytes_view entry) noexcept {
    if (entry.size() > max_entry_bytes()) {
      machine_.settled(token, outcome::not_applied, settle_reason::too_large);
    } else if (stopped_ || !core_.admit(entry.size())) {
      mail_.nudge = true;
      machine_.settled(token, outcome::not_applied,
                       stopped_ ? settle_reason::stopped : settle_reason::busy);
    } else {
      if (flaw_ == fixture_flaw::forwards_after_loss && engine_->state == RAFT_LEADER) {
        expected = core_.open();
      }
      mail_.proposals.push_back({expected, token, entry.size(), {entry.begin(), entry.end()}});
      spans_.push_back(entry);
    }
  }
  [[nodiscard]] std::size_t max_entry_bytes() const noexcept { return options_.entry_bytes; }
  [[nodiscard]] bool wait(signal_type& signal, milliseconds limit) noexcept;
  void read_barrier(proposal_token token) noexcept {
    if (flaw_ == fixture_flaw::barrier_without_quorum) {
      machine_.settled(token, outcome::committed, settle_reason::none);
    } else if (stopped_) {
      machine_.settled(token, outcome::not_applied, settle_reason::stopped);
    } else {
      mail_.barriers.push_back(token);
    }
  }
  void withdraw() noexcept { mail_.withdraw = true; }
  void transfer_leadership() noexcept { mail_.transfer = true; }
  void run(background_task& task) noexcept { mail_.tasks.push_back(&task); }

  // ---- for the harness

  [[nodiscard]] libraft_core& core() noexcept { return core_; }
  [[nodiscard]] ::raft& engine() noexcept { return *engine_; }
  [[nodiscard]] flawed_machine& machine() noexcept { return machine_; }
  [[nodiscard]] libraft_mail& mail() noexcept { return mail_; }
  [[nodiscard]] bool stopped() const noexcept { return stopped_; }
  void bind(::raft& engine) noexcept {
    engine_ = &engine;
    machine_.watch(engine);
    core_.attach(engine, machine_);
  }
  // One round of the loop.
  void round() noexcept;
  [[nodiscard]] std::string refused_peers() const { return libraft_refused_text(status().refused); }
  [[nodiscard]] libraft_status status() const {
    libraft_status now;
    core_.report(now, true);
    return now;
  }

 private:
  void submit() noexcept;

  fixture_simulation& simulation_;
  const std::size_t index_;
  const fixture_flaw flaw_;
  const libraft_options options_;
  libraft_core core_;
  flawed_machine machine_;
  ::raft* engine_ = nullptr;
  libraft_mail mail_;
  std::vector<bytes_view> spans_;
  bool stopped_ = false;
};

// The servers, their fixture, and the harness that the suite asks for.
class fixture_simulation {
 public:
  using adapter_type = fixture_raft;
  static constexpr testing::harness_faults faults{
      .partition = true, .crash = true, .restart = true, .compact = true};

  explicit fixture_simulation(std::size_t servers, fixture_flaw flaw = fixture_flaw::none,
                              const libraft_options& options = default_options())
      : flaw_(flaw), options_(options), waiting_(servers) {
    raft_fixture_initialize(&fixture_);
    for (std::size_t i = 0; i < servers; ++i) {
      nodes_.push_back(make_node(i));
      raft_io& io = fixture_.servers[i].io;
      io.version = 2;  // it has what that asks for, and does not say so
      const int code = raft_fixture_grow(&fixture_, nodes_[i]->core().fsm());
      QUORLITE_ASSERT(code == 0);
      raft_set_pre_vote(engine(i), true);
      disks_.push_back(std::make_unique<fixture_disk>(10));
      disks_[i]->attach(io);
      io_.push_back(io);
    }
    raft_configuration members;
    int code = raft_fixture_configuration(&fixture_, static_cast<unsigned>(servers), &members);
    QUORLITE_ASSERT(code == 0);
    code = raft_fixture_bootstrap(&fixture_, &members);
    QUORLITE_ASSERT(code == 0);
    raft_configuration_close(&members);
  }
  fixture_simulation(const fixture_simulation&) = delete;
  fixture_simulation& operator=(const fixture_simulation&) = delete;
  ~fixture_simulation() {
    for (const auto& node : nodes_) {
      node->stop();
    }
    raft_fixture_close(&fixture_);
  }

  static libraft_options default_options() {
    libraft_options options;
    options.entry_bytes = std::size_t{16} << 10U;
    options.batch_bytes = std::size_t{4} << 10U;
    options.in_flight_bytes = std::size_t{1} << 20U;
    return options;
  }

  [[nodiscard]] std::size_t size() const noexcept { return nodes_.size(); }
  [[nodiscard]] fixture_raft& node(std::size_t server) noexcept { return *nodes_[server]; }
  [[nodiscard]] ::raft* engine(std::size_t server) noexcept {
    return raft_fixture_get(&fixture_, static_cast<unsigned>(server));
  }
  [[nodiscard]] raft_fixture& fixture() noexcept { return fixture_; }
  [[nodiscard]] fixture_disk& disk(std::size_t server) noexcept { return *disks_[server]; }

  // The fixture knows no server that starts later: they all do when the last is told to.
  std::error_code start(std::size_t server, state_machine& machine) {
    return node(server).start(machine);
  }
  [[nodiscard]] std::error_code start_engine(std::size_t server, fixture_raft& node) {
    node.bind(*engine(server));
    if (running_) {
      const int code = raft_start(engine(server));
      return node.core().failure() ? node.core().failure() : libraft_error(code);
    }
    running_ = --waiting_ == 0;
    for (std::size_t i = 0; running_ && i < size(); ++i) {
      const int code = raft_start(engine(i));
      QUORLITE_ASSERT(code == 0);
    }
    return {};
  }

  // One event of the fixture, and a round of every loop.
  void step() {
    raft_fixture_step(&fixture_);
    for (std::size_t i = 0; i < size(); ++i) {
      disks_[i]->poll(now_ms());
      nodes_[i]->round();
    }
  }
  [[nodiscard]] std::uint64_t now_ms() noexcept { return raft_fixture_time(&fixture_); }
  void run_for(std::uint64_t ms) {
    for (const std::uint64_t end = now_ms() + ms; now_ms() < end;) {
      step();
    }
  }
  void pump() { run_for(3000); }
  template <class Condition>
  bool run_until(Condition condition) {
    for (const std::uint64_t end = now_ms() + 30'000; !condition(); step()) {
      if (now_ms() > end) {
        return condition();
      }
    }
    return true;
  }

  void isolate(std::size_t server) { each_link(server, true); }
  void heal() {
    for (std::size_t i = 0; i < size(); ++i) {
      each_link(i, false);
    }
  }
  // At the next entry, and there is one as soon as somebody leads.
  void compact(std::size_t server) {
    node(server).mail().compact = true;
    step();
    for (std::size_t i = 0; i < size(); ++i) {
      if (!node(i).stopped() && node(i).core().open().value != 0) {
        append_for_nobody(i);
      }
    }
    run_for(1500);
  }
  // An entry, so that the engines look at their logs. @pre the server leads
  void append_for_nobody(std::size_t server) {
    using request_type = struct raft_barrier;
    auto* const request = new request_type{};
    const auto done = [](request_type* asked, int) { delete asked; };
    if (::raft_barrier(engine(server), request, done) != 0) {
      delete request;
    }
  }
  // Its engine stays in memory until the restart, without time, network and disk.
  void bury(std::size_t server) {
    if (running_) {
      disks_[server]->freeze();
      raft_fixture_kill(&fixture_, static_cast<unsigned>(server));
    }
  }
  void crash(std::size_t server) {
    node(server).machine().go();
    node(server).stop();
  }
  std::error_code restart(std::size_t server, state_machine& machine) {
    renew(server);
    const std::error_code error = start(server, machine);
    if (!error) {
      revive(server);
    }
    return error;
  }
  // The two halves, for who starts the node by itself in between.
  void renew(std::size_t server) {
    run_for(1);  // messages that it was sending still hold its entries
    raft_fixture_server& place = fixture_.servers[server];
    raft_close(&place.raft, nullptr);
    place.io = io_[server];
    former_.push_back(std::exchange(nodes_[server], make_node(server)));
    disks_[server]->thaw();
    const int code =
        raft_init(&place.raft, &place.io, node(server).core().fsm(), place.id, place.address);
    QUORLITE_ASSERT(code == 0);
    raft_set_pre_vote(&place.raft, true);
  }
  void revive(std::size_t server) { raft_fixture_revive(&fixture_, static_cast<unsigned>(server)); }

 private:
  void each_link(std::size_t server, bool cut) {
    for (std::size_t i = 0; i < size(); ++i) {
      const auto a = static_cast<unsigned>(server);
      const auto b = static_cast<unsigned>(i);
      if (i != server && raft_fixture_alive(&fixture_, a) && raft_fixture_alive(&fixture_, b)) {
        const auto change = cut ? raft_fixture_saturate : raft_fixture_desaturate;
        change(&fixture_, a, b);
        change(&fixture_, b, a);
      }
    }
  }

  [[nodiscard]] std::unique_ptr<fixture_raft> make_node(std::size_t server) {
    libraft_options options = options_;
    options.id = server_id{server + 1};
    return std::make_unique<fixture_raft>(*this, server, options, flaw_);
  }

  const fixture_flaw flaw_;
  const libraft_options options_;
  raft_fixture fixture_{};
  std::vector<raft_io> io_;  // of each server, before its adapter took a part of it
  std::vector<std::unique_ptr<fixture_disk>> disks_;
  std::vector<std::unique_ptr<fixture_raft>> nodes_;
  std::vector<std::unique_ptr<fixture_raft>> former_;
  std::size_t waiting_;
  bool running_ = false;
};

inline std::error_code fixture_raft::start(state_machine& machine) noexcept {
  machine_.set(machine);
  return simulation_.start_engine(index_, *this);
}

inline void fixture_raft::stop() noexcept {
  if (std::exchange(stopped_, true) || engine_ == nullptr) {
    return;
  }
  machine_.stop();
  for (const libraft_proposal& one : mail_.proposals) {
    core_.turn_away(one, settle_reason::stopped);
  }
  for (const proposal_token one : mail_.barriers) {
    machine_.settled(one, outcome::not_applied, settle_reason::stopped);
  }
  core_.end(settle_reason::stopped);
  for (background_task* const task : mail_.tasks) {
    task->run();
  }
  mail_ = {};
  simulation_.bury(index_);
}

inline bool fixture_raft::wait(signal_type& signal, milliseconds limit) noexcept {
  const std::uint64_t end = simulation_.now_ms() + limit.value;
  while (!signal.wait(milliseconds{0})) {
    if (simulation_.now_ms() >= end) {
      return false;
    }
    simulation_.step();
  }
  return true;
}

inline void fixture_raft::round() noexcept {
  if (stopped_ || engine_ == nullptr) {
    return;
  }
  if (engine_->state == RAFT_LEADER && !core_.must_close()) {
    machine_.lead_early(term{engine_->current_term});
  }
  submit();
  for (background_task* const task : std::exchange(mail_.tasks, {})) {
    task->run();
  }
  if (core_.must_close()) {
    // As the loop would close the engine; the fixture cannot, so nobody hears of it any more.
    core_.end(settle_reason::stopped);
    simulation_.bury(index_);
  }
}

inline void fixture_raft::submit() noexcept {
  libraft_mail mail = std::exchange(mail_, {});
  mail_.tasks = std::exchange(mail.tasks, {});
  if (flaw_ == fixture_flaw::keeps_span) {
    for (std::size_t i = 0; i < mail.proposals.size(); ++i) {
      mail.proposals[i].payload.assign(spans_[i].begin(), spans_[i].end());
    }
  }
  spans_.clear();
  if (flaw_ == fixture_flaw::drops_last_of_batch && mail.proposals.size() > 1) {
    const proposal_token dropped = mail.proposals.back().token;
    mail.proposals.pop_back();
    machine_.settle_with(mail.proposals.back().token, dropped);
  }
  if (flaw_ == fixture_flaw::settles_on_append && core_.open().value != 0) {
    for (const libraft_proposal& one : mail.proposals) {
      if (one.expected == core_.open()) {
        machine_.real().settled(one.token, outcome::committed, settle_reason::none);
      }
    }
  }
  core_.carry_out(mail);
}

static_assert(testing::consensus_harness<fixture_simulation>);

}  // namespace quorlite::tests
