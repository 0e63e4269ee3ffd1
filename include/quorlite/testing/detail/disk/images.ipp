/// @file
/// Bodies of the choice of what a crash leaves.
#pragma once

#include "quorlite/testing/detail/disk/images.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/testing/detail/disk/tree.hpp"
#include "quorlite/testing/detail/simulation/random.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL std::vector<crash_fates> choose_crash_fates(std::size_t pending, std::size_t at_most,
                                                          crash_options options) {
  const std::size_t kinds = options.garbage ? 3 : 2;
  std::vector<crash_fates> chosen;
  std::size_t all = 1;
  for (std::size_t i = 0; i < pending && all <= at_most; ++i) {
    all *= kinds;
  }
  if (all <= at_most) {
    for (std::size_t way = 0; way < all; ++way) {
      crash_fates fates;
      for (std::size_t rest = way; fates.size() < pending; rest /= kinds) {
        fates.push_back(static_cast<unit_fate>(rest % kinds));
      }
      chosen.push_back(std::move(fates));
    }
    return chosen;
  }
  std::set<crash_fates> seen;
  const auto choose = [&](crash_fates fates) {
    if (chosen.size() < at_most && seen.insert(fates).second) {
      chosen.push_back(std::move(fates));
    }
  };
  choose(crash_fates(pending, unit_fate::lost));
  choose(crash_fates(pending, unit_fate::survived));
  // Prefixes get half of the room if they do not fit, so that some is left for the others.
  const std::size_t step = pending < at_most ? 1 : pending / (at_most / 2 + 1) + 1;
  for (std::size_t count = step; count < pending; count += step) {
    crash_fates fates(pending, unit_fate::lost);
    std::fill_n(fates.begin(), count, unit_fate::survived);
    choose(std::move(fates));
  }
  random dice(options.seed);
  while (chosen.size() < at_most) {
    const std::uint64_t eighths = dice.between(1, 7);  // some lose little, some lose most
    crash_fates fates;
    while (fates.size() < pending) {
      const bool in_flight = options.garbage && dice.below(8) == 0;
      const bool survives = dice.below(8) < eighths;
      fates.push_back(in_flight  ? unit_fate::garbage
                      : survives ? unit_fate::survived
                                 : unit_fate::lost);
    }
    choose(std::move(fates));
  }
  return chosen;
}

QUORLITE_DECL std::string text_of(const crash_fates& fates) {
  std::string text;
  for (const unit_fate fate : fates) {
    text += fate == unit_fate::lost ? '-' : fate == unit_fate::survived ? 'x' : '?';
  }
  return text;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
