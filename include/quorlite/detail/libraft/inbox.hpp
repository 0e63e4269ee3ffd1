/// @file
/// What other threads leave for the loop of the engine.
#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/libraft/members.hpp"
#include "quorlite/detail/libraft/proposals.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// What came since the loop looked last.
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

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
