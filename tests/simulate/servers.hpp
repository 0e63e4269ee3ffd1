// The servers of a simulated cluster: their disks, their processes, and what befalls them.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "process.hpp"
#include "quorlite/testing/detail/raft/network.hpp"
#include "quorlite/testing/detail/raft/node.hpp"

namespace simulate {

using quorlite::testing::faulty_disk;
using quorlite::testing::faulty_file_system;

class servers final : public watcher {
 public:
  explicit servers(const plan& chosen)
      : plan_(chosen), world_(chosen.world), dice_(random{chosen.seed}.fork(0xD15C)) {
    servers_.resize(chosen.world.replicas + chosen.world.spares);
    for (server& each : servers_) {
      each.disk = std::make_shared<faulty_disk>();
    }
    for (const server_id id : world_.servers()) {
      start(id);
    }
  }
  /// Clients must have ended.
  ~servers() override { world_.finish_clients(); }
  servers(const servers&) = delete;
  servers& operator=(const servers&) = delete;

  [[nodiscard]] quorlite::testing::simulation& world() noexcept { return world_; }
  [[nodiscard]] std::vector<server_id> ids() const { return world_.servers(); }
  [[nodiscard]] const plan& options() const noexcept { return plan_; }

  /// Whoever holds it keeps the process's memory; it is dead all the same once the server crashed.
  [[nodiscard]] std::shared_ptr<process> running(server_id id) {
    bury_if_dead(id);
    return at(id).running;
  }
  [[nodiscard]] std::optional<server_id> leader() {
    const std::optional<server_id> id = world_.leader();
    return id && running(*id) ? id : std::nullopt;
  }

  // ---- what befalls them

  /// The process is killed; if the power goes too, what was not synced is lost or kept, unit by
  /// unit.
  void crash(server_id id, bool power, bool lose_storage) {
    server& one = at(id);
    world_.crash(id);
    one.loses_power = one.loses_power || power;
    one.loses_storage = one.loses_storage || lose_storage;
    bury_if_dead(id);
  }
  /// The power of this server goes in the middle of the call of its disk that comes `after` calls
  /// from now.
  void crash_during_disk_call(server_id id, std::uint64_t after) {
    faulty_disk& disk = *at(id).disk;
    disk.crash_at(disk.calls() + 1 + after);
  }
  void fill_disk(server_id id) {
    faulty_disk& disk = *at(id).disk;
    disk.full_from(disk.calls() + 1);
    at(id).had_disk_fault = true;
  }
  void fail_disk_call(server_id id, std::uint64_t after) {
    faulty_disk& disk = *at(id).disk;
    disk.fail_at(disk.calls() + 1 + after, std::errc::io_error);
    at(id).had_disk_fault = true;
  }
  void heal_disk(server_id id) { at(id).disk->heal(); }
  /// A crash that was to come does not.
  void disarm_disk(server_id id) { at(id).disk->crash_at(~std::uint64_t{0}); }
  void start(server_id id) {
    bury_if_dead(id);
    server& one = at(id);
    if (one.running) {
      return;
    }
    std::shared_ptr<process> made = make(id);
    ++boots_;
    if (const std::error_code error = made->status()) {
      // Only a disk that fails or is full may keep a server from starting.
      require(one.had_disk_fault || one.disk->crashed(), "opens after a crash",
              name_of(id) + " does not start: " + error.message());
      one.must_reset = one.disk->crashed();
      bury(one);
      return;
    }
    check_monotonic(id, made->replica().metrics().durable, made->replica().applied());
    one.running = std::move(made);
  }
  /// What the application does now and then: a look whether a flush is due. A halted replica is
  /// restarted, as an operator would.
  void maintain(server_id id) {
    if (const std::shared_ptr<process> here = running(id)) {
      const quorlite::health health = here->replica().health();
      if (health.halted) {
        require(at(id).had_disk_fault || at(id).disk->crashed(), "typed errors",
                name_of(id) + " halted without a fault: " + health.error.message() + ", " +
                    health.what);
        ++halts_;
        crash(id, at(id).disk->crashed(), false);
        return;
      }
      static_cast<void>(here->replica().maintain());
      check_memory(id, *here);
    }
  }
  void heal_everything() {
    world_.heal();
    world_.depose_nobody();
    for (const server_id id : ids()) {
      bury_if_dead(id);
      heal_disk(id);
      disarm_disk(id);
      at(id).had_disk_fault = true;  // of calls before now, which may be answered yet
      start(id);
    }
  }

