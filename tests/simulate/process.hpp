// One process of a server: the replica as it is in production, over the test Raft, watched.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "history.hpp"
#include "plan.hpp"
#include "quorlite/detail/file_storage/basic_file_storage.hpp"
#include "quorlite/replica.hpp"
#include "quorlite/storage/memory.hpp"
#include "quorlite/testing/faulty_disk.hpp"
#include "quorlite/testing/test_raft.hpp"

namespace simulate {

using quorlite::log_position;
using quorlite::milliseconds;
using quorlite::server_id;

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

[[nodiscard]] inline std::string text_of(const content& of) {
  std::string text = "{";
  for (const auto& [name, state] : of) {
    text += name + " v" + std::to_string(state.version) + " " + std::to_string(state.page_count) +
            " pages, hash " + std::to_string(state.hash) + "; ";
  }
  return text + "}";
}

/// Told of everything that moves a machine.
class watcher {
 public:
  virtual ~watcher() = default;
  /// Behind each call of the strand that moved the machine of `server`.
  virtual void moved(server_id server, log_position to) = 0;
  virtual void installed(server_id server, log_position to) = 0;
};

/// Between the engine and the machine: hands everything on, and tells what happened.
class watched_machine final : public quorlite::state_machine {
 public:
  watched_machine(server_id self, watcher& watching) : self_(self), watcher_(watching) {}
  void stand_before(quorlite::state_machine& real) noexcept { real_ = &real; }

  quorlite::apply_result apply(const quorlite::log_entry& entry) noexcept override {
    return told(real_->apply(entry));
  }
  quorlite::apply_result skip(log_position upto) noexcept override {
    return told(real_->skip(upto));
  }
  void leadership_changed(const quorlite::leadership& now) noexcept override {
    real_->leadership_changed(now);
  }
  quorlite::result<std::unique_ptr<quorlite::snapshot_reader>> take_snapshot() noexcept override {
    return real_->take_snapshot();
  }
  quorlite::apply_result install(std::unique_ptr<quorlite::snapshot_stage> finished,
                                 log_position engine_at) noexcept override {
    const quorlite::apply_result said = real_->install(std::move(finished), engine_at);
    if (said == quorlite::apply_result::applied) {
      watcher_.installed(self_, real_->applied());
    }
    return told(said);
  }
  void settled(quorlite::proposal_token which, quorlite::outcome how,
               quorlite::settle_reason why) noexcept override {
    real_->settled(which, how, why);
  }
  quorlite::result<std::unique_ptr<quorlite::snapshot_stage>> begin_restore() noexcept override {
    return real_->begin_restore();
  }
  log_position applied() const noexcept override { return real_->applied(); }
  log_position durable() const noexcept override { return real_->durable(); }
  std::error_code flush(quorlite::log_index upto) noexcept override { return real_->flush(upto); }

 private:
  quorlite::apply_result told(quorlite::apply_result said) {
    if (said == quorlite::apply_result::applied) {
      watcher_.moved(self_, real_->applied());
    }
    return said;
  }

  server_id self_;
  watcher& watcher_;
  quorlite::state_machine* real_ = nullptr;
};

/// The test Raft's adapter with the watched machine in between.
class watched_raft {
 public:
  static constexpr quorlite::consensus_abilities abilities =
      quorlite::testing::test_raft::abilities;
  using signal_type = quorlite::testing::test_raft::signal_type;

  watched_raft(quorlite::testing::simulation& world, server_id self, watcher& watching)
      : raft_(world, self), machine_(self, watching) {}

  [[nodiscard]] std::error_code start(quorlite::state_machine& machine) noexcept {
    machine_.stand_before(machine);
    return raft_.start(machine_);
  }
  void stop() noexcept { raft_.stop(); }
  void propose(quorlite::term expected, quorlite::proposal_token token,
               quorlite::bytes_view entry) noexcept {
    raft_.propose(expected, token, entry);
  }
  [[nodiscard]] std::size_t max_entry_bytes() const noexcept { return raft_.max_entry_bytes(); }
  [[nodiscard]] bool wait(signal_type& signal, milliseconds limit) noexcept {
    return raft_.wait(signal, limit);
  }
  void read_barrier(quorlite::proposal_token token) noexcept { raft_.read_barrier(token); }
  void transfer_leadership() noexcept { raft_.transfer_leadership(); }
  void run(quorlite::background_task& task) noexcept { raft_.run(task); }
  [[nodiscard]] quorlite::clock_reading now() noexcept { return raft_.now(); }
  [[nodiscard]] std::uint64_t random() noexcept { return raft_.random(); }

 private:
  quorlite::testing::test_raft raft_;
  watched_machine machine_;
};
static_assert(quorlite::consensus<watched_raft>);

/// What runs on a server between a start and a crash. Its connections may outlive it.
class process {
 public:
  /// @param storage the replica's own; its type is forgotten
  template <class Storage>
  process(quorlite::testing::simulation& world, server_id self, watcher& watching,
          std::shared_ptr<Storage> storage, const quorlite::replica_options& options)
      : storage_(storage), raft_(world, self, watching) {
    if (auto started = quorlite::replica::start(raft_, *storage, options)) {
      replica_ = std::move(*started);
    } else {
      why_not_ = started.error();
    }
  }
  process(const process&) = delete;
  process& operator=(const process&) = delete;

  /// Why it does not run, if so.
  [[nodiscard]] std::error_code status() const noexcept { return why_not_; }
  [[nodiscard]] quorlite::replica& replica() noexcept { return replica_; }

  [[nodiscard]] simulate::content content() const {
    simulate::content all;
    for (quorlite::database_status& one : replica_.databases()) {
      all.emplace(std::move(one.name),
                  database_content{one.version.value, one.page_count, one.hash, one.page_size});
    }
    return all;
  }

 private:
  std::shared_ptr<void> storage_;
  watched_raft raft_;
  quorlite::replica replica_;
  std::error_code why_not_;
};

}  // namespace simulate
