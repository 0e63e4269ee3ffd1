/// @file
/// Bodies of agreement.hpp: what messages tell of a leader's log, and what is answered.
#pragma once

#include "quorlite/detail/libraft/agreement.hpp"

#include <algorithm>

#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL void libraft_agreement::note(const raft_message& message) noexcept {
  if (message.type == RAFT_IO_APPEND_ENTRIES) {
    const raft_append_entries& from = message.append_entries;
    if (from.prev_log_index == 0 ||
        libraft_term_at(engine_->log, from.prev_log_index) == term{from.prev_log_term}) {
      agree({from.term, message.server_id}, from.prev_log_index + from.n_entries);
    }
  } else if (message.type == RAFT_IO_INSTALL_SNAPSHOT) {
    agree({message.install_snapshot.term, message.server_id}, message.install_snapshot.last_index);
  }
}

QUORLITE_DECL void libraft_agreement::note_below(const raft_message& message,
                                                 raft_index upto) noexcept {
  agree({message.append_entries.term, message.server_id}, upto);
}

QUORLITE_DECL void libraft_agreement::agree(const teller& with, raft_index upto) noexcept {
  if (with.in >= engine_->current_term) {
    upto_ = with == with_ ? std::max(upto_, upto) : upto;
    with_ = with;
  }
}

QUORLITE_DECL void libraft_agreement::cap(raft_message& answer) const noexcept {
  raft_append_entries_result& result = answer.append_entries_result;
  if (result.rejected == 0) {
    const bool has_told = with_ == teller{result.term, answer.server_id};
    result.last_log_index = has_told ? std::min(result.last_log_index, upto_) : 0;
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
