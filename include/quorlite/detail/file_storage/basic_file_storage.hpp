/// @file
/// Base images in the files of any file system; quorlite::file_storage is the one that users have.
///
/// What its directory holds, and which bytes mean what, is said in data_directory.hpp,
/// superblock.hpp and database_files.hpp.
#pragma once

#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/file_storage/file_place.hpp"
#include "quorlite/detail/file_storage/writer.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/options.hpp"
#include "quorlite/storage.hpp"
#include "quorlite/storage/file_system.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Pages and position in a directory. What each call does, returns and leaves behind, and on which
/// threads, is said at quorlite::file_storage (storage/file.hpp).
template <file_system FileSystem>
class basic_file_storage {
 public:
  static constexpr storage_abilities abilities{.page_hashes = true};

  /// One content of a name; see file_handle. Not for longer than its storage.
  using database_type = file_handle<FileSystem>;
  /// One at a time. See file_writer.
  class flush_type : public file_writer<FileSystem> {
    friend class basic_file_storage;
    flush_type(file_place<FileSystem>& place, const history_position& ahead) noexcept
        : file_writer<FileSystem>(place, true, ahead) {}
  };
  /// Any number. It writes only what it has opened itself. See file_writer.
  class stage_type : public file_writer<FileSystem> {
    friend class basic_file_storage;
    explicit stage_type(file_place<FileSystem>& place) noexcept
        : file_writer<FileSystem>(place, false, {}) {}
  };

  /// Touches nothing yet.
  explicit basic_file_storage(FileSystem files, const file_options& options = {})
      : place_(std::move(files), with_bounds(options)) {}
  /// @param directory made if it is missing, but not its parent
  explicit basic_file_storage(const std::string& directory,
                              const file_options& options = {}) requires
      std::constructible_from<FileSystem, const std::string&>
      : basic_file_storage(FileSystem(directory), options) {}
  basic_file_storage(const basic_file_storage&) = delete;
  basic_file_storage& operator=(const basic_file_storage&) = delete;
  /// Like close(), but its error is lost.
  ~basic_file_storage() { static_cast<void>(close()); }

  [[nodiscard]] result<recovery> recover() noexcept;
  [[nodiscard]] std::string_view damage() const noexcept { return place_.health().damage(); }
  [[nodiscard]] std::error_code close() noexcept;

  [[nodiscard]] result<database_type> open(std::string_view name, std::uint32_t page_size) noexcept;
  [[nodiscard]] std::error_code read(const database_type& database, page_number page,
                                     bytes_span into) const noexcept;
  [[nodiscard]] std::error_code read_hashes(const database_type& database, page_number first,
                                            std::span<std::uint64_t> into) const noexcept;

  [[nodiscard]] result<flush_type> begin_flush(const history_position& ahead) noexcept;
  [[nodiscard]] std::error_code commit(flush_type flush, const base_position& position) noexcept;
  [[nodiscard]] result<stage_type> begin_stage() noexcept;
  [[nodiscard]] std::error_code publish(stage_type&& stage, const base_position& position) noexcept;

 private:
  [[nodiscard]] static file_options with_bounds(file_options options) noexcept;
  [[nodiscard]] std::error_code take();
  [[nodiscard]] std::error_code advance(file_writer<FileSystem>& writer,
                                        const base_position& position, bool whole) noexcept;

  file_place<FileSystem> place_;
  bool locked_ = false;
  bool closed_ = false;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#include "quorlite/detail/file_storage/basic_file_storage.ipp"  // IWYU pragma: keep
