/// @file
/// What travels of a history: with the base, and in snapshots.
///
/// In notes of version 2, little-endian, offsets counted from the start of the notes
/// (docs/design/history.md, section 3); what stands before and after is told there:
///
///     offset  bytes
///         16     16  cluster id, low half first, as every 128 bits here
///         32      8  k, the index of the identity entry
///         40      8  the term in that entry's id
///         48     16  the history as of the position
///         64     16  the history as of replay_from; zero in a snapshot
///         80      8  number m of the newest mark, 0 if there is none
///         88      4  count of marks, at most 64
///         92         the marks, 16 bytes each, oldest first
#pragma once

#include <cstddef>

#include "quorlite/config.hpp"
#include "quorlite/detail/core/history_marks.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Where a history began, whose it is, and how far it has come. Owns everything.
struct history_notes {
  cluster_identity cluster;  ///< never zero
  log_index begins_at;       ///< k, the index of the identity entry; never 0
  term begins_in;            ///< the term in that entry's id; never 0
  history_hash at;           ///< as of the position; never zero
  history_hash replay_from;  ///< as of the base's replay_from; zero in a snapshot
  history_marks marks;

  friend bool operator==(const history_notes&, const history_notes&) noexcept = default;
};

/// The most bytes that encode_history() appends.
inline constexpr std::size_t history_bytes_max = 76 + 16 * history_marks::kept_max;

/// Appends. Throws std::bad_alloc.
QUORLITE_API QUORLITE_DECL void encode_history(wire_writer& out, const history_notes& notes);

/// Reads what encode_history() wrote, and leaves the reader behind it. Allocates nothing.
/// @param at the position that the notes were brought with
/// @returns errc::malformed: too few bytes, or no history can have such notes at that position
[[nodiscard]] QUORLITE_API QUORLITE_DECL result<history_notes> decode_history(wire_reader& from,
                                                                              log_index at);

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/codec/history_notes.ipp"  // IWYU pragma: keep
#endif
