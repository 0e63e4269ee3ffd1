/// @file
/// The native entry: a command as bytes, small because every COMMIT sends and stores it.
///
/// Envelope, the same in every version, so that damage and age can be told apart without knowing
/// the rest:
///
/// | offset | bytes | field |
/// |--------|-------|-------|
/// | 0      | 4     | magic C5 51 4C 9A |
/// | 4      | 1     | format version, 1 or 2 |
/// | 5      | 1     | kind: 1 open, 2 frames, 3 undo, 4 checkpoint, 5 drop, 6 barrier, 7 identity |
/// | 6      | 4     | CRC32C of all bytes of the entry but these four |
/// | 10     | 1–4   | payload length, varint; the payload follows, and nothing follows it |
///
/// A payload is the transaction id (term varint, sequence varint), in version 2 its witness, then
/// by kind
///
/// | kind             | fields |
/// |------------------|--------|
/// | open, checkpoint | name: u8 length, letters |
/// | drop             | name; in version 2 what it builds on |
/// | undo             | target id: term varint, sequence varint |
/// | barrier          | – |
/// | frames           | varint part * 2 + commit, varint database count, the databases |
/// | identity         | u32 format, cluster id: u64 low, u64 high half; version 2, no witness |
///
/// | field of a witness | type   | |
/// |--------------------|--------|-|
/// | index              | varint | not 0: what its proposer had applied |
/// | low half           | u64    | of the hash of the history as of that index |
///
/// | field of a database | type   | |
/// |---------------------|--------|-|
/// | name                | u8 length, letters | |
/// | base version        | varint | |
/// | base hash           | u64    | |
/// | builds on           | varint | version 2: the transaction that made the base, see below |
/// | page size           | u8     | its logarithm to base 2: 9 … 16 |
/// | page count          | varint | |
/// | result hash         | u64    | |
/// | record count        | varint | the records follow |
///
/// | field of a record | type   | |
/// |-------------------|--------|-|
/// | gap and encoding  | varint | gap * 4 + encoding (page_encoding) |
/// | hash              | u64    | of the new image |
/// | payload           |        | full: page_size bytes; delta: varint length, delta; zero: none |
///
/// *gap* is the page's number less that of the record before it (less 0 for the first).
///
/// | builds on | means |
/// |-----------|-------|
/// | 0         | nothing: the base version is 0, or nobody knows who made it |
/// | 2 * d     | an id of the entry's own term, its sequence d less than the entry's; d above 0 |
/// | 1         | an id of another term, which follows: term varint, sequence varint |
///
/// Integers as in wire.hpp, every varint in its shortest form, so a command has exactly one
/// encoding in each version. The rules on values: validate().
///
/// The magic is far (at least 6 bits in its first byte) from the first byte of every entry of the
/// go-dqlite formats, so the two can share a log.
///
/// What allocates may throw std::bad_alloc; nothing here throws anything else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <system_error>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/codec/command.hpp"
#include "quorlite/error.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

inline constexpr std::uint32_t entry_magic = 0x9A4C51C5U;  // little-endian: C5 51 4C 9A
inline constexpr std::uint8_t entry_version_max = 2;       // command::format; from 1 on
inline constexpr std::size_t entry_magic_bytes = 4;
inline constexpr std::size_t entry_crc_offset = 6;
inline constexpr std::size_t entry_crc_end = 10;

/// What the checksum of an entry must be. @pre at least entry_crc_end bytes
[[nodiscard]] QUORLITE_DECL std::uint32_t entry_crc(bytes_view entry) noexcept;

namespace native {

/// More than one page record takes besides its payload, in bytes.
inline constexpr std::size_t page_record_overhead_bytes = 5 + 8 + 3;

/// More than a frames entry of any version takes besides its page records, in bytes. An entry whose
/// records add up to at most `n - frames_overhead_bytes(…)`, each counted as its payload and
/// page_record_overhead_bytes, has at most n bytes.
/// @param database_count databases in the entry
/// @param names_bytes the lengths of their names, added
[[nodiscard]] QUORLITE_DECL std::size_t frames_overhead_bytes(std::size_t database_count,
                                                              std::size_t names_bytes) noexcept;

/// The exact size of the entry that encode() makes of a valid command, in bytes. O(page records),
/// any thread.
/// @pre validate() has nothing against the command
[[nodiscard]] QUORLITE_DECL std::size_t encoded_bytes(const command& counted);

/// True for entries that decode() takes for one of ours, whole or damaged; false: ask the codec of
/// another format.
[[nodiscard]] QUORLITE_DECL bool is_ours(bytes_view entry) noexcept;

/// Checks a command against every rule that needs no replica to look at: the id and the names, page
/// sizes, counts and numbers, the length of each payload, the form of each delta; and that its
/// format can say what it says: format 1 has no witness, no base by its id and no identity. What
/// depends on the state (does the base match, is the database open) is the business of apply.
///
/// In format 2: a witness of index 0 is none, and all but an identity have one; on base version 0
/// nothing is built; a base has a term and a sequence, and is older than the command if its term is
/// the same; an identity names a cluster, and a format from 2 on, also one that is not known yet.
///
/// O(page records and delta ranges), no allocation, any thread. The size of the entry is encode()'s
/// to check.
/// @param lock_byte where the lock page lies; the same on every replica
/// @returns errc::malformed, or nothing
[[nodiscard]] QUORLITE_DECL std::error_code validate(
    const command& checked, std::uint64_t lock_byte = limits::lock_byte_default) noexcept;

/// Appends the command's entry to `out`, after checking it with validate(). Any thread.
/// @param lock_byte where the lock page lies; the same on every replica
/// @returns errc::malformed (a rule is broken) or too_large (over limits::entry_bytes), and `out`
///          is as it was; or nothing
[[nodiscard]] QUORLITE_DECL std::error_code encode(
    const command& encoded, bytes& out, std::uint64_t lock_byte = limits::lock_byte_default);

/// The command that an entry holds. Total: any bytes give a valid command or an error.
///
/// O(entry). Memory: at most 5 bytes for each byte of the entry. Any thread.
/// @param entry borrowed by the command for as long as that lives
/// @param lock_byte where the lock page lies; the same on every replica
/// @returns errc::corrupt: this replica's copy is damaged, others may hold it whole.
///          errc::needs_upgrade: whole, but of a newer version: never skip it. errc::malformed:
///          foreign, or whole and against the rules: every replica refuses it alike.
[[nodiscard]] QUORLITE_API QUORLITE_DECL result<command> decode(
    bytes_view entry, std::uint64_t lock_byte = limits::lock_byte_default);

}  // namespace native
}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/codec/native.ipp"          // IWYU pragma: keep
#include "quorlite/detail/codec/native_payload.ipp"  // IWYU pragma: keep
#include "quorlite/detail/codec/native_rules.ipp"    // IWYU pragma: keep
#endif
