/// @file
/// Bodies of snapshots.hpp.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/detail/codec/snapshot.hpp"
#include "quorlite/detail/machine/pinned_snapshot.hpp"
#include "quorlite/detail/machine/pinned_state.hpp"
#include "quorlite/detail/machine/restore_target.hpp"
#include "quorlite/detail/machine/snapshots.hpp"
#include "quorlite/detail/machine/staged_restore.hpp"
#include "quorlite/detail/machine/stored_base.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL result<std::unique_ptr<snapshot_reader>> snapshot_of(pinned_state&& state,
                                                                   std::uint64_t lock_byte) {
  return pinned_snapshot<snapshot_layout>::make(std::move(state), lock_byte);
}

QUORLITE_DECL result<std::unique_ptr<snapshot_stage>> stage_restore(const void* owner,
                                                                    stored_base& base,
                                                                    const machine_state& machine) {
  std::error_code error;
  std::unique_ptr<restore_target> target = base.begin_restore(error);
  if (error) {
    return fail(error);
  }
  return std::unique_ptr<snapshot_stage>(
      std::make_unique<staged_restore>(owner, std::move(target), machine));
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
