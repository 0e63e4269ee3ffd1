/// @file
/// Bodies of libraft_inbox and libraft_runtime: the thread, its start, its loop and its end.
#pragma once

#include "quorlite/detail/libraft/runtime.hpp"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>
#include <csignal>

#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/libraft/core.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/identity.hpp"
#include "quorlite/error.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL libraft_mail libraft_inbox::take() noexcept {
  const std::lock_guard guard(mutex_);
  waiting_ = false;
  return std::exchange(mail_, {});
}

QUORLITE_DECL bool libraft_inbox::is_waiting() noexcept {
  const std::lock_guard guard(mutex_);
  return waiting_;
}

QUORLITE_DECL std::vector<libraft_proposal> libraft_inbox::take_proposals() noexcept {
  const std::lock_guard guard(mutex_);
  return std::exchange(mail_.proposals, {});
}

QUORLITE_DECL libraft_mail libraft_inbox::close() noexcept {
  const std::lock_guard guard(mutex_);
  closed_ = true;
  return std::exchange(mail_, {});
}

QUORLITE_DECL libraft_status libraft_last_status::whole() const {
  libraft_status now;
  {
    const std::lock_guard guard(mutex_);
    now = status_;
  }
  if (withdrawn_) {
    now.leading = false;
    now.error = now.error ? now.error : make_error_code(errc::halted);
  }
  return now;
}

QUORLITE_DECL std::error_code libraft_last_status::error() const noexcept {
  const std::lock_guard guard(mutex_);
  return !status_.error && withdrawn_ ? make_error_code(errc::halted) : status_.error;
}

/// What libuv and the engine call, on the loop.
struct libraft_runtime::hooks {
  template <class Handle>
  [[nodiscard]] static libraft_runtime& of(Handle* handle) noexcept {
    return *static_cast<libraft_runtime*>(handle->data);
  }
  [[nodiscard]] static libraft_runtime& of(::raft* engine) noexcept {
    static_assert(std::is_standard_layout_v<owned_engine>);
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
      uv_timer_start(&self.close_timeout_, on_close_timeout, close_timeout_ms, again_ms);
      self.close_engine();
      self.close_handles();
    }
  }

  /// Longer than a disk takes that still works. From here on the loop ends when nothing is under
  /// way: neither a task on the pool, nor a handle that closes. What then waits, waits for nothing.
  static constexpr std::uint64_t close_timeout_ms = 5000;
  static constexpr std::uint64_t again_ms = 100;  // for what was opened meanwhile
  /// Those that an engine which never opened left behind, too.
  static void close_all_handles(libraft_runtime& self) noexcept {
    const auto close = [](uv_handle_t* handle, void*) {
      if (uv_is_closing(handle) == 0) {
        uv_close(handle, nullptr);
      }
    };
    uv_walk(&self.loop_, close, nullptr);
  }
  /// Keeps the engine's words if it is the system that refuses something.
  static std::error_code start_error(libraft_runtime& self, int code) noexcept {
    if (code != RAFT_IOERR) {
      return libraft_error(code);
    }
    std::string_view words = raft_errmsg(&self.engine_.raft);
    words = words.empty() ? self.io_.errmsg : words;
    while (words.ends_with(' ') || words.ends_with(':')) {
      words.remove_suffix(1);  // it does not always know the reason
    }
    try {
      self.engine_words_ = words.empty() ? "a file cannot be read or written" : words;
    } catch (const std::bad_alloc&) {
      self.engine_words_.clear();
    }
    return std::make_error_code(std::errc::io_error);  // it has promised nothing yet
  }
  static void on_close_timeout(uv_timer_t* timer) noexcept {
    const auto let_go = [](uv_handle_t* handle, void*) {
      uv_unref(handle);
      end_sending(handle);
    };
    uv_walk(timer->loop, let_go, nullptr);
  }
  /// Where the disk could not be closed its connections are open, and one that sends to a server
  /// which does not read would keep the loop for ever.
  static void end_sending(uv_handle_t* handle) noexcept {
    uv_os_fd_t file = -1;
    if (uv_handle_get_type(handle) == UV_TCP && uv_fileno(handle, &file) == 0 &&
        uv_is_writable(reinterpret_cast<uv_stream_t*>(handle)) != 0) {
      static_cast<void>(::shutdown(file, SHUT_RDWR));
    }
  }
};

