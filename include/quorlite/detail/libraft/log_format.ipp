/// @file
/// Bodies of log_format.hpp.
#pragma once

#include "quorlite/detail/libraft/log_format.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/libraft/engine.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// What each of the eight bits of a step does to the checksum, for four bytes at a time.
struct libraft_crc_tables {
  static constexpr std::uint32_t polynomial = 0x04C11DB7;

  std::array<std::array<std::uint32_t, 256>, 4> after{};

  constexpr libraft_crc_tables() noexcept {
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
      std::uint32_t crc = byte << 24U;
      for (int bit = 0; bit < 8; ++bit) {
        crc = (crc << 1U) ^ ((crc >> 31U) != 0 ? polynomial : 0);
      }
      after[0][byte] = crc;
    }
    for (std::size_t zeros = 1; zeros < after.size(); ++zeros) {
      for (std::size_t byte = 0; byte < 256; ++byte) {
        const std::uint32_t crc = after[zeros - 1][byte];
        after[zeros][byte] = (crc << 8U) ^ after[0][crc >> 24U];
      }
    }
  }
};

inline constexpr libraft_crc_tables libraft_crc_table;

QUORLITE_DECL std::uint32_t libraft_crc(bytes_view of, std::uint32_t start) noexcept {
  const auto& after = libraft_crc_table.after;
  std::uint32_t crc = start;
  const auto at = [&](std::size_t i) { return std::to_integer<std::uint32_t>(of[i]); };
  for (; of.size() >= 4; of = of.subspan(4)) {
    crc ^= (at(0) << 24U) | (at(1) << 16U) | (at(2) << 8U) | at(3);
    crc = after[3][crc >> 24U] ^ after[2][(crc >> 16U) & 0xFFU] ^ after[1][(crc >> 8U) & 0xFFU] ^
          after[0][crc & 0xFFU];
  }
  for (std::size_t i = 0; i < of.size(); ++i) {
    crc = (crc << 8U) ^ after[0][(crc >> 24U) ^ at(i)];
  }
  return crc;
}

/// Takes a number off the front of a name. @returns false: there is none, or it is too large
[[nodiscard]] inline bool take_number(std::string_view& from, std::uint64_t& into) noexcept {
  const char* const end = from.data() + from.size();
  const auto [stopped, error] = std::from_chars(from.data(), end, into);
  if (error != std::errc{}) {
    return false;
  }
  from.remove_prefix(static_cast<std::size_t>(stopped - from.data()));
  return true;
}

[[nodiscard]] inline bool take_text(std::string_view& from, std::string_view text) noexcept {
  const bool there = from.substr(0, text.size()) == text;
  from.remove_prefix(there ? text.size() : 0);
  return there;
}

/// The name of a snapshot's content, or of its meta.
[[nodiscard]] inline libraft_file_name snapshot_name_of(std::string_view name) noexcept {
  libraft_file_name made;
  std::string_view left = name;
  if (!take_text(left, "snapshot-")) {
    return {};
  }
  for (std::uint64_t* const number : {&made.first, &made.last, &made.time}) {
    const bool leading_zero = left.size() > 1 && left[0] == '0' && left[1] >= '0' && left[1] <= '9';
    made.written_so = made.written_so && !leading_zero;
    if (!take_number(left, *number) || (number != &made.time && !take_text(left, "-"))) {
      return {};
    }
  }
  if (!left.empty() && left != ".meta") {
    return {};
  }
  made.is =
      left.empty() ? libraft_file_name::kind::snapshot : libraft_file_name::kind::snapshot_meta;
  constexpr std::uint64_t most = std::uint64_t{1} << 62U;  // beyond it sums would not be safe
  made.written_so = made.written_so && made.last != 0 && made.last < most && made.first < most;
  return made;
}

