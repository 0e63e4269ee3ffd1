/// @file
/// The states of a replicated transaction, the same on leader and followers, and the frames that
/// wait for its commit.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/detail/codec/snapshot.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Where a transaction stands.
///
///     pending ──> writing ──> written ──> doomed
///        │ │        │ └─┐        ^          ^
///        │ │        │   └> undone│──────────┤
///        │ └────────│────────────┘          │
///        └> undone  └───────────────────────┘
enum class transaction_state : std::uint8_t {
  pending,  ///< known, without a frame
  writing,  ///< frames are staged, its commit has not come
  written,  ///< committed
  undone,   ///< taken back: nothing of it will ever be visible
  doomed,   ///< this replica failed to carry it out
};

[[nodiscard]] constexpr std::string_view name_of(transaction_state state) noexcept {
  switch (state) {
    case transaction_state::pending: return "pending";
    case transaction_state::writing: return "writing";
    case transaction_state::written: return "written";
    case transaction_state::undone: return "undone";
    case transaction_state::doomed: return "doomed";
  }
  return "?";
}

/// The one transition table.
[[nodiscard]] constexpr bool may_become(transaction_state from, transaction_state to) noexcept {
  using enum transaction_state;
  switch (from) {
    case pending: return to == writing || to == written || to == undone;
    case writing: return to == writing || to == written || to == undone || to == doomed;
    case written:
    case undone: return to == doomed;
    case doomed: return false;
  }
  return false;
}

/// One transaction that spans several entries. Lane only.
class transaction {
 public:
  /// One entry that waits for the commit: the very bytes, so that a snapshot can carry them on.
  using part = std::shared_ptr<const bytes>;

  explicit transaction(transaction_id id, log_index first = {}) noexcept : id_(id), first_(first) {}

  [[nodiscard]] transaction_id id() const noexcept { return id_; }
  [[nodiscard]] transaction_state state() const noexcept { return state_; }
  /// The entry that began it: replay after a restart must not start later. 0: it came with a
  /// snapshot.
  [[nodiscard]] log_index first_entry() const noexcept { return first_; }
  [[nodiscard]] const std::vector<part>& parts() const noexcept { return parts_; }
  [[nodiscard]] std::uint64_t staged_bytes() const noexcept { return staged_bytes_; }

  /// Moves on. @returns false, with `why` naming both states, if the table forbids it; the state is
  /// then unchanged
  [[nodiscard]] bool become(transaction_state next, std::string& why) {
    if (!may_become(state_, next)) {
      why = "invalid transition of a transaction from " + std::string(name_of(state_)) + " to " +
            std::string(name_of(next));
      return false;
    }
    state_ = next;
    return true;
  }

  /// The databases it has frames for so far.
  [[nodiscard]] bool touches(std::string_view database) const noexcept {
    return std::find(databases_.begin(), databases_.end(), database) != databases_.end();
  }
  void touch(std::string_view database) {
    if (!touches(database)) {
      databases_.emplace_back(database);
    }
  }

  /// Stages one more entry. @pre state() == writing
  void stage(part entry) {
    QUORLITE_ASSERT(state_ == transaction_state::writing);
    staged_bytes_ += entry->size();
    parts_.push_back(std::move(entry));
  }

 private:
  transaction_id id_;
  log_index first_;
  transaction_state state_ = transaction_state::pending;
  std::uint64_t staged_bytes_ = 0;
  std::vector<part> parts_;
  std::vector<std::string> databases_;
};

/// The transactions that have frames staged. Bounded by limits::staged_transactions,
/// limits::staged_bytes and what a snapshot can carry, alike on every replica. Not synchronised.
class staged_transactions {
 public:
  using map = std::map<transaction_id, transaction>;

  [[nodiscard]] const map& all() const noexcept { return by_id_; }
  [[nodiscard]] transaction* find(transaction_id id) noexcept {
    const auto found = by_id_.find(id);
    return found == by_id_.end() ? nullptr : &found->second;
  }
  [[nodiscard]] std::uint64_t bytes_held() const noexcept {
    std::uint64_t sum = 0;
    for (const auto& [id, one] : by_id_) {
      sum += one.staged_bytes();
    }
    return sum;
  }
  [[nodiscard]] std::size_t entries_held() const noexcept {
    std::size_t sum = 0;
    for (const auto& [id, one] : by_id_) {
      sum += one.parts().size();
    }
    return sum;
  }
  /// @param begins the entry is the first of its transaction
  [[nodiscard]] bool has_room_for(std::size_t entry_bytes, bool begins) const noexcept {
    return by_id_.size() + (begins ? 1 : 0) <= limits::staged_transactions &&
           entries_held() < snapshot_staged_entries &&
           bytes_held() + entry_bytes <= limits::staged_bytes;
  }
  transaction& begin(transaction_id id, log_index first) {
    return by_id_.try_emplace(id, id, first).first->second;
  }
  void drop(transaction_id id) noexcept { by_id_.erase(id); }
  /// Drops whatever else is staged on a database: its leader is gone, for a leader sends one at a
  /// time.
  void drop_others(std::string_view database, transaction_id but) {
    for (auto one = by_id_.begin(); one != by_id_.end();) {
      const bool stale = one->first != but && one->second.touches(database);
      one = stale ? by_id_.erase(one) : std::next(one);
    }
  }
  /// Drops what was begun in older terms: terms never decrease in the log, so no more of it comes.
  void drop_older(term now) noexcept {
    while (!by_id_.empty() && by_id_.begin()->first.term < now) {
      by_id_.erase(by_id_.begin());
    }
  }
  /// True if frames came with a snapshot, so that no replay of the log would bring them again.
  [[nodiscard]] bool any_from_snapshot() const noexcept {
    return std::any_of(by_id_.begin(), by_id_.end(), [](const auto& named) {
      return named.second.first_entry() == log_index{0};
    });
  }
  /// Everything that is staged begins after this entry. `applied` if nothing is staged.
  [[nodiscard]] log_index replay_from(log_index applied) const noexcept {
    log_index from = applied;
    for (const auto& [id, one] : by_id_) {
      if (one.first_entry().value <= from.value) {
        from = log_index{one.first_entry().value == 0 ? 0 : one.first_entry().value - 1};
      }
    }
    return from;
  }

 private:
  map by_id_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
