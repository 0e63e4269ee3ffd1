/// @file
/// The machine's snapshots: how libraft stores and sends them, when it takes one, and how one that
/// came is restored. A header in front tells where it stands in both ways of counting.
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 0 | 4 | "QLS1" |
/// | 4 | 4 | check of the other 36 bytes of this header (FNV-1a, 32 bits) |
/// | 8 | 8 | index of libraft: the last entry that it contains |
/// | 16 | 8 | log index of the machine there |
/// | 24 | 8 | term of that entry |
/// | 32 | 8 | bytes of the machine's snapshot, which follow |
///
/// Numbers are little-endian.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <system_error>
#include <utility>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/lane.hpp"
#include "quorlite/error.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

struct libraft_snapshot_header {
  static constexpr std::size_t encoded_bytes = 40;

  libraft_cursor at;
  std::uint64_t content_bytes = 0;

  void encode(bytes_span into) const noexcept {
    std::memcpy(into.data(), magic.data(), magic.size());
    store_little_endian(into.data() + 8, at.entry);
    store_little_endian(into.data() + 16, at.at.index.value);
    store_little_endian(into.data() + 24, at.at.term.value);
    store_little_endian(into.data() + 32, content_bytes);
    store_little_endian(into.data() + 4, check_of(into));
  }

  /// @param whole header and content. Total: any bytes may be given.
  /// @returns errc::corrupt
  [[nodiscard]] static result<libraft_snapshot_header> decode(bytes_view whole) noexcept {
    if (whole.size() < encoded_bytes ||
        std::memcmp(whole.data(), magic.data(), magic.size()) != 0 ||
        load_little_endian<std::uint32_t>(whole.data() + 4) != check_of(whole)) {
      return failed(errc::corrupt);
    }
    libraft_snapshot_header header;
    header.at.entry = load_little_endian<std::uint64_t>(whole.data() + 8);
    header.at.at.index.value = load_little_endian<std::uint64_t>(whole.data() + 16);
    header.at.at.term.value = load_little_endian<std::uint64_t>(whole.data() + 24);
    header.content_bytes = load_little_endian<std::uint64_t>(whole.data() + 32);
    if (header.content_bytes != whole.size() - encoded_bytes) {
      return failed(errc::corrupt);
    }
    return header;
  }

 private:
  static constexpr std::array<char, 4> magic{'Q', 'L', 'S', '1'};

  [[nodiscard]] static std::uint32_t check_of(bytes_view whole) noexcept {
    return libraft_check(whole.subspan(8, encoded_bytes - 8), libraft_check(whole.first(4)));
  }
};

/// Memory of the engine that holds a snapshot: the header, then parts of 1 MiB.
/// Filling takes as much memory as the snapshot is long: so 0.15 wants it.
struct libraft_snapshot_buffers {
  static constexpr std::size_t part_bytes = std::size_t{1} << 20U;

  /// Any thread. @returns RAFT_NOMEM, RAFT_TOOBIG, RAFT_IOERR; `bufs` and `count` are to be
  /// released
  [[nodiscard]] static int fill(snapshot_reader& from, const libraft_cursor& at, raft_buffer*& bufs,
                                unsigned& count) noexcept {
    const std::uint64_t size = from.size_bytes();
    const std::uint64_t parts = size / part_bytes + (size % part_bytes == 0 ? 1 : 2);
    if (parts > std::numeric_limits<unsigned>::max() / sizeof(raft_buffer)) {
      return RAFT_TOOBIG;
    }
    bufs = static_cast<raft_buffer*>(
        raft_calloc(static_cast<std::size_t>(parts), sizeof(raft_buffer)));
    if (bufs == nullptr) {
      return RAFT_NOMEM;
    }
    count = static_cast<unsigned>(parts);
    const bytes_span head = take(bufs[0], libraft_snapshot_header::encoded_bytes);
    if (head.empty()) {
      return RAFT_NOMEM;
    }
    libraft_snapshot_header{at, size}.encode(head);
    std::uint64_t offset = 0;
    for (unsigned i = 1; i < count; ++i) {
      const auto wanted =
          static_cast<std::size_t>(std::min<std::uint64_t>(part_bytes, size - offset));
      const bytes_span part = take(bufs[i], wanted);
      if (part.empty()) {
        return RAFT_NOMEM;
      }
      if (from.read(offset, part)) {
        return RAFT_IOERR;
      }
      offset += wanted;
    }
    return 0;
  }

