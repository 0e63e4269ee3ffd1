/// @file
/// A small consensus with real threads, for stress tests: one log thread, one log, any number of
/// replicas, and faults that are drawn from a seed. It keeps the laws, in memory only.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "quorlite/adapter_kit.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/testing/detail/simulation/random.hpp"

namespace quorlite::tests {

struct threaded_cluster_options {
  std::size_t replicas = 3;
  std::uint64_t seed = 1;
  std::uint32_t refuse_per_1000 = 0;   ///< proposals settled not_applied (busy); if any, the fifth
  std::uint32_t early_per_1000 = 500;  ///< told "committed" before the apply, not after
  std::uint32_t lose_per_1000 = 0;     ///< batches during which the leader loses its leadership
};

class threaded_cluster;

/// The adapter that one replica holds.
class threaded_consensus {
 public:
  using signal_type = quorlite::thread_signal;
  static constexpr quorlite::consensus_abilities abilities{.entry_terms = true,
                                                           .contiguous = true,
                                                           .read_barrier = false,
                                                           .leadership_transfer = false,
                                                           .background_work = false};

  threaded_consensus(threaded_cluster& cluster, std::size_t id) : cluster_(cluster), id_(id) {}

  std::error_code start(quorlite::state_machine& machine) noexcept;
  void stop() noexcept;
  void propose(quorlite::term expected, quorlite::proposal_token token,
               quorlite::bytes_view entry) noexcept;
  [[nodiscard]] std::size_t max_entry_bytes() const noexcept { return std::size_t{1} << 20U; }
  bool wait(signal_type& signal, quorlite::milliseconds limit) noexcept {
    return signal.wait(limit);
  }
  void withdraw() noexcept { strand_.withdraw(); }

 private:
  friend class threaded_cluster;
  threaded_cluster& cluster_;
  std::size_t id_;
  quorlite::gated_strand strand_;
  quorlite::pending_proposals pending_;
};

/// The log and its thread. Replica 0 leads, again and again. All replicas must have started before
/// run().
class threaded_cluster {
 public:
  explicit threaded_cluster(threaded_cluster_options options)
      : options_(options), random_(options.seed) {
    for (std::size_t id = 0; id < options.replicas; ++id) {
      adapters_.push_back(std::make_unique<threaded_consensus>(*this, id));
    }
  }
  ~threaded_cluster() { halt(); }

  [[nodiscard]] threaded_consensus& adapter(std::size_t id) { return *adapters_[id]; }
  void run() {
    thread_ = std::thread([this] { work(); });
  }

  /// Ends the log thread; what is queued is settled unknown. Every replica has then applied the
  /// same.
  void halt() {
    {
      const std::lock_guard guard(mutex_);
      stopping_ = true;
      wake_.notify_all();
    }
    if (thread_.joinable()) {
      thread_.join();
    }
  }
  [[nodiscard]] std::uint64_t losses() const noexcept { return losses_; }

 private:
  friend class threaded_consensus;
  struct waiting {
    quorlite::term expected;
    quorlite::proposal_token token;
    std::vector<std::byte> bytes;
  };

  void work() {
    gain();
    for (;;) {
      std::deque<waiting> batch;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
        batch.swap(queue_);
        if (batch.empty()) {
          break;
        }
      }
      if (random_.below(1000) < options_.lose_per_1000) {
        lose(batch);
        gain();
      } else {
        for (const waiting& one : batch) {
          commit(one);
        }
      }
    }
    adapters_[0]->strand_.deposed();
  }

  void commit(const waiting& one) {
    using quorlite::outcome;
    using quorlite::settle_reason;
    quorlite::pending_proposals& pending = adapters_[0]->pending_;
    const settle_reason refusal = adapters_[0]->strand_.refusal(one.expected);
    if (refusal != settle_reason::none) {
      pending.settle(one.token, outcome::not_applied, refusal);
    } else if (is_refused()) {
      pending.settle(one.token, outcome::not_applied, settle_reason::busy);
    } else {
      // The answer may come on either side of the apply.
      if (random_.below(1000) < options_.early_per_1000) {
        pending.settle(one.token, outcome::committed);
      }
      append(one);
      if (adapters_[0]->strand_.halted()) {
        pending.settle(one.token, outcome::unknown, settle_reason::stopped);
      }
      pending.settle(one.token, outcome::committed);
    }
  }

  /// Groups make so few entries that chance alone may leave all of them through.
  [[nodiscard]] bool is_refused() {
    const bool is_fifth = ++looked_at_ == 5 && options_.refuse_per_1000 != 0;
    return random_.below(1000) < options_.refuse_per_1000 || is_fifth;
  }

  void append(const waiting& one) {
    index_ = index_.next();
    for (const auto& adapter : adapters_) {
      adapter->strand_.apply({{index_, term_}, one.bytes});
    }
  }

  /// Leadership goes; of what was on its way some was in the log already, the rest never will be.
  void lose(const std::deque<waiting>& batch) {
    using quorlite::outcome;
    using quorlite::settle_reason;
    ++losses_;
    adapters_[0]->strand_.deposed();
    const std::uint64_t kept = random_.below(batch.size() + 1);
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const bool stale = batch[i].expected != term_;
      adapters_[0]->pending_.settle(
          batch[i].token, stale ? outcome::not_applied : outcome::unknown,
          stale ? settle_reason::stale_term : settle_reason::leadership_lost);
      if (!stale && i < kept) {
        append(batch[i]);
      }
    }
  }

  void gain() {
    term_ = term_.next();
    index_ = index_.next();
    for (const auto& adapter : adapters_) {
      if (adapter == adapters_[0]) {
        adapter->strand_.elected(term_);  // announced when its first entry, this one, is applied
      } else {
        adapter->strand_.follows(term_, "replica 0");
      }
      adapter->strand_.skip({index_, term_});
    }
  }

  const threaded_cluster_options options_;
  quorlite::testing::detail::random random_;  // of the log thread
  std::vector<std::unique_ptr<threaded_consensus>> adapters_;
  quorlite::term term_;
  quorlite::log_index index_;
  int looked_at_ = 0;  // proposals of the current leader
  std::uint64_t losses_ = 0;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<waiting> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

inline std::error_code threaded_consensus::start(quorlite::state_machine& machine) noexcept {
  pending_.open(machine);
  strand_.open(machine, "replica " + std::to_string(id_));
  return {};
}

inline void threaded_consensus::stop() noexcept {
  cluster_.halt();
  strand_.close();
  pending_.close();
}

inline void threaded_consensus::propose(quorlite::term expected, quorlite::proposal_token token,
                                        quorlite::bytes_view entry) noexcept {
  const std::lock_guard guard(cluster_.mutex_);
  if (!pending_.add(token)) {
    return;
  }
  if (entry.size() > max_entry_bytes()) {
    pending_.settle(token, quorlite::outcome::not_applied, quorlite::settle_reason::too_large);
  } else if (cluster_.stopping_ || id_ != 0) {
    pending_.settle(token, quorlite::outcome::not_applied, quorlite::settle_reason::not_leader);
  } else {
    cluster_.queue_.push_back({expected, token, {entry.begin(), entry.end()}});
    cluster_.wake_.notify_one();
  }
}

static_assert(quorlite::consensus<threaded_consensus>);

}  // namespace quorlite::tests
