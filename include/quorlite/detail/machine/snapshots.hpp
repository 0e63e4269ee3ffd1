/// @file
/// The machine's snapshots, as its engine gets and brings them.
#pragma once

#include <cstdint>
#include <memory>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/error.hpp"
#include "quorlite/options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

struct pinned_state;
class machine_state;
class stored_base;

/// The native snapshot of a state. It keeps the pins; nothing of it is copied.
/// @returns errc::too_large if the state has more than a snapshot can tell
[[nodiscard]] QUORLITE_API QUORLITE_DECL result<std::unique_ptr<snapshot_reader>> snapshot_of(
    pinned_state&& state, std::uint64_t lock_byte);

/// A restore beside the present state. It is a staged_restore, for machine_state::install().
/// @param owner who may install it @param base takes the pages
/// @param machine that may install it: asked at the end whether the snapshot is of its history
/// @returns errors of the storage
[[nodiscard]] QUORLITE_API QUORLITE_DECL result<std::unique_ptr<snapshot_stage>> stage_restore(
    const void* owner, stored_base& base, const machine_state& machine);

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/machine/snapshots.ipp"  // IWYU pragma: keep
#endif