  /// The next step towards a cluster in which every server votes. @returns whether it is one
  [[nodiscard]] bool make_all_vote() {
    for (const server_id id : ids()) {
      if (!world_.members().has_voter(id)) {
        world_.members().has_learner(id) ? world_.promote(id) : world_.add_server(id);
        return false;
      }
    }
    return true;
  }

  // ---- evidence

  /// Who is where, for a report.
  [[nodiscard]] std::string status() {
    std::string text;
    for (const server_id id : ids()) {
      const auto& node = world_.node(id);
      const std::shared_ptr<process> here = running(id);
      text += "; " + name_of(id) + " term " + std::to_string(node.term().value) + " commit " +
              std::to_string(node.commit_index().value);
      if (here) {
        const quorlite::health health = here->replica().health();
        text += " applied " + std::to_string(here->replica().applied().index.value) +
                (here->replica().leader().leading ? " leads" : "") +
                (health.halted ? " halted: " + health.error.message() + ", " + health.what : "");
      } else {
        text += " is down";
      }
    }
    return text;
  }
  [[nodiscard]] std::uint64_t boots() const noexcept { return boots_; }
  [[nodiscard]] std::uint64_t halts() const noexcept { return halts_; }
  [[nodiscard]] std::uint64_t installs() const noexcept { return installs_; }
  [[nodiscard]] bool is_even() {
    const std::optional<server_id> first = leader();
    if (!first) {
      return false;
    }
    for (const server_id id : ids()) {
      const std::shared_ptr<process> here = running(id);
      if (!here || here->replica().applied() != running(*first)->replica().applied() ||
          world_.node(id).commit_index() != world_.node(*first).commit_index() ||
          world_.node(id).disk().log.last_index() != world_.node(id).commit_index()) {
        return false;
      }
    }
    return true;
  }
  [[nodiscard]] static std::string name_of(server_id id) {
    return "server " + std::to_string(id.value);
  }
  /// A violation that was found where nothing may be thrown.
  void throw_if_broken() const {
    if (broken_) {
      throw violation(*broken_);
    }
    if (world_.violation()) {
      throw violation("what Raft promises", *world_.violation());
    }
  }

 private:
  struct server {
    std::shared_ptr<faulty_disk> disk;  // a process that died may still write to its own
    std::shared_ptr<process> running;
    bool loses_power = false;
    bool loses_storage = false;
    bool had_disk_fault = false;
    bool must_reset = false;
    log_position durable;  ///< of the process that ran last
    log_position applied;
  };

  [[nodiscard]] server& at(server_id id) {
    return servers_[static_cast<std::size_t>(id.value - 1)];
  }

  // ---- a process ends

  void bury_if_dead(server_id id) {
    server& one = at(id);
    if (one.running && one.disk->crashed() && world_.running(id)) {
      world_.crash(id);
      one.loses_power = true;
    }
    if (one.running && !world_.running(id)) {
      one.durable = one.running->replica().metrics().durable;
      bury(one);
    }
  }
  /// The disk is what the next process finds of it; clients may hold the old process for a while,
  /// which keeps the disk that it had.
  void bury(server& one) {
    one.running.reset();
    if (one.loses_storage) {
      one.disk = std::make_shared<faulty_disk>();
      one.durable = {};
    } else if (one.loses_power || one.disk->crashed()) {
      quorlite::testing::crash_fates fates;
      const std::size_t pending = one.disk->pending();
      const double survives = 0.25 * static_cast<double>(dice_.below(5));
      for (std::size_t i = 0; i < pending; ++i) {
        fates.push_back(dice_.chance(survives) ? quorlite::testing::unit_fate::survived
                                               : quorlite::testing::unit_fate::lost);
      }
      one.disk = std::make_shared<faulty_disk>(one.disk->after_crash(fates, dice_.next()));
    } else {
      one.disk = std::make_shared<faulty_disk>(*one.disk);
    }
    if (plan_.storage == storage_kind::memory) {
      one.durable = {};
    }
    one.loses_power = false;
    one.loses_storage = false;
    one.had_disk_fault = false;
  }

