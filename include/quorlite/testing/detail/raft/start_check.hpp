/// @file
/// What a server of the test Raft looks at before it takes part: whose folder it has, and whether
/// log and databases are what they were (docs/design/history.md, sections 5 and 9). It stands for
/// what a real engine and its adapter do.
#pragma once

#include <cstdint>
#include <system_error>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/raft/log.hpp"
#include "quorlite/testing/detail/raft/options_fwd.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// Of the place where this server's folder is. A folder that was copied there tells another one.
[[nodiscard]] constexpr std::uint64_t seal_of(server_id self) noexcept {
  return self.value ^ 0x5EA1'0000'0000'0000;
}

/// @param machine as it was loaded, before any call on its strand
/// @returns why it must not start; the codes are those of start_check
[[nodiscard]] std::error_code check_start(const server_disk& disk, server_id self,
                                          const state_machine& machine, start_check upto);

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/raft/start_check.ipp"  // IWYU pragma: keep
#endif
