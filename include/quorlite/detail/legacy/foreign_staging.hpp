/// @file
/// Frames of a foreign format that wait for their commit.
///
/// That format's ids are unique per database at best, and grow there; an undo names no database.
/// So there is at most one transaction a database, found by the database's name:
///
/// | next in the log, on a database where {id} waits | outcome |
/// |--------------------------------------------------|---------|
/// | frames of the same id       | added; or committed, all together |
/// | frames of a larger id       | what waits is dropped: its leader is gone |
/// | frames of a smaller id      | refused; what waits stays |
/// | frames that are refused     | the transaction is doomed: no later part of it may commit alone
/// | | undo of that id             | dropped; but refused if two databases have the same id waiting
/// | | undo of another id          | nothing | | a native transaction, a drop of the database |
/// dropped |
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/codec/entry_codec.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/detail/machine/transaction.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// One foreign transaction without its commit.
struct staged_foreign {
  transaction_id id;
  log_index first;                       ///< the entry that began it; 0: it came with a snapshot
  bool doomed = false;                   ///< nothing of it can be committed any more
  std::vector<transaction::part> parts;  ///< entries, as they stood in the log
  std::vector<foreign_frames> frames;    ///< the same, decoded: views into the parts
};

/// Lane only. What it answers depends on the log alone.
class foreign_staging {
 public:
  using map = std::map<std::string, staged_foreign, std::less<>>;

  [[nodiscard]] const map& all() const noexcept { return by_name_; }
  [[nodiscard]] const staged_foreign* find(std::string_view name) const noexcept {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : &found->second;
  }

  /// Whether the table above lets these frames go on. An abandoned transaction is dropped.
  /// @returns errc::malformed: refuse() them
  [[nodiscard]] std::error_code admit(const foreign_frames& next) {
    const auto found = by_name_.find(next.name);
    if (found == by_name_.end()) {
      return {};
    }
    const staged_foreign& waiting = found->second;
    if (waiting.id < next.id) {
      by_name_.erase(found);
      return {};
    }
    const bool fits = waiting.id == next.id && !waiting.doomed &&
                      waiting.frames.front().page_size == next.page_size;
    return fits ? std::error_code{} : make_error_code(errc::malformed);
  }

  /// Adds frames. @pre admit() had nothing against them; their views point into `entry`
  void stage(transaction::part entry, foreign_frames frames, log_index at) {
    const std::string_view name = frames.name;
    auto found = by_name_.find(name);
    if (found == by_name_.end()) {
      found =
          by_name_.emplace(std::string(name), staged_foreign{frames.id, at, false, {}, {}}).first;
    }
    found->second.parts.push_back(std::move(entry));
    found->second.frames.push_back(std::move(frames));
  }

  /// Frames that were not taken, for whatever reason.
  void refuse(const foreign_frames& refused, log_index at) {
    const auto found = by_name_.find(refused.name);
    if (found != by_name_.end() && found->second.id != refused.id) {
      return;
    }
    if (refused.commit) {
      drop(refused.name);
    } else {
      doom({refused.id, refused.name}, found == by_name_.end() ? at : found->second.first);
    }
  }
  void doom(const foreign_mark& which, log_index first) {
    by_name_.insert_or_assign(std::string(which.name),
                              staged_foreign{which.id, first, true, {}, {}});
  }

  void drop(std::string_view name) {
    if (const auto found = by_name_.find(name); found != by_name_.end()) {
      by_name_.erase(found);
    }
  }

  /// @returns errc::malformed: it could be that of one database or of another; nothing is dropped
  [[nodiscard]] std::error_code undo(transaction_id target) {
    auto named = by_name_.end();
    for (auto one = by_name_.begin(); one != by_name_.end(); ++one) {
      if (one->second.id == target) {
        if (named != by_name_.end()) {
          return make_error_code(errc::malformed);
        }
        named = one;
      }
    }
    if (named != by_name_.end()) {
      by_name_.erase(named);
    }
    return {};
  }

  [[nodiscard]] std::uint64_t bytes_held() const noexcept {
    std::uint64_t sum = 0;
    for (const auto& [name, one] : by_name_) {
      for (const transaction::part& entry : one.parts) {
        sum += entry->size();
      }
    }
    return sum;
  }
  /// As many as a snapshot carries for them.
  [[nodiscard]] std::size_t entries_held() const noexcept {
    std::size_t sum = 0;
    for (const auto& [name, one] : by_name_) {
      sum += one.doomed ? 1 : one.parts.size();
    }
    return sum;
  }
  [[nodiscard]] bool any_from_snapshot() const noexcept {
    return std::any_of(by_name_.begin(), by_name_.end(),
                       [](const auto& named) { return named.second.first == log_index{0}; });
  }
  /// See staged_transactions::replay_from().
  [[nodiscard]] log_index replay_from(log_index applied) const noexcept {
    log_index from = applied;
    for (const auto& [name, one] : by_name_) {
      if (one.first <= from) {
        from = log_index{one.first.value == 0 ? 0 : one.first.value - 1};
      }
    }
    return from;
  }

 private:
  map by_name_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
