/// @file
/// The thread and the libuv loop of one libraft server, from its start to its end.
#pragma once

#include <pthread.h>
#include <signal.h>
#include <unistd.h>
#include <uv.h>

#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/libraft/core.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/transport.hpp"
#include "quorlite/error.hpp"
#include "quorlite/raft/libraft_options.hpp"
#include "quorlite/thread_signal.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Any thread puts, the loop takes all at once.
class libraft_inbox {
 public:
  /// @param put what to do with the mail; it must not block
  /// @returns whether the loop is to be woken; nothing if it is gone, and `put` was not called
  struct posted {
    bool taken = false;
    bool wake = false;
  };
  template <class Put>
  posted post(Put&& put) noexcept {
    const std::lock_guard guard(mutex_);
    if (closed_) {
      return {};
    }
    std::forward<Put>(put)(mail_);
    return {true, !std::exchange(waiting_, true)};
  }

  [[nodiscard]] libraft_mail take() noexcept {
    const std::lock_guard guard(mutex_);
    waiting_ = false;
    return std::exchange(mail_, {});
  }

  /// From here on nothing is put. @returns what nobody took
  [[nodiscard]] libraft_mail close() noexcept {
    const std::lock_guard guard(mutex_);
    closed_ = true;
    return std::exchange(mail_, {});
  }

 private:
  std::mutex mutex_;
  libraft_mail mail_;
  bool waiting_ = false;
  bool closed_ = false;
};

/// One life of a server. start() and stop() from one thread; the rest from any.
///
/// The order of the end: raft_close; its callback; our handles; the loop has nothing left; what the
/// engine and its transport had allocated. A server that gives up by itself closes its engine at
/// once, and keeps the loop until stop().
class libraft_runtime {
 public:
  explicit libraft_runtime(const libraft_options& options)
      : options_(options), core_(options_), engine_{{}, this} {}
  libraft_runtime(const libraft_runtime&) = delete;
  libraft_runtime& operator=(const libraft_runtime&) = delete;
  ~libraft_runtime() { stop(); }

  /// Once. Blocks until the log is read, which restores a snapshot if there is one.
  [[nodiscard]] std::error_code start(state_machine& machine) noexcept {
    machine_ = &machine;
    try {
      thread_ = std::thread([this] { live(); });
    } catch (const std::system_error& error) {
      static_cast<void>(inbox_.close());
      return error.code();
    }
    while (!started_.wait(milliseconds{1000})) {
    }
    if (start_error_) {
      thread_.join();
    }
    return start_error_;
  }

  /// Blocks until the loop has ended. Idempotent.
  void stop() noexcept {
    if (thread_.joinable()) {
      post([](libraft_mail& mail) { mail.stop = true; });
      thread_.join();
    }
  }

  /// @returns false: the loop is gone, and `put` was not called
  template <class Put>
  bool post(Put&& put) noexcept {
    const libraft_inbox::posted done = inbox_.post(std::forward<Put>(put));
    if (done.wake) {
      const std::lock_guard guard(wake_mutex_);
      if (awake_) {
        uv_async_send(&wake_);
      }
    }
    return done.taken;
  }

  [[nodiscard]] libraft_core& core() noexcept { return core_; }
  [[nodiscard]] state_machine& machine() noexcept { return *machine_; }
  [[nodiscard]] libraft_status status() const {
    const std::lock_guard guard(status_mutex_);
    return status_;
  }

 private:
  /// The engine, and how its callback finds us: the first member, for others hold its data.
  struct owned_engine {
    ::raft raft;
    libraft_runtime* owner;
  };
  static_assert(std::is_standard_layout_v<owned_engine>);

  // ---- the thread

  void live() noexcept {
    sigset_t broken_pipes;  // libuv would let a peer that goes away end the process
    sigemptyset(&broken_pipes);
    sigaddset(&broken_pipes, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &broken_pipes, nullptr);
    if (uv_loop_init(&loop_) != 0) {
      start_error_ = std::make_error_code(std::errc::not_enough_memory);
    } else {
      run_loop();
    }
    if (start_error_) {
      static_cast<void>(inbox_.close());
      started_.raise();
      return;
    }
    core_.end(reason::stopped);
    turn_away(inbox_.close());
    for (; !tasks_.empty(); tasks_.pop_front()) {
      tasks_.front()->run();
    }
    report(false);
  }