QUORLITE_DECL libraft_file_name libraft_file_name::of(std::string_view name) noexcept {
  libraft_file_name made;
  std::string_view left = name;
  if (take_text(left, "open-")) {
    made.written_so = left.substr(0, 1) != "0";
    if (take_number(left, made.first) && left.empty()) {
      made.is = kind::open;
      return made;
    }
    return {};
  }
  constexpr std::size_t digits = 16;  // at least, as libraft writes them; at most, as it reads them
  const std::size_t dash = name.find('-');
  if (dash == 0 || dash > digits || name.size() - dash - 1 > digits) {
    return snapshot_name_of(name);
  }
  if (take_number(left, made.first) && take_text(left, "-") && take_number(left, made.last) &&
      left.empty()) {
    made.is = kind::closed;
    made.written_so = dash == digits && name.size() == 2 * digits + 1 && made.first != 0 &&
                      made.first <= made.last;
    return made;
  }
  return snapshot_name_of(name);
}

QUORLITE_DECL std::string libraft_file_name::closed(std::uint64_t first, std::uint64_t last) {
  const auto padded = [](std::uint64_t number) {
    constexpr std::size_t digits = 16;
    const std::string text = std::to_string(number);
    return std::string(digits - std::min(digits, text.size()), '0') + text;
  };
  return padded(first) + '-' + padded(last);
}

QUORLITE_DECL libraft_metadata libraft_metadata::decode(bytes_view whole) noexcept {
  const auto at = [&](std::size_t offset) {
    return load_little_endian<std::uint64_t>(whole.data() + offset);
  };
  return {at(0), at(8), at(16), at(24)};
}

QUORLITE_DECL bool libraft_metadata::follows(const libraft_metadata& older) const noexcept {
  if (version != older.version + 1) {
    return false;
  }
  return term > older.term ? vote == 0 : term == older.term && vote != 0;
}

QUORLITE_DECL libraft_entry_head libraft_entry_head::decode(bytes_view head) noexcept {
  libraft_entry_head made;
  made.term = load_little_endian<std::uint64_t>(head.data());
  made.type = std::to_integer<std::uint8_t>(head[8]);
  made.data_bytes = load_little_endian<std::uint32_t>(head.data() + 12);
  return made;
}

inline constexpr std::array<char, 4> libraft_note_magic{'Q', 'L', 'N', '1'};

[[nodiscard]] inline std::uint32_t libraft_note_check(bytes_view whole) noexcept {
  return libraft_check(whole.subspan(8), libraft_check(whole.first(4)));
}

QUORLITE_DECL void libraft_log_note::encode(bytes_span into) const noexcept {
  std::memcpy(into.data(), libraft_note_magic.data(), libraft_note_magic.size());
  store_little_endian(into.data() + 8, static_cast<std::uint64_t>(of));
  const std::uint64_t kept = keeps_end ? 1 : 0;
  store_little_endian(into.data() + 16, of == step::none ? kept : index);
  store_little_endian(into.data() + 24, of == step::truncate ? kept : term);
  store_little_endian(into.data() + 4, libraft_note_check(into));
}

QUORLITE_DECL std::optional<libraft_log_note> libraft_log_note::decode(bytes_view whole) noexcept {
  if (whole.size() != encoded_bytes ||
      std::memcmp(whole.data(), libraft_note_magic.data(), libraft_note_magic.size()) != 0 ||
      load_little_endian<std::uint32_t>(whole.data() + 4) != libraft_note_check(whole)) {
    return {};
  }
  const auto step_number = load_little_endian<std::uint64_t>(whole.data() + 8);
  if (step_number > static_cast<std::uint64_t>(step::install)) {
    return {};
  }
  libraft_log_note made{static_cast<step>(step_number),
                        load_little_endian<std::uint64_t>(whole.data() + 16),
                        load_little_endian<std::uint64_t>(whole.data() + 24)};
  if (made.of == step::none) {
    made.keeps_end = std::exchange(made.index, 0) == 1;
  } else if (made.of == step::truncate) {
    made.keeps_end = std::exchange(made.term, 0) == 1;
  }
  return made;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
