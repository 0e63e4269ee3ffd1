/// @file
/// Bodies of libraft_core: mail, the end, the status, and what the engine and its disk call.
#pragma once

#include "quorlite/detail/libraft/core.hpp"

#include <algorithm>
#include <memory>
#include <new>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/identity.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/detail/libraft/members.hpp"
#include "quorlite/error.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL libraft_core::libraft_core(const libraft_options& options, libraft_identity who)
    : identity_(std::move(who)),
      io_(options.directory, options.segment_bytes),
      proposals_(options),
      departure_(options),
      compaction_(options) {
  fsm_.version = 3;
  fsm_.data = this;
  fsm_.apply = on_apply;
  fsm_.snapshot = on_snapshot;
  fsm_.snapshot_async = on_snapshot_async;
  fsm_.snapshot_finalize = on_snapshot_finalize;
  fsm_.restore = on_restore;
}

QUORLITE_DECL void libraft_core::attach(::raft& engine, state_machine& machine) noexcept {
  engine_ = &engine;
  strand_.attach(engine, machine);
  io_.attach(engine, *this);
  compaction_.attach(engine, strand_);
  leadership_.attach(engine, strand_);
  proposals_.attach(engine, strand_, io_);
  members_.attach(engine);
  departure_.attach(engine, proposals_, members_, io_);
  admission_.attach(engine, strand_, history_.trail());
}

QUORLITE_DECL const std::optional<libraft_seen_defect>& libraft_core::log_defect() const noexcept {
  return log_defect_;
}

QUORLITE_DECL void libraft_core::go_on_from(const libraft_core& before) noexcept {
  const log_index told = before.strand_.cursor().at.index;
  restore_.go_on_from(std::max(before.restore_.told_before(), told));
}

QUORLITE_DECL settle_reason libraft_core::late_reason() const noexcept {
  const settle_reason away = libraft_reason_away(strand_.failure());
  const settle_reason gone = disk_errors_ != 0 ? settle_reason::log_failed : settle_reason::stopped;
  return away != settle_reason::none ? away : gone;
}

QUORLITE_DECL int libraft_core::begin() noexcept {
  if (spoiled_) {
    compaction_.force();
  }
  return io_.begin();
}

QUORLITE_DECL void libraft_core::carry_out(libraft_mail& mail) noexcept {
  // An entry that the machine refused ends the strand by itself, and nothing is handed over then.
  if (mail.withdraw && !strand_.ended()) {
    strand_.end(make_error_code(errc::halted));
    withdrawn_ = true;
    leadership_.notice_loss();
    members_.transfer_to_anyone();  // nothing, if it does not lead
  }
  if (mail.leave) {
    departure_.leave(mail.leave);
  }
  const bool refused = mail.nudge;
  const bool asks = !mail.barriers.empty();
  leadership_.notice_loss();
  proposals_.submit(leadership_.open(), std::move(mail.proposals), std::move(mail.barriers));
  for (const std::shared_ptr<libraft_request>& one : mail.requests) {
    members_.carry_out(one, leadership_.open());
  }
  for (const server_id id : mail.readmitted) {
    admission_.readmit(id);
  }
  if (mail.transfer) {
    members_.transfer_to_anyone();
  }
  if (mail.compact) {
    compaction_.force();
  }
  const bool has_no_room = refused ? proposals_.is_crowded() : asks && proposals_.is_full();
  if (mail.compact || (has_no_room && compaction_.press())) {
    proposals_.nudge(leadership_.open());
  }
  watch();
}

QUORLITE_DECL bool libraft_core::must_close() const noexcept {
  const bool is_handing_over = withdrawn_ && disk_errors_ == 0 && engine_->state == RAFT_LEADER &&
                               members_.is_transferring();
  return strand_.ended() && !is_handing_over;
}

QUORLITE_DECL void libraft_core::watch() noexcept {
  departure_.look_for_room();
  if (!strand_.ended() && departure_.is_over()) {
    strand_.end(departure_.why());
  }
  if (engine_->state == RAFT_UNAVAILABLE && !strand_.ended()) {
    strand_.end(make_error_code(errc::storage_broken));  // it gave up, for want of disk or memory
  }
  leadership_.watch();
  compaction_.look();
  proposals_.pump(leadership_.open());
  proposals_.set_log_bytes(compaction_.applied_log_bytes());
  note_cluster();
}