  void run_loop() noexcept {
    start_error_ = open_handles();
    if (!start_error_) {
      start_error_ = open_engine();
    }
    if (start_error_) {
      give_up();
    } else {
      core_.watch();
      report(true);
      started_.raise();
    }
    uv_run(&loop_, UV_RUN_DEFAULT);
    if (io_open_) {
      raft_uv_close(&io_);
    }
    transport_.close();
    static_cast<void>(uv_loop_close(&loop_));
  }

  [[nodiscard]] std::error_code open_handles() noexcept {
    wake_.data = before_.data = after_.data = this;
    const bool open = uv_async_init(&loop_, &wake_, on_wake) == 0 &&
                      uv_prepare_init(&loop_, &before_) == 0 && uv_check_init(&loop_, &after_) == 0;
    if (!open) {
      return std::make_error_code(std::errc::not_enough_memory);
    }
    uv_prepare_start(&before_, [](uv_prepare_t* handle) { of(handle).watch(); });
    uv_check_start(&after_, [](uv_check_t* handle) { of(handle).watch(); });
    const std::lock_guard guard(wake_mutex_);
    awake_ = true;
    return {};
  }

  [[nodiscard]] std::error_code open_engine() noexcept {
    int code = transport_.open(loop_, options_.listen_address.c_str());
    if (code == 0) {
      code = raft_uv_init(&io_, &loop_, options_.directory.c_str(), transport_.get());
      io_open_ = code == 0;
    }
    if (code != 0) {
      return libraft_error(code);
    }
    io_.version = 2;                         // 0.15 says 1, and has what 2 asks for
    raft_uv_set_auto_recovery(&io_, false);  // it would set entries aside that were answered for
    raft_uv_set_segment_size(&io_, options_.segment_bytes);
    static_cast<void>(raft_uv_set_snapshot_compression(&io_, false));
    // A second, by default: longer than an election takes.
    raft_uv_set_connect_retry_delay(&io_, static_cast<unsigned>(options_.heartbeat.value));
    ::raft& engine = engine_.raft;
    code = raft_init(&engine, &io_, core_.fsm(), options_.id.value, options_.address.c_str());
    if (code != 0) {
      return libraft_error(code);
    }
    engine_open_ = true;
    raft_set_election_timeout(&engine, static_cast<unsigned>(options_.election_timeout.value));
    raft_set_heartbeat_timeout(&engine, static_cast<unsigned>(options_.heartbeat.value));
    raft_set_pre_vote(&engine, true);
    core_.attach(engine, *machine_);
    if (const std::error_code error = bootstrap()) {
      return error;
    }
    code = raft_start(&engine);
    return core_.failure() ? core_.failure() : libraft_error(code);
  }

  /// Where a log exists already the engine refuses, and that is well.
  [[nodiscard]] std::error_code bootstrap() noexcept {
    if (options_.bootstrap.empty()) {
      return {};
    }
    const bool fresh = ::access((options_.directory + "/metadata1").c_str(), F_OK) != 0 &&
                       ::access((options_.directory + "/metadata2").c_str(), F_OK) != 0;
    if (fresh && machine_->durable().index.value != 0) {
      return make_error_code(errc::diverged);  // a new log would count from 1 again
    }
    raft_configuration members;
    raft_configuration_init(&members);
    int code = 0;
    for (const libraft_server& one : options_.bootstrap) {
      if (code == 0) {
        code = raft_configuration_add(&members, one.id.value, one.address.c_str(),
                                      one.voter ? RAFT_VOTER : RAFT_SPARE);
      }
    }
    if (code == 0) {
      code = raft_bootstrap(&engine_.raft, &members);
    }
    raft_configuration_close(&members);
    return libraft_error(code == RAFT_CANTBOOTSTRAP ? 0 : code);
  }

  /// A start that failed: whatever was opened is closed, and the loop ends.
  void give_up() noexcept {
    {
      const std::lock_guard guard(wake_mutex_);
      awake_ = false;
    }
    closing_ = true;
    if (engine_open_) {
      raft_close(&engine_.raft, [](::raft* engine) { of(engine).close_all_handles(); });
    } else {
      close_all_handles();
    }
  }

