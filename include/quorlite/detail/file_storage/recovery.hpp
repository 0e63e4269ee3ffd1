/// @file
/// Opening the directory of a `file_storage`: what the last process left due is done, and every
/// file is what the record says.
#pragma once

#include <string>
#include <system_error>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/file_storage/file_place.hpp"
#include "quorlite/detail/file_storage/superblock.hpp"
#include "quorlite/error.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// One opening. It may be repeated after a failure, in the same process or another one: everything
/// it does is due until the record says otherwise.
template <file_system FileSystem>
class file_recovery {
 public:
  using place_type = file_place<FileSystem>;

  explicit file_recovery(place_type& place) noexcept : place_(place) {}

  /// Blocks. Throws std::bad_alloc.
  /// @returns errc::corrupt, errc::needs_upgrade, errc::storage_full, errc::storage_broken
  [[nodiscard]] std::error_code run();

 private:
  using names = std::vector<std::string>;
  [[nodiscard]] std::error_code list();

  /// A place that never had a record, unless something says that it had. Both slots are filled, so
  /// that from now on none can be missing.
  [[nodiscard]] std::error_code begin();

  /// Staged files that the record names get their names; the others were never wanted.
  [[nodiscard]] std::error_code place_staged();

  /// Only what is known as ours by its hashes: the name may have been taken by somebody else since.
  [[nodiscard]] std::error_code remove_unwanted();

  /// SQLite would take its journal for the newer truth: somebody else has written here.
  [[nodiscard]] std::error_code refuse_journals();
  [[nodiscard]] std::error_code open_databases();

  /// What needs a running place: pages on their way, then the guards.
  [[nodiscard]] std::error_code finish();
  [[nodiscard]] std::error_code open_double_write();

  place_type& place_;
  superblock block_;
  typename place_type::contents databases_;
  names root_;
  names hashes_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#include "quorlite/detail/file_storage/recovery.ipp"  // IWYU pragma: keep
