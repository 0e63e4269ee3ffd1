/// @file
/// From the frames of a transaction to the pages that its commit installs: everything is checked,
/// and built beside the state, before anything is touched.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/codec/command.hpp"
#include "quorlite/detail/machine/database_write.hpp"
#include "quorlite/error.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Adds a zero page for every page in (before, after] that `pages` does not carry: SQLite may grow
/// a database by pages that it never writes, and replicas must agree on what they hold. The lock
/// page is never data.
/// @param pages ascending by number, within `after`; stays so
/// @returns false, with nothing changed, if more than limits::growth_pages would have to be added,
///   or all pages would be more than limits::transaction_bytes
[[nodiscard]] QUORLITE_DECL bool fill_growth(std::vector<page_block>& pages, std::uint64_t before,
                                             std::uint64_t after, std::uint32_t page_size,
                                             std::uint64_t lock_byte);

/// What the pages of these frames are in full, in bytes.
[[nodiscard]] QUORLITE_DECL std::uint64_t full_page_bytes(const write_set_command& frames) noexcept;

/// Whether frames were planned on the committed state of their database. Version and hash alone can
/// name two histories; who made the state cannot, once a history is hashed.
/// @returns nothing: they were. errc::conflict: they were planned on another one: the same on every
///   replica. errc::diverged: the same transaction made something else here
[[nodiscard]] QUORLITE_DECL std::error_code check_base(const database_write_set& frames,
                                                       const page_store::state& committed) noexcept;

/// Builds what `frames` makes of the committed state of `target`. Off every lock; touches nothing.
///
/// @param frames all parts of the transaction merged: pages ascending and each once
/// @param redo the base may be ahead of the state: the hashes of its pages prove nothing yet
/// @returns errors of check_base(). errc::malformed: a rule is broken: the same on every replica.
///   errc::diverged: the result has another hash than the leader's: this replica's fault
[[nodiscard]] QUORLITE_DECL result<database_write> prepare_frames(const database_write_set& frames,
                                                                  std::shared_ptr<database> target,
                                                                  std::uint64_t lock_byte,
                                                                  bool redo = false);

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/machine/prepare_frames.ipp"  // IWYU pragma: keep
#endif
