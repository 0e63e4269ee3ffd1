/// @file
/// What a write-ahead log of SQLite adds to its database: reads the log as SQLite's recovery does.
///
/// All integers are big-endian (sqlite.org/fileformat2.html, 4.1–4.4):
///
/// | offset | bytes | header |
/// |--------|-------|--------|
/// | 0      | 4     | magic 37 7F 06 82 (checksums of little-endian words) or 83 (big-endian) |
/// | 4      | 4     | format version, 3007000 |
/// | 8      | 4     | page size |
/// | 12     | 4     | checkpoint counter; not looked at |
/// | 16     | 8     | salt |
/// | 24     | 8     | checksum of bytes 0–23 |
///
/// | offset | bytes | frame; they follow the header without gaps |
/// |--------|-------|-------|
/// | 0      | 4     | page number |
/// | 4      | 4     | pages of the database after the commit; 0: no commit frame |
/// | 8      | 8     | salt, as in the header |
/// | 16     | 8     | checksum of bytes 0–7 and the page, begun with that of the frame before |
/// | 24     |       | the page |
///
/// The checksum of the first frame begins with that of the header.
///
/// | log | outcome, as in SQLite |
/// |-----|-----------------------|
/// | 32 bytes or fewer | there is none |
/// | header of wrong magic, page size or checksum | ignored, whatever follows |
/// | header that is right, of another version | error |
/// | frame of page 0, of another salt, of a wrong checksum, or cut | the log ends before it |
/// | frames behind the last commit frame | as if they were not there |
/// | page in several frames | the last one counts |
/// | page beyond the count of the last commit | not part of the database |
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

inline constexpr std::size_t wal_header_bytes = 32;
inline constexpr std::size_t wal_frame_header_bytes = 24;
inline constexpr std::uint32_t wal_magic = 0x377F0682U;  // the lowest bit: big-endian checksums
inline constexpr std::uint32_t wal_version = 3007000U;

[[nodiscard]] constexpr std::uint32_t load_big_endian_u32(const std::byte* from) noexcept {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    value = value << 8U | std::to_integer<std::uint32_t>(from[i]);
  }
  return value;
}

/// SQLite's running checksum of 8-byte steps.
struct wal_checksum {
  std::uint32_t first = 0;
  std::uint32_t second = 0;

  friend constexpr bool operator==(const wal_checksum&, const wal_checksum&) noexcept = default;

  /// @pre data.size() is a multiple of 8
  constexpr void extend(bytes_view data, bool big_endian) noexcept {
    const auto word = [&](std::size_t at) {
      const std::uint32_t big = load_big_endian_u32(data.data() + at);
      return big_endian ? big
                        : (big >> 24U) | ((big >> 8U) & 0xFF00U) | ((big << 8U) & 0xFF0000U) |
                              (big << 24U);
    };
    for (std::size_t at = 0; at < data.size(); at += 8) {
      first += word(at) + second;
      second += word(at + 4) + first;
    }
  }
  /// One as it is stored.
  [[nodiscard]] static constexpr wal_checksum stored_at(const std::byte* from) noexcept {
    return {load_big_endian_u32(from), load_big_endian_u32(from + 4)};
  }
};

/// How far a log was read.
enum class wal_state : std::uint8_t {
  absent,   ///< too short to be one
  ignored,  ///< its header is not right
  reading,  ///< every frame so far was right
  ended,    ///< a frame was not: nothing behind it counts
};

/// What was found in a log.
struct wal_summary {
  wal_state state = wal_state::absent;
  std::uint64_t page_count = 0;         ///< of the database after the last commit; 0: no commit
  std::uint64_t commits = 0;            ///< transactions that count
  std::uint64_t frames = 0;             ///< frames that count
  std::uint64_t uncommitted_bytes = 0;  ///< behind the last frame that counts; all if none does
};

/// Takes a log in pieces, cut anywhere, and keeps the pages that it adds.
///
/// Total: any bytes are taken. Memory: one image for each different page of committed frames, the
/// frames of one transaction, and a piece's rest; nothing by any declared size. One thread at a
/// time.
class wal_fold {
 public:
  /// @param page_size of the database, a valid one; a log of another one is refused
  explicit wal_fold(std::uint32_t page_size) noexcept : page_size_(page_size) {}

  /// Takes the next bytes; borrowed for the call.
  /// @returns errc::malformed (a right header that is of another version or page size), too_large
  ///          (over limits::staged_bytes of pages are kept), or nothing. An error is final.
  [[nodiscard]] std::error_code append(bytes_view piece);

  /// What all the bytes so far amount to.
  [[nodiscard]] const wal_summary& summary() const noexcept { return summary_; }

  /// The last committed image of each page, page_size bytes each, ascending. Those beyond
  /// summary().page_count are not part of the database. Valid until the next append().
  [[nodiscard]] const std::map<page_number, bytes>& pages() const noexcept { return committed_; }

 private:
  void take_header();

  void take_frame();

  void commit(std::uint32_t page_count);

  std::uint32_t page_size_;
  std::error_code error_;
  wal_summary summary_;
  bytes gathered_;  // of the header or frame that is not whole yet
  bool big_endian_ = false;
  std::array<std::byte, 8> salt_{};
  detail::wal_checksum checksum_;
  std::vector<std::pair<page_number, bytes>> pending_;  // frames since the last commit frame
  std::map<page_number, bytes> committed_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/legacy/wal_fold.ipp"  // IWYU pragma: keep
#endif
