/// @file
/// The record that says what the files of a `file_storage` mean, and the two places that it is
/// written to by turns: whatever a crash does to the one that is being written, the other one is
/// whole. All integers little-endian.
///
///     offset  bytes
///          0      8  magic "QLSUPER\n"
///          8      4  version of the format: 1, or 2 from the first flush on that brought a history
///         12      4  zero
///         16      8  sequence number: the greater of two whole records counts
///         24      8  length of the body
///         32      8  XXH3-64 of the body, seeded by the XXH3-64 of bytes 0 … 31
///         40         the body
///
/// The body, its offsets counted from its own start:
///
///     offset  bytes
///          0      8  index of the position
///          8      8  term of the position
///         16      8  replay_from
///         24      8  ahead
///         32      8  the next generation
///         40      8  flags: 1 closed in good order, 2 the double-write file is to be copied
///         48      8  length of the double-write file, 0 without flag 2
///         56      8  its checksum (double_write.hpp), 0 without flag 2
///         64      4  number of databases
///         68      4  number of removals
///         72      8  length of the notes
///         80     16  in version 2 alone: the history as of ahead, low half first; zero if there
///                    is none, or if ahead is the position. What follows moves by 16 bytes
///         80         databases, ascending by name; each: 8 page count, 8 hash, 8 version,
///                    8 generation, 4 page size, 2 length of name, name
///                    removals, ascending by name; each: 8 generation, 2 length of name, name
///                    the notes
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/file_storage/data_directory.hpp"
#include "quorlite/detail/file_storage/health.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"
#include "quorlite/storage/file_system.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Pages of a commit that may not be in their places yet.
struct double_write_extent {
  std::uint64_t length = 0;    ///< bytes of the double-write file, never 0
  std::uint64_t checksum = 0;  ///< of its records

  friend bool operator==(const double_write_extent&, const double_write_extent&) = default;
};

/// A decoded superblock. Owns everything.
struct superblock {
  struct database {
    std::string name;
    std::uint32_t page_size = 0;  ///< bytes; 0: still without a page
    std::uint64_t page_count = 0;
    std::uint64_t hash = 0;
    version_number version;
    std::uint64_t generation = 0;  ///< of the files that hold it, never 0

    friend bool operator==(const database&, const database&) = default;
  };
  /// Files of ours that may still be there and are not wanted.
  struct removal {
    std::string name;
    std::uint64_t generation = 0;

    friend bool operator==(const removal&, const removal&) = default;
  };

  std::uint64_t sequence = 0;
  log_position at;
  log_index replay_from;
  log_index ahead;
  history_hash ahead_history;         ///< zero if ahead is the position; needs tells_history
  bool tells_history = false;         ///< a flush brought one: written as version 2
  std::uint64_t next_generation = 1;  ///< greater than all that are named here
  bool clean = false;                 ///< closed in good order: the files are ordinary ones
  std::optional<double_write_extent> double_write;
  std::vector<database> databases;  ///< ascending by name
  std::vector<removal> removals;    ///< ascending by name, none of them in `databases`
  bytes notes;

  /// Pages may be as of any entry up to there. @pre not below the position
  void promise(const history_position& there) noexcept {
    ahead = there.index;
    ahead_history = there.hash;
    tells_history = tells_history || there.hash != history_hash{};
  }

  friend bool operator==(const superblock&, const superblock&) = default;
};

namespace superblock_format {

inline constexpr std::string_view magic = "QLSUPER\n";
inline constexpr std::uint32_t version_without_history = 1;
inline constexpr std::uint32_t version = 2;
inline constexpr std::size_t header_bytes = 40;
inline constexpr std::size_t seeded_bytes = 32;  // of the header: all but the checksum
inline constexpr std::uint64_t flag_clean = 1;
inline constexpr std::uint64_t flag_double_write = 2;
inline constexpr std::size_t body_bytes_min = 80;
inline constexpr std::size_t history_bytes = 16;
inline constexpr std::size_t database_bytes_max = 38 + limits::database_name_bytes;
inline constexpr std::size_t removal_bytes_max = 10 + limits::database_name_bytes;
/// The largest superblock there can be.
inline constexpr std::size_t bytes_max =
    header_bytes + body_bytes_min + history_bytes +
    limits::databases * (database_bytes_max + removal_bytes_max) + limits::notes_bytes;

[[nodiscard]] QUORLITE_DECL std::uint64_t checksum(bytes_view header, bytes_view body) noexcept;

}  // namespace superblock_format

/// Throws std::bad_alloc.
[[nodiscard]] QUORLITE_DECL bytes encode(const superblock& block);

/// Bytes behind the superblock are left alone: an older, longer one may have been there.
/// @returns errc::corrupt for bytes that are not a whole superblock, errc::needs_upgrade for a
/// whole one of a newer version. Throws std::bad_alloc.
[[nodiscard]] QUORLITE_DECL result<superblock> decode_superblock(bytes_view from);

/// The two places. One thread.
template <file_system FileSystem>
class superblock_slots {
 public:
  using directory_type = data_directory<FileSystem>;

  superblock_slots(directory_type& directory, storage_health& health) noexcept
      : directory_(directory), health_(health) {}

  /// The newest whole superblock; nothing in a place that never had one. Throws std::bad_alloc.
  /// @returns errc::corrupt if there should be one; errc::needs_upgrade if the newest may be one
  /// that only a newer version reads; errc::storage_full, errc::storage_broken
  [[nodiscard]] result<std::optional<superblock>> read();
  /// What was read is on the disk then. The last process may have failed to make it so: after a
  /// sync that failed the system still shows what it has dropped, and a power cut while the other
  /// place is written would leave none of the two. Blocks; nothing to do if there was none, or no
  /// room. @returns errc::storage_full: the descriptors ran out; errc::storage_broken
  [[nodiscard]] std::error_code confirm();
  /// By the last read(): whole or not.
  [[nodiscard]] bool was_any_there() const noexcept { return slots_[0] || slots_[1]; }

  /// Makes `block` the newest, with the next sequence number. Blocks until it is durable. Throws
  /// std::bad_alloc.
  /// @returns errc::storage_full: the one before is still the newest; errc::storage_broken: nobody
  /// knows
  [[nodiscard]] std::error_code write(superblock& block);

 private:
  using file_type = typename FileSystem::file_type;
  [[nodiscard]] result<superblock> read_one(std::size_t slot, bytes& image);

  directory_type& directory_;
  storage_health& health_;
  std::array<std::optional<file_type>, 2> slots_;
  bytes unconfirmed_;   // the newest one, as it was read
  bool named_ = false;  // durably: the last process may have failed to make it so
  std::size_t next_ = 0;
  std::uint64_t sequence_ = 0;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#include "quorlite/detail/file_storage/superblock_slots.ipp"  // IWYU pragma: keep

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/file_storage/superblock.ipp"  // IWYU pragma: keep
#endif
