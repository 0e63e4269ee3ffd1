/// @file
/// One content of a database on disk: a file of pages, and beside it a file of what a SQLite file
/// has no room for. Of that one, little-endian:
///
///     offset  bytes
///          0      1  byte 19 of page 1, as it should be
///          1      7  the generation of the content, its low 56 bits
///        8 n      8  the hash of page n
///
/// **Guard.** While the storage runs, byte 19 of page 1 (SQLite's "read version") is 0x7F in the
/// file: SQLite then refuses it as "not a database" (sqlite.org/fileformat2.html, 1.3.3), so that
/// nobody reads half a flush, or writes beside us.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/storage.hpp"
#include "quorlite/storage/file_system.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Where things are in the two files.
namespace database_layout {

inline constexpr std::size_t guard_offset = 19;  // bytes, in page 1
inline constexpr std::byte guard{0x7F};
inline constexpr std::size_t hash_bytes = 8;
inline constexpr std::uint64_t generation_mask = (std::uint64_t{1} << 56U) - 1;

[[nodiscard]] constexpr std::uint64_t offset_of(page_number page, std::uint32_t size) noexcept {
  return std::uint64_t{page.value - 1} * size;
}
[[nodiscard]] constexpr std::uint64_t hashes_size(std::uint64_t page_count) noexcept {
  return (page_count + 1) * hash_bytes;
}

}  // namespace database_layout

enum class file_state : std::uint8_t {
  exact,    ///< every page as of the position
  ahead,    ///< after an unfinished flush: pages may be anything
  garbled,  ///< the hashes, too, until the double-write file is copied
};

/// What came of taking two files for those that a position names.
struct file_adoption {
  std::error_code error;       ///< of the file system; none with a flaw
  const char* flaw = nullptr;  ///< what shows that they are others; never freed; nullptr: nothing
  bool in_hashes = false;      ///< of the two, the file of the hashes
  std::uint64_t byte = 0;      ///< where the flaw shows
};

/// Reads: any thread, as long as nobody writes the same pages. The rest: one thread at a time.
/// Errors are the system's, but where errc is named.
template <file_system FileSystem>
class database_files {
 public:
  using file_type = typename FileSystem::file_type;

  /// Without files, and without a page. Throws std::bad_alloc.
  explicit database_files(std::string_view name) : name_(name) {}

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] std::uint64_t generation() const noexcept { return generation_; }
  [[nodiscard]] std::uint32_t page_size() const noexcept {
    return page_size_.load(std::memory_order_relaxed);
  }
  /// What can be read.
  [[nodiscard]] std::uint64_t page_count() const noexcept {
    return page_count_.load(std::memory_order_acquire);
  }
  [[nodiscard]] bool has_files() const noexcept { return data_.has_value(); }

  // ---- reading

  /// errc::storage_broken for a page that is not there, another size, or a file that is too short.
  [[nodiscard]] std::error_code read(page_number page, bytes_span into) const noexcept;

  /// errc::storage_broken if one of the pages is not there, or the file is too short.
  [[nodiscard]] std::error_code read_hashes(page_number first,
                                            std::span<std::uint64_t> into) const noexcept;

  /// The first 8 bytes of the file of hashes.
  [[nodiscard]] std::uint64_t head_with(std::byte true_byte) const noexcept {
    return (generation_ << 8U) | std::to_integer<std::uint64_t>(true_byte);
  }
  /// A block of the file of hashes, counted from 0; zeros behind its end.
  [[nodiscard]] std::error_code read_hash_block(std::uint64_t block,
                                                bytes_span into) const noexcept;

  // ---- where it is

  /// Takes two empty files, and notes the generation in one of them.
  [[nodiscard]] std::error_code begin(file_type data, file_type hashes,
                                      std::uint64_t generation) noexcept;
  /// Undoes begin(). @pre nothing can be read
  void forget_files() noexcept;
  /// True as long as the files have not got their names yet.
  [[nodiscard]] bool data_staged() const noexcept { return data_staged_; }
  [[nodiscard]] bool hashes_staged() const noexcept { return hashes_staged_; }
  void data_placed() noexcept { data_staged_ = false; }
  void hashes_placed() noexcept { hashes_staged_ = false; }

  /// Takes two files that a position names, and cuts what is beyond its page count.
  /// @param state how much of them can be relied on
  [[nodiscard]] file_adoption adopt(file_type data, file_type hashes, std::uint64_t generation,
                                    std::uint32_t page_size, std::uint64_t page_count,
                                    file_state state) noexcept;

  // ---- writing

  /// Pages in ascending order, those that are neighbours in one go. Not durable yet, nor does the
  /// page count change. Throws std::bad_alloc.
  /// @param with_hashes false if these go another way
  [[nodiscard]] std::error_code write(std::span<const page_view> sorted, std::uint32_t page_size,
                                      std::size_t batch_pages, bool with_hashes = true);

  /// Writes blocks of the file of hashes, their numbers counted from 1, up to its end.
  [[nodiscard]] std::error_code write_hash_blocks(std::span<const page_view> blocks) noexcept;

  /// Makes both files end with page `page_count`: what is cut is gone for good, what is added reads
  /// as zeros.
  [[nodiscard]] std::error_code set_extent(std::uint64_t page_count,
                                           std::uint32_t page_size) noexcept;
  /// Pages that the files reach to; it may be more than can be read.
  [[nodiscard]] std::uint64_t extent() const noexcept { return extent_; }

  /// Blocks until all of it is durable.
  [[nodiscard]] std::error_code sync() noexcept;

  /// From now on so many pages can be read.
  void show(std::uint32_t page_size, std::uint64_t page_count) noexcept;

  /// True unless the guard is on, or there is no page to put it on.
  [[nodiscard]] result<bool> lacks_guard() const noexcept;
  /// Puts the guard on, or takes it off. Not durable yet.
  [[nodiscard]] std::error_code set_guard(bool on) noexcept;
  [[nodiscard]] std::error_code sync_data() noexcept { return data_->sync(); }

 private:
  [[nodiscard]] std::error_code write_head() noexcept;

  /// Anything but the guard or the true byte was written by somebody else.
  [[nodiscard]] std::error_code check_guard() const noexcept;

  /// Writes the images, and fills in the hashes that belong to them.
  [[nodiscard]] std::error_code write_run(std::span<const page_view> run, std::uint32_t page_size,
                                          std::vector<bytes_view>& parts, bytes& hashes);

  const std::string name_;
  std::optional<file_type> data_;
  std::optional<file_type> hashes_;
  std::uint64_t generation_ = 0;
  bool data_staged_ = false;
  bool hashes_staged_ = false;
  std::uint64_t extent_ = 0;                 // pages
  std::atomic<std::uint32_t> page_size_{0};  // bytes
  std::atomic<std::uint64_t> page_count_{0};
  std::atomic<std::byte> true_byte_{std::byte{}};
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#include "quorlite/detail/file_storage/database_files.ipp"  // IWYU pragma: keep
