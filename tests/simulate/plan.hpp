// What a seed stands for: every choice about a simulated cluster, drawn once and printed.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "quorlite/ids.hpp"
#include "quorlite/testing/simulation.hpp"
#include "quorlite/testing/test_raft.hpp"

namespace simulate {

using quorlite::testing::random;

enum class profile { lite, full };
using storage_kind = quorlite::testing::server_storage;

/// How the cluster came to its history: whether and when entries begin to tell of it.
enum class history_kind { none, founded, upgraded };

/// How often something befalls the cluster, in mean milliseconds between two; 0: never.
struct fault_rates {
  std::uint64_t crash = 0;       ///< a process killed; what it had not synced is the disk's choice
  std::uint64_t power = 0;       ///< all servers at once
  std::uint64_t disk_crash = 0;  ///< power lost during a call of the file system
  std::uint64_t lost_storage = 0;  ///< the state's folder is empty after a crash; the log stays
  std::uint64_t pause = 0;         ///< a process stopped, and continued
  std::uint64_t partition = 0;     ///< two sides
  std::uint64_t one_way = 0;       ///< a link that carries one direction only
  std::uint64_t depose = 0;        ///< a leader deposed at a phase of a commit
  std::uint64_t transfer = 0;      ///< leadership handed over
  std::uint64_t disk_full = 0;     ///< no room for a while
  std::uint64_t disk_error = 0;    ///< one call fails
  std::uint64_t disk_slow = 0;     ///< each call takes its time, for a while
  std::uint64_t disk_rot = 0;      ///< a byte of a file changes by itself
  std::uint64_t at_phase = 0;      ///< one of these, at a phase of a flush, snapshot or restore
  std::uint64_t isolate = 0;       ///< whoever leads hears nobody, and goes on
  std::uint64_t membership = 0;    ///< a server joins, leaves, or gains or loses its vote
  std::uint64_t flap = 0;          ///< for a while every new leader is soon cut off
  std::uint64_t stop = 0;          ///< a process stopped in good order, and started again
  std::uint64_t breakdown = 0;     ///< whoever leads is cut off, and then its disk fails
  std::uint64_t log_hang = 0;      ///< the disk of a log answers nothing for a while
  std::uint64_t overtake = 0;      ///< one is cut off until the others have compacted what it lacks
  bool again = false;         ///< power that went in a flush goes again when the next one is made
  std::uint64_t exhaust = 0;  ///< a flush finds no room, and the next one no power
  std::uint64_t damage = 0;   ///< a folder is not what it was: with --damage only, see damage.hpp
};

/// What the clients do.
struct workload {
  std::uint32_t writers = 3;
  std::uint32_t readers = 2;
  std::uint32_t transactions = 200;  ///< of all writers together
  std::uint32_t databases = 1;
  std::uint32_t groups_percent = 0;      ///< of the transactions, by write()
  std::uint32_t statements_percent = 0;  ///< of the transactions, random SQL
  std::uint32_t attach_percent = 0;      ///< of the transactions, two databases in one
  std::uint32_t large_percent = 0;       ///< of the transactions, larger than an entry
  std::uint32_t long_readers = 0;        ///< who keep a transaction open over many commits
  std::uint32_t page_writers = 0;        ///< who write pages through the file, without SQLite
  std::uint32_t slow_writers = 0;        ///< who keep the turn of a writer, and only look
  std::uint32_t halves_percent = 0;      ///< of the transactions, at a limit; see draw_halves()
  std::uint32_t greedy_writers = 0;      ///< who give the turn back, and take it again at once
};

struct plan {
  std::uint64_t seed = 1;
  simulate::profile profile = profile::lite;
  quorlite::testing::simulation_options world;
  storage_kind storage = storage_kind::volatile_memory;
  std::uint32_t page_size = 4096;
  std::uint32_t auto_vacuum = 0;
  std::int32_t cache_pages = 100;  ///< small ones spill
  std::uint64_t lock_byte = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t pinned_bytes = 0;  ///< 0: readers may keep what they like
  std::uint64_t flush_bytes = 0;
  std::size_t entry_bytes = 0;
  std::size_t in_flight_bytes = 0;
  bool wait_until_certain = false;
  std::uint64_t commit_timeout_ms = 5000;
  std::uint64_t busy_timeout_ms = 300;
  std::uint64_t write_set_bytes = std::uint64_t{512} << 20U;
  bool secure_delete = true;  ///< what Debian's SQLite does; else freed pages keep their bytes
  history_kind history = history_kind::founded;
  bool majority_first = false;  ///< in the end a majority must do alone before the rest is healed
  bool others_down = false;     ///< meanwhile, else they are cut off
  fault_rates faults;
  simulate::workload work;
};

/// Every option of a plan, in order, for the report of a failing seed.
[[nodiscard]] inline std::vector<std::pair<std::string, std::string>> options_of(const plan& of) {
  const auto& net = of.world.network;
  const auto& raft = of.world.raft;
  const auto& log = of.world.compaction;
  const auto& f = of.faults;
  const auto& w = of.work;
  const char* const kinds[] = {"memory", "volatile memory", "files", "files with double write"};
  const char* const histories[] = {"none", "founded", "upgraded"};
  const char* const checks[] = {"nothing", "folder", "history", "log end"};
  const auto text = [](auto value) { return std::to_string(value); };
  return {
      {"replicas", text(of.world.replicas)},
      {"spares", text(of.world.spares)},
      {"delay_us", text(net.delay_min_us) + "-" + text(net.delay_max_us)},
      {"drop", text(net.drop)},
      {"duplicate", text(net.duplicate)},
      {"reorder", text(net.reorder)},
      {"election_ms",
       text(raft.election_timeout_min.value) + "-" + text(raft.election_timeout_max.value)},
      {"withdrawal_ms", text(raft.withdrawal_max.value)},
      {"proposal_ms", text(raft.proposal_max.value)},
      {"in_flight", text(raft.max_in_flight)},
      {"raft_entry_bytes", text(raft.max_entry_bytes)},
      {"window", text(raft.window_entries)},
      {"refuse", text(raft.refuse)},
      {"chunk_bytes", text(raft.chunk_bytes)},
      {"snapshot_every", text(log.threshold_entries)},
      {"trailing", text(log.trailing_entries)},
      {"log_sync_us", text(of.world.disk.sync_min_us) + "-" + text(of.world.disk.sync_max_us)},
      {"storage", kinds[static_cast<int>(of.storage)]},
      {"page_size", text(of.page_size)},
      {"auto_vacuum", text(of.auto_vacuum)},
      {"cache_pages", text(of.cache_pages)},
      {"lock_byte", text(of.lock_byte)},
      {"memory_bytes", text(of.memory_bytes)},
      {"pinned_bytes", text(of.pinned_bytes)},
      {"flush_bytes", text(of.flush_bytes)},
      {"entry_bytes", text(of.entry_bytes)},
      {"in_flight_bytes", text(of.in_flight_bytes)},
      {"wait_until_certain", text(of.wait_until_certain)},
      {"commit_timeout_ms", text(of.commit_timeout_ms)},
      {"busy_timeout_ms", text(of.busy_timeout_ms)},
      {"write_set_bytes", text(of.write_set_bytes)},
      {"secure_delete", text(of.secure_delete)},
      {"mean_ms crash", text(f.crash)},
      {"mean_ms power", text(f.power)},
      {"mean_ms disk_crash", text(f.disk_crash)},
      {"mean_ms lost_storage", text(f.lost_storage)},
      {"mean_ms pause", text(f.pause)},
      {"mean_ms partition", text(f.partition)},
      {"mean_ms one_way", text(f.one_way)},
      {"mean_ms depose", text(f.depose)},
      {"mean_ms transfer", text(f.transfer)},
      {"mean_ms disk_full", text(f.disk_full)},
      {"mean_ms disk_error", text(f.disk_error)},
      {"mean_ms disk_slow", text(f.disk_slow)},
      {"mean_ms disk_rot", text(f.disk_rot)},
      {"mean_ms at_phase", text(f.at_phase)},
      {"mean_ms isolate", text(f.isolate)},
      {"mean_ms membership", text(f.membership)},
      {"mean_ms flap", text(f.flap)},
      {"mean_ms stop", text(f.stop)},
      {"mean_ms breakdown", text(f.breakdown)},
      {"mean_ms log_hang", text(f.log_hang)},
      {"mean_ms overtake", text(f.overtake)},
      {"mean_ms exhaust", text(f.exhaust)},
      {"power_goes_again", text(f.again)},
      {"mean_ms damage", text(f.damage)},
      {"start_check", checks[static_cast<int>(raft.checks)]},
      {"writers", text(w.writers)},
      {"readers", text(w.readers)},
      {"transactions", text(w.transactions)},
      {"databases", text(w.databases)},
      {"groups_percent", text(w.groups_percent)},
      {"statements_percent", text(w.statements_percent)},
      {"attach_percent", text(w.attach_percent)},
      {"large_percent", text(w.large_percent)},
      {"long_readers", text(w.long_readers)},
      {"page_writers", text(w.page_writers)},
      {"slow_writers", text(w.slow_writers)},
      {"halves_percent", text(w.halves_percent)},
      {"greedy_writers", text(w.greedy_writers)},
      {"history", histories[static_cast<int>(of.history)]},
      {"majority_first", text(of.majority_first)},
      {"others_down", text(of.others_down)},
  };
}

/// Transactions come in many small entries, one at a time, while flushes, snapshots and compactions
/// go on: everything happens in the middle of a transaction.
inline void let_parts_trickle(plan& out, random& dice) {
  auto& world = out.world;
  world.raft.window_entries = static_cast<std::size_t>(dice.between(1, 2));
  world.raft.max_in_flight = 0;
  world.raft.refuse = 0;
  world.compaction.threshold_entries = dice.between(4, 20);
  world.compaction.trailing_entries = dice.below(3);
  out.world.disk.sync_max_us = std::min<std::uint64_t>(out.world.disk.sync_max_us, 20'000);
  out.entry_bytes = std::max<std::size_t>(8000, std::size_t{2} * out.page_size + 1000);
  out.flush_bytes = dice.between(1000, 8000);
  out.work.large_percent = static_cast<std::uint32_t>(dice.between(5, 12));
  out.work.transactions = out.work.transactions * 3 / 5;  // which take as long as all others
  out.write_set_bytes = plan{}.write_set_bytes;
}

/// Limits that are met: calls that end by their limit, queues and memory that are full.
inline void draw_limits(plan& out, random& dice) {
  const std::uint64_t impatient = dice.between(10, 80);
  out.busy_timeout_ms = dice.chance(0.2) ? impatient : 300;
  const std::uint64_t pages = dice.between(30, 90);
  out.write_set_bytes = dice.chance(0.12) ? pages * out.page_size : out.write_set_bytes;
  const double refuse = 0.002 * static_cast<double>(dice.between(1, 75));
  out.world.raft.refuse = dice.chance(0.15) ? refuse : 0.0;
  const std::size_t few = static_cast<std::size_t>(dice.between(1, 20'000));
  out.in_flight_bytes = dice.chance(0.08) ? few : out.in_flight_bytes;
  out.secure_delete = dice.chance(0.5);
  if (out.storage == storage_kind::files && dice.chance(0.25)) {
    out.storage = storage_kind::double_write;
  }
  const std::uint64_t sync_us = dice.between(20'000, 150'000);
  if (dice.chance(0.12)) {
    out.world.disk.sync_max_us = sync_us;
  }
  if (dice.chance(0.07)) {
    let_parts_trickle(out, dice);
  }
  // With nothing wrong there is time enough for a COMMIT.
  const std::uint64_t soon = dice.between(100, 1500) + 4 * out.world.disk.sync_max_us / 1000;
  out.commit_timeout_ms = dice.chance(0.25) ? soon : 5000;
}

/// Disks of logs that hang now and then, and servers that are left behind meanwhile.
inline void draw_hanging_logs(plan& out, random& dice) {
  const std::uint64_t hang = dice.between(500, 4000);
  const std::uint64_t overtake = dice.between(300, 2000);
  const std::uint64_t threshold = dice.between(4, 12);
  const std::uint64_t trailing = dice.below(3);
  const bool hangs = dice.chance(0.2);
  const bool overtakes = dice.chance(0.12) && out.world.replicas > 1;
  out.faults.log_hang = hangs ? hang : 0;
  if (hangs || overtakes) {
    out.world.disk.sync_max_us = std::max<std::uint64_t>(out.world.disk.sync_max_us, 1);
  }
  if (overtakes) {
    out.faults.overtake = overtake;
    out.world.compaction.threshold_entries = threshold;
    out.world.compaction.trailing_entries = trailing;
    out.world.raft.chunk_bytes = std::max<std::size_t>(out.world.raft.chunk_bytes, 16'384);
  }
}

/// What befalls disks besides: it came later, so it draws later.
inline void draw_disks(plan& out, random& dice) {
  const bool has_files = out.storage != storage_kind::volatile_memory;
  const std::uint64_t exhaust = dice.between(700, 4000);
  out.faults.exhaust = dice.chance(0.15) && has_files ? exhaust : 0;
  out.faults.again = dice.chance(0.3) && has_files;
}

/// Transactions of which a statement fails half way, or which load the schema again, at the limit
/// of what a transaction may write.
inline void draw_halves(plan& out, random& dice) {
  const auto percent = static_cast<std::uint32_t>(dice.between(10, 40));
  const std::uint64_t pages = dice.between(24, 60);
  const auto cache = static_cast<std::int32_t>(dice.between(2, 40));
  if (dice.chance(0.1)) {
    out.work.halves_percent = percent;
    out.write_set_bytes = pages * out.page_size;
    out.cache_pages = cache;
  }
}

/// An engine that comes to what is proposed later, as one with a thread of its own does. So it
/// refuses one part of a transaction when the next one is already on its way.
inline void draw_late_proposals(plan& out, random& dice) {
  const quorlite::milliseconds late{dice.between(1, 20)};
  const double refuse = 0.01 * static_cast<double>(dice.between(1, 20));
  const auto percent = static_cast<std::uint32_t>(dice.between(3, 10));
  const bool is_late = dice.chance(0.3);
  if (is_late) {
    out.world.raft.proposal_max = late;
    out.world.raft.max_in_flight = 0;  // else no transaction of three parts would ever be taken
  }
  if (is_late && dice.chance(0.3)) {
    out.world.raft.refuse = refuse;
    out.work.large_percent = percent;
  }
  // What is left behind has a long end, which the others never had.
  if (out.faults.overtake != 0 && dice.chance(0.5)) {
    out.world.compaction.threshold_entries = 4;
    out.work.large_percent = percent;
    out.entry_bytes = std::size_t{20'000} + out.page_size;
    out.in_flight_bytes = std::size_t{64} << 20U;
    out.world.raft.max_in_flight = 0;
  }
}

/// Folders are damaged, of clusters whose history has begun. Members change by that alone.
inline void let_folders_be_damaged(plan& out, random& dice) {
  using quorlite::testing::start_check;
  out.history = history_kind::founded;
  out.faults.membership = 0;
  out.world.spares = 0;
  out.majority_first = false;
  if (out.storage == storage_kind::volatile_memory && dice.chance(0.7)) {
    out.storage = storage_kind::files;
    out.faults.lost_storage = 0;
  }
  out.faults.damage = dice.between(500, 3000);
  // Of one that is alone, only its machine tells that its log is too short, if the engine does not.
  const bool is_alone = out.world.replicas == 1;
  out.world.raft.checks = dice.chance(is_alone ? 0.3 : 0.6) ? start_check::log_end
                          : dice.chance(0.7)                ? start_check::history
                                                            : start_check::folder;
}

/// Draws a plan: each feature and fault is on or off first, then as strong as drawn, so that seeds
/// differ in kind and not only in order (swarm testing: Groce and others, ISSTA 2012).
/// @param damages what has been drawn before stays; folders are damaged besides
[[nodiscard]] inline plan draw_plan(std::uint64_t seed, profile kind, bool damages = false) {
  plan out;
  out.seed = seed;
  out.profile = kind;
  random dice = random{seed}.fork(0x91A7);
  const bool full = kind == profile::full;

  auto& world = out.world;
  world.seed = seed;
  world.replicas = dice.chance(0.75) ? 3 : dice.chance(0.5) ? 5 : dice.chance(0.5) ? 1 : 4;
  world.network.delay_min_us = dice.between(50, 2000);
  world.network.delay_max_us = world.network.delay_min_us + dice.between(0, 20'000);
  world.network.drop = dice.chance(0.5) ? 0.0 : 0.01 * static_cast<double>(dice.below(20));
  world.network.duplicate = dice.chance(0.5) ? 0.0 : 0.01 * static_cast<double>(dice.below(30));
  world.network.reorder = dice.chance(0.5) ? 0.0 : 0.01 * static_cast<double>(dice.below(50));
  world.raft.max_in_flight = dice.chance(0.8) ? 0 : 1 + static_cast<std::size_t>(dice.below(4));
  world.raft.chunk_bytes = std::size_t{1} << dice.between(9, 16);
  world.raft.window_entries = dice.chance(0.7) ? 512 : 1 + static_cast<std::size_t>(dice.below(4));
  world.compaction.threshold_entries = dice.chance(0.25) ? 0 : dice.between(5, 120);
  world.compaction.trailing_entries = dice.below(6);
  world.compaction.read_bytes = std::size_t{1} << dice.between(9, 16);
  if (dice.chance(0.5)) {
    world.disk.sync_max_us = dice.between(1, 20'000);
    world.disk.sync_min_us = dice.below(world.disk.sync_max_us);
  }
  world.background_max_us = dice.between(1, 5000);

  out.storage = dice.chance(0.35)   ? storage_kind::volatile_memory
                : dice.chance(0.75) ? storage_kind::files
                                    : storage_kind::double_write;
  const std::uint32_t sizes[] = {512, 1024, 4096, 4096, 8192, 65536};
  out.page_size = sizes[dice.below(full ? 6 : 5)];
  out.auto_vacuum = dice.chance(0.7) ? 0 : static_cast<std::uint32_t>(dice.between(1, 2));
  out.cache_pages = dice.chance(0.6) ? 200 : static_cast<std::int32_t>(dice.between(1, 20));
  // A page that holds no data: with the usual byte no test would ever reach it.
  out.lock_byte = std::uint64_t{0x10000};
  out.memory_bytes = dice.chance(0.4)   ? std::uint64_t{64} << 20U
                     : dice.chance(0.5) ? std::uint64_t{256} << 10U
                                        : std::uint64_t{64} << 10U;
  out.flush_bytes = dice.chance(0.4) ? std::uint64_t{64} << 20U : dice.between(1000, 60'000);
  out.entry_bytes = dice.chance(0.5) ? std::size_t{1} << 20U : std::size_t{20'000} + out.page_size;
  out.in_flight_bytes = dice.chance(0.6) ? std::size_t{64} << 20U : 3 * out.entry_bytes;
  out.wait_until_certain = dice.chance(0.3);

  const auto rate = [&](double on, std::uint64_t least, std::uint64_t most) {
    const bool is_on = dice.chance(on);
    const std::uint64_t mean = dice.between(least, most);
    return is_on ? mean : 0;
  };
  auto& faults = out.faults;
  const bool alone = world.replicas == 1;
  faults.crash = rate(0.6, 500, 4000);
  faults.power = rate(0.15, 3000, 8000);
  faults.pause = rate(0.3, 800, 4000);
  faults.partition = alone ? 0 : rate(0.4, 800, 4000);
  faults.one_way = alone ? 0 : rate(0.3, 800, 4000);
  faults.depose = rate(0.5, 300, 3000);
  faults.transfer = alone ? 0 : rate(0.3, 500, 4000);
  if (out.storage != storage_kind::volatile_memory) {
    faults.disk_crash = rate(0.4, 800, 5000);
    faults.lost_storage = rate(0.2, 3000, 9000);
    faults.disk_full = rate(0.25, 1500, 6000);
    faults.disk_error = rate(0.3, 800, 6000);
  } else {
    faults.lost_storage = 1;  // every crash
  }

  auto& work = out.work;
  work.transactions = full ? 1000 : 200;
  work.writers = static_cast<std::uint32_t>(dice.between(1, full ? 8 : 5));
  work.readers = static_cast<std::uint32_t>(dice.between(1, 3));
  work.databases = dice.chance(0.6) ? 1 : static_cast<std::uint32_t>(dice.between(2, full ? 6 : 3));
  work.groups_percent = dice.chance(0.5) ? 0 : static_cast<std::uint32_t>(dice.between(5, 60));
  work.statements_percent =
      dice.chance(full ? 0.2 : 0.5) ? 0 : static_cast<std::uint32_t>(dice.between(5, 60));
  work.large_percent = dice.chance(0.5) ? 0 : static_cast<std::uint32_t>(dice.between(1, 8));
  work.attach_percent = dice.chance(0.4) ? 0 : static_cast<std::uint32_t>(dice.between(5, 40));

  // What came later draws later: the rest of a seed stays what it was.
  faults.at_phase = rate(0.6, 100, 1500);
  faults.disk_slow = rate(0.25, 1000, 5000);
  if (out.storage == storage_kind::volatile_memory) {
    faults.disk_slow = 0;
  }
  work.long_readers = dice.chance(0.5) ? 0 : static_cast<std::uint32_t>(dice.between(1, 2));
  out.majority_first = dice.chance(0.5);
  out.others_down = dice.chance(0.5);
  faults.disk_rot = rate(0.2, 500, 4000);
  if (out.storage == storage_kind::volatile_memory) {
    faults.disk_rot = 0;
  }
  faults.isolate = alone ? 0 : rate(0.4, 500, 3000);
  faults.membership = rate(0.35, 200, 2500);
  world.spares = faults.membership == 0 ? 0 : static_cast<std::uint32_t>(dice.between(1, 2));
  if (faults.membership != 0) {
    out.majority_first = false;  // of what, changes all the time
  }
  draw_limits(out, dice);
  faults.flap = alone ? 0 : rate(0.12, 1500, 6000);
  work.page_writers = dice.chance(0.85) ? 0 : static_cast<std::uint32_t>(dice.between(1, 2));
  faults.stop = rate(0.3, 800, 5000);
  faults.breakdown = rate(0.3, 1000, 5000);
  if (out.storage == storage_kind::volatile_memory || alone) {
    faults.breakdown = 0;
  }
  work.slow_writers = dice.chance(0.65) ? 0 : 1;
  out.history = dice.chance(0.65)  ? history_kind::founded
                : dice.chance(0.7) ? history_kind::upgraded
                                   : history_kind::none;
  // What is whole is never refused, however closely it is looked at.
  using quorlite::testing::start_check;
  out.world.raft.checks = dice.chance(0.3) ? start_check::nothing : start_check::log_end;
  if (damages) {
    let_folders_be_damaged(out, dice);
  }
  draw_hanging_logs(out, dice);
  draw_disks(out, dice);
  draw_halves(out, dice);
  out.work.greedy_writers = dice.chance(0.15) ? 1 : 0;
  out.world.raft.withdrawal_max =
      quorlite::milliseconds{dice.chance(0.5) ? 0 : dice.between(1, 300)};
  draw_late_proposals(out, dice);
  const std::uint64_t pages_kept = dice.between(1, 200);
  out.pinned_bytes = dice.chance(0.4) ? pages_kept * out.page_size : 0;
  return out;
}

}  // namespace simulate
