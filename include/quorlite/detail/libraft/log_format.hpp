/// @file
/// What libraft 0.15 keeps in its folder, byte for byte, and how it is read. Numbers are
/// little-endian. Sources: uv_list.c, uv_metadata.c, uv_segment.c, uv_snapshot.c, uv_encoding.c.
///
/// | name | what |
/// |---|---|
/// | `metadata1`, `metadata2` | term and vote: odd versions in the first, even ones in the second |
/// | `0000000000000002-0000000000000009` | a closed segment: entries 2 to 9, not a byte more |
/// | `open-3` | an open segment; several are written one after the other, by their numbers |
/// | "snapshot-T-I-M.meta" | of a snapshot up to entry I of term T, taken M ms into some clock |
/// | "snapshot-T-I-M" | its content (snapshot.hpp); the highest T, then I, then M counts |
/// | `unclosed-1` | ours: a segment that could not be closed, set aside (unclosed_segments.hpp) |
/// | `quorlite.log` | ours: what is about to be replaced in the log |
/// | `log_end` | ours: how far the log went at least, term and vote (log_end.hpp) |
/// | `server` | ours: whose folder this is (server_file.hpp) |
/// | `quorlite.lock` | ours: locked while a server runs here; holds the number of the seal |
///
/// *Metadata*, 32 bytes, written in place: format (1), version, term, vote. There is no checksum.
///
/// *Segment*: the format (1, 8 bytes), then batches back to back. An open one is allocated with
/// zeros, and what was not written yet still is zeros. A batch:
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 0 | 4 | check of the heads, the count included |
/// | 4 | 4 | check of the data |
/// | 8 | 8 | count of the entries, at least 1 |
/// | 16 | 16 × count | the heads: term (8), type (1), any bytes (3), size of the data (4) |
/// | … | | the data of all entries, back to back; a command's is a batch of proposals.hpp |
///
/// *Snapshot meta*: the format (1), a check of all that follows (8 bytes, the upper half 0), the
/// index of the configuration, its size, and the configuration.
///
/// *quorlite.log*, 32 bytes, renamed into place. While it is there, one write of the log has held
/// one batch:
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 0 | 4 | "QLN1" |
/// | 4 | 4 | check of the other 28 bytes (FNV-1a, 32 bits) |
/// | 8 | 8 | 0: nothing; 1: entries from an index on; 2: all of them, by a snapshot |
/// | 16 | 8 | the index; that of the snapshot; where nothing is replaced: 1 if `log_end` is kept |
/// | 24 | 8 | the term of the snapshot; beside entries that go: 1 if `log_end` is kept |
///
/// Builds that do not keep `log_end` write zeros in those two places, and read nothing there: so a
/// log in which such a build may have cut entries is told from one whose end is known.
///
/// The checks of libraft are a CRC of 32 bits: polynomial 0x04C11DB7, highest bit first, start 0,
/// not inverted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

inline constexpr std::uint64_t libraft_disk_format = 1;    ///< of every file
inline constexpr std::size_t libraft_format_bytes = 8;     ///< that say so
inline constexpr std::size_t libraft_metadata_bytes = 32;  ///< a whole one
inline constexpr std::size_t libraft_preamble_bytes = 16;  ///< a batch before its heads
inline constexpr std::size_t libraft_head_bytes = 16;      ///< of one entry
inline constexpr std::size_t libraft_meta_bytes = 32;      ///< before the configuration
/// Bytes of it, at most.
inline constexpr std::uint64_t libraft_configuration_max = 1U << 20U;
/// Entries of a batch: libraft takes more for damage.
inline constexpr std::uint64_t libraft_batch_entries_max = (8U << 20U) / 32U;
/// What a disk writes whole or not at all, or a divisor of it.
inline constexpr std::uint64_t libraft_sector_bytes = 512;
/// An open segment has this size at least, or none: libraft_options::segment_bytes must hold a
/// batch of 65535 commands.
inline constexpr std::uint64_t libraft_allocated_bytes_min = std::uint64_t{256} << 10U;
/// Longer names make libraft stop the process.
inline constexpr std::size_t libraft_name_bytes_max = 127;

/// Of the entry that a new log begins with: the members.
inline constexpr const char* libraft_first_segment = "0000000000000001-0000000000000001";

/// Before the number of a segment that could not be closed, and tells no index.
inline constexpr const char* libraft_name_set_aside = "unclosed-";

/// The check of the formats above. @param start what it gave for the bytes before
[[nodiscard]] QUORLITE_DECL std::uint32_t libraft_crc(bytes_view of,
                                                      std::uint32_t start = 0) noexcept;

/// What the name of a file says.
struct libraft_file_name {
  enum class kind : std::uint8_t { other, closed, open, snapshot, snapshot_meta };

  kind is = kind::other;
  std::uint64_t first = 0;  ///< entry; number of an open one; term of a snapshot
  std::uint64_t last = 0;   ///< entry; that of a snapshot
  std::uint64_t time = 0;   ///< of a snapshot
  bool written_so = true;   ///< false: libraft reads this name, but it never wrote it

  /// Total. As libraft reads names, but for signs and blanks, which it lets pass.
  [[nodiscard]] static libraft_file_name of(std::string_view name) noexcept;
  /// That of a closed segment. Throws std::bad_alloc.
  [[nodiscard]] static std::string closed(std::uint64_t first, std::uint64_t last);
};

/// A metadata file.
struct libraft_metadata {
  std::uint64_t format = 0;
  std::uint64_t version = 0;
  std::uint64_t term = 0;
  std::uint64_t vote = 0;

  /// @pre libraft_metadata_bytes
  [[nodiscard]] static libraft_metadata decode(bytes_view whole) noexcept;

  /// May `this` be what was written right after `older`? A higher term is written before its vote,
  /// and a vote is never taken back in its term. Earlier builds may have given it again, to a
  /// server that leadership was transferred to.
  [[nodiscard]] bool follows(const libraft_metadata& older) const noexcept;
};

/// The head of an entry, and how many indices of ours it takes.
struct libraft_entry_head {
  static constexpr std::uint8_t command = 1;
  static constexpr std::uint8_t barrier = 2;
  static constexpr std::uint8_t change = 3;

  std::uint64_t term = 0;
  std::uint32_t data_bytes = 0;
  std::uint8_t type = 0;
  std::uint32_t commands = 1;  ///< 0: a command's data that is no batch of this version
  std::uint64_t index = 0;     ///< that its batch tells; 0: none

  /// @pre libraft_head_bytes
  [[nodiscard]] static libraft_entry_head decode(bytes_view head) noexcept;
  [[nodiscard]] bool has_known_type() const noexcept { return type >= command && type <= change; }
};

/// What the engine is about to replace in its log, written before it begins and taken back before
/// anything that is appended later is acknowledged. So nobody was told of entries that it names.
struct libraft_log_note {
  enum class step : std::uint8_t { none, truncate, install };

  static constexpr std::size_t encoded_bytes = 32;
  static constexpr const char* file_name = "quorlite.log";

  step of = step::none;
  std::uint64_t index = 0;
  std::uint64_t term = 0;
  bool keeps_end = false;  ///< not told of an install, before which `log_end` forgets the end

  void encode(bytes_span into) const noexcept;
  /// Total. Nothing: damaged, or of another version.
  [[nodiscard]] static std::optional<libraft_log_note> decode(bytes_view whole) noexcept;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/log_format.ipp"  // IWYU pragma: keep
#endif
