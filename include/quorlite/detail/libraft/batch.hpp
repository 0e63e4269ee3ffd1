/// @file
/// Several commands in one entry of libraft: one disk write and one message for all of them.
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 0 | 4 | "QLB1" |
/// | 4 | 4 | check of all other bytes before the commands (FNV-1a, 32 bits) |
/// | 8 | 4 | count of the commands, 1 to 65535 |
/// | 12 | 4 | bytes of all commands together |
/// | 16 | 4 × count | size of each command, 0 or more |
/// | … | | the commands, back to back |
/// | … | 0 to 7 | zeros, to a multiple of 8: libraft sends entries without any padding of its own |
///
/// Numbers are little-endian. Each command of a batch has a log index of its own
/// (libraft_lane.hpp).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/error.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Reads a batch. A view: the bytes stay the caller's.
class libraft_batch {
 public:
  static constexpr std::size_t commands_max = 65535;
  static constexpr std::size_t header_bytes = 16;

  /// What a batch of `count` commands with `payload` bytes takes in the log.
  [[nodiscard]] static constexpr std::size_t bytes_for(std::size_t count,
                                                       std::size_t payload) noexcept {
    return (header_bytes + 4 * count + payload + 7) / 8 * 8;
  }

  /// Checks every byte that is not a command's. Total: any bytes may be given.
  /// @returns errc::corrupt: damaged, or no batch of ours; there is no telling which
  [[nodiscard]] static result<libraft_batch> decode(bytes_view raw) noexcept {
    if (raw.size() < header_bytes || std::memcmp(raw.data(), magic.data(), magic.size()) != 0) {
      return failed(errc::corrupt);
    }
    const std::size_t count = load_little_endian<std::uint32_t>(raw.data() + 8);
    const std::size_t payload = load_little_endian<std::uint32_t>(raw.data() + 12);
    if (count == 0 || count > commands_max || (raw.size() - header_bytes) / 4 < count ||
        raw.size() != bytes_for(count, payload)) {
      return failed(errc::corrupt);
    }
    const std::size_t start = header_bytes + 4 * count;
    std::size_t sum = 0;
    for (std::size_t i = 0; i < count; ++i) {
      sum += load_little_endian<std::uint32_t>(raw.data() + header_bytes + 4 * i);
    }
    const bytes_view rest = raw.subspan(start + payload);
    const bool whole =
        sum == payload &&
        load_little_endian<std::uint32_t>(raw.data() + 4) == check_of(raw.first(start)) &&
        std::all_of(rest.begin(), rest.end(), [](std::byte one) { return one == std::byte{0}; });
    if (!whole) {
      return failed(errc::corrupt);
    }
    return libraft_batch(raw, count);
  }

  [[nodiscard]] std::size_t size() const noexcept { return count_; }

  /// Calls `visit(bytes_view)` for each command in order, until it gives false.
  template <class Visit>
  void for_each(Visit&& visit) const {
    std::size_t place = header_bytes + 4 * count_;
    for (std::size_t i = 0; i < count_; ++i) {
      const std::size_t size =
          load_little_endian<std::uint32_t>(raw_.data() + header_bytes + 4 * i);
      if (!visit(raw_.subspan(place, size))) {
        return;
      }
      place += size;
    }
  }

  /// Fills `into`, which has exactly the bytes that it takes.
  /// @param command_at gives the bytes of the i'th command
  /// @pre 0 < count <= commands_max, and all of it is below 4 GiB
  template <class CommandAt>
  static void encode(bytes_span into, std::size_t count, CommandAt&& command_at) noexcept {
    std::size_t place = header_bytes + 4 * count;
    const std::size_t start = place;
    for (std::size_t i = 0; i < count; ++i) {
      const bytes_view command = command_at(i);
      store_little_endian(into.data() + header_bytes + 4 * i,
                          static_cast<std::uint32_t>(command.size()));
      if (!command.empty()) {
        std::memcpy(into.data() + place, command.data(), command.size());
      }
      place += command.size();
    }
    std::fill(into.begin() + static_cast<std::ptrdiff_t>(place), into.end(), std::byte{0});
    std::memcpy(into.data(), magic.data(), magic.size());
    store_little_endian(into.data() + 8, static_cast<std::uint32_t>(count));
    store_little_endian(into.data() + 12, static_cast<std::uint32_t>(place - start));
    store_little_endian(into.data() + 4, check_of(into.first(start)));
  }

 private:
  static constexpr std::array<char, 4> magic{'Q', 'L', 'B', '1'};

  libraft_batch(bytes_view raw, std::size_t count) noexcept : raw_(raw), count_(count) {}

  [[nodiscard]] static std::uint32_t check_of(bytes_view head) noexcept {
    return libraft_check(head.subspan(8), libraft_check(head.first(4)));
  }

  bytes_view raw_;
  std::size_t count_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