  // ---- a process begins

  [[nodiscard]] quorlite::replica_options replica_options_of() const {
    quorlite::replica_options each;
    each.lock_byte = plan_.lock_byte;
    each.memory_bytes = plan_.memory_bytes;
    each.flush_bytes = plan_.flush_bytes;
    each.entry_bytes = plan_.entry_bytes;
    each.commit_timeout = milliseconds{5000};
    each.wait_until_certain = plan_.wait_until_certain;
    return each;
  }
  [[nodiscard]] std::shared_ptr<process> make(server_id id) {
    if (plan_.storage == storage_kind::memory) {
      return std::make_shared<process>(
          world_, id, *this, std::make_shared<quorlite::memory_storage>(), replica_options_of());
    }
    const quorlite::file_options options{.double_write =
                                             plan_.storage == storage_kind::double_write};
    return std::make_shared<process>(world_, id, *this,
                                     std::make_shared<kept_files>(at(id).disk, options),
                                     replica_options_of());
  }
  struct disk_holder {
    std::shared_ptr<faulty_disk> kept;
  };
  struct kept_files : disk_holder, quorlite::detail::basic_file_storage<faulty_file_system> {
    kept_files(std::shared_ptr<faulty_disk> disk, const quorlite::file_options& options)
        : disk_holder{std::move(disk)},
          quorlite::detail::basic_file_storage<faulty_file_system>(faulty_file_system(*kept),
                                                                   options) {}
  };

  // ---- checkers

  void moved(server_id id, log_position to) override {
    if (broken_) {
      return;
    }
    try {
      server& one = at(id);
      if (!one.running) {
        return;  // still starting: what it loads is compared with the next entry
      }
      require(to.index >= one.applied.index, "monotonic",
              name_of(id) + " went back from " + std::to_string(one.applied.index.value) + " to " +
                  std::to_string(to.index.value));
      one.applied = to;
      check_equal(id, to, one.running->content());
    } catch (const violation& found) {
      broken_ = found;
    }
  }
  void installed(server_id, log_position) override { ++installs_; }

  /// One content for each index, whoever has it.
  void check_equal(server_id id, log_position at_position, content here) {
    const auto [known, is_new] = contents_.try_emplace(at_position.index.value, here);
    if (!is_new && known->second != here) {
      throw violation("replicas are equal",
                      name_of(id) + " differs at entry " + std::to_string(at_position.index.value) +
                          ": " + text_of(here) + " instead of " + text_of(known->second));
    }
  }
  void check_monotonic(server_id id, log_position durable, log_position applied) {
    server& one = at(id);
    require(durable.index >= one.durable.index, "position and pages",
            name_of(id) + " found " + std::to_string(durable.index.value) +
                " after a crash, and had made " + std::to_string(one.durable.index.value) +
                " durable");
    one.applied = applied;
  }
  /// Pages beyond the limit are those that somebody stands on, or that wait for a flush.
  void check_memory(server_id id, process& here) {
    for (const quorlite::database_status& one : here.replica().databases()) {
      require(one.readers < 1000, "resources",
              name_of(id) + " has " + std::to_string(one.readers) + " readers of " + one.name);
    }
  }
  const plan plan_;
  quorlite::testing::simulation world_;
  random dice_;
  std::deque<server> servers_;
  std::map<std::uint64_t, content> contents_;
  std::optional<violation> broken_;
  std::uint64_t boots_ = 0;
  std::uint64_t halts_ = 0;
  std::uint64_t installs_ = 0;
};

}  // namespace simulate
