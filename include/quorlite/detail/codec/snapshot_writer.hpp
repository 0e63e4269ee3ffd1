/// @file
/// Renders any range of a native snapshot (snapshot_format.hpp) from a source of pages.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/detail/core/crc32c.hpp"
#include "quorlite/detail/codec/snapshot_format.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Fills one page of the state that the snapshot shows: `source(database_ordinal, number, page)`.
///
/// The ordinal is the database's place in the header, from 0; `page` has its page_size bytes, all
/// to be written. The same page always has the same bytes. Never asked for the lock page. An error
/// ends the read and is its result.
template <class Source>
concept snapshot_page_source =
    requires(Source& source, std::size_t database_ordinal, page_number number, bytes_span page) {
      { source(database_ordinal, number, page) } -> std::same_as<std::error_code>;
    };

/// The bytes of one snapshot, by place. Holds the encoded header (notes and staged entries
/// included) and 24 bytes a database; pages are asked for as they are read. Any thread may read,
/// several at once.
class snapshot_layout {
 public:
  /// @param header copied
  /// @param lock_byte where the lock page lies; the same on every replica
  /// @returns errc::malformed (names, sizes or counts against the rules) or too_large (over a
  ///          limit)
  [[nodiscard]] static result<snapshot_layout> make(
      const snapshot_header& header, std::uint64_t lock_byte = limits::lock_byte_default) {
    if (const auto bad = detail::validate_snapshot_header(header)) {
      return failed(bad);
    }
    return snapshot_layout{header, lock_byte};
  }

  /// All of the snapshot, in bytes.
  [[nodiscard]] std::uint64_t size_bytes() const noexcept { return size_bytes_; }
  /// Its first bytes: preamble and header. Valid as long as the layout.
  [[nodiscard]] bytes_view header_bytes() const noexcept { return head_; }

  /// Fills all of `into` with the bytes from `offset` on; same offset, same bytes.
  ///
  /// Whole chunks are rendered in place; a part of one asks for the pages that it touches, and for
  /// all pages of the chunk if it touches the checksum. So read in order and in big pieces where
  /// you can. Memory: one chunk.
  /// @returns std::errc::invalid_argument (the range leaves the snapshot) or the source's error;
  ///          the content of `into` is then unspecified
  template <class Source>
    requires snapshot_page_source<Source>
  [[nodiscard]] std::error_code read(std::uint64_t offset, bytes_span into,
                                     Source&& source) const {
    if (offset > size_bytes_ || into.size() > size_bytes_ - offset) {
      return std::make_error_code(std::errc::invalid_argument);
    }
    bytes scratch;
    while (!into.empty()) {
      std::size_t count = 0;
      if (offset < head_.size()) {
        count = copy_part(head_, offset, into);
      } else if (offset >= footer_offset_) {
        count = copy_part(detail::make_snapshot_footer(size_bytes_, hash_sum_),
                          offset - footer_offset_, into);
      } else {
        const chunk which = chunk_at(offset);
        count = static_cast<std::size_t>(
            std::min<std::uint64_t>(into.size(), which.size() - which.skip));
        if (const auto error = render(which, into.first(count), scratch, source)) {
          return error;
        }
      }
      offset += count;
      into = into.subspan(count);
    }
    return {};
  }

 private:
  struct extent {
    std::uint64_t offset = 0;  // of the first chunk
    std::uint64_t page_count = 0;
    std::uint32_t page_size = 0;
  };

  struct chunk {
    std::size_t ordinal = 0;
    std::uint64_t first_page = 0;
    std::uint32_t page_size = 0;
    std::size_t images_bytes = 0;
    std::size_t skip = 0;  // bytes of the chunk before the ones that are wanted

    [[nodiscard]] std::size_t size() const noexcept {
      return images_bytes + detail::snapshot_crc_bytes;
    }
  };

