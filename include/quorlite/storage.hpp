/// @file
/// The storage concept: where base images live, and which log position they stand at.
///
/// A storage is a cache of some past state plus the record that says which: the Raft log above it
/// is what makes a commit durable. One record, the base position, moves everything at once, so no
/// crash can separate a page from the entry that made it. How to write one: docs/how-to/storage.md;
/// the laws: testing/storage_conformance.hpp.
///
/// **Threads.** `read` and `read_hashes` may run on any thread, concurrently with a flush or a
/// stage of *other* pages. A stage is filled by one thread at a time, while another one may flush.
/// All other calls are made by one thread at a time. Every call may block.
///
/// **Handles.** A `database_type` stands for one content of a name, not for the name: when the name
/// is dropped, born again (`flush.open`) or replaced (`publish`), the old handle goes on reading
/// the old content until it is destroyed.
///
/// **Errors.** errc::storage_full: may be tried again, nothing that was promised is lost.
/// errc::storage_broken (or corrupt): never tried again, the replica halts. A failed sync is always
/// the latter.
#pragma once

#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

/// One page to store.
struct page_view {
  page_number number;  ///< counted from 1
  /// Of the image (page_hash.hpp); kept only by storages that declare page_hashes
  std::uint64_t hash = 0;
  bytes_view image;  ///< page_size bytes, valid during the call
};

/// One line of the position: the truth about which databases exist.
struct database_image {
  std::string_view name;         ///< valid during the call
  std::uint32_t page_size = 0;   ///< bytes; 0: still without a page
  std::uint64_t page_count = 0;  ///< pages
  std::uint64_t hash = 0;        ///< sum of the page hashes
  version_number version;        ///< transactions committed so far
};

/// What commit() and publish() make true.
struct base_position {
  log_position at;  ///< every page is as of this entry
  /// At most at.index: entries after this are still needed (staged transactions)
  log_index replay_from;
  std::span<const database_image> databases;  ///< ascending by name; no other exists
  /// Opaque, at most limits::notes_bytes: outcomes of recent transactions, cluster id
  bytes_view notes;
};

/// What recover() found. Owns everything.
struct recovery {
  /// One line of the position, as database_image.
  struct database {
    std::string name;              ///< of the database
    std::uint32_t page_size = 0;   ///< bytes; 0: still without a page
    std::uint64_t page_count = 0;  ///< pages
    std::uint64_t hash = 0;        ///< sum of the page hashes
    version_number version;        ///< transactions committed so far
  };

  log_position at;        ///< as it was given to the last commit() or publish()
  log_index replay_from;  ///< as it was given there
  log_index ahead;  ///< pages may already be as of any entry in [at, ahead]; ahead == at: exact
  /// As it was given to begin_flush() with this `ahead`; zero if ahead == at
  history_hash ahead_history;
  std::vector<database> databases;  ///< ascending by name
  bytes notes;                      ///< as they were given, byte for byte
};

/// What a storage declares. Name it `abilities`, static constexpr.
struct storage_abilities {
  bool page_hashes = false;  ///< read_hashes() works: no full scan at start
};

/// Has `abilities`, as a constant.
template <class S>
concept declares_storage_abilities = requires {
  { S::abilities } -> std::same_as<const storage_abilities&>;
  typename std::bool_constant<S::abilities.page_hashes>;
};

/// Called once, first. An empty place: position 0, no database, no notes.
template <class S>
concept recovers = requires(S& storage) {
  { storage.recover() }
  noexcept->std::same_as<result<recovery>>;
};

/// `open` names a database to later calls (a cheap handle; effects only through commit). `read`
/// fills one page.
template <class S>
concept reads_pages = std::movable<typename S::database_type> &&
    requires(S& storage, const S& view, const typename S::database_type& database,
             std::string_view name, std::uint32_t page_size, page_number page, bytes_span into) {
  { storage.open(name, page_size) }
  noexcept->std::same_as<result<typename S::database_type>>;
  { view.read(database, page, into) }
  noexcept->std::same_as<std::error_code>;
};

/// `write` takes pages in ascending order, in any number of calls; a later call may bring a page
/// again, and counts then. `page_count` is the database's after the flush.
///
/// `open` begins a database without pages; if there is one of that name, then the commit (or
/// publish) puts the new one in its place. Its handle reads what was written as soon as all of it
/// was, also before the commit.
template <class W, class D>
concept page_writer = std::movable<W> &&
    requires(W& writer, const D& database, std::string_view name, std::uint32_t page_size,
             std::span<const page_view> sorted, std::uint64_t page_count) {
  { writer.open(name, page_size) }
  noexcept->std::same_as<result<D>>;
  { writer.write(database, sorted, page_count) }
  noexcept->std::same_as<std::error_code>;
};

/// `begin_flush(ahead)` promises that no page newer than `ahead.index` follows; whoever keeps that
/// index keeps `ahead.hash` with it, the history as of there (zero: none is known). `commit` makes
/// position and pages true together. A flush dropped without commit is harmless.
template <class S>
concept advances = page_writer<typename S::flush_type, typename S::database_type> &&
    requires(S& storage, typename S::flush_type flush, const history_position& ahead,
             const base_position& position) {
  { storage.begin_flush(ahead) }
  noexcept->std::same_as<result<typename S::flush_type>>;
  { storage.commit(std::move(flush), position) }
  noexcept->std::same_as<std::error_code>;
};

/// A whole new content beside the old, for restores. `publish` replaces everything or nothing; it
/// may come long after the stage was filled, and after errc::storage_full the stage is as it was,
/// to be published later. A stage dropped half-way leaves no trace. Several may live at a time.
template <class S>
concept replaces = std::movable<typename S::stage_type> &&
    page_writer<typename S::stage_type, typename S::database_type> &&
    requires(S& storage, typename S::stage_type stage, const base_position& position) {
  { storage.begin_stage() }
  noexcept->std::same_as<result<typename S::stage_type>>;
  { storage.publish(std::move(stage), position) }
  noexcept->std::same_as<std::error_code>;
};

/// The hashes that were given to write(), for pages first, first + 1, …
template <class S>
concept keeps_page_hashes = requires(const S& view, const typename S::database_type& database,
                                     page_number first, std::span<std::uint64_t> into) {
  { view.read_hashes(database, first, into) }
  noexcept->std::same_as<std::error_code>;
};

/// Optional, and no ability, of a storage and of a consensus adapter: the folder whose files are
/// its own. A replica keeps SQLite out of it: ATTACH, VACUUM INTO and exports of a path that leads
/// there are refused. Constant; asked once, before the start.
template <class Part>
concept keeps_a_folder = requires(const Part& view) {
  { view.folder() }
  noexcept->std::same_as<std::string_view>;
};

/// Optional, and no ability, of a storage: which file recover() found damaged, and what is wrong
/// with it, for people; empty: none. Asked after a recover() that failed.
template <class Part>
concept names_damage = requires(const Part& view) {
  { view.damage() }
  noexcept->std::same_as<std::string_view>;
};

/// A storage. What the compiler cannot see (the laws D) is checked by
/// testing/storage_conformance.hpp.
template <class S>
concept storage = declares_storage_abilities<S> && recovers<S> && reads_pages<S> && advances<S> &&
    replaces<S> &&(!S::abilities.page_hashes || keeps_page_hashes<S>);

}  // namespace QUORLITE_ABI
}  // namespace quorlite
