/// @file
/// The folders of a replica's storage and engine, which SQLite has to stay out of.
#pragma once

#include <string>
#include <vector>

#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// A plain file that SQLite makes or changes there would take the place of a database's, or of a
/// part of the log. Any thread.
class kept_folders {
 public:
  kept_folders() = default;
  /// @param folders that need not be there yet; relative ones are of the present directory now
  explicit kept_folders(std::vector<std::string> folders);

  /// Does the path lead into one of them, or into a folder of theirs? By the identity of the
  /// folders on its way, so it does not matter how it gets there: from the present directory, by
  /// `..`, by symbolic links, by another mount of the same file system. A link that stands in one
  /// leads there too, wherever it points: who renames a file onto it replaces it. Not known: a hard
  /// link. Asks the file system; throws std::bad_alloc.
  [[nodiscard]] bool hold(const std::string& path) const;

 private:
  std::vector<std::string> folders_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/sqlite/kept_folders.ipp"  // IWYU pragma: keep
#endif
