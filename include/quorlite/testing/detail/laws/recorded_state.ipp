/// @file
/// Bodies of recorded_state, and of the stage and the reader made of it.
#pragma once

#include "quorlite/testing/detail/laws/recorded_state.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <system_error>
#include <utility>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/laws/consensus_ledger.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL bytes recorded_state::to_bytes() const {
  bytes image;
  quorlite::detail::wire_writer writer(image);
  writer.u64(at.index.value);
  writer.u64(at.term.value);
  for (const auto& [index, entry] : entries) {
    writer.u64(index);
    writer.u64(entry.term.value);
    writer.u64(entry.payload.size());
    writer.raw(entry.payload);
  }
  return image;
}

QUORLITE_DECL bool recorded_state::from_bytes(bytes_view image) {
  std::size_t place = 0;
  bool whole = true;
  const auto take = [&]() {
    std::uint64_t number = 0;
    whole = whole && image.size() - place >= 8;
    for (std::size_t i = 0; whole && i < 8; ++i) {
      number |= std::to_integer<std::uint64_t>(image[place + i]) << (8 * i);
    }
    place += whole ? 8U : 0U;
    return number;
  };
  at.index = log_index{take()};
  at.term = quorlite::term{take()};
  while (whole && place < image.size()) {
    const std::uint64_t index = take();
    recorded_entry entry{quorlite::term{take()}, {}};
    const std::uint64_t size = take();
    whole = whole && size <= image.size() - place;
    if (whole) {
      const auto start = image.begin() + static_cast<std::ptrdiff_t>(place);
      entry.payload.assign(start, start + static_cast<std::ptrdiff_t>(size));
      entries.emplace(index, std::move(entry));
      place += static_cast<std::size_t>(size);
    }
  }
  return whole;
}

QUORLITE_DECL recording_stage::recording_stage(std::shared_ptr<stage_counters> counters)
    : counters_(std::move(counters)) {
  ++counters_->begun;
}

QUORLITE_DECL std::error_code recording_stage::append(bytes_view chunk) noexcept {
  image_.insert(image_.end(), chunk.begin(), chunk.end());
  counters_->appended_bytes += chunk.size();
  return {};
}

QUORLITE_DECL std::error_code recording_stage::finish() noexcept {
  ended_ = true;
  if (counters_->fail_next.exchange(false)) {
    ++counters_->failed;
    return make_error_code(errc::corrupt);
  }
  finished_ = state_.from_bytes(image_);
  return finished_ ? std::error_code{} : make_error_code(errc::corrupt);
}

QUORLITE_DECL std::error_code recording_reader::read(std::uint64_t offset,
                                                     bytes_span into) noexcept {
  if (offset > image_.size() || into.size() > image_.size() - offset) {
    return make_error_code(errc::malformed);
  }
  if (!into.empty()) {
    std::memcpy(into.data(), image_.data() + offset, into.size());
  }
  return {};
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
