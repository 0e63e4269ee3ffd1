/// @file
/// From one position of a `file_storage` to the next: what commit and publish do.
#pragma once

#include <system_error>

#include "quorlite/config.hpp"
#include "quorlite/detail/file_storage/file_place.hpp"
#include "quorlite/detail/file_storage/writer.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/storage.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// One advance. The order is the point: data, then the record that speaks of it, then names and
/// cuts.
template <file_system FileSystem>
class file_advance {
 public:
  using place_type = file_place<FileSystem>;
  using writer_type = file_writer<FileSystem>;

  /// @param whole the writer is a stage: it replaces everything
  file_advance(place_type& place, writer_type& writer, const base_position& position,
               bool whole) noexcept
      : place_(place), writer_(writer), position_(position), whole_(whole) {}

  /// Blocks. Throws std::bad_alloc as long as nothing has changed.
  [[nodiscard]] std::error_code run();

 private:
  using content = typename place_type::content;
  using batch = typename writer_type::batch;
  [[nodiscard]] std::error_code check() const;

  /// Finds a content for each line, and begins those that nobody wrote to.
  [[nodiscard]] std::error_code plan();

  /// A database without a page, born again if there is one with pages.
  [[nodiscard]] content blank_content(std::string_view name);

  /// All that the record will speak of: pages, hashes, lengths, and the names of new files.
  [[nodiscard]] std::error_code make_durable();
  [[nodiscard]] superblock describe() const;
  void adopt(superblock block) noexcept;

  /// The position is true already; what is left can wait, unless it broke something.
  [[nodiscard]] std::error_code finish() noexcept;

  /// Between commit and copy a page has no place to be read from, so any failure breaks the storage
  /// until it is recovered.
  [[nodiscard]] std::error_code copy() noexcept;

  place_type& place_;
  writer_type& writer_;
  const base_position& position_;
  const bool whole_;
  typename place_type::contents next_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#include "quorlite/detail/file_storage/advance.ipp"  // IWYU pragma: keep
