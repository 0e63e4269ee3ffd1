/// @file
/// Views of raw bytes. All of them borrow: whoever passes one keeps the memory alive for the call.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

using bytes_view = std::span<const std::byte>;  ///< read-only bytes, borrowed for the call
using bytes_span = std::span<std::byte>;        ///< bytes to fill, borrowed for the call
using bytes = std::vector<std::byte>;           ///< owned bytes

}  // namespace QUORLITE_ABI
}  // namespace quorlite
