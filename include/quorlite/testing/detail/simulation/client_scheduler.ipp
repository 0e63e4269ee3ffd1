/// @file
/// Bodies of client_scheduler and client_signal.
#pragma once

#include "quorlite/testing/detail/simulation/client_scheduler.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <variant>

#include "quorlite/config.hpp"
#include "quorlite/testing/detail/simulation/engines.hpp"
#include "quorlite/testing/detail/simulation/random.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL client_scheduler::client_scheduler(engine_kind kind, random source)
    : random_(source) {
  if (kind == engine_kind::handoff) {
    engine_.emplace<handoff_engine>();
  }
}

QUORLITE_DECL client_id client_scheduler::spawn(client_body body) {
  const client_id id =
      std::visit([&](auto& engine) { return engine.spawn(std::move(body)); }, engine_);
  clients_.emplace_back();
  ++unfinished_;
  make_ready(id);
  return id;
}

QUORLITE_DECL client_id client_scheduler::draw() noexcept {
  QUORLITE_ASSERT(!ready_.empty());
  const auto chosen = static_cast<std::size_t>(random_.below(ready_.size()));
  std::swap(ready_[chosen], ready_.back());
  const client_id id = ready_.back();
  ready_.pop_back();
  at(id).ready = false;
  return id;
}

QUORLITE_DECL void client_scheduler::run(client_id id) {
  running_ = id;
  struct on_return {
    client_scheduler& self;
    client_id id;
    ~on_return() {
      self.running_ = client_id{};
      self.unfinished_ -= self.finished(id) ? 1U : 0U;
    }
  } const guard{*this, id};
  std::visit([&](auto& engine) { engine.resume(id); }, engine_);
}

QUORLITE_DECL std::optional<client_id> client_scheduler::begin_wait(client_signal& signal,
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

QUORLITE_DECL bool client_scheduler::pause(client_signal& signal) {
  const client_id self = running_;
  std::visit([](auto& engine) { engine.yield(); }, engine_);
  at(self).waiting_for = nullptr;
  std::erase(signal.waiters_, self);
  return signal.raised_;
}

QUORLITE_DECL std::optional<std::uint64_t> client_scheduler::deadline_came(client_id id,
                                                                           std::uint64_t now_us) {
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

QUORLITE_DECL void client_scheduler::release(std::uint64_t group) {
  for (std::size_t place = 0; place < clients_.size(); ++place) {
    client& each = clients_[place];
    if (each.waiting_for != nullptr && !each.ready && (group == 0 || each.group == group)) {
      make_ready(client_id{static_cast<std::uint32_t>(place + 1)});
    }
  }
}

QUORLITE_DECL void client_scheduler::make_ready(client_id id) {
  if (!at(id).ready) {
    at(id).ready = true;
    ready_.push_back(id);
  }
}

QUORLITE_DECL void client_signal::raise() noexcept {
  raised_ = true;
  for (const client_id each : waiters_) {
    scheduler_->make_ready(each);
  }
  waiters_.clear();
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
