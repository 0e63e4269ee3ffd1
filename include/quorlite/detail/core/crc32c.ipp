/// @file
/// Bodies of crc32c.hpp: with tables, and with the instruction where the processor has it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/core/crc32c.hpp"
#include "quorlite/detail/core/wire.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Row 0 advances by one byte; row k by a byte that k more bytes follow, so that eight bytes need
/// one step.
using crc32c_table = std::array<std::array<std::uint32_t, 256>, 8>;

[[nodiscard]] constexpr crc32c_table make_crc32c_table() noexcept {
  constexpr std::uint32_t polynomial = 0x82F63B78U;  // reflected
  crc32c_table table{};
  for (std::uint32_t value = 0; value < 256; ++value) {
    std::uint32_t crc = value;
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? polynomial : 0U);
    }
    table[0][value] = crc;
  }
  for (std::size_t row = 1; row < table.size(); ++row) {
    for (std::size_t value = 0; value < 256; ++value) {
      const std::uint32_t before = table[row - 1][value];
      table[row][value] = (before >> 8U) ^ table[0][before & 0xFFU];
    }
  }
  return table;
}

inline constexpr crc32c_table crc32c_tables = make_crc32c_table();

QUORLITE_DECL std::uint32_t crc32c_portable(std::uint32_t state, bytes_view data) noexcept {
  const crc32c_table& table = crc32c_tables;
  std::size_t at = 0;
  for (; data.size() - at >= 8; at += 8) {
    const std::uint64_t word = load_little_endian<std::uint64_t>(data.data() + at) ^ state;
    state = 0;
    for (std::size_t i = 0; i < 8; ++i) {
      state ^= table[7 - i][(word >> (8 * i)) & 0xFFU];
    }
  }
  for (; at < data.size(); ++at) {
    const auto next = std::to_integer<std::uint32_t>(data[at]);
    state = (state >> 8U) ^ table[0][(state ^ next) & 0xFFU];
  }
  return state;
}

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))

/// With the instruction of SSE 4.2. Only this function is compiled for it, so the program still
/// runs without.
[[nodiscard]] __attribute__((target("sse4.2"))) inline std::uint32_t crc32c_instruction(
    std::uint32_t state, bytes_view data) noexcept {
  std::uint64_t wide = state;
  std::size_t at = 0;
  for (; data.size() - at >= 8; at += 8) {
    wide = __builtin_ia32_crc32di(wide, load_little_endian<std::uint64_t>(data.data() + at));
  }
  auto narrow = static_cast<std::uint32_t>(wide);
  for (; at < data.size(); ++at) {
    narrow = __builtin_ia32_crc32qi(narrow, std::to_integer<unsigned char>(data[at]));
  }
  return narrow;
}

[[nodiscard]] inline std::uint32_t crc32c_update(std::uint32_t state, bytes_view data) noexcept {
  return __builtin_cpu_supports("sse4.2") ? crc32c_instruction(state, data)
                                          : crc32c_portable(state, data);
}

#else

[[nodiscard]] inline std::uint32_t crc32c_update(std::uint32_t state, bytes_view data) noexcept {
  return crc32c_portable(state, data);
}

#endif

QUORLITE_DECL std::uint32_t crc32c_extend(std::uint32_t crc, bytes_view data) noexcept {
  return ~crc32c_update(~crc, data);
}

QUORLITE_DECL std::uint32_t crc32c(bytes_view data) noexcept { return crc32c_extend(0, data); }

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
