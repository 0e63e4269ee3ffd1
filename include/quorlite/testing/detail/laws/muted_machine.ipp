/// @file
/// Bodies of muted_machine: what it says when it is muted.
#pragma once

#include "quorlite/testing/detail/laws/muted_machine.hpp"

#include <memory>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

// `already`: the adapter goes on as it would, up to its stop.

QUORLITE_DECL apply_result muted_machine::apply(const log_entry& entry) noexcept {
  return muted_ ? apply_result::already : real_.apply(entry);
}

QUORLITE_DECL apply_result muted_machine::skip(log_position upto) noexcept {
  return muted_ ? apply_result::already : real_.skip(upto);
}

QUORLITE_DECL void muted_machine::leadership_changed(const leadership& now) noexcept {
  if (!muted_) {
    real_.leadership_changed(now);
  }
}

QUORLITE_DECL result<std::unique_ptr<snapshot_reader>> muted_machine::take_snapshot() noexcept {
  return muted_ ? fail(errc::busy) : real_.take_snapshot();
}

QUORLITE_DECL apply_result muted_machine::install(std::unique_ptr<snapshot_stage> finished,
                                                  log_position engine_at) noexcept {
  return muted_ ? apply_result::already : real_.install(std::move(finished), engine_at);
}

QUORLITE_DECL void muted_machine::settled(proposal_token which, outcome how,
                                          settle_reason why) noexcept {
  if (!muted_) {
    real_.settled(which, how, why);
  }
}

QUORLITE_DECL result<std::unique_ptr<snapshot_stage>> muted_machine::begin_restore() noexcept {
  return muted_ ? fail(errc::busy) : real_.begin_restore();
}

QUORLITE_DECL std::error_code muted_machine::flush(log_index upto) noexcept {
  return muted_ ? make_error_code(errc::halted) : real_.flush(upto);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
