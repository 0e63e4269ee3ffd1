/// @file
/// Bodies of snapshot.hpp: snapshot_layout, which renders any range of a snapshot.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <memory>
#include <system_error>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/codec/snapshot.hpp"
#include "quorlite/detail/core/crc32c.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

inline constexpr std::uint64_t snapshot_no_checksum = ~std::uint64_t{0};

QUORLITE_DECL result<snapshot_layout> snapshot_layout::make(const snapshot_header& header,
                                                            std::uint64_t lock_byte) {
  if (const auto bad = validate_snapshot_header(header)) {
    return fail(bad);
  }
  return snapshot_layout{header, lock_byte};
}

QUORLITE_DECL snapshot_layout::snapshot_layout(const snapshot_header& header,
                                               std::uint64_t lock_byte)
    : checksum_(std::make_shared<std::atomic<std::uint64_t>>(snapshot_no_checksum)),
      header_bytes_(encode_snapshot_head(header, head_)),
      lock_byte_(lock_byte) {
  std::uint64_t offset = head_.size();
  staged_.reserve(header.staged.size());
  for (const std::shared_ptr<const bytes>& entry : header.staged) {
    staged_.push_back({offset, entry});
    offset += snapshot_length_bytes + entry->size();
  }
  offset = header_bytes_;
  extents_.reserve(header.databases.size());
  for (const snapshot_database& one : header.databases) {
    extents_.push_back({offset, one.page_count, one.page_size});
    offset += snapshot_pages_bytes(one);
    hash_sum_ += one.hash;
  }
  footer_offset_ = offset;
  size_bytes_ = offset + snapshot_footer_bytes;
}

QUORLITE_DECL std::error_code snapshot_layout::read(std::uint64_t offset, bytes_span into,
                                                    snapshot_page_source_ref source) const {
  if (offset > size_bytes_ || into.size() > size_bytes_ - offset) {
    return std::make_error_code(std::errc::invalid_argument);
  }
  bytes scratch;
  while (!into.empty()) {
    std::size_t count = 0;
    if (offset < header_bytes_) {
      count = read_header(offset, into);
    } else if (offset >= footer_offset_) {
      count =
          copy_part(make_snapshot_footer(size_bytes_, hash_sum_), offset - footer_offset_, into);
    } else {
      const chunk which = chunk_at(offset);
      count =
          static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), which.size() - which.skip));
      if (const auto error = render(which, into.first(count), scratch, source)) {
        return error;
      }
    }
    offset += count;
    into = into.subspan(count);
  }
  return {};
}

QUORLITE_DECL std::size_t snapshot_layout::read_header(std::uint64_t offset,
                                                       bytes_span into) const {
  if (offset < head_.size()) {
    return copy_part(head_, offset, into);
  }
  if (const std::uint64_t fields = header_bytes_ - snapshot_crc_bytes; offset >= fields) {
    std::byte encoded[snapshot_crc_bytes];
    store_little_endian(encoded, checksum_of_header());
    return copy_part(encoded, offset - fields, into);
  }
  const auto after = std::upper_bound(
      staged_.begin(), staged_.end(), offset,
      [](std::uint64_t wanted, const staged_entry& one) { return wanted < one.offset; });
  const staged_entry& from = *std::prev(after);
  const std::uint64_t place = offset - from.offset;
  if (place >= snapshot_length_bytes) {
    return copy_part(*from.content, place - snapshot_length_bytes, into);
  }
  std::byte length[snapshot_length_bytes];
  store_little_endian(length, static_cast<std::uint32_t>(from.content->size()));
  return copy_part(length, place, into);
}

QUORLITE_DECL std::uint32_t snapshot_layout::checksum_of_header() const {
  const std::uint64_t made = checksum_->load();
  if (made != snapshot_no_checksum) {
    return static_cast<std::uint32_t>(made);
  }
  std::uint32_t sum = crc32c(bytes_view{head_}.subspan(snapshot_preamble_bytes));
  for (const staged_entry& one : staged_) {
    std::byte length[snapshot_length_bytes];
    store_little_endian(length, static_cast<std::uint32_t>(one.content->size()));
    sum = crc32c_extend(crc32c_extend(sum, length), *one.content);
  }
  checksum_->store(sum);
  return sum;
}

