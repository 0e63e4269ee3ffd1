/// @file
/// What the shell needs of a running server, whatever engine and storage it is made of.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "node_flags.hpp"
#include "quorlite/quorlite.hpp"
#include "quorlite/raft/libraft_options.hpp"
#include "quorlite/transfer.hpp"

namespace example {

using nlohmann::ordered_json;

class node {
 public:
  node() = default;
  node(const node&) = delete;
  node& operator=(const node&) = delete;
  virtual ~node() = default;

  /// @returns errc::busy: after a crash, until the log was replayed. Try again
  [[nodiscard]] virtual quorlite::result<quorlite::connection> open(const std::string& name) = 0;
  [[nodiscard]] virtual quorlite::leader_info leader() const = 0;
  /// What .status prints. Indices count entries of the engine, positions count commands.
  [[nodiscard]] virtual ordered_json status() = 0;
  [[nodiscard]] virtual std::vector<std::string> databases() = 0;
  /// Behind a read barrier, if this server leads.
  [[nodiscard]] virtual quorlite::transaction_outcome outcome(quorlite::transaction_id id) = 0;

  using progress = std::function<bool(quorlite::transfer_progress)>;
  /// Makes a file the content of a database, on the leader. See quorlite::import_database.
  [[nodiscard]] virtual std::error_code import_file(const std::string& name,
                                                    const std::string& path,
                                                    const progress& tell) = 0;

  /// The id of a server that somebody names: all of it ("2.1f3a09c4d7"), or only its number, if one
  /// of the members has that. @throws usage_error
  [[nodiscard]] virtual quorlite::server_id named(std::string_view command,
                                                  std::string_view text) = 0;
  /// What has to be said on the leader, so that this server takes part. Nothing: it does, or has an
  /// id of before, without random bits: the leader takes in none of those.
  [[nodiscard]] virtual std::vector<std::string> to_be_said_on_leader() = 0;
  /// Where the cluster looks for this server, as far as its log goes, if that is not where it was
  /// started: nobody finds it then, and it waits for a leader in vain. Nothing: all is well.
  [[nodiscard]] virtual std::optional<std::string> looked_for_at() = 0;

  // Membership, on the leader. They block until it is done, or the engine gives up.
  /// @throws usage_error: another server is there, or that one is somewhere else
  [[nodiscard]] virtual std::error_code add(quorlite::server_id id, const std::string& address) = 0;
  [[nodiscard]] virtual std::error_code remove(quorlite::server_id id) = 0;
  [[nodiscard]] virtual std::error_code transfer(quorlite::server_id id) = 0;

  /// Hears a server again, whose right folder is back. Here, not on the leader.
  /// @returns false: it refuses none of that id
  [[nodiscard]] virtual bool readmit(quorlite::server_id id) = 0;

  /// See quorlite::replica::upgrade(). On the leader.
  [[nodiscard]] virtual std::error_code upgrade() = 0;

  /// Flushes now and then. Any thread.
  virtual void maintain() = 0;
  /// Hands over, if it leads, stops its engine, so that whoever waits for a COMMIT is answered, and
  /// flushes. Reads go on. Any thread, once.
  virtual void stop() = 0;
};

/// A replica over an engine and a storage that somebody else owns.
template <class Raft, class Storage>
class running_node final : public node {
 public:
  running_node(node_settings asked, Raft& raft, Storage& storage)
      : asked_(std::move(asked)), raft_(raft) {
    quorlite::replica_options options = options_of(asked_);
    options.log_context = &said_;
    options.log = &start_words::take;
    auto started = quorlite::replica::start(raft, storage, options);
    said_.close();
    if (started) {
      replica_ = std::move(*started);
    } else {
      failure_ = started.error();
    }
  }

  /// Why it does not run, if so.
  [[nodiscard]] std::error_code started() const noexcept { return failure_; }
  /// What was told of that, a line each.
  [[nodiscard]] const std::vector<std::string>& said() const noexcept { return said_.lines; }

  [[nodiscard]] quorlite::result<quorlite::connection> open(const std::string& name) override {
    return replica_.open(name);
  }
  [[nodiscard]] quorlite::leader_info leader() const override { return replica_.leader(); }

  [[nodiscard]] quorlite::transaction_outcome outcome(quorlite::transaction_id id) override {
    static_cast<void>(replica_.read_barrier());  // without it the answer may be "open", never wrong
    return replica_.outcome(id);
  }

  [[nodiscard]] std::error_code import_file(const std::string& name, const std::string& path,
                                            const progress& tell) override {
    return quorlite::import_database(replica_, name, path, std::cref(tell));
  }