QUORLITE_DECL void libraft_core::note_cluster() noexcept {
  const std::uint64_t seen = strand_.commands() + restore_.installed();
  const bool is_noted = identity_.knows_cluster() && proposals_.tells_indices();
  if (is_noted || strand_.ended() || seen == cluster_asked_at_) {
    return;
  }
  cluster_asked_at_ = seen;
  const cluster_identity cluster = strand_.machine().base().begun.cluster;
  if (cluster == cluster_identity{}) {
    return;
  }
  proposals_.tell_indices();
  if (identity_.knows_cluster()) {
    return;
  }
  if (const auto error = identity_.record(cluster, libraft_random(), libraft_random())) {
    const errc broken = libraft_lacks_room(error) ? errc::storage_full : errc::storage_broken;
    strand_.end(error == errc::another_cluster ? error : make_error_code(broken));
  }
}

QUORLITE_DECL void libraft_core::end(settle_reason why) noexcept {
  expect_close(why);
  leadership_.step_down();
  strand_.end({});
  proposals_.sweep();
  members_.sweep();
}

[[nodiscard]] inline libraft_role role_of(unsigned short state) noexcept {
  switch (state) {
    case RAFT_FOLLOWER: return libraft_role::follower;
    case RAFT_CANDIDATE: return libraft_role::candidate;
    case RAFT_LEADER: return libraft_role::leader;
    default: return libraft_role::stopped;
  }
}

QUORLITE_DECL void libraft_core::report(libraft_status& into, bool alive) const {
  into.error = strand_.failure();
  into.error_why = io_.why();
  into.position = strand_.cursor().at;
  into.leading = leadership_.open().value != 0;
  into.log_bytes = compaction_.applied_log_bytes() + proposals_.in_flight();
  into.snapshot_bytes = compaction_.snapshot_bytes();
  into.counters = {.proposals = proposals_.handed_over(),
                   .batches = proposals_.batches(),
                   .refused_busy = proposals_.refused(),
                   .barriers = proposals_.barriers(),
                   .commands_applied = strand_.commands(),
                   .snapshots_taken = compaction_.taken(),
                   .snapshots_failed = compaction_.failed(),
                   .snapshots_restored = restore_.installed(),
                   .disk_errors = disk_errors_,
                   .log_end_errors = io_.end_errors(),
                   .messages_dropped = admission_.dropped()};
  into.refused = admission_.refused();
  if (!alive) {
    into.role = libraft_role::stopped;
    into.leader = {};
    return;
  }
  into.strangers = admission_.strangers();
  into.role = role_of(engine_->state);
  into.term = term{engine_->current_term};
  into.commit_index = engine_->commit_index;
  into.applied_index = engine_->last_applied;
  into.snapshot_index = engine_->log.snapshot.last_index;
  into.last_index = raft_last_index(engine_);
  report_servers(into);
}

QUORLITE_DECL void libraft_core::report_servers(libraft_status& into) const {
  raft_id id = 0;
  const char* address = nullptr;
  raft_leader(engine_, &id, &address);
  if (into.leader.id.value != id) {
    into.leader = {server_id{id}, id == 0 || address == nullptr ? "" : address, true};
  }
  report_members(into.members);
  into.id = server_id{engine_->id};
  into.waits = true;
  into.namesake = {};
  for (const libraft_server& one : into.members) {
    if (one.id == into.id) {
      into.waits = false;
    } else if (libraft_number_of(one.id) == libraft_number_of(into.id)) {
      into.namesake = one.id;
    }
  }
}

QUORLITE_DECL void libraft_core::report_members(std::vector<libraft_server>& into) const {
  const raft_configuration& now = engine_->configuration;
  into.resize(now.n);
  for (unsigned i = 0; i < now.n; ++i) {
    libraft_server& one = into[i];
    one.id = server_id{now.servers[i].id};
    one.voter = now.servers[i].role == RAFT_VOTER;
    if (one.address != now.servers[i].address) {
      one.address = now.servers[i].address;
    }
  }
}

