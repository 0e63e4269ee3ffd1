/// @file
/// The states of a replicated transaction, the same on leader and followers, and the frames that
/// wait for its commit.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Where a transaction stands.
///
///     pending ──> writing ──> written ──> failed
///        │ │        │ └─┐        ^          ^
///        │ │        │   └> undone│──────────┤
///        │ └────────│────────────┘          │
///        └> undone  └───────────────────────┘
enum class transaction_state : std::uint8_t {
  pending,  ///< known, without a frame
  writing,  ///< frames are staged, its commit has not come
  written,  ///< committed
  undone,   ///< taken back: nothing of it will ever be visible
  failed,   ///< this replica failed to carry it out
};

[[nodiscard]] constexpr std::string_view name_of(transaction_state state) noexcept {
  switch (state) {
    case transaction_state::pending: return "pending";
    case transaction_state::writing: return "writing";
    case transaction_state::written: return "written";
    case transaction_state::undone: return "undone";
    case transaction_state::failed: return "failed";
  }
  return "?";
}

/// The one transition table.
[[nodiscard]] constexpr bool may_become(transaction_state from, transaction_state to) noexcept {
  using enum transaction_state;
  switch (from) {
    case pending: return to == writing || to == written || to == undone;
    case writing: return to == writing || to == written || to == undone || to == failed;
    case written:
    case undone: return to == failed;
    case failed: return false;
  }
  return false;
}

/// One transaction that spans several entries. Strand only.
class transaction {
 public:
  /// One entry that waits for the commit: the very bytes, so that a snapshot can carry them on.
  using part = std::shared_ptr<const bytes>;

  explicit transaction(transaction_id id, log_index first = {},
                       const history_hash& before = {}) noexcept
      : id_(id), first_(first), before_(before) {}

  [[nodiscard]] transaction_id id() const noexcept { return id_; }
  [[nodiscard]] transaction_state state() const noexcept { return state_; }
  /// The entry that began it: replay after a restart must not start later. 0: it came with a
  /// snapshot.
  [[nodiscard]] log_index first_entry() const noexcept { return first_; }
  /// The history that ended before that entry.
  [[nodiscard]] const history_hash& history_before() const noexcept { return before_; }
  [[nodiscard]] const std::vector<part>& parts() const noexcept { return parts_; }
  [[nodiscard]] std::uint64_t staged_bytes() const noexcept { return staged_bytes_; }

  /// Moves on. @returns false, with `why` naming both states, if the table forbids it; the state is
  /// then unchanged
  [[nodiscard]] bool become(transaction_state next, std::string& why);

  /// The databases it has frames for so far.
  [[nodiscard]] bool touches(std::string_view database) const noexcept {
    return std::find(databases_.begin(), databases_.end(), database) != databases_.end();
  }
  void touch(std::string_view database);

  /// Stages one more entry. @pre state() == writing
  void stage(part entry);

 private:
  transaction_id id_;
  log_index first_;
  history_hash before_;
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
  [[nodiscard]] transaction* find(transaction_id id) noexcept;
  [[nodiscard]] std::uint64_t bytes_held() const noexcept;
  [[nodiscard]] std::size_t entries_held() const noexcept;
  /// @param begins the entry is the first of its transaction
  [[nodiscard]] bool has_room_for(std::size_t entry_bytes, bool begins) const noexcept;
  transaction& begin(transaction_id id, log_index first, const history_hash& before = {}) {
    return by_id_.try_emplace(id, id, first, before).first->second;
  }
  void drop_all() noexcept { by_id_.clear(); }
  void drop(transaction_id id) noexcept { by_id_.erase(id); }
  /// Drops whatever else is staged on a database: its leader is gone, for a leader sends one at a
  /// time.
  void drop_others(std::string_view database, transaction_id but);
  /// Drops what was begun in older terms: terms never decrease in the log, so no more of it comes.
  void drop_older(term now) noexcept;
  /// True if frames came with a snapshot, so that no replay of the log would bring them again.
  [[nodiscard]] bool any_from_snapshot() const noexcept;
  /// Everything that is staged begins after this entry. `applied` if nothing is staged.
  [[nodiscard]] history_position replay_from(history_position applied) const noexcept;

 private:
  map by_id_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/machine/transaction.ipp"  // IWYU pragma: keep
#endif
