// The servers of a simulated cluster, and the checkers that stand beside every replica.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "damage.hpp"
#include "history.hpp"
#include "page_bytes.hpp"
#include "plan.hpp"
#include "quorlite/detail/file_storage/data_directory.hpp"
#include "quorlite/replica.hpp"
#include "quorlite/testing/detail/raft/network.hpp"
#include "quorlite/testing/detail/raft/node.hpp"
#include "quorlite/testing/detail/simulation/event_hash.hpp"
#include "quorlite/testing/simulation.hpp"
#include "support/sql.hpp"
#include "trace.hpp"

namespace simulate {

using quorlite::log_position;
using quorlite::milliseconds;
using quorlite::server_id;
using quorlite::testing::crash_kind;
using quorlite::testing::server_phase;
using quorlite::testing::detail::stored_snapshot;

/// What one database is; equal on all replicas that stand at one entry.
struct database_content {
  std::uint64_t version = 0;
  std::uint64_t page_count = 0;
  std::uint64_t hash = 0;
  std::uint32_t page_size = 0;

  friend bool operator==(const database_content&, const database_content&) = default;
};
/// What the databases of a replica are, by name.
using content = std::map<std::string, database_content>;

/// The same, and how much of transactions is there whose end is not.
struct whole_content {
  content databases;
  std::uint64_t staged_bytes = 0;

  friend bool operator==(const whole_content&, const whole_content&) = default;
};

[[nodiscard]] inline std::string text_of(const content& of) {
  std::string text = "{";
  for (const auto& [name, state] : of) {
    text += name + " v" + std::to_string(state.version) + " " + std::to_string(state.page_count) +
            " pages, hash " + std::to_string(state.hash) + "; ";
  }
  return text + "}";
}
[[nodiscard]] inline std::string text_of(const whole_content& of) {
  return text_of(of.databases) + " and " + std::to_string(of.staged_bytes) + " bytes staged";
}

/// What may befall a disk, besides a byte that changes.
enum class disk_fault { full, broken };

/// What runs on a server between a start and a crash. Its connections may outlive it.
class process {
 public:
  explicit process(std::shared_ptr<quorlite::replica> kept) : kept_(std::move(kept)) {}
  [[nodiscard]] quorlite::replica& replica() noexcept { return *kept_; }
  [[nodiscard]] simulate::content content() const {
    simulate::content all;
    for (quorlite::database_status& one : kept_->databases()) {
      all.emplace(std::move(one.name),
                  database_content{one.version.value, one.page_count, one.hash, one.page_size});
    }
    return all;
  }
  [[nodiscard]] whole_content whole() const { return {content(), kept_->metrics().staged_bytes}; }

 private:
  std::shared_ptr<quorlite::replica> kept_;
};

class servers final : public quorlite::testing::cluster_observer {
 public:
  /// @param trace empty: nobody reads
  explicit servers(const plan& chosen, tracer::sink trace = {})
      : plan_(chosen),
        cluster_(chosen.world, replica_options_of(chosen),
                 {chosen.storage, this, chosen.page_size >= 4096, true}),
        dice_(random{chosen.seed}.fork(0x0B5E)),
        trace_(world(), std::move(trace)) {
    for (const server_id id : ids()) {
      keep(id);
    }
  }
  /// Clients must have ended.
  ~servers() override {
    world().finish_clients();
    for (server& each : servers_) {
      each.running.reset();  // the cluster goes first
    }
  }

  [[nodiscard]] quorlite::testing::simulation& world() noexcept { return cluster_.simulation(); }
  [[nodiscard]] quorlite::testing::replica_cluster& cluster() noexcept { return cluster_; }
  /// But for those whose place another machine has taken.
  [[nodiscard]] std::vector<server_id> ids() {
    std::vector<server_id> all = cluster_.servers();
    std::erase_if(all, [this](server_id id) { return at(id).is_gone; });
    return all;
  }
  [[nodiscard]] const plan& options() const noexcept { return plan_; }
  [[nodiscard]] tracer& trace() noexcept { return trace_; }
  /// For the trace.
  void tell(const char* of, const std::string& what, server_id id) {
    trace_.tell(of, what, {{"server", id.value}});
  }

  /// Whoever holds it keeps the process's memory; it is dead all the same once the server crashed.
  /// Nobody asks one that has the folder of another cluster: it answers what that one would.
  [[nodiscard]] std::shared_ptr<process> running(server_id id) {
    drop_if_dead(id);
    return is_foreign(id) ? nullptr : at(id).running;
  }
  [[nodiscard]] std::optional<server_id> leader() {
    const std::optional<server_id> id = world().leader();
    return id && running(*id) ? id : std::nullopt;
  }

