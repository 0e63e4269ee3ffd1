/// @file
/// The thread and the libuv loop of one libraft server, from its start to its end.
#pragma once

#include <uv.h>

#include <atomic>
#include <deque>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "quorlite/adapter_kit.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/libraft/core.hpp"
#include "quorlite/detail/libraft/identity.hpp"
#include "quorlite/detail/libraft/transport.hpp"
#include "quorlite/error.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Any thread puts, the loop takes all at once.
class libraft_inbox {
 public:
  /// What became of a call of post().
  struct posted {
    bool taken = false;  ///< false: the loop is gone, and nothing was put
    bool wake = false;   ///< the loop is to be woken
  };
  /// @param put what to do with the mail; it must not block. What it throws comes through
  template <class Put>
  posted post(Put&& put) {
    const std::lock_guard guard(mutex_);
    if (closed_) {
      return {};
    }
    std::forward<Put>(put)(mail_);
    return {true, !std::exchange(waiting_, true)};
  }

  [[nodiscard]] libraft_mail take() noexcept;

  /// Of what was put, the proposals.
  [[nodiscard]] std::vector<libraft_proposal> take_proposals() noexcept;

  /// Something was put, and not taken.
  [[nodiscard]] bool is_waiting() noexcept;

  /// From here on nothing is put. @returns what nobody took
  [[nodiscard]] libraft_mail close() noexcept;

 private:
  std::mutex mutex_;
  libraft_mail mail_;
  bool waiting_ = false;
  bool closed_ = false;
};

/// What the loop last knew, for all threads. Any thread.
class libraft_last_status {
 public:
  /// @param report fills in what is new; it must not block
  template <class Report>
  void update(Report&& report) noexcept {
    const std::lock_guard guard(mutex_);
    std::forward<Report>(report)(status_);
  }
  /// From here on the server has given up, whether the loop knows or not. @returns true: it is news
  bool withdraw() noexcept { return !withdrawn_.exchange(true); }

  [[nodiscard]] libraft_status whole() const;
  /// The same as in the whole.
  [[nodiscard]] std::error_code error() const noexcept;

 private:
  mutable std::mutex mutex_;
  libraft_status status_;
  std::atomic<bool> withdrawn_{false};
};

/// One boot of a server. start() and stop() from one thread; the rest from any.
///
/// The order of the end: raft_close; its callback; our handles; the loop has nothing left; what the
/// engine and its transport had allocated. A server that gives up by itself closes its engine at
/// once, and keeps the loop until stop(). An engine that has not closed some time after stop(),
/// when nothing of it runs any more, never will: it is left as it is, with its files open. But
/// first it is closed where that had to wait (libraft_io::close_late).
class libraft_runtime {
 public:
  /// @param identity its id is that of the options
  libraft_runtime(libraft_options options, libraft_identity identity);
  libraft_runtime(const libraft_runtime&) = delete;
  libraft_runtime& operator=(const libraft_runtime&) = delete;
  ~libraft_runtime() { stop(); }

  /// Once. Blocks until the log is read, which restores a snapshot if there is one.
  [[nodiscard]] std::error_code start(state_machine& machine) noexcept;

  /// Blocks until the loop has ended. Idempotent. @returns false: the engine left its files open
  bool stop() noexcept;

  /// @returns false: the loop is gone, and `put` was not called. What it throws comes through, and
  ///   then nothing was put
  template <class Put>
  bool post(Put&& put);

  /// The machine has halted. Any thread, also the loop's own.
  void withdraw() noexcept;

  [[nodiscard]] libraft_core& core() noexcept { return core_; }
  [[nodiscard]] state_machine& machine() noexcept { return *machine_; }
  [[nodiscard]] const libraft_last_status& status() const noexcept { return status_; }
  /// What the engine says of a start that the system did not let it do; empty: there was none.
  [[nodiscard]] const std::string& engine_words() const noexcept { return engine_words_; }

 private:
  /// The engine, and how its callback finds us: the first member, for others hold its data.
  struct owned_engine {
    ::raft raft;
    libraft_runtime* owner;
  };
  struct hooks;  // what libuv and the engine call

  // ---- the thread

  void live() noexcept;
  void run_loop() noexcept;
  [[nodiscard]] std::error_code open_handles() noexcept;
  [[nodiscard]] std::error_code open_engine() noexcept;
  /// Where a log exists already the engine refuses, and that is well.
  [[nodiscard]] std::error_code bootstrap() noexcept;
  /// A start that failed: whatever was opened is closed, and the loop ends.
  void give_up() noexcept;

  // ---- on the loop

  /// Around each wait of the loop: after all callbacks of a round, and before the first of the
  /// next.
  void watch() noexcept;
  void close_engine() noexcept;
  /// Once the engine is closed and somebody asked for the stop.
  void close_handles() noexcept;
  void leave_engine() noexcept;
  void turn_away(libraft_mail mail) noexcept;
  /// One at a time: the engine needs the other threads of the pool for its disk.
  void run_next_task() noexcept;
  void report(bool alive) noexcept;

  const libraft_options options_;
  libraft_core core_;
  owned_engine engine_;
  state_machine* machine_ = nullptr;
  std::thread thread_;
  thread_signal started_;
  std::error_code start_error_;
  std::string engine_words_;
  libraft_inbox inbox_;
  std::mutex wake_mutex_;
  bool awake_ = false;  // wake_ may be used
  libraft_last_status status_;

  // of the loop
  uv_loop_t loop_{};
  uv_async_t wake_{};
  uv_prepare_t before_{};
  uv_check_t after_{};
  uv_timer_t close_timeout_{};
  uv_work_t work_{};
  libraft_transport transport_;
  raft_io io_{};
  std::deque<background_task*> tasks_;
  background_task* running_ = nullptr;
  bool io_open_ = false;
  bool engine_open_ = false;
  bool closing_ = false;
  bool closed_ = false;
  bool stop_asked_ = false;
};

template <class Put>
bool libraft_runtime::post(Put&& put) {
  const libraft_inbox::posted done = inbox_.post(std::forward<Put>(put));
  if (done.wake) {
    const std::lock_guard guard(wake_mutex_);
    if (awake_) {
      uv_async_send(&wake_);
    }
  }
  return done.taken;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/runtime.ipp"  // IWYU pragma: keep
#endif
