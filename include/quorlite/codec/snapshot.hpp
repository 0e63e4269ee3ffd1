/// @file
/// The native snapshot: its format, a renderer of any range, a parser of pieces.
#pragma once

#include "quorlite/codec/snapshot_format.hpp"  // IWYU pragma: export
#include "quorlite/codec/snapshot_parser.hpp"  // IWYU pragma: export
#include "quorlite/codec/snapshot_writer.hpp"  // IWYU pragma: export
