/// @file
/// The adapter for libraft without a loop: it works on any `::raft` with any `raft_io`, on the one
/// thread that drives them. libraft.hpp gives it a libuv loop; tests give it libraft's fixture.
///
/// ```
/// libraft_core core(options);
/// raft_init(&engine, &io, core.fsm(), id, address);
/// core.attach(engine, machine);
/// raft_start(&engine);
/// …              // after whatever the engine may have done: core.watch()
/// if (core.must_close()) { raft_close(&engine, …); }
/// …              // when it is closed: core.end(reason::stopped)
/// ```
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/io.hpp"
#include "quorlite/detail/libraft/lane.hpp"
#include "quorlite/detail/libraft/members.hpp"
#include "quorlite/detail/libraft/office.hpp"
#include "quorlite/detail/libraft/proposals.hpp"
#include "quorlite/detail/libraft/snapshot.hpp"
#include "quorlite/error.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// What other threads want of the server, and the loop has not looked at yet.
struct libraft_mail {
  std::vector<libraft_proposal> proposals;
  std::vector<proposal_token> barriers;
  std::vector<std::shared_ptr<libraft_request>> requests;
  std::vector<background_task*> tasks;
  bool transfer = false;  ///< hand over to anyone
  bool compact = false;   ///< take a snapshot soon
  bool nudge = false;     ///< a proposal found no room in the log
  bool stop = false;
};

/// One server. It outlives the engine, whose callbacks come to it until it is closed.
class libraft_core final : private libraft_io_listener {
 public:
  explicit libraft_core(const libraft_options& options) noexcept
      : proposals_(options), compaction_(options) {
    fsm_.version = 3;
    fsm_.data = this;
    fsm_.apply = on_apply;
    fsm_.snapshot = on_snapshot;
    fsm_.snapshot_async = on_snapshot_async;
    fsm_.snapshot_finalize = on_snapshot_finalize;
    fsm_.restore = on_restore;
  }

  /// For raft_init. The raft_io must offer async_work, so its version is 2.
  [[nodiscard]] raft_fsm* fsm() noexcept { return &fsm_; }

  /// Between raft_init and raft_start. Takes raft.data and parts of the raft_io.
  void attach(::raft& engine, state_machine& machine) noexcept {
    engine_ = &engine;
    lane_.attach(engine, machine);
    io_.attach(engine, *this);
    compaction_.attach(engine, lane_);
    office_.attach(engine, lane_);
    proposals_.attach(engine, lane_, io_);
    members_.attach(engine);
  }

  /// Any thread. False: no room for so many bytes now.
  [[nodiscard]] bool admit(std::size_t size) noexcept { return proposals_.admit(size); }
  /// Any thread. For one that was admitted and never handed over.
  void turn_away(const libraft_proposal& one, reason why) noexcept {
    proposals_.turn_away(one, why);
  }

  /// Does what the mail says, but for tasks and the stop, then watches.
  void carry_out(libraft_mail& mail) noexcept {
    office_.notice_loss();
    proposals_.submit(office_.open(), std::move(mail.proposals), std::move(mail.barriers));
    for (std::shared_ptr<libraft_request>& one : mail.requests) {
      members_.carry_out(std::move(one));
    }
    if (mail.transfer) {
      members_.transfer_to_anyone();
    }
    if (mail.compact) {
      compaction_.force();
    }
    if (mail.compact || mail.nudge) {
      proposals_.nudge(office_.open());
    }
    watch();
  }

  /// After anything that the engine may have done, and not from inside it.
  void watch() noexcept {
    if (engine_->state == RAFT_UNAVAILABLE && !lane_.ended()) {
      lane_.end(make_error_code(errc::storage_broken));  // it gave up, for want of disk or memory
    }
    office_.watch();
    proposals_.pump(office_.open());
    proposals_.set_log_bytes(compaction_.applied_log_bytes());
  }

  /// The engine is to be closed before it does anything else: the machine halted, or a disk failed.
  [[nodiscard]] bool must_close() const noexcept { return lane_.ended(); }
  [[nodiscard]] std::error_code failure() const noexcept { return lane_.failure(); }

  /// Before raft_close, for an orderly stop: what it gives up is not called lost, but stopped.
  void expect_close(reason why) noexcept { proposals_.blame(blame(why)); }
  /// What to tell those who come too late. @param otherwise if no disk is to blame
  [[nodiscard]] reason blame(reason otherwise) const noexcept {
    return disk_errors_ != 0 ? reason::log_failed : otherwise;
  }

  /// No lane call follows: tells the loss, settles and answers all that waits. Usually after the
  /// engine was closed; if before, its callbacks find nothing left to tell.
  void end(reason why) noexcept {
    expect_close(why);
    office_.resign();
    lane_.end({});
    proposals_.sweep();
    members_.sweep();
  }

  [[nodiscard]] const libraft_lane& lane() const noexcept { return lane_; }
  [[nodiscard]] term open() const noexcept { return office_.open(); }

