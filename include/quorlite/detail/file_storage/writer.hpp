/// @file
/// The flush and the stage of a storage in files.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/detail/file_storage/double_write.hpp"
#include "quorlite/detail/file_storage/file_place.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/storage.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

template <file_system FileSystem>
class basic_file_storage;
template <file_system FileSystem>
class file_writer;
template <file_system FileSystem>
class file_advance;

/// One content of a name: two open files, shared with the storage. It can be read until the handle
/// is destroyed, whatever happens to the name. Cheap to copy; not for longer than its storage.
template <file_system FileSystem>
class file_handle {
 private:
  friend class basic_file_storage<FileSystem>;
  friend class file_writer<FileSystem>;
  using content = std::shared_ptr<database_files<FileSystem>>;

  file_handle(content which, std::uint32_t page_size) noexcept
      : content_(std::move(which)), page_size_(page_size) {}

  content content_;
  std::uint32_t page_size_;  // bytes
};

/// Pages on their way in. Not for longer than its storage. Destroying it before the commit or the
/// publish gives the room of what it began back.
template <file_system FileSystem>
class file_writer {
 public:
  using place_type = file_place<FileSystem>;
  using database_type = file_handle<FileSystem>;

  file_writer(file_writer&& other) noexcept;
  file_writer& operator=(file_writer&& other) noexcept;
  ~file_writer() { drop(); }

  /// These two as quorlite::file_storage says.
  [[nodiscard]] result<database_type> open(std::string_view name, std::uint32_t page_size) noexcept;
  [[nodiscard]] std::error_code write(const database_type& database,
                                      std::span<const page_view> sorted,
                                      std::uint64_t page_count) noexcept;

 private:
  friend class basic_file_storage<FileSystem>;
  friend class file_advance<FileSystem>;
  using content = typename place_type::content;

  static constexpr std::uint64_t largest_sector = 4096;  // bytes

  // What is done to one name.
  struct batch {
    content target;
    std::uint32_t page_size = 0;
    std::uint64_t page_count = 0;
    bool begun = false;               // here: its files are staged
    bool shown = false;               // its handle reads them already
    hash_changes<FileSystem> hashes;  // that go the way of double_write
  };

  file_writer(place_type& place, bool is_flush, const history_position& ahead) noexcept;

  /// A flush ends with its first failure. A stage that found no room may be filled further.
  std::error_code spoil(std::error_code error) noexcept;
  [[nodiscard]] std::error_code check() const noexcept {
    return failed_ ? failed_ : place_->check();
  }

  void keep(batch fresh);

  /// The batch for a name; begins a database that a handle waits for.
  [[nodiscard]] result<batch*> join(const database_type& database);
  [[nodiscard]] std::error_code put(batch& into, std::span<const page_view> sorted);
  void undo(batch& unwanted) noexcept;

  /// What was written stays, and nobody undoes it any more.
  void release() noexcept;
  void drop() noexcept;

  place_type* place_;
  bool is_flush_;
  history_position ahead_;
  std::error_code failed_;
  std::map<std::string, batch, std::less<>> batches_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#include "quorlite/detail/file_storage/writer.ipp"  // IWYU pragma: keep