  static void release(raft_buffer*& bufs, unsigned& count) noexcept {
    for (unsigned i = 0; bufs != nullptr && i < count; ++i) {
      raft_free(bufs[i].base);
    }
    raft_free(bufs);
    bufs = nullptr;
    count = 0;
  }

 private:
  [[nodiscard]] static bytes_span take(raft_buffer& buffer, std::size_t size) noexcept {
    buffer.base = raft_malloc(size);
    buffer.len = buffer.base == nullptr ? 0 : size;
    return {static_cast<std::byte*>(buffer.base), buffer.len};
  }
};

/// A snapshot that arrived, on its way into the machine. The long part, `prepare`, may run beside
/// the loop; `install` is short.
class libraft_restore {
 public:
  /// Any thread, but one at a time. Remembers what it made of these bytes until install().
  /// @returns errc::corrupt, and what the stage says
  [[nodiscard]] std::error_code prepare(state_machine& machine, const raft_buffer& from) noexcept {
    const bytes_view whole = libraft_bytes(from);
    const result<libraft_snapshot_header> header = libraft_snapshot_header::decode(whole);
    if (!header) {
      return header.error();
    }
    ready_ = {from.base, header->at, whole.size(), nullptr};
    if (header->at.at.index <= machine.durable().index) {
      return {};  // it has all that, and the entries after it will come again
    }
    // 0.15 takes a snapshot for installed as soon as it has come, and never asks for it again: what
    // may pass by itself, such as a full disk, gets a second chance here.
    std::error_code error = stage(machine, whole.subspan(libraft_snapshot_header::encoded_bytes));
    if (error) {
      error = stage(machine, whole.subspan(libraft_snapshot_header::encoded_bytes));
    }
    return error;
  }

  /// The lane. Prepares first what was not. On success the buffer is released.
  /// @returns what prepare() does: the buffer stays the engine's
  [[nodiscard]] std::error_code install(libraft_lane& lane, raft_buffer& from) noexcept {
    if (ready_.base != from.base) {
      if (const std::error_code error = prepare(lane.machine(), from)) {
        return error;
      }
    }
    prepared ready = std::exchange(ready_, {});
    lane.move_to(ready.at);
    if (ready.stage != nullptr) {
      lane.carried_on(lane.machine().install(std::move(ready.stage), ready.at.at));
    }
    installed_bytes_ = ready.size;
    ++installed_;
    raft_free(from.base);
    from = {};
    return {};
  }

  [[nodiscard]] std::uint64_t installed() const noexcept { return installed_; }
  [[nodiscard]] std::uint64_t installed_bytes() const noexcept { return installed_bytes_; }

 private:
  struct prepared {
    const void* base = nullptr;  // of the bytes it was made of
    libraft_cursor at;
    std::uint64_t size = 0;
    std::unique_ptr<snapshot_stage> stage;  // none: the machine has more than this
  };

  [[nodiscard]] std::error_code stage(state_machine& machine, bytes_view content) noexcept {
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

  prepared ready_;
  std::uint64_t installed_ = 0;
  std::uint64_t installed_bytes_ = 0;
};

/// When the engine takes a snapshot, and what it then keeps of its log: 0.15 counts entries, whatever
/// their size; this counts bytes, and moves its two knobs accordingly. Also its three calls about
/// snapshots, and the bytes of its log. On the loop, but for fill().
class libraft_compaction {
 public:
  explicit libraft_compaction(const libraft_options& options) noexcept
      : min_bytes_(options.snapshot_min_bytes),
        percent_(options.snapshot_percent),
        trailing_bytes_(options.trailing_bytes),
        log_bytes_(options.log_bytes) {}

  /// Before the engine starts.
  void attach(::raft& engine, libraft_lane& lane) noexcept {
    engine_ = &engine;
    lane_ = &lane;
    raft_set_snapshot_threshold(engine_, never);
  }

  /// After each entry, from inside the engine's apply: it looks at the threshold after the last.
  void note_applied() noexcept {
    if (lane_->applied_bytes() - base_bytes_ >= limit() + patience_) {
      raft_set_snapshot_threshold(engine_, 1);
    }
  }

  /// Takes one after the next entry that is applied, keeping almost no entry before it.
  void force() noexcept {
    forced_ = true;
    raft_set_snapshot_threshold(engine_, 1);
  }