  /// Brings a status up to date. @param alive false: the engine is gone
  void report(libraft_status& into, bool alive) const {
    into.failure = lane_.failure();
    into.position = lane_.cursor().at;
    into.announced = office_.open().value != 0;
    into.log_bytes = compaction_.applied_log_bytes() + proposals_.in_flight();
    into.snapshot_bytes = compaction_.snapshot_bytes();
    into.counters = {.proposals = proposals_.handed_over(),
                     .batches = proposals_.batches(),
                     .refused_busy = proposals_.refused(),
                     .barriers = proposals_.barriers(),
                     .commands_applied = lane_.commands(),
                     .snapshots_taken = compaction_.taken(),
                     .snapshots_failed = compaction_.failed(),
                     .snapshots_restored = restore_.installed(),
                     .disk_errors = disk_errors_};
    if (!alive) {
      into.role = libraft_role::stopped;
      into.leader = {};
      return;
    }
    into.role = role_of(engine_->state);
    into.term = term{engine_->current_term};
    into.commit_index = engine_->commit_index;
    into.applied_index = engine_->last_applied;
    into.snapshot_index = engine_->log.snapshot.last_index;
    into.last_index = raft_last_index(engine_);
    report_servers(into);
  }

 private:
  [[nodiscard]] static libraft_role role_of(unsigned short state) noexcept {
    switch (state) {
      case RAFT_FOLLOWER: return libraft_role::follower;
      case RAFT_CANDIDATE: return libraft_role::candidate;
      case RAFT_LEADER: return libraft_role::leader;
      default: return libraft_role::stopped;
    }
  }

  void report_servers(libraft_status& into) const {
    raft_id id = 0;
    const char* address = nullptr;
    raft_leader(engine_, &id, &address);
    if (into.leader.id.value != id) {
      into.leader = {server_id{id}, address == nullptr ? "" : address, true};
    }
    const raft_configuration& now = engine_->configuration;
    into.members.resize(now.n);
    for (unsigned i = 0; i < now.n; ++i) {
      libraft_server& one = into.members[i];
      one.id = server_id{now.servers[i].id};
      one.voter = now.servers[i].role == RAFT_VOTER;
      if (one.address != now.servers[i].address) {
        one.address = now.servers[i].address;
      }
    }
  }

  // ---- called by the engine. 0.15 tries an apply that fails again, for ever: it never fails.

  [[nodiscard]] static libraft_core& of(raft_fsm* fsm) noexcept {
    return *static_cast<libraft_core*>(fsm->data);
  }

  static int on_apply(raft_fsm* fsm, const raft_buffer* buffer, void** result) noexcept {
    libraft_core& self = of(fsm);
    *result = nullptr;
    self.office_.notice_loss();
    self.lane_.apply(*buffer);
    self.compaction_.note_applied();
    return 0;
  }
  static int on_snapshot(raft_fsm* fsm, raft_buffer* bufs[], unsigned* count) noexcept {
    *bufs = nullptr;
    *count = 0;
    return of(fsm).compaction_.begin();
  }
  static int on_snapshot_async(raft_fsm* fsm, raft_buffer* bufs[], unsigned* count) noexcept {
    return of(fsm).compaction_.fill(*bufs, *count);
  }
  static int on_snapshot_finalize(raft_fsm* fsm, raft_buffer* bufs[], unsigned* count) noexcept {
    of(fsm).compaction_.end(*bufs, *count);
    return 0;
  }
  static int on_restore(raft_fsm* fsm, raft_buffer* buffer) noexcept {
    libraft_core& self = of(fsm);
    self.office_.notice_loss();
    if (self.lane_.ended()) {
      return RAFT_SHUTDOWN;
    }
    if (const std::error_code error = self.restore_.install(self.lane_, *buffer)) {
      self.lane_.end(error);
      return RAFT_CORRUPT;
    }
    self.compaction_.restored(self.restore_.installed_bytes());
    return 0;
  }

  // ---- called by the guard of the disk

  void disk_failed(int code) noexcept override {
    ++disk_errors_;
    lane_.end(libraft_error(code));
  }
  int prepare_restore(const raft_buffer& snapshot) noexcept override {
    restore_error_ = restore_.prepare(lane_.machine(), snapshot);
    return restore_error_ ? RAFT_CORRUPT : 0;
  }
  void restore_failed(int code) noexcept override {
    lane_.end(restore_error_ ? restore_error_ : libraft_error(code));
  }

  raft_fsm fsm_{};
  ::raft* engine_ = nullptr;
  libraft_lane lane_;
  libraft_io io_;
  libraft_office office_;
  libraft_proposals proposals_;
  libraft_members members_;
  libraft_restore restore_;
  libraft_compaction compaction_;
  std::error_code restore_error_;  // of the last prepare
  std::uint64_t disk_errors_ = 0;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
