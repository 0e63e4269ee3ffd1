/// @file
/// The machine's snapshots: how libraft stores and sends them, when it takes one, and how one that
/// came is restored. A header in front tells where it stands in both ways of counting.
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 0 | 4 | "QLS1"; "QLS2" once the history has begun |
/// | 4 | 4 | check of all other bytes of this header (FNV-1a, 32 bits) |
/// | 8 | 8 | index of libraft: the last entry that it contains |
/// | 16 | 8 | log index of the machine there |
/// | 24 | 8 | term of that entry |
/// | 32 | 8 | bytes of the machine's snapshot, which follow |
///
/// That is all of "QLS1". In "QLS2" follows, so that a snapshot can be judged before its content:
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 40 | 16 | cluster id; its low half first, as in each hash |
/// | 56 | 16 | hash of the history as of the log index |
/// | 72 | 8 | log index of the entry that begins the history |
/// | 80 | 8 | number m of the newest mark, which stands at log index m * 16384; 0: there is none |
/// | 88 | 1024 | up to 64 marks of 16 bytes, oldest first, and zeros behind them |
///
/// Numbers are little-endian.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <system_error>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/codec/snapshot.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/strand.hpp"
#include "quorlite/error.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

struct libraft_snapshot_header {
  static constexpr std::size_t encoded_bytes = 40;        ///< of one without a history
  static constexpr std::size_t encoded_bytes_max = 1112;  ///< of one with it

  libraft_cursor at;
  std::uint64_t content_bytes = 0;
  /// All zero: it has not begun. The term in which it began is not told here.
  snapshot_history history{};

  [[nodiscard]] bool tells_history() const noexcept {
    return history.begun.begins_at != log_index{};
  }
  /// Of this header.
  [[nodiscard]] std::size_t size_bytes() const noexcept {
    return tells_history() ? encoded_bytes_max : encoded_bytes;
  }

  /// @param into size_bytes(), or more @pre a history is one as of `at`
  void encode(bytes_span into) const noexcept;

  /// @param whole header and content. Total: any bytes may be given.
  /// @returns errc::corrupt
  [[nodiscard]] static result<libraft_snapshot_header> decode(bytes_view whole) noexcept;
  /// The same of the first encoded_bytes_max, or as many as there are. @param whole_bytes header
  /// and content
  [[nodiscard]] static result<libraft_snapshot_header> decode_front(
      bytes_view front, std::uint64_t whole_bytes) noexcept;

 private:
  void encode_history(bytes_span into) const noexcept;
  [[nodiscard]] bool decode_history(bytes_view from) noexcept;
};

/// Looks whether the machine's snapshot, which comes in parts, is what was written. Of a machine
/// that writes other snapshots than ours nothing is known here: any bytes will do.
class libraft_snapshot_checksums {
 public:
  /// @returns false: it is damaged, or of a newer version; what follows does not matter
  [[nodiscard]] bool append(bytes_view part);
  /// The last part was given. @returns errc::corrupt, and what snapshot_parser says
  [[nodiscard]] std::error_code finish() noexcept;

 private:
  bool is_begun_ = false;
  bool is_ours_ = true;
  std::error_code error_;
  snapshot_parser parser_ = snapshot_parser::of_checksums();
};

/// Memory of the engine that holds a snapshot: the header, then parts of 1 MiB. Filling takes as
/// much memory as the snapshot is long: so 0.15 wants it.
struct libraft_snapshot_buffers {
  static constexpr std::size_t part_bytes = std::size_t{1} << 20U;

  /// Any thread.
  /// @returns RAFT_NOMEM, RAFT_TOOBIG, RAFT_IOERR; `bufs` and `count` are to be released
  [[nodiscard]] static int fill(snapshot_reader& from, const libraft_cursor& at, raft_buffer*& bufs,
                                unsigned& count) noexcept;

 private:
  [[nodiscard]] static bytes_span take(raft_buffer& buffer, std::size_t size) noexcept;
};

/// A snapshot that arrived, on its way into the machine. The long part, `prepare`, may run beside
/// the loop; `install` is short.
class libraft_restore {
 public:
  /// Before the first one. The machine was told all up to here, and has it in memory at least: what
  /// a snapshot of that has, also of transactions that have not ended, is there. Its files may be
  /// behind: then the next start restores the snapshot, which stays in the log.
  void go_on_from(log_index told) noexcept { told_before_ = told; }
  [[nodiscard]] log_index told_before() const noexcept { return told_before_; }

  /// Any thread, but one at a time. Remembers what it made of these bytes until install().
  /// @returns errc::corrupt, and what the stage says
  [[nodiscard]] std::error_code prepare(state_machine& machine, const raft_buffer& from) noexcept;

  /// The strand. Prepares first what was not. On success the buffer is released.
  /// @returns what prepare() does: the buffer stays the engine's
  [[nodiscard]] std::error_code install(libraft_strand& strand, raft_buffer& from) noexcept;

