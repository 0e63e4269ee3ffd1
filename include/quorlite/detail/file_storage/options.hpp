/// @file
/// What can be chosen about a `file_storage`.
#pragma once

#include <cstddef>

#include "quorlite/config.hpp"

namespace quorlite {
inline namespace v0 {

struct file_options {
  /// Pages go through a file of their own first: for disks that may leave garbage in a sector that
  /// they were writing when the power went. Each page of a flush is written twice.
  /// Pages smaller than a sector of the disk are not protected from their neighbours.
  bool double_write = false;
  /// Pages in one call of the file system. At least 1.
  std::size_t write_batch_pages = 256;
};

}  // namespace v0
}  // namespace quorlite
