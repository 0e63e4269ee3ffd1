/// @file
/// Below a replica: for tests and tools of the library itself.
#pragma once

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/machine/machine_state.hpp"
#include "quorlite/detail/replica/replica_core.hpp"
#include "quorlite/fsm.hpp"
#include "quorlite/replica.hpp"
#include "quorlite/storage.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The parts of one replica, which must not be empty.
class replica_access {
 public:
  [[nodiscard]] static replica_core& core(replica& of) noexcept { return *of.core_; }
  /// What its engine calls.
  [[nodiscard]] static state_machine& applier(replica& of) noexcept {
    return core(of).models().applier;
  }
  [[nodiscard]] static machine_state& state(replica& of) noexcept {
    return core(of).models().machine;
  }
  /// @pre it was started with these two
  template <consensus Consensus, storage Storage>
  [[nodiscard]] static fsm<Consensus, Storage>& machine(replica& of) noexcept {
    return static_cast<fsm<Consensus, Storage>&>(applier(of));
  }
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