  snapshot_layout(const snapshot_header& header, std::uint64_t lock_byte) : lock_byte_(lock_byte) {
    detail::encode_snapshot_header(header, head_);
    std::uint64_t offset = head_.size();
    extents_.reserve(header.databases.size());
    for (const snapshot_database& one : header.databases) {
      extents_.push_back({offset, one.page_count, one.page_size});
      offset += detail::snapshot_pages_bytes(one);
      hash_sum_ += one.hash;
    }
    footer_offset_ = offset;
    size_bytes_ = offset + detail::snapshot_footer_bytes;
  }

  static std::size_t copy_part(bytes_view from, std::uint64_t offset, bytes_span into) noexcept {
    const bytes_view rest = from.subspan(static_cast<std::size_t>(offset));
    const std::size_t count = std::min(rest.size(), into.size());
    std::memcpy(into.data(), rest.data(), count);
    return count;
  }

  /// @pre head_.size() <= offset < footer_offset_
  [[nodiscard]] chunk chunk_at(std::uint64_t offset) const noexcept {
    constexpr std::uint64_t stride = detail::snapshot_chunk_bytes + detail::snapshot_crc_bytes;
    // The last extent that starts at or before the offset: ones without pages start where their
    // successor does.
    const auto after = std::upper_bound(
        extents_.begin(), extents_.end(), offset,
        [](std::uint64_t wanted, const extent& one) { return wanted < one.offset; });
    const extent& from = *(after - 1);
    const std::uint64_t place = (offset - from.offset) / stride;
    const std::uint64_t images_before = place * detail::snapshot_chunk_bytes;
    const std::uint64_t images_left = from.page_count * from.page_size - images_before;
    chunk found;
    found.ordinal = static_cast<std::size_t>(after - extents_.begin()) - 1;
    found.first_page = images_before / from.page_size + 1;
    found.page_size = from.page_size;
    found.images_bytes = static_cast<std::size_t>(
        std::min<std::uint64_t>(images_left, detail::snapshot_chunk_bytes));
    found.skip = static_cast<std::size_t>((offset - from.offset) % stride);
    return found;
  }

  /// Fills `into` with the bytes of the chunk from `which.skip` on.
  template <class Source>
  [[nodiscard]] std::error_code render(const chunk& which, bytes_span into, bytes& scratch,
                                       Source& source) const {
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
    const std::size_t last =
        with_checksum ? which.images_bytes
                      : (end + which.page_size - 1) / which.page_size * which.page_size;
    scratch.resize(detail::snapshot_chunk_bytes);
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

  /// Fills `images` with the whole pages of the chunk from byte `first` of it on.
  template <class Source>
  [[nodiscard]] std::error_code fill(const chunk& which, std::size_t first, bytes_span images,
                                     Source& source) const {
    const std::uint64_t lock = lock_page(which.page_size, lock_byte_);
    std::uint64_t number = which.first_page + first / which.page_size;
    for (std::size_t at = 0; at < images.size(); at += which.page_size, ++number) {
      const bytes_span page = images.subspan(at, which.page_size);
      if (number == lock) {
        std::memset(page.data(), 0, page.size());
        continue;
      }
      const page_number wanted{static_cast<std::uint32_t>(number)};
      if (const std::error_code error = source(which.ordinal, wanted, page)) {
        return error;
      }
    }
    return {};
  }

  /// Copies the bytes of the chunk's checksum from `skip` on, as many as `into` takes.
  static void put_checksum(const chunk& which, bytes_view images, std::size_t skip,
                           bytes_span into) noexcept {
    if (into.empty()) {
      return;
    }
    std::byte encoded[detail::snapshot_crc_bytes];
    const std::uint32_t seed = detail::snapshot_chunk_seed(which.ordinal, which.first_page);
    detail::store_little_endian(encoded, crc32c_extend(seed, images));
    std::memcpy(into.data(), encoded + skip, into.size());
  }

  bytes head_;
  std::vector<extent> extents_;
  std::uint64_t lock_byte_;
  std::uint64_t footer_offset_ = 0;
  std::uint64_t size_bytes_ = 0;
  std::uint64_t hash_sum_ = 0;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
