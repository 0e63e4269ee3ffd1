/// @file
/// How much memory the pages of a replica take, all databases together.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/detail/core/pin_limit.hpp"

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

  /// Of all of them, what is there for those alone who stand on an old state. Bytes.
  [[nodiscard]] std::size_t pinned_bytes() const noexcept {
    return pinned_.load(std::memory_order_relaxed);
  }

  /// What readers may keep of that.
  [[nodiscard]] pin_limit& readers() noexcept { return readers_; }
  [[nodiscard]] const pin_limit& readers() const noexcept { return readers_; }

  /// One store's share changed. The sums wrap as the shares do, and end up right.
  void change(std::size_t bytes_more, std::size_t dirty_more, std::size_t pinned_more) noexcept {
    bytes_.fetch_add(bytes_more, std::memory_order_relaxed);
    dirty_.fetch_add(dirty_more, std::memory_order_relaxed);
    pinned_.fetch_add(pinned_more, std::memory_order_relaxed);
  }

 private:
  std::atomic<std::size_t> bytes_{0};
  std::atomic<std::size_t> dirty_{0};
  std::atomic<std::size_t> pinned_{0};
  pin_limit readers_;
};

/// What one store told a gauge: its share, which goes with it. One thread at a time.
class gauge_share {
 public:
  /// @param gauge or nullptr: then nobody is told
  explicit gauge_share(std::shared_ptr<memory_gauge> gauge) noexcept : gauge_(std::move(gauge)) {}
  gauge_share(const gauge_share&) = delete;
  gauge_share& operator=(const gauge_share&) = delete;
  ~gauge_share() { tell(0, 0, 0); }

  /// So much it is now. Bytes, those of them that are dirty, and those that pins hold.
  void tell(std::size_t bytes, std::size_t dirty_bytes, std::size_t held_bytes) noexcept {
    const std::size_t pinned_bytes = is_retired_ ? bytes : held_bytes;
    if (gauge_ != nullptr) {
      gauge_->change(bytes - bytes_, dirty_bytes - dirty_bytes_, pinned_bytes - pinned_bytes_);
    }
    bytes_ = bytes;
    dirty_bytes_ = dirty_bytes;
    pinned_bytes_ = pinned_bytes;
  }
  /// If so: from the next tell() on all that it has is pinned, for nobody else needs it.
  void retire(bool so) noexcept { is_retired_ = is_retired_ || so; }
  [[nodiscard]] std::size_t pinned_bytes() const noexcept { return pinned_bytes_; }

  /// The limit that the store is under; nullptr: none.
  [[nodiscard]] pin_limit* readers() const noexcept {
    return gauge_ == nullptr ? nullptr : &gauge_->readers();
  }

 private:
  std::shared_ptr<memory_gauge> gauge_;
  std::size_t bytes_ = 0;
  std::size_t dirty_bytes_ = 0;
  std::size_t pinned_bytes_ = 0;
  bool is_retired_ = false;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