  [[nodiscard]] std::uint64_t installed() const noexcept { return installed_; }
  [[nodiscard]] std::uint64_t installed_bytes() const noexcept { return installed_bytes_; }

 private:
  struct prepared {
    const void* base = nullptr;  // of the bytes it was made of
    libraft_cursor at;
    std::uint64_t size = 0;
    std::unique_ptr<snapshot_stage> stage;  // none: the machine has more than this
  };

  [[nodiscard]] std::error_code stage(state_machine& machine, bytes_view content) noexcept;

  log_index told_before_;
  prepared ready_;
  std::uint64_t installed_ = 0;
  std::uint64_t installed_bytes_ = 0;
};

/// When the engine takes a snapshot, and what it then keeps of its log. 0.15 counts entries,
/// whatever their size; this counts bytes, and moves its two knobs accordingly.
///
/// The engine's three calls about snapshots, and the bytes of its log. On the loop, but for fill().
class libraft_compaction {
 public:
  explicit libraft_compaction(const libraft_options& options) noexcept;

  /// Before the engine starts.
  void attach(::raft& engine, libraft_strand& strand) noexcept;

  /// After each command, from inside the engine's apply, and after whatever else the engine did: it
  /// looks at its threshold after the last entry that it applies.
  void look() noexcept;

  /// Takes one after the next entry that is applied, keeping almost no entry before it. One that
  /// fails is tried again after an entry that comes some time later.
  void force() noexcept;

  /// The log is full, and somebody asked for more. @returns true: append an entry for nobody, after
  /// which one is taken; false: not now, for one is being taken, or such an entry was asked for, or
  /// the last one failed, a short while ago
  [[nodiscard]] bool press() noexcept;

  /// raft_fsm::snapshot. Pins the state. @returns RAFT_BUSY for any reason not to, since any other
  /// code would end a follower; the engine asks again after its next entry
  [[nodiscard]] int begin() noexcept;

  /// raft_fsm::snapshot_async: any thread, between begin() and end().
  [[nodiscard]] int fill(raft_buffer*& bufs, unsigned& count) noexcept {
    return libraft_snapshot_buffers::fill(*reader_, at_, bufs, count);
  }

  /// raft_fsm::snapshot_finalize, whether it was written or not.
  void end(raft_buffer*& bufs, unsigned& count) noexcept;

  /// Another server's snapshot took the place of the log.
  void restored(std::uint64_t size) noexcept { stored(size, strand_->applied_bytes(), 0); }

  /// Bytes of entries in memory that were applied here; those in flight come on top.
  [[nodiscard]] std::uint64_t applied_log_bytes() const noexcept {
    return kept_bytes_ + strand_->applied_bytes() - base_bytes_;
  }
  [[nodiscard]] std::uint64_t snapshot_bytes() const noexcept { return snapshot_bytes_; }
  [[nodiscard]] std::uint64_t taken() const noexcept { return taken_; }
  [[nodiscard]] std::uint64_t failed() const noexcept { return failed_; }

 private:
  static constexpr unsigned never = std::numeric_limits<unsigned>::max();

  [[nodiscard]] std::uint64_t limit() const noexcept;
  [[nodiscard]] bool is_due() const noexcept;
  /// By the engine's clock.
  [[nodiscard]] std::uint64_t now_ms() const noexcept { return engine_->io->time(engine_->io); }
  /// Nothing is forced or pressed for so long, and an election timeout at least.
  void rest(std::uint64_t for_ms) noexcept;

  void stored(std::uint64_t size, std::uint64_t up_to, std::uint64_t kept) noexcept;

  /// At least 1: told 0, the engine's disk drops every entry, those after the snapshot too.
  [[nodiscard]] unsigned entries_to_keep() noexcept;

  const std::uint64_t min_bytes_;
  const std::uint64_t percent_;
  const std::uint64_t trailing_bytes_;
  const std::uint64_t log_bytes_;
  ::raft* engine_ = nullptr;
  libraft_strand* strand_ = nullptr;
  std::unique_ptr<snapshot_reader> reader_;  // of the one being taken
  libraft_cursor at_;
  std::uint64_t at_bytes_ = 0;
  std::uint64_t trailing_ = 0;
  std::uint64_t began_ms_ = 0;
  bool began_forced_ = false;
  bool forced_ = false;
  bool pressed_ = false;
  std::uint64_t rest_until_ms_ = 0;
  std::uint64_t base_bytes_ = 0;   // strand bytes that the last snapshot contains
  std::uint64_t kept_bytes_ = 0;   // of entries before it
  std::uint64_t retry_bytes_ = 0;  // strand bytes from which a failed one is tried again
  std::uint64_t snapshot_bytes_ = 0;
  std::uint64_t taken_ = 0;
  std::uint64_t failed_ = 0;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/snapshot.ipp"  // IWYU pragma: keep
#endif
