/// @file
/// The lock of a machine, and what is said under it: people are told when it is free again.
#pragma once

#include <mutex>
#include <new>
#include <string>
#include <vector>

#include "quorlite/config.hpp"
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
    explicit holder(machine_lock& of) : of_(of), lock_(of.mutex_) {}
    holder(const holder&) = delete;
    holder& operator=(const holder&) = delete;
    ~holder() {
      if (!of_.said_.empty()) {
        of_.tell(lock_);
      }
    }

   private:
    machine_lock& of_;
    std::unique_lock<std::mutex> lock_;
  };

  machine_lock(log_function log, void* context) noexcept : log_(log), context_(context) {}
  machine_lock(const machine_lock&) = delete;
  machine_lock& operator=(const machine_lock&) = delete;

  /// For the log function. Under the lock.
  void say(const std::string& text) noexcept try {
    if (log_ != nullptr) {
      said_.push_back(text);
    }
  } catch (const std::bad_alloc&) {  // then it stays unsaid
  }

  /// Nobody listens any more. Takes the lock.
  void be_silent() noexcept {
    const std::lock_guard guard(mutex_);
    log_ = nullptr;
    said_.clear();
  }

 private:
  void tell(std::unique_lock<std::mutex>& held) noexcept {
    std::vector<std::string> lines;
    lines.swap(said_);
    const log_function log = log_;
    held.unlock();
    for (const std::string& line : lines) {
      log(context_, line);
    }
  }

  std::mutex mutex_;
  std::vector<std::string> said_;
  log_function log_;
  void* const context_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
