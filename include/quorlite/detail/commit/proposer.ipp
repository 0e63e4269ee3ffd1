/// @file
/// Bodies of proposer.hpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/commit/part_sender.hpp"
#include "quorlite/detail/commit/proposer.hpp"
#include "quorlite/detail/commit/write_plan.hpp"
#include "quorlite/detail/machine/transaction_assembly.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL result<std::shared_ptr<database>> proposer::database_named(
    std::string_view name) noexcept try {
  return machine_.databases().find_or_make(name);
} catch (const std::bad_alloc&) {
  return fail(errc::out_of_memory);
}

// ---- the writer's turn

// NOLINTNEXTLINE(bugprone-exception-escape): a mutex that cannot be locked ends the process
QUORLITE_DECL result<write_ticket> proposer::begin_write(const page_store& store,
                                                         const page_store::pin& base) noexcept {
  if (const std::error_code error = await_founding()) {
    return fail(error);
  }
  term led;
  {
    const auto held = machine_.hold();
    led = machine_.leader().term;
    if (const std::error_code error = machine_.proposals().may_propose(led)) {
      return fail(error);
    }
  }
  const write_ticket ticket{led, store.history()};
  if (base.invalidated() || base.version() != store.head().version) {
    return fail(errc::stale_term);
  }
  // A loss between the two looks has moved the history, or shows here: the ticket is good or it is
  // void. (One hold over both would keep `apply` waiting for the store's mutex.)
  const auto held = machine_.hold();
  if (!machine_.leader().leading || machine_.leader().term != led) {
    return fail(errc::stale_term);
  }
  return ticket;
}

QUORLITE_DECL void proposer::wait_for_quiet(database& target, milliseconds slice) noexcept {
  const auto is_quiet = [&] {
    const std::shared_ptr<page_store> store = target.store();
    const auto held = machine_.hold();
    return store->head().version == store->committed().version;
  };
  for (std::uint64_t spent = 0; spent < slice.value && !is_quiet(); ++spent) {
    port_signal never(engine_);
    static_cast<void>(never.wait(engine_, milliseconds{1}));
  }
}

QUORLITE_DECL void proposer::sleep(milliseconds span) noexcept {
  port_signal never(engine_);
  static_cast<void>(never.wait(engine_, span));
}

// ---- a commit

QUORLITE_DECL proposer::row proposer::make_row() const {
  auto own = std::make_shared<proposal>(engine_);
  own->wait_until_certain = options_.wait_until_certain;
  return own;
}

// NOLINTNEXTLINE(bugprone-exception-escape): a mutex that cannot be locked ends the process
QUORLITE_DECL commit_result proposer::commit(std::span<database_write> writes) noexcept {
  commit_under_way sent;
  if (const std::error_code error = try_to_send(writes, sent)) {
    in_flight_.fetch_sub(sent.bytes);
    if (error != errc::busy) {
      release(writes);
    }
    return {error, {}, std::move(sent.refusal)};
  }
  release(writes);
  await_answer(sent.own);
  in_flight_.fetch_sub(sent.bytes);
  return {conclude(sent.own), sent.own->id};
}

QUORLITE_DECL void proposer::await_answer(const row& own) noexcept {
  const auto steady_us = [this]() noexcept {
    return engine_.abilities().now ? engine_.now().steady_us : 0;
  };
  const std::uint64_t begun_us = steady_us();
  static_cast<void>(own->signal.wait(engine_, options_.commit_timeout));
  waited_us_.fetch_add(steady_us() - begun_us);
}

QUORLITE_DECL void proposer::release(std::span<database_write> writes) noexcept {
  for (const database_write& write : writes) {
    writers_.release(*write.target, write.writer);
  }
}

