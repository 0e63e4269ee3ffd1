/// @file
/// Who of the simulated clients runs next, and what they wait for.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/testing/detail/simulation/baton_engine.hpp"
#include "quorlite/testing/detail/simulation/client_engine.hpp"
#include "quorlite/testing/detail/simulation/fiber_engine.hpp"
#include "quorlite/testing/detail/simulation/random.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

class client_scheduler;

/// The flag that simulated clients wait for: sticky, any number may wait. Whoever waits inside it
/// keeps it alive. Not for real threads: in a simulated world one thing happens at a time.
class client_signal {
 public:
  client_signal() = default;
  client_signal(const client_signal&) = delete;
  client_signal& operator=(const client_signal&) = delete;

  void raise() noexcept;
  [[nodiscard]] bool raised() const noexcept { return raised_; }

 private:
  friend class client_scheduler;
  bool raised_ = false;
  client_scheduler* scheduler_ = nullptr;
  std::vector<client_id> waiters_;
};

static_assert(raisable_signal<client_signal>);

/// Runs clients on either engine. A client is ready when it is new, when what it waits for is
/// raised, when its limit has passed, or when it was released; among the ready ones a seeded draw
/// decides.
class client_scheduler {
 public:
  client_scheduler(engine_kind kind, random source) : random_(source) {
    if (kind == engine_kind::baton) {
      engine_.emplace<baton_engine>();
    }
  }

  client_id spawn(client_body body) {
    const client_id id =
        std::visit([&](auto& engine) { return engine.spawn(std::move(body)); }, engine_);
    clients_.emplace_back();
    ++unfinished_;
    make_ready(id);
    return id;
  }

  [[nodiscard]] bool finished(client_id id) const noexcept {
    return std::visit([&](const auto& engine) { return engine.finished(id); }, engine_);
  }
  [[nodiscard]] std::size_t unfinished() const noexcept { return unfinished_; }
  [[nodiscard]] bool any_ready() const noexcept { return !ready_.empty(); }
  /// True on a client's stack, false on the main one.
  [[nodiscard]] bool inside_client() const noexcept { return running_ != client_id{}; }

  /// The client that runs next. @pre any_ready()
  [[nodiscard]] client_id draw() noexcept {
    QUORLITE_ASSERT(!ready_.empty());
    const auto chosen = static_cast<std::size_t>(random_.below(ready_.size()));
    std::swap(ready_[chosen], ready_.back());
    const client_id id = ready_.back();
    ready_.pop_back();
    at(id).ready = false;
    return id;
  }

  /// Runs it until it waits or ends. Throws what leaves the client's body.
  void run(client_id id) {
    running_ = id;
    struct on_return {
      client_scheduler& self;
      client_id id;
      ~on_return() {
        self.running_ = client_id{};
        self.unfinished_ -= self.finished(id) ? 1 : 0;
      }
    } const guard{*this, id};
    std::visit([&](auto& engine) { engine.resume(id); }, engine_);
  }

  // ---- waiting, in three steps: begin, (the caller posts the deadline), pause

  /// @param group with whom the client may be released
  /// @returns the client, if its deadline must be posted: none that is early enough is on its way
  [[nodiscard]] std::optional<client_id> begin_wait(client_signal& signal,
                                                    std::uint64_t deadline_us,
                                                    std::uint64_t group) {
    QUORLITE_ASSERT(inside_client() && !signal.raised_);
    client& self = at(running_);
    self.waiting_for = &signal;
    self.deadline_us = deadline_us;
    self.group = group;
    signal.scheduler_ = this;
    signal.waiters_.push_back(running_);
    if (self.posted_us != 0 && self.posted_us <= deadline_us) {
      return std::nullopt;
    }
    self.posted_us = deadline_us;
    return running_;
  }

  /// Leaves the client's stack until it is ready. @returns whether the signal is raised
  [[nodiscard]] bool pause(client_signal& signal) {
    const client_id self = running_;
    std::visit([](auto& engine) { engine.yield(); }, engine_);
    at(self).waiting_for = nullptr;
    std::erase(signal.waiters_, self);
    return signal.raised_;
  }

  /// A posted deadline has come. @returns when to post the next one, if the client waits longer by
  /// now
  [[nodiscard]] std::optional<std::uint64_t> deadline_came(client_id id, std::uint64_t now_us) {
    client& self = at(id);
    if (self.posted_us != now_us) {
      return std::nullopt;  // an earlier one was posted meanwhile
    }
    self.posted_us = 0;
    if (self.waiting_for == nullptr || self.ready) {
      return std::nullopt;
    }
    if (self.deadline_us <= now_us) {
      make_ready(id);
      return std::nullopt;
    }
    self.posted_us = self.deadline_us;
    return self.deadline_us;
  }

  /// Makes the waiting clients of this group ready, whatever they wait for; 0: all of them.
  void release(std::uint64_t group) {
    for (std::size_t place = 0; place < clients_.size(); ++place) {
      client& each = clients_[place];
      if (each.waiting_for != nullptr && !each.ready && (group == 0 || each.group == group)) {
        make_ready(client_id{static_cast<std::uint32_t>(place + 1)});
      }
    }
  }

 private:
  friend class client_signal;

  struct client {
    client_signal* waiting_for = nullptr;
    std::uint64_t deadline_us = 0;
    std::uint64_t posted_us = 0;
    std::uint64_t group = 0;
    bool ready = false;
  };

  [[nodiscard]] client& at(client_id id) noexcept { return clients_[id.value - 1]; }

  void make_ready(client_id id) {
    if (!at(id).ready) {
      at(id).ready = true;
      ready_.push_back(id);
    }
  }

  std::variant<fiber_engine, baton_engine> engine_;
  random random_;
  std::vector<client> clients_;
  std::vector<client_id> ready_;
  client_id running_;
  std::size_t unfinished_ = 0;
};

inline void client_signal::raise() noexcept {
  raised_ = true;
  for (const client_id each : waiters_) {
    scheduler_->make_ready(each);
  }
  waiters_.clear();
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
