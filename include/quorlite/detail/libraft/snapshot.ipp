/// @file
/// Bodies of snapshot.hpp: the header, the memory of the engine, restores, and when to take one.
#pragma once

#include "quorlite/detail/libraft/snapshot.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <system_error>
#include <utility>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/core/history_marks.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/strand.hpp"
#include "quorlite/error.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The magic of a header. @param version '1' or '2'
[[nodiscard]] constexpr std::array<char, 4> libraft_snapshot_magic(char version) noexcept {
  return {'Q', 'L', 'S', version};
}

[[nodiscard]] inline std::uint32_t libraft_snapshot_check(bytes_view header) noexcept {
  return libraft_check(header.subspan(8), libraft_check(header.first(4)));
}

inline void store_hash(std::byte* into, const history_hash& hash) noexcept {
  store_little_endian(into, hash.low);
  store_little_endian(into + 8, hash.high);
}

[[nodiscard]] inline history_hash load_hash(const std::byte* from) noexcept {
  return {load_little_endian<std::uint64_t>(from), load_little_endian<std::uint64_t>(from + 8)};
}

QUORLITE_DECL void libraft_snapshot_header::encode(bytes_span into) const noexcept {
  const std::array<char, 4> magic = libraft_snapshot_magic(tells_history() ? '2' : '1');
  std::memcpy(into.data(), magic.data(), magic.size());
  store_little_endian(into.data() + 8, at.entry);
  store_little_endian(into.data() + 16, at.at.index.value);
  store_little_endian(into.data() + 24, at.at.term.value);
  store_little_endian(into.data() + 32, content_bytes);
  if (tells_history()) {
    encode_history(into);
  }
  store_little_endian(into.data() + 4, libraft_snapshot_check(into.first(size_bytes())));
}

/// From offset 40 on.
QUORLITE_DECL void libraft_snapshot_header::encode_history(bytes_span into) const noexcept {
  QUORLITE_ASSERT(history.at.index == at.at.index);
  const std::size_t marks = history.mark_count;
  const log_index newest = marks == 0 ? log_index{} : history.marks[marks - 1].index;
  store_hash(into.data() + 40, {history.begun.cluster.low, history.begun.cluster.high});
  store_hash(into.data() + 56, history.at.hash);
  store_little_endian(into.data() + 72, history.begun.begins_at.value);
  store_little_endian(into.data() + 80, newest.value / history_marks::distance);
  for (std::size_t i = 0; i < snapshot_history::marks_max; ++i) {
    store_hash(into.data() + 88 + 16 * i, i < marks ? history.marks[i].hash : history_hash{});
  }
}

/// @param from a whole header @returns false: no server has such a history at this place
QUORLITE_DECL bool libraft_snapshot_header::decode_history(bytes_view from) noexcept {
  const history_hash cluster = load_hash(from.data() + 40);
  history.begun.cluster = {cluster.low, cluster.high};
  history.at = {at.at.index, load_hash(from.data() + 56)};
  history.begun.begins_at.value = load_little_endian<std::uint64_t>(from.data() + 72);
  const auto newest = load_little_endian<std::uint64_t>(from.data() + 80);
  std::array<history_hash, snapshot_history::marks_max> hashes;
  for (std::size_t i = 0; i < hashes.size(); ++i) {
    hashes[i] = load_hash(from.data() + 88 + 16 * i);
  }
  const auto is_none = [](const history_hash& one) { return one == history_hash{}; };
  std::size_t count = 0;
  while (count < hashes.size() && !is_none(hashes[count])) {
    ++count;
  }
  history.mark_count = count;
  const auto rest = std::span(hashes).subspan(count);
  const bool is_sound = cluster != history_hash{} && history.at.hash != history_hash{} &&
                        tells_history() && history.begun.begins_at <= at.at.index &&
                        std::all_of(rest.begin(), rest.end(), is_none);
  history_marks rules;
  if (!is_sound || !rules.assign(newest, std::span(hashes).first(history.mark_count),
                                 history.begun.begins_at, at.at.index)) {
    return false;
  }
  for (std::size_t i = 0; i < history.mark_count; ++i) {
    const std::uint64_t number = newest - history.mark_count + 1 + i;
    history.marks[i] = {log_index{number * history_marks::distance}, hashes[i]};
  }
  return true;
}

QUORLITE_DECL result<libraft_snapshot_header> libraft_snapshot_header::decode(
    bytes_view whole) noexcept {
  return decode_front(whole, whole.size());
}