  [[nodiscard]] quorlite::server_id named(std::string_view command,
                                          std::string_view text) override {
    const std::optional<quorlite::server_id> whole = quorlite::libraft_id_in(text);
    if (whole && quorlite::libraft_number_of(*whole) != whole->value) {
      return *whole;
    }
    const quorlite::server_id number{
        parse_number(fmt::format("{} takes an id such as 2.1f3a09c4d7, or it", command), text, 1,
                     ~std::uint64_t{0} >> 1U)};
    std::optional<quorlite::server_id> found;
    for (const auto& one : raft_.status().members) {
      if (one.id == number) {
        return number;
      }
      if (quorlite::libraft_number_of(one.id) == number.value) {
        if (found) {
          throw usage_error(fmt::format("{}: there are {} and {}: say which of them", command,
                                        quorlite::libraft_id_text(*found),
                                        quorlite::libraft_id_text(one.id)));
        }
        found = one.id;
      }
    }
    return found.value_or(number);
  }

  [[nodiscard]] std::vector<std::string> to_be_said_on_leader() override {
    const auto engine = raft_.status();
    std::vector<std::string> lines;
    if (quorlite::libraft_number_of(engine.id) == engine.id.value) {
      return lines;
    }
    if (engine.waits && engine.namesake.value != 0) {
      lines.push_back(fmt::format(".remove {}", quorlite::libraft_id_text(engine.namesake)));
    }
    if (engine.waits) {
      lines.push_back(
          fmt::format(".add {}={}", quorlite::libraft_id_text(engine.id), asked_.address));
    }
    return lines;
  }

  [[nodiscard]] std::optional<std::string> looked_for_at() override {
    const auto engine = raft_.status();
    for (const auto& one : engine.members) {
      if (one.id == engine.id && one.address != asked_.address) {
        return one.address;
      }
    }
    return std::nullopt;
  }

  [[nodiscard]] std::error_code add(quorlite::server_id id, const std::string& address) override {
    for (const auto& one : raft_.status().members) {
      if (one.id == id && one.address != address) {
        throw usage_error(fmt::format("server {0} is a member, and the others look for it at {1}: "
                                      "start it there, or say  .remove {0}  first",
                                      quorlite::libraft_id_text(id), one.address));
      }
      if (one.address == address && one.id != id) {
        throw usage_error(fmt::format("server {} is at {}: say  .remove {}  first",
                                      quorlite::libraft_id_text(one.id), address,
                                      quorlite::libraft_id_text(one.id)));
      }
    }
    const std::error_code error = raft_.add({id, address});
    const bool tried_before = error == std::errc::invalid_argument;  // and not promoted, it may be
    return error && !tried_before ? error : raft_.promote(id);
  }
  [[nodiscard]] std::error_code remove(quorlite::server_id id) override { return raft_.remove(id); }
  [[nodiscard]] std::error_code transfer(quorlite::server_id id) override {
    return raft_.transfer(id);
  }

  [[nodiscard]] bool readmit(quorlite::server_id id) override {
    const auto engine = raft_.status();
    raft_.readmit(id);
    return std::any_of(engine.refused.begin(), engine.refused.end(),
                       [id](const auto& one) { return one.id == id; });
  }

  [[nodiscard]] std::error_code upgrade() override { return replica_.upgrade(); }

  void maintain() override { static_cast<void>(replica_.maintain()); }  // a failure: see health()

  void stop() override {
    if (replica_.leader().leading) {
      static_cast<void>(raft_.transfer(quorlite::server_id{}));  // to anyone; else they elect one
    }
    if (const std::error_code error = replica_.stop()) {
      fmt::print(stderr, "the databases are not flushed: {}; the log will bring them back\n",
                 error.message());
    }
  }

  [[nodiscard]] std::vector<std::string> databases() override {
    std::vector<std::string> names;
    for (const auto& one : replica_.databases()) {
      names.push_back(one.name);
    }
    return names;
  }

