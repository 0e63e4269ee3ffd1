// What befalls a cluster while clients work: each fault at random times of its own.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "damager.hpp"
#include "servers.hpp"

namespace simulate {

class faults {
 public:
  explicit faults(servers& cluster)
      : cluster_(cluster), dice_(random{cluster.options().seed}.fork(0xFA17)), damager_(cluster) {}

  void begin() {
    const fault_rates& rates = cluster_.options().faults;
    const bool volatile_storage = cluster_.options().storage == storage_kind::volatile_memory;
    every("crash", rates.crash,
          [this] { crash_one(dice_.chance(0.5) ? crash_kind::power_lost : crash_kind::killed); });
    every("power", rates.power, [this] {
      for (const server_id id : cluster_.ids()) {
        cluster_.crash(id, crash_kind::power_lost);
        come_back(id);
      }
    });
    every("disk_crash", rates.disk_crash, [this] {
      const server_id id = any();
      cluster_.cluster().crash_during_disk_call(id, dice_.below(40));
    });
    every("lost_storage", volatile_storage ? 0 : rates.lost_storage,
          [this] { crash_one(crash_kind::storage_lost); });
    every("pause", rates.pause, [this] {
      // A leader that stands still is asked for barriers, while the others have another.
      const std::optional<server_id> leader = cluster_.world().leader();
      const server_id id = leader && dice_.chance(0.5) ? *leader : any();
      cluster_.world().pause(id, milliseconds{dice_.between(10, 3000)});
    });
    every("partition", rates.partition, [this] { split(); });
    every("one_way", rates.one_way, [this] {
      const server_id from = any();
      cluster_.world().network().cut(from, any());
      heal_later();
    });
    every("isolate", rates.isolate, [this] { isolate_leader(); });
    every("depose", rates.depose, [this] { depose(); });
    every("transfer", rates.transfer, [this] { cluster_.world().transfer(any()); });
    every("disk_full", rates.disk_full, [this] {
      const server_id id = any();
      cluster_.cluster().fill_disk(id, any_room());
      cluster_.had_disk_fault(id, disk_fault::full);
      after(dice_.between(50, 3000), [this, id] { make_room(id); });
    });
    every("disk_error", rates.disk_error, [this] {
      const server_id id = any();
      cluster_.cluster().fail_disk_call(id, dice_.below(30), any_error());
      cluster_.had_disk_fault(id, disk_fault::broken);
    });
    every("disk_slow", rates.disk_slow, [this] {
      const server_id id = any();
      cluster_.cluster().slow_disk(id, dice_.between(50, 5000));
      after(dice_.between(100, 3000), [this, id] { cluster_.cluster().slow_disk(id, 0); });
    });
    every("disk_rot", rates.disk_rot, [this] { cluster_.rot(any(), dice_); });
    every("at_phase", rates.at_phase, [this] { wait_for_phase(); });
    every("membership", rates.membership, [this] { change_members(); });
    every("flap", rates.flap, [this] { flap(now_ms() + dice_.between(500, 4000), 0); });
    every("stop", rates.stop, [this] {
      const server_id id = any();
      cluster_.stop(id);
      come_back(id);
    });
    every("breakdown", rates.breakdown, [this] { break_leader_down(); });
    every("log_hang", rates.log_hang,
          [this] { cluster_.world().hang_log(any(), milliseconds{dice_.between(20, 2000)}); });
    every("overtake", rates.overtake, [this] { leave_one_behind(50); });
    every("exhaust", rates.exhaust, [this] { exhaust(any()); });
    every("damage", rates.damage, [this] {
      for (const server_id id : damager_.strike()) {
        come_back(id);
      }
    });
    every("", rates.damage == 0 ? 0 : 500, [this] { damager_.remember(); });
    every("", 20, [this] { look_after_all(); });
  }
  /// From now on nothing befalls them, nor does anybody restart or mend anything.
  void end() noexcept { calm_ = true; }

  /// As many servers as a quorum has.
  [[nodiscard]] std::vector<server_id> draw_majority() {
    std::vector<server_id> ids = cluster_.ids();
    dice_.shuffle(ids);
    ids.resize(ids.size() / 2 + 1);
    return ids;
  }

