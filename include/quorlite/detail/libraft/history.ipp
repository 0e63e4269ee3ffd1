/// @file
/// Bodies of libraft_history.
#pragma once

#include "quorlite/detail/libraft/history.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/history_walk.hpp"
#include "quorlite/detail/libraft/snapshot.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL std::optional<libraft_log_defect> libraft_history::walk(
    const state_machine& machine, const libraft_loaded_log& log) {
  trail_.clear();
  passed_ = {};
  reached_ = 0;
  result<libraft_snapshot_header> header = fail(errc::corrupt);
  if (log.snapshot != nullptr) {
    if (log.snapshot->n_bufs != 0) {
      header = libraft_snapshot_header::decode(libraft_bytes(log.snapshot->bufs[0]));
    }
    if (!header) {
      return std::nullopt;  // the restore will say so
    }
  }
  libraft_history_walk walk(machine, log.applied);
  bool goes_on = walk.begin(header ? &*header : nullptr, log.entries.empty() ? 0 : log.start);
  std::uint64_t index = log.start;
  for (auto next = log.entries.begin(); goes_on && next != log.entries.end(); ++next) {
    const bool is_command = next->type == RAFT_COMMAND;
    reached_ = index++;
    goes_on = walk.take(reached_, is_command ? std::optional(libraft_bytes(next->buf))
                                             : std::optional<bytes_view>());
  }
  passed_ = walk.passed();
  if (goes_on && walk.end()) {
    trail_ = walk.trail();
  }
  return walk.found();
}

QUORLITE_DECL std::uint64_t libraft_history::settled(
    const cluster_identity& of_folder) const noexcept {
  const bool is_named = of_folder != cluster_identity{} && of_folder == passed_.cluster;
  return std::max(passed_.of_files, is_named ? passed_.of_begin : 0);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
