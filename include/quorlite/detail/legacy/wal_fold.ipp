/// @file
/// Bodies of wal_fold.hpp.
#pragma once

#include "quorlite/detail/legacy/wal_fold.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <system_error>
#include <utility>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL std::error_code wal_fold::append(bytes_view piece) {
  while (!error_ && !piece.empty()) {
    if (summary_.state == wal_state::ignored || summary_.state == wal_state::ended) {
      summary_.uncommitted_bytes += piece.size();
      break;
    }
    if (summary_.state == wal_state::absent && gathered_.size() == detail::wal_header_bytes) {
      take_header();  // now that there is a byte more
      continue;
    }
    const std::size_t wanted = summary_.state == wal_state::absent
                                   ? detail::wal_header_bytes
                                   : detail::wal_frame_header_bytes + page_size_;
    const std::size_t count = std::min(wanted - gathered_.size(), piece.size());
    gathered_.insert(gathered_.end(), piece.begin(),
                     piece.begin() + static_cast<std::ptrdiff_t>(count));
    summary_.uncommitted_bytes += count;
    piece = piece.subspan(count);
    if (summary_.state == wal_state::reading && gathered_.size() == wanted) {
      take_frame();
      gathered_.clear();
    }
  }
  return error_;
}

QUORLITE_DECL void wal_fold::take_header() {
  const std::byte* const header = gathered_.data();
  const std::uint32_t magic = detail::load_big_endian_u32(header);
  const std::uint32_t page_size = detail::load_big_endian_u32(header + 8);
  big_endian_ = (magic & 1U) != 0;
  checksum_.extend(bytes_view{gathered_}.first(24), big_endian_);
  if ((magic & ~1U) != detail::wal_magic || !is_page_size(page_size) ||
      checksum_ != detail::wal_checksum::stored_at(header + 24)) {
    summary_.state = wal_state::ignored;
  } else if (detail::load_big_endian_u32(header + 4) != detail::wal_version ||
             page_size != page_size_) {
    error_ = errc::malformed;
  } else {
    std::copy_n(header + 16, salt_.size(), salt_.begin());
    summary_.state = wal_state::reading;
  }
  gathered_.clear();
}

QUORLITE_DECL void wal_fold::take_frame() {
  const std::byte* const header = gathered_.data();
  const page_number number{detail::load_big_endian_u32(header)};
  const std::uint32_t page_count = detail::load_big_endian_u32(header + 4);
  const bytes_view image = bytes_view{gathered_}.subspan(detail::wal_frame_header_bytes);
  checksum_.extend(bytes_view{gathered_}.first(8), big_endian_);
  checksum_.extend(image, big_endian_);
  if (number.value == 0 || !std::equal(salt_.begin(), salt_.end(), header + 8) ||
      checksum_ != detail::wal_checksum::stored_at(header + 16)) {
    summary_.state = wal_state::ended;
    pending_.clear();
    return;
  }
  if ((pending_.size() + committed_.size() + 1) * page_size_ > limits::staged_bytes) {
    error_ = errc::too_large;
    return;
  }
  pending_.emplace_back(number, bytes(image.begin(), image.end()));
  if (page_count != 0) {
    commit(page_count);
  }
}

QUORLITE_DECL void wal_fold::commit(std::uint32_t page_count) {
  summary_.page_count = page_count;
  summary_.commits += 1;
  summary_.frames += pending_.size();
  summary_.uncommitted_bytes = 0;
  for (auto& [number, image] : pending_) {
    committed_.insert_or_assign(number, std::move(image));
  }
  pending_.clear();
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
