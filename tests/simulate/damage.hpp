// What may become of a server's folder behind its back, and how it is known afterwards: the kinds,
// the cuts, and the marks of what was seen in a campaign.
#pragma once

#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "plan.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/raft/log.hpp"
#include "quorlite/testing/detail/raft/node.hpp"
#include "quorlite/testing/detail/raft/start_check.hpp"
#include "quorlite/testing/faulty_disk.hpp"
#include "quorlite/testing/simulation.hpp"

namespace simulate {

using quorlite::log_index;
using quorlite::testing::detail::raft_log;
using quorlite::testing::detail::server_disk;
using quorlite::testing::detail::stored_entry;

/// What befalls a folder while its process is down. "Folder" is both, log and databases.
enum class damage_kind : std::uint8_t {
  folder_wiped,
  folder_copied,       ///< of another server
  folder_foreign,      ///< of another cluster, under the right server's id
  folder_rolled_back,  ///< an older state of it, as by the device below: nothing tells
  folder_restored,     ///< an older state of it, by a copy of its files
  folders_swapped,     ///< with another server
  storage_copied,
  storage_foreign,
  storage_rolled_back,
  storages_swapped,
  log_cut,             ///< at its end
  log_shifted,         ///< an entry is lost, and the rest moves down
  log_bits,            ///< of an entry
  log_entry_replaced,  ///< by another entry of the same log
  log_copied,
  log_foreign,      ///< from an entry on it is another cluster's
  log_rolled_back,  ///< with term and vote
  snapshot_lost,    ///< the one that the log begins behind
};
inline constexpr std::size_t damage_kinds =
    static_cast<std::size_t>(damage_kind::snapshot_lost) + 1;

[[nodiscard]] inline const char* name_of(damage_kind kind) {
  static constexpr std::array<const char*, damage_kinds> names = {"folder wiped",
                                                                  "folder copied",
                                                                  "folder of another cluster",
                                                                  "folder rolled back",
                                                                  "folder restored",
                                                                  "folders swapped",
                                                                  "storage copied",
                                                                  "storage of another cluster",
                                                                  "storage rolled back",
                                                                  "storages swapped",
                                                                  "log cut",
                                                                  "log shifted",
                                                                  "log bits",
                                                                  "log entry replaced",
                                                                  "log copied",
                                                                  "log of another cluster",
                                                                  "log rolled back",
                                                                  "snapshot lost"};
  return names[static_cast<std::size_t>(kind)];
}

/// What speaks of another history, or of damage, and not of a disk that fails.
[[nodiscard]] inline const char* name_of_detection(std::error_code error) {
  using quorlite::errc;
  const std::pair<errc, const char*> known[] = {{errc::not_founded, "not_founded"},
                                                {errc::another_server, "another_server"},
                                                {errc::copied, "copied"},
                                                {errc::log_damaged, "log_damaged"},
                                                {errc::log_too_short, "log_too_short"},
                                                {errc::log_starts_late, "log_starts_late"},
                                                {errc::diverged, "diverged"},
                                                {errc::another_cluster, "another_cluster"}};
  for (const auto& [code, name] : known) {
    if (error == code) {
      return name;
    }
  }
  return nullptr;
}

/// Whether a damage of this kind may be noticed in this way: it is to be told for what it is.
[[nodiscard]] inline bool is_right(damage_kind kind, std::string_view by) {
  const auto among = [by](std::initializer_list<std::string_view> all) {
    return std::find(all.begin(), all.end(), by) != all.end();
  };
  const bool by_peers = among({"refused by a healthy server", "refuses the healthy leader"});
  switch (kind) {
    case damage_kind::folder_wiped: return by == "start, not_founded";
    case damage_kind::folder_copied:
    case damage_kind::folders_swapped:
    case damage_kind::log_copied: return by == "start, another_server";
    case damage_kind::folder_foreign: return by_peers || by == "follows nobody";
    case damage_kind::folder_rolled_back: return false;
    case damage_kind::folder_restored: return by == "start, copied";
    // A last entry that nobody committed may stand where the other server's files have another one:
    // a start that holds the log against the files sees it, or else the leader contradicts them.
    case damage_kind::storage_copied:
    case damage_kind::storages_swapped:
      return among({"start, log_too_short", "start, diverged", "refuses the healthy leader"});
    case damage_kind::storage_rolled_back: return by == "start, log_too_short";
    case damage_kind::storage_foreign:
      return among({"start, another_cluster", "start, diverged", "start, log_too_short"});
    // What is left of a log that was cut may end before the entry that names its cluster.
    case damage_kind::log_cut:
      return among({"start, log_too_short", "halt, log_too_short", "start, another_cluster"});
    case damage_kind::log_bits: return by == "start, log_damaged";
    case damage_kind::log_shifted:
      return among({"start, log_damaged", "start, log_too_short", "start, diverged"});
    case damage_kind::log_entry_replaced: return among({"start, log_damaged", "start, diverged"});
    case damage_kind::log_foreign:
      return by_peers || among({"start, log_damaged", "start, log_too_short", "start, diverged",
                                "start, another_cluster"});
    // An older log may end with an entry that nobody committed, where the files have another one.
    case damage_kind::log_rolled_back:
      return among({"start, log_damaged", "start, log_too_short", "refuses the healthy leader"});
    case damage_kind::snapshot_lost: return among({"start, log_starts_late", "start, log_damaged"});
  }
  return false;
}

/// How often something was seen, by its name.
using marks = std::map<std::string, std::uint64_t>;

/// What a long campaign with damage must have seen.
[[nodiscard]] inline std::vector<std::string> expected_marks() {
  std::vector<std::string> all;
  for (std::size_t i = 0; i < damage_kinds; ++i) {
    all.push_back(std::string("damage: ") + name_of(static_cast<damage_kind>(i)));
  }
  for (const char* const each : {"noticed: start, not_founded",
                                 "noticed: start, another_server",
                                 "noticed: start, copied",
                                 "noticed: start, log_damaged",
                                 "noticed: start, log_too_short",
                                 "noticed: start, log_starts_late",
                                 "noticed: start, diverged",
                                 "noticed: start, another_cluster",
                                 "noticed: halt, log_too_short",
                                 "noticed: halt, corrupt",
                                 "noticed: refused by a healthy server",
                                 "noticed: refuses the healthy leader",
                                 "not noticed, and did no harm",
                                 "healed: the right folder",
                                 "healed: another machine",
                                 "a damaged page: its server halts",
                                 "a damaged page: told to a reader",
                                 "a damaged page: told at a start",
                                 "a damaged page: written anew",
                                 "a full disk: its server halts",
                                 "a full disk: its server goes on in memory",
                                 "a flush: it is made again without power",
                                 "a flush: power goes again behind the next one",
                                 "a turn: taken again while another one waits",
                                 "left behind: it has caught up"}) {
    all.emplace_back(each);
  }
  return all;
}

/// Log and databases of a server. A value; the storage is shared and stays as it is.
struct folder {
  server_disk log;
  std::shared_ptr<const quorlite::testing::faulty_disk> storage;  ///< none: it is volatile
};

/// Where a server is on its way to what the leader has.
struct advance {
  log_index commit{};
  log_index snapshot{};       ///< that the leader sends to it; 0: none
  std::uint64_t arrived = 0;  ///< of that one, in bytes

