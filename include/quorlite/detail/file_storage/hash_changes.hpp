/// @file
/// Page hashes on their way through the double-write file: whole blocks of the file of hashes,
/// since a sector that is being written holds the hashes of other pages, too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/storage.hpp"
#include "quorlite/detail/file_storage/database_files.hpp"
#include "quorlite/detail/file_storage/double_write.hpp"
#include "quorlite/detail/core/wire.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// What a flush changes in one file of hashes. One thread. Throws std::bad_alloc.
template <file_system FileSystem>
class hash_changes {
 public:
  using database = database_files<FileSystem>;

  /// What is added again counts.
  void add(const database& of, std::span<const page_view> sorted) {
    for (const page_view& page : sorted) {
      if (page.number.value == 1) {
        values_[0] = of.head_with(page.image[database::guard_offset]);
      }
      values_[page.number.value] = page.hash;
    }
  }

  /// Appends the blocks as they will be. @returns errc, as of storage_health
  [[nodiscard]] std::error_code append_to(double_write_file<FileSystem>& into, const database& of,
                                          storage_health& health, std::size_t batch_blocks) const {
    constexpr auto values_per_block =
        static_cast<std::uint32_t>(double_write_block / database::hash_bytes);
    auto next = values_.begin();
    while (next != values_.end()) {
      std::vector<bytes> images;
      std::vector<page_view> blocks;
      images.reserve(batch_blocks);
      while (next != values_.end() && images.size() < batch_blocks) {
        const std::uint32_t block = next->first / values_per_block;
        bytes& image = images.emplace_back(double_write_block);
        if (const auto error = health.after(of.read_hash_block(block, image))) {
          return error;
        }
        for (; next != values_.end() && next->first / values_per_block == block; ++next) {
          store_little_endian(image.data() + next->first % values_per_block * database::hash_bytes,
                              next->second);
        }
        blocks.push_back({page_number{block + 1}, 0, image});
      }
      if (const auto error = into.append(double_write_kind::hashes, of.name(), blocks,
                                         double_write_block, batch_blocks)) {
        return error;
      }
    }
    return {};
  }

 private:
  std::map<std::uint32_t, std::uint64_t> values_;  // 8 bytes each, by place
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
