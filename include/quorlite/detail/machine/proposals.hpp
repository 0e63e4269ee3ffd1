/// @file
/// Transactions of this replica that wait for their answer.
///
/// Rules (R1–R8): an applied entry with the id answers `applied` or `conflict` (R1); bad news of
/// the engine answers (R2, R3); good news does not, the apply will (R4); lost leadership makes what
/// is left of its term `unknown` (R5); an unknown turns into `not_applied` once an entry of a later
/// term was applied without it (R6); a waiter whose limit passed leaves with `unknown` while the
/// row stays (R7); an installed snapshot answers by its outcomes (R8). A row is answered once.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/codec/command.hpp"
#include "quorlite/detail/core/consensus_port.hpp"
#include "quorlite/detail/machine/database_write.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/replica_status.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// What became of a proposal, as far as this replica knows.
enum class proposal_state : std::uint8_t {
  waiting,      ///< nothing is known yet
  applied,      ///< committed by a quorum and applied here
  conflict,     ///< in the log, refused by every replica: its base was not the committed state
  not_applied,  ///< it never will be in the log
  unknown,      ///< it may be in the log now or later
};

/// A transaction of several entries whose parts are proposed one after the other, see part_sender.
/// Fields belong to the machine's mutex.
struct parts_under_way {
  std::uint32_t applied = 0;  ///< parts that this replica has staged
  proposal_token newest;      ///< of the part that was proposed last, while more are to follow
  bool refused = false;       ///< the engine had no room for that one
  /// Raised when one of these changes, or the row is answered or lost
  port_signal* news = nullptr;

  void tell() const noexcept {
    if (news != nullptr) {
      news->raise();
    }
  }
};

/// One transaction on its way. Shared by the waiter and the table; fields belong to the machine's
/// mutex, but for `signal`, which may be waited for without.
struct proposal {
  explicit proposal(consensus_port& port) : signal(port) {}

  transaction_id id;
  history_witness witness;             ///< of its entries; index 0: they are of format 1
  std::vector<database_write> writes;  ///< the versions on the heads, once they are installed
  bool barrier = false;                ///< a read barrier: the engine's good news is its answer
  /// The waiter would rather wait than hear `unknown` of lost leadership
  bool wait_until_certain = false;
  bool handed_over = false;  ///< propose() has returned for every entry
  bool lost = false;         ///< its leadership is gone
  parts_under_way parts;     ///< while it is not handed over, and has several entries
  proposal_state state = proposal_state::waiting;
  settle_reason why = settle_reason::none;
  log_position at;  ///< of the commit, once applied
  port_signal signal;
};

/// Leadership of this replica, and the rows that it proposed in it. Not synchronised: the machine's
/// mutex guards it.
class proposal_table {
 public:
  using row = std::shared_ptr<proposal>;

  [[nodiscard]] const quorlite::leader_info& leader() const noexcept { return leader_; }
  /// True if this news ends the leadership that the replica holds.
  [[nodiscard]] bool is_loss(const leadership& now) const noexcept;
  /// Takes the news. A loss makes what is left of its term unknown (R5).
  void change_leadership(const leadership& now);
  /// The replica has halted: every row is answered, and nothing more is proposed.
  void close();
  /// The engine was stopped: the same, and for good.
  void end();
  [[nodiscard]] bool has_ended() const noexcept { return ended_; }
  /// @returns errc::stopped, halted, not_leader, stale_term
  [[nodiscard]] std::error_code may_propose(term expected) const;
  /// Entries that propose() was or will be called with, and that were not settled.
  [[nodiscard]] std::size_t in_flight() const noexcept { return by_token_.size(); }
  /// A fresh name for a transaction. @returns as may_propose()
  [[nodiscard]] result<transaction_id> next_id(term expected);

  /// A row for a transaction of `entries` entries. Their tokens are consecutive from the returned
  /// one. @throws std::bad_alloc, with nothing changed
  proposal_token add(const row& added, std::uint32_t entries);
  /// One more token of a row that is here: a part that was refused is proposed again.
  /// @throws std::bad_alloc, with nothing changed
  proposal_token add_token(const row& added);
  /// Entries that will not be proposed: their tokens are forgotten.
  void forget(proposal_token first, std::uint32_t entries) noexcept;
  /// A row for a read barrier: it has no entry, so no id.
  proposal_token add_barrier(const row& added);

  [[nodiscard]] row find(transaction_id id) const;
  /// Takes a token out: every propose() is settled once. Nothing: settled before, or not ours.
  [[nodiscard]] row take(proposal_token token);

  /// Answers a row, unless it has its answer, and lets its waiter go.
  void answer(const row& answered, proposal_state what, settle_reason why, log_position at = {});
  /// The engine had no room for a part, and no later one was proposed: it is not over.
  /// @returns false: it is, for another reason, or a later part may be in the log without this one
  [[nodiscard]] bool refuse_part(const row& refused, proposal_token which) noexcept;
  /// R3. Of a row still inside propose() a later part may be refused, which is certain: it waits.
  void doubt(const row& doubted, settle_reason why);
  /// propose() has returned for every entry of the row, or will not be called for the rest.
  void hand_over(const row& proposed);
  /// R6: an entry of `now` was applied, so whatever is lost from an older term, now or later, will
  /// never be. Call it after the entry's own row was answered.
  void overtake(term now);

  /// `changed` is raised at the next news of leadership, or the end, until unwatch().
  void watch(port_signal& changed) { watchers_.push_back(&changed); }
  void unwatch(port_signal& changed) noexcept;

  /// Every row, for rules that look at all (R8, stop). A copy: answering changes the table.
  [[nodiscard]] std::vector<row> rows() const;

 private:
  void lose_leadership(term gone);
  void lose(const row& loser);
  void answer_lost(const row& lost, settle_reason why);
  void tell_watchers() noexcept;
  template <class Visit>
  void for_each_row(Visit visit);

  quorlite::leader_info leader_;
  bool closed_ = false;
  bool ended_ = false;
  std::uint64_t next_sequence_ = 1;
  std::uint64_t next_token_ = 1;
  term overtaken_;  ///< the latest term of which something was applied, where terms are told
  std::uint64_t lost_ = 0;  ///< rows whose leadership was lost and that are still here
  std::vector<port_signal*> watchers_;
  std::unordered_map<std::uint64_t, row> by_token_;
  std::map<transaction_id, row> by_id_;  ///< ordered: everything happens in one order everywhere
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/machine/proposals.ipp"  // IWYU pragma: keep
#endif
