/// @file
/// The end of a storage, as far as a replica is concerned: what holds one of its handles may live
/// on (a read of SQLite, a snapshot on its way to a follower), the storage may not.
#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>

#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Stands between a storage and those who call it. Every call is a visit; once the gate is closed
/// no call runs or begins, and nobody holds a handle. Any thread. Shared by all who visit.
class storage_gate {
 public:
  /// Something that holds a handle of the storage.
  class holder {
   public:
    holder(const holder&) = delete;
    holder& operator=(const holder&) = delete;

   protected:
    holder() = default;
    ~holder() = default;

   private:
    friend storage_gate;
    /// Destroys the handle. Called once: by close(), while nobody visits, or by remove().
    virtual void let_go() noexcept = 0;

    holder* next_ = nullptr;
    holder** slot_ = nullptr;  // what points to this one
  };

  /// One call of the storage.
  class visit {
   public:
    explicit visit(storage_gate& gate) noexcept : gate_(gate), inside_(gate.enter()) {}
    visit(const visit&) = delete;
    visit& operator=(const visit&) = delete;
    ~visit() {
      if (inside_) {
        gate_.leave();
      }
    }
    /// False: the gate is closed, the storage may be gone.
    explicit operator bool() const noexcept { return inside_; }

   private:
    storage_gate& gate_;
    const bool inside_;
  };

  storage_gate() = default;
  storage_gate(const storage_gate&) = delete;
  storage_gate& operator=(const storage_gate&) = delete;

  /// During a visit.
  void add(holder& made) noexcept {
    const std::lock_guard guard(mutex_);
    made.next_ = first_;
    made.slot_ = &first_;
    if (first_ != nullptr) {
      first_->slot_ = &made.next_;
    }
    first_ = &made;
  }
  /// At the end of a holder: makes it let go, unless close() did.
  void remove(holder& gone) noexcept {
    const std::lock_guard guard(mutex_);
    release(gone);
  }

  /// Waits for the calls that run, then lets go of every handle. Idempotent.
  void close() noexcept {
    closed_.store(true);
    for (std::size_t inside = visits_.load(); inside != 0; inside = visits_.load()) {
      visits_.wait(inside);
    }
    const std::lock_guard guard(mutex_);
    while (first_ != nullptr) {
      release(*first_);
    }
  }

 private:
  [[nodiscard]] bool enter() noexcept {
    visits_.fetch_add(1);
    if (!closed_.load()) {
      return true;
    }
    leave();
    return false;
  }
  void leave() noexcept {
    visits_.fetch_sub(1);
    if (closed_.load()) {
      visits_.notify_all();
    }
  }
  static void release(holder& one) noexcept {
    if (one.slot_ == nullptr) {
      return;
    }
    *one.slot_ = one.next_;
    if (one.next_ != nullptr) {
      one.next_->slot_ = one.slot_;
    }
    one.slot_ = nullptr;
    one.let_go();
  }

  std::atomic<std::size_t> visits_{0};
  std::atomic<bool> closed_{false};
  std::mutex mutex_;
  holder* first_ = nullptr;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