  /// Those that an engine which never opened left behind, too.
  void close_all_handles() noexcept {
    const auto close = [](uv_handle_t* handle, void*) {
      if (uv_is_closing(handle) == 0) {
        uv_close(handle, nullptr);
      }
    };
    uv_walk(&loop_, close, nullptr);
  }

  // ---- on the loop

  template <class Handle>
  [[nodiscard]] static libraft_runtime& of(Handle* handle) noexcept {
    return *static_cast<libraft_runtime*>(handle->data);
  }
  [[nodiscard]] static libraft_runtime& of(::raft* engine) noexcept {
    return *reinterpret_cast<owned_engine*>(engine)->owner;
  }

  static void on_wake(uv_async_t* handle) noexcept {
    libraft_runtime& self = of(handle);
    libraft_mail mail = self.inbox_.take();
    const bool stop = mail.stop;
    if (self.closing_) {
      self.turn_away(std::move(mail));
    } else {
      self.tasks_.insert(self.tasks_.end(), mail.tasks.begin(), mail.tasks.end());
      self.core_.carry_out(mail);
    }
    self.run_next_task();
    if (stop) {
      self.stop_asked_ = true;
      self.close_engine();
      self.close_handles();
    }
  }

  /// Around each wait of the loop: after all callbacks of a round, and before the first of the
  /// next.
  void watch() noexcept {
    if (!closing_) {
      core_.watch();
      report(true);
      if (core_.must_close()) {
        close_engine();
      }
    }
  }

  void close_engine() noexcept {
    if (!std::exchange(closing_, true)) {
      core_.expect_close(reason::stopped);
      raft_close(&engine_.raft, [](::raft* engine) {
        libraft_runtime& self = of(engine);
        self.core_.end(reason::stopped);
        self.closed_ = true;
        self.report(false);
        self.close_handles();
      });
    }
  }

  /// Once the engine is closed and somebody asked for the stop.
  void close_handles() noexcept {
    if (!closed_ || !stop_asked_ || uv_is_closing(reinterpret_cast<uv_handle_t*>(&wake_)) != 0) {
      return;
    }
    {
      const std::lock_guard guard(wake_mutex_);
      awake_ = false;
    }
    uv_close(reinterpret_cast<uv_handle_t*>(&wake_), nullptr);
    uv_close(reinterpret_cast<uv_handle_t*>(&before_), nullptr);
    uv_close(reinterpret_cast<uv_handle_t*>(&after_), nullptr);
  }

  void turn_away(libraft_mail mail) noexcept {
    const reason why = core_.blame(reason::stopped);
    for (const libraft_proposal& one : mail.proposals) {
      core_.turn_away(one, why);
    }
    for (const proposal_token one : mail.barriers) {
      machine_->settled(one, outcome::not_applied, why);
    }
    for (const std::shared_ptr<libraft_request>& one : mail.requests) {
      one->end(make_error_code(errc::stopped));
    }
    tasks_.insert(tasks_.end(), mail.tasks.begin(), mail.tasks.end());
  }

  /// One at a time: the engine needs the other threads of the pool for its disk.
  void run_next_task() noexcept {
    if (running_ != nullptr || tasks_.empty()) {
      return;
    }
    running_ = tasks_.front();
    work_.data = this;
    const int code = uv_queue_work(
        &loop_, &work_, [](uv_work_t* work) { of(work).running_->run(); },
        [](uv_work_t* work, int) {
          of(work).running_ = nullptr;
          of(work).run_next_task();
        });
    if (code == 0) {
      tasks_.pop_front();
    } else {
      running_ = nullptr;  // it runs when the loop has ended
    }
  }

  void report(bool alive) noexcept {
    const std::lock_guard guard(status_mutex_);
    core_.report(status_, alive);
  }

  const libraft_options options_;
  libraft_core core_;
  owned_engine engine_;
  state_machine* machine_ = nullptr;
  std::thread thread_;
  thread_signal started_;
  std::error_code start_error_;
  libraft_inbox inbox_;
  std::mutex wake_mutex_;
  bool awake_ = false;  // wake_ may be used
  mutable std::mutex status_mutex_;
  libraft_status status_;

  // of the loop
  uv_loop_t loop_{};
  uv_async_t wake_{};
  uv_prepare_t before_{};
  uv_check_t after_{};
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

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