QUORLITE_DECL std::size_t snapshot_layout::copy_part(bytes_view from, std::uint64_t offset,
                                                     bytes_span into) noexcept {
  const bytes_view rest = from.subspan(static_cast<std::size_t>(offset));
  const std::size_t count = std::min(rest.size(), into.size());
  std::memcpy(into.data(), rest.data(), count);
  return count;
}

QUORLITE_DECL snapshot_layout::chunk snapshot_layout::chunk_at(
    std::uint64_t offset) const noexcept {
  constexpr std::uint64_t stride = snapshot_chunk_bytes + snapshot_crc_bytes;
  // The last extent that starts at or before the offset: ones without pages start where their
  // successor does.
  const auto after =
      std::upper_bound(extents_.begin(), extents_.end(), offset,
                       [](std::uint64_t wanted, const extent& one) { return wanted < one.offset; });
  const extent& from = *(after - 1);
  const std::uint64_t place = (offset - from.offset) / stride;
  const std::uint64_t images_before = place * snapshot_chunk_bytes;
  const std::uint64_t images_left = from.page_count * from.page_size - images_before;
  chunk found;
  found.ordinal = static_cast<std::size_t>(after - extents_.begin()) - 1;
  found.first_page = images_before / from.page_size + 1;
  found.page_size = from.page_size;
  found.images_bytes =
      static_cast<std::size_t>(std::min<std::uint64_t>(images_left, snapshot_chunk_bytes));
  found.skip = static_cast<std::size_t>((offset - from.offset) % stride);
  return found;
}

QUORLITE_DECL std::error_code snapshot_layout::render(const chunk& which, bytes_span into,
                                                      bytes& scratch,
                                                      snapshot_page_source_ref source) const {
  const std::size_t end = which.skip + into.size();
  if (which.skip == 0 && end >= which.images_bytes) {
    const bytes_span images = into.first(which.images_bytes);
    if (const auto error = fill(which, 0, images, source)) {
      return error;
    }
    put_checksum(which, images, 0, into.subspan(which.images_bytes));
    return {};
  }
  // Whole pages, beside the output: those that the range touches, all of them if their checksum
  // is wanted too.
  const bool with_checksum = end > which.images_bytes;
  const std::size_t first = with_checksum ? 0 : which.skip / which.page_size * which.page_size;
  const std::size_t last = with_checksum
                               ? which.images_bytes
                               : (end + which.page_size - 1) / which.page_size * which.page_size;
  scratch.resize(last - first);
  const bytes_span images = bytes_span{scratch}.first(last - first);
  if (const auto error = fill(which, first, images, source)) {
    return error;
  }
  const std::size_t count = which.skip < last ? std::min(end, last) - which.skip : 0;
  if (count > 0) {
    std::memcpy(into.data(), images.data() + (which.skip - first), count);
  }
  if (with_checksum) {
    put_checksum(which, images, which.skip + count - which.images_bytes, into.subspan(count));
  }
  return {};
}

QUORLITE_DECL std::error_code snapshot_layout::fill(const chunk& which, std::size_t first,
                                                    bytes_span images,
                                                    snapshot_page_source_ref source) const {
  const std::uint64_t lock = lock_page(which.page_size, lock_byte_);
  std::uint64_t number = which.first_page + first / which.page_size;
  for (std::size_t at = 0; at < images.size(); at += which.page_size, ++number) {
    const bytes_span page = images.subspan(at, which.page_size);
    if (number == lock) {
      std::memset(page.data(), 0, page.size());
      continue;
    }
    const page_number wanted{static_cast<std::uint32_t>(number)};
    if (const std::error_code error = source.fill(which.ordinal, wanted, page)) {
      return error;
    }
  }
  return {};
}

QUORLITE_DECL void snapshot_layout::put_checksum(const chunk& which, bytes_view images,
                                                 std::size_t skip, bytes_span into) noexcept {
  if (into.empty()) {
    return;
  }
  std::byte encoded[snapshot_crc_bytes];
  const std::uint32_t seed = snapshot_chunk_seed(which.ordinal, which.first_page);
  store_little_endian(encoded, crc32c_extend(seed, images));
  std::memcpy(into.data(), encoded + skip, into.size());
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
