/// @file
/// Bodies of snapshot.hpp: snapshot_parser, which takes a snapshot in pieces.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <system_error>
#include <utility>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/codec/page_delta.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/codec/snapshot.hpp"
#include "quorlite/detail/core/crc32c.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL std::error_code snapshot_parser::append(bytes_view piece, snapshot_sink_ref sink) {
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

QUORLITE_DECL std::error_code snapshot_parser::finish() noexcept {
  if (!error_ && part_ != part::end) {
    error_ = errc::corrupt;
  }
  return error_;
}

QUORLITE_DECL bytes_view snapshot_parser::gather(bytes_view piece, snapshot_sink_ref sink) {
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

QUORLITE_DECL void snapshot_parser::take(bytes_view whole, snapshot_sink_ref sink) {
  switch (part_) {
    case part::preamble: error_ = take_preamble(whole); break;
    case part::header: error_ = take_header(whole, sink); break;
    case part::chunk: error_ = take_chunk(whole, sink); break;
    case part::footer: error_ = take_footer(whole); break;
    case part::end: break;
  }
}

QUORLITE_DECL std::error_code snapshot_parser::take_preamble(bytes_view whole) noexcept {
  wire_reader reader{whole};
  const int wrong_bits = wrong_snapshot_magic_bits(reader.take(8));
  version_ = reader.u32();
  const std::uint64_t header_size = reader.u64();
  if (wrong_bits > snapshot_magic_damage_bits) {
    return errc::malformed;
  }
  if (wrong_bits != 0 || crc32c(whole.first(20)) != reader.u32()) {
    return errc::corrupt;
  }
  if (version_ == 0 || version_ > snapshot_version_max) {
    return errc::needs_upgrade;
  }
  if (header_size > snapshot_header_bytes_max) {
    return errc::too_large;
  }
  if (header_size < snapshot_crc_bytes) {
    return errc::malformed;
  }
  size_bytes_ = snapshot_preamble_bytes + header_size;
  part_ = part::header;
  wanted_ = header_size;
  return {};
}

QUORLITE_DECL std::error_code snapshot_parser::take_header(bytes_view whole,
                                                           snapshot_sink_ref sink) {
  result<snapshot_header> header = decode_snapshot_header(whole);
  if (!header) {
    return header.error();
  }
  if (snapshot_version_of(header->notes) != version_) {
    return errc::malformed;
  }
  if (const std::error_code error = sink.tell_header(*header)) {
    return error;
  }
  databases_ = std::move(header->databases);
  for (const snapshot_database& one : databases_) {
    size_bytes_ += snapshot_pages_bytes(one);
    hash_sum_ += one.hash;
  }
  size_bytes_ += snapshot_footer_bytes;
  expect_next_chunk();
  return {};
}

QUORLITE_DECL std::error_code snapshot_parser::take_chunk(bytes_view whole,
                                                          snapshot_sink_ref sink) {
  const snapshot_database& of = databases_[ordinal_];
  const bytes_view images = whole.first(whole.size() - snapshot_crc_bytes);
  const std::uint32_t seed = snapshot_chunk_seed(ordinal_, next_page_);
  if (crc32c_extend(seed, images) !=
      load_little_endian<std::uint32_t>(images.data() + images.size())) {
    return errc::corrupt;
  }
  if (!takes_pages_) {
    next_page_ += images.size() / of.page_size;
  } else if (const std::error_code error = take_pages(images, sink)) {
    return error;
  }
  if (next_page_ > of.page_count) {
    if (takes_pages_ && hash_ != of.hash) {
      return errc::corrupt;
    }
    ++ordinal_;
    next_page_ = 1;
    hash_ = 0;
  }
  expect_next_chunk();
  return {};
}

QUORLITE_DECL std::error_code snapshot_parser::take_pages(bytes_view images,
                                                          snapshot_sink_ref sink) {
  const snapshot_database& of = databases_[ordinal_];
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
    if (const std::error_code error = sink.tell_page(ordinal_, number, hash, image)) {
      return error;
    }
  }
  return {};
}

QUORLITE_DECL std::error_code snapshot_parser::take_footer(bytes_view whole) noexcept {
  const auto right = make_snapshot_footer(size_bytes_, hash_sum_);
  if (!std::equal(whole.begin(), whole.end(), right.begin(), right.end())) {
    return errc::corrupt;
  }
  part_ = part::end;
  wanted_ = 0;
  return {};
}

QUORLITE_DECL void snapshot_parser::expect_next_chunk() noexcept {
  while (ordinal_ < databases_.size() && databases_[ordinal_].page_count == 0) {
    ++ordinal_;  // its hash is 0: validate_snapshot_header
  }
  if (ordinal_ == databases_.size()) {
    part_ = part::footer;
    wanted_ = snapshot_footer_bytes;
    return;
  }
  const snapshot_database& of = databases_[ordinal_];
  const std::uint64_t left = (of.page_count - next_page_ + 1) * of.page_size;
  part_ = part::chunk;
  wanted_ = std::min<std::uint64_t>(left, snapshot_chunk_bytes) + snapshot_crc_bytes;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
