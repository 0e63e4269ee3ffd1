/// @file
/// A guard between libraft and its disk.
///
/// After a failed write 0.15 truncates its log in memory and goes on leading, though followers may
/// hold what it forgot; a follower goes on with entries that its disk never saw; and some of its
/// error paths use memory that was freed. So no failed write is ever reported to it: it is noted
/// here, the adapter closes the engine before anything else happens, and the engine then drops what
/// it waited for. To the others, this server is simply gone.
///
/// A voter that is alone elects itself without a higher term, at a start and when its last leader
/// has left: it would give names of transactions again that were given in that term. So it begins a
/// term here first, as durably as the engine would.
///
/// While a snapshot that came is checked and written, the engine stays a follower: see
/// hold_election().
///
/// 0.15 frees a cut of its log when it is closed, also if a thread of the pool is at it, which then
/// writes into that memory and frees it again. So the disk is closed once the cut is over.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/agreement.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/loaded_log.hpp"
#include "quorlite/detail/libraft/log_end.hpp"
#include "quorlite/detail/libraft/log_members.hpp"
#include "quorlite/detail/libraft/log_notes.hpp"
#include "quorlite/detail/libraft/writes.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Who is told. On the loop, but for prepare_restore.
class libraft_io_listener {
 public:
  libraft_io_listener() = default;
  libraft_io_listener(const libraft_io_listener&) = delete;
  libraft_io_listener& operator=(const libraft_io_listener&) = delete;

  /// The log was read, from inside raft_start. @returns false: the engine does not start
  [[nodiscard]] virtual bool log_loaded(const libraft_loaded_log& log) noexcept = 0;
  /// Then: the members are known, and the engine has neither written nor sent anything.
  /// @returns false: it does not start
  [[nodiscard]] virtual bool members_loaded() noexcept = 0;
  /// A message came. @returns false: it is dropped, as if it was lost
  [[nodiscard]] virtual bool admits(const raft_message& message) noexcept = 0;
  /// The engine has looked at the message that was admitted.
  virtual void received() noexcept = 0;
  /// What the machine has applied, and the history there. A hash of zero: not known.
  [[nodiscard]] virtual history_position applied() const noexcept { return {}; }
  /// The disk failed with this code. From inside the engine: close it later, but before it works
  /// on.
  virtual void disk_failed(int code) noexcept = 0;
  /// A snapshot came and is in memory; it is written when this has returned. On a thread of the
  /// engine's pool. @returns 0, or a code: it is not written then
  virtual int prepare_restore(const raft_buffer& snapshot) noexcept = 0;
  /// prepare_restore gave this code, or memory was short. From inside the engine.
  virtual void restore_failed(int code) noexcept = 0;

 protected:
  ~libraft_io_listener() = default;
};

/// Takes the place of some functions of a raft_io. One engine; on its loop. Outlives the engine.
class libraft_io final : private libraft_writes_listener {
 public:
  /// @param directory of the log; empty: the engine's disk is none
  /// @param segment_bytes of a file of the log
  libraft_io(const std::string& directory, std::size_t segment_bytes);
  libraft_io(const libraft_io&) = delete;
  libraft_io& operator=(const libraft_io&) = delete;
  ~libraft_io();

  /// After raft_init and before raft_start. raft.data is taken.
  void attach(::raft& engine, libraft_io_listener& listener) noexcept;

  /// The engine has read its log, and works from now on. @returns 0, or a code of libraft
  [[nodiscard]] int begin() noexcept;

  [[nodiscard]] bool failed() const noexcept { return failed_; }
  /// Entries of the log are on their way to the disk.
  [[nodiscard]] bool is_writing() const noexcept { return writes_.any(); }
  [[nodiscard]] const libraft_log_members& members() const noexcept { return members_; }
  /// What is known of the failure beyond its code. Never freed.
  [[nodiscard]] const char* why() const noexcept { return why_; }
  /// How often log_end could not be told how far the log goes: it says less then, and is told it
  /// again.
  [[nodiscard]] std::uint64_t end_errors() const noexcept;

