/// @file
/// Bodies of adapter_kit.hpp.
#pragma once

#include "quorlite/adapter_kit.hpp"

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string_view>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

// ---- thread_signal

QUORLITE_DECL void thread_signal::raise() noexcept {
  const std::lock_guard guard(mutex_);
  raised_ = true;
  wake_.notify_all();  // under the lock: a waiter may destroy the signal as soon as it is free
}

QUORLITE_DECL bool thread_signal::wait(milliseconds limit) noexcept {
  std::unique_lock lock(mutex_);
  return wake_.wait_for(lock, std::chrono::milliseconds(limit.value), [this] { return raised_; });
}

// ---- pending_proposals. The machine is called under the mutex: whoever closes it afterwards knows
// that no call is under way.

QUORLITE_DECL void pending_proposals::open(state_machine& machine) noexcept {
  const std::lock_guard guard(mutex_);
  QUORLITE_ASSERT(!open_ && pending_.empty());
  machine_ = &machine;
  open_ = true;
  reached_ = {};
}

QUORLITE_DECL bool pending_proposals::add(proposal_token token) noexcept {
  const std::lock_guard guard(mutex_);
  QUORLITE_ASSERT(machine_ != nullptr);
  if (!open_) {
    machine_->settled(token, outcome::not_applied, closed_because_);
    return false;
  }
  try {
    const bool is_new = pending_.emplace(token.value, log_index{}).second;
    QUORLITE_ASSERT(is_new);
  } catch (const std::bad_alloc&) {
    machine_->settled(token, outcome::not_applied, settle_reason::busy);
    return false;
  }
  ++unplaced_;
  return true;
}

QUORLITE_DECL bool pending_proposals::settle(proposal_token token, outcome how,
                                             settle_reason why) noexcept {
  const std::lock_guard guard(mutex_);
  const auto found = pending_.find(token.value);
  if (found == pending_.end()) {
    return false;
  }
  if (found->second.value != 0) {
    auto [place, end] = places_.equal_range(found->second.value);
    while (place != end && place->second.token != token) {
      ++place;
    }
    QUORLITE_ASSERT(place != end);
    places_.erase(place);
  }
  tell(token, how, why);
  return true;
}

/// The last step of each: takes it out, and says so. Its place is gone already.
QUORLITE_DECL void pending_proposals::tell(proposal_token token, outcome how,
                                           settle_reason why) noexcept {
  const auto found = pending_.find(token.value);
  unplaced_ -= found->second.value == 0 ? 1U : 0U;
  pending_.erase(found);
  if (unplaced_ == 0) {
    committed_unplaced_.clear();
  }
  machine_->settled(token, how, why);
}

QUORLITE_DECL void pending_proposals::place(proposal_token token, log_position at) noexcept {
  const std::lock_guard guard(mutex_);
  QUORLITE_ASSERT(at.index.value != 0);
  const auto found = pending_.find(token.value);
  if (found == pending_.end()) {
    return;
  }
  QUORLITE_ASSERT(found->second.value == 0);  // an entry never moves
  if (at.index > reached_) {
    try {
      places_.emplace(at.index.value, placed_proposal{at.term, token});
    } catch (const std::bad_alloc&) {
      return tell(token, outcome::unknown, settle_reason::none);
    }
    found->second = at.index;
    if (--unplaced_ == 0) {
      committed_unplaced_.clear();
    }
    return;
  }
  const auto committed = committed_unplaced_.find(at.index.value);  // the commit came first
  if (committed == committed_unplaced_.end()) {
    tell(token, outcome::unknown, settle_reason::none);
  } else if (committed->second == at.term) {
    tell(token, outcome::committed, settle_reason::none);
  } else {
    tell(token, outcome::not_applied, settle_reason::leadership_lost);
  }
}

QUORLITE_DECL void pending_proposals::commit(log_position at) noexcept {
  const std::lock_guard guard(mutex_);
  if (at.index <= reached_) {
    return;
  }
  settle_below(at.index);
  while (!places_.empty() && places_.begin()->first == at.index.value) {
    const placed_proposal one = places_.begin()->second;
    places_.erase(places_.begin());
    const bool same = one.term == at.term;
    tell(one.token, same ? outcome::committed : outcome::not_applied,
         same ? settle_reason::none : settle_reason::leadership_lost);
  }
  note_committed(at);
}

/// For proposals that are still inside append: their place is told later.
QUORLITE_DECL void pending_proposals::note_committed(log_position at) noexcept {
  reached_ = at.index;
  if (unplaced_ != 0) {
    try {
      committed_unplaced_.emplace(at.index.value, at.term);
    } catch (const std::bad_alloc&) {
      return;  // what was placed there will be unknown
    }
  }
}

QUORLITE_DECL void pending_proposals::jump(log_index upto) noexcept {
  const std::lock_guard guard(mutex_);
  if (upto > reached_) {
    settle_below(upto.next());
    reached_ = upto;
  }
}

