/// @file
/// Bodies of libraft_segment_reader: batches, and the rule for what is behind them.
#pragma once

#include "quorlite/detail/libraft/log_segment.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/detail/libraft/log_format.hpp"
#include "quorlite/detail/libraft/proposals.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL libraft_segment_reader::libraft_segment_reader(libraft_file& from)
    : file_(from), size_(from.size()), window_(std::size_t{64} << 10U) {}

QUORLITE_DECL bytes_view libraft_segment_reader::bytes_at(std::uint64_t offset, std::size_t count) {
  if (offset < window_at_ || offset + count > window_at_ + window_used_) {
    const auto wanted =
        static_cast<std::size_t>(std::min<std::uint64_t>(window_.size(), size_ - offset));
    window_at_ = offset;
    window_used_ = wanted;
    if (const std::error_code error = file_.read(offset, bytes_span(window_).first(wanted))) {
      error_ = error_ ? error_ : error;
      window_used_ = 0;
      return {};
    }
  }
  return bytes_view(window_).subspan(static_cast<std::size_t>(offset - window_at_), count);
}

QUORLITE_DECL std::uint64_t libraft_segment_reader::number_at(std::uint64_t offset) {
  const bytes_view read = bytes_at(offset, 8);
  return read.empty() ? 0 : load_little_endian<std::uint64_t>(read.data());
}

QUORLITE_DECL bool libraft_segment_reader::is_blank() { return skip_zeros(0, size_) == size_; }

QUORLITE_DECL bool libraft_segment_reader::next() {
  begin_ = next_;
  reached_ = next_;
  if (next_ == libraft_format_bytes &&
      (size_ < libraft_format_bytes || number_at(0) != libraft_disk_format)) {
    state_ = state::wrong_format;
    return false;
  }
  state_ = read_batch(next_, heads_);
  if (state_ != state::whole || error_) {
    return false;
  }
  next_ = reached_;
  last_term_ = heads_.back().term;
  return true;
}

QUORLITE_DECL libraft_segment_reader::state libraft_segment_reader::read_batch(
    std::uint64_t at, std::vector<libraft_entry_head>& into) {
  into.clear();
  reached_ = at;
  if (size_ - at < libraft_preamble_bytes) {
    return state::no_preamble;
  }
  const std::uint64_t checks = number_at(at);
  const std::uint64_t count = number_at(at + 8);
  if (count == 0 || count > libraft_batch_entries_max) {
    return state::bad_count;
  }
  const std::uint64_t heads_at = at + libraft_preamble_bytes;
  if (count * libraft_head_bytes > size_ - heads_at) {
    return state::heads_end;
  }
  into.reserve(static_cast<std::size_t>(count));
  std::uint32_t crc = libraft_crc(bytes_at(at + 8, 8));
  std::uint64_t data = 0;
  bool known = true;
  for (std::uint64_t i = 0; i < count && !error_; ++i) {
    const bytes_view head = bytes_at(heads_at + i * libraft_head_bytes, libraft_head_bytes);
    if (head.empty()) {
      return state::bad_heads;
    }
    crc = libraft_crc(head, crc);
    into.push_back(libraft_entry_head::decode(head));
    data += into.back().data_bytes;
    known = known && into.back().has_known_type();
  }
  if (crc != static_cast<std::uint32_t>(checks)) {
    return state::bad_heads;
  }
  if (!known) {
    return state::unknown_type;
  }
  const std::uint64_t data_at = heads_at + count * libraft_head_bytes;
  reached_ = data_at + data;
  if (data > size_ - data_at) {
    return state::data_ends;
  }
  return read_data(data_at, static_cast<std::uint32_t>(checks >> 32U), into);
}

QUORLITE_DECL libraft_segment_reader::state libraft_segment_reader::read_data(
    std::uint64_t at, std::uint32_t check, std::vector<libraft_entry_head>& of) {
  std::uint32_t crc = 0;
  for (libraft_entry_head& one : of) {
    std::size_t left = one.data_bytes;
    if (one.type == libraft_entry_head::command) {
      const bytes_view head = bytes_at(at, std::min(left, libraft_batch::header_bytes_max));
      one.commands = libraft_batch::count_in(head);
      one.index = libraft_batch::entry_in(head);
    }
    while (left > 0 && !error_) {
      const std::size_t part = std::min(left, window_.size());
      crc = libraft_crc(bytes_at(at, part), crc);
      at += part;
      left -= part;
    }
  }
  return crc == check && !error_ ? state::whole : state::bad_data;
}

