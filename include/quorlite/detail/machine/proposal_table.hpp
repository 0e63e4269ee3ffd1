/// @file
/// Transactions of this replica that wait for their answer.
///
/// Rules (R1–R8): an applied entry with the id answers `applied` or `conflict` (R1); bad news of
/// the engine answers (R2, R3); good news does not, the apply will (R4); a lost office makes what
/// is left of its term `unknown` (R5); an unknown turns into `not_applied` once an entry of a later
/// term was applied without it (R6); a waiter whose limit passed leaves with `unknown` while the
/// row stays (R7); an installed snapshot answers by its outcomes (R8). A row is answered once.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/detail/pages/registry.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// What became of a proposal, as far as this replica knows.
enum class answer : std::uint8_t {
  waiting,      ///< nothing is known yet
  applied,      ///< committed by a quorum and applied here
  conflict,     ///< in the log, refused by every replica: its base was not the committed state
  not_applied,  ///< it never will be in the log
  unknown,      ///< it may be in the log now or later
};

/// One database's share in a proposal: the version on the tip that the commit will make true.
struct tip_claim {
  std::shared_ptr<database> target;
  std::shared_ptr<page_store> store;
  epoch_number epoch;
  version_number version;
  std::uint64_t hash = 0;  ///< of the database at that version
};

/// One transaction on its way. Shared by the waiter and the table; fields belong to the machine's
/// mutex, but for `signal`, which may be waited for without.
template <raisable_signal Signal>
struct proposal {
  transaction_id id;
  std::vector<tip_claim> claims;
  bool barrier = false;  ///< a read barrier: the engine's good news is its answer
  bool until_certain =
      false;  ///< the waiter would rather wait than be told `unknown` by a lost office
  bool handed_over = false;  ///< propose() has returned for every entry
  bool lost = false;         ///< its office is gone
  detail::answer answer = answer::waiting;
  reason why = reason::none;
  log_position at;  ///< of the commit, once applied
  Signal signal;
};

/// The rows. Not synchronised: the machine's mutex guards it.
template <raisable_signal Signal>
class proposal_table {
 public:
  using row = std::shared_ptr<proposal<Signal>>;

  /// A row for a transaction of `entries` entries. Their tokens are consecutive from the returned
  /// one.
  proposal_token add(const row& added, std::uint32_t entries) {
    const proposal_token first{next_token_};
    for (std::uint32_t i = 0; i < entries; ++i) {
      by_token_.emplace(next_token_++, added);
    }
    by_id_.emplace(added->id, added);
    return first;
  }

  /// A row for a read barrier: it has no entry, so no id.
  proposal_token add_barrier(const row& added) {
    added->barrier = true;
    by_token_.emplace(next_token_, added);
    return proposal_token{next_token_++};
  }

  [[nodiscard]] row find(transaction_id id) const {
    const auto found = by_id_.find(id);
    return found == by_id_.end() ? nullptr : found->second;
  }

  /// Takes a token out: every propose() is settled once. Nothing: settled before, or not ours.
  [[nodiscard]] row take(proposal_token token) {
    const auto found = by_token_.find(token.value);
    if (found == by_token_.end()) {
      return nullptr;
    }
    row taken = found->second;
    by_token_.erase(found);
    return taken;
  }

  /// Answers a row, unless it has its answer, and lets its waiter go.
  void answer(const row& one, detail::answer what, reason why, log_position at = {}) {
    if (by_id_.erase(one->id) != 0 && one->lost) {
      --lost_;
    }
    if (one->answer == detail::answer::waiting) {
      one->answer = what;
      one->why = why;
      one->at = at;
    }
    one->signal.raise();
  }

  /// R5. Rows still inside propose() wait for what it says; handed_over() looks again.
  void lose_office(term gone) {
    for (const row& one : rows()) {
      if (one->id.term.value > gone.value || one->lost) {
        continue;
      }
      lose(one);
      if (one->handed_over) {
        answer_lost(one, reason::leadership_lost);
      }
    }
  }

  /// R3. Of a row still inside propose() a later part may be refused, which is certain: it waits.
  void doubt(const row& one, reason why) {
    lose(one);
    one->why = why;
    if (one->handed_over) {
      answer_lost(one, why);
    }
  }

  /// propose() has returned for every entry of the row.
  void hand_over(const row& one) {
    one->handed_over = true;
    if (one->lost && by_id_.count(one->id) != 0) {
      answer_lost(one, one->why == reason::none ? reason::leadership_lost : one->why);
    }
  }

  /// R6: an entry of `now` was applied, so whatever is lost from an older term, now or later, will
  /// never be. Call it after the entry's own row was answered.
  void overtake(term now) {
    if (now <= overtaken_ || lost_ == 0) {
      overtaken_ = overtaken_ < now ? now : overtaken_;
      return;
    }
    overtaken_ = now;
    for (const row& one : rows()) {
      if (one->lost && one->id.term < now) {
        answer(one, detail::answer::not_applied, reason::leadership_lost);
      }
    }
  }

  /// Every row, for rules that look at all (R8, stop). A copy: answering changes the table.
  [[nodiscard]] std::vector<row> rows() const {
    std::vector<row> all;
    all.reserve(by_id_.size());
    for (const auto& [id, one] : by_id_) {
      all.push_back(one);
    }
    return all;
  }

 private:
  void lose(const row& one) {
    lost_ += one->lost ? 0 : 1;
    one->lost = true;
  }
  void answer_lost(const row& one, reason why) {
    if (one->id.term < overtaken_) {
      answer(one, detail::answer::not_applied, why);
    } else if (!one->until_certain) {
      answer(one, detail::answer::unknown, why);
    }
  }

  std::uint64_t next_token_ = 1;
  term overtaken_;  ///< the latest term of which something was applied, where terms are told
  std::uint64_t lost_ = 0;  ///< rows that lost their office and are still here
  std::unordered_map<std::uint64_t, row> by_token_;
  std::map<transaction_id, row>
      by_id_;  ///< ordered, so that everything happens in one order everywhere
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