 private:
  void after(std::uint64_t span, std::function<void()> what) {
    cluster_.world().after(milliseconds{span}, std::move(what));
  }
  /// At exponentially distributed times. 0: never.
  /// @param name for the trace; empty: not worth a line
  void every(std::string_view name, std::uint64_t mean, std::function<void()> what) {
    if (mean == 0) {
      return;
    }
    const double uniform = static_cast<double>(dice_.next() >> 11U) / 9007199254740992.0;
    const double drawn = -std::log(1.0 - uniform) * static_cast<double>(mean);
    after(static_cast<std::uint64_t>(drawn) + 1,
          [this, name, mean, what = std::move(what)]() mutable {
            if (calm_) {
              return;
            }
            if (!name.empty()) {
              cluster_.trace().tell("fault", std::string(name));
            }
            what();
            every(name, mean, std::move(what));
          });
  }
  /// The disk is broken, or full for this once.
  [[nodiscard]] std::errc any_error() {
    return dice_.chance(0.5) ? std::errc::io_error : std::errc::no_space_on_device;
  }
  /// What is left on a full disk, for one call: a small file may find room where a large one finds
  /// none.
  [[nodiscard]] std::uint64_t any_room() {
    return dice_.chance(0.5) ? 0 : std::uint64_t{1} << dice_.between(9, 16);
  }
  [[nodiscard]] server_id any() {
    const std::vector<server_id> ids = cluster_.ids();
    return ids[dice_.below(ids.size())];
  }