/// @returns errc::busy: nothing was touched
// NOLINTNEXTLINE(bugprone-exception-escape): a mutex that cannot be locked ends the process
QUORLITE_DECL std::error_code proposer::try_to_send(std::span<database_write> writes,
                                                    commit_under_way& sent) noexcept try {
  std::sort(writes.begin(), writes.end(), [](const database_write& a, const database_write& b) {
    return a.target->name() < b.target->name();
  });
  if (in_flight_.load() > options_.in_flight_bytes) {
    return make_error_code(errc::busy);
  }
  sent.own = make_row();
  const std::error_code error = flushes_.flush_if_crowded();
  return error ? error : send(writes, sent);
} catch (const std::bad_alloc&) {
  return make_error_code(errc::out_of_memory);
}

/// An opening that finds no room is refused where it is applied, and what was to follow it is a
/// conflict there: its writer would run it again for ever.
[[nodiscard]] inline bool begins_too_many(machine_state& machine,
                                          std::span<const database_write> writes) {
  const auto begun = static_cast<std::size_t>(
      std::count_if(writes.begin(), writes.end(),
                    [](const database_write& write) { return !write.target->exists(); }));
  if (begun == 0) {
    return false;
  }
  const auto held = machine.hold();
  return machine.databases().existing_count() + begun > machine.databases_max();
}

[[nodiscard]] inline std::uint64_t bytes_of(const std::vector<bytes>& entries) noexcept {
  return std::accumulate(entries.begin(), entries.end(), std::uint64_t{0},
                         [](std::uint64_t sum, const bytes& one) { return sum + one.size(); });
}

/// Of a transaction with several entries: bytes of parts that may be under way. The others have the
/// rest. @param part bytes of one
QUORLITE_DECL std::size_t proposer::window_for(std::size_t part) const noexcept {
  return std::max(options_.in_flight_bytes / 4, part);
}

[[nodiscard]] inline std::string refusal_of(std::uint64_t size, const transaction_limit& limit) {
  return "transaction too large: it takes " + std::to_string(size) + " bytes of the log, and " +
         std::to_string(limit.bytes) + " at most are taken, " + limit.option +
         ": split it, or raise that on every server";
}

/// Plans, installs, proposes. An error: nothing was installed and nothing is on its way.
QUORLITE_DECL std::error_code proposer::send(std::span<database_write> writes,
                                             commit_under_way& sent) {
  if (begins_too_many(machine_, writes)) {
    return make_error_code(errc::too_many_databases);
  }
  const term in_term = writes.front().ticket.term;
  std::vector<bytes> entries;
  std::uint64_t full_page_bytes = 0;
  if (const std::error_code error = plan(writes, *sent.own, entries, full_page_bytes)) {
    return error;
  }
  const std::uint64_t all = bytes_of(entries);
  if (const transaction_limit limit = engine_.largest_transaction(); all > limit.bytes) {
    sent.refusal = refusal_of(all, limit);
    return make_error_code(errc::too_large);
  }
  for (const database_write& write : writes) {
    if (!write.target->exists()) {
      if (const std::error_code error =
              send(in_term, open_command{write.target->name()}, make_row())) {
        return error;
      }
    }
  }
  const std::size_t count_of_them = entries.size();
  sent.bytes = static_cast<std::size_t>(
      count_of_them == 1 ? all : std::min<std::uint64_t>(all, window_for(entries.front().size())));
  in_flight_.fetch_add(sent.bytes);
  if (const std::error_code error = propose(sent.own, writes, entries)) {
    return error;
  }
  count(count_of_them, all, full_page_bytes);
  return {};
}

QUORLITE_DECL std::error_code proposer::plan(std::span<database_write> writes, proposal& own,
                                             std::vector<bytes>& entries,
                                             std::uint64_t& full_page_bytes) {
  const term in_term = writes.front().ticket.term;
  {
    const auto held = machine_.hold();
    if (machine_.proposals().in_flight() > limits::proposals_in_flight) {
      return make_error_code(errc::busy);
    }
    if (const std::error_code error = machine_.name_proposal(own, in_term)) {
      return error;
    }
  }
  write_plan plan;
  for (database_write& write : writes) {
    if (write.base->invalidated() || write.ticket.term != in_term) {
      return make_error_code(errc::stale_term);
    }
    if (const std::error_code error = plan.add(write)) {
      return error;
    }
  }
  const std::size_t at_most =
      std::min({options_.entry_bytes, engine_.max_entry_bytes(), limits::entry_bytes});
  result<std::vector<bytes>> planned =
      plan.entries(own.id, at_most, machine_.options().lock_byte, own.witness);
  if (!planned) {
    return planned.error();
  }
  entries = std::move(*planned);
  full_page_bytes = plan.full_page_bytes();
  return {};
}

