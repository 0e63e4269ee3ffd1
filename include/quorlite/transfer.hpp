/// @file
/// Databases in and out: an ordinary SQLite file becomes the content of a replicated database, and
/// the committed state of a replicated database becomes an ordinary SQLite file, while it is in
/// use.
///
/// Both copy pages by SQLite's backup interface (sqlite.org/backup.html), so the file may be in any
/// journal mode, and what a crashed writer left in its journal or WAL is taken care of.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <system_error>

#include "quorlite/config.hpp"
#include "quorlite/connection.hpp"
#include "quorlite/error.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

/// How far a copy has come, in pages.
struct transfer_progress {
  std::uint64_t done = 0;   ///< pages that are copied
  std::uint64_t total = 0;  ///< pages there are, as far as it is known
};

/// What can be chosen about an export.
struct export_options {
  bool overwrite = false;  ///< replaces what is there, in one step
};

/// The default: nobody looks.
struct no_progress {
  /// Go on.
  bool operator()(transfer_progress) const noexcept { return true; }
};

namespace detail {

/// A progress function of any type.
using watch_transfer = std::function<bool(transfer_progress)>;

/// export_database() without its types.
[[nodiscard]] QUORLITE_API QUORLITE_DECL std::error_code export_pages(
    sqlite3* from, const std::string& path, const export_options& options,
    const watch_transfer& progress);

/// import_database() without its types. @param open asked once, after the file was found
[[nodiscard]] QUORLITE_API QUORLITE_DECL std::error_code import_pages(
    const std::function<result<connection>()>& open, const std::string& path,
    const watch_transfer& progress);

}  // namespace detail

/// Writes the committed state of a replicated database, as this replica has it now, to a new file.
/// Readers and writers go on. The file appears under its name when it is whole and durable; until
/// then it has a name of its own, `path` + ".partial-…", that nothing else has. Blocks, on any
/// thread that may use `from`.
/// @param from a connection without an open transaction
/// @param progress called with transfer_progress now and then; false ends the copy, and so does
///   what it throws, which reaches the caller
/// @returns std::errc::file_exists: `path` is there already; std::errc::operation_not_permitted: it
///   leads into the data folder of the replica; std::errc::operation_canceled; errc::sqlite_failed:
///   `from` is empty or inside a transaction, or SQLite cannot write there (its log says why);
///   errc::storage_full: no room; else what the system said about the file or its name. Nothing is
///   left behind then, unless the last step failed, the sync of the folder: the file is there and
///   whole, and may be gone after a crash
template <class Progress = no_progress>
[[nodiscard]] std::error_code export_database(connection& from, const std::string& path,
                                              Progress progress = {}, export_options options = {}) {
  return detail::export_pages(from, path, options, std::ref(progress));
}

/// Makes an ordinary SQLite file the content of a replicated database, in one transaction: every
/// replica has all of it or nothing. Blocks until it is committed and applied here.
///
/// What it was before is gone, so use a name that has no page yet; otherwise the page sizes must be
/// equal. The file is read only, but for the recovery that its last writer may owe it. The size is
/// bounded by replica_options::write_set_bytes and limits::transaction_bytes.
///
/// (A connection of its own does it: the page cache above a copy keeps a header that says WAL.)
/// @param into a replica that leads @param name of the database
/// @param progress as export_database(); the commit itself comes after the last call
/// @returns std::errc::no_such_file_or_directory: SQLite cannot open it;
///   std::errc::operation_canceled; errc::too_large; errc::other_page_size; errc::sqlite_failed:
///   not a database, or one without a page, such as an empty file; errors of replica::open(); else
///   what a COMMIT says: failure::not_applied, failure::outcome_unknown, failure::fatal
template <class Replica, class Progress = no_progress>
[[nodiscard]] std::error_code import_database(Replica& into, std::string_view name,
                                              const std::string& path, Progress progress = {}) {
  const auto open = [&into, name] { return into.open(name); };
  return detail::import_pages(std::cref(open), path, std::ref(progress));  // nothing is allocated
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/transfer.ipp"  // IWYU pragma: keep
#endif
