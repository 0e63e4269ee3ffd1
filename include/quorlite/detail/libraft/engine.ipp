/// @file
/// Bodies of engine.hpp: codes, places in the log of the engine, the check of our headers.
#pragma once

#include "quorlite/detail/libraft/engine.hpp"

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <system_error>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL std::error_code libraft_error(int code) noexcept {
  switch (code) {
    case 0: return {};
    case RAFT_NOTLEADER: return make_error_code(errc::not_leader);
    case RAFT_LEADERSHIPLOST: return make_error_code(errc::leadership_lost);
    case RAFT_SHUTDOWN:
    case RAFT_CANCELED: return make_error_code(errc::stopped_in_flight);
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

QUORLITE_DECL const raft_entry* libraft_entry_at(const raft_log& log,
                                                 std::uint64_t index) noexcept {
  const std::size_t held =
      log.front <= log.back ? log.back - log.front : log.size - log.front + log.back;
  if (index <= log.offset || index > log.offset + held) {
    return nullptr;
  }
  return &log.entries[(log.front + static_cast<std::size_t>(index - 1 - log.offset)) % log.size];
}

QUORLITE_DECL term libraft_term_at(const raft_log& log, std::uint64_t index) noexcept {
  if (const raft_entry* const entry = libraft_entry_at(log, index)) {
    return term{entry->term};
  }
  return index != 0 && index == log.snapshot.last_index ? term{log.snapshot.last_term} : term{};
}

QUORLITE_DECL int libraft_separate_entries(raft_log& log) noexcept {
  QUORLITE_ASSERT(log.front <= log.back);  // nothing was cut from it yet
  for (std::size_t i = log.front; i != log.back; ++i) {
    raft_entry& one = log.entries[i];
    void* const piece = one.batch;
    if (piece == nullptr) {
      continue;
    }
    void* const own = raft_malloc(one.buf.len);
    if (own == nullptr && one.buf.len != 0) {
      return RAFT_NOMEM;
    }
    if (one.buf.len != 0) {
      std::memcpy(own, one.buf.base, one.buf.len);
    }
    one.buf.base = own;
    one.batch = nullptr;
    if (i + 1 == log.back || log.entries[i + 1].batch != piece) {
      raft_free(piece);  // entries of one piece stand together
    }
  }
  return 0;
}

QUORLITE_DECL std::uint64_t libraft_random() noexcept {
  std::uint64_t drawn = 0;
  const int failure = ::getentropy(&drawn, sizeof drawn);
  QUORLITE_ASSERT(failure == 0);
  return drawn;
}

QUORLITE_DECL std::uint32_t libraft_check(bytes_view of, std::uint32_t start) noexcept {
  for (const std::byte one : of) {
    start = (start ^ std::to_integer<std::uint32_t>(one)) * 16777619U;
  }
  return start;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
