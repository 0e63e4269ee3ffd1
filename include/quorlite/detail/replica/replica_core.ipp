/// @file
/// Bodies of replica_core.hpp.
#pragma once

#include <sqlite3.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/connection.hpp"
#include "quorlite/detail/codec/command.hpp"
#include "quorlite/detail/codec/snapshot.hpp"
#include "quorlite/detail/pages/registry.hpp"
#include "quorlite/detail/replica/replica_core.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// False: nothing can run with these. Told to whoever listens, where it is no plain mistake.
[[nodiscard]] inline bool can_be(const replica_options& options) {
  if (options.cluster_id == history_notes_magic) {
    if (options.log != nullptr) {
      options.log(options.log_context,
                  "replica_options::cluster_id is the number that marks notes with a history: "
                  "choose another one");
    }
    return false;
  }
  return options.group_closures != 0 && options.groups != 0;
}

/// One flush, and what follows if there is no room for it.
class replica_core::upkeep final : public background_task {
 public:
  explicit upkeep(replica_core& owner) noexcept : owner_(owner) {}
  void run() noexcept override { static_cast<void>(flush()); }
  std::error_code flush() noexcept {
    const std::error_code error = owner_.flush();
    consensus_port& engine = owner_.models_.engine;
    const bool no_room = error == errc::storage_full || error == errc::out_of_memory;
    if (owner_.leader().leading) {  // what it takes in, its own COMMITs, it refuses by itself
      if (engine.abilities().leadership_transfer && error == errc::storage_full) {
        engine.transfer_leadership();  // another server may have room
      }
    } else if (no_room && engine.comes_back() && !engine.engine_error() && owner_.is_crowded()) {
      owner_.was_sent_away_.store(true);
      engine.leave(error);  // before so much is dirty that this replica would have to halt
    }
    owner_.is_flushing_.store(false);
    return error;
  }

 private:
  replica_core& owner_;
};

/// A name for a history, where the engine draws no random numbers: the file system below does.
[[nodiscard]] inline cluster_identity identity_without(const consensus_port& engine,
                                                       sqlite3_vfs* base) {
  base = base == nullptr ? sqlite3_vfs_find(nullptr) : base;
  cluster_identity drawn;
  if (!engine.abilities().random && base != nullptr) {
    char letters[sizeof drawn] = {};
    static_cast<void>(base->xRandomness(base, sizeof letters, letters));
    std::memcpy(&drawn, letters, sizeof letters);
    drawn.low = drawn.low == 0 ? 1 : drawn.low;
  }
  return drawn;
}

QUORLITE_DECL replica_core::parts::parts(replica_core& owner,
                                         const std::shared_ptr<replica_core>& shared)
    : commits(owner.models_.engine, owner.models_.machine, owner.models_.flushes,
              {.commit_timeout = owner.options_.commit_timeout,
               .entry_bytes = owner.options_.entry_bytes,
               .in_flight_bytes = owner.options_.in_flight_bytes,
               .wait_until_certain = owner.options_.wait_until_certain,
               .found = owner.options_.found,
               .identity = identity_without(owner.models_.engine, owner.options_.base_vfs)}),
      files(commits,
            {.name = owner.options_.vfs_name,
             .write_set_bytes = owner.options_.write_set_bytes,
             .base = owner.options_.base_vfs,
             .kept = kept_folders(owner.models_.folders)},
            shared),
      writers(owner.models_.engine, files,
              {.closures = owner.options_.group_closures,
               .waiting = owner.options_.group_waiting,
               .groups = owner.options_.groups,
               .timeout = owner.options_.group_timeout,
               .connections = owner.options_.group_connections}),
      flush(std::make_unique<upkeep>(owner)) {}

// ---- from start to stop

QUORLITE_DECL result<std::shared_ptr<replica_core>> replica_core::start(
    replica_models models, const replica_options& options) {
  if (!can_be(options)) {
    return fail(std::make_error_code(std::errc::invalid_argument));
  }
  if (sqlite3_threadsafe() == 0) {  // it has no mutex, and its allocator is everybody's
    return fail(errc::single_threaded_sqlite);
  }
  if (sqlite3_initialize() != SQLITE_OK) {  // one with SQLITE_OMIT_AUTOINIT does not by itself
    return fail(errc::out_of_memory);
  }
  auto core = std::make_shared<replica_core>(std::move(models), options);
  core->parts_ = std::make_unique<parts>(*core, core);
  if (!core->parts_->files.is_registered()) {
    return fail(errc::name_taken);
  }
  replica_models& of = core->models_;
  std::error_code error = of.flushes.load();
  if (!error) {
    of.machine.lock().tell_engine(of.engine);  // also of what happens inside start
    error = of.engine.start(of.applier);
  }
  if (error) {
    core->close();
    return fail(error);
  }
  core->running_ = true;
  return core;
}

