/// @file
/// Going on from a log or a snapshot of the go-dqlite FSM of 2018.
#pragma once

#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

namespace detail {
class legacy_format;
}

/// For fsm_options::legacy, on every replica of the cluster: entries and snapshots of go-dqlite are
/// taken beside native ones. Lives for ever; any thread. What each old entry does, and what is
/// refused: docs/reference/go-dqlite-conformance.md.
[[nodiscard]] QUORLITE_API QUORLITE_DECL const detail::legacy_format& go_dqlite_format() noexcept;

}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/codec/go_dqlite.ipp"  // IWYU pragma: keep
#endif
