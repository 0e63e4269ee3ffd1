/// @file
/// SIGTERM and SIGINT as something that threads can wait for together with their input.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <stdexcept>

namespace example {

/// A pipe that a signal handler writes into and nobody reads from: once asked to stop, whoever
/// polls it sees it, for ever. One in a process, alive until its end.
class stop_signal {
 public:
  /// Takes over SIGTERM and SIGINT, and ignores SIGPIPE: a reader of ours that went away is an
  /// error of write(), not a reason for a server to die. @throws std::runtime_error
  stop_signal() {
    if (::pipe2(ends_, O_CLOEXEC | O_NONBLOCK) != 0) {
      throw std::runtime_error("no pipe for signals can be made");
    }
    write_end = ends_[1];
    struct sigaction action {};
    action.sa_handler = [](int) { ask(); };
    action.sa_flags = SA_RESTART;
    ::sigaction(SIGTERM, &action, nullptr);
    ::sigaction(SIGINT, &action, nullptr);
    action.sa_handler = SIG_IGN;
    ::sigaction(SIGPIPE, &action, nullptr);
  }
  stop_signal(const stop_signal&) = delete;
  stop_signal& operator=(const stop_signal&) = delete;

  /// Any thread, and signal handlers.
  static void ask() noexcept {
    const int before = errno;
    asked_flag = 1;
    static_cast<void>(!::write(write_end, "", 1));  // a full pipe can be seen as well
    errno = before;
  }
  [[nodiscard]] static bool asked() noexcept { return asked_flag != 0; }

  enum class event { stop, readable, timeout };

  /// Waits until it is asked to stop, there is something to read (from -1: nothing ever), or the
  /// time is over. @param limit_ms milliseconds; -1: no limit
  [[nodiscard]] event wait(int file, int limit_ms) const {
    pollfd both[] = {{ends_[0], POLLIN, 0}, {file, POLLIN, 0}};
    const int ready = ::poll(both, 2, limit_ms);
    if (asked()) {
      return event::stop;
    }
    return ready > 0 && both[1].revents != 0 ? event::readable : event::timeout;
  }

 private:
  static inline std::atomic<int> write_end{-1};
  static inline std::atomic<int> asked_flag{0};
  static_assert(std::atomic<int>::is_always_lock_free, "a handler may use it");

  int ends_[2] = {-1, -1};
};

}  // namespace example