QUORLITE_DECL std::error_code proposer::send(term in_term, decltype(command::body) body,
                                             const row& own) {
  {
    const auto held = machine_.hold();
    if (const std::error_code error = machine_.name_proposal(*own, in_term)) {
      return error;
    }
    if (auto* const drop = std::get_if<drop_command>(&body)) {
      drop->builds_on = maker_of(drop->name);
    }
  }
  return propose(own, std::move(body));
}

/// Under the machine's lock: who made the newest content of this name.
QUORLITE_DECL transaction_id proposer::maker_of(std::string_view name) const {
  const std::shared_ptr<database> target = machine_.databases().find(name);
  const bool exists = target != nullptr && target->exists();
  return exists ? target->store()->head().made_by : transaction_id{};
}

QUORLITE_DECL std::error_code proposer::propose(const row& own, decltype(command::body) body) {
  std::vector<bytes> entry(1);
  if (const std::error_code error =
          native::encode(command_of(own->id, own->witness, std::move(body)), entry.front(),
                         machine_.options().lock_byte)) {
    return error;
  }
  return propose(own, {}, entry);
}

QUORLITE_DECL std::error_code proposer::propose(const row& own, std::span<database_write> writes,
                                                std::vector<bytes>& entries) {
  const auto count = static_cast<std::uint32_t>(entries.size());
  proposal_token first;
  {
    const auto held = machine_.hold();
    const result<proposal_token> entered = machine_.enter(own, writes, count);
    if (!entered) {
      return entered.error();
    }
    first = *entered;
  }
  if (count > 1) {
    const std::size_t window = window_for(entries.front().size());
    part_sender(engine_, machine_, own, first, entries, window, options_.commit_timeout).send();
    return {};
  }
  engine_.propose(own->id.term, first, entries.front());
  const auto held = machine_.hold();
  machine_.proposals().hand_over(own);
  return {};
}

QUORLITE_DECL std::error_code proposer::submit(decltype(command::body) body) try {
  const row own = make_row();
  term in_term;
  {
    const auto held = machine_.hold();
    in_term = machine_.leader().term;
  }
  if (const std::error_code error = send(in_term, std::move(body), own)) {
    return error;
  }
  static_cast<void>(own->signal.wait(engine_, options_.commit_timeout));
  return conclude(own);
} catch (const std::bad_alloc&) {
  return make_error_code(errc::out_of_memory);
}

// ---- how a history begins

/// All zero means none, so it is never drawn.
[[nodiscard]] inline cluster_identity draw_identity(consensus_port& engine,
                                                    const cluster_identity& instead) noexcept {
  if (!engine.abilities().random) {
    return instead;
  }
  const std::uint64_t low = engine.random();
  return {low == 0 ? 1 : low, engine.random()};
}

QUORLITE_DECL std::error_code proposer::begin_history() {
  {
    const auto held = machine_.hold();
    if (machine_.history_has_begun()) {
      return {};
    }
  }
  const std::error_code error =
      submit(identity_command{entry_version_max, draw_identity(engine_, options_.identity)});
  const auto held = machine_.hold();
  return machine_.history_has_begun() ? std::error_code{} : error;  // by another one, perhaps
}

/// Under the machine's lock.
/// @param founds whether the engine or the options say so: asked before, for engines have locks
QUORLITE_DECL bool proposer::is_founding_due(bool founds) {
  if (!founds || !machine_.is_blank()) {
    is_founded_.store(true);
  }
  return !is_founded_.load() && machine_.leader().leading;
}

