/// @file
/// Who leads, as libraft knows it, made into announcements for the machine.
///
/// libraft 0.15 calls nobody when its state changes, and says "leader" before entries of older
/// terms are committed, let alone applied. So its state is looked at after whatever it did, and a
/// gain is announced only once a barrier of the new term was applied here (Raft thesis, 6.4).
#pragma once

#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/strand.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// On the loop.
class libraft_leadership {
 public:
  void attach(::raft& engine, libraft_strand& strand) noexcept;

  /// The term of leadership that is announced; 0: none is.
  [[nodiscard]] term open() const noexcept { return open_; }

  /// Tells of a loss, if there was one. Before any strand call that may follow from it.
  void notice_loss() noexcept;

  /// Looks at the engine and tells what is new. Not from inside the engine.
  void watch() noexcept;

  /// Announces the loss of what is announced, whatever the engine says.
  void step_down() noexcept;

 private:
  struct barrier {
    struct raft_barrier request {};
    libraft_leadership* owner = nullptr;
    term asked;
  };

  [[nodiscard]] bool leads_in(term that) const noexcept {
    return engine_->state == RAFT_LEADER && engine_->current_term == that.value;
  }

  void ask(term now) noexcept;

  /// Inside the engine: it has not counted the barrier as applied yet. The next look announces.
  static void on_barrier(struct raft_barrier* request, int status) noexcept;

  void gain(term now) noexcept;

  void tell_leader() noexcept;

  ::raft* engine_ = nullptr;
  libraft_strand* strand_ = nullptr;
  term open_;
  term asked_;    // a barrier of this term is on its way, or was applied
  term applied_;  // a barrier of this term was applied
  raft_id told_leader_ = 0;
  term told_term_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/leadership.ipp"  // IWYU pragma: keep
#endif
