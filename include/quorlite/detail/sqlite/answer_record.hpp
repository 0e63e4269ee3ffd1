/// @file
/// What a file handle remembers of its last answers, for people who ask why.
#pragma once

#include <cstdint>
#include <string>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/detail/sqlite/vfs_core.hpp"
#include "quorlite/detail/commit/vfs_host.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// One thread.
class answer_record {
 public:
  explicit answer_record(vfs_core& core) noexcept : core_(core) {}

  /// Why the last write failed; none if it did not.
  [[nodiscard]] std::error_code error() const noexcept { return error_; }
  /// When, in the order of the VFS; 0: nothing ever failed.
  [[nodiscard]] std::uint64_t event() const noexcept { return event_; }
  /// What was proposed last; {0, 0}: nothing.
  [[nodiscard]] transaction_id transaction() const noexcept { return transaction_; }

  /// A sentence about the last failure; empty if there is none.
  [[nodiscard]] std::string text() const {
    if (!text_.empty()) {
      return text_;
    }
    return error_ ? core_.host.explain(error_) : std::string{};
  }

  /// @param text what to say in place of the host's words
  void failed(std::error_code error, std::string text = {}) noexcept {
    error_ = error;
    text_ = std::move(text);
    event_ = core_.next_event();
  }
  void proposed(transaction_id id) noexcept {
    if (id != transaction_id{}) {
      transaction_ = id;
    }
  }
  void committed() noexcept {
    error_ = {};
    text_.clear();
  }

 private:
  vfs_core& core_;
  std::error_code error_;
  std::string text_;
  transaction_id transaction_;
  std::uint64_t event_ = 0;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
