/// @file
/// How the two places of the superblock are read and written. Templates, so always included.
#pragma once

#include "quorlite/detail/file_storage/superblock.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/file_storage/data_directory.hpp"
#include "quorlite/error.hpp"
#include "quorlite/storage/file_system.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

template <file_system FileSystem>
result<std::optional<superblock>> superblock_slots<FileSystem>::read() {
  std::optional<superblock> newest;
  std::size_t present = 0;
  std::size_t whole = 0;
  for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
    auto found = directory_.find(place_names::superblocks[slot]);
    if (!found) {
      return fail(health_.after(found.error(), place_names::superblocks[slot]));
    }
    slots_[slot] = std::move(*found);
    if (!slots_[slot]) {
      continue;
    }
    ++present;
    bytes image;
    auto block = read_one(slot, image);
    if (!block && block.error() != errc::corrupt) {
      if (block.error() == errc::needs_upgrade) {
        static_cast<void>(health_.damaged(std::string(place_names::superblocks[slot]) +
                                          ": it is of a later version"));
      }
      return fail(block.error());
    }
    whole += block ? 1U : 0U;
    if (block && (!newest || newest->sequence < block->sequence)) {
      newest = std::move(*block);
      next_ = 1 - slot;
      unconfirmed_ = std::move(image);
    }
  }
  if (!newest && present == slots_.size()) {
    return fail(health_.damaged(
        std::string(place_names::superblocks[0]) + " and " +
        std::string(place_names::superblocks[1]) +
        ", from byte 0 on: neither is what was written, and they say which databases there "
        "are"));
  }
  if (present != whole) {
    unconfirmed_.clear();  // it was there when the power was cut in the other place
  }
  sequence_ = newest ? newest->sequence : 0;
  return newest;
}

/// By another file that takes its place: it may be durable, and the only one that is as of what was
/// promised, so nothing is written over it. Without room for that it is taken as it is.
template <file_system FileSystem>
std::error_code superblock_slots<FileSystem>::confirm() {
  if (unconfirmed_.empty()) {
    return {};
  }
  auto made = directory_.open(place_names::superblock_copy, open_mode::truncated);
  const bytes_view part = unconfirmed_;
  std::error_code error = health_.after(made ? made->write(0, {&part, 1}) : made.error());
  if (error == errc::storage_full || error == errc::out_of_memory) {
    static_cast<void>(directory_.remove(place_names::superblock_copy));
    return {};
  }
  const std::size_t slot = 1 - next_;
  error = error ? error : health_.after_sync(made->sync());
  error = error ? error
                : health_.after(directory_.rename(place_names::superblock_copy,
                                                  place_names::superblocks[slot]));
  error = error ? error : health_.after_sync(directory_.sync(place_names::own));
  if (error) {
    return error;
  }
  auto placed = directory_.find(place_names::superblocks[slot]);
  if (!placed) {
    return health_.after(placed.error());
  }
  slots_[slot] = std::move(*placed);
  unconfirmed_ = {};
  return {};
}

/// What a file system that cannot tell says: no.
template <class File>
[[nodiscard]] bool is_removed(const File& file) noexcept {
  if constexpr (requires { file.is_removed(); }) {
    return file.is_removed();
  } else {
    return false;
  }
}

template <file_system FileSystem>
std::error_code superblock_slots<FileSystem>::write(superblock& block) {
  block.sequence = sequence_ + 1;
  const bytes image = encode(block);
  auto& slot = slots_[next_];
  if (!slot) {
    auto opened = directory_.open(place_names::superblocks[next_], open_mode::or_create);
    if (!opened) {
      return health_.after(opened.error());
    }
    slot = std::move(*opened);
    named_ = false;
  }
  const bytes_view part = image;
  if (const auto error = health_.after(slot->write(0, {&part, 1}))) {
    return error;
  }
  if (const auto error = health_.after_sync(slot->sync())) {
    return error;
  }
  if (!named_) {
    if (const auto error = health_.after_sync(directory_.sync(place_names::own))) {
      return error;
    }
    named_ = true;
  }
  if (is_removed(*slot)) {  // the flush would count as done, and the log be cut
    return health_.after(std::make_error_code(std::errc::no_such_file_or_directory),
                         place_names::superblocks[next_]);
  }
  ++sequence_;
  next_ = 1 - next_;
  return {};
}

template <file_system FileSystem>
result<superblock> superblock_slots<FileSystem>::read_one(std::size_t slot, bytes& image) {
  const file_type& file = *slots_[slot];
  const auto size = file.size();
  if (!size) {
    return fail(health_.after(size.error(), place_names::superblocks[slot]));
  }
  image.resize(
      static_cast<std::size_t>(std::min<std::uint64_t>(*size, superblock_format::bytes_max)));
  const auto count = file.read(0, image);
  if (!count) {
    return fail(health_.after(count.error(), place_names::superblocks[slot]));
  }
  image.resize(*count);
  return decode_superblock(image);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
