/// @file
/// What a message is made before the engine looks at it, where 0.15 would take it the wrong way. A
/// part of a message that is left out is lost on the way, which Raft allows for.
#pragma once

#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/engine.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// It was lost on the way: what came with it is freed.
QUORLITE_DECL void libraft_drop(raft_message& message) noexcept;

/// It becomes a heartbeat. While a snapshot that came is written the engine would ignore entries
/// without an answer, and their leader would take us for gone.
QUORLITE_DECL void libraft_shed_entries(raft_append_entries& from) noexcept;

/// Of entries that come at once the first ones are taken, and the others are lost on the way: the
/// disk writes what came as one batch, and takes a batch of more than 262144 entries for damage.
QUORLITE_DECL void libraft_shorten(raft_message& message) noexcept;

/// True for entries that the engine would cut its log for.
[[nodiscard]] QUORLITE_DECL bool libraft_conflicts(const ::raft& engine,
                                                   const raft_message& message) noexcept;

/// An answer counts once an entry of our own term is on our disk. Raft commits what earlier terms
/// have left together with such an entry, and never by counting servers (Raft thesis, section
/// 3.6.2): without one another server may lead and overwrite it. 0.15 counts whatever is stored.
/// Whoever answered is heard, and says at the next heartbeat again how far it is.
QUORLITE_DECL void libraft_hold_answer(const ::raft& engine, raft_message& message) noexcept;

/// A new leader that does not know how far we are tells its log from an entry on that we have no
/// more, which the engine would append behind its own, or refuse until the leader comes to send
/// a snapshot that we do not need, and so for ever. What lies below the first entry that we know
/// is committed, so it is the same in both logs: that part is left out.
/// @returns all of it lies there: its last entry, for which we vouch. 0: there is more, or terms
///   show that it is another log
[[nodiscard]] QUORLITE_DECL raft_index libraft_trim(const ::raft& engine,
                                                    raft_message& message) noexcept;

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/messages.ipp"  // IWYU pragma: keep
#endif
