/// @file
/// What a crash may leave of a disk: all the possibilities where they are few, a fair choice where
/// they are not.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/testing/detail/disk/disk_tree.hpp"
#include "quorlite/testing/faulty_disk.hpp"
#include "quorlite/testing/detail/simulation/random.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

/// What became of each pending unit.
using crash_fates = std::vector<unit_fate>;

struct crash_options {
  bool garbage = false;    ///< sectors in flight may hold neither the old nor the new bytes
  std::uint64_t seed = 1;  ///< of the choice and of the garbage
};

/// Ways for `pending` units to survive a crash or not. All of them if there are at most `at_most`;
/// else `at_most` different ones: nothing survives, everything does, the first few do (each number
/// of them, or with little room evenly spread numbers), and random ones.
/// The same for the same arguments, on every machine.
[[nodiscard]] inline std::vector<crash_fates> choose_crash_fates(std::size_t pending,
                                                                 std::size_t at_most,
                                                                 crash_options options = {}) {
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

/// For messages: one letter a unit.
[[nodiscard]] inline std::string text_of(const crash_fates& fates) {
  std::string text;
  for (const unit_fate fate : fates) {
    text += fate == unit_fate::lost ? '-' : fate == unit_fate::survived ? 'x' : '?';
  }
  return text;
}

/// Calls `visit(faulty_disk& image, const crash_fates& fates)` for what a crash now may leave of
/// `disk`, which stays as it is.
/// @returns how many there were
template <class Visit>
std::size_t crash_images(const faulty_disk& disk, std::size_t at_most, Visit&& visit,
                         crash_options options = {}) {
  const std::vector<crash_fates> chosen = choose_crash_fates(disk.pending(), at_most, options);
  for (const crash_fates& fates : chosen) {
    faulty_disk image = disk.after_crash(fates, options.seed);
    visit(image, fates);
  }
  return chosen.size();
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