QUORLITE_DECL void pending_proposals::settle_below(log_index limit) noexcept {
  while (!places_.empty() && places_.begin()->first < limit.value) {
    const proposal_token token = places_.begin()->second.token;
    places_.erase(places_.begin());
    tell(token, outcome::unknown, settle_reason::none);
  }
}

QUORLITE_DECL void pending_proposals::lose(settle_reason why) noexcept {
  const std::lock_guard guard(mutex_);
  settle_all(why);
}

QUORLITE_DECL void pending_proposals::settle_all(settle_reason why) noexcept {
  places_.clear();
  while (!pending_.empty()) {
    tell(proposal_token{pending_.begin()->first}, outcome::unknown, why);
  }
}

QUORLITE_DECL void pending_proposals::close(settle_reason why) noexcept {
  const std::lock_guard guard(mutex_);
  if (std::exchange(open_, false)) {
    closed_because_ = why;
    settle_all(why);
  }
}

QUORLITE_DECL std::size_t pending_proposals::size() const noexcept {
  const std::lock_guard guard(mutex_);
  return pending_.size();
}

// ---- leadership_tracker

QUORLITE_DECL void leadership_tracker::restart(log_position applied, std::string_view own_hint) {
  *this = leadership_tracker();
  passed_ = applied;
  own_hint_ = own_hint;
}

QUORLITE_DECL void leadership_tracker::elected(term now) noexcept {
  QUORLITE_ASSERT(now.value != 0);  // terms count from 1: add one where the engine's begin with 0
  elected_ = now;
  behind_.reset();
}

QUORLITE_DECL void leadership_tracker::elected(term now, log_index behind) noexcept {
  QUORLITE_ASSERT(now.value != 0);
  elected_ = now;
  behind_ = behind;
}

QUORLITE_DECL void leadership_tracker::deposed() noexcept { elected_ = term{}; }

QUORLITE_DECL void leadership_tracker::follows(term now, std::string_view leader_hint) {
  elected_ = term{};
  if (now != leader_term_ || leader_hint != leader_hint_) {
    news_ = true;
    leader_term_ = now;
    leader_hint_ = leader_hint;
  }
}

QUORLITE_DECL void leadership_tracker::passed(log_position at) noexcept {
  if (at.index >= passed_.index) {
    passed_ = at;
  }
}

QUORLITE_DECL bool leadership_tracker::is_due() const noexcept {
  if (elected_ <= last_gain_) {
    return false;  // 0, announced, or a term that this server has led in: none is gained twice
  }
  return behind_ ? passed_.index >= *behind_ : passed_.term == elected_;
}

QUORLITE_DECL std::optional<leadership> leadership_tracker::next() {
  if (announced_.value != 0 && announced_ != elected_) {
    return leadership{std::exchange(announced_, term{}), false, {}};
  }
  if (is_due()) {
    announced_ = last_gain_ = elected_;
    news_ = false;
    leader_term_ = {};  // whoever leads next is news
    return leadership{announced_, true, own_hint_};
  }
  if (elected_.value == 0 && std::exchange(news_, false)) {
    return leadership{leader_term_, false, leader_hint_};
  }
  return {};
}

// ---- gated_strand

/// Alone in the strand, from its construction to its end.
class gated_strand::visit {
 public:
  explicit visit(gated_strand& of) noexcept : of_(of) {
    std::unique_lock lock(of_.mutex_);
    of_.free_.wait(lock, [this] { return !of_.busy_; });
    of_.busy_ = true;
  }
  visit(const visit&) = delete;
  visit& operator=(const visit&) = delete;
  ~visit() { of_.leave(); }

 private:
  gated_strand& of_;
};

/// Who withdrew meanwhile left it to us to tell the loss. Nobody can slip in between the look and
/// the end of the visit.
QUORLITE_DECL void gated_strand::leave() noexcept {
  std::unique_lock lock(mutex_);
  while (halted_ && open_) {
    lock.unlock();
    shut();
    lock.lock();
  }
  busy_ = false;
  free_.notify_one();  // under the lock: who is let in may end this
}

QUORLITE_DECL void gated_strand::withdraw() noexcept {
  {
    const std::lock_guard guard(mutex_);
    halted_ = true;
    announced_ = 0;
    if (std::exchange(busy_, true)) {
      return;
    }
  }
  leave();
}

QUORLITE_DECL void gated_strand::open(state_machine& machine, std::string_view own_hint) {
  const log_position applied = machine.applied();
  const visit alone(*this);
  QUORLITE_ASSERT(!open_);
  machine_ = &machine;
  tracker_.restart(applied, own_hint);
  halted_ = false;
  open_ = true;
}

