/// @file
/// The native snapshot: its format, a renderer of any range, a parser of pieces.
#pragma once

#include "quorlite/detail/codec/snapshot_format.hpp"  // IWYU pragma: export
#include "quorlite/detail/codec/snapshot_parser.hpp"  // IWYU pragma: export
#include "quorlite/detail/codec/snapshot_writer.hpp"  // IWYU pragma: export
