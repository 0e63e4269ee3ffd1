/// @file
/// Bodies of replica_cluster.
#pragma once

#include "quorlite/testing/simulation.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/options.hpp"
#include "quorlite/replica.hpp"
#include "quorlite/storage/memory.hpp"
#include "quorlite/testing/detail/raft/node.hpp"
#include "quorlite/testing/detail/simulation/process_watch.hpp"
#include "quorlite/testing/detail/simulation/random.hpp"
#include "quorlite/testing/detail/simulation/server_process.hpp"
#include "quorlite/testing/faulty_disk.hpp"
#include "quorlite/testing/test_raft.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

QUORLITE_DECL void cluster_observer::moved(server_id /*server*/, log_position /*to*/) noexcept {}
QUORLITE_DECL void cluster_observer::installed(server_id /*server*/, log_position /*to*/) noexcept {
}
QUORLITE_DECL void cluster_observer::reached(server_id /*server*/, server_phase /*what*/) noexcept {
}

namespace detail {

/// A server: what outlives its processes, and the process that it has, dead or alive.
struct simulated_server {
  std::shared_ptr<memory_storage> memory = std::make_shared<memory_storage>();
  // A process that died keeps its own: what the next one finds is another.
  std::shared_ptr<faulty_disk> disk = std::make_shared<faulty_disk>();
  std::uint64_t call_us = 0;     // that each call of the disk takes
  std::uint64_t calls_seen = 0;  // of the disk, and accounted for
  std::uint64_t busy_until_us = 0;
  std::shared_ptr<process_watch> watch;     // of the last process
  std::shared_ptr<server_process> process;  // empty while it starts, and when it is taken down
};

/// Somebody waits for a server to be at a phase.
struct awaited_phase {
  server_phase what;
  std::optional<server_id> on;
  std::uint64_t left;
  unique_function<void(server_id)> then;
};

}  // namespace detail

struct replica_cluster::state final : detail::process_listener {
  state(const simulation_options& options, replica_options chosen, server_options kind)
      : each(std::move(chosen)),
        servers_are(kind),
        simulation(options),
        dice(detail::random{options.seed}.fork(0xD15C)) {}

  void moved(server_id id, log_position to) noexcept override;
  void installed(server_id id, log_position to) noexcept override;
  void reached(server_id id, server_phase what) noexcept override;
  void worked(server_id id) noexcept override;

  [[nodiscard]] detail::simulated_server& at(server_id id);
  [[nodiscard]] bool has_files() const noexcept {
    return servers_are.storage == server_storage::files ||
           servers_are.storage == server_storage::double_write;
  }
  [[nodiscard]] bool is_up(server_id id);
  [[nodiscard]] std::shared_ptr<detail::server_process> make(
      server_id id, const std::shared_ptr<detail::process_watch>& watch);
  void end(detail::simulated_server& one, crash_kind how);
  void lose(detail::simulated_server& one, crash_kind how);
  [[nodiscard]] bool is_even();

  const replica_options each;
  server_options servers_are;
  testing::simulation simulation;  // before the servers: it outlives their adapters
  detail::random dice;
  std::vector<detail::awaited_phase> awaited;
  std::deque<detail::simulated_server> servers;
};

// ---- what processes tell

QUORLITE_DECL void replica_cluster::state::moved(server_id id, log_position to) noexcept {
  if (servers_are.observer != nullptr) {
    servers_are.observer->moved(id, to);
  }
}

QUORLITE_DECL void replica_cluster::state::installed(server_id id, log_position to) noexcept {
  if (servers_are.observer != nullptr) {
    servers_are.observer->installed(id, to);
  }
}

QUORLITE_DECL void replica_cluster::state::reached(server_id id, server_phase what) noexcept {
  if (servers_are.observer != nullptr) {
    servers_are.observer->reached(id, what);
  }
  std::vector<detail::awaited_phase> due;  // apart: what is called may wait for more
  for (detail::awaited_phase& each_one : awaited) {
    const bool is_meant = each_one.what == what && each_one.on.value_or(id) == id;
    if (is_meant && --each_one.left == 0) {
      due.push_back(std::move(each_one));
    }
  }
  std::erase_if(awaited, [](const detail::awaited_phase& one) { return one.left == 0; });
  for (const detail::awaited_phase& one : due) {
    one.then(id);
  }
}

