/// @file
/// Two places for the superblock, written by turns: whatever a crash does to the one that is being
/// written, the other one is whole.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/error.hpp"
#include "quorlite/detail/file_storage/data_directory.hpp"
#include "quorlite/detail/file_storage/health.hpp"
#include "quorlite/detail/file_storage/superblock.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// One thread.
template <file_system FileSystem>
class superblock_slots {
 public:
  using directory_type = data_directory<FileSystem>;

  superblock_slots(directory_type& directory, storage_health& health) noexcept
      : directory_(directory), health_(health) {}

  /// The newest whole superblock; nothing in a place that never had one. Throws std::bad_alloc.
  /// @returns errc::corrupt if there should be one; errc::needs_upgrade if the newest may be one
  /// that only a newer version reads; errc::storage_full, errc::storage_broken
  [[nodiscard]] result<std::optional<superblock>> read() {
    std::optional<superblock> newest;
    std::size_t present = 0;
    for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
      auto found = directory_.find(place_names::superblocks[slot]);
      if (!found) {
        return failed(health_.after(found.error()));
      }
      slots_[slot] = std::move(*found);
      if (!slots_[slot]) {
        continue;
      }
      ++present;
      auto block = read_one(*slots_[slot]);
      if (!block && block.error() != errc::corrupt) {
        return failed(block.error());
      }
      if (block && (!newest || newest->sequence < block->sequence)) {
        newest = std::move(*block);
        next_ = 1 - slot;
      }
    }
    if (!newest && present == slots_.size()) {
      return failed(errc::corrupt);
    }
    sequence_ = newest ? newest->sequence : 0;
    return newest;
  }

  /// Makes `block` the newest, with the next sequence number. Blocks until it is durable. Throws
  /// std::bad_alloc.
  /// @returns errc::storage_full: the one before is still the newest; errc::storage_broken: nobody
  /// knows
  [[nodiscard]] std::error_code write(superblock& block) {
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
    ++sequence_;
    next_ = 1 - next_;
    return {};
  }

 private:
  using file_type = typename FileSystem::file_type;

  [[nodiscard]] result<superblock> read_one(const file_type& file) {
    const auto size = file.size();
    if (!size) {
      return failed(health_.after(size.error()));
    }
    bytes image(
        static_cast<std::size_t>(std::min<std::uint64_t>(*size, superblock_format::bytes_max)));
    const auto count = file.read(0, image);
    if (!count) {
      return failed(health_.after(count.error()));
    }
    return decode_superblock(bytes_view(image).first(*count));
  }

  directory_type& directory_;
  storage_health& health_;
  std::array<std::optional<file_type>, 2> slots_;
  bool named_ = false;  // durably: the last process may have failed to make it so
  std::size_t next_ = 0;
  std::uint64_t sequence_ = 0;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
