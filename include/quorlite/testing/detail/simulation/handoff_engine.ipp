/// @file
/// Bodies of handoff_engine: clients as real threads that pass a handoff; only the holder runs.
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
#include "quorlite/testing/detail/simulation/engines.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// A binary semaphore. The one of the standard library spins first, which two threads in turns
/// never need.
class handoff_engine::handoff {
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

struct handoff_engine::client {
  client_body body;
  std::exception_ptr error;
  bool done = false;
  handoff turn;
  std::thread thread;
};

QUORLITE_DECL handoff_engine::handoff_engine() : main_turn_(std::make_unique<handoff>()) {}

QUORLITE_DECL handoff_engine::~handoff_engine() {
  for (const std::unique_ptr<client>& each : clients_) {
    QUORLITE_ASSERT(each == nullptr || !each->thread.joinable());
  }
}

QUORLITE_DECL client_id handoff_engine::spawn(client_body body) {
  clients_.push_back(std::make_unique<client>());
  clients_.back()->body = std::move(body);
  return client_id{static_cast<std::uint32_t>(clients_.size())};
}

QUORLITE_DECL void handoff_engine::resume(client_id id) {
  QUORLITE_ASSERT(running_ == nullptr && !finished(id));
  std::unique_ptr<client>& chosen = clients_[id.value - 1];
  running_ = chosen.get();
  if (!chosen->thread.joinable()) {
    chosen->thread = std::thread([this, mine = chosen.get()] { run(*mine); });
  }
  chosen->turn.give();
  main_turn_->await();
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

QUORLITE_DECL void handoff_engine::yield() {
  client* const self = running_;
  QUORLITE_ASSERT(self != nullptr);
  main_turn_->give();
  self->turn.await();
}

QUORLITE_DECL bool handoff_engine::finished(client_id id) const noexcept {
  QUORLITE_ASSERT(id.value >= 1 && id.value <= clients_.size());
  return clients_[id.value - 1] == nullptr;
}

QUORLITE_DECL void handoff_engine::run(client& self) noexcept {
  self.turn.await();
  try {
    self.body();
  } catch (...) {
    self.error = std::current_exception();
  }
  self.body = client_body{};  // what it captured goes while the handoff is still here
  self.done = true;
  main_turn_->give();
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
