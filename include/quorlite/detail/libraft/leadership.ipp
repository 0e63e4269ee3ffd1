/// @file
/// Bodies of libraft_leadership: gains, losses and leaders elsewhere, noticed and announced.
#pragma once

#include "quorlite/detail/libraft/leadership.hpp"

#include <string_view>

#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/strand.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL void libraft_leadership::attach(::raft& engine, libraft_strand& strand) noexcept {
  engine_ = &engine;
  strand_ = &strand;
}

QUORLITE_DECL void libraft_leadership::notice_loss() noexcept {
  if (open_.value != 0 && (strand_->ended() || !leads_in(open_))) {
    step_down();
  }
}

QUORLITE_DECL void libraft_leadership::watch() noexcept {
  notice_loss();
  strand_->catch_up();
  notice_loss();  // it may have ended there
  if (strand_->ended()) {
    return;
  }
  if (engine_->state == RAFT_LEADER) {
    const term now{engine_->current_term};
    if (open_ == now) {
      return;
    }
    if (applied_ == now) {
      gain(now);
    } else if (asked_ != now) {
      ask(now);
    }
  } else {
    tell_leader();
  }
}

QUORLITE_DECL void libraft_leadership::step_down() noexcept {
  if (open_.value != 0) {
    const term was = open_;
    open_ = term{};
    strand_->machine().leadership_changed({was, false, {}});
  }
}

QUORLITE_DECL void libraft_leadership::ask(term now) noexcept {
  auto* const one = new barrier{{}, this, now};
  one->request.data = one;
  asked_ = now;
  if (::raft_barrier(engine_, &one->request, on_barrier) != 0) {
    asked_ = term{};  // again at the next look
    delete one;
  }
}

QUORLITE_DECL void libraft_leadership::on_barrier(struct raft_barrier* request,
                                                  int status) noexcept {
  auto* const one = static_cast<barrier*>(request->data);
  libraft_leadership& self = *one->owner;
  if (status == 0) {
    self.applied_ = one->asked;
  } else if (self.asked_ == one->asked) {
    self.asked_ = term{};
  }
  delete one;
}

QUORLITE_DECL void libraft_leadership::gain(term now) noexcept {
  open_ = now;
  told_leader_ = 0;
  strand_->machine().leadership_changed({now, true, engine_->address});
}

QUORLITE_DECL void libraft_leadership::tell_leader() noexcept {
  raft_id id = 0;
  const char* address = nullptr;
  raft_leader(engine_, &id, &address);
  if (id == told_leader_ && engine_->current_term == told_term_.value) {
    return;
  }
  told_leader_ = id;
  told_term_ = term{engine_->current_term};
  // Of a leader that was given up the engine still has the address.
  const std::string_view hint = id == 0 || address == nullptr ? std::string_view() : address;
  strand_->machine().leadership_changed({told_term_, false, hint});
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