[[nodiscard]] inline libraft_core& core_of(const raft_fsm* fsm) noexcept {
  return *static_cast<libraft_core*>(fsm->data);
}

QUORLITE_DECL int libraft_core::on_apply(raft_fsm* fsm, const raft_buffer* buffer,
                                         void** result) noexcept {
  libraft_core& self = core_of(fsm);
  *result = nullptr;
  self.leadership_.notice_loss();
  self.strand_.apply(*buffer);
  self.compaction_.look();
  return 0;
}

QUORLITE_DECL int libraft_core::on_snapshot(raft_fsm* fsm, raft_buffer* bufs[],
                                            unsigned* count) noexcept {
  *bufs = nullptr;
  *count = 0;
  libraft_core& self = core_of(fsm);
  // Or it would name members that may be taken back. Their entry, once applied, asks again.
  return self.io_.members().are_applied() ? self.compaction_.begin() : RAFT_BUSY;
}

QUORLITE_DECL int libraft_core::on_snapshot_async(raft_fsm* fsm, raft_buffer* bufs[],
                                                  unsigned* count) noexcept {
  return core_of(fsm).compaction_.fill(*bufs, *count);
}

QUORLITE_DECL int libraft_core::on_snapshot_finalize(raft_fsm* fsm, raft_buffer* bufs[],
                                                     unsigned* count) noexcept {
  core_of(fsm).compaction_.end(*bufs, *count);
  return 0;
}

QUORLITE_DECL int libraft_core::on_restore(raft_fsm* fsm, raft_buffer* buffer) noexcept {
  libraft_core& self = core_of(fsm);
  self.leadership_.notice_loss();
  if (self.strand_.ended()) {
    return RAFT_SHUTDOWN;
  }
  self.restore_error_ = self.restore_.install(self.strand_, *buffer);
  if (self.restore_error_) {
    self.strand_.end(self.restore_error_);
    return RAFT_CORRUPT;
  }
  self.compaction_.restored(self.restore_.installed_bytes());
  return 0;
}

QUORLITE_DECL bool libraft_core::log_loaded(const libraft_loaded_log& log) noexcept try {
  if (auto found = history_.walk(strand_.machine(), log)) {
    log_defect_ = libraft_seen_defect{std::move(*found), history_.reached()};
    strand_.end(log_defect_->what.error());
  }
  admission_.begin(history_.settled(identity_.cluster()), identity_.cluster());
  return !log_defect_;
} catch (const std::bad_alloc&) {
  strand_.end(make_error_code(errc::out_of_memory));
  return false;
}

QUORLITE_DECL bool libraft_core::members_loaded() noexcept try {
  if (spoiled_ && engine_->configuration.n != 1) {
    log_defect_ = libraft_seen_defect{*spoiled_};
    strand_.end(spoiled_->error());
    return false;
  }
  std::vector<libraft_server> members;
  report_members(members);
  libraft_log_facts log{members, {}, {}, engine_->voted_for != 0};
  if (const history_trail& trail = history_.trail(); !trail.is_empty()) {
    log.cluster = trail.end_place().begun.cluster;
    log.end = trail.end_place().at.index;
  }
  const std::error_code error = identity_.admit(log);
  if (error) {
    if (identity_.refusal()) {
      const raft_index open = engine_->configuration_uncommitted_index;
      log_defect_ = libraft_seen_defect{*identity_.refusal(),
                                        open != 0 ? open : engine_->configuration_index};
    }
    strand_.end(error);
  }
  return !error;
} catch (const std::bad_alloc&) {
  strand_.end(make_error_code(errc::out_of_memory));
  return false;
}

QUORLITE_DECL void libraft_core::disk_failed(int code) noexcept {
  ++disk_errors_;
  strand_.end(libraft_error(code));
}

QUORLITE_DECL int libraft_core::prepare_restore(const raft_buffer& snapshot) noexcept {
  restore_error_ = restore_.prepare(strand_.machine(), snapshot);
  return restore_error_ ? RAFT_CORRUPT : 0;
}

QUORLITE_DECL void libraft_core::restore_failed(int code) noexcept {
  strand_.end(restore_error_ ? restore_error_ : libraft_error(code));
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
