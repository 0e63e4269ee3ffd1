/// @file
/// The file through which pages go first when a disk may leave garbage where it was writing: until
/// they are whole in their places, they are whole here. Records, little-endian:
///
///     offset  bytes
///          0      2  length of the name
///          2      2  kind: 0 pages, 1 blocks of 4096 bytes of the file of hashes, counted from 1
///          4      4  page size
///          8      4  number of pages, or blocks
///         12      4  zero
///         16         name
///                    for each page: 4 number, 8 hash
///                    the images
///
/// The checksum is XXH3-64 of everything before the images, then of each image, each seeded by the
/// one before, the first by 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/file_storage/data_directory.hpp"
#include "quorlite/detail/file_storage/database_files.hpp"
#include "quorlite/detail/file_storage/health.hpp"
#include "quorlite/detail/file_storage/superblock.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/storage.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

enum class double_write_kind : std::uint16_t { pages = 0, hashes = 1 };
inline constexpr std::uint32_t double_write_block = 4096;  // bytes: the largest sector of a disk

/// A record, or its first bytes.
class double_write_record {
 public:
  static constexpr std::size_t fixed_bytes = 16;
  static constexpr std::size_t page_bytes = 12;  // of a page, beside its image

  /// All but the images. Throws std::bad_alloc.
  [[nodiscard]] static bytes encode_head(double_write_kind kind, std::string_view name,
                                         std::span<const page_view> pages, std::uint32_t page_size);
  /// The bytes are in the double-write file, behind what `seen` knows.
  static void add_to(double_write_extent& seen, bytes_view part) noexcept;

  /// @pre at least fixed_bytes, which stay where they are
  explicit double_write_record(bytes_view record) noexcept : record_(record) {}

  [[nodiscard]] double_write_kind kind() const noexcept;
  [[nodiscard]] std::uint32_t page_size() const noexcept;
  /// Of pages or blocks.
  [[nodiscard]] std::uint32_t count() const noexcept;
  /// Bytes of all of it, as its first bytes say; 0 if they cannot be right.
  [[nodiscard]] std::uint64_t length() const noexcept;
  /// @pre from here on the record is complete
  [[nodiscard]] std::string_view name() const noexcept;
  /// What is in it, and what is seen of the file with it. Throws std::bad_alloc.
  /// @returns errc::corrupt if a field is wrong, which need not show in the checksum
  [[nodiscard]] result<std::vector<page_view>> decode(double_write_extent& seen) const;

 private:
  [[nodiscard]] std::uint64_t head_bytes() const noexcept;

  bytes_view record_;
};

/// One thread. Errors are errc, as of storage_health; all but the simplest functions throw
/// std::bad_alloc.
template <file_system FileSystem>
class double_write_file {
 public:
  double_write_file(data_directory<FileSystem>& directory, storage_health& health) noexcept
      : directory_(directory), health_(health) {}

  /// Makes the file if need be, durably. Nothing is in it.
  [[nodiscard]] std::error_code open();
  /// Forgets all records. @pre no superblock names them
  void restart() noexcept { extent_ = {}; }

  [[nodiscard]] std::error_code append(double_write_kind kind, std::string_view name,
                                       std::span<const page_view> sorted, std::uint32_t page_size,
                                       std::size_t batch_pages);

  /// Blocks until the records are durable.
  [[nodiscard]] std::error_code sync() noexcept {
    return extent_.length == 0 ? std::error_code{} : health_.after_sync(file_->sync());
  }
  /// What the superblock needs to know; nothing without records.
  [[nodiscard]] std::optional<double_write_extent> extent() const noexcept {
    if (extent_.length == 0) {
      return {};
    }
    return extent_;
  }

  /// Calls `std::error_code visit(kind, name, page_size, std::span<const page_view>)` for each
  /// record.
  /// @returns errc::corrupt if they are not what the superblock names, the first error otherwise
  template <class Visitor>
  [[nodiscard]] std::error_code visit(const double_write_extent& extent, Visitor visit);

 private:
  [[nodiscard]] std::error_code read(std::uint64_t offset, bytes_span into) noexcept;

  /// Bounded by what the superblock says, which is bounded by the file.
  [[nodiscard]] std::error_code read_record(std::uint64_t offset, std::uint64_t end, bytes& record);

  data_directory<FileSystem>& directory_;
  storage_health& health_;
  std::optional<typename FileSystem::file_type> file_;
  double_write_extent extent_;
};

/// What a flush changes in one file of hashes, on its way through the double-write file: whole
/// blocks of the file of hashes, since a sector that is being written holds the hashes of other
/// pages, too. One thread. Throws std::bad_alloc.
template <file_system FileSystem>
class hash_changes {
 public:
  using database = database_files<FileSystem>;

  /// What is added again counts.
  void add(const database& of, std::span<const page_view> sorted) {
    for (const page_view& page : sorted) {
      if (page.number.value == 1) {
        values_[0] = of.head_with(page.image[database_layout::guard_offset]);
      }
      values_[page.number.value] = page.hash;
    }
  }

  /// Appends the blocks as they will be. @returns errc, as of storage_health
  [[nodiscard]] std::error_code append_to(double_write_file<FileSystem>& into, const database& of,
                                          storage_health& health, std::size_t batch_blocks) const {
    constexpr auto values_per_block =
        static_cast<std::uint32_t>(double_write_block / database_layout::hash_bytes);
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
          store_little_endian(
              image.data() + next->first % values_per_block * database_layout::hash_bytes,
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

#include "quorlite/detail/file_storage/double_write_file.ipp"  // IWYU pragma: keep

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/file_storage/double_write.ipp"  // IWYU pragma: keep
#endif
