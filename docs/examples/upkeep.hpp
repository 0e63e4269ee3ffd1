/// @file
/// The thread that a server needs besides the one that talks to its user.
#pragma once

#include <thread>

#include "node.hpp"
#include "stop_signal.hpp"

namespace example {

/// Flushes now and then; once the process is asked to stop, stops the server, also one that is in
/// the middle of a COMMIT.
class upkeep {
 public:
  upkeep(node& served, const stop_signal& stop)
      : worker_([&served, &stop] {
          constexpr int pause_ms = 200;
          while (stop.wait(-1, pause_ms) != stop_signal::event::stop) {
            served.maintain();
          }
          served.stop();
        }) {}
  upkeep(const upkeep&) = delete;
  upkeep& operator=(const upkeep&) = delete;
  /// Asks the process to stop, and waits until the server has.
  ~upkeep() {
    stop_signal::ask();
    worker_.join();
  }

 private:
  std::thread worker_;
};

}  // namespace example
