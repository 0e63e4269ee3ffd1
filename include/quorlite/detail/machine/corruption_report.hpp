/// @file
/// From whoever meets a damaged page to the machine that has to stop.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <system_error>

#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Hears of damage. Called on any thread, with no lock of the library held but the report's.
class damage_listener {
 public:
  damage_listener(const damage_listener&) = delete;
  damage_listener& operator=(const damage_listener&) = delete;
  /// @param number 0: the hashes of the pages are damaged @param page_size of that database
  virtual void on_damage(const std::string& database, page_number number, std::uint32_t page_size,
                         std::error_code why) noexcept = 0;
  virtual void on_broken_storage(std::error_code why) noexcept = 0;

 protected:
  damage_listener() = default;
  ~damage_listener() = default;
};

/// Where to look, for people. Throws std::bad_alloc.
[[nodiscard]] inline std::string place_of_damage(const std::string& database, page_number number,
                                                 std::uint32_t page_size) {
  if (number.value == 0) {
    return "the hashes of the pages of '" + database + "'";
  }
  const std::string page = std::to_string(number.value);
  const std::uint64_t first = (std::uint64_t{number.value} - 1) * page_size;
  return "page " + page + " of '" + database + "', from byte " + std::to_string(first) +
         " of its file on, or hash " + page + " of its hashes,";
}

/// Lives as long as the last page store of a machine, which may be longer than the machine.
class corruption_report {
 public:
  explicit corruption_report(damage_listener& listener) noexcept : listener_(&listener) {}
  corruption_report(const corruption_report&) = delete;
  corruption_report& operator=(const corruption_report&) = delete;

  /// The listener is gone; from now on reports are dropped. Waits for one that is under way.
  void detach() noexcept {
    const std::lock_guard guard(mutex_);
    listener_ = nullptr;
  }
  void report(const std::string& database, page_number number, std::uint32_t page_size,
              std::error_code why) noexcept {
    const std::lock_guard guard(mutex_);
    if (listener_ != nullptr) {
      listener_->on_damage(database, number, page_size, why);
    }
  }

  /// For what the storage answers while no flush is under way. A broken promise is kept for ever:
  /// this replica can neither store its state nor take another. @returns `said`
  std::error_code told(std::error_code said) noexcept {
    const std::lock_guard guard(mutex_);
    if (said == errc::storage_broken && listener_ != nullptr) {
      listener_->on_broken_storage(said);
    }
    return said;
  }

 private:
  std::mutex mutex_;
  damage_listener* listener_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
