/// @file
/// Whether the servers of the test Raft keep what Raft promises, looked at event by event.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/raft/configuration.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

class node_state;
class raft_node;
enum class raft_event : std::uint8_t;

/// The five properties of the Raft paper, figure 3, and six rules that they rest on. Knows the
/// whole cluster and outlives every crash. It only looks: servers behave alike with and without it.
///
/// - election safety: a term has one leader at most
/// - votes: a server has one vote a term, and who is elected has those of a quorum of the
///   configuration in force there
/// - leader append-only: a leader removes nothing from its log, and makes entries of its term only
/// - log matching: entries of one index and one term are one entry, and have one entry before them,
///   hence all of them
/// - leader completeness: who is elected has the newest entry that was committed in an older term
/// - state-machine safety: one entry is committed at an index, whoever commits or applies it;
///   nothing is applied that is not committed, and what is committed is not removed
/// - durability: a sync makes durable what was in the log when it began
/// - snapshot: what is not in a server's log any more is in its snapshot
/// - quorum: a leader commits what a quorum of the configuration in force has on its disks
/// - committed in the current term: it counts for entries of its own term only (paper, 5.4.2)
/// - single-server change: a configuration differs from the one before it by one server, follows a
///   committed one, and is made by a leader that has committed an entry of its term; a server goes
///   by the newest in its log, and a snapshot has that of its position (thesis, 4)
///
/// An event costs a look into a map, and for `counted` one at each voter. What it remembers grows
/// by some ten words for each entry that there ever was.
class safety_checker {
 public:
  /// @param nodes servers 1 …, outlive this
  safety_checker(const std::deque<raft_node>& nodes, configuration first)
      : nodes_(nodes), committed_members_{{log_index{}, std::move(first)}} {}

  void witness(const node_state& whom, raft_event what, log_index at);
  /// What this server does breaks no promise, and what it had it is taken to have still: its disk
  /// was tampered with. @param is_so false: from now on it counts again
  void disregard(server_id whom, bool is_so);

  /// The first that was seen.
  [[nodiscard]] const std::optional<std::string>& violation() const noexcept { return violation_; }
  /// The newest configuration that some server knew to be committed.
  [[nodiscard]] const configuration& members() const noexcept {
    return committed_members_.rbegin()->second;
  }

 private:
  // Where a leader stood when it was elected.
  struct leadership_seen {
    server_id leader;
    std::uint64_t cuts = 0;
  };
  // What an entry is, but for its payload, and what stands before it.
  struct entry_seen {
    quorlite::term term_before;
    std::uint64_t content = 0;
    friend bool operator==(const entry_seen&, const entry_seen&) = default;
  };

  // What was committed, and in which term a server first said so: the leader's.
  struct commit_seen {
    quorlite::term of_entry;
    quorlite::term in_term;
  };

  // What a server has not yet told that it is durable.
  struct young_entries {
    std::map<log_index, std::uint64_t> appended;  // and when, counted in events
    std::uint64_t sync_begun = 0;
  };

  void voted(const node_state& whom);
  void elected(const node_state& whom);
  void synced(const node_state& whom, log_index at);
  void appended(const node_state& whom, log_index at);
  void check_change(const node_state& whom);
  void counted(const node_state& whom, log_index at);
  void committed(const node_state& whom, log_index at);
  void installed(const node_state& whom, log_index at);
  void agree(const node_state& whom, log_index at);
  void require(bool holds, const char* property, const node_state& whom, const char* fault,
               log_index at);

  const std::deque<raft_node>& nodes_;
  std::map<quorlite::term, leadership_seen> leaders_;
  std::set<std::tuple<quorlite::term, server_id, server_id>> votes_;  // of whom, for whom
  std::map<server_id, young_entries> young_;
  std::set<server_id> disregarded_;
  std::uint64_t events_ = 0;
  std::map<std::pair<log_index, quorlite::term>, entry_seen> entries_;
  std::map<log_index, commit_seen> committed_;
  std::map<log_index, configuration> committed_members_;  // by the entry that it stands in
  std::optional<std::string> violation_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/raft/safety_checker.ipp"  // IWYU pragma: keep
#endif