/// The process stands in the calls of its disk since it was last asked.
QUORLITE_DECL void replica_cluster::state::worked(server_id id) noexcept {
  detail::simulated_server& one = at(id);
  const std::uint64_t calls = one.disk->calls();
  const std::uint64_t span_us = (calls - std::exchange(one.calls_seen, calls)) * one.call_us;
  one.busy_until_us = std::max(one.busy_until_us, simulation.now_us()) + span_us;
  const std::uint64_t whole_ms = (one.busy_until_us - simulation.now_us()) / 1000;
  if (whole_ms > 0) {
    simulation.pause(id, milliseconds{whole_ms});
  }
}

// ---- a process ends

QUORLITE_DECL detail::simulated_server& replica_cluster::state::at(server_id id) {
  QUORLITE_ASSERT(id.value >= 1);
  const auto place = static_cast<std::size_t>(id.value - 1);
  while (servers.size() <= place) {
    servers.emplace_back();
  }
  return servers[place];
}

/// A server may have died by itself: its engine gave up or was crashed, or the power went during a
/// call of its disk. It is noticed here.
QUORLITE_DECL bool replica_cluster::state::is_up(server_id id) {
  detail::simulated_server& one = at(id);
  if (!one.process || one.watch->is_dead) {
    return false;
  }
  const bool power_went = one.disk->crashed();
  if (power_went) {
    simulation.crash(id);
  }
  const bool stays =
      servers_are.halted_stay_up && !power_went && one.process->replica().health().halted;
  if (!simulation.running(id) && !stays) {
    end(one, power_went ? crash_kind::power_lost : crash_kind::killed);
  }
  return !one.watch->is_dead;
}

/// Nothing that the process still does reaches what the next one finds.
QUORLITE_DECL void replica_cluster::state::end(detail::simulated_server& one, crash_kind how) {
  one.watch->is_dead = true;
  const std::shared_ptr<faulty_disk> its = one.disk;
  const bool power_went = how == crash_kind::killed && its->crashed();
  one.disk = std::make_shared<faulty_disk>(*its);
  one.calls_seen = 0;
  lose(one, power_went ? crash_kind::power_lost : how);
  its->crash_at(its->calls());
}

/// A disk with sectors of 4096 bytes leaves garbage in all of one: also in what lay beside the
/// bytes that were on their way, however long that had been durable.
inline void spoil_large_sectors(faulty_disk& disk, const std::vector<pending_unit>& units,
                                const crash_fates& fates) {
  constexpr std::uint64_t together = 4096 / sector_bytes;
  for (std::size_t i = 0; i < units.size(); ++i) {
    if (fates[i] != unit_fate::garbage || units[i].kind != unit_kind::sector) {
      continue;
    }
    const std::uint64_t first = units[i].number / together * together;
    for (std::uint64_t each = first; each < first + together; ++each) {
      if (each != units[i].number) {
        disk.damage(units[i].path, each * sector_bytes + units[i].number % sector_bytes,
                    std::byte{0x5A});
      }
    }
  }
}

QUORLITE_DECL void replica_cluster::state::lose(detail::simulated_server& one, crash_kind how) {
  if (how == crash_kind::power_lost) {
    crash_fates fates;
    const std::vector<pending_unit> units = one.disk->pending_units();
    const double survives = 0.25 * static_cast<double>(dice.below(5));
    // Double write is for disks that leave garbage in a sector whose write the power cut short.
    const bool tears = servers_are.storage == server_storage::double_write;
    const double torn = tears ? 0.1 : 0.0;
    for (std::size_t i = 0; i < units.size(); ++i) {
      fates.push_back(torn > 0 && dice.chance(torn) ? unit_fate::garbage
                      : dice.chance(survives)       ? unit_fate::survived
                                                    : unit_fate::lost);
    }
    one.disk = std::make_shared<faulty_disk>(one.disk->after_crash(fates, dice.next()));
    if (tears && servers_are.large_sectors && dice.chance(0.5)) {
      spoil_large_sectors(*one.disk, units, fates);
    }
  } else if (how == crash_kind::storage_lost) {
    one.disk = std::make_shared<faulty_disk>();
    one.memory = std::make_shared<memory_storage>();
  }
}

// ---- a process begins