// ---- what is behind them

QUORLITE_DECL std::uint64_t libraft_segment_reader::skip_zeros(std::uint64_t from,
                                                               std::uint64_t to) {
  while (from < to && !error_) {
    const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(to - from, window_.size()));
    const bytes_view read = bytes_at(from, part);
    const auto found =
        std::find_if(read.begin(), read.end(), [](std::byte one) { return one != std::byte{0}; });
    from += static_cast<std::uint64_t>(found - read.begin());
    if (found != read.end()) {
      return from;
    }
  }
  return to;
}

QUORLITE_DECL std::uint64_t libraft_segment_reader::end_of_data(std::uint64_t from) {
  std::uint64_t end = from;
  for (std::uint64_t at = from; at < size_ && !error_;) {
    const std::uint64_t found = skip_zeros(at, size_);
    if (found == size_) {
      return end;
    }
    end = found + 1;
    at = end;
  }
  return end;
}

QUORLITE_DECL std::uint64_t libraft_segment_reader::end_of_sector(std::uint64_t at) const noexcept {
  return std::min(size_, (at / libraft_sector_bytes + 1) * libraft_sector_bytes);
}

QUORLITE_DECL bool libraft_segment_reader::has_zero_sector(std::uint64_t from, std::uint64_t to) {
  for (std::uint64_t at = from; at < std::min(to, size_) && !error_; at = end_of_sector(at)) {
    if (skip_zeros(at, end_of_sector(at)) == end_of_sector(at)) {
      return true;
    }
  }
  return to > size_ && may_end_early();
}

QUORLITE_DECL bool libraft_segment_reader::may_end_early() const noexcept {
  return next_ <= libraft_format_bytes && size_ >= libraft_allocated_bytes_min &&
         size_ % libraft_sector_bytes == 0;
}

QUORLITE_DECL bool libraft_segment_reader::head_may_be(const libraft_entry_head& head,
                                                       std::uint64_t newest) const {
  return head.has_known_type() && head.term != 0 && head.term >= last_term_ && head.term <= newest;
}

QUORLITE_DECL bool libraft_segment_reader::heads_may_be_torn(std::uint64_t newest) {
  if (has_zero_sector(next_, next_ + 1)) {
    return true;
  }
  if (size_ - next_ < libraft_preamble_bytes) {
    return false;  // no batch begins where it cannot be
  }
  const std::uint64_t count_at = next_ + 8;
  const std::uint64_t count = number_at(count_at);
  if (count == 0) {
    return count_at % libraft_sector_bytes == 0 && has_zero_sector(count_at, count_at + 1);
  }
  if (count > libraft_batch_entries_max) {
    return false;
  }
  const std::uint64_t heads_at = next_ + libraft_preamble_bytes;
  const std::uint64_t heads_end = heads_at + count * libraft_head_bytes;
  bool torn = heads_end > size_ && may_end_early();
  // The sectors that are there must look like it: a count that changed reaches into the zeros too.
  for (std::uint64_t at = heads_at; at < std::min(heads_end, size_) && !error_;) {
    const std::uint64_t first = std::max(next_, at / libraft_sector_bytes * libraft_sector_bytes);
    const std::uint64_t last = at + libraft_head_bytes - 1;  // of its bytes
    if (has_zero_sector(first, first + 1) ||
        (last >= end_of_sector(at) && has_zero_sector(end_of_sector(at), last + 1))) {
      torn = true;
    } else if (last < size_ &&
               !head_may_be(libraft_entry_head::decode(bytes_at(at, libraft_head_bytes)), newest)) {
      return false;
    }
    at += libraft_head_bytes;
  }
  return torn;
}

