/// @file
/// What the servers of the test Raft say to each other. Values all through: nothing that changes is
/// shared between servers.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/raft/configuration.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

enum class entry_kind : std::uint8_t {
  command,  ///< bytes that somebody proposed
  no_op,    ///< what a leader begins its term with (Raft paper, 8)
  members,  ///< a configuration, encoded
};

/// An entry as a log keeps it. Its index is its place, but in a log that was damaged.
struct stored_entry {
  quorlite::term term{};
  log_index made_for{};  ///< its index, as it says itself; 0: it says nothing
  entry_kind kind = entry_kind::command;
  std::uint64_t payload_hash = 0;  ///< made once, where the entry is made
  bytes payload{};
};

/// RequestVote (Raft paper, 5.2). With `pre_vote` only a question, asked for the term after the
/// asker's (Raft thesis, 9.6): nobody's term changes.
struct vote_request {
  bool pre_vote = false;
  log_position last{};       ///< of the candidate's log
  bool handed_over = false;  ///< the leader itself asked for this election (Raft thesis, 3.10)
};
struct vote_reply {
  bool pre_vote = false;
  bool granted = false;
};

/// AppendEntries (Raft paper, 5.3); without entries a heartbeat.
struct append_request {
  log_position previous{};
  log_index commit_index{};
  std::uint64_t round = 0;  ///< of the leader's read barriers; comes back in the reply
  std::vector<stored_entry> entries{};
};
struct append_reply {
  bool accepted = false;
  log_index match{};     ///< accepted: equal to the leader's log up to here, and durable
  log_index rejected{};  ///< else: the `previous` that did not fit …
  log_index hint{};      ///< … and the last place worth trying
  log_index begins{};    ///< above `rejected`: nothing was compared, our log begins behind this
  std::uint64_t round = 0;
};

/// InstallSnapshot (Raft paper, 7), one chunk.
struct snapshot_request {
  log_position at{};
  std::uint64_t offset = 0;
  std::uint64_t total_bytes = 0;
  std::uint64_t round = 0;
  bytes chunk{};
  configuration members{};  ///< in force at that position, which tells it apart for a digest
  std::shared_ptr<const snapshot_history> history{};  ///< that it contains; none: it tells none
};
struct snapshot_reply {
  log_index at{};
  std::uint64_t next_offset = 0;  ///< where the follower wants to go on; 0 also after a failure
  bool installed = false;
  std::uint64_t round = 0;
};

/// The leader asks its successor to campaign at once (Raft thesis, 3.10).
struct timeout_now {};

struct message {
  server_id from{};
  server_id to{};
  quorlite::term term{};  ///< of the sender; of the term asked about in a pre-vote and its consent
  std::variant<vote_request, vote_reply, append_request, append_reply, snapshot_request,
               snapshot_reply, timeout_now>
      body;
};

/// Words that tell messages of one kind apart, for the event hash and for traces.
struct message_digest {
  const char* name = "";
  std::uint64_t at = 0;       // a log index
  std::uint64_t details = 0;  // the rest, mixed
};

struct digest_of {
  message_digest operator()(const vote_request& m) const noexcept {
    return {m.pre_vote ? "pre_vote" : "vote", m.last.index.value, m.last.term.value};
  }
  message_digest operator()(const vote_reply& m) const noexcept {
    return {m.pre_vote ? "pre_vote_reply" : "vote_reply", 0, m.granted ? 1U : 0U};
  }
  message_digest operator()(const append_request& m) const noexcept;
  message_digest operator()(const append_reply& m) const noexcept;
  message_digest operator()(const snapshot_request& m) const noexcept;
  message_digest operator()(const snapshot_reply& m) const noexcept;
  message_digest operator()(const timeout_now&) const noexcept { return {"timeout_now", 0, 0}; }
};

/// What a server of a newer term answers, so that whoever still leads, or campaigns in, an older
/// one learns of it. Nothing: there is nobody to be told.
[[nodiscard]] std::optional<decltype(message::body)> refusal_of_old_term(const message& old);

[[nodiscard]] inline message_digest digest(const message& m) noexcept {
  return std::visit(digest_of{}, m.body);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/raft/message.ipp"  // IWYU pragma: keep
#endif
