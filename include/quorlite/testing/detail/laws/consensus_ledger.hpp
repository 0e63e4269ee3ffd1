/// @file
/// What really happened in a cluster under examination: every proposal, every answer, every entry,
/// from all servers. Most laws speak of more than one server; they are checked here, at the moment
/// they are broken.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/laws/conformance_report.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

/// How an adapter answered a proposal.
struct settlement {
  outcome how = outcome::unknown;
  reason why = reason::none;
};

/// One call of propose(), or of read_barrier().
struct recorded_proposal {
  std::size_t server = 0;
  quorlite::term expected;
  bytes payload;
  bool barrier = false;
  bool after_loss = false;  ///< issued after this server announced the loss of that term
  bool overlapped = false;  ///< issued while another call was under way: its order is free
  std::uint64_t floor = 0;  ///< the highest index known to be committed when it was issued
  std::optional<settlement> answer;
  log_position applied_at;  ///< index 0: nowhere yet
};

/// One entry, as some server applied it first.
struct recorded_entry {
  quorlite::term term;
  bytes payload;
  friend bool operator==(const recorded_entry&, const recorded_entry&) = default;
};

/// Shared by all machines of one cluster. Any thread.
///
/// A payload names its proposal: it begins with the token, eight bytes, lowest first. Payloads too
/// short for that, or made by somebody else, are only compared between servers.
class consensus_ledger {
 public:
  /// @param entry_terms what the adapter declares: terms in entries mean something
  explicit consensus_ledger(bool entry_terms) : entry_terms_(entry_terms) {}
  consensus_ledger(const consensus_ledger&) = delete;
  consensus_ledger& operator=(const consensus_ledger&) = delete;

  /// Prepares a proposal. @param size of the payload; at least 8 to be recognised
  [[nodiscard]] proposal_token begin(std::size_t server, quorlite::term expected, std::size_t size,
                                     bool barrier = false) {
    const std::lock_guard guard(mutex_);
    const proposal_token token{++tokens_};
    recorded_proposal& proposal = proposals_[token.value];
    proposal.server = server;
    proposal.expected = expected;
    proposal.barrier = barrier;
    proposal.payload.resize(size);
    std::uint64_t state = token.value;
    for (std::byte& place : proposal.payload) {
      state = state * 6364136223846793005ULL + 1442695040888963407ULL;
      place = static_cast<std::byte>(state >> 56U);
    }
    for (std::size_t i = 0; i < std::min<std::size_t>(size, 8); ++i) {
      proposal.payload[i] = static_cast<std::byte>(token.value >> (8 * i));
    }
    proposal.floor = entries_.empty() ? 0 : entries_.rbegin()->first;
    proposal.overlapped = under_way_++ > 0;
    proposal.after_loss = lost_.contains({server, expected.value});
    return token;
  }
  /// propose() returned.
  void returned() {
    const std::lock_guard guard(mutex_);
    --under_way_;
  }
  [[nodiscard]] bytes payload_of(proposal_token token) const {
    const std::lock_guard guard(mutex_);
    return proposals_.at(token.value).payload;
  }

  /// P1, P3, P12, B1: an answer has come to server `server`, whose machine stands at `applied`.
  void settle(std::size_t server, proposal_token token, settlement answer, log_index applied) {
    const std::lock_guard guard(mutex_);
    const auto found = proposals_.find(token.value);
    if (found == proposals_.end() || found->second.server != server) {
      broken("P1", "a token was settled that was not proposed on this server");
      return;
    }
    recorded_proposal& proposal = found->second;
    if (proposal.answer) {
      broken("P1", "a proposal was settled twice");
      return;
    }
    proposal.answer = answer;
    if (answer.how == outcome::not_applied && proposal.applied_at.index.value != 0) {
      broken("P3", "a proposal was settled not_applied after it was applied");
    }
    if (proposal.barrier && answer.how == outcome::committed && applied.value < proposal.floor) {
      broken(barrier_law_,
             "a barrier was settled committed before entries committed earlier were applied");
    }
  }

  /// A2, P3, P4, P5, P7, P2: server `server` applies an entry for the first time.
  void apply(const log_entry& entry) {
    const std::lock_guard guard(mutex_);
    recorded_entry seen{entry_terms_ ? entry.at.term : term{},
                        bytes(entry.bytes.begin(), entry.bytes.end())};
    const auto [known, fresh] = entries_.try_emplace(entry.at.index.value, seen);
    if (!fresh) {
      if (known->second != seen) {
        broken("A2",
               "two servers applied different entries at index " + std::to_string(known->first));
      }
      return;
    }
    recognise(entry);
  }

  /// A6: entries up to `upto` hold nothing; every entry applied by anyone in (from, upto] would be
  /// lost.
  void skip(log_index from, log_index upto) {
    const std::lock_guard guard(mutex_);
    const auto next = entries_.upper_bound(from.value);
    if (next != entries_.end() && next->first <= upto.value) {
      broken("A6", "a skip passed the entry at index " + std::to_string(next->first));
    }
  }

  /// L2, L4: an office was announced.
  void gain(std::size_t server, quorlite::term term) {
    const std::lock_guard guard(mutex_);
    if (const auto [known, fresh] = leaders_.try_emplace(term.value, server); !fresh) {
      broken(known->second == server ? "L2" : "L4",
             "term " + std::to_string(term.value) + " was announced as gained twice");
    }
  }

  void loss(std::size_t server, quorlite::term term) {
    const std::lock_guard guard(mutex_);
    lost_.emplace(server, term.value);
  }
  /// L1: the highest index that any server applied of a term below `term`. 0 where terms are not
  /// told.
  [[nodiscard]] log_index last_index_below(quorlite::term term) const {
    const std::lock_guard guard(mutex_);
    log_index last;
    for (const auto& [index, entry] : entries_) {
      last = entry_terms_ && entry.term < term ? log_index{index} : last;
    }
    return last;
  }

