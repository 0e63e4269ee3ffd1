/// @file
/// What really happened in a cluster under examination: every proposal, every answer, every entry,
/// from all servers. Most laws speak of more than one server; they are checked here, at the moment
/// they are broken.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/laws/conformance_report.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// How an adapter answered a proposal.
struct settlement {
  outcome how = outcome::unknown;
  settle_reason why = settle_reason::none;
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
class QUORLITE_API consensus_ledger {
 public:
  /// @param entry_terms what the adapter declares: terms in entries mean something
  explicit consensus_ledger(bool entry_terms) : entry_terms_(entry_terms) {}
  consensus_ledger(const consensus_ledger&) = delete;
  consensus_ledger& operator=(const consensus_ledger&) = delete;

  /// Prepares a proposal. @param size of the payload; at least 8 to be recognised
  [[nodiscard]] proposal_token begin(std::size_t server, quorlite::term expected, std::size_t size,
                                     bool barrier = false);
  /// propose() returned.
  void returned();
  [[nodiscard]] bytes payload_of(proposal_token token) const;

  /// P1, P3, P12, B1: an answer has come to server `server`, whose machine stands at `applied`.
  void settle(std::size_t server, proposal_token token, settlement answer, log_index applied);

  /// A2, P3, P4, P5, P7, P2: server `server` applies an entry for the first time.
  void apply(const log_entry& entry);

  /// A6: entries up to `upto` hold nothing; every entry applied by anyone in (from, upto] would be
  /// lost.
  void skip(log_index from, log_index upto);

  /// L2, L4: leadership was announced.
  void gain(std::size_t server, quorlite::term term);

  void loss(std::size_t server, quorlite::term term);
  /// L1: the highest index that any server applied of a term below `term`. 0 where terms are not
  /// told.
  [[nodiscard]] log_index last_index_below(quorlite::term term) const;

  /// Reads one proposal. @returns a copy
  [[nodiscard]] recorded_proposal proposal(proposal_token token) const;
  [[nodiscard]] bool settled(proposal_token token) const;
  /// Tokens that were never settled.
  [[nodiscard]] std::vector<proposal_token> unsettled() const;
  /// Settles on behalf of a server that crashed: nobody will answer these.
  void forget_server(std::size_t server);
  /// P2, at the end: everything settled committed was applied. @returns how many proposals were
  /// committed
  std::size_t check_committed();
  /// Everything that any server applied, by index.
  [[nodiscard]] std::map<std::uint64_t, recorded_entry> entries() const;
  [[nodiscard]] log_index last_index() const;
  /// True if some server applied an entry between these two.
  [[nodiscard]] bool has_between(log_index after, log_index before) const;
  [[nodiscard]] std::size_t leader_count() const;

  /// Which law a lying barrier breaks from now on: "B1", or "B2" once its server may have been
  /// deposed.
  void barriers_count_for(std::string_view law);

  /// Notes a broken law. Any thread.
  void fault(std::string_view law, std::string_view sentence);
  /// Moves what was noted into the report, once per law and sentence.
  void drain(conformance_report& report);

 private:
  void broken(std::string_view law, std::string_view sentence) {
    faults_.emplace(std::string(law), std::string(sentence));
  }

  void recognise(const log_entry& entry);

  void check_order(std::uint64_t token, const recorded_proposal& proposal);

  mutable std::mutex mutex_;
  const bool entry_terms_;
  std::string barrier_law_ = "B1";
  std::uint64_t tokens_ = 0;
  int under_way_ = 0;
  std::map<std::uint64_t, recorded_proposal> proposals_;
  std::map<std::uint64_t, recorded_entry> entries_;
  std::map<std::uint64_t, std::size_t> leaders_;          // by term
  std::map<std::size_t, std::uint64_t> gained_;           // by server: its highest term
  std::set<std::pair<std::size_t, std::uint64_t>> lost_;  // server and term
  std::set<std::pair<std::string, std::string>> faults_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/laws/consensus_ledger.ipp"  // IWYU pragma: keep
#endif