  /// After raft_close, when nothing of the loop is under way: true if the disk was not closed,
  /// because nothing told that a cut of the log is over; by now it is. The disk is being closed
  /// then.
  [[nodiscard]] bool close_late() noexcept;

  /// After raft_close, where the disk will never say that it has closed: the engine is told so all
  /// the same, and lets go of what it has. 0.15 forgets writes that the kernel did not take
  /// (io_submit), and then waits for them for ever.
  void close_now() noexcept;

  /// Memory of an entry that the engine refused. Its disk may still look at it: kept until closed.
  void bury(void* memory) { buried_.push_back(memory); }

 private:
  struct install;    // a snapshot that came from another server
  struct end_write;  // of log_end, beside the loop
  struct hooks;      // what the engine calls

  /// True for the only voter of the members as the log has them.
  [[nodiscard]] bool is_alone() const noexcept;
  /// A snapshot that came is on its way: the log in memory is that one already, and the disk has it
  /// not. Who leads then, or asks for votes, counts on what it does not have; and when the snapshot
  /// is there 0.15 looks for its leader in what only a follower has, and finds other bytes. So a
  /// voter whose time has run out has no leader any more, and gives its vote to others, as a
  /// candidate would; it begins to campaign when that is over.
  void hold_election() noexcept;
  /// True if the engine would elect itself at its next tick.
  [[nodiscard]] bool is_about_to_lead_alone() const noexcept;
  /// @returns 0, or a code of the disk: the engine may not go on
  [[nodiscard]] int begin_term() noexcept;

  [[nodiscard]] std::uint64_t write_stamp() const noexcept override { return notes_.announced(); }
  [[nodiscard]] int written(std::uint64_t stamp) noexcept override { return notes_.done(stamp); }
  void write_landed(std::uint64_t stamp) noexcept override {
    cut_ = stamp >= cut_ ? 0 : cut_;  // it waited for the cut before it
  }
  void write_failed(int code) noexcept override { fail(code); }

  /// Once the engine is being closed, and nothing is cut any more. Not from inside the disk, other
  /// than from its clock: it does not expect that.
  void close_disk() noexcept;

  /// log_end is told how far the log is on the disk by now.
  void note_end() noexcept;
  /// And before it is cut.
  [[nodiscard]] int pull_back(raft_index to) noexcept;
  /// Twice a second at most, and beside the loop, it is written down; and it is looked whether the
  /// segments before were closed.
  void write_end_sometimes() noexcept;

  /// The disk gave this code. libraft calls a quota that is used up a broken disk, and so a full
  /// one where it writes its term.
  void fail(int code) noexcept;
  /// For whatever reason: the engine is to be closed.
  void give_up(int code) noexcept;
  /// For what the engine takes well, with some help: it becomes unavailable.
  int noted(int code) noexcept;
  void refuse(install* one, int code) noexcept;
  static void finish(install* one) noexcept;

  ::raft* engine_ = nullptr;
  raft_io_tick_cb tick_ = nullptr;
  raft_io_recv_cb receive_ = nullptr;
  libraft_agreement agreement_;
  libraft_log_members members_;
  libraft_io_listener* listener_ = nullptr;
  raft_io inner_{};
  raft_io_close_cb closed_ = nullptr;
  const std::size_t segment_bytes_;
  const std::size_t batch_bytes_;
  libraft_notes notes_;
  libraft_end_keeper end_;
  const std::unique_ptr<end_write> end_write_;
  libraft_writes writes_;
  install* refused_ = nullptr;
  raft_io_snapshot_put taken_{};            // a snapshot of our own, on its way to the disk
  raft_io_snapshot_put* taking_ = nullptr;  // what the engine asked for it; nullptr: none is
  std::vector<void*> buried_;
  bool is_installing_ = false;  // a snapshot that came: until the engine has its answer
  std::uint64_t cut_ = 0;       // the number of the last cut; 0: it is over
  bool failed_ = false;
  const char* why_ = "";
  bool closing_ = false;
  bool disk_closing_ = false;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/io.ipp"  // IWYU pragma: keep
#endif
