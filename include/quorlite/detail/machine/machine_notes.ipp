/// @file
/// Bodies of machine_notes.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/codec/history_notes.hpp"
#include "quorlite/detail/codec/snapshot.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/machine/machine_notes.hpp"
#include "quorlite/detail/machine/outcome_table.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL void encode_notes(const std::optional<history_notes>& history,
                                std::span<const transaction_id> last_ids,
                                const outcome_table& outcomes, bytes& out) {
  QUORLITE_ASSERT(last_ids.size() <= limits::databases && (history || last_ids.empty()));
  if (!history) {
    return outcomes.encode(out);
  }
  wire_writer write(out);
  write.u64(history_notes_magic);
  write.u64(outcomes.cluster_id());
  encode_history(write, *history);
  write.u32(static_cast<std::uint32_t>(last_ids.size()));
  for (const transaction_id& id : last_ids) {
    write.u64(id.term.value);
    write.u64(id.sequence);
  }
  outcomes.encode_list(out);
}

/// @returns false if they are not one for each of so many databases
QUORLITE_DECL bool read_last_ids(wire_reader& read, std::size_t databases,
                                 std::vector<transaction_id>& into) {
  constexpr std::size_t id_bytes = 16;
  const std::uint32_t count = read.u32();
  if (count != databases || read.remaining() / id_bytes < count) {
    return false;
  }
  into.resize(count);
  for (transaction_id& id : into) {
    id.term = term{read.u64()};
    id.sequence = read.u64();
    if ((id.term.value == 0) != (id.sequence == 0)) {
      return false;
    }
  }
  return true;
}

QUORLITE_DECL result<machine_notes> decode_notes(bytes_view encoded, log_index at,
                                                 std::size_t databases) {
  machine_notes notes;
  if (snapshot_version_of(encoded) == 1) {
    result<outcome_table> outcomes = outcome_table::decode(encoded);
    if (!outcomes) {
      return fail(outcomes.error());
    }
    notes.last_ids.resize(databases);
    notes.outcomes = std::move(*outcomes);
    return notes;
  }
  wire_reader read(encoded);
  static_cast<void>(read.u64());
  const std::uint64_t cluster_id = read.u64();
  result<history_notes> history = decode_history(read, at);
  if (!history || !read_last_ids(read, databases, notes.last_ids)) {
    return fail(errc::malformed);
  }
  notes.history = *history;
  result<outcome_table> outcomes =
      outcome_table::decode_list(cluster_id, read.take(read.remaining()));
  if (!outcomes) {
    return fail(outcomes.error());
  }
  notes.outcomes = std::move(*outcomes);
  return notes;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
