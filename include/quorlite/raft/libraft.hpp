/// @file
/// The consensus adapter for libraft 0.15 (Debian's libraft-dev), with a libuv loop of its own.
///
/// ```
/// libraft raft({.id = server_id{1}, .address = "127.0.0.1:7001", .directory = "/var/lib/app/raft",
///               .bootstrap = {{server_id{1}, "127.0.0.1:7001"}, …}});
/// memory_storage storage;
/// replica node{raft, storage};
/// ```
///
/// What it promises and what libraft does not: docs/how-to/consensus_adapter.md. Link with `raft`
/// and `uv`. The network between the servers must be private: libraft neither encrypts nor
/// authenticates, and trusts what it reads from a peer.
#pragma once

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/libraft/batch.hpp"
#include "quorlite/detail/libraft/members.hpp"
#include "quorlite/detail/libraft/proposals.hpp"
#include "quorlite/detail/libraft/runtime.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/raft/libraft_options.hpp"
#include "quorlite/thread_signal.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

/// One server. start() and stop() from one thread; everything else from any, at any time, but never
/// from inside a call into the machine.
class libraft {
 public:
  static constexpr consensus_abilities abilities{.entry_terms = true,
                                                 .contiguous = true,
                                                 .read_barrier = true,
                                                 .leadership_transfer = true,
                                                 .background_work = true};
  /// A follower cannot ask libraft where the leader's log ends: read_barrier() there is refused.
  static constexpr bool supports_follower_read_barrier = false;
  using signal_type = thread_signal;

  /// @pre id above 0; heartbeat below election_timeout, both above 0; an entry fits into a segment,
  ///   into in_flight_bytes and into half of log_bytes
  explicit libraft(libraft_options options) : options_(std::move(options)) {
    QUORLITE_ASSERT(options_.id.value != 0 && options_.heartbeat.value != 0 &&
                    options_.heartbeat < options_.election_timeout);
    const std::size_t entry = detail::libraft_batch::bytes_for(1, options_.entry_bytes);
    QUORLITE_ASSERT(options_.entry_bytes <= limits_entry_bytes &&
                    options_.batch_bytes <= limits_entry_bytes && options_.segment_bytes > entry &&
                    options_.segment_bytes > largest_batch() && options_.in_flight_bytes >= entry &&
                    options_.log_bytes / 2 >= entry);
  }
  libraft(const libraft&) = delete;
  libraft& operator=(const libraft&) = delete;
  ~libraft() { stop(); }

  /// Reads the log, restores its snapshot if the machine is behind it, and listens. Blocks on the
  /// disk. May be called again after stop(), with a machine that loaded what the last one flushed.
  /// @returns errc::busy: the directory is another's; errc::corrupt: the log or its snapshot is
  ///   damaged; errc::diverged: a cluster is to begin here, but the machine has a history already;
  ///   std::errc::invalid_argument: an address; storage errors. Of the lane, at most install was
  ///   called then.
  [[nodiscard]] std::error_code start(state_machine& machine) noexcept {
    QUORLITE_ASSERT(!started_);
    if (const std::error_code error = lock_directory()) {
      return error;
    }
    runtime_ = std::make_unique<detail::libraft_runtime>(options_);
    const std::error_code error = runtime_->start(machine);
    started_ = !error;
    if (error) {
      unlock_directory();
    }
    return error;
  }

  /// Gives up the office, if any, without handing it over: transfer() first where that matters.
  /// Blocks until the disk is quiet and every task has run. Idempotent.
  void stop() noexcept {
    if (std::exchange(started_, false)) {
      runtime_->stop();
      unlock_directory();
    }
  }

  /// Whatever waits when the loop wakes up becomes one entry.
  /// Settled busy beyond in_flight_bytes, or while the log in memory is at log_bytes.
  /// @pre started once
  void propose(term expected, proposal_token token, bytes_view entry) noexcept {
    QUORLITE_ASSERT(runtime_ != nullptr);
    state_machine& machine = runtime_->machine();
    if (entry.size() > max_entry_bytes()) {
      machine.settled(token, outcome::not_applied, reason::too_large);
      return;
    }
    if (!runtime_->core().admit(entry.size())) {
      // A log that is full needs one more entry to be looked at.
      runtime_->post([](detail::libraft_mail& mail) { mail.nudge = true; });
      machine.settled(token, outcome::not_applied, reason::busy);
      return;
    }
    detail::libraft_proposal one{expected, token, {entry.begin(), entry.end()}};
    if (!runtime_->post(
            [&](detail::libraft_mail& mail) { mail.proposals.push_back(std::move(one)); })) {
      runtime_->core().turn_away(one, reason::stopped);
    }
  }

  [[nodiscard]] std::size_t max_entry_bytes() const noexcept { return options_.entry_bytes; }