QUORLITE_DECL result<libraft_snapshot_header> libraft_snapshot_header::decode_front(
    bytes_view front, std::uint64_t whole_bytes) noexcept {
  const auto begins_with = [front](char version) {
    const std::array<char, 4> magic = libraft_snapshot_magic(version);
    return front.size() >= encoded_bytes &&
           std::memcmp(front.data(), magic.data(), magic.size()) == 0;
  };
  const bool tells_history = begins_with('2');
  const std::size_t size = tells_history ? encoded_bytes_max : encoded_bytes;
  if ((!tells_history && !begins_with('1')) || front.size() < size || whole_bytes < size ||
      load_little_endian<std::uint32_t>(front.data() + 4) !=
          libraft_snapshot_check(front.first(size))) {
    return fail(errc::corrupt);
  }
  libraft_snapshot_header header;
  header.at.entry = load_little_endian<std::uint64_t>(front.data() + 8);
  header.at.at.index.value = load_little_endian<std::uint64_t>(front.data() + 16);
  header.at.at.term.value = load_little_endian<std::uint64_t>(front.data() + 24);
  header.content_bytes = load_little_endian<std::uint64_t>(front.data() + 32);
  if (header.content_bytes != whole_bytes - size ||
      (tells_history && !header.decode_history(front))) {
    return fail(errc::corrupt);
  }
  return header;
}

QUORLITE_DECL bool libraft_snapshot_checksums::append(bytes_view part) {
  struct nobody {
    [[nodiscard]] std::error_code on_header(const snapshot_header&) { return {}; }
    [[nodiscard]] std::error_code on_page(std::size_t, page_number, std::uint64_t, bytes_view) {
      return {};
    }
  } sink;
  if (!is_begun_) {
    is_begun_ = true;
    is_ours_ = is_native_snapshot(part);
  }
  if (is_ours_ && !error_) {
    error_ = parser_.append(part, sink);
  }
  return !error_;
}

QUORLITE_DECL std::error_code libraft_snapshot_checksums::finish() noexcept {
  return !is_ours_ || error_ ? error_ : parser_.finish();
}

QUORLITE_DECL int libraft_snapshot_buffers::fill(snapshot_reader& from, const libraft_cursor& at,
                                                 raft_buffer*& bufs, unsigned& count) noexcept {
  const std::uint64_t size = from.size_bytes();
  const std::uint64_t parts = size / part_bytes + (size % part_bytes == 0 ? 1 : 2);
  if (parts > std::numeric_limits<unsigned>::max() / sizeof(raft_buffer)) {
    return RAFT_TOOBIG;
  }
  bufs =
      static_cast<raft_buffer*>(raft_calloc(static_cast<std::size_t>(parts), sizeof(raft_buffer)));
  if (bufs == nullptr) {
    return RAFT_NOMEM;
  }
  count = static_cast<unsigned>(parts);
  const libraft_snapshot_header header{at, size, from.history()};
  const bytes_span head = take(bufs[0], header.size_bytes());
  if (head.empty()) {
    return RAFT_NOMEM;
  }
  header.encode(head);
  std::uint64_t offset = 0;
  for (unsigned i = 1; i < count; ++i) {
    const auto wanted =
        static_cast<std::size_t>(std::min<std::uint64_t>(part_bytes, size - offset));
    const bytes_span part = take(bufs[i], wanted);
    if (part.empty()) {
      return RAFT_NOMEM;
    }
    if (const std::error_code error = from.read(offset, part)) {
      return error == errc::out_of_memory ? RAFT_NOMEM : RAFT_IOERR;
    }
    offset += wanted;
  }
  return 0;
}

QUORLITE_DECL bytes_span libraft_snapshot_buffers::take(raft_buffer& buffer,
                                                        std::size_t size) noexcept {
  buffer.base = raft_malloc(size);
  buffer.len = buffer.base == nullptr ? 0 : size;
  return {static_cast<std::byte*>(buffer.base), buffer.len};
}

QUORLITE_DECL std::error_code libraft_restore::prepare(state_machine& machine,
                                                       const raft_buffer& from) noexcept {
  const bytes_view whole = libraft_bytes(from);
  const result<libraft_snapshot_header> header = libraft_snapshot_header::decode(whole);
  if (!header) {
    return header.error();
  }
  ready_ = {from.base, header->at, whole.size(), nullptr};
  if (header->at.at.index <= std::max(machine.durable().index, told_before_)) {
    return {};  // it has all that, and the entries after it will come again
  }
  // 0.15 takes a snapshot for installed as soon as it has come, and never asks for it again: what
  // may pass by itself, such as a full disk, gets a second chance here.
  const bytes_view content = whole.subspan(header->size_bytes());
  std::error_code error = stage(machine, content);
  if (error) {
    error = stage(machine, content);
  }
  return error;
}

QUORLITE_DECL std::error_code libraft_restore::install(libraft_strand& strand,
                                                       raft_buffer& from) noexcept {
  if (ready_.base != from.base) {
    if (const std::error_code error = prepare(strand.machine(), from)) {
      return error;
    }
  }
  prepared ready = std::exchange(ready_, {});
  strand.move_to(ready.at);
  if (ready.stage != nullptr) {
    strand.carried_on(strand.machine().install(std::move(ready.stage), ready.at.at));
  }
  installed_bytes_ = ready.size;
  ++installed_;
  raft_free(from.base);
  from = {};
  return {};
}