/// The first writer of a cluster waits for its history: what is planned before would be refused.
// NOLINTNEXTLINE(bugprone-exception-escape): a mutex that cannot be locked ends the process
QUORLITE_DECL std::error_code proposer::await_founding() noexcept try {
  if (is_founded_.load()) {
    return {};
  }
  const bool founds = options_.found || engine_.founds();
  {
    const auto held = machine_.hold();
    if (!is_founding_due(founds)) {
      return {};
    }
  }
  const std::error_code error = begin_history();
  if (error == failure::outcome_unknown) {
    // Of the entry that begins the history. Nothing of the writer's was proposed.
    return make_error_code(error == errc::stopped_in_flight ? errc::stopped : errc::not_leader);
  }
  return error;
} catch (const std::bad_alloc&) {
  return make_error_code(errc::out_of_memory);
}

// NOLINTNEXTLINE(bugprone-exception-escape): a mutex that cannot be locked ends the process
QUORLITE_DECL void proposer::found() noexcept try {
  if (is_founded_.load()) {
    return;
  }
  const row own = make_row();
  const bool founds = options_.found || engine_.founds();
  {
    const auto held = machine_.hold();
    const row earlier = founding_.lock();
    const bool is_on_its_way = earlier != nullptr && earlier->state == proposal_state::waiting;
    if (is_on_its_way || !is_founding_due(founds) ||
        machine_.name_proposal(*own, machine_.leader().term)) {
      return;
    }
    founding_ = own;
  }
  static_cast<void>(
      propose(own, identity_command{entry_version_max, draw_identity(engine_, options_.identity)}));
} catch (const std::bad_alloc&) {
  return;  // the next call tries again
}

// ---- what leaders left half-done

/// Under the machine's lock. A transaction that waits here for parts which cannot come: its leader
/// is gone, or this one was refused some of them. One of this term that somebody works on has a row
/// until it is answered, and what is proposed after that stands in the log behind all its parts.
[[nodiscard]] inline std::optional<transaction_id> orphan_of(machine_state& machine) {
  const leader_info& now = machine.leader();
  for (const auto& [id, open] : machine.assembly().staged().all()) {
    if (now.leading && (id.term < now.term || machine.proposals().find(id) == nullptr)) {
      return id;
    }
  }
  return std::nullopt;
}

/// @param own of the entry that is to take it back; nullptr: only a look
/// @returns nothing: there is none, or that entry is under way
QUORLITE_DECL std::optional<transaction_id> proposer::adopt_orphan(const row& own) {
  const auto held = machine_.hold();
  const term now = machine_.leader().term;
  const row earlier = undo_.lock();
  if (earlier != nullptr && earlier->id.term == now && earlier->state == proposal_state::waiting) {
    return std::nullopt;
  }
  const std::optional<transaction_id> orphan = orphan_of(machine_);
  if (orphan && own != nullptr) {
    if (machine_.name_proposal(*own, now)) {
      return std::nullopt;
    }
    undo_ = own;
  }
  return orphan;
}

// NOLINTNEXTLINE(bugprone-exception-escape): a mutex that cannot be locked ends the process
QUORLITE_DECL void proposer::undo_orphans() noexcept try {
  if (!adopt_orphan(nullptr)) {
    return;  // as nearly always, and nothing was allocated
  }
  const row own = make_row();
  if (const std::optional<transaction_id> orphan = adopt_orphan(own)) {
    static_cast<void>(propose(own, undo_command{*orphan}));
  }
} catch (const std::bad_alloc&) {
  return;  // the next call tries again
}

