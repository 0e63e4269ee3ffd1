// One process of a server: the replica as it is in production, over the test Raft, watched.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "history.hpp"
#include "plan.hpp"
#include "quorlite/detail/file_storage/basic_file_storage.hpp"
#include "quorlite/detail/pages/database_state.hpp"
#include "quorlite/replica.hpp"
#include "quorlite/storage/memory.hpp"
#include "quorlite/testing/faulty_disk.hpp"
#include "quorlite/testing/test_raft.hpp"

namespace simulate {

using quorlite::log_position;
using quorlite::milliseconds;
using quorlite::server_id;

/// What the databases of a replica are, by name.
using content = std::map<std::string, quorlite::detail::database_state>;

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

 private:
  quorlite::testing::test_raft raft_;
  watched_machine machine_;
};
static_assert(quorlite::consensus<watched_raft>);

/// A replica whose storage's type is forgotten.
class process {
 public:
  process() = default;
  process(const process&) = delete;
  process& operator=(const process&) = delete;
  virtual ~process() = default;

  [[nodiscard]] virtual std::error_code status() const = 0;
  [[nodiscard]] virtual quorlite::result<quorlite::connection> open(
      const std::string& name, quorlite::connection_options options) = 0;
  [[nodiscard]] virtual quorlite::write_result write(
      const std::string& name, const std::function<int(sqlite3*)>& closure) = 0;
  [[nodiscard]] virtual std::error_code read_barrier() = 0;
  [[nodiscard]] virtual quorlite::transaction_outcome outcome(quorlite::transaction_id id) = 0;
  [[nodiscard]] virtual quorlite::health health() = 0;
  [[nodiscard]] virtual quorlite::leader_info leader() = 0;
  [[nodiscard]] virtual log_position applied() = 0;
  [[nodiscard]] virtual log_position durable() = 0;
  [[nodiscard]] virtual simulate::content content() = 0;
  [[nodiscard]] virtual std::vector<quorlite::detail::page_store_usage> usage() = 0;
  virtual std::error_code maintain() = 0;
};

template <class Storage>
class process_on final : public process {
 public:
  template <class MakeStorage>
  process_on(quorlite::testing::simulation& world, server_id self, watcher& watching,
             const quorlite::replica_options& options, MakeStorage&& make)
      : storage_(make()), raft_(world, self, watching), replica_(raft_, *storage_, options) {}

  std::error_code status() const override { return replica_.status(); }
  quorlite::result<quorlite::connection> open(const std::string& name,
                                              quorlite::connection_options options) override {
    return replica_.open(name, options);
  }
  quorlite::write_result write(const std::string& name,
                               const std::function<int(sqlite3*)>& closure) override {
    return replica_.write(name, closure);
  }
  std::error_code read_barrier() override { return replica_.read_barrier(milliseconds{3000}); }
  quorlite::transaction_outcome outcome(quorlite::transaction_id id) override {
    return replica_.outcome(id);
  }
  quorlite::health health() override { return replica_.health(); }
  quorlite::leader_info leader() override { return replica_.leader(); }
  log_position applied() override { return replica_.applied(); }
  log_position durable() override { return replica_.machine().durable(); }
  simulate::content content() override {
    simulate::content all;
    for (const auto& one : replica_.databases()) {
      quorlite::detail::database_state state = one.state;
      state.version = state.counted();  // the rest of the number is the replica's own business
      state.uncounted = 0;
      all.emplace(one.name, state);
    }
    return all;
  }
  std::vector<quorlite::detail::page_store_usage> usage() override {
    std::vector<quorlite::detail::page_store_usage> all;
    for (const auto& one : replica_.databases()) {
      all.push_back(one.memory);
    }
    return all;
  }
  std::error_code maintain() override { return replica_.maintain(); }

 private:
  std::unique_ptr<Storage> storage_;
  watched_raft raft_;
  quorlite::replica<watched_raft, Storage> replica_;
};

}  // namespace simulate