QUORLITE_DECL std::error_code libraft_restore::stage(state_machine& machine,
                                                     bytes_view content) noexcept {
  result<std::unique_ptr<snapshot_stage>> begun = machine.begin_restore();
  if (!begun) {
    return begun.error();
  }
  while (!content.empty()) {
    const bytes_view part =
        content.first(std::min(content.size(), libraft_snapshot_buffers::part_bytes));
    if (const std::error_code error = (*begun)->append(part)) {
      return error;
    }
    content = content.subspan(part.size());
  }
  const std::error_code error = (*begun)->finish();
  ready_.stage = error ? nullptr : std::move(*begun);
  return error;
}

QUORLITE_DECL libraft_compaction::libraft_compaction(const libraft_options& options) noexcept
    : min_bytes_(options.snapshot_min_bytes),
      percent_(options.snapshot_percent),
      // More might fill the log by itself, and no snapshot would make room.
      trailing_bytes_(std::min(options.trailing_bytes, options.log_bytes / 4)),
      log_bytes_(options.log_bytes) {}

QUORLITE_DECL void libraft_compaction::attach(::raft& engine, libraft_strand& strand) noexcept {
  engine_ = &engine;
  strand_ = &strand;
  raft_set_snapshot_threshold(engine_, never);
}

QUORLITE_DECL void libraft_compaction::look() noexcept {
  raft_set_snapshot_threshold(engine_, is_due() ? 1 : never);
}

QUORLITE_DECL bool libraft_compaction::is_due() const noexcept {
  const std::uint64_t applied = strand_->applied_bytes();
  const bool is_enough = applied - base_bytes_ >= limit() && applied >= retry_bytes_;
  return reader_ == nullptr && (is_enough || pressed_ || (forced_ && now_ms() >= rest_until_ms_));
}

QUORLITE_DECL void libraft_compaction::force() noexcept {
  forced_ = true;
  rest_until_ms_ = 0;
  look();
}

QUORLITE_DECL bool libraft_compaction::press() noexcept {
  if (reader_ != nullptr || now_ms() < rest_until_ms_) {
    return false;
  }
  pressed_ = true;
  rest(0);
  look();
  return true;
}

QUORLITE_DECL void libraft_compaction::rest(std::uint64_t for_ms) noexcept {
  rest_until_ms_ = now_ms() + std::max<std::uint64_t>(for_ms, engine_->election_timeout);
}

QUORLITE_DECL int libraft_compaction::begin() noexcept {
  strand_->catch_up();
  state_machine& machine = strand_->machine();
  if (strand_->ended() || machine.applied().index != strand_->cursor().at.index) {
    return RAFT_BUSY;  // a machine that is ahead of its replay has no state of this entry
  }
  result<std::unique_ptr<snapshot_reader>> reader = machine.take_snapshot();
  if (!reader || (*reader)->at().index != strand_->cursor().at.index) {
    return RAFT_BUSY;
  }
  reader_ = std::move(*reader);
  at_ = strand_->cursor();
  at_bytes_ = strand_->applied_bytes();
  raft_set_snapshot_threshold(engine_, never);
  raft_set_snapshot_trailing(engine_, entries_to_keep());
  began_ms_ = now_ms();
  began_forced_ = std::exchange(forced_, false);
  pressed_ = false;
  return 0;
}

QUORLITE_DECL void libraft_compaction::end(raft_buffer*& bufs, unsigned& count) noexcept {
  std::uint64_t size = 0;
  for (unsigned i = 0; bufs != nullptr && i < count; ++i) {
    size += bufs[i].len;
  }
  libraft_free_buffers(bufs, count);
  reader_.reset();
  if (engine_->log.snapshot.last_index >= at_.entry) {
    stored(size, at_bytes_, trailing_);
    ++taken_;
  } else {
    ++failed_;
    // The log grows meanwhile. At its limit nothing is applied any more: then it is pressed.
    retry_bytes_ = strand_->applied_bytes() + limit() / 4 + 1;
    forced_ = forced_ || began_forced_;
    rest(4 * (now_ms() - began_ms_));
  }
}

QUORLITE_DECL std::uint64_t libraft_compaction::limit() const noexcept {
  const std::uint64_t part = snapshot_bytes_ / 100 * percent_;
  return std::min(std::max(min_bytes_, part), log_bytes_ / 2);
}

QUORLITE_DECL void libraft_compaction::stored(std::uint64_t size, std::uint64_t up_to,
                                              std::uint64_t kept) noexcept {
  snapshot_bytes_ = size;
  base_bytes_ = up_to;
  kept_bytes_ = kept;
  retry_bytes_ = 0;
  rest_until_ms_ = 0;
}

QUORLITE_DECL unsigned libraft_compaction::entries_to_keep() noexcept {
  unsigned entries = 0;
  trailing_ = 0;
  for (std::uint64_t at = at_.entry; at > 0 && entries < never; --at) {
    const raft_entry* const entry = libraft_entry_at(engine_->log, at);
    const std::uint64_t more = libraft_bytes_held(entry == nullptr ? 0 : entry->buf.len);
    if (entry == nullptr || trailing_ + more > trailing_bytes_ || forced_) {
      break;
    }
    trailing_ += more;
    ++entries;
  }
  return std::max(entries, 1U);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