/// Under the machine's lock. A barrier changes nothing, so why it failed is all there is to say.
[[nodiscard]] inline std::error_code barrier_answer(const proposal& asked,
                                                    const machine_state& machine) {
  if (asked.state == proposal_state::applied) {
    return {};
  }
  if (machine.health().halted) {
    return make_error_code(errc::halted);
  }
  if (asked.state == proposal_state::waiting) {
    return make_error_code(errc::timed_out);
  }
  switch (asked.why) {
    case settle_reason::busy: return make_error_code(errc::overloaded);
    case settle_reason::leadership_lost: return make_error_code(errc::leadership_lost);
    case settle_reason::log_failed: return make_error_code(errc::log_failed);
    case settle_reason::no_room: return make_error_code(errc::storage_full);
    case settle_reason::no_memory: return make_error_code(errc::out_of_memory);
    case settle_reason::timed_out: return make_error_code(errc::timed_out);
    case settle_reason::stopped: return make_error_code(errc::stopped);
    case settle_reason::none:
    case settle_reason::not_leader:
    case settle_reason::stale_term:
    case settle_reason::too_large: break;
  }
  return make_error_code(errc::not_leader);
}

QUORLITE_DECL std::error_code proposer::read_barrier(milliseconds limit) {
  const row asked = make_row();
  proposal_token token;
  {
    const auto held = machine_.hold();
    const std::error_code error = machine_.proposals().may_propose(machine_.leader().term);
    if (error == errc::stopped || error == errc::halted) {
      return error;
    }
    token = machine_.proposals().add_barrier(asked);
  }
  engine_.read_barrier(token);
  static_cast<void>(asked->signal.wait(engine_, limit));
  const auto held = machine_.hold();
  return barrier_answer(*asked, machine_);
}

// ---- what became of it

[[nodiscard]] inline errc refusal_of(settle_reason why) noexcept {
  switch (why) {
    case settle_reason::not_leader: return errc::not_leader;
    case settle_reason::too_large: return errc::too_large;
    case settle_reason::busy:
      return errc::overloaded;  // the head is gone already: from the top, not just COMMIT again
    case settle_reason::stopped: return errc::stopped;
    case settle_reason::log_failed: return errc::log_failed;
    case settle_reason::no_room: return errc::storage_full;
    case settle_reason::no_memory: return errc::out_of_memory;
    case settle_reason::none:
    case settle_reason::stale_term:
    case settle_reason::leadership_lost:
    case settle_reason::timed_out: break;
  }
  return errc::stale_term;
}
[[nodiscard]] inline errc loss_of(settle_reason why) noexcept {
  switch (why) {
    case settle_reason::log_failed: return errc::log_failed_in_flight;
    case settle_reason::timed_out: return errc::timed_out;
    case settle_reason::stopped: return errc::stopped_in_flight;
    default: return errc::leadership_lost;
  }
}

/// The waiter's look at its row: what it may conclude now (R7). Once, after the wait.
QUORLITE_DECL std::error_code proposer::conclude(const row& own) const {
  const auto held = machine_.hold();
  switch (own->state) {
    case proposal_state::applied: return {};
    case proposal_state::conflict: return make_error_code(errc::conflict);
    case proposal_state::not_applied: return make_error_code(refusal_of(own->why));
    case proposal_state::unknown: return make_error_code(loss_of(own->why));
    case proposal_state::waiting: break;
  }
  return make_error_code(errc::timed_out);
}

QUORLITE_DECL std::string proposer::explain(std::error_code error) const {
  std::string text = error.message();
  const auto held = machine_.hold();
  const quorlite::leader_info& leader = machine_.leader();
  if (machine_.health().halted) {
    text += " (" + machine_.health().what + ")";
  } else if (!leader.leading && !leader.leader_hint.empty()) {
    text += "; the leader is " + leader.leader_hint;
  }
  return text;
}

QUORLITE_DECL void proposer::count(std::size_t entries, std::uint64_t entry_bytes,
                                   std::uint64_t full_page_bytes) {
  const std::lock_guard guard(counters_mutex_);
  ++counters_.transactions;
  counters_.entries += entries;
  counters_.entry_bytes += entry_bytes;
  counters_.full_page_bytes += full_page_bytes;
}

QUORLITE_DECL proposer_counters proposer::counters() const {
  const std::lock_guard guard(counters_mutex_);
  proposer_counters all = counters_;
  all.waited_us = waited_us_.load();
  return all;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
