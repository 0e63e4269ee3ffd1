/// @file
/// Bodies of disk_faults.
#pragma once

#include "quorlite/testing/detail/disk/faults.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>

#include "quorlite/config.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL void disk_faults::fail_at(std::uint64_t ordinal, std::errc why,
                                        fault_duration how_long) {
  const bool once = how_long == fault_duration::once;
  failures_.push_back({ordinal, once ? ordinal : no_call, std::make_error_code(why)});
}

QUORLITE_DECL void disk_faults::short_write_at(std::uint64_t ordinal, std::errc why) {
  failures_.push_back({ordinal, ordinal, std::make_error_code(why)});
  failures_.back().halves = true;
}

QUORLITE_DECL void disk_faults::full_from(std::uint64_t ordinal, std::uint64_t left) {
  failures_.push_back({ordinal, no_call, std::make_error_code(std::errc::no_space_on_device)});
  failures_.back().left = left;
}

QUORLITE_DECL disk_call disk_faults::call(std::uint64_t ordinal) const {
  const counted_call& made = calls_.at(static_cast<std::size_t>(ordinal - 1));
  return {made.kind, *made.path};
}

QUORLITE_DECL disk_faults::fault_choice disk_faults::judge(disk_call_kind kind,
                                                           std::string_view path,
                                                           std::uint64_t room_bytes) {
  fault_choice fate;
  fate.happens = !crashed();
  auto known = paths_.find(path);
  known = known == paths_.end() ? paths_.emplace(path).first : known;
  calls_.push_back({kind, &*known});
  const std::uint64_t ordinal = calls_.size();
  if (crashed()) {
    fate.error = std::make_error_code(std::errc::io_error);
    return fate;
  }
  for (const failure& planned : failures_) {
    if (ordinal >= planned.first && ordinal <= planned.last &&
        (planned.left == no_room_asked || room_bytes > planned.left)) {
      fate.error = planned.error;
      fate.halved = planned.halves && kind == disk_call_kind::write;
      fate.happens = fate.halved;
    }
  }
  fate.rotten = std::find(rotten_.begin(), rotten_.end(), ordinal) != rotten_.end();
  return fate;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
