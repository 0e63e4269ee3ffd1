/// @file
/// Between one process of a server and whoever looks at it from outside.
#pragma once

#include <cstdint>

#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// A point in the work of a server beside its commits.
enum class server_phase : std::uint8_t {
  flush_begun,        ///< nothing is written yet
  flush_written,      ///< the pages are; the position that makes them count is not
  flush_committed,    ///< the position is durable; the machine does not know it yet
  snapshot_taken,     ///< the state is pinned; nothing of it is read
  snapshot_read,      ///< a part was read; there may be more
  snapshot_finished,  ///< the last byte was read; the log below it is still there
  restore_begun,      ///< nothing has arrived
  restore_appended,   ///< a part was taken; there may be more
  restore_finished,   ///< all of it is verified, and not installed
  restore_installed,  ///< it is the state, and not flushed
};

/// Told what processes do, from inside the call that does it.
class process_listener {
 public:
  process_listener(const process_listener&) = delete;
  process_listener& operator=(const process_listener&) = delete;

  virtual void moved(server_id server, log_position to) noexcept = 0;
  virtual void installed(server_id server, log_position to) noexcept = 0;
  /// The process may be dead afterwards.
  virtual void reached(server_id server, server_phase what) noexcept = 0;
  /// Calls of a slow disk have ended.
  virtual void worked(server_id server) noexcept = 0;

 protected:
  process_listener() = default;
  ~process_listener() = default;
};

/// What is known of one process, shared by all that stands around it. The listener outlives it.
struct process_watch {
  const server_id self;
  process_listener& listener;
  bool is_dead = false;  ///< nothing that it does may have an effect any more
  bool is_slow = false;  ///< its disk is

  /// @returns whether the process lives on
  [[nodiscard]] bool reached(server_phase what) noexcept {
    if (!is_dead) {
      listener.reached(self, what);
    }
    return !is_dead;
  }
  void worked() noexcept {
    if (is_slow) {
      listener.worked(self);
    }
  }
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
