/// @file
/// Bodies of history_notes.hpp.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "quorlite/config.hpp"
#include "quorlite/detail/codec/history_notes.hpp"
#include "quorlite/detail/core/history_marks.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

inline void write_hash(wire_writer& out, const history_hash& hash) {
  out.u64(hash.low);
  out.u64(hash.high);
}

[[nodiscard]] inline history_hash read_hash(wire_reader& from) noexcept {
  const std::uint64_t low = from.u64();
  return {low, from.u64()};
}

QUORLITE_DECL void encode_history(wire_writer& out, const history_notes& notes) {
  write_hash(out, {notes.cluster.low, notes.cluster.high});
  out.u64(notes.begins_at.value);
  out.u64(notes.begins_in.value);
  write_hash(out, notes.at);
  write_hash(out, notes.replay_from);
  out.u64(notes.marks.newest());
  out.u32(static_cast<std::uint32_t>(notes.marks.size()));
  for (std::size_t i = 0; i < notes.marks.size(); ++i) {
    write_hash(out, notes.marks.from_oldest(i));
  }
}

QUORLITE_DECL result<history_notes> decode_history(wire_reader& from, log_index at) {
  history_notes notes;
  const history_hash cluster = read_hash(from);
  notes.cluster = {cluster.low, cluster.high};
  notes.begins_at = log_index{from.u64()};
  notes.begins_in = term{from.u64()};
  notes.at = read_hash(from);
  notes.replay_from = read_hash(from);
  const std::uint64_t newest = from.u64();
  const std::uint32_t count = from.u32();
  const bool is_sound = !from.failed() && notes.cluster != cluster_identity{} &&
                        notes.begins_at.value != 0 && notes.begins_at <= at &&
                        notes.begins_in.value != 0 && notes.at != history_hash{} &&
                        count <= history_marks::kept_max;
  if (!is_sound) {
    return fail(errc::malformed);
  }
  std::array<history_hash, history_marks::kept_max> marks;
  for (std::uint32_t i = 0; i < count; ++i) {
    marks[i] = read_hash(from);
  }
  const std::span<const history_hash> oldest_first(marks.data(), count);
  if (from.failed() || !notes.marks.assign(newest, oldest_first, notes.begins_at, at)) {
    return fail(errc::malformed);
  }
  return notes;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
