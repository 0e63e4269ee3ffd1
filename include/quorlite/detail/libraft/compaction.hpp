/// @file
/// When libraft takes a snapshot, and what it then keeps of its log. 0.15 counts entries, whatever
/// their size; this counts bytes, and moves its two knobs accordingly.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/lane.hpp"
#include "quorlite/raft/libraft_options.hpp"
#include "quorlite/detail/libraft/snapshot.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The engine's three calls about snapshots, and the bytes of its log. On the loop, but for fill().
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
