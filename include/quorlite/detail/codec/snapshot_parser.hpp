/// @file
/// Takes a native snapshot (snapshot_format.hpp) in pieces and hands out what has been verified.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/detail/core/crc32c.hpp"
#include "quorlite/detail/codec/page_delta.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/codec/snapshot_format.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// What a parser tells, in this order: the header once, then each page of each database, ascending.
///
/// The views are valid during the call. An error of the sink ends the parse and is its result.
/// `hash` is page_hash() of the image. The lock page is left out. A page comes with its chunk's
/// checksum verified, before its database's hash is: believe in the whole only after finish().
template <class Sink>
concept snapshot_sink =
    requires(Sink& sink, const snapshot_header& header, std::size_t database_ordinal,
             page_number number, std::uint64_t hash, bytes_view image) {
      { sink.on_header(header) } -> std::same_as<std::error_code>;
      { sink.on_page(database_ordinal, number, hash, image) } -> std::same_as<std::error_code>;
    };

/// Parses a snapshot that arrives in order, cut anywhere. One thread at a time.
///
/// Total: any bytes give calls of the sink that are right as far as they go, and an error where
/// they stop being so. The first error is final. Memory: the header (as its bytes arrive, never by
/// a declared size; at most limits::staged_bytes and some), later one chunk of 64 KiB; pieces that
/// hold whole chunks are not copied.
class snapshot_parser {
 public:
  /// @param lock_byte where the lock page lies; the same on every replica
  explicit snapshot_parser(std::uint64_t lock_byte = limits::lock_byte_default) noexcept
      : lock_byte_(lock_byte) {}

  /// Takes the next bytes; borrowed for the call.
  /// @returns errc::corrupt (a checksum or a hash differs), malformed (no snapshot, or one that
  ///          breaks a rule), too_large (over a limit), needs_upgrade (whole, of a newer version),
  ///          or the sink's error. Any of them is returned again by every later call.
  template <class Sink>
    requires snapshot_sink<Sink>
  [[nodiscard]] std::error_code append(bytes_view piece, Sink& sink) {
    while (!error_ && !piece.empty()) {
      if (part_ == part::end) {
        error_ = errc::malformed;  // bytes after the footer
      } else if (gathered_.empty() && piece.size() >= wanted_) {
        const auto size = static_cast<std::size_t>(wanted_);
        take(piece.first(size), sink);
        piece = piece.subspan(size);
      } else {
        piece = gather(piece, sink);
      }
    }
    return error_;
  }

  /// The last byte was given.
  /// @returns the error of append(), errc::corrupt for a snapshot that stops early, or nothing: all
  ///          of it was verified
  [[nodiscard]] std::error_code finish() noexcept {
    if (!error_ && part_ != part::end) {
      error_ = errc::corrupt;
    }
    return error_;
  }

 private:
  enum class part : std::uint8_t { preamble, header, chunk, footer, end };