  /// raft_fsm::snapshot. Pins the state. @returns RAFT_BUSY for any reason not to, since any other
  /// code would end a follower; the engine asks again after its next entry
  [[nodiscard]] int begin() noexcept {
    lane_->catch_up();
    state_machine& machine = lane_->machine();
    if (lane_->ended() || machine.applied().index != lane_->cursor().at.index) {
      return RAFT_BUSY;  // a machine that is ahead of its replay has no state of this entry
    }
    result<std::unique_ptr<snapshot_reader>> reader = machine.take_snapshot();
    if (!reader || (*reader)->at().index != lane_->cursor().at.index) {
      return RAFT_BUSY;
    }
    reader_ = std::move(*reader);
    at_ = lane_->cursor();
    at_bytes_ = lane_->applied_bytes();
    raft_set_snapshot_threshold(engine_, never);
    raft_set_snapshot_trailing(engine_, entries_to_keep());
    return 0;
  }

  /// raft_fsm::snapshot_async: any thread, between begin() and end().
  [[nodiscard]] int fill(raft_buffer*& bufs, unsigned& count) noexcept {
    return libraft_snapshot_buffers::fill(*reader_, at_, bufs, count);
  }

  /// raft_fsm::snapshot_finalize, whether it was written or not.
  void end(raft_buffer*& bufs, unsigned& count) noexcept {
    std::uint64_t size = 0;
    for (unsigned i = 0; bufs != nullptr && i < count; ++i) {
      size += bufs[i].len;
    }
    libraft_snapshot_buffers::release(bufs, count);
    reader_.reset();
    if (engine_->log.snapshot.last_index >= at_.entry) {
      stored(size, at_bytes_, trailing_);
      ++taken_;
    } else {
      ++failed_;
      patience_ += limit() / 4 + 1;  // the log grows meanwhile: proposals are refused at its limit
    }
    forced_ = false;
  }

  /// Another server's snapshot took the place of the log.
  void restored(std::uint64_t size) noexcept { stored(size, lane_->applied_bytes(), 0); }

  /// Bytes of entries in memory that were applied here; those in flight come on top.
  [[nodiscard]] std::uint64_t applied_log_bytes() const noexcept {
    return kept_bytes_ + lane_->applied_bytes() - base_bytes_;
  }
  [[nodiscard]] std::uint64_t snapshot_bytes() const noexcept { return snapshot_bytes_; }
  [[nodiscard]] std::uint64_t taken() const noexcept { return taken_; }
  [[nodiscard]] std::uint64_t failed() const noexcept { return failed_; }

 private:
  static constexpr unsigned never = std::numeric_limits<unsigned>::max();

  [[nodiscard]] std::uint64_t limit() const noexcept {
    const std::uint64_t part = snapshot_bytes_ / 100 * percent_;
    return std::min(std::max(min_bytes_, part), log_bytes_ / 2);
  }

  void stored(std::uint64_t size, std::uint64_t up_to, std::uint64_t kept) noexcept {
    snapshot_bytes_ = size;
    base_bytes_ = up_to;
    kept_bytes_ = kept;
    patience_ = 0;
  }

  /// At least 1: told 0, the engine's disk drops every entry, those after the snapshot too.
  [[nodiscard]] unsigned entries_to_keep() noexcept {
    unsigned entries = 0;
    trailing_ = 0;
    for (std::uint64_t at = at_.entry; at > 0 && entries < never; --at) {
      const raft_entry* const entry = libraft_entry_at(engine_->log, at);
      if (entry == nullptr || trailing_ + entry->buf.len > trailing_bytes_ || forced_) {
        break;
      }
      trailing_ += entry->buf.len;
      ++entries;
    }
    return std::max(entries, 1U);
  }

  const std::uint64_t min_bytes_;
  const std::uint64_t percent_;
  const std::uint64_t trailing_bytes_;
  const std::uint64_t log_bytes_;
  ::raft* engine_ = nullptr;
  libraft_lane* lane_ = nullptr;
  std::unique_ptr<snapshot_reader> reader_;  // of the one being taken
  libraft_cursor at_;
  std::uint64_t at_bytes_ = 0;
  std::uint64_t trailing_ = 0;
  bool forced_ = false;
  std::uint64_t base_bytes_ = 0;  // lane bytes that the last snapshot contains
  std::uint64_t kept_bytes_ = 0;  // of entries before it
  std::uint64_t patience_ = 0;    // more bytes before a failed one is tried again
  std::uint64_t snapshot_bytes_ = 0;
  std::uint64_t taken_ = 0;
  std::uint64_t failed_ = 0;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
