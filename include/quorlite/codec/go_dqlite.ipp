/// @file
/// Body of go_dqlite.hpp.
#pragma once

#include "quorlite/codec/go_dqlite.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/legacy/go_dqlite_format.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

QUORLITE_DECL const detail::legacy_format& go_dqlite_format() noexcept {
  static const detail::go_dqlite_log format;
  return format;
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite
