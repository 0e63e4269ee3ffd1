/// @file
/// The machine's snapshots as libraft stores and sends them, with a header that tells where they
/// stand in both ways of counting.
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

#include "quorlite/config.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/error.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/lane.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

struct libraft_snapshot_header {
  static constexpr std::size_t encoded_bytes = 40;

  libraft_cursor at;
  std::uint64_t content_bytes = 0;

  void encode(bytes_span into) const noexcept {
    std::memcpy(into.data(), magic.data(), magic.size());
    libraft_store(into, 8, at.entry);
    libraft_store(into, 16, at.at.index.value);
    libraft_store(into, 24, at.at.term.value);
    libraft_store(into, 32, content_bytes);
    libraft_store(into, 4, check_of(into));
  }

  /// @param whole header and content. Total: any bytes may be given.
  /// @returns errc::corrupt
  [[nodiscard]] static result<libraft_snapshot_header> decode(bytes_view whole) noexcept {
    if (whole.size() < encoded_bytes ||
        std::memcmp(whole.data(), magic.data(), magic.size()) != 0 ||
        libraft_load<std::uint32_t>(whole, 4) != check_of(whole)) {
      return failed(errc::corrupt);
    }
    libraft_snapshot_header header;
    header.at.entry = libraft_load<std::uint64_t>(whole, 8);
    header.at.at.index.value = libraft_load<std::uint64_t>(whole, 16);
    header.at.at.term.value = libraft_load<std::uint64_t>(whole, 24);
    header.content_bytes = libraft_load<std::uint64_t>(whole, 32);
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

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