/// A call that moves the machine, then what becomes due by it.
template <class Call>
apply_result gated_strand::pass(log_position upto, Call&& call) noexcept {
  const visit alone(*this);
  QUORLITE_ASSERT(machine_ != nullptr);  // open() comes before the engine
  if (!open_) {
    return apply_result::halted;
  }
  const apply_result answer = std::forward<Call>(call)();
  if (answer == apply_result::halted) {
    halted_ = true;
    shut();
  } else if (!halted_) {
    tracker_.passed(upto);
    tell();
  }
  return answer;
}

QUORLITE_DECL apply_result gated_strand::apply(const log_entry& entry) noexcept {
  QUORLITE_ASSERT(entry.at.index.value != 0);  // indices count from 1
  return pass(entry.at, [&] { return machine_->apply(entry); });
}

QUORLITE_DECL apply_result gated_strand::skip(log_position upto) noexcept {
  QUORLITE_ASSERT(upto.index.value != 0);
  return pass(upto, [&] { return machine_->skip(upto); });
}

QUORLITE_DECL apply_result gated_strand::install(std::unique_ptr<snapshot_stage> finished,
                                                 log_position engine_at) noexcept {
  return pass(engine_at, [&] {
    const apply_result answer = machine_->install(std::move(finished), engine_at);
    tracker_.passed(machine_->applied());  // where it stands, if the engine did not say
    return answer;
  });
}

QUORLITE_DECL result<std::unique_ptr<snapshot_reader>> gated_strand::take_snapshot() noexcept {
  const visit alone(*this);
  if (!open_) {
    return fail(halted_ ? errc::halted : errc::stopped);
  }
  return machine_->take_snapshot();
}

template <class Change>
void gated_strand::track(Change&& change) noexcept {
  const visit alone(*this);
  QUORLITE_ASSERT(machine_ != nullptr);  // open() comes before the engine
  if (open_) {
    std::forward<Change>(change)();
    tell();
  }
}

QUORLITE_DECL void gated_strand::elected(term now) noexcept {
  track([&] { tracker_.elected(now); });
}

QUORLITE_DECL void gated_strand::elected(term now, log_index behind) noexcept {
  track([&] { tracker_.elected(now, behind); });
}

QUORLITE_DECL void gated_strand::deposed() noexcept {
  track([&] { tracker_.deposed(); });
}

QUORLITE_DECL void gated_strand::follows(term now, std::string_view leader_hint) noexcept {
  track([&] {
    try {
      tracker_.follows(now, leader_hint);
    } catch (const std::bad_alloc&) {
      tracker_.deposed();  // the name of the other leader is news that can be missed
    }
  });
}

/// Closed to proposals before the machine hears of a loss, open to them before it hears of a gain,
/// unless this server withdraws: the end of the visit tells the loss then.
QUORLITE_DECL void gated_strand::tell() noexcept {
  while (!halted_) {
    const std::optional<leadership> news = tracker_.next();
    if (!news) {
      return;
    }
    {
      const std::lock_guard guard(mutex_);
      announced_ = halted_ ? 0 : tracker_.announced().value;
    }
    machine_->leadership_changed(*news);
  }
}

/// The gate: the loss is the last that passes.
QUORLITE_DECL void gated_strand::shut() noexcept {
  open_ = false;
  announced_ = 0;
  if (const term led = tracker_.announced(); led.value != 0) {
    machine_->leadership_changed({led, false, {}});
  }
}

QUORLITE_DECL settle_reason gated_strand::refusal(term expected) const noexcept {
  const term now = announced();
  if (now.value == 0) {
    return settle_reason::not_leader;
  }
  return now == expected ? settle_reason::none : settle_reason::stale_term;
}

QUORLITE_DECL term gated_strand::announced() const noexcept { return term{announced_.load()}; }

QUORLITE_DECL void gated_strand::close() noexcept {
  const visit alone(*this);
  if (open_) {
    shut();
  }
}

// ---- background_worker

QUORLITE_DECL void background_worker::open() noexcept {
  const std::lock_guard guard(mutex_);
  QUORLITE_ASSERT(!open_ && tasks_.empty());
  open_ = true;
}

QUORLITE_DECL void background_worker::put(background_task& task) noexcept {
  try {
    const std::lock_guard guard(mutex_);
    if (open_) {
      tasks_.push_back(&task);
      wake_.notify_one();
      return;
    }
  } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): it runs here
  }
  task.run();
}

QUORLITE_DECL void background_worker::serve() noexcept {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return !tasks_.empty() || !open_; });
    if (tasks_.empty()) {
      return;
    }
    background_task& task = *tasks_.front();
    tasks_.pop_front();
    lock.unlock();
    task.run();
    lock.lock();
  }
}

QUORLITE_DECL bool background_worker::run_one() noexcept {
  background_task* task = nullptr;
  {
    const std::lock_guard guard(mutex_);
    if (tasks_.empty()) {
      return false;
    }
    task = tasks_.front();
    tasks_.pop_front();
  }
  task->run();
  return true;
}

QUORLITE_DECL void background_worker::close() noexcept {
  const std::lock_guard guard(mutex_);
  open_ = false;
  wake_.notify_all();
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite
