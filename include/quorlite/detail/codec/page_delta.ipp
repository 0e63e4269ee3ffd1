/// @file
/// Bodies of page_delta.hpp: how deltas are made, checked and applied.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <system_error>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/codec/page_delta.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/error.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Equal bytes that are sent all the same, because a range of its own would cost nearly as much.
inline constexpr std::size_t delta_gap_bytes = 4;
inline constexpr std::size_t delta_word_bytes = 8;
inline constexpr std::size_t delta_block_bytes = 4 * delta_word_bytes;
/// What is compared at a time where nothing changed, by memcmp, which is several times as fast.
inline constexpr std::size_t delta_stretch_bytes = 8 * delta_block_bytes;
static_assert(limits::page_size_min % delta_stretch_bytes == 0);

/// The bits in which two words differ, lowest address in the lowest byte.
[[nodiscard]] inline std::uint64_t differing_bits(const std::byte* left,
                                                  const std::byte* right) noexcept {
  return load_little_endian<std::uint64_t>(left) ^ load_little_endian<std::uint64_t>(right);
}

[[nodiscard]] inline bool blocks_differ(const std::byte* left, const std::byte* right) noexcept {
  std::uint64_t any = 0;
  for (std::size_t i = 0; i < delta_block_bytes; i += delta_word_bytes) {
    any |= differing_bits(left + i, right + i);
  }
  return any != 0;
}

/// Collects ranges, joins near ones and stops at a budget.
class delta_builder {
 public:
  delta_builder(bytes_view after, std::size_t at_most, bytes& out) noexcept
      : after_(after), out_(&out), start_(out.size()), at_most_(at_most) {}

  /// Adds [first, last). Calls ascend. @returns false when the budget is spent
  [[nodiscard]] bool add(std::size_t first, std::size_t last) {
    if (last_ != 0 && first - last_ < delta_gap_bytes) {
      last_ = last;
      // Found early that a page changed all over: no need to read it to its end.
      return last_ - first_ <= at_most_;
    }
    const bool fits = flush();
    first_ = first;
    last_ = last;
    return fits;
  }

  /// Writes the open range. @returns false when the budget is spent
  [[nodiscard]] bool flush() {
    if (last_ == 0) {
      return true;
    }
    const std::size_t skip = first_ - written_to_;
    const std::size_t length = last_ - first_;
    const std::size_t used = out_->size() - start_;
    if (varint_bytes(skip) + varint_bytes(length) + length > at_most_ - used) {
      return false;
    }
    wire_writer writer{*out_};
    writer.varint(skip);
    writer.varint(length);
    writer.raw(after_.subspan(first_, length));
    written_to_ = last_;
    return true;
  }

 private:
  bytes_view after_;
  bytes* out_;
  std::size_t start_;
  std::size_t at_most_;
  std::size_t first_ = 0;
  std::size_t last_ = 0;  // 0: no range is open
  std::size_t written_to_ = 0;
};

/// Feeds the ranges in which the images differ within one block. @returns false when the budget is
/// spent
QUORLITE_DECL bool find_in_block(bytes_view before, bytes_view after, std::size_t block,
                                 delta_builder& delta) {
  for (std::size_t at = block; at < block + delta_block_bytes; at += delta_word_bytes) {
    const std::uint64_t bits = differing_bits(before.data() + at, after.data() + at);
    if (bits == 0) {
      continue;
    }
    const auto low = static_cast<std::size_t>(std::countr_zero(bits)) / 8;
    const auto high = static_cast<std::size_t>(std::countl_zero(bits)) / 8;
    if (!delta.add(at + low, at + delta_word_bytes - high)) {
      return false;
    }
  }
  return true;
}

/// Feeds every range in which the images differ. @returns false when the budget is spent
QUORLITE_DECL bool find_differences(bytes_view before, bytes_view after, delta_builder& delta) {
  for (std::size_t from = 0; from < after.size(); from += delta_stretch_bytes) {
    if (std::memcmp(before.data() + from, after.data() + from, delta_stretch_bytes) == 0) {
      continue;
    }
    for (std::size_t block = from; block < from + delta_stretch_bytes; block += delta_block_bytes) {
      if (blocks_differ(before.data() + block, after.data() + block) &&
          !find_in_block(before, after, block, delta)) {
        return false;
      }
    }
  }
  return delta.flush();
}

QUORLITE_DECL bool encode_delta(bytes_view before, bytes_view after, std::size_t at_most,
                                bytes& out) {
  if (before.size() != after.size() || !is_page_size(after.size())) {
    return false;
  }
  const std::size_t size_before = out.size();
  const std::size_t budget = at_most < after.size() ? at_most : after.size() - 1;
  delta_builder delta{after, budget, out};
  if (find_differences(before, after, delta)) {
    return true;
  }
  out.resize(size_before);
  return false;
}

QUORLITE_DECL std::error_code check_delta(bytes_view delta, std::uint32_t page_size) noexcept {
  if (!is_page_size(page_size)) {
    return errc::malformed;
  }
  wire_reader reader{delta};
  std::uint64_t position = 0;
  while (reader.remaining() > 0) {
    const bool first = reader.position() == 0;
    const std::uint64_t skip = reader.varint();
    const std::uint64_t length = reader.varint();
    // Each is bounded before the sum is made, so that it cannot wrap.
    const bool fine = (first || skip >= 1) && length >= 1 && skip <= page_size &&
                      length <= page_size && position + skip + length <= page_size;
    if (reader.failed() || !fine || reader.take(length).size() != length) {
      return errc::malformed;
    }
    position += skip + length;
  }
  return {};
}

QUORLITE_DECL std::error_code apply_delta(bytes_view delta, bytes_span page) noexcept {
  if (!is_page_size(page.size())) {
    return errc::malformed;
  }
  if (const auto bad = check_delta(delta, static_cast<std::uint32_t>(page.size()))) {
    return bad;
  }
  wire_reader reader{delta};
  std::byte* to = page.data();
  while (reader.remaining() > 0) {
    to += reader.varint();
    const bytes_view range = reader.take(reader.varint());
    std::memcpy(to, range.data(), range.size());
    to += range.size();
  }
  return {};
}

QUORLITE_DECL bool is_zero_image(bytes_view image) noexcept {
  // A run of equal bytes equals itself moved by one; memcmp reads many bytes a step.
  return image.empty() || (image.front() == std::byte{0} &&
                           std::memcmp(image.data(), image.data() + 1, image.size() - 1) == 0);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
