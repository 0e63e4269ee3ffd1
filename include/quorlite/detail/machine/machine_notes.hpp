/// @file
/// What a machine keeps with the base position and sends in a snapshot, beside the pages: storages
/// and snapshots carry it and do not look.
///
/// Version 1, before a history begins, is the outcome table alone (outcome_table.hpp). Version 2,
/// all integers little-endian:
///
///     offset     size  field
///     0          8     "QLNOTES2"; version 1 has the cluster id here, which must not be that
///     8          8     cluster id, replica_options::cluster_id
///     16         76    the history (history_notes.hpp), and
///     92         16m   its m marks
///     92 + 16m   4     d, the number of databases of the position
///     …          16d   for each, ascending by name: the transaction that made its content, as
///                      term and sequence (u64 each); both 0: it is not known
///     …          …     floor, n and outcomes, as in version 1
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/codec/history_notes.hpp"
#include "quorlite/detail/machine/outcome_table.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Notes of either version.
struct machine_notes {
  std::optional<history_notes> history;  ///< none in version 1
  /// Who made the content of each database of the position, in its order; {0, 0}: not known.
  std::vector<transaction_id> last_ids;
  outcome_table outcomes;
};

/// No notes are longer.
inline constexpr std::size_t machine_notes_bytes_max =
    8 + 8 + history_bytes_max + 4 + 16 * limits::databases + 24 + 24 * limits::outcomes;
static_assert(machine_notes_bytes_max <= limits::notes_bytes);

/// Appends notes: of version 1 without a history, of version 2 with one. May throw std::bad_alloc.
/// @param last_ids as in machine_notes; none without a history @pre limits::databases at most
QUORLITE_DECL void encode_notes(const std::optional<history_notes>& history,
                                std::span<const transaction_id> last_ids,
                                const outcome_table& outcomes, bytes& out);

/// Reads notes of either version. Nothing is allocated for a count before the bytes allow it.
/// Whether the cluster id is the own one is the caller's to ask.
/// @param at the position that the notes came with @param databases how many databases it has
/// @returns with one of last_ids for each database, whichever version it is; errc::malformed for
///   anything that encode_notes() does not write for such a position
[[nodiscard]] QUORLITE_DECL result<machine_notes> decode_notes(bytes_view encoded, log_index at,
                                                               std::size_t databases);

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/machine/machine_notes.ipp"  // IWYU pragma: keep
#endif