  /// Until then the replica has taken in no more than it has memory for, or has halted.
  void make_room(server_id id) {
    const std::shared_ptr<process> here = calm_ ? nullptr : cluster_.running(id);
    if (!here) {
      cluster_.cluster().heal_disk(id);
      return;
    }
    cluster_.world().spawn([this, id, here] {
      const std::error_code error = here->replica().flush();
      if (error == quorlite::errc::storage_full && !here->replica().health().halted) {
        const std::uint64_t dirty = here->replica().metrics().dirty_bytes;
        require(dirty <= cluster_.options().memory_bytes, "resources", [&] {
          return servers::name_of(id) + " has no room on its disk, keeps " + std::to_string(dirty) +
                 " dirty bytes in memory, and goes on";
        });
        cluster_.mark("a full disk: its server goes on in memory");
      }
      cluster_.cluster().heal_disk(id);
    });
  }
  void crash_one(crash_kind how) {
    const server_id id = any();
    cluster_.crash(id, how);
    come_back(id);
  }
  void come_back(server_id id) {
    after(dice_.between(1, 1500), [this, id] {
      if (!calm_) {
        cluster_.start(id);
      }
    });
  }
  void split() {
    std::vector<server_id> ids = cluster_.ids();
    dice_.shuffle(ids);
    const auto cut = static_cast<std::ptrdiff_t>(dice_.between(1, ids.size() - 1));
    cluster_.world().partition({ids.begin(), ids.begin() + cut}, {ids.begin() + cut, ids.end()});
    heal_later();
  }
  void heal_later() {
    after(dice_.between(100, 2500), [this] {
      if (!calm_) {
        cluster_.world().heal();
      }
    });
  }
  /// It goes on for a while: proposals, barriers, entries that are not yet synced. Sometimes it
  /// falls just after it has heard of the new leader.
  void isolate_leader() {
    const std::optional<server_id> leader = cluster_.world().leader();
    if (!leader) {
      return;
    }
    cluster_.world().network().isolate(*leader);
    after(dice_.between(50, 1500), [this, id = *leader] {
      if (calm_) {
        return;
      }
      cluster_.world().heal();
      if (dice_.chance(0.5)) {
        after(dice_.between(0, 40), [this, id] {
          if (!calm_) {
            cluster_.crash(id, dice_.chance(0.5) ? crash_kind::power_lost : crash_kind::killed);
            come_back(id);
          }
        });
      }
    });
  }
  /// Whoever has a snapshot, or the entries of a leader, on the way to its disk hears nobody until
  /// the others can only send it a newer snapshot: nothing of what comes late may take its place.
  void leave_one_behind(int looks) {
    if (calm_ || looks == 0 || is_one_behind_) {
      return;
    }
    std::vector<server_id> all = cluster_.ids();
    dice_.shuffle(all);
    for (const server_id id : all) {
      const auto& node = cluster_.world().node(id);
      const quorlite::testing::detail::raft_log& log = node.disk().log;
      const bool writes = node.role() == quorlite::testing::detail::raft_role::leader &&
                          log.last_index() > log.synced_index().next();
      if (writes || node.takes_snapshot()) {
        is_one_behind_ = true;
        // Sometimes what it proposes while it is cut off is under way to its disk as well.
        const std::uint64_t runs_on = writes && dice_.chance(0.5) ? dice_.between(10, 80) : 0;
        runs_on == 0 ? void() : cluster_.world().network().isolate(id);
        after(runs_on, [this, id] { keep_behind(id, {}, 300); });
        return;
      }
    }
    after(20, [this, looks] { leave_one_behind(looks - 1); });
  }
  /// @param begins the others' log does by now; 0: they still have what it lacks
  void keep_behind(server_id id, quorlite::log_index begins, int looks) {
    auto& world = cluster_.world();
    const auto& node = world.node(id);
    const bool has_caught_up = begins != quorlite::log_index{} && node.commit_index() >= begins;
    if (calm_ || looks == 0 || !node.running() || has_caught_up) {
      is_one_behind_ = false;
      has_caught_up ? cluster_.mark("left behind: it has caught up") : void();
      calm_ ? void() : world.heal();
      return;
    }
    world.hang_log(id, milliseconds{15 + dice_.below(40)});
    const std::optional<server_id> leader = world.leader();
    if (begins == quorlite::log_index{} && leader && *leader != id) {
      const quorlite::log_index first = world.node(*leader).disk().log.first_index();
      begins = first > node.commit_index().next() ? first : begins;
    }
    begins == quorlite::log_index{} ? world.network().isolate(id) : world.heal();
    after(10, [this, id, begins, looks] { keep_behind(id, begins, looks - 1); });
  }
  /// Its machine goes bit by bit: first the wires, then the disk. What it has proposed is neither
  /// committed nor refused by then.
  void break_leader_down() {
    const std::optional<server_id> leader = cluster_.leader();
    if (!leader) {
      return;
    }
    cluster_.world().network().isolate(*leader);
    heal_later();
    after(dice_.between(0, 400), [this, id = *leader] {
      const std::shared_ptr<process> here = calm_ ? nullptr : cluster_.running(id);
      if (here) {
        cluster_.cluster().fail_disk_call(id, dice_.below(3), std::errc::io_error);
        cluster_.had_disk_fault(id, disk_fault::broken);
        // Nothing is applied meanwhile, so no flush becomes due by itself.
        cluster_.world().spawn([here] { static_cast<void>(here->replica().flush()); });
      }
    });
  }
  /// Nothing is applied in between, so the second flush writes what the first one was to write.
  void exhaust(server_id id) {
    const std::shared_ptr<process> here = cluster_.running(id);
    if (!here) {
      return;
    }
    cluster_.world().network().isolate(id);
    heal_later();
    cluster_.cluster().fill_disk(id, any_room());
    cluster_.had_disk_fault(id, disk_fault::full);
    cluster_.world().spawn([this, id, here, next = dice_.below(12)] {
      static_cast<void>(here->replica().flush());
      cluster_.cluster().heal_disk(id);
      if (cluster_.running(id) == here) {
        cluster_.mark("a flush: it is made again without power");
        cluster_.cluster().crash_during_disk_call(id, next);
        static_cast<void>(here->replica().flush());
      }
    });
  }
  [[nodiscard]] std::uint64_t now_ms() { return cluster_.world().now().value; }
  /// Nobody leads for long: each new leader is soon cut off or killed, and the one before comes
  /// back, so that what several of them have in their logs meets.
  /// @param term of the leader that was seen to last
  void flap(std::uint64_t until_ms, std::uint64_t term) {
    if (calm_) {
      return;
    }
    if (now_ms() >= until_ms) {
      cluster_.world().heal();
      return;
    }
    const std::optional<server_id> leader = cluster_.world().leader();
    const std::uint64_t leads_in = leader ? cluster_.world().node(*leader).term().value : term;
    if (leads_in != term) {
      after(dice_.below(60), [this, id = *leader, kills = dice_.chance(0.2)] { fell(id, kills); });
    }
    after(dice_.between(1, 20), [this, until_ms, leads_in] { flap(until_ms, leads_in); });
  }
  void fell(server_id id, bool kills) {
    if (calm_) {
      return;
    }
    if (kills) {
      cluster_.crash(id, dice_.chance(0.5) ? crash_kind::power_lost : crash_kind::killed);
      come_back(id);
    } else {
      cluster_.world().network().isolate(id);
    }
  }
  void depose() {
    if (const std::optional<server_id> leader = cluster_.world().leader()) {
      using quorlite::testing::commit_phase;
      using quorlite::testing::leadership_loss;
      const std::uint64_t next =
          cluster_.world().node(*leader).leading_state().commands + 1 + dice_.below(3);
      cluster_.world().depose_leader_when(static_cast<commit_phase>(dice_.below(3)), next,
                                          static_cast<leadership_loss>(dice_.below(3)));
    }
  }
  /// Something befalls a server exactly when it is at a phase of a flush, a snapshot or a restore.
  void wait_for_phase() {
    constexpr std::uint64_t phases =
        static_cast<std::uint64_t>(server_phase::restore_installed) + 1;
    const auto drawn = static_cast<server_phase>(dice_.below(phases));
    // Most orders of calls that matter are those of a flush.
    const server_phase flushes =
        dice_.chance(0.3) ? server_phase::flush_begun : server_phase::flush_written;
    const server_phase phase = dice_.chance(0.15) ? flushes : drawn;
    const bool has_parts =
        phase == server_phase::snapshot_read || phase == server_phase::restore_appended;
    const std::uint64_t ordinal = 1 + dice_.below(has_parts ? 12 : 3);
    const std::uint64_t what = draw_fault_at(phase);
    cluster_.cluster().when(
        phase, [this, phase, what](server_id id) { strike(id, phase, what); }, ordinal,
        dice_.chance(0.5) ? std::optional{any()} : std::nullopt);
  }
  /// Any fault, and rather what this phase has to fear.
  [[nodiscard]] std::uint64_t draw_fault_at(server_phase phase) {
    const std::uint64_t any_fault = dice_.below(9);
    const bool flushes = phase <= server_phase::flush_written;
    const bool restores =
        phase == server_phase::restore_begun || phase == server_phase::restore_appended;
    if (are_neighbours_torn(phase) && dice_.chance(0.4)) {
      return power_lost;
    }
    if (flushes && cluster_.options().faults.disk_rot != 0 && dice_.chance(0.25)) {
      return rot_while_down;
    }
    if (!(flushes || restores) || !dice_.chance(0.3)) {
      return any_fault;
    }
    return dice_.chance(0.5) ? error_once : flushes ? power_in_call : no_room;
  }
  void strike(server_id id, server_phase phase, std::uint64_t what) {
    if (cluster_.was_crashed(id)) {
      return;  // by another, at the same phase: what follows would befall the next process
    }
    cluster_.note_struck();
    cluster_.trace().tell("fault", "strikes at a phase", {{"server", id.value}, {"how", what}});
    switch (what) {
      case 0: crash_at_phase(id, crash_kind::killed); return;
      case power_lost: lose_power_at_phase(id, phase); return;
      case 2:
        cluster_.world().network().isolate(id);
        heal_later();
        return;
      case 3: after(0, [this] { cluster_.world().transfer(any()); }); return;
      case 4: depose(); return;
      default: break;
    }
    if (cluster_.options().storage == storage_kind::volatile_memory) {
      crash_at_phase(id, crash_kind::killed);
      return;
    }
    if (!cluster_.cluster().is_up(id)) {
      return;  // its disk has ended it meanwhile, or it is still starting: this is the next one's
    }
    if (what == rot_while_down) {
      crash_and_rot(id);
      return;
    }
    quorlite::testing::faulty_disk& disk = cluster_.cluster().disk(id);
    const std::uint64_t next = disk.calls() + 1 + dice_.below(dice_.chance(0.5) ? 2 : 24);
    if (what == power_in_call) {
      disk.crash_at(next);
      phase <= server_phase::flush_written ? lose_power_again(id) : void();
      return;
    }
    cluster_.will_have_disk_fault(id, what == error_once ? disk_fault::broken : disk_fault::full);
    if (what == error_once) {
      disk.fail_at(next, any_error());
      return;
    }
    disk.full_from(next, any_room());
    after(dice_.between(20, 1500), [this, id] { cluster_.cluster().heal_disk(id); });
  }
  /// Whoever comes back brings back what that flush was to write; a flush that came before that was
  /// done would make a state durable that never was.
  void lose_power_again(server_id id) {
    if (cluster_.options().faults.again) {
      cluster_.cluster().when(
          server_phase::flush_committed,
          [this](server_id struck) {
            cluster_.note_struck();
            cluster_.mark("a flush: power goes again behind the next one");
            crash_at_phase(struck, crash_kind::power_lost);
          },
          dice_.below(2) + 1, id);
    }
  }
  /// What it was about to write again is not what it left.
  void crash_and_rot(server_id id) {
    const bool rots = cluster_.options().faults.disk_rot != 0;
    crash_at_phase(id, dice_.chance(0.5) ? crash_kind::power_lost : crash_kind::killed);
    const bool in_hashes = rots && dice_.chance(0.4);
    for (std::uint64_t bytes = rots ? dice_.between(1, 6) : 0; bytes > 0; --bytes) {
      after(1, [this, id, in_hashes] {
        if (!calm_ && !cluster_.cluster().is_up(id)) {
          cluster_.rot(id, dice_, in_hashes);
        }
      });
    }
  }
  /// Pages smaller than a sector are not safe from their neighbours in general. But whatever was
  /// written so far of a flush that no position names may go, with all of its sectors.
  [[nodiscard]] bool are_neighbours_torn(server_phase phase) const {
    const plan& options = cluster_.options();
    return phase == server_phase::flush_written && options.page_size < 4096 &&
           options.storage == storage_kind::double_write;
  }
  void lose_power_at_phase(server_id id, server_phase phase) {
    const std::vector<quorlite::testing::pending_unit> under_way =
        are_neighbours_torn(phase) ? cluster_.cluster().disk(id).pending_units()
                                   : std::vector<quorlite::testing::pending_unit>{};
    crash_at_phase(id, crash_kind::power_lost);
    for (const quorlite::testing::pending_unit& unit : under_way) {
      if (unit.kind == quorlite::testing::unit_kind::sector && dice_.chance(0.3)) {
        tear_large_sector(id, unit);
      }
    }
  }
  /// All of 4096 bytes.
  void tear_large_sector(server_id id, const quorlite::testing::pending_unit& unit) {
    constexpr std::uint64_t together = 4096 / quorlite::testing::sector_bytes;
    const std::uint64_t first = unit.number / together * together;
    for (std::uint64_t each = first; each < first + together; ++each) {
      const std::uint64_t offset =
          each * quorlite::testing::sector_bytes + unit.number % quorlite::testing::sector_bytes;
      static_cast<void>(cluster_.cluster().disk(id).damage(unit.path, offset, std::byte{0x5A}));
    }
  }
  void crash_at_phase(server_id id, crash_kind how) {
    cluster_.crash_at_phase(id, how);
    come_back(id);
  }
  /// A step or two at once. Whatever is asked for, the last voter stays; what cannot be is refused.
  void change_members() {
    for (std::uint64_t steps = dice_.between(1, 2); steps > 0; --steps) {
      const std::uint64_t step = dice_.below(5);
      change_member(step, any(), 40);
    }
  }
  /// Asked again while that may help, so that every election sees a new leader that is asked.
  void change_member(std::uint64_t step, server_id id, int attempts) {
    using quorlite::testing::change_result;
    auto& world = cluster_.world();
    const change_result said = step == 0   ? world.add_server(id)
                               : step == 1 ? world.demote(id)
                               : step == 2 ? world.remove_server(id)
                                           : world.promote(id);
    const bool may_come = said == change_result::not_leader || said == change_result::too_early ||
                          said == change_result::pending || said == change_result::behind;
    if (may_come && attempts > 0) {
      after(dice_.between(1, 20), [this, step, id, attempts] {
        if (!calm_) {
          change_member(step, id, attempts - 1);
        }
      });
    }
  }
  /// What an operator and the applications do: flush, restart what is down, mend the wires that a
  /// deposed leader was cut off by.
  void look_after_all() {
    cluster_.look_after_damage();
    for (const server_id id : cluster_.ids()) {
      cluster_.maintain(id);
      if (!cluster_.running(id) && dice_.chance(0.05)) {
        cluster_.start(id);
      }
    }
    if (dice_.chance(0.01)) {
      cluster_.world().heal();
    }
  }

  // Of the faults that come at a phase.
  static constexpr std::uint64_t power_lost = 1;
  static constexpr std::uint64_t power_in_call = 5;
  static constexpr std::uint64_t error_once = 6;
  static constexpr std::uint64_t no_room = 7;
  static constexpr std::uint64_t rot_while_down = 8;

  servers& cluster_;
  random dice_;
  damager damager_;
  bool calm_ = false;
  bool is_one_behind_ = false;
};

}  // namespace simulate
