/// @file
/// Bodies of the digests of messages.
#pragma once

#include "quorlite/testing/detail/raft/message.hpp"

#include <cstdint>
#include <optional>
#include <variant>

#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/simulation/event_hash.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL message_digest digest_of::operator()(const append_request& m) const noexcept {
  event_hash hash;
  hash.add(m.previous.term.value, m.commit_index.value, m.round);
  for (const stored_entry& entry : m.entries) {
    hash.add(entry.term.value, static_cast<std::uint64_t>(entry.kind), entry.payload_hash);
  }
  return {m.entries.empty() ? "heartbeat" : "append", m.previous.index.value, hash.value()};
}

QUORLITE_DECL message_digest digest_of::operator()(const append_reply& m) const noexcept {
  event_hash hash;
  hash.add(m.rejected.value, m.hint.value, m.round);
  return {m.accepted ? "append_accepted" : "append_rejected", m.match.value, hash.value()};
}

QUORLITE_DECL message_digest digest_of::operator()(const snapshot_request& m) const noexcept {
  event_hash hash;
  hash.add(m.at.term.value, m.offset, m.total_bytes, m.round, hash_of_bytes(m.chunk));
  return {"snapshot", m.at.index.value, hash.value()};
}

QUORLITE_DECL message_digest digest_of::operator()(const snapshot_reply& m) const noexcept {
  event_hash hash;
  hash.add(m.next_offset, m.installed ? 1U : 0U, m.round);
  return {"snapshot_reply", m.at.value, hash.value()};
}

QUORLITE_DECL std::optional<decltype(message::body)> refusal_of_old_term(const message& old) {
  if (const auto* const ask = std::get_if<vote_request>(&old.body)) {
    return vote_reply{.pre_vote = ask->pre_vote, .granted = false};
  }
  if (std::holds_alternative<append_request>(old.body) ||
      std::holds_alternative<snapshot_request>(old.body)) {
    return append_reply{};
  }
  return std::nullopt;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
