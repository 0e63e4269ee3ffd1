/// @file
/// The adapter for libraft without a loop: it works on any `::raft` with any `raft_io`, on the one
/// thread that drives them. runtime.hpp gives it a libuv loop; tests give it libraft's fixture.
///
/// ```
/// libraft_core core(options);
/// raft_init(&engine, &io, core.fsm(), id, address);
/// core.attach(engine, machine);
/// raft_start(&engine);
/// …              // after whatever the engine may have done: core.watch()
/// if (core.must_close()) { raft_close(&engine, …); }
/// …              // when it is closed: core.end(settle_reason::stopped)
/// ```
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <system_error>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/libraft/admission.hpp"
#include "quorlite/detail/libraft/departure.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/history.hpp"
#include "quorlite/detail/libraft/identity.hpp"
#include "quorlite/detail/libraft/io.hpp"
#include "quorlite/detail/libraft/leadership.hpp"
#include "quorlite/detail/libraft/members.hpp"
#include "quorlite/detail/libraft/proposals.hpp"
#include "quorlite/detail/libraft/snapshot.hpp"
#include "quorlite/detail/libraft/strand.hpp"
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
  std::vector<server_id> readmitted;
  bool transfer = false;  ///< hand over to anyone
  bool withdraw = false;  ///< the machine has halted
  std::error_code leave;  ///< there is no room: this one is told as why
  bool compact = false;   ///< take a snapshot soon
  bool nudge = false;     ///< a proposal found no room
  bool stop = false;
};

/// One server. It outlives the engine, whose callbacks come to it until it is closed.
class libraft_core final : private libraft_io_listener {
 public:
  /// @param who this server is; without it nobody is refused, and nothing recorded
  explicit libraft_core(const libraft_options& options, libraft_identity who = {});

  /// For raft_init. The raft_io must offer async_work, so its version is 2.
  [[nodiscard]] raft_fsm* fsm() noexcept { return &fsm_; }

  /// Between raft_init and raft_start. Takes raft.data and parts of the raft_io.
  void attach(::raft& engine, state_machine& machine) noexcept;

  /// Before raft_start: the snapshot in the folder is damaged, and the machine's files have all of
  /// it. Who is alone starts, and takes another one; who is not would send it to others.
  void do_without(libraft_log_defect snapshot) { spoiled_ = std::move(snapshot); }

  /// Before raft_start, with the machine of one that has ended: what that was told is not restored
  /// from a snapshot, which could need room that is not there.
  void go_on_from(const libraft_core& before) noexcept;

  /// After raft_start, before the engine does anything else. @returns 0, or a code of libraft
  [[nodiscard]] int begin() noexcept;

  /// Any thread. False: no room for so many bytes now.
  [[nodiscard]] bool admit(std::size_t size) noexcept { return proposals_.admit(size); }
  /// Any thread. For one that was admitted and never handed over.
  void turn_away(const libraft_proposal& one, settle_reason why) noexcept {
    proposals_.turn_away(one, why);
  }

  /// Does what the mail says, but for tasks and the stop, then watches.
  void carry_out(libraft_mail& mail) noexcept;

  /// After anything that the engine may have done, and not from inside it.
  void watch() noexcept;

  /// How it leaves for a while. When that is over, must_close() is true.
  [[nodiscard]] libraft_departure& departure() noexcept { return departure_; }

  /// The engine is to be closed before it does anything else: the machine halted, or a disk failed.
  /// A leader whose machine withdrew hands over first, for which libraft takes an election timeout
  /// at most.
  [[nodiscard]] bool must_close() const noexcept;
  [[nodiscard]] std::error_code failure() const noexcept { return strand_.failure(); }
  /// Why the log that was loaded is not one with the machine's files: then raft_start failed.
  [[nodiscard]] const std::optional<libraft_seen_defect>& log_defect() const noexcept;
  /// Why the last snapshot that came, or that the start began with, could not be restored.
  [[nodiscard]] std::error_code restore_error() const noexcept { return restore_error_; }

  /// Before raft_close, for an orderly stop: what it gives up is not called lost, but stopped.
  /// @param why if no disk is to blame
  void expect_close(settle_reason why) noexcept {
    proposals_.blame(disk_errors_ != 0 ? settle_reason::log_failed : why);
  }
  /// What to tell those who come when nothing is handed over any more: whether it is for a while.
  [[nodiscard]] settle_reason late_reason() const noexcept;

  [[nodiscard]] libraft_io& io() noexcept { return io_; }

  /// No strand call follows: tells the loss, settles and answers all that waits. Usually after the
  /// engine was closed; if before, its callbacks find nothing left to tell.
  void end(settle_reason why) noexcept;

  [[nodiscard]] const libraft_strand& strand() const noexcept { return strand_; }
  [[nodiscard]] libraft_identity& identity() noexcept { return identity_; }
  [[nodiscard]] term open() const noexcept { return leadership_.open(); }

  /// Brings a status up to date. @param alive false: the engine is gone
  void report(libraft_status& into, bool alive) const;

 private:
  void report_servers(libraft_status& into) const;
  void report_members(std::vector<libraft_server>& into) const;
  /// The folder is told of which cluster it is, once the machine knows; and batches tell their
  /// index from then on.
  void note_cluster() noexcept;

  // ---- called by the engine. 0.15 tries an apply that fails again, for ever: it never fails.

  static int on_apply(raft_fsm* fsm, const raft_buffer* buffer, void** result) noexcept;
  static int on_snapshot(raft_fsm* fsm, raft_buffer* bufs[], unsigned* count) noexcept;
  static int on_snapshot_async(raft_fsm* fsm, raft_buffer* bufs[], unsigned* count) noexcept;
  static int on_snapshot_finalize(raft_fsm* fsm, raft_buffer* bufs[], unsigned* count) noexcept;
  static int on_restore(raft_fsm* fsm, raft_buffer* buffer) noexcept;

  // ---- called by the guard of the disk

  [[nodiscard]] bool log_loaded(const libraft_loaded_log& log) noexcept override;
  [[nodiscard]] bool members_loaded() noexcept override;
  [[nodiscard]] bool admits(const raft_message& message) noexcept override {
    return admission_.admits(message);
  }
  void received() noexcept override { admission_.received(); }
  [[nodiscard]] history_position applied() const noexcept override {
    return strand_.machine().history();
  }
  void disk_failed(int code) noexcept override;
  int prepare_restore(const raft_buffer& snapshot) noexcept override;
  void restore_failed(int code) noexcept override;

  raft_fsm fsm_{};
  ::raft* engine_ = nullptr;
  libraft_identity identity_;
  libraft_strand strand_;
  libraft_io io_;
  libraft_leadership leadership_;
  libraft_proposals proposals_;
  libraft_members members_;
  libraft_departure departure_;
  libraft_restore restore_;
  libraft_compaction compaction_;
  libraft_history history_;
  libraft_admission admission_;
  std::optional<libraft_seen_defect> log_defect_;
  std::optional<libraft_log_defect> spoiled_;
  std::error_code restore_error_;  // of the last one
  std::uint64_t disk_errors_ = 0;
  std::uint64_t cluster_asked_at_ = ~std::uint64_t{0};  // commands and snapshots by then
  bool withdrawn_ = false;                              // before anything else ended the strand
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/core.ipp"  // IWYU pragma: keep
#endif
