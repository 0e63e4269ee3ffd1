/// @file
/// Who leads, as libraft knows it, made into announcements for the machine.
///
/// libraft 0.15 calls nobody when its state changes, and says "leader" before entries of older
/// terms are committed, let alone applied. So its state is looked at after whatever it did, and a
/// gain is announced only once a barrier of the new term was applied here (Raft thesis, 6.4).
#pragma once

#include <string_view>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/lane.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// On the loop.
class libraft_office {
 public:
  void attach(::raft& engine, libraft_lane& lane) noexcept {
    engine_ = &engine;
    lane_ = &lane;
  }

  /// The term of the office that is announced; 0: none is.
  [[nodiscard]] term open() const noexcept { return open_; }

  /// Tells of a loss, if there was one. Before any lane call that may follow from it.
  void notice_loss() noexcept {
    if (open_.value != 0 && (lane_->ended() || !leads_in(open_))) {
      resign();
    }
  }

  /// Looks at the engine and tells what is new. Not from inside the engine.
  void watch() noexcept {
    notice_loss();
    lane_->catch_up();
    notice_loss();  // it may have ended there
    if (lane_->ended()) {
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

  /// Announces the loss of what is announced, whatever the engine says.
  void resign() noexcept {
    if (open_.value != 0) {
      const term was = open_;
      open_ = term{};
      lane_->machine().leadership_changed({was, false, {}});
    }
  }

 private:
  struct barrier {
    struct raft_barrier request;
    libraft_office* owner;
    term asked;
  };

  [[nodiscard]] bool leads_in(term that) const noexcept {
    return engine_->state == RAFT_LEADER && engine_->current_term == that.value;
  }

  void ask(term now) noexcept {
    auto* const one = new barrier{{}, this, now};
    one->request.data = one;
    asked_ = now;
    if (::raft_barrier(engine_, &one->request, on_barrier) != 0) {
      asked_ = term{};  // again at the next look
      delete one;
    }
  }

  /// Inside the engine: it has not counted the barrier as applied yet. The next look announces.
  static void on_barrier(struct raft_barrier* request, int status) noexcept {
    auto* const one = static_cast<barrier*>(request->data);
    libraft_office& self = *one->owner;
    if (status == 0) {
      self.applied_ = one->asked;
    } else if (self.asked_ == one->asked) {
      self.asked_ = term{};
    }
    delete one;
  }

  void gain(term now) noexcept {
    open_ = now;
    told_leader_ = 0;
    lane_->machine().leadership_changed({now, true, engine_->address});
  }

  void tell_leader() noexcept {
    raft_id id = 0;
    const char* address = nullptr;
    raft_leader(engine_, &id, &address);
    if (id == told_leader_ && engine_->current_term == told_term_.value) {
      return;
    }
    told_leader_ = id;
    told_term_ = term{engine_->current_term};
    const std::string_view hint = address == nullptr ? std::string_view() : address;
    lane_->machine().leadership_changed({told_term_, false, hint});
  }

  ::raft* engine_ = nullptr;
  libraft_lane* lane_ = nullptr;
  term open_;
  term asked_;    // a barrier of this term is on its way, or was applied
  term applied_;  // a barrier of this term was applied
  raft_id told_leader_ = 0;
  term told_term_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
