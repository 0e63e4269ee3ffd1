/// @file
/// Who of the simulated clients runs next, and what they wait for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/testing/detail/simulation/engines.hpp"
#include "quorlite/testing/detail/simulation/random.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

class client_scheduler;

/// The flag that simulated clients wait for: sticky, any number may wait. Whoever waits inside it
/// keeps it alive. Not for real threads: in a simulation one thing happens at a time.
class QUORLITE_API client_signal {
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
  client_scheduler(engine_kind kind, random source);

  client_id spawn(client_body body);

  [[nodiscard]] bool finished(client_id id) const noexcept {
    return std::visit([&](const auto& engine) { return engine.finished(id); }, engine_);
  }
  [[nodiscard]] std::size_t unfinished() const noexcept { return unfinished_; }
  [[nodiscard]] bool any_ready() const noexcept { return !ready_.empty(); }
  /// True on a client's stack, false on the main one.
  [[nodiscard]] bool inside_client() const noexcept { return running_ != client_id{}; }

  /// The client that runs next. @pre any_ready()
  [[nodiscard]] client_id draw() noexcept;

  /// Runs it until it waits or ends. Throws what leaves the client's body.
  void run(client_id id);

  // ---- waiting, in three steps: begin, (the caller posts the deadline), pause

  /// @param group with whom the client may be released
  /// @returns the client, if its deadline must be posted: none that is early enough is on its way
  [[nodiscard]] std::optional<client_id> begin_wait(client_signal& signal,
                                                    std::uint64_t deadline_us, std::uint64_t group);

  /// Leaves the client's stack until it is ready. @returns whether the signal is raised
  [[nodiscard]] bool pause(client_signal& signal);

  /// A posted deadline has come. @returns when to post the next one, if the client waits longer by
  /// now
  [[nodiscard]] std::optional<std::uint64_t> deadline_came(client_id id, std::uint64_t now_us);

  /// Makes the waiting clients of this group ready, whatever they wait for; 0: all of them.
  void release(std::uint64_t group);

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

  void make_ready(client_id id);

  std::variant<fiber_engine, handoff_engine> engine_;
  random random_;
  std::vector<client> clients_;
  std::vector<client_id> ready_;
  client_id running_;
  std::size_t unfinished_ = 0;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/simulation/client_scheduler.ipp"  // IWYU pragma: keep
#endif
