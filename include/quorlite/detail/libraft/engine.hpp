/// @file
/// The C library libraft 0.15, as the adapter sees it: its header, its codes, its log in memory.
///
/// The header has no `extern "C"` of its own, and names some structs and functions alike: write
/// `struct raft_apply` for the type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <system_error>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

extern "C" {
#include <raft.h>
}

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// What a code of libraft means to a caller of ours. 0 is no error.
[[nodiscard]] QUORLITE_DECL std::error_code libraft_error(int code) noexcept;

/// The entry at `index` in the memory of the engine, or nothing if it is not there. 0.15 exports no
/// such function; the ring is public. Valid until the log changes.
[[nodiscard]] QUORLITE_DECL const raft_entry* libraft_entry_at(const raft_log& log,
                                                               std::uint64_t index) noexcept;

/// What an entry takes of the engine's memory: its content, and its places in the ring and in the
/// table of references. Both double when they are full.
[[nodiscard]] constexpr std::uint64_t libraft_bytes_held(std::uint64_t content) noexcept {
  return content + 2 * (sizeof(raft_entry) + sizeof(raft_entry_ref));
}

/// The term of the entry at `index`; 0 if the engine no longer knows it.
[[nodiscard]] QUORLITE_DECL term libraft_term_at(const raft_log& log, std::uint64_t index) noexcept;

/// What was loaded at a start is one piece of memory for all entries of a file, and 0.15 frees it
/// once none of them is in the log, also under a message that still sends some (logRelease). Each
/// gets memory of its own. For a log that has just been loaded, before anything refers to it. The
/// pieces go one by one: at no time is there more than the log and one file.
/// @returns 0, or RAFT_NOMEM: the log is whole all the same
[[nodiscard]] QUORLITE_DECL int libraft_separate_entries(raft_log& log) noexcept;

/// From the kernel, see libraft::random().
[[nodiscard]] QUORLITE_DECL std::uint64_t libraft_random() noexcept;

[[nodiscard]] inline bytes_view libraft_bytes(const raft_buffer& buffer) noexcept {
  return {static_cast<const std::byte*>(buffer.base), buffer.len};
}

/// 32 bits that change with any single byte (FNV-1a, not the CRC32C or XXH3 of other formats: it is
/// in the logs and snapshots that exist, see libraft_batch and libraft_snapshot_header). The
/// commands have checksums of their own; it guards the few bytes that tell where they begin.
[[nodiscard]] QUORLITE_DECL std::uint32_t libraft_check(bytes_view of,
                                                        std::uint32_t start = 2166136261U) noexcept;

/// Frees what the engine holds in several pieces, a snapshot for instance. Nothing is left.
inline void libraft_free_buffers(raft_buffer*& bufs, unsigned& count) noexcept {
  for (unsigned i = 0; bufs != nullptr && i < count; ++i) {
    raft_free(bufs[i].base);
  }
  raft_free(bufs);
  bufs = nullptr;
  count = 0;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/engine.ipp"  // IWYU pragma: keep
#endif
