/// @file
/// Who belongs to a cluster of the test Raft, and the steps by which that changes (Raft thesis, 4).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

enum class change_kind : std::uint8_t {
  add,      ///< of a server that is no member: as a learner
  promote,  ///< of a learner: to a voter
  demote,   ///< of a voter: to a learner
  remove,   ///< of a voter or a learner
};

/// One step. It concerns one server, so that any quorum before it and any quorum after it have a
/// voter in common (thesis, 4.1).
struct configuration_change {
  change_kind kind{};
  server_id server{};
};

/// What a server said when it was asked for a step. Everything but `taken` left no trace.
enum class change_result : std::uint8_t {
  taken,       ///< in its log and in force there; it may be committed, or removed with its entry
  not_leader,  ///< it does not lead, or nobody does
  too_early,   ///< it has committed no entry of its term yet: older steps may be unknown to it
  pending,     ///< the step before it is not committed yet
  busy,        ///< it is handing over its leadership
  no_change,   ///< the server is no member, is one already, or has that role already
  behind,      ///< promote: the learner has not caught up with the log
  last_voter,  ///< nobody would be left to vote
};

/// The members of a cluster. A value; servers stand in ascending order, and in one list at most.
struct configuration {
  std::vector<server_id> voters;    ///< whose quorum, more than half of them, elects and commits
  std::vector<server_id> learners;  ///< get the log as voters do, and are counted nowhere

  /// Voters 1 … count.
  [[nodiscard]] static configuration of_voters(std::uint32_t count);

  /// As a voter.
  [[nodiscard]] bool has_voter(server_id id) const noexcept;
  /// As a learner.
  [[nodiscard]] bool has_learner(server_id id) const noexcept;
  /// As either.
  [[nodiscard]] bool has(server_id id) const noexcept { return has_voter(id) || has_learner(id); }
  /// How many voters that is, at least.
  [[nodiscard]] std::size_t quorum() const noexcept { return voters.size() / 2 + 1; }

  /// Itself, if the step changes nothing.
  [[nodiscard]] configuration after(configuration_change step) const;

  /// For traces and reports: `voters 1 2 3, learners 4`.
  [[nodiscard]] std::string text() const;

  friend bool operator==(const configuration&, const configuration&) = default;
};

/// How many servers are something else in one than in the other.
[[nodiscard]] std::size_t difference(const configuration& one, const configuration& other);

/// As the payload of an entry.
[[nodiscard]] bytes encode(const configuration& members);
/// @pre encode() made it
[[nodiscard]] configuration decode_configuration(bytes_view payload);

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/raft/configuration.ipp"  // IWYU pragma: keep
#endif