QUORLITE_DECL libraft_runtime::libraft_runtime(libraft_options options, libraft_identity identity)
    : options_(std::move(options)), core_(options_, std::move(identity)), engine_{{}, this} {}

QUORLITE_DECL std::error_code libraft_runtime::start(state_machine& machine) noexcept {
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

QUORLITE_DECL bool libraft_runtime::stop() noexcept {
  if (thread_.joinable()) {
    post([](libraft_mail& mail) { mail.stop = true; });
    thread_.join();
  }
  return !io_open_;
}

QUORLITE_DECL void libraft_runtime::withdraw() noexcept {
  if (status_.withdraw()) {
    post([](libraft_mail& mail) { mail.withdraw = true; });
  }
}

QUORLITE_DECL void libraft_runtime::live() noexcept {
  sigset_t broken_pipes;  // libuv would let a peer that goes away end the process
  sigemptyset(&broken_pipes);
  sigaddset(&broken_pipes, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &broken_pipes, nullptr);
  if (const int code = uv_loop_init(&loop_); code != 0) {
    start_error_ = {-code, std::generic_category()};
  } else {
    run_loop();
  }
  if (start_error_) {
    static_cast<void>(inbox_.close());
    started_.raise();
    return;
  }
  core_.end(settle_reason::stopped);
  turn_away(inbox_.close());
  for (; !tasks_.empty(); tasks_.pop_front()) {
    tasks_.front()->run();
  }
  report(false);
}

QUORLITE_DECL void libraft_runtime::run_loop() noexcept {
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
  if (!start_error_ && !closed_ && core_.io().close_late()) {
    uv_run(&loop_, UV_RUN_DEFAULT);
  }
  if (!start_error_ && !closed_) {
    leave_engine();
  } else if (std::exchange(io_open_, false)) {
    raft_uv_close(&io_);
  }
  transport_.close();
  static_cast<void>(uv_loop_close(&loop_));
}

QUORLITE_DECL std::error_code libraft_runtime::open_handles() noexcept {
  wake_.data = before_.data = after_.data = this;
  // Only the first one needs something of the system.
  if (const int code = uv_async_init(&loop_, &wake_, hooks::on_wake); code != 0) {
    return {-code, std::generic_category()};
  }
  uv_prepare_init(&loop_, &before_);
  uv_check_init(&loop_, &after_);
  uv_timer_init(&loop_, &close_timeout_);
  uv_prepare_start(&before_, [](uv_prepare_t* handle) { hooks::of(handle).watch(); });
  uv_check_start(&after_, [](uv_check_t* handle) { hooks::of(handle).watch(); });
  const std::lock_guard guard(wake_mutex_);
  awake_ = true;
  if (inbox_.is_waiting()) {
    uv_async_send(&wake_);  // it was posted before there was a loop
  }
  return {};
}

QUORLITE_DECL std::error_code libraft_runtime::open_engine() noexcept {
  int code = transport_.open(loop_, options_.address.c_str(), options_.listen_address.c_str());
  if (code == 0) {
    code = raft_uv_init(&io_, &loop_, options_.directory.c_str(), transport_.get());
    io_open_ = code == 0;
  }
  if (code != 0) {
    return hooks::start_error(*this, code);
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
    return hooks::start_error(*this, code);
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
  if (code == 0) {
    code = core_.begin();
  }
  if (transport_.listen_error()) {
    return transport_.listen_error();
  }
  const std::error_code failure = core_.failure();
  if (failure && failure != errc::storage_broken) {
    return failure;
  }
  return hooks::start_error(*this, failure ? RAFT_IOERR : code);
}

QUORLITE_DECL std::error_code libraft_runtime::bootstrap() noexcept {
  if (options_.bootstrap.empty()) {
    return {};
  }
  const bool fresh = ::access((options_.directory + "/metadata1").c_str(), F_OK) != 0 &&
                     ::access((options_.directory + "/metadata2").c_str(), F_OK) != 0;
  if (fresh && machine_->durable().index.value != 0) {
    return make_error_code(errc::diverged);  // a new log would count from 1 again
  }
  raft_configuration members{};
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
  if (core_.identity().is_to_begin()) {
    return code == 0 ? core_.identity().began() : hooks::start_error(*this, code);
  }
  return hooks::start_error(*this, code == RAFT_CANTBOOTSTRAP ? 0 : code);
}

QUORLITE_DECL void libraft_runtime::give_up() noexcept {
  {
    const std::lock_guard guard(wake_mutex_);
    awake_ = false;
  }
  closing_ = true;
  if (engine_open_) {
    raft_close(&engine_.raft, [](::raft* engine) { hooks::close_all_handles(hooks::of(engine)); });
  } else {
    hooks::close_all_handles(*this);
  }
}

QUORLITE_DECL void libraft_runtime::watch() noexcept {
  if (!closing_) {
    if (core_.departure().is_under_way()) {
      // Before a loss is told: what was never handed over is certain, and told so.
      for (const libraft_proposal& one : inbox_.take_proposals()) {
        core_.turn_away(one, core_.departure().reason());
      }
    }
    core_.watch();
    report(true);
    if (core_.must_close()) {
      close_engine();
    }
  }
}

QUORLITE_DECL void libraft_runtime::close_engine() noexcept {
  if (!std::exchange(closing_, true)) {
    core_.expect_close(settle_reason::stopped);
    raft_close(&engine_.raft, [](::raft* engine) {
      libraft_runtime& self = hooks::of(engine);
      self.core_.end(settle_reason::stopped);
      self.closed_ = true;
      self.report(false);
      self.close_handles();
    });
  }
}

QUORLITE_DECL void libraft_runtime::close_handles() noexcept {
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
  uv_close(reinterpret_cast<uv_handle_t*>(&close_timeout_), nullptr);
}

/// Its segments stay in memory, for the kernel may still look at them.
QUORLITE_DECL void libraft_runtime::leave_engine() noexcept {
  core_.io().close_now();
  hooks::close_all_handles(*this);
  uv_run(&loop_, UV_RUN_DEFAULT);
}

QUORLITE_DECL void libraft_runtime::turn_away(libraft_mail mail) noexcept {
  const settle_reason why = core_.late_reason();
  for (const libraft_proposal& one : mail.proposals) {
    core_.turn_away(one, why);
  }
  for (const proposal_token one : mail.barriers) {
    machine_->settled(one, outcome::not_applied, why);
  }
  for (const std::shared_ptr<libraft_request>& one : mail.requests) {
    one->end(make_error_code(errc::stopped_in_flight));
  }
  tasks_.insert(tasks_.end(), mail.tasks.begin(), mail.tasks.end());
}

QUORLITE_DECL void libraft_runtime::run_next_task() noexcept {
  if (running_ != nullptr || tasks_.empty()) {
    return;
  }
  running_ = tasks_.front();
  work_.data = this;
  const int code = uv_queue_work(
      &loop_, &work_, [](uv_work_t* work) { hooks::of(work).running_->run(); },
      [](uv_work_t* work, int) {
        hooks::of(work).running_ = nullptr;
        hooks::of(work).run_next_task();
      });
  if (code == 0) {
    tasks_.pop_front();
  } else {
    running_ = nullptr;  // it runs when the loop has ended
  }
}

QUORLITE_DECL void libraft_runtime::report(bool alive) noexcept {
  status_.update([this, alive](libraft_status& into) {
    try {
      core_.report(into, alive);
    } catch (const std::bad_alloc&) {  // names and addresses come with the next one
    }
  });
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