  friend bool operator==(const advance&, const advance&) = default;
};

/// What is known of a server whose folder was damaged.
struct damaged {
  damage_kind kind{};
  folder before;               ///< the right one
  bool is_guarded = true;      ///< a quorum without it has all that it had, and needs no vote of it
  bool may_be_unseen = false;  ///< nothing tells of it, as documents say: a loss is excused
  log_index filled_at;  ///< who is alone may fill a gap up to here by terms of its own; 0: no
  bool ran = false;     ///< with that folder
  std::string noticed;  ///< by whom
  std::uint64_t heal_at_us = 0;
  advance stands_at;                  ///< it is behind …
  std::uint64_t stands_since_us = 0;  ///< … and was there then
  int helped = 0;                     ///< so often somebody else was made the leader since
  std::uint64_t replaced_by = 0;      ///< another machine, which joins; 0: none
  bool adds_first = false;            ///< before the old one is removed
};

// ---- cuts

[[nodiscard]] inline std::vector<stored_entry> entries_of(const raft_log& log) {
  std::vector<stored_entry> all;
  for (log_index at = log.first_index(); at <= log.last_index(); at = at.next()) {
    all.push_back(log.at(at));
  }
  return all;
}
/// The same begin, other entries; all are on the disk.
[[nodiscard]] inline raft_log with_entries(const raft_log& log, std::vector<stored_entry> entries) {
  raft_log made;
  made.reset(log.base(), log.configured_at(log.base().index).members);
  for (stored_entry& each : entries) {
    made.append(std::move(each));
  }
  made.mark_synced(made.last_index());
  return made;
}
[[nodiscard]] inline std::size_t place_in(const raft_log& log, log_index at) {
  return static_cast<std::size_t>(at.value - log.first_index().value);
}
/// @param from gone, with all that follows; above the log's begin
inline void cut(server_disk& disk, log_index from) {
  std::vector<stored_entry> entries = entries_of(disk.log);
  entries.resize(place_in(disk.log, from));
  disk.log = with_entries(disk.log, std::move(entries));
}
inline void lose_entry(server_disk& disk, log_index at) {
  std::vector<stored_entry> entries = entries_of(disk.log);
  entries.erase(entries.begin() + static_cast<std::ptrdiff_t>(place_in(disk.log, at)));
  disk.log = with_entries(disk.log, std::move(entries));
}
/// With a right checksum of its own, and the term of the one that was there.
/// @returns false: they are alike
[[nodiscard]] inline bool replace_entry(server_disk& disk, log_index at, log_index by) {
  std::vector<stored_entry> entries = entries_of(disk.log);
  stored_entry& place = entries[place_in(disk.log, at)];
  const stored_entry& other = entries[place_in(disk.log, by)];
  using quorlite::testing::detail::entry_kind;
  if (place.kind != entry_kind::command || other.kind != entry_kind::command ||
      place.payload == other.payload) {
    return false;
  }
  const quorlite::term kept = place.term;
  place = stored_entry(other);
  place.term = kept;
  disk.log = with_entries(disk.log, std::move(entries));
  return true;
}
/// @returns false: that entry has no bytes
[[nodiscard]] inline bool flip_bits(server_disk& disk, log_index at, random& dice) {
  std::vector<stored_entry> entries = entries_of(disk.log);
  quorlite::bytes& payload = entries[place_in(disk.log, at)].payload;
  const bool is_empty = payload.empty();
  if (!is_empty &&
      entries[place_in(disk.log, at)].kind == quorlite::testing::detail::entry_kind::command) {
    payload[dice.below(payload.size())] ^= static_cast<std::byte>(1U << dice.below(8));
    disk.log = with_entries(disk.log, std::move(entries));
    return true;
  }
  return false;
}
/// From an entry on it is the other log, in later terms. @pre the other one has it
inline void splice(server_disk& disk, log_index from, const server_disk& other) {
  std::vector<stored_entry> entries = entries_of(disk.log);
  entries.resize(place_in(disk.log, from));
  const std::vector<stored_entry> foreign = entries_of(other.log);
  for (std::size_t i = place_in(other.log, from); i < foreign.size(); ++i) {
    entries.push_back(foreign[i]);
  }
  disk.log = with_entries(disk.log, std::move(entries));
}
/// The same log in later terms, which no other cluster reaches.
[[nodiscard]] inline server_disk in_later_terms(server_disk disk, std::uint64_t by) {
  const auto raised = [by](quorlite::term in) { return quorlite::term{in.value + by}; };
  const raft_log log = disk.log;
  std::vector<stored_entry> entries = entries_of(log);
  raft_log later{log.configured_at(log.base().index).members};
  if (disk.snapshot != nullptr) {
    quorlite::testing::detail::stored_snapshot snapshot = *disk.snapshot;
    snapshot.at.term = raised(snapshot.at.term);
    disk.snapshot =
        std::make_shared<const quorlite::testing::detail::stored_snapshot>(std::move(snapshot));
    later.reset({log.base().index, raised(log.base().term)}, disk.snapshot->members);
  }
  for (stored_entry& each : entries) {
    each.term = raised(each.term);
    later.append(std::move(each));
  }
  later.mark_synced(later.last_index());
  disk.log = std::move(later);
  disk.term = raised(disk.term);
  disk.note_end(0);
  return disk;
}

// ---- another cluster

/// Folders of servers of another cluster: one with its whole log, one whose log begins behind a
/// snapshot. Made once in a process, and the same in all.
[[nodiscard]] inline const std::vector<folder>& foreign_folders() {
  static const std::vector<folder> all = [] {
    std::vector<folder> made;
    for (const std::uint64_t snapshots_every : {0U, 9U}) {
      quorlite::replica_options each;
      each.found = true;
      each.lock_byte = std::uint64_t{0x10000};
      quorlite::testing::replica_cluster cluster(
          {.seed = 99, .compaction = {.threshold_entries = snapshots_every, .trailing_entries = 2}},
          each, {.storage = storage_kind::files});
      const auto leader = cluster.wait_for_leader();
      quorlite::connection db = cluster.connect(leader.value(), "db0.sqlite");
      static_cast<void>(sqlite3_exec(db, "CREATE TABLE f(x)", nullptr, nullptr, nullptr));
      for (int i = 0; i < 250; ++i) {
        static_cast<void>(
            sqlite3_exec(db, "INSERT INTO f VALUES(zeroblob(50))", nullptr, nullptr, nullptr));
        if (i == 40) {
          static_cast<void>(cluster.replica(leader.value()).flush());
        }
      }
      static_cast<void>(cluster.wait_until_even());
      made.push_back(
          {cluster.simulation().node(leader.value()).disk(),
           std::make_shared<const quorlite::testing::faulty_disk>(cluster.disk(leader.value()))});
    }
    return made;
  }();
  return all;
}

}  // namespace simulate
