/// @file
/// A limit on everything that comes from outside. Checked before anything is allocated.
///
/// Limits that change what an entry means (whether it is accepted) are part of the replicated
/// behaviour: every replica must use the same value, so they are constants, not options.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace limits {

/// Longest name of a database.
inline constexpr std::size_t database_name_bytes = 255;
/// Databases of one replica.
inline constexpr std::size_t databases = 65536;
/// As long as its history has not begun (docs/design/history.md): what older entries mean stays so.
inline constexpr std::size_t databases_before_history = 1024;
/// SQLite attaches at most 10 (125 if it was built so); a transaction of ours may touch this many.
inline constexpr std::size_t databases_per_transaction = 16;
/// Bytes of a page, at least (sqlite.org/fileformat2.html, 1.3.2).
inline constexpr std::uint32_t page_size_min = 512;
/// Bytes of a page, at most (sqlite.org/fileformat2.html, 1.3.2).
inline constexpr std::uint32_t page_size_max = 65536;
/// sqlite.org/limits.html, 14.
inline constexpr std::uint64_t page_count_max = 4294967294U;
/// The 1 GiB byte, whose page holds no data.
inline constexpr std::uint64_t lock_byte_default = 0x40000000U;
/// The largest command that is decoded.
inline constexpr std::size_t entry_bytes = std::size_t{64} << 20U;
/// Page records in one command.
inline constexpr std::size_t pages_per_entry = 1U << 17U;
/// Pages that a transaction may add without carrying them.
inline constexpr std::uint64_t growth_pages = 1U << 16U;
/// Page images that one transaction may make, in bytes: a few bytes of an entry can stand for a
/// whole page of zeros, so the size of the entry bounds nothing.
inline constexpr std::uint64_t transaction_bytes = std::uint64_t{1} << 30U;
/// Bytes of entries that wait for their commit, of all transactions together: so one has no more.
inline constexpr std::uint64_t staged_bytes = std::uint64_t{1} << 30U;
/// Transactions of several entries that may be staged at a time.
inline constexpr std::size_t staged_transactions = 64;
/// Entries on their way, of others, at which a COMMIT has to wait: the history that an entry names
/// has to be known still where it arrives.
inline constexpr std::size_t proposals_in_flight = 32768;
/// Recent transactions remembered by id.
inline constexpr std::size_t outcomes = 8192;
/// Opaque bytes kept with a base position.
inline constexpr std::size_t notes_bytes = std::size_t{2} << 20U;

}  // namespace limits

/// True for 512, 1024 … 65536: the page sizes of SQLite.
[[nodiscard]] constexpr bool is_page_size(std::uint64_t size) noexcept {
  return size >= limits::page_size_min && size <= limits::page_size_max && (size & (size - 1)) == 0;
}

/// The page that holds SQLite's lock byte and therefore never any data
/// (sqlite.org/fileformat2.html, 1.2).
/// @param page_size a valid page size
/// @param lock_byte its offset in the file; tests move it, everybody else keeps the default
[[nodiscard]] constexpr std::uint64_t lock_page(
    std::uint32_t page_size, std::uint64_t lock_byte = limits::lock_byte_default) noexcept {
  return lock_byte / page_size + 1;
}

/// A database's name is also a file's name: letters, digits, '.', '_' and '-', not starting with
/// '.', and not one of the names that SQLite derives ("-journal", "-wal", "-shm"). 1 to 255 bytes.
[[nodiscard]] constexpr bool is_database_name(std::string_view name) noexcept {
  if (name.empty() || name.size() > limits::database_name_bytes || name.front() == '.') {
    return false;
  }
  for (const char letter : name) {
    const bool fine = (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
                      (letter >= '0' && letter <= '9') || letter == '.' || letter == '_' ||
                      letter == '-';
    if (!fine) {
      return false;
    }
  }
  return !name.ends_with("-journal") && !name.ends_with("-wal") && !name.ends_with("-shm");
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite
