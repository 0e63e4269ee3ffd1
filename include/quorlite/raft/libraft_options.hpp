/// @file
/// Settings and news of the libraft adapter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
/// @name Ids of servers
/// The engine knows a server by N.R: N is the number that the operator gave it, R are 40 bits that
/// were drawn when its folder was made. So a server whose disk was lost comes back as another one:
/// it promised nothing, and has no vote. Ids below 2^40 are numbers without R, those of folders
/// that begin with libraft_options::bootstrap.
/// @{

/// The largest N of an id with R.
inline constexpr std::uint64_t libraft_number_max = (std::uint64_t{1} << 24U) - 1;

/// N.
[[nodiscard]] constexpr std::uint64_t libraft_number_of(server_id id) noexcept {
  return id.value < std::uint64_t{1} << 40U ? id.value : id.value >> 40U;
}

/// "2.1f3a09c4d7": R in ten digits of base 16, small letters. "2" without R.
[[nodiscard]] QUORLITE_API QUORLITE_DECL std::string libraft_id_text(server_id id);

/// Reads what libraft_id_text() writes, and nothing else.
[[nodiscard]] QUORLITE_API QUORLITE_DECL std::optional<server_id> libraft_id_in(
    std::string_view text) noexcept;

/// @}

/// A member of the cluster.
struct libraft_server {
  server_id id;         ///< above 0, and never used for another server again
  std::string address;  ///< "127.0.0.1:7001": an IPv4 address and a port, nothing else
  bool voter = true;    ///< false: it is sent nothing until it is promoted

  friend bool operator==(const libraft_server&, const libraft_server&) = default;
};

/// Settings of one server.
struct libraft_options {
  /// This server: a number from 1 to libraft_number_max, the operator's. The engine adds 40 random
  /// bits of its folder to it, see libraft_id_text(); with `bootstrap`, and in folders that are
  /// older than such bits, this is the whole id.
  server_id id;
  std::string address;    ///< where the others find it, see libraft_server::address
  std::string directory;  ///< made if it is missing, but not its parent; used by nobody else

  /// `directory` is empty, and a new cluster begins there: this server is its only member, and adds
  /// the others. Once in the life of a cluster: a folder that is in use is refused, for a server
  /// that lost its disk would found another one. A founding that was cut short goes on.
  bool found = false;
  /// `directory` is empty, and this server waits there until a leader adds it, by the id that its
  /// status() tells. A folder that is in use goes on: this may be said at each start.
  bool join = false;
  /// `directory` was moved while the server was stopped, and nothing runs on the original. An older
  /// copy has forgotten what it acknowledged since: with it, rows can be lost.
  bool moved = false;

  /// The members of a new cluster, the same on each of them, whose ids stay as they are. Used if
  /// `directory` is empty. For tests, where all servers start at once: a server that starts again
  /// with an empty directory forgot what it had promised, and nobody notices.
  std::vector<libraft_server> bootstrap{};

  std::string listen_address{};         ///< where to listen, if that is not `address`
  milliseconds election_timeout{1000};  ///< a follower waits one to two times this for its leader
  milliseconds heartbeat{100};          ///< below election_timeout

  std::size_t entry_bytes = std::size_t{4} << 20U;  ///< max_entry_bytes()
  std::size_t batch_bytes = std::size_t{1} << 20U;  ///< commands share an entry up to this
  std::size_t batches_in_flight = 4;  ///< entries under way; meanwhile commands gather for the next
  std::size_t in_flight_bytes = std::size_t{64} << 20U;  ///< more unanswered: refused, busy
  std::size_t segment_bytes = std::size_t{8} << 20U;  ///< of a file of the log; above entry_bytes

  /// With less than this left on the disk of `directory`, or than two segments, the server takes no
  /// part, and may still be read: a leader hands over, a follower acknowledges nothing more. It is
  /// back by itself, by replica::maintain(), with so much and four segments more. A disk that is
  /// full is worse, and so is a quota, which nobody can look at: then what is under way is lost. 0:
  /// nobody looks.
  std::uint64_t room_bytes = std::uint64_t{16} << 20U;

  /// A snapshot is taken when so many bytes were applied since the last one … Each entry counts, a
  /// barrier's too, with some 150 bytes that the engine needs beside its content.
  std::uint64_t snapshot_min_bytes = std::uint64_t{16} << 20U;
  /// … or this part of the last one's size, whichever is more.
  std::uint32_t snapshot_percent = 100;
  /// Kept before a snapshot for followers that are a bit behind. At most a quarter of log_bytes.
  std::uint64_t trailing_bytes = std::uint64_t{4} << 20U;
  /// The log in memory. Half of it forces a snapshot, and is what one transaction may take; all of
  /// it: proposals and barriers are refused as busy, and have a snapshot tried again, though not
  /// over and over. Large proposals leave an eighth of it to small ones.
  std::uint64_t log_bytes = std::uint64_t{256} << 20U;
};

/// What a server is, by the engine's own word.
enum class libraft_role : std::uint8_t {
  stopped,    ///< the engine is closed
  follower,   ///< also one that is no voter
  candidate,  ///< an election is going on
  leader,     ///< it may not have been announced yet, see libraft_status
};

/// Counted since the start.
struct libraft_counters {
  std::uint64_t proposals = 0;           ///< handed to the engine
  std::uint64_t batches = 0;             ///< entries that they became
  std::uint64_t refused_busy = 0;        ///< proposals beyond in_flight_bytes or log_bytes
  std::uint64_t barriers = 0;            ///< entries that only a barrier needed
  std::uint64_t commands_applied = 0;    ///< given to the machine, replays too
  std::uint64_t snapshots_taken = 0;     ///< written to the disk
  std::uint64_t snapshots_failed = 0;    ///< not written; tried again, see log_bytes
  std::uint64_t snapshots_restored = 0;  ///< installed, at a start or sent by the leader
  std::uint64_t disk_errors = 0;         ///< failed writes of the log, the term or the vote
  /// Failed writes of log_end that nothing hangs on: it says less than it could, and is written
  /// again half a second later. While this grows, what is lost from the log may leave no trace
  std::uint64_t log_end_errors = 0;
  /// That came and were taken for lost: damaged ones, those of refused servers, and votes that were
  /// asked for a log which cannot lead
  std::uint64_t messages_dropped = 0;

  friend bool operator==(const libraft_counters&, const libraft_counters&) = default;
};

/// A server from which nothing is taken any more, for its history is another one: not its entries,
/// its snapshots, its votes nor its answers. Which of the two is wrong, this server does not know.
struct libraft_refused {
  server_id id;          ///< the one that is not heard
  log_index at;          ///< the entry, or the position of the snapshot, that spoke against it
  log_index compared;    ///< where its history was compared with ours; 0: nowhere
  const char* why = "";  ///< the end of a sentence that begins with that server; never freed

  friend bool operator==(const libraft_refused&, const libraft_refused&) = default;
};

/// A server that answers where a member of the cluster should, and is another one by its id: the
/// folder of the member was lost, or another cluster's folder is there. Nothing that it says
/// counts. Bring the member's folder back, or remove the member and add what is there.
struct libraft_stranger {
  server_id id;      ///< under which it answers
  server_id member;  ///< who should be there; both have one number

  friend bool operator==(const libraft_stranger&, const libraft_stranger&) = default;
};

/// "server 3.00112233ff has another history, at log index 17 (compared as of 12); server …"
[[nodiscard]] QUORLITE_API QUORLITE_DECL std::string libraft_refused_text(
    const std::vector<libraft_refused>& refused);

/// What this server knows. A copy.
struct libraft_status {
  server_id id;  ///< under which the engine knows this server
  /// The members, as far as this server knows, do not name it: it has no vote, and waits until a
  /// leader adds it (or was removed).
  bool waits = false;
  /// A member with the number of this server and another id: this server's folder was lost, or is
  /// another one. Remove that one, and add this one. 0: there is none.
  server_id namesake;
  libraft_role role = libraft_role::stopped;  ///< of this server
  quorlite::term term;                        ///< the engine's current one
  bool leading = false;                 ///< it leads, and the machine knows: proposals are taken
  libraft_server leader;                ///< id 0: none is known
  std::vector<libraft_server> members;  ///< the configuration, committed or not
  std::uint64_t commit_index = 0;       ///< entries of the engine
  std::uint64_t applied_index = 0;      ///< entries of the engine
  std::uint64_t last_index = 0;         ///< entries of the engine
  std::uint64_t snapshot_index = 0;     ///< entries of the engine
  log_position position;                ///< as the machine counts: one index per command
  std::uint64_t log_bytes = 0;          ///< of entries in memory, about
  std::uint64_t snapshot_bytes = 0;     ///< of the last one
  /// Why this server gave up, if it did: the engine is closed. errc::storage_full, out_of_memory:
  /// there is no room, and it comes back by itself, see come_back(). Else only stop() and another
  /// start() bring it back. errc::storage_broken: its disk; corrupt: an entry or a snapshot that
  /// cannot be ours; halted: the machine said so.
  std::error_code error;
  const char* error_why = "";            ///< of its disk, if more is known; never freed
  std::vector<libraft_refused> refused;  ///< since the start, but for those that were readmitted
  /// Of members that were not heard since: the newest for each. Only who leads hears of them, or
  /// who would like to.
  std::vector<libraft_stranger> strangers;
  libraft_counters counters;  ///< since the start
};

