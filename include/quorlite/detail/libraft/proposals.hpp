/// @file
/// Proposals and barriers on their way through libraft.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <list>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/libraft/batch.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/io.hpp"
#include "quorlite/detail/libraft/lane.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// One call of propose(), on its way to the loop.
struct libraft_proposal {
  term expected;
  proposal_token token;
  bytes payload;
};

/// On the loop, but for admit().
///
/// What is told of a proposal: refused by us or by raft_apply, not_applied; its callback without an
/// error, committed; anything else, unknown.
class libraft_proposals {
 public:
  explicit libraft_proposals(const libraft_options& options) noexcept
      : batch_bytes_(options.batch_bytes),
        batches_max_(options.batches_in_flight),
        in_flight_max_(options.in_flight_bytes),
        log_max_(options.log_bytes) {}

  void attach(::raft& engine, libraft_lane& lane, libraft_io& io) noexcept {
    engine_ = &engine;
    lane_ = &lane;
    io_ = &io;
  }

  /// Any thread. Counts a proposal's bytes as in flight until it is settled.
  /// @returns false: there is no room, and nothing was counted
  [[nodiscard]] bool admit(std::size_t size) noexcept {
    const std::size_t before = in_flight_.fetch_add(size + own_bytes);
    if (before + size <= in_flight_max_ && log_.load() + before <= log_max_) {
      return true;
    }
    in_flight_.fetch_sub(size + own_bytes);
    ++refused_;
    return false;
  }

  /// Takes what came together, and hands on what may be: commands in this order, as many to an
  /// entry as batch_bytes allows, while fewer than batches_in_flight are under way. What has to
  /// wait shares an entry later. Barriers ride on the next entry, or take one of their own.
  /// @param open the term in which the office was announced; 0: none is
  void submit(term open, std::vector<libraft_proposal> proposals,
              std::vector<proposal_token> barriers) noexcept {
    for (libraft_proposal& one : proposals) {
      queue_.push_back(std::move(one));
    }
    if (!barriers.empty()) {
      if (queue_.empty()) {
        ask(open, std::move(barriers));
      } else {
        riders_.insert(riders_.end(), barriers.begin(), barriers.end());
      }
    }
    pump(open);
  }

  /// Hands on what waited, if it may now. Not from inside the engine.
  void pump(term open) noexcept {
    while (!queue_.empty() && (batches_.size() < batches_max_ ||
                               refusal(open, queue_.front().expected) != reason::none)) {
      std::vector<libraft_proposal> together;
      std::size_t payload = 0;
      while (!queue_.empty() && together.size() < libraft_batch::commands_max) {
        libraft_proposal& next = queue_.front();
        const reason why = refusal(open, next.expected);
        if (why != reason::none) {
          settle({next.token, next.payload.size()}, outcome::not_applied, why);
        } else if (together.empty() || payload + next.payload.size() <= batch_bytes_) {
          payload += next.payload.size();
          together.push_back(std::move(next));
        } else {
          break;
        }
        queue_.pop_front();
      }
      if (!together.empty()) {
        send(together, payload, std::exchange(riders_, {}));
      }
    }
    if (queue_.empty() && !riders_.empty()) {
      ask(open, std::exchange(riders_, {}));
    }
  }

  /// Appends an entry for nobody, so that the engine looks at its log; unless one is on its way.
  void nudge(term open) noexcept {
    if (barriers_.empty() && refusal(open, open) == reason::none) {
      ask(open, {});
    }
  }

  /// From here on what is lost is lost for this reason.
  void blame(reason why) noexcept { blame_ = why; }

  /// Settles whatever still waits. Callbacks that come later find nothing to tell.
  void sweep() noexcept {
    for (; !queue_.empty(); queue_.pop_front()) {
      turn_away(queue_.front(), reason_of(RAFT_SHUTDOWN));
    }
    settle_barriers(std::exchange(riders_, {}), outcome::not_applied, reason_of(RAFT_SHUTDOWN));
    for (batch& one : batches_) {
      settle_all(one, outcome::unknown, reason_of(RAFT_LEADERSHIPLOST));
    }
    for (barrier& one : barriers_) {
      settle_barriers(std::exchange(one.tokens, {}), outcome::unknown,
                      reason_of(RAFT_LEADERSHIPLOST));
    }
  }

  /// For proposals that never came here. Any thread.
  void turn_away(const libraft_proposal& one, reason why) noexcept {
    settle({one.token, one.payload.size()}, outcome::not_applied, why);
  }

  /// Bytes of applied entries that the engine holds; they count against log_bytes.
  void set_log_bytes(std::uint64_t size) noexcept { log_.store(size); }
  /// Any thread.
  [[nodiscard]] std::size_t in_flight() const noexcept { return in_flight_.load(); }
  [[nodiscard]] std::uint64_t refused() const noexcept { return refused_.load(); }
  [[nodiscard]] std::uint64_t handed_over() const noexcept { return handed_over_; }
  [[nodiscard]] std::uint64_t batches() const noexcept { return batch_count_; }
  [[nodiscard]] std::uint64_t barriers() const noexcept { return barrier_count_; }

 private:
  static constexpr std::size_t own_bytes = 64;  // of a proposal beside its payload, about

  struct waiting {
    proposal_token token;
    std::size_t bytes;
  };
  struct batch {
    struct raft_apply request;
    libraft_proposals* owner;
    std::vector<waiting> proposals;
    std::vector<proposal_token> barriers;
    std::list<batch>::iterator self;
  };
  struct barrier {
    struct raft_barrier request;
    libraft_proposals* owner;
    std::vector<proposal_token> tokens;
    std::list<barrier>::iterator self;
  };

