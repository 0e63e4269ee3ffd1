/// @file
/// Where 0.15 answers who asks for a vote otherwise than Raft does.
///
/// - A server that is no voter by its own log gives no vote. But the entry that makes it one counts
///   for its leader at once, and may be lost on the way: then that leader needs this vote, and
///   neither can go on. Servers vote whatever their own log says, and the candidate counts those
///   that its log names. (Raft thesis, section 4.1.)
/// - A leader that a non-voter heard once is its leader for ever, and who has one gives no vote.
/// - Who refuses a pre-vote does not tell its term, if that is higher. The one with the better log
///   then never asks in a term that the other one could vote in.
/// - A transferee gets a vote that another server has in this term.
#pragma once

#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/engine.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// True for a voter in the members that this server goes by.
[[nodiscard]] QUORLITE_DECL bool libraft_is_voter(const ::raft& engine) noexcept;

/// A follower whose time has run out without a word of its leader has none any more.
QUORLITE_DECL void libraft_forget_silent_leader(::raft& engine) noexcept;

/// True for a vote that another server has in this term. A term has one leader. 0.15 remembers a
/// transfer when it steps down, and then lets its transferee have a vote that another server has:
/// so may one that was called by an earlier transfer, too late.
[[nodiscard]] QUORLITE_DECL bool libraft_asks_for_second_vote(const ::raft& engine,
                                                              const raft_message& message) noexcept;

/// An answer that refuses a pre-vote tells our term, if it is higher.
QUORLITE_DECL void libraft_tell_term(const ::raft& engine, raft_message& answer) noexcept;

/// While the engine looks at a request for its vote, it is a voter. Not one that was never told of
/// any member: it is no server of a cluster yet.
class libraft_voter_for_a_message {
 public:
  /// @param engine outlives this. Where memory is short it gives no vote, as if nobody had asked
  libraft_voter_for_a_message(::raft& engine, const raft_message& message) noexcept;
  libraft_voter_for_a_message(const libraft_voter_for_a_message&) = delete;
  libraft_voter_for_a_message& operator=(const libraft_voter_for_a_message&) = delete;
  ~libraft_voter_for_a_message();

 private:
  ::raft& engine_;
  bool is_lent_ = false;
  raft_configuration members_{};  // the true ones, while others are lent
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/votes.ipp"  // IWYU pragma: keep
#endif