QUORLITE_DECL std::shared_ptr<detail::server_process> replica_cluster::state::make(
    server_id id, const std::shared_ptr<detail::process_watch>& watch) {
  detail::simulated_server& one = at(id);
  using detail::server_process;
  if (!has_files()) {
    if (servers_are.storage == server_storage::volatile_memory) {
      one.memory = std::make_shared<memory_storage>();
    }
    return std::make_shared<server_process>(simulation, watch, one.memory, each);
  }
  const file_options options{.double_write = servers_are.storage == server_storage::double_write};
  return std::make_shared<server_process>(
      simulation, watch, std::make_shared<detail::files_on_disk>(one.disk, options), each);
}

QUORLITE_DECL bool replica_cluster::state::is_even() {
  const std::optional<server_id> leader = simulation.leader();
  if (!leader.has_value() || !is_up(*leader)) {
    return false;
  }
  const auto stands = [&](server_id id) {
    return std::pair(at(id).process->replica().applied(), simulation.node(id).commit_index());
  };
  const detail::configuration members = simulation.members();
  const std::vector<server_id> all = simulation.servers();
  return std::all_of(all.begin(), all.end(), [&](server_id id) {
    return !members.has(id) || !is_up(id) || stands(id) == stands(*leader);
  });
}

// ---- the cluster

QUORLITE_DECL replica_cluster::replica_cluster(simulation_options options, replica_options each,
                                               server_options servers)
    : state_(std::make_unique<state>(options, std::move(each), servers)) {
  for (const server_id id : state_->simulation.servers()) {
    restart(id);
  }
}

QUORLITE_DECL replica_cluster::~replica_cluster() {
  state_->simulation.finish_clients();
  state_->servers_are.observer = nullptr;
  state_->awaited.clear();
  for (const detail::simulated_server& each : state_->servers) {
    QUORLITE_ASSERT(each.process.use_count() <=
                    1);  // whoever holds it would outlive the simulation
  }
  state_->servers.clear();
}

QUORLITE_DECL simulation& replica_cluster::simulation() noexcept { return state_->simulation; }
QUORLITE_DECL std::vector<server_id> replica_cluster::servers() const {
  return state_->simulation.servers();
}
QUORLITE_DECL bool replica_cluster::is_up(server_id id) { return state_->is_up(id); }

QUORLITE_DECL replica& replica_cluster::replica(server_id id) {
  QUORLITE_ASSERT(state_->at(id).process != nullptr);
  return state_->at(id).process->replica();
}

QUORLITE_DECL std::shared_ptr<replica> replica_cluster::hold(server_id id) {
  if (!is_up(id)) {
    return nullptr;
  }
  const std::shared_ptr<detail::server_process>& here = state_->at(id).process;
  return {here, &here->replica()};
}

QUORLITE_DECL connection replica_cluster::connect(server_id id, std::string_view name,
                                                  connection_options options) {
  result<connection> opened = replica(id).open(name, options);
  QUORLITE_ASSERT(opened.has_value());
  return std::move(*opened);
}

QUORLITE_DECL std::optional<server_id> replica_cluster::wait_for_leader(
    std::optional<server_id> but, milliseconds limit) {
  const auto elected = [&] {
    const std::optional<server_id> leader = state_->simulation.leader();
    return leader.has_value() && leader != but && is_up(*leader) &&
           replica(*leader).leader().leading;
  };
  return state_->simulation.run_until(elected, limit) ? state_->simulation.leader() : std::nullopt;
}

QUORLITE_DECL bool replica_cluster::wait_until_even(milliseconds limit) {
  return state_->simulation.run_until([this] { return state_->is_even(); }, limit);
}

QUORLITE_DECL bool replica_cluster::are_identical() {
  if (state_->simulation.violation()) {
    return false;
  }
  const detail::configuration members = state_->simulation.members();
  using content =
      std::tuple<std::string, version_number, std::uint32_t, std::uint64_t, std::uint64_t>;
  std::optional<std::vector<content>> first;
  for (const server_id id : servers()) {
    if (!is_up(id) || !members.has(id)) {
      continue;
    }
    std::vector<content> here;
    for (const database_status& one : replica(id).databases()) {
      here.emplace_back(one.name, one.version, one.page_size, one.page_count, one.hash);
    }
    if (first.has_value() && *first != here) {
      return false;
    }
    first = std::move(here);
  }
  return true;
}

// ---- processes

QUORLITE_DECL void replica_cluster::crash(server_id id, crash_kind how) {
  state_->simulation.crash(id);
  detail::simulated_server& one = state_->at(id);
  if (one.watch && !one.watch->is_dead) {
    state_->end(one, how);
  } else {
    state_->lose(one, how);
  }
}

QUORLITE_DECL void replica_cluster::take_down(server_id id) {
  QUORLITE_ASSERT(!state_->simulation.running(id) || !state_->is_up(id));
  static_cast<void>(is_up(id));  // the disk as it is now
  state_->at(id).process.reset();
}

QUORLITE_DECL std::error_code replica_cluster::start(server_id id) {
  if (is_up(id)) {
    return {};
  }
  detail::simulated_server& one = state_->at(id);
  one.process.reset();
  detail::process_listener& listener = *state_;
  one.watch = std::make_shared<detail::process_watch>(
      detail::process_watch{id, listener, false, one.call_us > 0});
  std::shared_ptr<detail::server_process> made = state_->make(id, one.watch);
  const std::error_code error = made->status();
  const bool crashed = one.watch->is_dead || one.disk->crashed();
  if (!one.watch->is_dead && (error || crashed)) {
    state_->simulation.crash(id);
    state_->end(one, crash_kind::killed);
  }
  if (!one.watch->is_dead) {
    one.process = std::move(made);
  }
  return crashed ? make_error_code(errc::stopped) : error;
}

QUORLITE_DECL void replica_cluster::restart(server_id id) {
  const std::error_code error = start(id);
  QUORLITE_ASSERT(!error);
}

QUORLITE_DECL std::error_code replica_cluster::stop(server_id id) {
  if (!is_up(id)) {
    return make_error_code(errc::stopped);
  }
  detail::simulated_server& one = state_->at(id);
  const std::shared_ptr<detail::server_process> here = one.process;
  const std::shared_ptr<detail::process_watch> watch = one.watch;
  std::error_code error = here->replica().stop();
  const std::error_code closed = here->close_storage();
  error = error ? error : closed;
  if (watch->is_dead) {
    return make_error_code(errc::stopped);  // at a phase of its last flush
  }
  state_->end(one, crash_kind::killed);
  return error;
}

// ---- disks

QUORLITE_DECL faulty_disk& replica_cluster::disk(server_id id) {
  QUORLITE_ASSERT(state_->has_files());
  static_cast<void>(is_up(id));  // it may be another's by now
  return *state_->at(id).disk;
}

QUORLITE_DECL void replica_cluster::exchange_disk(server_id id, const faulty_disk& by) {
  QUORLITE_ASSERT(state_->has_files() && !is_up(id));
  state_->at(id).disk = std::make_shared<faulty_disk>(by);
  state_->at(id).calls_seen = 0;
}

QUORLITE_DECL memory_storage& replica_cluster::storage(server_id id) {
  QUORLITE_ASSERT(state_->servers_are.storage == server_storage::memory);
  return *state_->at(id).memory;
}

QUORLITE_DECL void replica_cluster::crash_during_disk_call(server_id id, std::uint64_t after) {
  faulty_disk& its = disk(id);
  its.crash_at(its.calls() + 1 + after);
}

QUORLITE_DECL void replica_cluster::fail_disk_call(server_id id, std::uint64_t after,
                                                   std::errc error) {
  faulty_disk& its = disk(id);
  its.fail_at(its.calls() + 1 + after, error);
}

QUORLITE_DECL void replica_cluster::fill_disk(server_id id, std::uint64_t left) {
  faulty_disk& its = disk(id);
  its.full_from(its.calls() + 1, left);
}

QUORLITE_DECL void replica_cluster::slow_disk(server_id id, std::uint64_t call_us) {
  detail::simulated_server& one = state_->at(id);
  one.calls_seen = disk(id).calls();
  one.call_us = call_us;
  if (one.watch) {
    one.watch->is_slow = call_us > 0;
  }
}

QUORLITE_DECL void replica_cluster::heal_disk(server_id id) {
  disk(id).heal();
  slow_disk(id, 0);
}

// ---- right now, at this phase

QUORLITE_DECL void replica_cluster::when(server_phase what,
                                         detail::unique_function<void(server_id)> then,
                                         std::uint64_t ordinal, std::optional<server_id> on) {
  QUORLITE_ASSERT(ordinal > 0);
  state_->awaited.push_back({what, on, ordinal, std::move(then)});
}

QUORLITE_DECL void replica_cluster::heal() {
  state_->simulation.heal();
  state_->simulation.depose_nobody();
  state_->awaited.clear();
  for (const server_id id : servers()) {
    static_cast<void>(is_up(id));
    if (state_->has_files()) {
      heal_disk(id);
      disk(id).crash_at(~std::uint64_t{0});
    }
  }
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
