/// @file
/// An entry of the log, and its digest.
#pragma once

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/core/history_hash.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// An entry whose bytes were hashed before any lock was taken: with its digest the history moves on
/// in a few instructions, in the hold that moves the position. Borrows the bytes as log_entry does.
struct hashed_entry : log_entry {
  explicit hashed_entry(const log_entry& entry) noexcept
      : log_entry(entry), digest(entry_digest(entry.bytes)) {}

  history_hash digest;  ///< of the bytes; of no use where there are none
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