QUORLITE_DECL replica_core::replica_core(replica_models models, replica_options options)
    : models_(std::move(models)), options_(std::move(options)) {}

QUORLITE_DECL replica_core::~replica_core() = default;

/// @returns true for the one who stopped it
QUORLITE_DECL bool replica_core::stop_engine() noexcept {
  const std::lock_guard one_at_a_time(stop_mutex_);
  if (!std::exchange(running_, false)) {
    return false;
  }
  models_.engine.stop();
  models_.machine.end();
  return true;
}

QUORLITE_DECL std::error_code replica_core::stop() {
  return stop_engine() ? flush() : std::error_code{};
}

QUORLITE_DECL void replica_core::close() noexcept {
  static_cast<void>(stop_engine());
  parts_->files.close();
  parts_->writers.close();  // their connections share this
  models_.machine.end();
  models_.flushes.leave_storage();
  models_.machine.lock().be_silent();
}

// ---- SQL

/// Why nothing can be opened here now, if so.
QUORLITE_DECL std::error_code replica_core::readiness() const {
  const auto held = models_.machine.hold();
  if (!models_.machine.is_recovering()) {
    return {};
  }
  const quorlite::health& now = models_.machine.health();
  return now.halted ? now.error : make_error_code(errc::busy);  // nothing will end it
}

QUORLITE_DECL result<connection> replica_core::open(std::string_view name,
                                                    const connection_options& options) {
  if (const std::error_code error = readiness()) {
    return fail(error);
  }
  result<connection> opened = open_connection(parts_->files, std::string(name), options);
  if (!opened && opened.error() == errc::sqlite_failed) {
    const auto held = models_.machine.hold();
    if (const quorlite::health& now = models_.machine.health(); now.halted) {
      return fail(now.error);  // it met page 1, which is damaged
    }
  }
  return opened;
}

QUORLITE_DECL void replica_core::write(std::string_view name, write_task& task) {
  if (const std::error_code error = readiness()) {
    task.answer = write_result::refused(error);
    const auto held = models_.machine.hold();
    if (const quorlite::health& now = models_.machine.health(); now.halted) {
      task.answer.message += ": " + now.what;
    }
    return;
  }
  const result<group_writer*> writer = parts_->writers.of(name);
  if (!writer) {
    task.answer = write_result::refused(writer.error());
    return;
  }
  (*writer)->write(task);
}

QUORLITE_DECL std::error_code replica_core::drop(std::string_view name) {
  if (!is_database_name(name)) {
    return make_error_code(errc::invalid_name);
  }
  constexpr int tries = 8;
  std::error_code error;
  for (int i = 0; i < tries && (i == 0 || error == errc::conflict); ++i) {
    error = parts_->commits.submit(drop_command{name, {}});  // conflict: a COMMIT came in between
  }
  return error;
}

QUORLITE_DECL std::error_code replica_core::upgrade() { return parts_->commits.begin_history(); }

QUORLITE_DECL std::error_code replica_core::read_barrier(milliseconds limit) {
  return models_.engine.abilities().read_barrier ? parts_->commits.read_barrier(limit)
                                                 : parts_->commits.submit(barrier_command{});
}

// ---- what it tells

QUORLITE_DECL transaction_outcome replica_core::outcome(transaction_id id) const {
  const auto held = models_.machine.hold();
  return models_.machine.outcome_of(id);
}
QUORLITE_DECL leader_info replica_core::leader() const {
  const auto held = models_.machine.hold();
  return models_.machine.leader();
}
QUORLITE_DECL quorlite::health replica_core::health() {
  const std::error_code engine = notice_engine_error();
  std::string refused = models_.engine.refused_peers();
  const auto held = models_.machine.hold();
  quorlite::health now = models_.machine.health();
  now.engine = engine;
  now.refused = std::move(refused);
  return now;
}

/// What the engine says of itself, which people are told once.
QUORLITE_DECL std::error_code replica_core::notice_engine_error() {
  const std::error_code error = models_.engine.engine_error();
  if (error && !has_told_of_engine_.exchange(true)) {
    const auto held = models_.machine.hold();
    models_.machine.lock().say("the consensus engine gave up: " + error.message());
  }
  return error;
}

QUORLITE_DECL bool replica_core::wait_for_leadership_change(const leader_info& seen,
                                                            milliseconds limit) {
  machine_state& machine = models_.machine;
  port_signal changed(models_.engine);
  {
    const auto held = machine.hold();
    if (machine.leader() != seen || machine.proposals().has_ended()) {
      return machine.leader() != seen;
    }
    machine.proposals().watch(changed);
  }
  static_cast<void>(changed.wait(models_.engine, limit));
  const auto held = machine.hold();
  machine.proposals().unwatch(changed);
  return machine.leader() != seen;
}

