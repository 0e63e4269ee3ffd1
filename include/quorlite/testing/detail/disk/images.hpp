/// @file
/// What a crash may leave of a disk: all the possibilities where they are few, a fair choice where
/// they are not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/testing/detail/disk/tree.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// What became of each pending unit.
using crash_fates = std::vector<unit_fate>;

/// What a crash may do beside keeping and losing.
struct crash_options {
  bool garbage = false;    ///< sectors in flight may hold neither the old nor the new bytes
  std::uint64_t seed = 1;  ///< of the choice and of the garbage
};

/// Ways for `pending` units to survive a crash or not. All of them if there are at most `at_most`;
/// else `at_most` different ones: nothing survives, everything does, the first few do (each number
/// of them, or with little room evenly spread numbers), and random ones. The same for the same
/// arguments, on every machine.
[[nodiscard]] QUORLITE_DECL std::vector<crash_fates> choose_crash_fates(std::size_t pending,
                                                                        std::size_t at_most,
                                                                        crash_options options = {});

/// For messages: one letter a unit.
[[nodiscard]] QUORLITE_DECL std::string text_of(const crash_fates& fates);

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/disk/images.ipp"  // IWYU pragma: keep
#endif
