/// @file
/// What a start would say of a folder, without an engine and without a change: the reader of the
/// log, the table of whose folder it is (identity.hpp), and the walk over the entries
/// (history_walk.hpp), in the order of a start.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/detail/libraft/log_format.hpp"
#include "quorlite/error.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// What a founding that was cut short may have left of a log, and told to nobody.
inline constexpr std::array<const char*, 3> libraft_founding_files{libraft_first_segment,
                                                                   "metadata1", "metadata2"};

/// A folder whose file says that a cluster begins there holds more of a log than that.
/// @param names of its files
[[nodiscard]] QUORLITE_DECL bool holds_more_than_founding(const std::vector<std::string>& names);

/// See libraft::check(). What depends on how a server is started is not looked at: its number, its
/// address, whether it was founded or moved. Memory: what the reader and the walk take, and one
/// entry. May throw std::bad_alloc.
/// @param machine was loaded from the databases of the server, and brought nothing since
/// @returns what the system says of a file that cannot be read, errc::out_of_memory
[[nodiscard]] QUORLITE_DECL result<libraft_log_report> check_folder(libraft_folder& folder,
                                                                    const state_machine& machine);

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/folder_check.ipp"  // IWYU pragma: keep
#endif
