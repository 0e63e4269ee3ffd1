/// @file
/// The lock of a machine, and what is said under it: people, and the engine, are told when it is
/// free again.
#pragma once

#include <mutex>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/core/consensus_port.hpp"
#include "quorlite/options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Any thread.
class machine_lock {
 public:
  /// Holds the lock for as long as it lives. Tells what was said meanwhile.
  class holder {
   public:
    explicit holder(machine_lock& of) : of_(of) { of_.mutex_.lock(); }
    holder(const holder&) = delete;
    holder& operator=(const holder&) = delete;
    ~holder() {
      if (of_.has_news_) {
        of_.unlock_and_tell();
      } else {
        of_.mutex_.unlock();
      }
    }

   private:
    machine_lock& of_;
  };

  machine_lock(log_function log, void* context) noexcept : log_(log), context_(context) {}
  machine_lock(const machine_lock&) = delete;
  machine_lock& operator=(const machine_lock&) = delete;

  /// For the log function. Under the lock.
  void say(const std::string& text) noexcept try {
    if (log_ != nullptr) {
      said_.push_back(text);
      has_news_ = true;
    }
  } catch (const std::bad_alloc&) {  // then it stays unsaid
  }

  /// Whom withdraw() tells. It outlives this, or be_silent(). Takes the lock.
  void tell_engine(consensus_port& engine) noexcept {
    const std::lock_guard guard(mutex_);
    engine_ = &engine;
  }

  /// The machine has halted: the engine is to withdraw. Under the lock.
  void withdraw() noexcept {
    is_withdrawing_ = engine_ != nullptr;
    has_news_ = has_news_ || is_withdrawing_;
  }

  /// Nobody listens any more. Takes the lock.
  void be_silent() noexcept {
    const std::lock_guard guard(mutex_);
    engine_ = nullptr;
    is_withdrawing_ = false;
    log_ = nullptr;
    said_.clear();
    has_news_ = false;
  }

 private:
  void unlock_and_tell() noexcept {
    std::vector<std::string> lines;
    lines.swap(said_);
    has_news_ = false;
    const log_function log = log_;
    consensus_port* const engine = std::exchange(is_withdrawing_, false) ? engine_ : nullptr;
    mutex_.unlock();
    if (engine != nullptr) {
      engine->withdraw();
    }
    for (const std::string& line : lines) {
      log(context_, line);
    }
  }

  std::mutex mutex_;
  bool has_news_ = false;
  bool is_withdrawing_ = false;
  consensus_port* engine_ = nullptr;
  std::vector<std::string> said_;
  log_function log_;
  void* const context_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