QUORLITE_DECL replica_metrics replica_core::metrics() const {
  replica_metrics all;
  {
    const auto held = models_.machine.hold();
    all.machine = models_.machine.counters();
    all.applied = models_.machine.applied();
    all.durable = models_.machine.durable();
    all.staged_bytes = models_.machine.staged_bytes();
  }
  all.history = models_.applier.base().begun;
  all.history_at = models_.applier.history();
  all.proposed = parts_->commits.counters();
  all.groups = parts_->writers.counters();
  all.memory_bytes = models_.machine.gauge()->bytes();
  all.dirty_bytes = models_.machine.gauge()->dirty_bytes();
  all.pinned_bytes = models_.machine.gauge()->pinned_bytes();
  all.snapshots_ended = models_.machine.gauge()->readers().ended();
  all.open_files = parts_->files.open_files();
  return all;
}

QUORLITE_DECL std::vector<database_status> replica_core::databases() const {
  std::vector<database_status> all;
  for (const std::shared_ptr<database>& target : models_.machine.databases().existing()) {
    const std::shared_ptr<page_store> store = target->store();
    const database_state now = store->committed();
    const page_store_usage usage = store->usage();
    all.push_back({.name = target->name(),
                   .page_size = now.page_size,
                   .page_count = now.page_count,
                   .version = now.counted(),
                   .hash = now.hash,
                   .memory_bytes = usage.bytes,
                   .dirty_bytes = usage.dirty_bytes,
                   .pinned_bytes = usage.pinned_bytes,
                   .readers = usage.pins});
  }
  return all;
}

// ---- flushes

/// True for one caller at a time, who has to flush then.
QUORLITE_DECL bool replica_core::is_flush_due() {
  std::uint64_t seen = 0;
  {
    const auto held = models_.machine.hold();
    seen = models_.machine.counters().entry_bytes;
  }
  const bool due = seen - flushed_at_.load() >= options_.flush_bytes ||
                   models_.machine.gauge()->dirty_bytes() > options_.memory_bytes / 4;
  if (!due || is_flushing_.exchange(true)) {
    return false;
  }
  flushed_at_.store(seen);
  return true;
}

/// So much is dirty that a flush has to succeed before more comes in.
QUORLITE_DECL bool replica_core::is_crowded() const noexcept {
  return models_.machine.gauge()->dirty_bytes() > options_.memory_bytes / 2;
}

/// The engine left for want of room, by itself or because it was told to: it is asked whether there
/// is some again.
QUORLITE_DECL void replica_core::come_back() {
  const std::error_code away = notice_engine_error();
  const bool may_pass = away == errc::storage_full || away == errc::out_of_memory;
  if (!may_pass || !models_.engine.comes_back() || was_sent_away_.load()) {
    return;  // one that was sent away waits for a flush
  }
  const std::unique_lock one_at_a_time(stop_mutex_, std::try_to_lock);
  if (!one_at_a_time || !running_) {
    return;
  }
  {
    const auto held = models_.machine.hold();
    if (models_.machine.health().halted) {
      return;
    }
  }
  if (!models_.engine.come_back()) {
    has_told_of_engine_.store(false);
    const auto held = models_.machine.hold();
    models_.machine.lock().say("the consensus engine is back: there is room again");
  }
}

QUORLITE_DECL std::error_code replica_core::maintain() {
  come_back();
  parts_->commits.found();
  parts_->commits.undo_orphans();
  if (!is_flush_due()) {
    return {};
  }
  if (models_.engine.abilities().background_work) {
    models_.engine.run(*parts_->flush);
    return {};
  }
  return parts_->flush->flush();
}

QUORLITE_DECL void replica_core::run_maintenance(const std::atomic<bool>& stop,
                                                 milliseconds pause) {
  while (!stop.load()) {
    come_back();
    parts_->commits.found();
    parts_->commits.undo_orphans();
    if (is_flush_due()) {
      static_cast<void>(parts_->flush->flush());
    }
    port_signal never(models_.engine);
    static_cast<void>(never.wait(models_.engine, pause));
  }
}

/// An engine that gave up by itself may have lost the end of its log, though what was in it is
/// applied: files that were ahead of their log would be refused at the next start.
QUORLITE_DECL std::error_code replica_core::flush() {
  const std::error_code away = models_.engine.engine_error();
  if (away && !was_sent_away_.load()) {
    const auto held = models_.machine.hold();
    return models_.machine.health().halted ? make_error_code(errc::halted) : away;
  }
  const std::error_code error = models_.applier.flush(applied().index);
  if (!error) {
    was_sent_away_.store(false);  // whoever asked for it
  }
  return error;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