  /// Until it holds. That is asked after every step, as simulation::run_until() does, and every
  /// 20 ms besides: it is when operators act, who do not wait for a cluster in which nothing
  /// happens any more, since all of it is down.
  template <class Predicate>
  bool run_until(Predicate&& holds, milliseconds limit) {
    constexpr std::uint64_t each_ms = 20;
    bool held = false;
    for (std::uint64_t left = limit.value; !held && left > 0; left -= std::min(left, each_ms)) {
      held = world().run_until(holds, milliseconds{std::min(left, each_ms)});
    }
    return held;
  }

  // ---- what befalls them, besides what replica_cluster has for it

  void crash(server_id id, crash_kind how) {
    crash_at_phase(id, how);
    drop_if_dead(id);
  }
  /// From inside a call of the process, which must be left before anybody destroys it.
  void crash_at_phase(server_id id, crash_kind how) {
    if (how == crash_kind::storage_lost && is_damaged(id)) {
      how = crash_kind::power_lost;  // what tells of a damaged log may be in there alone
    }
    const char* const losses[] = {"killed", "loses its power", "loses its storage"};
    tell("fault", losses[static_cast<int>(how)], id);
    cluster_.crash(id, how);
    at(id).was_crashed = true;
    if (how == crash_kind::storage_lost) {
      at(id).loses_storage = true;
      at(id).rotten = false;
      at(id).rotten_elsewhere = false;
      at(id).began_rotten = false;
      at(id).durable = {};
    }
  }
  /// In good order, as by whoever upgrades it or restarts what has halted. It may lose its power
  /// later, while nobody runs there.
  void stop(server_id id) {
    const std::error_code error = cluster_.stop(id);
    tell("fault", error ? "is stopped: " + error.message() : "is stopped", id);
    at(id).was_crashed = true;
    drop_if_dead(id);
  }
  void had_disk_fault(server_id id, disk_fault kind) {
    drop_if_dead(id);
    will_have_disk_fault(id, kind);
  }
  /// A call to its disk may have failed, or may fail yet.
  [[nodiscard]] bool is_disk_broken(server_id id) { return at(id).was_broken; }
  /// Its process is gone, and nobody has looked after it yet.
  [[nodiscard]] bool was_crashed(server_id id) { return at(id).was_crashed; }
  /// From inside a call of the process, as crash_at_phase().
  void will_have_disk_fault(server_id id, disk_fault kind) {
    at(id).was_full = true;  // a call that fails may say so, too
    at(id).was_broken = at(id).was_broken || kind == disk_fault::broken;
  }
  /// A byte of one of its files becomes another. From now on it may halt, or refuse to start; then
  /// its operator gives it an empty folder.
  /// @param in_hashes of the files of page hashes
  void rot(server_id id, random& dice, bool in_hashes = false) {
    drop_if_dead(id);
    if (is_damaged(id) || at(id).is_gone) {
      return;
    }
    quorlite::testing::faulty_disk& disk = cluster_.disk(id);
    std::vector<std::string> files = disk.files();
    std::erase_if(files, [in_hashes](const std::string& file) {
      return in_hashes && !file.starts_with(quorlite::detail::place_names::hashes);
    });
    if (files.empty()) {
      return;
    }
    const std::string& file = files[dice.below(files.size())];
    const std::uint64_t size = disk.content(file).size();
    const std::uint64_t offset = size == 0 ? 0 : dice.below(size);
    if (size != 0) {
      change_byte(id, file, offset, static_cast<std::byte>(1U << dice.below(8)));
    }
  }
  /// As rot(), of a byte that is there.
  void change_byte(server_id id, const std::string& file, std::uint64_t offset, std::byte mask) {
    if (cluster_.disk(id).damage(file, offset, mask)) {
      tell("fault", "a byte of " + file + " changes", id);
      at(id).rotten = true;
      // The first hash is none: it has a byte of page 1.
      const bool is_hash = file.starts_with(quorlite::detail::place_names::hashes) &&
                           offset >= sizeof(std::uint64_t);
      at(id).rotten_elsewhere = at(id).rotten_elsewhere || !is_hash;
      at(id).durable = {};
    }
  }
  /// @returns why it does not run now, if it was to be started
  std::error_code start(server_id id) {
    drop_if_dead(id);
    if (cluster_.is_up(id) || waits_for_operator(id)) {
      return {};
    }
    at(id).was_crashed = false;
    const std::error_code error = cluster_.start(id);
    tell("server", error ? "does not start: " + error.message() : "starts", id);
    ++boots_;
    if (!error) {
      at(id).began_rotten = at(id).rotten;
      keep(id);
      note_start_on_damage(id);
      return {};
    }
    // Only a disk that fails or is full may keep a server from starting, or another crash.
    require(explains(id, error) || error == quorlite::errc::stopped, "opens after a crash",
            name_of(id) + " does not start: " + error.message());
    if (is_damaged(id) && name_of_detection(error) != nullptr) {
      notice(id, std::string("start, ") + name_of_detection(error));
      return error;
    }
    if (at(id).rotten) {
      crash(id, crash_kind::storage_lost);
    }
    // A disk that is full stays so for a while; other faults ended with this process.
    at(id).was_full = at(id).was_full && error == quorlite::errc::storage_full;
    at(id).was_broken = false;
    return error;
  }
  /// What the application does now and then: a look whether a flush is due. A halted replica is
  /// restarted, as an operator would, who may be late.
  void maintain(server_id id) {
    if (const std::shared_ptr<process> here = running(id)) {
      const quorlite::health health = here->replica().health();
      if (health.halted) {
        if (has_left(id, health) && world().now_us() >= at(id).noticed_us) {
          restart_halted(id);
        }
        return;
      }
      static_cast<void>(here->replica().maintain());
      look_for_old_damage(id, *here);
    }
  }
  void heal_everything() {
    cluster_.heal();
    for (const server_id id : ids()) {
      replace_if_rotten(id);
      had_disk_fault(id, disk_fault::broken);  // by calls before now, which may be answered yet
      start(id);
    }
  }
  /// These, and nobody else: the others are down, or hear nobody and are heard by nobody.
  void heal_only(const std::vector<server_id>& core, bool others_down) {
    cluster_.heal();
    for (const server_id id : ids()) {
      replace_if_rotten(id);
      had_disk_fault(id, disk_fault::broken);
      if (std::find(core.begin(), core.end(), id) != core.end()) {
        start(id);
      } else if (others_down) {
        crash(id, crash_kind::killed);
      }
    }
    world().partition(core, {});
  }

