/// @file
/// Bodies of libraft_log_entries.
#pragma once

#include "quorlite/detail/libraft/log_entries.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/detail/libraft/log_format.hpp"
#include "quorlite/detail/libraft/log_segment.hpp"
#include "quorlite/detail/libraft/snapshot.hpp"
#include "quorlite/error.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL result<std::optional<libraft_snapshot_header>> read_snapshot_header(
    libraft_file& from) {
  std::array<std::byte, libraft_snapshot_header::encoded_bytes_max> room{};
  const std::uint64_t size = from.size();
  const bytes_span front =
      bytes_span(room).first(static_cast<std::size_t>(std::min<std::uint64_t>(size, room.size())));
  if (const std::error_code error = from.read(0, front)) {
    return fail(error);
  }
  const auto header = libraft_snapshot_header::decode_front(front, size);
  return header ? std::optional(*header) : std::nullopt;
}

QUORLITE_DECL bool libraft_log_entries::next() {
  const std::vector<libraft_log_range>& ranges = report_.ranges;
  if (error_ || ranges.empty() || index_ == ranges.back().last) {
    return false;
  }
  if (segment_ && index_ == ranges[range_].last) {
    ++range_;
    if (ranges[range_].file != ranges[range_ - 1].file) {
      segment_.reset();
    }
  }
  if (!segment_ && !open_segment()) {
    return false;
  }
  index_ = index_ == 0 ? ranges.front().first : index_ + 1;
  return (head_ < segment_->entries().size() || read_batch()) && read_data();
}

QUORLITE_DECL bool libraft_log_entries::open_segment() {
  auto file = folder_.open(report_.ranges[range_].file);
  if (!file) {
    error_ = file.error();
    return false;
  }
  file_ = std::move(*file);
  segment_.emplace(*file_);
  head_ = 0;
  return true;
}

QUORLITE_DECL bool libraft_log_entries::read_batch() {
  if (!segment_->next()) {
    error_ = segment_->error() ? segment_->error() : std::make_error_code(std::errc::io_error);
    return false;
  }
  head_ = 0;
  data_at_ =
      segment_->begin() + libraft_preamble_bytes + segment_->entries().size() * libraft_head_bytes;
  return true;
}

/// The segment's reader has found all of it in the file, so that much may be asked for.
QUORLITE_DECL bool libraft_log_entries::read_data() {
  const libraft_entry_head& head = segment_->entries()[head_++];
  is_command_ = head.type == libraft_entry_head::command;
  if (is_command_) {
    data_.resize(head.data_bytes);
    error_ = file_->read(data_at_, data_);
  }
  data_at_ += head.data_bytes;
  return !error_;
}

QUORLITE_DECL void place_defect(libraft_log_defect& found, libraft_folder& from,
                                const libraft_log_report& report, std::uint64_t entry) {
  const auto held = std::find_if(
      report.ranges.begin(), report.ranges.end(),
      [&](const libraft_log_range& one) { return one.first <= entry && entry <= one.last; });
  found.byte = 0;
  if (held == report.ranges.end()) {
    const bool has_snapshot = !report.snapshot_file.empty();
    found.file = has_snapshot             ? report.snapshot_file
                 : !report.ranges.empty() ? report.ranges.front().file
                                          : std::string();
    return;
  }
  found.file = held->file;
  libraft_log_entries entries(from, report);
  bool is_read = has_whole_entries(report);
  while (is_read && entries.index() != entry) {
    is_read = entries.next();
  }
  if (is_read) {
    found.byte = entries.byte();
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
