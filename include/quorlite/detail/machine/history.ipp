/// @file
/// Bodies of history.hpp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "quorlite/config.hpp"
#include "quorlite/detail/codec/history_notes.hpp"
#include "quorlite/detail/core/history_hash.hpp"
#include "quorlite/detail/machine/history.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL std::optional<std::uint64_t> history::low_as_of(log_index w) const noexcept {
  if (!has_begun() || w < identity_.begins_at || w > position_.index) {
    return std::nullopt;
  }
  if (w == position_.index) {
    return position_.hash.low;
  }
  if (const std::optional<std::uint64_t> recent = ring_.low_as_of(w)) {
    return recent;
  }
  if (const std::optional<history_hash> mark = marks_.find(w)) {
    return mark->low;
  }
  for (const history_position& anchor :
       {anchors_.replay_from, anchors_.at, anchors_.ahead, anchors_.snapshot}) {
    if (anchor.index == w && anchor.hash != history_hash{}) {
      return anchor.hash.low;
    }
  }
  return std::nullopt;
}

// ---- above the position

QUORLITE_DECL history::gap history::begin(const history_identity& identity, std::uint64_t length,
                                          const history_hash& digest) {
  QUORLITE_ASSERT(!has_begun());
  QUORLITE_ASSERT(identity.begins_at > position_.index);
  ring_.reserve();
  const log_index before{identity.begins_at.value - 1};
  const gap passed = advance(before);
  identity_ = identity;
  marks_.clear(before);
  ring_.clear();
  extend(identity.begins_at, length, digest);
  const gap reached = replayed_.resume(position_);
  return passed ? passed : reached;
}

QUORLITE_DECL history::gap history::add(log_index n, std::uint64_t length,
                                        const history_hash& digest) {
  QUORLITE_ASSERT(has_begun());
  QUORLITE_ASSERT(n > position_.index);
  ring_.reserve();
  if (n == position_.index.next() && ring_.covered() == position_.index &&
      replayed_.has_ended_at(position_)) {  // nearly always
    extend(n, length, digest);
    replayed_.follow(position_);
    return std::nullopt;
  }
  const gap passed = advance(log_index{n.value - 1});
  extend(n, length, digest);
  const gap reached = replayed_.resume(position_);
  return passed ? passed : reached;
}

QUORLITE_DECL history::gap history::advance(log_index to) noexcept {
  QUORLITE_ASSERT(to >= position_.index);
  // What a replay left out up to here held nothing.
  gap caught_up = replayed_.pass(position_.index);
  if (!replayed_.is_known() || replayed_.position() != position_) {
    const gap known = replayed_.resume(position_);  // zero, and known to be, before it has begun
    caught_up = caught_up ? caught_up : known;
  }
  if (has_begun()) {
    marks_.pass(to, position_.hash);
    if (ring_.covered() != position_.index) {  // it has no gaps
      ring_.begin(position_);
    }
    ring_.cover(to);
  }
  position_.index = to;
  const gap passed = replayed_.pass(to);
  return caught_up ? caught_up : passed;
}

/// @pre there is room in the ring, and `n` is the next index
QUORLITE_DECL void history::extend(log_index n, std::uint64_t length,
                                   const history_hash& digest) noexcept {
  position_ = {n, extend_history(position_.hash, n, length, digest)};
  marks_.pass(n, position_.hash);
  ring_.push(n, position_.hash.low);
}

// ---- at or below the position, once more

QUORLITE_DECL history::gap history::replay(log_index n, std::uint64_t length,
                                           const history_hash& digest) {
  QUORLITE_ASSERT(n <= position_.index);
  if (n <= replayed_.position().index) {
    return std::nullopt;
  }
  if (!has_begun() || n < identity_.begins_at) {
    return replay_to(n);
  }
  ring_.reserve();
  const gap passed = replay_to(log_index{n.value - 1});
  if (n == identity_.begins_at) {  // no anchor lies below, so nothing is compared
    static_cast<void>(replayed_.resume({log_index{n.value - 1}, {}}));
    ring_.clear();
  }
  const bool was_known = replayed_.is_known();
  const gap reached = replayed_.add(n, length, digest);
  if (was_known) {
    ring_.push(n, replayed_.position().hash.low);
  } else if (replayed_.is_known()) {
    ring_.begin(replayed_.position());
  }
  return passed ? passed : reached;
}

QUORLITE_DECL history::gap history::replay_to(log_index upto) noexcept {
  QUORLITE_ASSERT(upto <= position_.index);
  const bool was_known = replayed_.is_known();
  const gap found = replayed_.pass(upto);
  if (was_known) {
    ring_.cover(replayed_.position().index);
  } else if (replayed_.is_known()) {
    ring_.begin(replayed_.position());
  }
  return found;
}

QUORLITE_DECL history::gap history::replay_behind(const history_position& there) noexcept {
  QUORLITE_ASSERT(there.index <= position_.index);
  const log_index brought = replayed_.position().index;
  if (there.index < brought || (there.index == brought && replayed_.is_known())) {
    return std::nullopt;
  }
  const gap found =
      there.hash == history_hash{} ? replayed_.leap(there.index) : replayed_.resume(there);
  ring_.clear();
  if (replayed_.is_known()) {
    ring_.begin(replayed_.position());
  }
  return found;
}

// ---- as a whole

QUORLITE_DECL history::gap history::load(const std::optional<history_notes>& notes,
                                         log_index replay_from, log_index at,
                                         const history_position& ahead) noexcept {
  *this = {};
  position_.index = at;
  if (notes) {
    take(*notes, at);
  }
  anchors_.replay_from = {replay_from, notes ? notes->replay_from : history_hash{}};
  anchors_.at = position_;
  anchors_.ahead = ahead;
  replayed_.stand_at(replay_from);
  replayed_.expect(anchors_.replay_from);
  replayed_.expect(anchors_.at);
  replayed_.expect(anchors_.ahead);
  return replay_to(replay_from);
}

QUORLITE_DECL history::gap history::install(const history_notes& notes, log_index at) noexcept {
  QUORLITE_ASSERT(at > position_.index);
  take(notes, at);
  ring_.begin(position_);
  anchors_.snapshot = position_;
  return replayed_.resume(position_);
}

QUORLITE_DECL void history::take(const history_notes& notes, log_index at) noexcept {
  identity_ = {notes.begins_at, notes.begins_in, notes.cluster};
  position_ = {at, notes.at};
  marks_ = notes.marks;
}

QUORLITE_DECL history_notes history::notes(const history_hash& replay_from) const noexcept {
  QUORLITE_ASSERT(has_begun());
  return {identity_.cluster, identity_.begins_at, identity_.begins_in,
          position_.hash,    replay_from,         marks_};
}

QUORLITE_DECL snapshot_history history::told() const noexcept {
  snapshot_history made;
  if (!has_begun()) {
    return made;
  }
  made.begun = identity_;
  made.at = position_;
  static_assert(snapshot_history::marks_max == history_marks::kept_max);
  for (; made.mark_count < marks_.size(); ++made.mark_count) {
    const std::uint64_t number = marks_.newest() - marks_.size() + 1 + made.mark_count;
    made.marks[made.mark_count] = {log_index{number * history_marks::distance},
                                   marks_.from_oldest(made.mark_count)};
  }
  return made;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