/// Entries of one term, next to each other in one file. Indices are the engine's.
struct libraft_log_range {
  std::string file;         ///< in the folder
  std::uint64_t first = 0;  ///< entry
  std::uint64_t last = 0;   ///< entry
  quorlite::term term;      ///< of all of them

  friend bool operator==(const libraft_log_range&, const libraft_log_range&) = default;
};

/// What stands in the way of a start.
enum class libraft_log_fault : std::uint8_t {
  damaged,          ///< bytes have changed
  missing,          ///< a file, or entries, are gone
  too_short,        ///< the log ends before the state that the databases have
  starts_late,      ///< the log begins behind its first entry, and no snapshot has those before
  unknown,          ///< written by another version, or by something else
  diverged,         ///< the log and the databases, or parts of the log, are of two histories
  another_cluster,  ///< folder, log and databases are not of one cluster
  another_server,   ///< it is another server's folder
  copied,           ///< it is a copy of a folder
  not_founded,      ///< it is empty, and nobody said found or join
  already_founded,  ///< found was said, and the folder is in use
  unusable,         ///< the system refuses what a start needs; the folder may well be whole
};

/// A place in the folder of a log where it is not what was written, or what else stands in the way
/// of a start on it; and words for the operator.
struct libraft_log_defect {
  libraft_log_fault fault = libraft_log_fault::damaged;  ///< of which kind it is
  std::string file;        ///< in the folder; empty: the folder itself
  std::uint64_t byte = 0;  ///< where in it: of entries, the begin of their batch
  std::string what;        ///< what is seen, and what it means
  std::string remedy;      ///< what can be done

  /// "FILE, byte N: WHAT. REMEDY", as one line.
  [[nodiscard]] QUORLITE_API QUORLITE_DECL std::string text() const;
  /// What a start gives for it: an errc with the name of the fault, errc::log_damaged for one
  /// without, errc::needs_upgrade for an unknown one; std::errc::io_error for an unusable one.
  [[nodiscard]] QUORLITE_API QUORLITE_DECL std::error_code error() const noexcept;
};

/// What a step that was cut short, or failed, has left: nobody was promised what is in it, or it
/// gets the name that was not given to it. A start clears it away.
struct libraft_log_leftover {
  std::string file;        ///< in the folder
  bool whole = false;      ///< the file goes; else it is cut
  std::uint64_t byte = 0;  ///< where it is cut
  std::string what;        ///< of which step
  std::string becomes;     ///< its name then; empty: it keeps its name
};

/// What the folder of a log holds, as libraft::check() read it. A copy.
struct libraft_log_report {
  server_id server;                  ///< whose folder it is; 0: not written there yet
  cluster_identity cluster;          ///< of which cluster; zero: not written there yet
  quorlite::term term;               ///< the newest that this server has heard of
  server_id vote;                    ///< whom it chose in that term; 0: nobody
  std::uint64_t snapshot_index = 0;  ///< the last entry in the newest snapshot; 0: none
  std::string snapshot_file;         ///< its content; empty: there is none
  log_index snapshot_at;             ///< the same place, as the machine counts
  bool snapshot_spoiled = false;     ///< a defect, of that content and no other file
  std::uint64_t last_index = 0;      ///< the last entry of all
  log_index end;                     ///< the same place, as the machine counts
  std::uint64_t noted_index = 0;     ///< an entry it had, by `log_end`; 0: not told
  quorlite::term noted_term;         ///< of that entry
  history_position noted_applied;    ///< was applied, by `log_end`; index 0: not told
  /// Its entries were held against the databases, up to the end; else what follows is zero.
  bool was_compared = false;
  history_identity history;                     ///< along it; all zero: none has begun
  history_hash end_history;                     ///< as of `end`; zero: none has begun
  std::vector<libraft_log_range> ranges;        ///< ascending, without gaps
  std::vector<libraft_log_defect> defects;      ///< none: a server may start here
  std::vector<libraft_log_leftover> leftovers;  ///< of a power cut or a kill

  /// No entry, no snapshot, and this server never heard of a term: nothing ran here.
  [[nodiscard]] bool is_empty() const noexcept {
    return term.value == 0 && last_index == 0 && ranges.empty() &&
           (defects.empty() || defects.front().fault == libraft_log_fault::too_short);
  }
  /// That of the first defect; none without one.
  [[nodiscard]] QUORLITE_API QUORLITE_DECL std::error_code error() const noexcept;
};

}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/raft/libraft_options.ipp"  // IWYU pragma: keep
#endif
