/// @file
/// Bodies of replica: each is its core's, or the answer of one that is empty.
#pragma once

#include <atomic>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/replica/replica_core.hpp"
#include "quorlite/replica.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL result<std::shared_ptr<replica_core>> start_replica(
    std::shared_ptr<void> keeps, consensus_port& engine, state_machine& applier,
    flush_port& flushes, machine_state& machine, std::vector<std::string> folders,
    const replica_options& options) {
  return replica_core::start(
      {std::move(keeps), engine, applier, flushes, machine, std::move(folders)}, options);
}

QUORLITE_DECL fsm_options machine_options(const replica_options& options) noexcept {
  return {.cluster_id = options.cluster_id,
          .lock_byte = options.lock_byte,
          .memory_bytes = options.memory_bytes,
          .pinned_bytes = options.pinned_bytes,
          .legacy = options.legacy,
          .log = options.log,
          .log_context = options.log_context};
}

}  // namespace detail

QUORLITE_DECL replica::replica() noexcept = default;
QUORLITE_DECL replica::replica(replica&& other) noexcept = default;
QUORLITE_DECL replica::replica(std::shared_ptr<detail::replica_core> core) noexcept
    : core_(std::move(core)) {}

QUORLITE_DECL replica& replica::operator=(replica&& other) noexcept {
  replica before(std::exchange(core_, std::move(other.core_)));
  return *this;
}

QUORLITE_DECL replica::~replica() {
  if (core_ != nullptr) {
    core_->close();
  }
}

QUORLITE_DECL result<replica> replica::started(result<std::shared_ptr<detail::replica_core>> core) {
  if (!core) {
    return fail(core.error());
  }
  return replica(std::move(*core));
}

QUORLITE_DECL std::error_code replica::stop() try {
  return core_ == nullptr ? std::error_code{} : core_->stop();
} catch (const std::bad_alloc&) {
  return make_error_code(errc::out_of_memory);
}

QUORLITE_DECL result<connection> replica::open(std::string_view name,
                                               const connection_options& options) try {
  return core_ == nullptr ? fail(errc::stopped) : core_->open(name, options);
} catch (const std::bad_alloc&) {
  return fail(errc::out_of_memory);
}

QUORLITE_DECL void replica::write_in_group(std::string_view name, detail::write_task& task) try {
  if (core_ == nullptr) {
    task.answer = write_result::refused(make_error_code(errc::stopped));
    return;
  }
  core_->write(name, task);
} catch (const std::bad_alloc&) {
  task.answer = write_result::refused(make_error_code(errc::out_of_memory));
}

QUORLITE_DECL std::error_code replica::drop(std::string_view name) try {
  return core_ == nullptr ? make_error_code(errc::stopped) : core_->drop(name);
} catch (const std::bad_alloc&) {
  return make_error_code(errc::out_of_memory);
}
QUORLITE_DECL std::error_code replica::upgrade() try {
  return core_ == nullptr ? make_error_code(errc::stopped) : core_->upgrade();
} catch (const std::bad_alloc&) {
  return make_error_code(errc::out_of_memory);
}
QUORLITE_DECL std::error_code replica::read_barrier(milliseconds limit) try {
  return core_ == nullptr ? make_error_code(errc::stopped) : core_->read_barrier(limit);
} catch (const std::bad_alloc&) {
  return make_error_code(errc::out_of_memory);
}

QUORLITE_DECL transaction_outcome replica::outcome(transaction_id id) const {
  return core_ == nullptr ? transaction_outcome::undecided : core_->outcome(id);
}
QUORLITE_DECL leader_info replica::leader() const {
  return core_ == nullptr ? leader_info{} : core_->leader();
}
QUORLITE_DECL quorlite::health replica::health() const {
  quorlite::health none;
  none.error = make_error_code(errc::stopped);
  return core_ == nullptr ? none : core_->health();
}
QUORLITE_DECL bool replica::wait_for_leadership_change(const leader_info& seen,
                                                       milliseconds limit) const {
  return core_ != nullptr && core_->wait_for_leadership_change(seen, limit);
}
QUORLITE_DECL std::string replica::vfs_name() const {
  return core_ == nullptr ? std::string{} : core_->files().name();
}
QUORLITE_DECL std::error_code replica::set_up(sqlite3* db, milliseconds busy_timeout) const {
  return core_ == nullptr ? make_error_code(errc::stopped)
                          : detail::set_up_connection(db, busy_timeout);
}
QUORLITE_DECL replica_metrics replica::metrics() const {
  return core_ == nullptr ? replica_metrics{} : core_->metrics();
}
QUORLITE_DECL std::vector<database_status> replica::databases() const {
  return core_ == nullptr ? std::vector<database_status>{} : core_->databases();
}
QUORLITE_DECL log_position replica::applied() const noexcept {
  return core_ == nullptr ? log_position{} : core_->applied();
}

QUORLITE_DECL std::error_code replica::maintain() try {
  return core_ == nullptr ? make_error_code(errc::stopped) : core_->maintain();
} catch (const std::bad_alloc&) {
  return make_error_code(errc::out_of_memory);
}
QUORLITE_DECL void replica::run_maintenance(const std::atomic<bool>& stop, milliseconds pause) {
  if (core_ != nullptr) {
    core_->run_maintenance(stop, pause);
  }
}
QUORLITE_DECL std::error_code replica::flush() try {
  return core_ == nullptr ? make_error_code(errc::stopped) : core_->flush();
} catch (const std::bad_alloc&) {
  return make_error_code(errc::out_of_memory);
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite
