// What befalls a cluster while clients work: each fault at random times of its own.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "servers.hpp"

namespace simulate {

class faults {
 public:
  explicit faults(servers& cluster)
      : cluster_(cluster), dice_(random{cluster.options().seed}.fork(0xFA17)) {}

  void begin() {
    const fault_rates& rates = cluster_.options().faults;
    const bool volatile_storage = cluster_.options().storage == storage_kind::memory;
    every(rates.crash, [this] { crash_one(dice_.chance(0.5), false); });
    every(rates.power, [this] {
      for (const server_id id : cluster_.ids()) {
        cluster_.crash(id, true, false);
        come_back(id);
      }
    });
    every(rates.disk_crash, [this] { cluster_.crash_during_disk_call(any(), dice_.below(40)); });
    every(volatile_storage ? 0 : rates.lost_storage, [this] { crash_one(true, true); });
    every(rates.pause,
          [this] { cluster_.world().pause(any(), milliseconds{dice_.between(10, 3000)}); });
    every(rates.partition, [this] { split(); });
    every(rates.one_way, [this] {
      const server_id from = any();
      cluster_.world().network().cut(from, any());
      heal_later();
    });
    every(rates.depose, [this] { depose(); });
    every(rates.transfer, [this] { cluster_.world().transfer(any()); });
    every(rates.disk_full, [this] {
      const server_id id = any();
      cluster_.fill_disk(id);
      after(dice_.between(50, 3000), [this, id] { cluster_.heal_disk(id); });
    });
    every(rates.disk_error, [this] { cluster_.fail_disk_call(any(), dice_.below(30)); });
    every(rates.membership, [this] { change_members(); });
    every(20, [this] { look_after_all(); });
  }
  /// From now on nothing new befalls them, but servers that are down still come back.
  void end() noexcept { calm_ = true; }

 private:
  void after(std::uint64_t span, std::function<void()> what) {
    cluster_.world().after(milliseconds{span}, std::move(what));
  }
  /// At exponentially distributed times. 0: never.
  void every(std::uint64_t mean, std::function<void()> what) {
    if (mean == 0) {
      return;
    }
    const double uniform = static_cast<double>(dice_.next() >> 11U) / 9007199254740992.0;
    const double drawn = -std::log(1.0 - uniform) * static_cast<double>(mean);
    after(static_cast<std::uint64_t>(drawn) + 1, [this, mean, what = std::move(what)]() mutable {
      if (calm_) {
        return;
      }
      what();
      every(mean, std::move(what));
    });
  }
  [[nodiscard]] server_id any() {
    const std::vector<server_id> ids = cluster_.ids();
    return ids[dice_.below(ids.size())];
  }

  void crash_one(bool power, bool lose_storage) {
    const server_id id = any();
    cluster_.crash(id, power, lose_storage);
    come_back(id);
  }
  void come_back(server_id id) {
    after(dice_.between(1, 1500), [this, id] { cluster_.start(id); });
  }
  void split() {
    std::vector<server_id> ids = cluster_.ids();
    dice_.shuffle(ids);
    const auto cut = static_cast<std::ptrdiff_t>(dice_.between(1, ids.size() - 1));
    cluster_.world().partition({ids.begin(), ids.begin() + cut}, {ids.begin() + cut, ids.end()});
    heal_later();
  }
  void heal_later() {
    after(dice_.between(100, 2500), [this] { cluster_.world().heal(); });
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

  servers& cluster_;
  random dice_;
  bool calm_ = false;
};

}  // namespace simulate
