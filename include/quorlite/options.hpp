/// @file
/// What can be chosen about a replica and its parts. The defaults are for production.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/limits.hpp"

struct sqlite3_vfs;

namespace quorlite {
inline namespace QUORLITE_ABI {

namespace detail {
class legacy_format;
}

/// What a replica says, for people: it halted, refused a snapshot, could not flush, lost its
/// engine. Called rarely, on whatever thread met it, and perhaps in the middle of a flush or of a
/// read. It must not throw, read a database, flush or wait for the replica, and may ask it anything
/// else: the machine's lock is free.
/// @param context as in the options @param text valid during the call; no newline at its end
using log_function = void (*)(void* context, std::string_view text);

/// What can be chosen about one connection.
struct connection_options {
  /// Of a database that has no page yet; ignored later. 0: SQLite's default. Bytes.
  std::uint32_t page_size = 0;
  /// How long a statement waits for another writer, about: counted in slices, not by a clock.
  milliseconds busy_timeout{5000};
  /// True: statements that write are refused, as SQLITE_OPEN_READONLY says.
  bool read_only = false;
  /// False: errc::no_such_database for a name that no transaction has written yet.
  bool create = true;
  /// More SQLITE_OPEN_… flags: NOMUTEX, FULLMUTEX, URI.
  int flags = 0;
};

/// What can be chosen about a replica.
struct replica_options {
  // ---- of the cluster: the same on every replica

  /// A snapshot of another cluster is refused. Any number but 0x325345544F4E4C51, which marks notes
  /// of a later format: replica::start() refuses it.
  std::uint64_t cluster_id = 0;
  /// This replica founds its cluster: the first time that it leads, and nothing was written yet, it
  /// begins the history, which every entry is checked against from then on. One replica of a
  /// cluster, once in its life; later it means nothing. A cluster that has data begins its history
  /// by replica::upgrade().
  bool found = false;
  /// Takes the log and the snapshots of an older system too: `&go_dqlite_format()`
  /// (codec/go_dqlite.hpp). nullptr: native ones only.
  const detail::legacy_format* legacy = nullptr;
  /// Where SQLite has its lock byte. For tests.
  std::uint64_t lock_byte = limits::lock_byte_default;

  // ---- memory and flushes

  /// For pages, in bytes: what the storage holds as well is dropped after a flush, so that half of
  /// it is free for what comes until the next. What readers and snapshots stand on comes on top,
  /// with what changed above it, until they end.
  std::size_t memory_bytes = std::size_t{256} << 20U;
  /// What readers may keep on top of it, all databases together, in bytes: old versions of pages
  /// that were changed since they began. Beyond it the transactions that began first are ended: a
  /// page that they read from then on is errc::snapshot_ended (10762 in SQLite), never a page of
  /// another state. A writer at work, a flush, and a snapshot that the engine sends are not ended,
  /// and what they keep is not counted. Of this replica alone; 0: no limit.
  std::size_t pinned_bytes = std::size_t{1} << 30U;
  /// A flush is due after so many bytes of entries, or when a quarter of memory_bytes is dirty.
  std::uint64_t flush_bytes = std::uint64_t{64} << 20U;

  // ---- commits

  /// How long a COMMIT waits for its answer; and before that, if it has several entries, each time
  /// that the engine has no room for the next one.
  milliseconds commit_timeout{30'000};
  std::size_t entry_bytes = std::size_t{1} << 20U;       ///< larger transactions are cut up
  std::size_t in_flight_bytes = std::size_t{64} << 20U;  ///< more on their way: COMMIT answers busy
  /// After lost leadership wait, within the limit, rather than answer "unknown".
  bool wait_until_certain = false;
  /// A transaction that writes more ends with SQLITE_FULL. Bytes.
  std::uint64_t write_set_bytes = std::uint64_t{512} << 20U;

  // ---- SQLite

  /// Under which SQLite knows the VFS (`vfs=` in URIs), unique in the process. Empty: "quorlite-1"
  /// or the next number that is free.
  std::string vfs_name{};
  /// The VFS for plain and temporary files, and for time and random numbers where the adapter has
  /// no `now` or `random`; nullptr: the default one.
  sqlite3_vfs* base_vfs = nullptr;

  // ---- write()

  std::size_t group_closures = 512;        ///< in one transaction at most; 1 or more
  std::size_t group_waiting = 65536;       ///< more than these are refused: errc::busy
  std::size_t groups = 2;                  ///< on their way at a time, a connection each; 1 or more
  milliseconds group_timeout{30'000};      ///< for a place in a group
  connection_options group_connections{};  ///< that the groups share

  // ---- what it says

  log_function log = nullptr;   ///< nullptr: nobody listens
  void* log_context = nullptr;  ///< handed to `log`; outlives the replica
};

/// Settings of a machine by itself: what replica_options says of the same names.
struct fsm_options {
  std::uint64_t cluster_id = 0;                         ///< replica_options::cluster_id
  std::uint64_t lock_byte = limits::lock_byte_default;  ///< replica_options::lock_byte
  std::size_t memory_bytes = std::size_t{256} << 20U;   ///< replica_options::memory_bytes
  std::size_t pinned_bytes = std::size_t{1} << 30U;     ///< replica_options::pinned_bytes
  const detail::legacy_format* legacy = nullptr;        ///< replica_options::legacy
  log_function log = nullptr;                           ///< replica_options::log
  void* log_context = nullptr;                          ///< replica_options::log_context
};

/// What can be chosen about a file_storage.
struct file_options {
  /// Pages go through a file of their own first: for disks that may leave garbage in a sector that
  /// they were writing when the power went. Each page of a flush is written twice. Pages smaller
  /// than a sector of the disk are not protected from their neighbours.
  bool double_write = false;
  /// Files of databases, two for each, that are open at a time, about; the others are opened when
  /// they are used. 0: a quarter of the descriptors that the process may have (RLIMIT_NOFILE).
  std::size_t open_files = 0;
  /// Pages in one call of the file system. At least 1.
  std::size_t write_batch_pages = 256;
};

}  // namespace QUORLITE_ABI
}  // namespace quorlite
