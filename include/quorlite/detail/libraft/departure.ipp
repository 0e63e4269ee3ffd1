/// @file
/// Bodies of departure.hpp.
#pragma once

#include "quorlite/detail/libraft/departure.hpp"

#include <algorithm>
#include <cstdint>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/io.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/detail/libraft/members.hpp"
#include "quorlite/detail/libraft/proposals.hpp"
#include "quorlite/error.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL std::uint64_t libraft_least_room(const libraft_options& options) noexcept {
  const std::uint64_t segments = std::uint64_t{2} * options.segment_bytes;
  return options.room_bytes == 0 ? 0 : std::max(options.room_bytes, segments);
}

QUORLITE_DECL settle_reason libraft_reason_away(std::error_code why) noexcept {
  if (why == errc::out_of_memory) {
    return settle_reason::no_memory;
  }
  return why == errc::storage_full ? settle_reason::no_room : settle_reason::none;
}

QUORLITE_DECL libraft_departure::libraft_departure(const libraft_options& options)
    : directory_(options.directory), least_room_(libraft_least_room(options)) {}

QUORLITE_DECL void libraft_departure::attach(const ::raft& engine, libraft_proposals& proposals,
                                             libraft_members& members,
                                             const libraft_io& io) noexcept {
  engine_ = &engine;
  proposals_ = &proposals;
  members_ = &members;
  io_ = &io;
}

QUORLITE_DECL void libraft_departure::leave(std::error_code why) noexcept {
  if (!why_) {
    why_ = why;
    proposals_->close(reason());
  }
}

QUORLITE_DECL void libraft_departure::look_for_room() noexcept {
  constexpr raft_time pause_ms = 100;
  if (directory_.empty() || least_room_ == 0 || why_) {
    return;
  }
  const raft_time now = engine_->io->time(engine_->io);
  if (now - looked_at_ < pause_ms) {
    return;
  }
  looked_at_ = now;
  if (libraft_room_in(directory_) < least_room_) {
    leave(make_error_code(errc::storage_full));
  }
}

QUORLITE_DECL bool libraft_departure::is_over() noexcept {
  if (!why_) {
    return false;
  }
  // No limit of time: who leads has a majority that answers, and what its entries need of this disk
  // is asked for already. Who cannot commit because nobody answers does not lead for long.
  if (engine_->state == RAFT_LEADER) {
    if (proposals_->in_flight() != 0) {
      return false;
    }
    if (!std::exchange(has_handed_over_, true)) {
      members_->transfer_to_anyone();
    }
    if (members_->is_transferring()) {
      return false;
    }
  }
  return !io_->is_writing();
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