  [[nodiscard]] ordered_json status() override {
    const quorlite::leader_info info = replica_.leader();
    const quorlite::health health = replica_.health();
    const quorlite::log_position applied = replica_.applied();
    const quorlite::replica_metrics metrics = replica_.metrics();
    const auto engine = raft_.status();
    const bool has_no_room = engine.error == quorlite::errc::storage_full ||
                             engine.error == quorlite::errc::out_of_memory;
    const char* const role = health.halted  ? "halted"
                             : has_no_room  ? "away"  // until there is some
                             : engine.error ? "halted"
                             : info.leading ? "leader"
                                            : "follower";
    ordered_json all = {{"id", asked_.id},
                        {"server", quorlite::libraft_id_text(engine.id)},
                        {"address", asked_.address},
                        {"role", role},
                        {"waits", engine.waits},
                        {"leader", leader(info, engine)},
                        {"term", info.term.value},
                        {"commit_index", engine.commit_index},
                        {"applied_index", engine.applied_index},
                        {"last_index", engine.last_index},
                        {"snapshot_index", engine.snapshot_index},
                        {"position", applied.index.value},
                        {"durable_position", metrics.durable.index.value},
                        {"cluster", nullptr}};
    if (metrics.history.begins_at.value != 0) {  // the same on all servers, at one position
      const quorlite::cluster_identity& cluster = metrics.history.cluster;
      const quorlite::history_hash& hash = metrics.history_at.hash;
      all["cluster"] = fmt::format("{:016x}{:016x}", cluster.high, cluster.low);
      all["history_position"] = metrics.history_at.index.value;
      all["history"] = fmt::format("{:016x}{:016x}", hash.high, hash.low);
    }
    if (health.halted) {
      all["halted"] = fmt::format("{} ({})", health.error.message(), health.what);
    }
    if (engine.error) {
      all["engine_failed"] = engine.error.message();
    }
    if (!engine.refused.empty()) {  // servers with another history: see docs/how-to/damage.md
      ordered_json refused = ordered_json::array();
      for (const auto& one : engine.refused) {
        refused.push_back({{"server", quorlite::libraft_id_text(one.id)},
                           {"position", one.at.value},
                           {"compared", one.compared.value},
                           {"why", one.why}});
      }
      all["refused"] = std::move(refused);
    }
    if (!engine.strangers
             .empty()) {  // bring back the folder, or .remove the member, .add the other
      ordered_json strangers = ordered_json::array();
      for (const auto& one : engine.strangers) {
        strangers.push_back({{"server", quorlite::libraft_id_text(one.id)},
                             {"in_the_place_of", quorlite::libraft_id_text(one.member)}});
      }
      all["strangers"] = std::move(strangers);
    }
    if (engine.waits) {
      all["to_be_said_on_leader"] = to_be_said_on_leader();
    }
    if (const auto elsewhere = looked_for_at()) {
      all["looked_for_at"] = *elsewhere;
    }
    ordered_json servers = ordered_json::array();
    for (const auto& one : engine.members) {
      servers.push_back({{"id", quorlite::libraft_number_of(one.id)},
                         {"server", quorlite::libraft_id_text(one.id)},
                         {"address", one.address},
                         {"voter", one.voter}});
    }
    all["servers"] = std::move(servers);
    std::uint64_t bytes = 0;
    ordered_json databases = ordered_json::array();
    for (const auto& one : replica_.databases()) {
      databases.push_back({{"name", one.name},
                           {"page_size", one.page_size},
                           {"pages", one.page_count},
                           {"version", one.version.value},
                           {"hash", fmt::format("{:016x}", one.hash)},
                           {"memory_bytes", one.memory_bytes}});
      bytes += one.memory_bytes;
    }
    all["databases"] = std::move(databases);
    all["memory_bytes"] = bytes;
    all["pinned_bytes"] = metrics.pinned_bytes;  // on top of --memory-mib: --pinned-mib
    all["snapshots_ended"] = metrics.snapshots_ended;
    all["counters"] = counters();
    return all;
  }

 private:
  /// What the replica says while it starts. Later .status tells how it is.
  struct start_words {
    std::mutex mutex;
    bool closed = false;
    std::vector<std::string> lines;

    static void take(void* to, std::string_view text) {
      auto& self = *static_cast<start_words*>(to);
      const std::lock_guard lock(self.mutex);
      if (!self.closed) {
        self.lines.emplace_back(text);
      }
    }
    void close() {
      const std::lock_guard lock(mutex);
      closed = true;
    }
  };

  [[nodiscard]] static quorlite::replica_options options_of(const node_settings& asked) {
    quorlite::replica_options options;
    options.flush_bytes = asked.flush_bytes;
    options.memory_bytes = static_cast<std::size_t>(asked.memory_mib) << 20U;
    options.pinned_bytes = static_cast<std::size_t>(asked.pinned_mib) << 20U;
    options.write_set_bytes = std::clamp(asked.log_mib << 19U, options.write_set_bytes,
                                         quorlite::limits::transaction_bytes);
    return options;
  }

  /// The replica names the leader by its address.
  template <class Status>
  [[nodiscard]] ordered_json leader(const quorlite::leader_info& info, const Status& engine) const {
    if (info.leader_hint.empty() && !info.leading) {
      return nullptr;
    }
    const std::string address = info.leading ? asked_.address : info.leader_hint;
    ordered_json known = {{"id", nullptr}, {"server", nullptr}, {"address", address}};
    for (const auto& one : engine.members) {
      if (one.address == address) {
        known["id"] = quorlite::libraft_number_of(one.id);
        known["server"] = quorlite::libraft_id_text(one.id);
      }
    }
    return known;
  }

  [[nodiscard]] ordered_json counters() const {
    const quorlite::replica_metrics counted = replica_.metrics();
    const quorlite::machine_counters& machine = counted.machine;
    const quorlite::proposer_counters& own = counted.proposed;
    return {{"entries", machine.entries},
            {"transactions", machine.transactions},
            {"conflicts", machine.conflicts},
            {"malformed", machine.malformed},
            {"entry_bytes", machine.entry_bytes},
            {"page_bytes", machine.page_bytes},
            {"snapshots_taken", machine.snapshots_taken},
            {"snapshots_installed", machine.snapshots_installed},
            {"flushes", machine.flushes},
            {"proposed_transactions", own.transactions},
            {"proposed_entries", own.entries},
            {"proposed_bytes", own.entry_bytes}};
  }

  const node_settings asked_;
  start_words said_;
  Raft& raft_;
  quorlite::replica replica_;
  std::error_code failure_;
};

}  // namespace example
