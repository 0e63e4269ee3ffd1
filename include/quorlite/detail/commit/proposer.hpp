/// @file
/// A writer's way to the log: its pages become entries, its versions go on the tips, and it waits
/// for the answer.
///
/// Early lock release: the writer slot is free again as soon as the entries are on their way, so
/// the next connection builds on this one's tip while this one waits. What it builds on may still
/// be taken back; then so is its own.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/replica_status.hpp"
#include "quorlite/options.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/fsm.hpp"
#include "quorlite/detail/commit/vfs_host.hpp"
#include "quorlite/detail/commit/write_plan.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

template <consensus Consensus, storage Storage, entry_codec Codec = native_codec>
class proposer final : public vfs_host {
 public:
  using machine_type = fsm<Consensus, Storage, Codec>;
  using signal_type = typename Consensus::signal_type;

  proposer(Consensus& consensus, machine_type& machine, proposer_options options)
      : consensus_(consensus), machine_(machine), options_(options) {}
  ~proposer() = default;

  [[nodiscard]] result<std::shared_ptr<database>> database_named(
      std::string_view name) noexcept override {
    return machine_.databases().find_or_make(name);
  }

  [[nodiscard]] result<write_ticket> begin_write(const page_store& store,
                                                 const page_store::pin& base) noexcept override {
    const office before = machine_.office();
    if (!before.leading) {
      return failed(machine_.health().halted ? errc::halted : errc::not_leader);
    }
    const write_ticket ticket{before.term, store.epoch()};
    if (base.doomed() || base.version() != store.tip().version) {
      return failed(errc::stale_term);
    }
    // A loss between the two looks has moved the epoch, or shows here: the ticket is good or it is
    // void.
    const office after = machine_.office();
    if (!after.leading || after.term != before.term) {
      return failed(errc::stale_term);
    }
    return ticket;
  }

  void wait_for_writer(database& target, milliseconds slice) noexcept override {
    signal_type freed;
    typename std::list<waiter>::iterator place;
    {
      const std::lock_guard guard(waiters_mutex_);
      if (target.writer_is_free()) {
        return;
      }
      place = waiters_.insert(waiters_.end(), {&target, std::addressof(freed)});
    }
    static_cast<void>(consensus_.wait(freed, slice));
    const std::lock_guard guard(waiters_mutex_);
    waiters_.erase(place);
  }

  void wait_for_quiet(database& target, milliseconds slice) noexcept override {
    for (std::uint64_t spent = 0; spent < slice.value && !machine_.quiet(target); ++spent) {
      signal_type never;
      static_cast<void>(consensus_.wait(never, milliseconds{1}));
    }
  }

  void release_writer(database& target, const void* owner) noexcept override {
    if (!target.release_writer(owner)) {
      return;
    }
    const std::lock_guard guard(waiters_mutex_);
    for (const waiter& one : waiters_) {
      if (one.target == &target && !one.woken) {
        one.woken = true;
        one.freed->raise();
        return;  // one slot, one waiter: the others have their slices
      }
    }
  }

  [[nodiscard]] commit_answer commit(std::span<database_change> changes) noexcept override {
    std::sort(changes.begin(), changes.end(),
              [](const database_change& a, const database_change& b) {
                return a.target->name() < b.target->name();
              });
    if (in_flight_.load() > options_.in_flight_bytes) {
      return {make_error_code(errc::busy), {}};
    }
    if (const std::error_code error = machine_.relieve()) {
      for (const database_change& one : changes) {
        release_writer(*one.target, one.writer);
      }
      return {error, {}};
    }
    auto own = std::make_shared<proposal<signal_type>>();
    own->until_certain = options_.until_certain;
    std::size_t sent = 0;
    const std::error_code error = send(changes, own, sent);
    for (const database_change& one : changes) {
      release_writer(*one.target, one.writer);
    }
    if (error) {
      return {error, {}};
    }
    static_cast<void>(consensus_.wait(own->signal, options_.commit_limit));
    in_flight_.fetch_sub(sent);
    return {conclude(own), own->id};
  }

  /// Proposes a command that changes no page, and waits until it is applied here.
  /// @returns failure::not_applied, failure::outcome_unknown, failure::fatal
  [[nodiscard]] std::error_code submit(decltype(command::body) body) {
    auto own = std::make_shared<proposal<signal_type>>();
    own->until_certain = options_.until_certain;
    if (const std::error_code error = send(machine_.office().term, std::move(body), own)) {
      return error;
    }
    static_cast<void>(consensus_.wait(own->signal, options_.commit_limit));
    return conclude(own);
  }

  [[nodiscard]] std::string explain(std::error_code error) const override {
    std::string text = error.message();
    const health state = machine_.health();
    const office now = machine_.office();
    if (state.halted) {
      text += " (" + state.what + ")";
    } else if (!now.leading && !now.leader_hint.empty()) {
      text += "; the leader is " + now.leader_hint;
    }
    return text;
  }

  [[nodiscard]] proposer_counters counters() const {
    const std::lock_guard guard(counters_mutex_);
    return counters_;
  }