  /// Nothing is wrong from now on.
  void note_health() {
    for (const server_id id : ids()) {
      if (const std::shared_ptr<process> here = running(id)) {
        at(id).healthy = here;
        at(id).when_healthy = here->replica().metrics().machine;
      }
    }
  }
  /// A flush that was due since then was not made.
  [[nodiscard]] bool owes_flush(server_id id) {
    const server& one = at(id);
    const std::shared_ptr<process> here = running(id);
    if (!here || one.healthy.lock() != here) {
      return false;
    }
    const quorlite::machine_counters now = here->replica().metrics().machine;
    return now.entry_bytes - one.when_healthy.entry_bytes >= 3 * plan_.flush_bytes &&
           now.flushes == one.when_healthy.flushes;
  }

  /// The next step towards a cluster in which every server votes. @returns whether it is one
  [[nodiscard]] bool make_all_vote() {
    for (const server_id id : ids()) {
      if (!world().members().has_voter(id)) {
        world().members().has_learner(id) ? world().promote(id) : world().add_server(id);
        return false;
      }
    }
    return true;
  }

  // ---- folders that are not what they were

  [[nodiscard]] bool is_damaged(server_id id) const { return damaged_.contains(id.value); }
  /// Of servers that are not whole, or whose place is not taken yet.
  [[nodiscard]] std::size_t damaged_count() const noexcept { return damaged_.size(); }
  [[nodiscard]] const std::map<std::uint64_t, damaged>& all_damaged() const noexcept {
    return damaged_;
  }
  /// What it had made durable when it ran last. @pre it is down
  [[nodiscard]] log_index durable_of(server_id id) { return at(id).durable.index; }
  [[nodiscard]] bool is_rotten(server_id id) { return at(id).rotten; }
  /// As far as its log is on the disk.
  [[nodiscard]] folder folder_of(server_id id) {
    folder made{world().node(id).disk(), nullptr};
    if (made.log.log.synced_index() < made.log.log.last_index()) {
      made.log.log.truncate_suffix(made.log.log.synced_index().next());
    }
    if (has_files()) {
      made.storage = std::make_shared<const quorlite::testing::faulty_disk>(cluster_.disk(id));
    }
    return made;
  }
  [[nodiscard]] bool has_files() const noexcept {
    return plan_.storage != storage_kind::volatile_memory;
  }
  /// Its folder becomes another one. @pre it is down
  void damage(server_id id, const folder& now, damaged what) {
    tell("fault", std::string("damage: ") + simulate::name_of(what.kind), id);
    mark(std::string("damage: ") + simulate::name_of(what.kind));
    put(id, now);
    world().disregard(id);
    damaged_.insert_or_assign(id.value, std::move(what));
  }
  /// What operators do about it.
  void look_after_damage() {
    if (damaged_.empty() || world().now_us() < next_look_us_) {
      return;
    }
    next_look_us_ = world().now_us() + 20'000;
    std::vector<server_id> all;
    for (const auto& [id, what] : damaged_) {
      all.emplace_back(id);
    }
    for (const server_id id : all) {
      damaged& what = damaged_.at(id.value);
      if (what.noticed.empty()) {
        help_on(id, what);
      } else if (what.replaced_by != 0) {
        go_on_replacing(id, what);
      } else if (world().now_us() >= what.heal_at_us) {
        heal(id, what);
      }
    }
  }
  /// Everybody noticed what there was to notice, and has acted.
  [[nodiscard]] bool is_damage_settled() const {
    return std::all_of(damaged_.begin(), damaged_.end(),
                       [](const auto& each) { return each.second.noticed.empty(); });
  }
  /// What is left of damage in the end did no harm.
  void note_harmless() {
    for (const auto& [id, what] : damaged_) {
      mark("not noticed, and did no harm");
      mark(std::string("not noticed: ") + simulate::name_of(what.kind));
    }
  }
  /// Nothing could tell of that damage, so a loss is no fault. Empty: there was none such.
  [[nodiscard]] const std::string& excuse() const noexcept { return excuse_; }
  [[nodiscard]] const marks& seen() const noexcept { return seen_; }
  void mark(const std::string& what) { ++seen_[what]; }

