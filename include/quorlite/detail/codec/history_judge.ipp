/// @file
/// Bodies of history_judge.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <variant>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/codec/command.hpp"
#include "quorlite/detail/codec/history_judge.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/codec/native_payload.ipp"  // IWYU pragma: keep
#include "quorlite/detail/core/history_trail.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// What an entry claims. Read without its checksum and its rules, which cost more than the rest:
/// they are looked at where a claim speaks against its sender.
struct history_judge::claim {
  std::uint8_t format = 0;  ///< 0: it claims nothing
  std::uint8_t kind = 0;
  transaction_id id{};
  history_witness told{};      ///< of format 2
  cluster_identity cluster{};  ///< of an identity

  [[nodiscard]] bool is_identity() const noexcept {
    return format == 2 && kind == static_cast<std::uint8_t>(entry_kind::identity);
  }
  [[nodiscard]] static claim of(bytes_view entry) noexcept;
};

QUORLITE_DECL history_judge::claim history_judge::claim::of(bytes_view entry) noexcept {
  wire_reader reader{entry};
  const std::uint32_t magic = reader.u32();
  claim made;
  made.format = reader.u8();
  made.kind = reader.u8();
  static_cast<void>(reader.u32());     // the checksum
  static_cast<void>(reader.varint());  // the length of what follows
  made.id.term = term{reader.varint()};
  made.id.sequence = reader.varint();
  if (made.is_identity()) {
    static_cast<void>(reader.u32());  // the format
    made.cluster.low = reader.u64();
    made.cluster.high = reader.u64();
  } else if (made.format == 2) {
    made.told.index = log_index{reader.varint()};
    made.told.low = reader.u64();
  }
  const bool is_read = !reader.failed() && magic == entry_magic && made.format != 0;
  return is_read && made.format <= entry_version_max ? made : claim{};
}

/// The identity entry that these bytes are, whole and by the rules. Nothing: they are none.
[[nodiscard]] QUORLITE_DECL std::optional<command> identity_in(bytes_view entry) {
  constexpr std::size_t kind_at = 5;
  const bool may_be = native::is_ours(entry) && entry.size() > kind_at &&
                      entry[kind_at] == static_cast<std::byte>(entry_kind::identity);
  if (!may_be) {
    return std::nullopt;
  }
  const result<command> decoded = native::decode(entry);
  const bool is_one = decoded && std::holds_alternative<identity_command>(decoded->body);
  return is_one ? std::optional(*decoded) : std::nullopt;
}

QUORLITE_DECL history_place place_of(const state_machine& machine, std::uint64_t entry) noexcept {
  const history_position at = machine.history();
  const history_identity begun = machine.base().begun;
  const bool is_above = begun.begins_at != log_index{} && at.index >= begun.begins_at;
  return {entry, at, !is_above || at.hash != history_hash{}, begun};
}

QUORLITE_DECL void carry(history_trail& along, std::uint64_t entry, bytes_view command) {
  if (along.end_place().begun.begins_at == log_index{}) {
    if (const auto identity = identity_in(command)) {
      const auto& said = std::get<identity_command>(identity->body);
      return along.add_identity(entry, command, identity->id.term, said.cluster);
    }
  }
  along.add(entry, command);
}

// ---- entries

QUORLITE_DECL history_judge::history_judge(const state_machine& machine, const history_trail& log,
                                           const history_place& behind) noexcept
    : machine_(machine), log_(log), behind_(behind.at.index) {
  run_.begin(behind, machine.history());
}

QUORLITE_DECL bool history_judge::object(log_index at, log_index compared,
                                         const char* why) noexcept {
  objection_ = {at, compared, why};
  return true;
}

/// An objection stands if the entry is whole and by the rules: damage says nothing of its sender,
/// and what breaks a rule every replica refuses alike.
QUORLITE_DECL history_verdict history_judge::add(std::uint64_t entry, bytes_view command) {
  const claim said = claim::of(command);
  if (said.format != 0 && objects_to(said)) {
    const result<quorlite::detail::command> decoded = native::decode(command);
    if (decoded || decoded.error() == errc::corrupt) {
      return decoded ? history_verdict::refuse : history_verdict::drop;
    }
  }
  carry(run_, entry, command);
  return history_verdict::fine;
}

QUORLITE_DECL bool history_judge::objects_to(const claim& said) {
  const history_place end = run_.end_place();
  const log_index n = end.at.index.next();
  const history_identity& begun = end.begun;
  const bool has_begun = begun.begins_at != log_index{};
  if (said.is_identity()) {  // above k it is refused alike by all
    const cluster_identity own = machine_.base().begun.cluster;
    return (!has_begun || n <= begun.begins_at) && own != cluster_identity{} &&
           said.cluster != own && object(n, n, "has the log of another cluster");
  }
  if (!has_begun) {
    return said.format >= 2 && object(n, {}, "has a history that does not begin in our log");
  }
  if (said.format >= 2) {
    return objects_to_witness(n, said.told.index, said.told.low);
  }
  return n > begun.begins_at && begun.begins_in != term{} && said.id.term != begun.begins_in &&
         object(n, begun.begins_at, "has a history that does not begin where ours does");
}

QUORLITE_DECL bool history_judge::objects_to_witness(log_index at, log_index w, std::uint64_t low) {
  if (w >= at) {
    return object(at, w, "has more of a log than there was");
  }
  const history_place end = run_.end_place();
  if (w < end.begun.begins_at) {
    return object(at, w, "has a history that begins before ours");
  }
  const std::optional<std::uint64_t> told = run_.low_as_of(w);
  const std::optional<std::uint64_t> known = told || w > behind_ ? told : log_.low_as_of(w);
  const bool differs = known ? *known != low : machine_.matches(w, low) == history_match::differs;
  return differs && object(at, w, "has another history");
}

// ---- snapshots

QUORLITE_DECL std::optional<history_objection> objection_to(const snapshot_history& told,
                                                            log_index at,
                                                            const state_machine& machine) noexcept {
  const history_identity own = machine.base().begun;
  if (own.begins_at == log_index{} || (told.begun.begins_at == log_index{} && at < own.begins_at)) {
    return std::nullopt;  // whoever has no history takes the first one that comes
  }
  if (told.begun.cluster != own.cluster || told.begun.begins_at != own.begins_at) {
    return history_objection{at, own.begins_at, "has a snapshot of another cluster"};
  }
  if (machine.matches(told.at.index, told.at.hash.low) == history_match::differs) {
    return history_objection{at, told.at.index, "has a snapshot of another history"};
  }
  for (std::size_t i = 0; i < told.mark_count; ++i) {
    const history_position& mark = told.marks[i];
    if (machine.matches(mark.index, mark.hash.low) == history_match::differs) {
      return history_objection{at, mark.index, "has a snapshot of another history"};
    }
  }
  return std::nullopt;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
