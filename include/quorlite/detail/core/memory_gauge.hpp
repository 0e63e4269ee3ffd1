/// @file
/// How much memory the pages of a replica take, all databases together.
#pragma once

#include <atomic>
#include <cstddef>

#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Shared by the stores of one replica. Any thread; never blocks.
class memory_gauge {
 public:
  /// Everything that stores hold: images, what waits to be freed, tables. Bytes.
  [[nodiscard]] std::size_t bytes() const noexcept {
    return bytes_.load(std::memory_order_relaxed);
  }
  /// Of it, what a flush could turn into something that may go. Bytes.
  [[nodiscard]] std::size_t dirty_bytes() const noexcept {
    return dirty_.load(std::memory_order_relaxed);
  }

  /// One store's share changed. The sums wrap as the shares do, and end up right.
  void change(std::size_t bytes_more, std::size_t dirty_more) noexcept {
    bytes_.fetch_add(bytes_more, std::memory_order_relaxed);
    dirty_.fetch_add(dirty_more, std::memory_order_relaxed);
  }

 private:
  std::atomic<std::size_t> bytes_{0};
  std::atomic<std::size_t> dirty_{0};
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