  /// Reads one proposal. @returns a copy
  [[nodiscard]] recorded_proposal proposal(proposal_token token) const {
    const std::lock_guard guard(mutex_);
    return proposals_.at(token.value);
  }
  [[nodiscard]] bool settled(proposal_token token) const {
    const std::lock_guard guard(mutex_);
    return proposals_.at(token.value).answer.has_value();
  }
  /// Tokens that were never settled.
  [[nodiscard]] std::vector<proposal_token> unsettled() const {
    const std::lock_guard guard(mutex_);
    std::vector<proposal_token> tokens;
    for (const auto& [token, proposal] : proposals_) {
      if (!proposal.answer) {
        tokens.push_back(proposal_token{token});
      }
    }
    return tokens;
  }
  /// Settles on behalf of a server that crashed: nobody will answer these.
  void forget_server(std::size_t server) {
    const std::lock_guard guard(mutex_);
    for (auto& [token, proposal] : proposals_) {
      if (proposal.server == server && !proposal.answer) {
        proposal.answer = settlement{outcome::unknown, reason::stopped};
      }
    }
  }
  /// P2, at the end: everything settled committed was applied. @returns how many proposals were
  /// committed
  std::size_t check_committed() {
    const std::lock_guard guard(mutex_);
    std::size_t count = 0;
    for (const auto& [token, proposal] : proposals_) {
      const bool committed = proposal.answer && proposal.answer->how == outcome::committed;
      if (committed && !proposal.barrier && proposal.payload.size() >= 8) {
        ++count;
        if (proposal.applied_at.index.value == 0) {
          broken("P2", "a proposal settled committed was applied nowhere");
        }
      }
    }
    return count;
  }
  /// Everything that any server applied, by index.
  [[nodiscard]] std::map<std::uint64_t, recorded_entry> entries() const {
    const std::lock_guard guard(mutex_);
    return entries_;
  }
  [[nodiscard]] log_index last_index() const {
    const std::lock_guard guard(mutex_);
    return log_index{entries_.empty() ? 0 : entries_.rbegin()->first};
  }
  [[nodiscard]] std::size_t leader_count() const {
    const std::lock_guard guard(mutex_);
    return leaders_.size();
  }

  /// Which law a lying barrier breaks from now on: "B1", or "B2" once its server may have been
  /// deposed.
  void barriers_count_for(std::string_view law) {
    const std::lock_guard guard(mutex_);
    barrier_law_ = law;
  }

  /// Notes a broken law. Any thread.
  void fault(std::string_view law, std::string_view sentence) {
    const std::lock_guard guard(mutex_);
    broken(law, sentence);
  }
  /// Moves what was noted into the report, once per law and sentence.
  void drain(conformance_report& report) {
    const std::lock_guard guard(mutex_);
    for (const auto& [law, sentence] : faults_) {
      report.fail(law, sentence);
    }
    faults_.clear();
  }

 private:
  void broken(std::string_view law, std::string_view sentence) {
    faults_.emplace(std::string(law), std::string(sentence));
  }

  void recognise(const log_entry& entry) {
    std::uint64_t token = 0;
    for (std::size_t i = 0; i < 8 && entry.bytes.size() >= 8; ++i) {
      token |= std::to_integer<std::uint64_t>(entry.bytes[i]) << (8 * i);
    }
    const auto found = proposals_.find(token);
    if (entry.bytes.size() < 8 || token == 0) {
      return;
    }
    if (found == proposals_.end()) {
      broken("P4", "an entry was applied that nobody proposed");
      return;
    }
    recorded_proposal& proposal = found->second;
    if (!std::equal(entry.bytes.begin(), entry.bytes.end(), proposal.payload.begin(),
                    proposal.payload.end())) {
      broken("P4", "an entry was applied with other bytes than were proposed");
      return;
    }
    if (proposal.applied_at.index.value != 0) {
      broken("P2", "a proposal was applied twice");
    }
    if (proposal.after_loss) {
      broken("L5", "a proposal of a lost term, made after the loss, was applied");
    }
    if (entry_terms_ && entry.at.term != proposal.expected) {
      broken("P5", "an entry of term " + std::to_string(entry.at.term.value) +
                       " came from a proposal that expected " +
                       std::to_string(proposal.expected.value));
    }
    if (proposal.answer && proposal.answer->how == outcome::not_applied) {
      broken("P3", "a proposal settled not_applied was applied later");
    }
    proposal.applied_at = entry.at;
    check_order(token, proposal);
  }

  void check_order(std::uint64_t token, const recorded_proposal& proposal) {
    const auto same_line = [&](const recorded_proposal& other) {
      return other.server == proposal.server && other.expected == proposal.expected &&
             !other.overlapped && other.applied_at.index.value != 0;
    };
    for (const auto& [other_token, other] : proposals_) {
      const bool earlier = other_token < token;
      const bool below = other.applied_at.index < proposal.applied_at.index;
      if (other_token != token && !proposal.overlapped && same_line(other) && earlier != below) {
        broken("P7", "of two proposals one after the other, the second has the lower index");
      }
    }
  }

  mutable std::mutex mutex_;
  const bool entry_terms_;
  std::string barrier_law_ = "B1";
  std::uint64_t tokens_ = 0;
  int under_way_ = 0;
  std::map<std::uint64_t, recorded_proposal> proposals_;
  std::map<std::uint64_t, recorded_entry> entries_;
  std::map<std::uint64_t, std::size_t> leaders_;          // by term
  std::set<std::pair<std::size_t, std::uint64_t>> lost_;  // server and term
  std::set<std::pair<std::string, std::string>> faults_;
};

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
