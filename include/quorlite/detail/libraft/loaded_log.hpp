/// @file
/// What the engine read of a log when it started.
#pragma once

#include <cstdint>
#include <span>

#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// What raft_io::load gave. Borrowed.
struct libraft_loaded_log {
  const raft_snapshot* snapshot = nullptr;  ///< nullptr: there is none
  std::uint64_t start = 1;                  ///< index of libraft: of the first entry
  std::span<const raft_entry> entries;
  history_position applied{};  ///< what log_end knows of it; index 0: nothing
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
