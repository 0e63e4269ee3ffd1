/// @file
/// Bodies of recorded_disk.
#pragma once

#include "quorlite/testing/detail/laws/recorded_disk.hpp"

#include <algorithm>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/laws/recorded_state.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL std::error_code recorded_disk::make_room() noexcept {
  has_room_ = manner_ != flush_manner::late || !has_room_;
  return has_room_ ? std::error_code{} : make_error_code(errc::storage_full);
}

/// Late, the state has parts of a transaction. The log brings them again from where they begin; but
/// those that came with a snapshot it does not, so nothing is stored.
QUORLITE_DECL void recorded_disk::store(recorded_state pinned) {
  const bool is_whole = manner_ != flush_manner::late;
  if (pinned.at.index < state_.at.index || (is_installed_ && !is_whole)) {
    return;
  }
  pinned.replay_from = is_whole ? pinned.at.index : state_.replay_from;
  state_ = std::move(pinned);
  is_installed_ = false;
}

QUORLITE_DECL void recorded_disk::note_replay(log_index upto) noexcept {
  replayed_ = std::max(replayed_, upto);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
