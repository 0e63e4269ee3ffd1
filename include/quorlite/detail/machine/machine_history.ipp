/// @file
/// Bodies of machine_entries.hpp: the history that this replica stands in, and what entries say of
/// it (docs/design/history.md, section 4; the numbers are the rows of its table).
#pragma once

#include <algorithm>
#include <cstdint>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <variant>

#include "quorlite/config.hpp"
#include "quorlite/detail/codec/command.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/machine/hashed_entry.hpp"
#include "quorlite/detail/machine/machine_entries.hpp"
#include "quorlite/detail/machine/machine_parts.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL bool machine_entries::history_has_begun() const noexcept {
  return parts_->line.has_begun();
}

QUORLITE_DECL std::optional<apply_result> machine_entries::judge(const hashed_entry& entry,
                                                                 const command& what) {
  if (const auto* const identity = std::get_if<identity_command>(&what.body)) {
    return begin_history(entry, what.id, *identity);
  }
  const bool begun = parts_->line.has_begun();
  if (what.format == 1 && !begun) {
    return std::nullopt;
  }
  if (what.format == 1 && what.id.term == parts_->line.identity().begins_in) {
    return refuse(entry, what.id, make_error_code(errc::conflict));  // 10
  }
  if (what.format == 1) {  // 11
    return halt(errc::diverged, "an entry of a history that does not begin where ours does, at",
                entry.at.index);
  }
  if (!begun) {  // 11
    return halt(errc::diverged, "an entry of a history that has not begun here, at",
                entry.at.index);
  }
  return compare(entry, what.witness);
}

/// Rows 8 to 10.
QUORLITE_DECL apply_result machine_entries::begin_history(const hashed_entry& entry,
                                                          transaction_id id,
                                                          const identity_command& identity) {
  if (identity.format > entry_version_max) {  // 8
    return halt(errc::needs_upgrade, "entries of a newer format begin at", entry.at.index);
  }
  if (parts_->line.has_begun()) {  // 10
    return refuse(entry, id, make_error_code(errc::conflict));
  }
  // What waits is of format 1, and the rest of it would be refused. So would be what is on the
  // heads: it does not say what it builds on.
  note(parts_->line.begin({entry.at.index, id.term, identity.cluster}, entry.bytes.size(),
                          entry.digest));
  parts_->assembly.drop_all();
  if (parts_->proposals.leader().leading) {
    parts_->databases.discard_heads();
  }
  answer(entry, id);
  advance(entry.at);
  return apply_result::applied;
}

/// Rows 12 to 14. A witness that is not known any more proves nothing.
QUORLITE_DECL std::optional<apply_result> machine_entries::compare(const hashed_entry& entry,
                                                                   const history_witness& told) {
  const history& line = parts_->line;
  const bool possible = told.index < entry.at.index && told.index >= line.identity().begins_at;
  // An engine may leave out entries that hold nothing, just before this one.
  const std::optional<std::uint64_t> low = !possible ? std::nullopt
                                           : told.index < line.position().index
                                               ? line.low_as_of(told.index)
                                               : std::optional(line.position().hash.low);
  ++parts_->counters.witnesses;
  if (possible && !low) {
    ++parts_->counters.witnesses_unknown;
    return std::nullopt;
  }
  if (possible && *low == told.low) {
    parts_->equal_as_of = told.index;
    return std::nullopt;
  }
  return halt(errc::diverged,
              "its proposer has another history as of log index " +
                  std::to_string(told.index.value) + " (equal as of " +
                  std::to_string(parts_->equal_as_of.value) + "), at",
              entry.at.index);
}

// ---- where the log and the files part

/// The replica stops: what it has and what its log says are not one history.
QUORLITE_DECL void machine_entries::note(const std::optional<history_gap>& found) noexcept try {
  if (found) {
    halt(errc::diverged,
         "the log and the files part after log index " + std::to_string(found->equal.value) +
             ", at the latest at",
         found->differs);
  }
} catch (const std::bad_alloc&) {
  halt(errc::diverged, "the log and the files part before", found->differs);
}

/// A replay of what the base holds already: the history is compared with the base's, and the frames
/// that were staged when it was stored are staged again.
QUORLITE_DECL void machine_entries::stage_again(const hashed_entry& entry) {
  parts_->told = std::max(parts_->told, entry.at.index);
  const quorlite::leader_info& now = parts_->proposals.leader();
  if (now.leading && entry.at.term == now.term) {
    // What a leader proposes comes behind all that was committed before: its log had lost that.
    halt(errc::log_too_short, "the log ended before the state does, behind", parts_->applied.index);
    return;
  }
  if (entry.at.index <= parts_->staged_up_to) {
    return;
  }
  const history_hash before = parts_->line.replayed().position().hash;
  if (entry.bytes.empty()) {
    skip_again(entry.at.index);
    return;
  }
  note(parts_->line.replay(entry.at.index, entry.bytes.size(), entry.digest));
  parts_->staged_up_to = entry.at.index;
  if (options_.legacy != nullptr && options_.legacy->admits(entry.bytes)) {
    const bool is_refused =
        parts_->line.has_begun() && entry.at.index >= parts_->line.identity().begins_at;
    if (is_refused) {
      return;  // as apply() did
    }
    return options_.legacy->stage_again(parts_->assembly, entry);
  }
  const result<command> decoded = native::decode(entry.bytes, options_.lock_byte);
  if (!decoded || !stands_in_history(entry.at.index, *decoded)) {
    return;
  }
  parts_->assembly.overtake(decoded->id.term);
  if (const auto* const frames = std::get_if<write_set_command>(&decoded->body)) {
    const auto whole = parts_->assembly.take(decoded->id, *frames, entry, before);
    if (!whole || *whole) {
      parts_->assembly.end(decoded->id);
    }
  } else if (const auto* const undo = std::get_if<undo_command>(&decoded->body)) {
    parts_->assembly.undo(undo->target);
  } else if (const auto* const drop = std::get_if<drop_command>(&decoded->body)) {
    parts_->assembly.drop_database(drop->name);
  }
}

/// What judge() made of an entry, when it was applied.
QUORLITE_DECL bool machine_entries::stands_in_history(log_index at, const command& what) {
  const history_identity& begun = parts_->line.identity();
  if (at == begun.begins_at) {
    parts_->assembly.drop_all();
    return false;
  }
  const bool is_above = parts_->line.has_begun() && at > begun.begins_at;
  return !is_above || what.format != 1;
}

QUORLITE_DECL void machine_entries::skip_again(log_index upto) noexcept {
  parts_->told = std::max(parts_->told, upto);
  if (upto > parts_->staged_up_to) {
    note(parts_->line.replay_to(std::min(upto, parts_->applied.index)));
    parts_->staged_up_to = upto;
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
