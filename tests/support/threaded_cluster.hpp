/// @file
/// A small consensus with real threads, for stress tests: one log thread, one log, any number of
/// replicas, and faults that are drawn from a seed. It keeps the laws; it survives nothing.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "quorlite/consensus.hpp"
#include "quorlite/testing/detail/simulation/random.hpp"
#include "quorlite/thread_signal.hpp"

namespace quorlite::tests {

struct threaded_cluster_options {
  std::size_t replicas = 3;
  std::uint64_t seed = 1;
  std::uint32_t refuse_per_1000 = 0;   ///< proposals settled not_applied (busy)
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

 private:
  threaded_cluster& cluster_;
  std::size_t id_;
};

/// The log and its thread. Replica 0 leads, again and again. All replicas must have started before
/// run().
class threaded_cluster {
 public:
  explicit threaded_cluster(threaded_cluster_options options)
      : options_(options),
        random_(options.seed),
        machines_(options.replicas),
        halted_(options.replicas) {
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
    announce(false);
  }

  void commit(const waiting& one) {
    if (!leading_ || one.expected != term_) {
      machines_[0]->settled(one.token, quorlite::outcome::not_applied,
                            quorlite::settle_reason::stale_term);
    } else if (random_.below(1000) < options_.refuse_per_1000) {
      machines_[0]->settled(one.token, quorlite::outcome::not_applied,
                            quorlite::settle_reason::busy);
    } else {
      // The answer may come on either side of the apply.
      const bool early = random_.below(1000) < options_.early_per_1000;
      if (early) {
        machines_[0]->settled(one.token, quorlite::outcome::committed,
                              quorlite::settle_reason::none);
      }
      append(one);
      if (!early) {
        machines_[0]->settled(
            one.token, halted_[0] ? quorlite::outcome::unknown : quorlite::outcome::committed,
            halted_[0] ? quorlite::settle_reason::stopped : quorlite::settle_reason::none);
      }
      if (halted_[0] && leading_) {
        announce(false);
      }
    }
  }

  void append(const waiting& one) {
    index_ = index_.next();
    for (std::size_t id = 0; id < machines_.size(); ++id) {
      halted_[id] = halted_[id] || machines_[id]->apply({{index_, term_}, one.bytes}) ==
                                       quorlite::apply_result::halted;
    }
  }

  /// Leadership goes; of what was on its way some was in the log already, the rest never will be.
  void lose(const std::deque<waiting>& batch) {
    ++losses_;
    announce(false);
    const std::uint64_t kept = random_.below(batch.size() + 1);
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const bool stale = batch[i].expected != term_;
      machines_[0]->settled(
          batch[i].token, stale ? quorlite::outcome::not_applied : quorlite::outcome::unknown,
          stale ? quorlite::settle_reason::stale_term : quorlite::settle_reason::leadership_lost);
      if (!stale && i < kept) {
        append(batch[i]);
      }
    }
  }

  void gain() {
    term_ = term_.next();
    index_ = index_.next();
    for (std::size_t id = 0; id < machines_.size(); ++id) {
      halted_[id] =
          halted_[id] || machines_[id]->skip({index_, term_}) == quorlite::apply_result::halted;
    }
    announce(!halted_[0]);
  }

  void announce(bool leading) {
    if (!leading && !std::exchange(leading_, leading)) {
      return;
    }
    leading_ = leading;
    for (std::size_t id = 0; id < machines_.size(); ++id) {
      machines_[id]->leadership_changed({term_, leading && id == 0, "replica 0"});
    }
  }

  const threaded_cluster_options options_;
  quorlite::testing::detail::random random_;  // of the log thread
  std::vector<quorlite::state_machine*> machines_;
  std::vector<std::unique_ptr<threaded_consensus>> adapters_;
  quorlite::term term_;
  quorlite::log_index index_;
  std::uint64_t losses_ = 0;
  std::vector<bool> halted_;  // left alone from then on, but for the loss of leadership
  bool leading_ = false;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<waiting> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

inline std::error_code threaded_consensus::start(quorlite::state_machine& machine) noexcept {
  cluster_.machines_[id_] = &machine;
  return {};
}

inline void threaded_consensus::stop() noexcept { cluster_.halt(); }

inline void threaded_consensus::propose(quorlite::term expected, quorlite::proposal_token token,
                                        quorlite::bytes_view entry) noexcept {
  const std::lock_guard guard(cluster_.mutex_);
  if (entry.size() > max_entry_bytes()) {
    cluster_.machines_[id_]->settled(token, quorlite::outcome::not_applied,
                                     quorlite::settle_reason::too_large);
    return;
  }
  if (cluster_.stopping_ || id_ != 0) {
    cluster_.machines_[id_]->settled(token, quorlite::outcome::not_applied,
                                     quorlite::settle_reason::not_leader);
    return;
  }
  cluster_.queue_.push_back({expected, token, {entry.begin(), entry.end()}});
  cluster_.wake_.notify_one();
}

static_assert(quorlite::consensus<threaded_consensus>);

}  // namespace quorlite::tests
