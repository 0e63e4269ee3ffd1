/// @file
/// Bodies of replica.hpp.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/codec/command.hpp"
#include "quorlite/detail/commit/proposer.hpp"
#include "quorlite/detail/pages/registry.hpp"
#include "quorlite/detail/sqlite/group/group_writer.hpp"
#include "quorlite/detail/sqlite/vfs.hpp"
#include "quorlite/replica.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Several replicas may live in one process (tests do that): each registers a VFS of its own.
[[nodiscard]] QUORLITE_DECL vfs_options with_own_name(vfs_options files) {
  static std::atomic<std::uint64_t> count{0};
  if (files.name == vfs_options{}.name) {
    files.name += '-' + std::to_string(count.fetch_add(1) + 1);
  }
  return files;
}

/// One flush, and what follows if there is no room for it.
class replica_core::upkeep final : public background_task {
 public:
  explicit upkeep(replica_core& owner) noexcept : owner_(owner) {}
  void run() noexcept override { static_cast<void>(flush()); }
  std::error_code flush() noexcept {
    const std::error_code error = owner_.flush();
    if (owner_.engine_.abilities().leadership_transfer && error == errc::storage_full &&
        owner_.leader().leading) {
      owner_.engine_.transfer_leadership();  // another server may have room
    }
    owner_.is_flushing_.store(false);
    return error;
  }

 private:
  replica_core& owner_;
};

struct replica_core::parts {
  parts(replica_core& owner, flush_port& flushes, const replica_options& options)
      : commits(owner.engine_, owner.machine_, flushes, options.commits),
        files(commits, with_own_name(options.files)),
        writers(owner.engine_, files, options.groups),
        flush(owner) {}

  proposer commits;
  vfs files;
  group_writers writers;
  upkeep flush;
};

// ---- from start to stop

QUORLITE_DECL replica_core::replica_core(consensus_port& engine, state_machine& applier,
                                         machine_state& machine, flush_port& flushes,
                                         const replica_options& options)
    : engine_(engine),
      applier_(applier),
      machine_(machine),
      options_(options),
      parts_(std::make_unique<parts>(*this, flushes, options)),
      started_(parts_->files.is_registered() ? std::error_code{}
                                             : make_error_code(errc::sqlite_failed)) {}

QUORLITE_DECL replica_core::~replica_core() { stop_adapter(); }

QUORLITE_DECL void replica_core::run(std::error_code loaded) {
  started_ = loaded ? loaded : engine_.start(applier_);
  running_ = !started_;
}

QUORLITE_DECL std::error_code replica_core::stop() {
  if (!running_) {
    return {};
  }
  stop_adapter();
  return flush();
}

QUORLITE_DECL void replica_core::stop_adapter() {
  if (std::exchange(running_, false)) {
    engine_.stop();
  }
}

// ---- SQL

/// Why nothing can be opened here now, if so.
QUORLITE_DECL std::error_code replica_core::readiness() const {
  if (started_) {
    return started_;
  }
  const auto held = machine_.hold();
  return machine_.is_recovering() ? make_error_code(errc::busy) : std::error_code{};
}

QUORLITE_DECL result<connection> replica_core::open(std::string_view name,
                                                    connection_options options) {
  if (const std::error_code error = readiness()) {
    return fail(error);
  }
  return open_connection(parts_->files, std::string(name), options);
}

QUORLITE_DECL void replica_core::write_in_group(std::string_view name, write_task& task) {
  if (const std::error_code error = readiness()) {
    task.answer = write_result::refused(error);
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
  return parts_->commits.submit(drop_command{name});
}

QUORLITE_DECL std::error_code replica_core::read_barrier(milliseconds limit) {
  return engine_.abilities().read_barrier ? parts_->commits.read_barrier(limit)
                                          : parts_->commits.submit(barrier_command{});
}

// ---- what it tells

QUORLITE_DECL transaction_outcome replica_core::outcome(transaction_id id) const {
  const auto held = machine_.hold();
  return machine_.outcome_of(id);
}
QUORLITE_DECL quorlite::leader_info replica_core::leader() const {
  const auto held = machine_.hold();
  return machine_.leader();
}
QUORLITE_DECL quorlite::health replica_core::health() const {
  const auto held = machine_.hold();
  return machine_.health();
}
QUORLITE_DECL log_position replica_core::applied() const noexcept { return applier_.applied(); }
QUORLITE_DECL machine_counters replica_core::counters() const {
  const auto held = machine_.hold();
  return machine_.counters();
}
QUORLITE_DECL proposer_counters replica_core::proposals() const {
  return parts_->commits.counters();
}
QUORLITE_DECL group_counters replica_core::groups() const { return parts_->writers.counters(); }

QUORLITE_DECL std::vector<replica_core::database_status> replica_core::databases() {
  std::vector<database_status> all;
  for (const std::shared_ptr<database>& target : machine_.databases().existing()) {
    const std::shared_ptr<page_store> store = target->store();
    all.push_back({target->name(), store->committed(), store->usage()});
  }
  return all;
}

// ---- flushes

/// True for one caller at a time, who has to flush then.
QUORLITE_DECL bool replica_core::is_flush_due() {
  const std::uint64_t seen = counters().entry_bytes;
  const bool due = seen - flushed_at_.load() >= options_.flush_bytes ||
                   machine_.gauge()->dirty_bytes() > options_.machine.memory_bytes / 4;
  if (!due || is_flushing_.exchange(true)) {
    return false;
  }
  flushed_at_.store(seen);
  return true;
}

QUORLITE_DECL std::error_code replica_core::maintain() {
  if (!is_flush_due()) {
    return {};
  }
  if (engine_.abilities().background_work) {
    engine_.run(parts_->flush);
    return {};
  }
  return parts_->flush.flush();
}

QUORLITE_DECL void replica_core::flush_if_due() {
  if (is_flush_due()) {
    static_cast<void>(parts_->flush.flush());
  }
}

QUORLITE_DECL std::error_code replica_core::flush() {
  return applier_.flush(applier_.applied().index);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