  /// Blocks the calling thread.
  [[nodiscard]] bool wait(signal_type& signal, milliseconds limit) noexcept {
    return signal.wait(limit);
  }

  /// Settled like a proposal. All barriers that wait when the loop wakes up share one entry, with
  /// the proposals that wait there if there are any. On a follower: not_applied, not_leader.
  /// @pre started once
  void read_barrier(proposal_token token) noexcept {
    QUORLITE_ASSERT(runtime_ != nullptr);
    if (!runtime_->post([&](detail::libraft_mail& mail) { mail.barriers.push_back(token); })) {
      runtime_->machine().settled(token, outcome::not_applied, reason::stopped);
    }
  }

  /// To any voter. While it is tried, up to election_timeout, proposals are refused.
  void transfer_leadership() noexcept {
    if (runtime_ != nullptr) {
      runtime_->post([](detail::libraft_mail& mail) { mail.transfer = true; });
    }
  }

  /// On libuv's thread pool, which the log uses too: one at a time.
  void run(background_task& task) noexcept {
    const bool taken = runtime_ != nullptr && runtime_->post([&](detail::libraft_mail& mail) {
      mail.tasks.push_back(&task);
    });
    if (!taken) {
      task.run();
    }
  }

  /// Asks for a snapshot soon, and for a log that keeps almost nothing before it. On a follower it
  /// is taken at the next entry.
  void compact() noexcept {
    if (runtime_ != nullptr) {
      runtime_->post([](detail::libraft_mail& mail) { mail.compact = true; });
    }
  }

  // ---- the cluster. On its leader; each blocks until it is committed, one at a time.
  //
  // errc::not_leader; errc::busy: another change is under way, or promote() and transfer() did not
  // succeed in time; errc::leadership_lost, errc::stopped: it may happen or not, see status();
  // std::errc::invalid_argument: no such server, or one there already.

  /// Adds a server that is started, or will be, with an empty directory and no bootstrap. It is
  /// sent nothing before it is promoted.
  [[nodiscard]] std::error_code add(const libraft_server& server) {
    return ask(detail::libraft_request::kind::add, server.id, server.address);
  }
  /// Makes it a voter, once it has caught up with the log. Already one: nothing to do.
  [[nodiscard]] std::error_code promote(server_id id) {
    return ask(detail::libraft_request::kind::promote, id, {});
  }
  /// The leader may remove itself: it then gives up its office. A server that is gone from the
  /// cluster does not hear of it.
  [[nodiscard]] std::error_code remove(server_id id) {
    return ask(detail::libraft_request::kind::remove, id, {});
  }
  /// Hands the office to this voter; 0: to any.
  [[nodiscard]] std::error_code transfer(server_id id) {
    return ask(detail::libraft_request::kind::transfer, id, {});
  }

  /// What this server knew when its loop last went round.
  [[nodiscard]] libraft_status status() const {
    return runtime_ == nullptr ? libraft_status{} : runtime_->status();
  }
  /// Where the leader is, if that is known; else empty.
  [[nodiscard]] std::string leader_address() const { return status().leader.address; }
  [[nodiscard]] const libraft_options& options() const noexcept { return options_; }

 private:
  static constexpr std::size_t limits_entry_bytes = std::size_t{1} << 30U;

  [[nodiscard]] std::size_t largest_batch() const noexcept {
    return detail::libraft_batch::bytes_for(detail::libraft_batch::commands_max,
                                            options_.batch_bytes);
  }

  [[nodiscard]] std::error_code ask(detail::libraft_request::kind what, server_id id,
                                    std::string address) {
    const auto one = std::make_shared<detail::libraft_request>(what, id, std::move(address));
    const bool posted = runtime_ != nullptr && runtime_->post([&](detail::libraft_mail& mail) {
      mail.requests.push_back(one);
    });
    if (!posted) {
      return make_error_code(errc::stopped);
    }
    while (!one->done.wait(milliseconds{1000})) {  // every request is answered, by stop() at last
    }
    return one->answer;
  }

  /// Two engines on one log would destroy it, and libraft has no lock of its own.
  [[nodiscard]] std::error_code lock_directory() noexcept {
    const std::string path = options_.directory + "/quorlite.lock";
    lock_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (lock_ >= 0 && ::flock(lock_, LOCK_EX | LOCK_NB) == 0) {
      return {};
    }
    const int error = errno;
    unlock_directory();
    return error == EWOULDBLOCK ? make_error_code(errc::busy)
                                : std::error_code(error, std::generic_category());
  }
  void unlock_directory() noexcept {
    if (lock_ >= 0) {
      ::close(std::exchange(lock_, -1));
    }
  }

  const libraft_options options_;
  std::unique_ptr<detail::libraft_runtime>
      runtime_;  // of the last start; stays, for those who come late
  bool started_ = false;
  int lock_ = -1;
};

static_assert(consensus<libraft>);

}  // namespace QUORLITE_ABI
}  // namespace quorlite
