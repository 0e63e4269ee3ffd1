/// @file
/// Clients as real threads that pass a baton: only the holder runs.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/testing/detail/simulation/client_engine.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

/// The slow and plain model of `client_engine`: a switch costs two wake-ups of a thread (5 to 10
/// us). Everything a client did is seen by whoever runs next, since the baton is handed over under
/// a mutex.
class baton_engine {
 public:
  baton_engine() = default;
  baton_engine(const baton_engine&) = delete;
  baton_engine& operator=(const baton_engine&) = delete;

  /// @pre every client that was resumed has finished
  ~baton_engine() {
    for (const std::unique_ptr<client>& each : clients_) {
      QUORLITE_ASSERT(each == nullptr || !each->thread.joinable());
    }
  }

  client_id spawn(client_body body) {
    clients_.push_back(std::make_unique<client>());
    clients_.back()->body = std::move(body);
    return client_id{static_cast<std::uint32_t>(clients_.size())};
  }

  void resume(client_id id) {
    QUORLITE_ASSERT(running_ == nullptr && !finished(id));
    std::unique_ptr<client>& chosen = clients_[id.value - 1];
    running_ = chosen.get();
    if (!chosen->thread.joinable()) {
      chosen->thread = std::thread([this, mine = chosen.get()] { run(*mine); });
    }
    chosen->turn.give();
    main_turn_.await();
    running_ = nullptr;
    if (chosen->done) {
      chosen->thread.join();
      const std::exception_ptr error = chosen->error;
      chosen.reset();
      if (error) {
        std::rethrow_exception(error);
      }
    }
  }

  void yield() {
    client* const self = running_;
    QUORLITE_ASSERT(self != nullptr);
    main_turn_.give();
    self->turn.await();
  }

  [[nodiscard]] bool finished(client_id id) const noexcept {
    QUORLITE_ASSERT(id.value >= 1 && id.value <= clients_.size());
    return clients_[id.value - 1] == nullptr;
  }

 private:
  /// A binary semaphore. The one of the standard library spins first, which two threads in turns
  /// never need.
  class baton {
   public:
    void give() {
      const std::lock_guard guard(mutex_);
      mine_ = true;
      arrived_.notify_one();
    }
    void await() {
      std::unique_lock lock(mutex_);
      arrived_.wait(lock, [this] { return mine_; });
      mine_ = false;
    }

   private:
    std::mutex mutex_;
    std::condition_variable arrived_;
    bool mine_ = false;
  };

  struct client {
    client_body body;
    std::exception_ptr error;
    bool done = false;
    baton turn;
    std::thread thread;
  };

  void run(client& self) noexcept {
    self.turn.await();
    try {
      self.body();
    } catch (...) {
      self.error = std::current_exception();
    }
    self.body = client_body{};  // what it captured goes while the baton is still here
    self.done = true;
    main_turn_.give();
  }

  baton main_turn_;
  client* running_ = nullptr;
  std::vector<std::unique_ptr<client>> clients_;
};

static_assert(client_engine<baton_engine>);

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