 private:
  using row = typename machine_type::row;

  struct waiter {
    const database* target;
    signal_type* freed;
    mutable bool woken = false;
  };

  /// Plans, installs, proposes. An error: nothing was installed and nothing is on its way.
  [[nodiscard]] std::error_code send(std::span<database_change> changes, const row& own,
                                     std::size_t& sent) {
    const term in_term = changes.front().ticket.term;
    const result<transaction_id> id = machine_.next_id(in_term);
    if (!id) {
      return id.error();
    }
    own->id = *id;
    write_plan plan;
    std::vector<tip_install> installs(changes.size());
    for (std::size_t i = 0; i < changes.size(); ++i) {
      database_change& change = changes[i];
      if (change.base->doomed() || change.ticket.term != in_term) {
        return make_error_code(errc::stale_term);
      }
      planned_change planned{change.target->name(), change.store,      change.base,
                             &change.pages,         change.page_count, 0};
      if (const std::error_code error = plan.add(planned)) {
        return error;
      }
      installs[i].claim = {change.target, change.store, change.ticket.epoch,
                           change.base->version().next()};
      installs[i].page_count = change.page_count;
      installs[i].hash = planned.result_hash;
    }
    const std::size_t at_most =
        std::min({options_.entry_bytes, consensus_.max_entry_bytes(), limits::entry_bytes});
    const result<std::vector<bytes>> entries =
        plan.entries(*id, at_most, machine_.options().lock_byte);
    if (!entries) {
      return entries.error();
    }
    for (database_change& change : changes) {
      if (!change.target->exists()) {
        const auto opened = std::make_shared<proposal<signal_type>>();
        if (const std::error_code error =
                send(in_term, open_command{change.target->name()}, opened)) {
          return error;
        }
      }
    }
    for (std::size_t i = 0; i < changes.size(); ++i) {
      installs[i].pages = std::move(changes[i].pages);
    }
    if (const std::error_code error = propose(own, installs, *entries)) {
      return error;
    }
    for (std::size_t i = 0; i < changes.size(); ++i) {
      changes[i].committed = std::move(installs[i].standing);
    }
    count(*entries, plan.full_page_bytes(), sent);
    return {};
  }

  [[nodiscard]] std::error_code send(term in_term, decltype(command::body) body, const row& own) {
    const result<transaction_id> id = machine_.next_id(in_term);
    if (!id) {
      return id.error();
    }
    own->id = *id;
    std::vector<bytes> entry(1);
    if (const std::error_code error =
            native::encode({*id, std::move(body)}, entry.front(), machine_.options().lock_byte)) {
      return error;
    }
    return propose(own, {}, entry);
  }

  [[nodiscard]] std::error_code propose(const row& own, std::span<tip_install> installs,
                                        const std::vector<bytes>& entries) {
    const auto count = static_cast<std::uint32_t>(entries.size());
    const result<proposal_token> first = machine_.enter(own, installs, count);
    if (!first) {
      return first.error();
    }
    for (std::uint32_t i = 0; i < count; ++i) {
      consensus_.propose(own->id.term, proposal_token{first->value + i}, entries[i]);
    }
    machine_.handed_over(own);
    return {};
  }

  void count(const std::vector<bytes>& entries, std::uint64_t full_page_bytes, std::size_t& sent) {
    for (const bytes& one : entries) {
      sent += one.size();
    }
    in_flight_.fetch_add(sent);
    const std::lock_guard guard(counters_mutex_);
    ++counters_.transactions;
    counters_.entries += entries.size();
    counters_.entry_bytes += sent;
    counters_.full_page_bytes += full_page_bytes;
  }

  [[nodiscard]] std::error_code conclude(const row& own) {
    const auto known = machine_.conclude(own);
    switch (known.answer) {
      case answer::applied: return {};
      case answer::conflict: return make_error_code(errc::conflict);
      case answer::not_applied: return make_error_code(refusal_of(known.why));
      case answer::unknown: return make_error_code(loss_of(known.why));
      case answer::waiting: break;
    }
    return make_error_code(errc::timed_out);
  }

  [[nodiscard]] static errc refusal_of(reason why) noexcept {
    switch (why) {
      case reason::not_leader: return errc::not_leader;
      case reason::too_large: return errc::too_large;
      case reason::busy:
        return errc::overloaded;  // the tip is gone already: from the top, not just COMMIT again
      default: return errc::stale_term;
    }
  }
  [[nodiscard]] static errc loss_of(reason why) noexcept {
    switch (why) {
      case reason::log_failed: return errc::log_failed;
      case reason::timed_out: return errc::timed_out;
      case reason::stopped: return errc::stopped;
      default: return errc::leadership_lost;
    }
  }

  Consensus& consensus_;
  machine_type& machine_;
  const proposer_options options_;
  std::atomic<std::size_t> in_flight_{0};
  std::mutex waiters_mutex_;
  std::list<waiter> waiters_;
  mutable std::mutex counters_mutex_;
  proposer_counters counters_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