  // ---- evidence

  /// Who is where, for a report.
  [[nodiscard]] std::string status() {
    std::string text;
    for (const server_id id : ids()) {
      const auto& node = world().node(id);
      const std::shared_ptr<process> here = running(id);
      text += "; " + name_of(id) + (is_damaged(id) ? " (damaged)" : "") + " term " +
              std::to_string(node.term().value) + " commit " +
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
  /// That a database of this name ever had, on any server.
  [[nodiscard]] std::uint64_t most_pages(const std::string& name) const {
    std::uint64_t most = 0;
    for (const auto& [index, whole] : contents_) {
      const auto found = whole.databases.find(name);
      most = std::max(most, found == whole.databases.end() ? 0 : found->second.page_count);
    }
    return most;
  }
  /// That any server knows to be committed.
  [[nodiscard]] log_index newest_committed() {
    log_index newest;
    for (const server_id id : ids()) {
      newest = std::max(newest, is_damaged(id) ? log_index{} : world().node(id).commit_index());
    }
    return newest;
  }
  [[nodiscard]] std::uint64_t boots() const noexcept { return boots_; }
  [[nodiscard]] std::uint64_t halts() const noexcept { return halts_; }
  [[nodiscard]] std::uint64_t installs() const noexcept { return installs_; }
  /// Faults that came at a phase.
  [[nodiscard]] std::uint64_t struck() const noexcept { return struck_; }
  void note_struck() noexcept { ++struck_; }
  [[nodiscard]] bool is_even(const std::vector<server_id>& among) {
    const std::optional<server_id> first = leader();
    if (!first || std::find(among.begin(), among.end(), *first) == among.end()) {
      return false;
    }
    for (const server_id id : among) {
      const std::shared_ptr<process> here = running(id);
      if (!here || here->replica().health().halted ||
          here->replica().applied() != running(*first)->replica().applied() ||
          world().node(id).commit_index() != world().node(*first).commit_index() ||
          world().node(id).disk().log.last_index() != world().node(id).commit_index()) {
        return false;
      }
    }
    return true;
  }
  /// When it was first seen to have halted; none: it has not, or another process runs there now.
  [[nodiscard]] std::optional<std::uint64_t> halted_since_us(server_id id, const process& which) {
    const server& one = at(id);
    const bool is_this = one.running.get() == &which && one.leaves;
    return is_this ? std::optional(one.leaves->since_us) : std::nullopt;
  }
  [[nodiscard]] static std::string name_of(server_id id) {
    return "server " + std::to_string(id.value);
  }
  /// Asked after every step. A violation that was found where nothing may be thrown is thrown here.
  void throw_if_broken() {
    if (broken_) {
      throw violation(*broken_);
    }
    if (world().violation()) {
      throw violation("what Raft promises", *world().violation());
    }
    watch_halted();
    compare_snapshots();
    for (std::uint64_t each = 1; each <= servers_.size(); ++each) {
      const server_id id{each};
      for (const auto& refused : world().node(id).admission().refused()) {
        note_refusal(id, refused.peer, refused.why.at);
      }
    }
  }

 private:
  /// A replica has halted, and its engine is to leave.
  struct withdrawal {
    std::uint64_t since_us = 0;
    std::uint64_t span_us = 0;  ///< that it may take, from when it goes on
    std::uint64_t until_us = 0;
    std::uint64_t stood_until_us = 0;  ///< it may not have come to that by then: late, or paused
  };
  struct server {
    std::shared_ptr<process> running;
    bool loses_storage = false;
    bool was_full = false;    ///< its disk, for a call or more
    bool was_broken = false;  ///< a call of it failed
    bool was_crashed = false;
    bool rotten = false;
    bool rotten_elsewhere = false;              ///< than in the hashes of pages
    bool began_rotten = false;                  ///< of this process, and nobody has looked yet
    std::optional<std::uint64_t> halted_us;     ///< when that was seen first, of this process
    std::uint64_t noticed_us = 0;               ///< when its operator does
    std::optional<withdrawal> leaves;           ///< of this process
    std::weak_ptr<process> healthy;             ///< nothing is wrong with it since
    quorlite::machine_counters when_healthy{};  ///< what it had counted by then
    log_position durable;                       ///< of the process that ran last
    log_position applied;
    std::weak_ptr<const stored_snapshot> snapshot;  ///< that was looked at last
    bool is_gone = false;                           ///< for good: another machine has its place
  };

  [[nodiscard]] server& at(server_id id) {
    while (servers_.size() < id.value) {
      servers_.emplace_back();
    }
    return servers_[static_cast<std::size_t>(id.value - 1)];
  }
  [[nodiscard]] static quorlite::replica_options replica_options_of(const plan& chosen) {
    quorlite::replica_options each;
    each.lock_byte = chosen.lock_byte;
    each.memory_bytes = chosen.memory_bytes;
    each.pinned_bytes = chosen.pinned_bytes;
    each.flush_bytes = chosen.flush_bytes;
    each.entry_bytes = chosen.entry_bytes;
    each.in_flight_bytes = chosen.in_flight_bytes;
    each.commit_timeout = milliseconds{chosen.commit_timeout_ms};
    each.write_set_bytes = chosen.write_set_bytes;
    each.found = chosen.history == history_kind::founded;  // whoever leads first
    each.wait_until_certain = chosen.wait_until_certain;
    return each;
  }
  void keep(server_id id) {
    at(id).running = std::make_shared<process>(cluster_.hold(id));
    at(id).halted_us.reset();
    at(id).leaves.reset();
    check_monotonic(id, at(id).running->replica());
  }
  /// Clients may hold the old process for a while.
  void drop_if_dead(server_id id) {
    server& one = at(id);
    if (!one.running || cluster_.is_up(id)) {
      return;
    }
    const std::shared_ptr<process> gone = std::exchange(one.running, nullptr);
    one.durable = gone->replica().metrics().durable;
    if (one.loses_storage || one.rotten || plan_.storage == storage_kind::volatile_memory) {
      one.durable = {};
    }
    const bool was_crashed = std::exchange(one.was_crashed, false);
    const bool was_full = std::exchange(one.was_full, false);
    const bool was_broken = std::exchange(one.was_broken, false);
    one.loses_storage = false;
    cluster_.take_down(id);
    const quorlite::health health = gone->replica().health();
    if (health.halted && !was_crashed && health.error != quorlite::errc::storage_broken) {
      one.was_full = was_full;
      one.was_broken = was_broken;
      check_halt(id, health);
      one.was_full = one.was_broken = false;
    }
  }

  void replace_if_rotten(server_id id) {
    if (at(id).rotten) {
      crash(id, crash_kind::storage_lost);
    }
  }
  /// Whether what befell its disk may lead to this. Only bytes that changed by themselves are
  /// damage, and only they or another folder make another history: a disk that does not read, or
  /// has no room, has not changed any. And one without room breaks nothing, but where a double
  /// write cannot be copied: an overwrite may need room here, as on file systems that copy on
  /// write.
  [[nodiscard]] bool explains(server_id id, std::error_code error) {
    const server& one = at(id);
    const bool is_detection = name_of_detection(error) != nullptr;
    if (is_detection && is_damaged(id)) {
      return true;
    }
    if (one.rotten || is_detection || error == quorlite::errc::corrupt) {
      return one.rotten;
    }
    const bool may_lack_room = error == quorlite::errc::storage_full ||
                               error == quorlite::errc::out_of_memory ||
                               plan_.storage == storage_kind::double_write;
    return one.was_broken || (may_lack_room && one.was_full);
  }

  // ---- checkers

  void moved(server_id id, log_position to) noexcept override {
    server& one = at(id);
    if (broken_ || !one.running) {
      return;  // still starting: what it loads is compared with the next entry
    }
    try {
      require(to.index >= one.applied.index, "monotonic", [&] {
        return name_of(id) + " went back from " + std::to_string(one.applied.index.value) + " to " +
               std::to_string(to.index.value);
      });
      one.applied = to;
      if (!is_foreign(id)) {
        check_equal(id, to, one.running->whole());
      }
    } catch (const violation& found) {
      broken_ = found;
    }
  }
  void installed(server_id /*id*/, log_position /*to*/) noexcept override { ++installs_; }

  /// One content for each index, whoever has it.
  void check_equal(server_id id, log_position at_position, whole_content here) {
    const auto [known, is_new] = contents_.try_emplace(at_position.index.value, here);
    if (!is_new && known->second != here) {
      throw violation("replicas are equal",
                      name_of(id) + " differs at entry " + std::to_string(at_position.index.value) +
                          ": " + text_of(here) + " instead of " + text_of(known->second));
    }
  }
  void check_monotonic(server_id id, quorlite::replica& started) {
    server& one = at(id);
    const log_position durable = started.metrics().durable;
    require(durable.index >= one.durable.index, "position and pages",
            name_of(id) + " found " + std::to_string(durable.index.value) +
                " after a crash, and had made " + std::to_string(one.durable.index.value) +
                " durable");
    one.applied = started.applied();
  }
  /// Whoever takes a snapshot at an entry has the same bytes in it as everybody else. What was
  /// taken while its folder was damaged counts for nothing.
  void compare_snapshots() {
    for (std::uint64_t each = 1; each <= servers_.size(); ++each) {
      const std::shared_ptr<const stored_snapshot>& now =
          world().node(server_id{each}).disk().snapshot;
      std::weak_ptr<const stored_snapshot>& seen = at(server_id{each}).snapshot;
      if (now == nullptr || (!seen.owner_before(now) && !now.owner_before(seen))) {
        continue;
      }
      seen = now;
      if (is_damaged(server_id{each})) {
        continue;
      }
      const std::uint64_t hash = quorlite::testing::detail::hash_of_bytes(now->content);
      const auto [known, is_new] = snapshots_.try_emplace(now->at.index.value, hash);
      require(known->second == hash, "replicas are equal", [&] {
        return name_of(server_id{each}) + " has another snapshot of entry " +
               std::to_string(now->at.index.value) + " than others";
      });
    }
  }
  /// From the moment at which it halts a server does not lead, and its engine takes no part: but
  /// one that led may first hand over, for an election timeout. While it is paused nothing is due;
  /// what was is, when it goes on.
  void watch_halted() {
    for (std::uint64_t each = 1; each <= servers_.size(); ++each) {
      const server_id id{each};
      if (at(id).running) {
        watch_halted(id, at(id));
      }
    }
  }
  void watch_halted(server_id id, server& one) {
    const quorlite::replica& here = one.running->replica();
    const std::uint64_t now = world().now_us();
    if (!one.leaves) {
      const quorlite::health health = here.health();
      if (!health.halted) {
        return;
      }
      const bool led = world().node(id).role() == quorlite::testing::detail::raft_role::leader;
      const auto& raft = plan_.world.raft;
      const std::uint64_t late_us = led ? raft.withdrawal_max.value * 1000 : 0;
      const std::uint64_t span_us = late_us + (led ? raft.election_timeout_min.value * 1000 : 0);
      one.leaves = withdrawal{.since_us = now,
                              .span_us = span_us,
                              .until_us = now + span_us,
                              .stood_until_us = now + late_us};
      check_named_page(id, health);
    }
    if (!world().running(id)) {
      return;
    }
    require(!here.leader().leading, "a halted server does not lead", name_of(id) + " does");
    withdrawal& due = *one.leaves;
    const std::uint64_t paused_until_us = world().paused_until_us(id);
    if (paused_until_us > now && now <= due.stood_until_us) {
      // It has not yet come to what it was told.
      due.stood_until_us = std::max(due.stood_until_us, paused_until_us);
      due.until_us = paused_until_us + due.span_us;
    } else if (paused_until_us > now) {
      due.until_us = std::max(due.until_us, paused_until_us);
    } else {
      require(now <= due.until_us, "a halted server does not lead", [&] {
        return name_of(id) + " halted at " + std::to_string(due.since_us) +
               " us, was to take part until " + std::to_string(due.until_us) +
               " us at most, and does at " + std::to_string(now) + " us";
      });
    }
  }
  /// Who halts over a page names one that is not what its hash says.
  void check_named_page(server_id id, const quorlite::health& health) {
    const std::optional<page_name> page = page_named_in(health.what);
    if (health.error != quorlite::errc::corrupt || !page || !has_files() || !cluster_.is_up(id)) {
      return;
    }
    require(page_bytes(cluster_.disk(id), plan_.page_size).is_anywhere_damaged(*page),
            "a damaged page is told",
            [&] { return name_of(id) + " says of a page that is whole: " + health.what; });
    mark("a damaged page: its server halts");
  }
  /// @returns false: it may still hand over
  [[nodiscard]] bool has_left(server_id id, const quorlite::health& health) {
    server& one = at(id);
    if (!one.halted_us) {
      check_halt(id, health);
      one.halted_us = world().now_us();
      one.noticed_us = *one.halted_us + (dice_.chance(0.3) ? 0 : dice_.below(1'500'000));
    }
    return !world().running(id);
  }
  /// The hashes of pages are compared when a replica starts, or, if a crash came inside a flush,
  /// once it has caught up. Whatever had changed in them by then is told then, and not when
  /// somebody meets it: a page that it shows is whole.
  void look_for_old_damage(server_id id, process& here) {
    if (!std::exchange(at(id).began_rotten, false) || at(id).rotten_elsewhere) {
      return;
    }
    for (const quorlite::database_status& one : here.replica().databases()) {
      const auto opened = here.replica().open(one.name);
      if (!opened) {
        at(id).began_rotten = opened.error() == quorlite::errc::busy;  // it is catching up
        return;
      }
      static_cast<void>(ask(*opened, "PRAGMA integrity_check"));
    }
    const quorlite::health health = here.replica().health();
    require(health.error != quorlite::errc::corrupt, "opens after a crash",
            name_of(id) +
                " started over hashes that had changed, and tells it too late: " + health.what);
  }
  void restart_halted(server_id id) {
    if (waits_for_operator(id)) {
      stop(id);
    } else if (at(id).rotten || dice_.chance(0.4)) {
      crash(id, at(id).rotten ? crash_kind::storage_lost : crash_kind::killed);
    } else {
      stop(id);
    }
  }
  /// Only what befell its disk may halt a replica.
  void check_halt(server_id id, const quorlite::health& health) {
    require(
        explains(id, health.error), "typed errors",
        name_of(id) + " halted without a fault: " + health.error.message() + ", " + health.what);
    tell("server", "has halted: " + health.error.message() + ", " + health.what, id);
    ++halts_;
    if (health.error == quorlite::errc::corrupt) {
      mark("noticed: halt, corrupt");
    }
    if (health.error == quorlite::errc::storage_full) {
      mark("a full disk: its server halts");
    }
    if (const char* const name = name_of_detection(health.error); name && is_damaged(id)) {
      notice(id, std::string("halt, ") + name);
    }
  }

  // ---- folders that are not what they were

  [[nodiscard]] bool is_foreign(server_id id) const {
    const auto found = damaged_.find(id.value);
    return found != damaged_.end() && found->second.kind == damage_kind::folder_foreign;
  }
  /// It was noticed, so nobody starts it as it is.
  [[nodiscard]] bool waits_for_operator(server_id id) {
    const auto found = damaged_.find(id.value);
    return at(id).is_gone || (found != damaged_.end() && !found->second.noticed.empty());
  }
  void put(server_id id, const folder& what) {
    world().disk_to_prepare(id) = what.log;
    if (what.storage != nullptr) {
      cluster_.exchange_disk(id, *what.storage);
    }
    at(id).durable = {};
  }
  void notice(server_id id, const std::string& by) {
    damaged& what = damaged_.at(id.value);
    if (what.noticed.empty()) {
      require(is_right(what.kind, by), "damage is told for what it is",
              [&] { return name_of(id) + ", " + simulate::name_of(what.kind) + ": " + by; });
      tell("server", "its damage is noticed: " + by, id);
      mark("noticed: " + by);
      what.noticed = by;
      what.heal_at_us = world().now_us() + dice_.between(10'000, 1'500'000);
      what.adds_first = dice_.chance(0.5);
    }
  }
  void note_start_on_damage(server_id id) {
    const auto found = damaged_.find(id.value);
    if (found == damaged_.end()) {
      return;
    }
    damaged& what = found->second;
    what.ran = true;
    const bool is_filled = what.filled_at != log_index{} &&
                           world().node(id).disk().log.last_index().next() >= what.filled_at;
    if (!what.is_guarded && (what.may_be_unseen || is_filled)) {
      excuse_ = simulate::name_of(what.kind);
    }
  }
  void note_refusal(server_id by, server_id peer, log_index at_index) {
    // Who has given its place away was damaged: it is remembered for what it sent before.
    const bool is_peer_ill = is_damaged(peer) || at(peer).is_gone;
    const bool is_ill = is_damaged(by) || at(by).is_gone;
    if (is_peer_ill && is_ill) {
      return;  // of such two nobody knows what is wrong with which
    }
    if (is_damaged(peer)) {
      notice(peer, "refused by a healthy server");
    } else if (is_damaged(by)) {
      notice(by, "refuses the healthy leader");
    } else {
      require(is_ill || is_peer_ill, "nobody is refused", [&] {
        return name_of(by) + " refuses " + name_of(peer) + " for log index " +
               std::to_string(at_index.value);
      });
    }
  }
  [[nodiscard]] advance advance_of(server_id id, server_id leads) {
    advance found{.commit = world().node(id).commit_index()};
    for (const auto& each : world().node(leads).leading_state().followers) {
      if (each.server == id && each.sending != nullptr) {
        found.snapshot = each.sending->at.index;
        found.arrived = each.sending_offset;
      }
    }
    return found;
  }
  /// A leader that takes it to have more than it has asks it for nothing that it needs: somebody
  /// else is to lead. But whoever gets on is left alone: what has arrived of a snapshot is lost
  /// with the leader that sends it, so one that takes longer than their patience would never be
  /// there.
  void help_on(server_id id, damaged& what) {
    const std::optional<server_id> leads = leader();
    if (!leads) {
      return;
    }
    const advance before = std::exchange(what.stands_at, advance_of(id, *leads));
    const bool stands = cluster_.is_up(id) && *leads != id && what.stands_at == before &&
                        what.stands_at.commit != world().node(*leads).commit_index();
    const bool is_mute = is_foreign(id) && cluster_.is_up(id);
    if (!stands && !is_mute) {
      what.stands_since_us = world().now_us();
      what.helped = 0;
      return;
    }
    if (world().now_us() <= what.stands_since_us + 4'000'000) {
      return;
    }
    what.stands_since_us = world().now_us();
    if (++what.helped > 2 && is_mute) {
      notice(id, "follows nobody");
    } else {
      for (const server_id other : ids()) {
        if (other != *leads && other != id) {
          world().transfer(other);
        }
      }
    }
  }
  /// Its own folder comes back, if nothing was said or done with the other one; or its place is
  /// taken by another machine.
  void heal(server_id id, damaged& what) {
    const bool is_alone = ids().size() == 1;
    if (!is_alone && (what.ran || dice_.chance(0.5))) {
      begin_replacing(id, what);
      return;
    }
    crash(id, crash_kind::killed);
    put(id, what.before);
    world().disregard(id, false);
    mark("healed: the right folder");
    tell("server", "has its right folder back", id);
    damaged_.erase(id.value);
    start(id);
  }
  void begin_replacing(server_id id, damaged& what) {
    crash(id, crash_kind::killed);
    at(id).is_gone = true;
    const server_id other = world().add_machine();
    what.replaced_by = other.value;
    tell("server", "gives its place to " + name_of(other), id);
    start(other);
  }
  void go_on_replacing(server_id id, const damaged& what) {
    const server_id other{what.replaced_by};
    const auto& members = world().members();
    if (members.has(id) && (!what.adds_first || members.has_voter(other))) {
      static_cast<void>(world().remove_server(id));
    } else if (!members.has(other)) {
      static_cast<void>(world().add_server(other));
    } else if (!members.has_voter(other)) {
      static_cast<void>(world().promote(other));
    } else {
      mark("healed: another machine");
      damaged_.erase(id.value);
    }
  }

  const plan plan_;
  std::deque<server> servers_;
  std::map<std::uint64_t, whole_content> contents_;
  std::map<std::uint64_t, std::uint64_t> snapshots_;  ///< hashes of them, by the entry
  std::optional<violation> broken_;
  std::uint64_t boots_ = 0;
  std::uint64_t halts_ = 0;
  std::uint64_t installs_ = 0;
  std::uint64_t struck_ = 0;
  std::map<std::uint64_t, damaged> damaged_;  ///< by the server
  std::uint64_t next_look_us_ = 0;
  std::string excuse_;
  marks seen_;
  quorlite::testing::replica_cluster cluster_;  // behind the rest: it tells this until it is gone
  random dice_;                                 // of those who operate them
  tracer trace_;
};

}  // namespace simulate
