/// @file
/// A storage in ordinary SQLite files.
#pragma once

#include "quorlite/detail/file_storage/basic_file_storage.hpp"
#include "quorlite/detail/file_storage/posix.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

using file_storage = detail::basic_file_storage<detail::posix_file_system>;

}  // namespace QUORLITE_ABI
}  // namespace quorlite
