/// @file
/// The C library libraft 0.15, as the adapter sees it: its header, its codes, its log in memory.
///
/// The header has no `extern "C"` of its own, and names some structs and functions alike: write
/// `struct raft_apply` for the type.
#pragma once

#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
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
[[nodiscard]] inline std::error_code libraft_error(int code) noexcept {
  switch (code) {
    case 0: return {};
    case RAFT_NOTLEADER: return make_error_code(errc::not_leader);
    case RAFT_LEADERSHIPLOST: return make_error_code(errc::leadership_lost);
    case RAFT_SHUTDOWN:
    case RAFT_CANCELED: return make_error_code(errc::stopped);
    case RAFT_CANTCHANGE:
    case RAFT_NOCONNECTION:
    case RAFT_BUSY: return make_error_code(errc::busy);
    case RAFT_TOOBIG: return make_error_code(errc::too_large);
    case RAFT_CORRUPT:
    case RAFT_MALFORMED: return make_error_code(errc::corrupt);
    case RAFT_NOSPACE: return make_error_code(errc::storage_full);
    case RAFT_IOERR: return make_error_code(errc::storage_broken);
    case RAFT_NOMEM: return std::make_error_code(std::errc::not_enough_memory);
    case RAFT_NAMETOOLONG: return std::make_error_code(std::errc::filename_too_long);
    case RAFT_NOTFOUND: return std::make_error_code(std::errc::no_such_file_or_directory);
    default: return std::make_error_code(std::errc::invalid_argument);
  }
}

/// The entry at `index` in the memory of the engine, or nothing if it is not there. 0.15 exports no
/// such function; the ring is public. Valid until the log changes.
[[nodiscard]] inline const raft_entry* libraft_entry_at(const raft_log& log,
                                                        std::uint64_t index) noexcept {
  const std::size_t held =
      log.front <= log.back ? log.back - log.front : log.size - log.front + log.back;
  if (index <= log.offset || index > log.offset + held) {
    return nullptr;
  }
  return &log.entries[(log.front + static_cast<std::size_t>(index - 1 - log.offset)) % log.size];
}

/// The term of the entry at `index`; 0 if the engine no longer knows it.
[[nodiscard]] inline term libraft_term_at(const raft_log& log, std::uint64_t index) noexcept {
  if (const raft_entry* const entry = libraft_entry_at(log, index)) {
    return term{entry->term};
  }
  return index != 0 && index == log.snapshot.last_index ? term{log.snapshot.last_term} : term{};
}

[[nodiscard]] inline bytes_view libraft_bytes(const raft_buffer& buffer) noexcept {
  return {static_cast<const std::byte*>(buffer.base), buffer.len};
}

/// 32 bits that change with any single byte (FNV-1a). The commands have checksums of their own; it
/// guards the few bytes that tell where they begin.
[[nodiscard]] inline std::uint32_t libraft_check(bytes_view of,
                                                 std::uint32_t start = 2166136261U) noexcept {
  for (const std::byte one : of) {
    start = (start ^ std::to_integer<std::uint32_t>(one)) * 16777619U;
  }
  return start;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
