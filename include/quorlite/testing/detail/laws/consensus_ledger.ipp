/// @file
/// Bodies of consensus_ledger.
#pragma once

#include "quorlite/testing/detail/laws/consensus_ledger.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/laws/conformance_report.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL proposal_token consensus_ledger::begin(std::size_t server, quorlite::term expected,
                                                     std::size_t size, bool barrier) {
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

QUORLITE_DECL void consensus_ledger::returned() {
  const std::lock_guard guard(mutex_);
  --under_way_;
}

QUORLITE_DECL bytes consensus_ledger::payload_of(proposal_token token) const {
  const std::lock_guard guard(mutex_);
  return proposals_.at(token.value).payload;
}

QUORLITE_DECL void consensus_ledger::settle(std::size_t server, proposal_token token,
                                            settlement answer, log_index applied) {
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

QUORLITE_DECL void consensus_ledger::apply(const log_entry& entry) {
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

QUORLITE_DECL void consensus_ledger::skip(log_index from, log_index upto) {
  const std::lock_guard guard(mutex_);
  const auto next = entries_.upper_bound(from.value);
  if (next != entries_.end() && next->first <= upto.value) {
    broken("A6", "a skip passed the entry at index " + std::to_string(next->first));
  }
}

QUORLITE_DECL void consensus_ledger::gain(std::size_t server, quorlite::term term) {
  const std::lock_guard guard(mutex_);
  const auto [known, fresh] = leaders_.try_emplace(term.value, server);
  const std::string gained = "term " + std::to_string(term.value) + " was announced as gained ";
  const std::string who = "server " + std::to_string(server);
  std::uint64_t& highest = gained_[server];
  if (term.value < highest) {
    broken("L2", gained + "by " + who + ", which had gained term " + std::to_string(highest));
  }
  highest = std::max(highest, term.value);
  if (fresh) {
    return;
  }
  if (known->second == server) {
    broken("L2", gained + "twice, by " + who + "; a term that was led in before a restart counts");
  } else {
    broken("L4", gained + "by server " + std::to_string(known->second) + " and by " + who);
  }
}

QUORLITE_DECL void consensus_ledger::loss(std::size_t server, quorlite::term term) {
  const std::lock_guard guard(mutex_);
  lost_.emplace(server, term.value);
}

QUORLITE_DECL log_index consensus_ledger::last_index_below(quorlite::term term) const {
  const std::lock_guard guard(mutex_);
  log_index last;
  for (const auto& [index, entry] : entries_) {
    last = entry_terms_ && entry.term < term ? log_index{index} : last;
  }
  return last;
}

QUORLITE_DECL recorded_proposal consensus_ledger::proposal(proposal_token token) const {
  const std::lock_guard guard(mutex_);
  return proposals_.at(token.value);
}

QUORLITE_DECL bool consensus_ledger::settled(proposal_token token) const {
  const std::lock_guard guard(mutex_);
  return proposals_.at(token.value).answer.has_value();
}

QUORLITE_DECL std::vector<proposal_token> consensus_ledger::unsettled() const {
  const std::lock_guard guard(mutex_);
  std::vector<proposal_token> tokens;
  for (const auto& [token, proposal] : proposals_) {
    if (!proposal.answer) {
      tokens.emplace_back(token);
    }
  }
  return tokens;
}

QUORLITE_DECL void consensus_ledger::forget_server(std::size_t server) {
  const std::lock_guard guard(mutex_);
  for (auto& [token, proposal] : proposals_) {
    if (proposal.server == server && !proposal.answer) {
      proposal.answer = settlement{outcome::unknown, settle_reason::stopped};
    }
  }
}

QUORLITE_DECL std::size_t consensus_ledger::check_committed() {
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

QUORLITE_DECL std::map<std::uint64_t, recorded_entry> consensus_ledger::entries() const {
  const std::lock_guard guard(mutex_);
  return entries_;
}

QUORLITE_DECL log_index consensus_ledger::last_index() const {
  const std::lock_guard guard(mutex_);
  return log_index{entries_.empty() ? 0 : entries_.rbegin()->first};
}

QUORLITE_DECL bool consensus_ledger::has_between(log_index after, log_index before) const {
  const std::lock_guard guard(mutex_);
  const auto next = entries_.upper_bound(after.value);
  return next != entries_.end() && next->first < before.value;
}

QUORLITE_DECL std::size_t consensus_ledger::leader_count() const {
  const std::lock_guard guard(mutex_);
  return leaders_.size();
}

QUORLITE_DECL void consensus_ledger::barriers_count_for(std::string_view law) {
  const std::lock_guard guard(mutex_);
  barrier_law_ = law;
}

QUORLITE_DECL void consensus_ledger::fault(std::string_view law, std::string_view sentence) {
  const std::lock_guard guard(mutex_);
  broken(law, sentence);
}

QUORLITE_DECL void consensus_ledger::drain(conformance_report& report) {
  const std::lock_guard guard(mutex_);
  for (const auto& [law, sentence] : faults_) {
    report.fail(law, sentence);
  }
  faults_.clear();
}

QUORLITE_DECL void consensus_ledger::recognise(const log_entry& entry) {
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

QUORLITE_DECL void consensus_ledger::check_order(std::uint64_t token,
                                                 const recorded_proposal& proposal) {
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

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