  /// The fence: an entry is appended in the term that its proposer saw, or not at all.
  [[nodiscard]] reason refusal(term open, term expected) const noexcept {
    if (lane_->ended() || io_->failed()) {
      return io_->failed() ? reason::log_failed : reason::stopped;
    }
    if (engine_->state != RAFT_LEADER || open.value != engine_->current_term) {
      return reason::not_leader;
    }
    return expected == open ? reason::none : reason::stale_term;
  }

  [[nodiscard]] reason reason_of(int code) const noexcept {
    if (blame_ != reason::none) {
      return blame_;
    }
    switch (code) {
      case 0: return reason::none;
      case RAFT_NOTLEADER: return reason::not_leader;
      case RAFT_LEADERSHIPLOST: return reason::leadership_lost;
      case RAFT_SHUTDOWN:
      case RAFT_CANCELED: return reason::stopped;
      case RAFT_NOMEM: return reason::busy;
      default: return reason::log_failed;
    }
  }

  void send(const std::vector<libraft_proposal>& together, std::size_t payload,
            std::vector<proposal_token> barriers) noexcept {
    batch& one = batches_.emplace_back();
    one.self = std::prev(batches_.end());
    one.owner = this;
    one.request.data = &one;
    one.barriers = std::move(barriers);
    for (const libraft_proposal& proposal : together) {
      one.proposals.push_back({proposal.token, proposal.payload.size()});
    }
    handed_over_ += together.size();
    ++batch_count_;
    raft_buffer buffer{};
    buffer.len = libraft_batch::bytes_for(together.size(), payload);
    buffer.base = raft_malloc(buffer.len);
    int code = RAFT_NOMEM;
    if (buffer.base != nullptr) {
      libraft_batch::encode({static_cast<std::byte*>(buffer.base), buffer.len}, together.size(),
                            [&](std::size_t i) { return bytes_view(together[i].payload); });
      // May call back, also about this one, before it returns.
      code = ::raft_apply(engine_, &one.request, &buffer, 1, on_applied);
    }
    if (code == 0) {
      return;
    }
    if (io_->failed()) {
      io_->bury(buffer.base);
    } else {
      raft_free(buffer.base);
    }
    end(one, outcome::not_applied, reason_of(code));
  }

  void ask(term open, std::vector<proposal_token> tokens) noexcept {
    reason why = refusal(open, open);
    if (why == reason::none) {
      barrier& one = barriers_.emplace_back();
      one.self = std::prev(barriers_.end());
      one.owner = this;
      one.request.data = &one;
      one.tokens = std::move(tokens);
      ++barrier_count_;
      const int code = ::raft_barrier(engine_, &one.request, on_barrier);
      if (code == 0) {
        return;
      }
      why = reason_of(code);
      tokens = std::move(one.tokens);
      barriers_.erase(one.self);
    }
    settle_barriers(tokens, outcome::not_applied, why);
  }

  static void on_applied(struct raft_apply* request, int status, void* /*result*/) noexcept {
    batch& one = *static_cast<batch*>(request->data);
    one.owner->end(one, status == 0 ? outcome::committed : outcome::unknown,
                   status == 0 ? reason::none : one.owner->reason_of(status));
  }

  static void on_barrier(struct raft_barrier* request, int status) noexcept {
    barrier& one = *static_cast<barrier*>(request->data);
    libraft_proposals& owner = *one.owner;
    const std::vector<proposal_token> tokens = std::move(one.tokens);
    owner.barriers_.erase(one.self);
    owner.settle_barriers(tokens, status == 0 ? outcome::committed : outcome::unknown,
                          status == 0 ? reason::none : owner.reason_of(status));
  }

  void end(batch& one, outcome how, reason why) noexcept {
    settle_all(one, how, why);
    batches_.erase(one.self);
  }
  void settle_all(batch& one, outcome how, reason why) noexcept {
    for (const waiting& each : std::exchange(one.proposals, {})) {
      settle(each, how, why);
    }
    settle_barriers(std::exchange(one.barriers, {}), how, why);
  }
  void settle_barriers(const std::vector<proposal_token>& tokens, outcome how,
                       reason why) noexcept {
    // A machine that ended has not applied what this barrier stands behind.
    const bool behind = how == outcome::committed && lane_->ended();
    for (const proposal_token token : tokens) {
      lane_->machine().settled(token, behind ? outcome::unknown : how,
                               behind ? reason::stopped : why);
    }
  }
  void settle(const waiting& one, outcome how, reason why) noexcept {
    in_flight_.fetch_sub(one.bytes + own_bytes);
    lane_->machine().settled(one.token, how, why);
  }

  const std::size_t batch_bytes_;
  const std::size_t batches_max_;
  const std::size_t in_flight_max_;
  const std::uint64_t log_max_;
  ::raft* engine_ = nullptr;
  libraft_lane* lane_ = nullptr;
  libraft_io* io_ = nullptr;
  std::deque<libraft_proposal> queue_;  // wait for a place among the batches
  std::vector<proposal_token> riders_;  // barriers that go with the next of them
  std::list<batch> batches_;
  std::list<barrier> barriers_;
  reason blame_ = reason::none;
  std::uint64_t handed_over_ = 0;
  std::uint64_t batch_count_ = 0;
  std::uint64_t barrier_count_ = 0;
  std::atomic<std::size_t> in_flight_{0};
  std::atomic<std::uint64_t> log_{0};
  std::atomic<std::uint64_t> refused_{0};
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