QUORLITE_DECL std::uint64_t libraft_segment_reader::find_batch(std::uint64_t from, std::uint64_t to,
                                                               std::uint64_t newest) {
  std::vector<libraft_entry_head> heads;
  std::uint64_t effort = 0;  // bytes that were looked at in vain
  constexpr std::uint64_t effort_max = std::uint64_t{256} << 20U;
  for (std::uint64_t at = (from + 7) / 8 * 8; at < to && effort < effort_max && !error_; at += 8) {
    if (size_ - at < libraft_preamble_bytes + libraft_head_bytes) {
      break;
    }
    const std::uint64_t count = number_at(at + 8);
    const bytes_view head = bytes_at(at + libraft_preamble_bytes, libraft_head_bytes);
    if (count == 0 || count > libraft_batch_entries_max || head.empty() ||
        !head_may_be(libraft_entry_head::decode(head), newest)) {
      continue;
    }
    const state found = read_batch(at, heads);
    if (found == state::whole) {
      return at;
    }
    effort += reached_ - at + count * libraft_head_bytes;
  }
  return 0;
}

QUORLITE_DECL const char* libraft_segment_reader::what_broke() const noexcept {
  switch (state_) {
    case state::no_preamble: return "too few bytes for a batch";
    case state::bad_count: return "a count of entries that cannot be";
    case state::heads_end: return "the file ends in the heads of a batch";
    case state::bad_heads: return "the check of a batch's heads differs";
    case state::data_ends: return "the file ends in the data of a batch";
    case state::bad_data: return "the check of a batch's data differs";
    case state::wrong_format: return "the format's number is wrong";
    case state::unknown_type: return "an entry of a kind that is not known";
    case state::whole: break;
  }
  return "";
}

QUORLITE_DECL libraft_segment_end
libraft_segment_reader::end_of_closed(std::uint64_t expected_entries, std::uint64_t found) {
  using kind = libraft_segment_end::kind;
  if (state_ == state::unknown_type) {
    return {kind::unknown, next_, what_broke()};
  }
  if (state_ == state::wrong_format) {
    return {kind::damaged, 0, what_broke()};
  }
  if (next_ != size_) {
    return {kind::damaged, next_, what_broke()};
  }
  if (found != expected_entries) {
    return {kind::damaged, next_,
            "it holds " + std::to_string(found) + " entries, and its name says " +
                std::to_string(expected_entries)};
  }
  return {kind::whole, next_, {}};
}

QUORLITE_DECL libraft_segment_end libraft_segment_reader::end_of_open(std::uint64_t newest,
                                                                      bool one_batch_a_write) {
  using kind = libraft_segment_end::kind;
  if (state_ == state::unknown_type) {
    return {kind::unknown, next_, what_broke()};
  }
  if (state_ == state::wrong_format) {
    next_ = 0;
    if (size_ >= libraft_format_bytes && number_at(0) != 0) {
      return {kind::damaged, 0, what_broke()};
    }
  }
  if (skip_zeros(next_, size_) == size_) {
    return {kind::whole, next_, {}};
  }
  return torn_or_damaged(newest, one_batch_a_write);
}

QUORLITE_DECL libraft_segment_end libraft_segment_reader::torn_or_damaged(std::uint64_t newest,
                                                                          bool one_batch_a_write) {
  using kind = libraft_segment_end::kind;
  const bool knows_its_end = state_ == state::bad_data || state_ == state::data_ends;
  const std::uint64_t reached = reached_;
  const std::uint64_t data_end = end_of_data(next_);
  const std::string broke = what_broke();
  if (one_batch_a_write) {
    const std::uint64_t behind =
        find_batch(knows_its_end ? std::min(reached, size_) : next_ + 8, data_end, newest);
    if (behind != 0) {
      return {kind::damaged, next_,
              broke + ", and a whole batch is behind it, at byte " + std::to_string(behind)};
    }
    if (knows_its_end && data_end > reached) {
      return {kind::damaged, next_,
              broke + ", and something is behind it, at byte " +
                  std::to_string(skip_zeros(reached, size_))};
    }
  }
  const bool torn = knows_its_end ? has_zero_sector(next_, reached) : heads_may_be_torn(newest);
  if (torn) {
    return {kind::torn, next_, broke};
  }
  return {kind::damaged, next_, broke + ", though all of it was written"};
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