  /// Adds to the bytes of a part that came in pieces. @returns what is left of the piece
  template <class Sink>
  [[nodiscard]] bytes_view gather(bytes_view piece, Sink& sink) {
    const std::uint64_t missing = wanted_ - gathered_.size();
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(missing, piece.size()));
    gathered_.insert(gathered_.end(), piece.begin(),
                     piece.begin() + static_cast<std::ptrdiff_t>(count));
    if (gathered_.size() == wanted_) {
      const bool keep_memory = part_ == part::chunk;
      take(gathered_, sink);
      gathered_.clear();
      if (!keep_memory) {
        gathered_ = bytes{};  // a header may have been big
      }
    }
    return piece.subspan(count);
  }

  /// One whole part. Sets error_, or part_ and wanted_ of the next.
  template <class Sink>
  void take(bytes_view whole, Sink& sink) {
    switch (part_) {
      case part::preamble: error_ = take_preamble(whole); break;
      case part::header: error_ = take_header(whole, sink); break;
      case part::chunk: error_ = take_chunk(whole, sink); break;
      case part::footer: error_ = take_footer(whole); break;
      case part::end: break;
    }
  }

  [[nodiscard]] std::error_code take_preamble(bytes_view whole) noexcept {
    wire_reader reader{whole};
    const int wrong_bits = detail::wrong_snapshot_magic_bits(reader.take(8));
    const std::uint32_t version = reader.u32();
    const std::uint64_t header_bytes = reader.u64();
    if (wrong_bits > detail::snapshot_magic_damage_bits) {
      return errc::malformed;
    }
    if (wrong_bits != 0 || crc32c(whole.first(20)) != reader.u32()) {
      return errc::corrupt;
    }
    if (version != detail::snapshot_version) {
      return errc::needs_upgrade;
    }
    if (header_bytes > detail::snapshot_header_bytes_max) {
      return errc::too_large;
    }
    if (header_bytes < detail::snapshot_crc_bytes) {
      return errc::malformed;
    }
    size_bytes_ = detail::snapshot_preamble_bytes + header_bytes;
    part_ = part::header;
    wanted_ = header_bytes;
    return {};
  }

  template <class Sink>
  [[nodiscard]] std::error_code take_header(bytes_view whole, Sink& sink) {
    result<snapshot_header> header = detail::decode_snapshot_header(whole);
    if (!header) {
      return header.error();
    }
    if (const std::error_code error = sink.on_header(std::as_const(*header))) {
      return error;
    }
    databases_ = std::move(header->databases);
    for (const snapshot_database& one : databases_) {
      size_bytes_ += detail::snapshot_pages_bytes(one);
      hash_sum_ += one.hash;
    }
    size_bytes_ += detail::snapshot_footer_bytes;
    expect_next_chunk();
    return {};
  }

  template <class Sink>
  [[nodiscard]] std::error_code take_chunk(bytes_view whole, Sink& sink) {
    const snapshot_database& of = databases_[ordinal_];
    const bytes_view images = whole.first(whole.size() - detail::snapshot_crc_bytes);
    const std::uint32_t seed = detail::snapshot_chunk_seed(ordinal_, next_page_);
    if (crc32c_extend(seed, images) !=
        detail::load_little_endian<std::uint32_t>(images.data() + images.size())) {
      return errc::corrupt;
    }
    const std::uint64_t lock = lock_page(of.page_size, lock_byte_);
    for (std::size_t at = 0; at < images.size(); at += of.page_size, ++next_page_) {
      const bytes_view image = images.subspan(at, of.page_size);
      if (next_page_ == lock) {
        if (!is_zero_image(image)) {
          return errc::malformed;
        }
        continue;
      }
      const page_number number{static_cast<std::uint32_t>(next_page_)};
      const std::uint64_t hash = page_hash(number, image);
      hash_ += hash;
      if (const std::error_code error = sink.on_page(ordinal_, number, hash, image)) {
        return error;
      }
    }
    if (next_page_ > of.page_count) {
      if (hash_ != of.hash) {
        return errc::corrupt;
      }
      ++ordinal_;
      next_page_ = 1;
      hash_ = 0;
    }
    expect_next_chunk();
    return {};
  }

  [[nodiscard]] std::error_code take_footer(bytes_view whole) noexcept {
    const auto right = detail::make_snapshot_footer(size_bytes_, hash_sum_);
    if (!std::equal(whole.begin(), whole.end(), right.begin(), right.end())) {
      return errc::corrupt;
    }
    part_ = part::end;
    wanted_ = 0;
    return {};
  }

  void expect_next_chunk() noexcept {
    while (ordinal_ < databases_.size() && databases_[ordinal_].page_count == 0) {
      ++ordinal_;  // its hash is 0: validate_snapshot_header
    }
    if (ordinal_ == databases_.size()) {
      part_ = part::footer;
      wanted_ = detail::snapshot_footer_bytes;
      return;
    }
    const snapshot_database& of = databases_[ordinal_];
    const std::uint64_t left = (of.page_count - next_page_ + 1) * of.page_size;
    part_ = part::chunk;
    wanted_ = std::min<std::uint64_t>(left, detail::snapshot_chunk_bytes) +
              detail::snapshot_crc_bytes;
  }

  std::uint64_t lock_byte_;
  std::error_code error_;
  part part_ = part::preamble;
  std::uint64_t wanted_ = detail::snapshot_preamble_bytes;  // bytes of the part
  bytes gathered_;                                          // of the part, when it came in pieces
  std::vector<snapshot_database> databases_;
  std::size_t ordinal_ = 0;
  std::uint64_t next_page_ = 1;
  std::uint64_t hash_ = 0;  // of the pages of this database so far
  std::uint64_t size_bytes_ = 0;
  std::uint64_t hash_sum_ = 0;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
