/// @file
/// What one replica of a cluster went through, written down so that it can be gone through again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/consensus.hpp"
#include "quorlite/testing/test_raft.hpp"

namespace quorlite::tests {

using namespace quorlite;

using namespace quorlite::detail;

/// One thing that happens to a replica.
struct event {
  enum class kind : std::uint8_t {
    entry,    ///< apply() of `data` at `at`
    skip,     ///< skip() up to `at`
    restore,  ///< a snapshot `data` comes in and is installed; the engine stands at `at`
    flush,    ///< the application makes the state durable
    pin,      ///< a reader begins, and stays until the next `unpin`
    unpin,
    stop,  ///< a clean stop, and the next start
  };
  kind what = kind::entry;
  log_position at{};
  bytes data;
};

/// What a database is in the end.
struct expected_database {
  std::uint64_t version = 0;
  std::uint64_t page_count = 0;
  std::uint64_t hash = 0;

  friend bool operator==(const expected_database&, const expected_database&) = default;
};

struct history {
  std::string name;
  std::vector<event> events;
  log_position end;
  std::map<std::string, expected_database> databases;  ///< as the cluster says, not this replica
  bool double_write = false;
};

/// Stands between an engine and a machine, and writes down what passes.
class recording_tap final : public state_machine {
 public:
  explicit recording_tap(std::vector<event>& events) noexcept : events_(events) {}
  ~recording_tap() = default;
  void stand_before(state_machine& machine) noexcept { machine_ = &machine; }

  apply_result apply(const log_entry& entry) noexcept override {
    const apply_result said = machine_->apply(entry);
    if (said == apply_result::applied) {
      events_.push_back(
          {event::kind::entry, entry.at, bytes(entry.bytes.begin(), entry.bytes.end())});
    }
    return said;
  }
  apply_result skip(log_position upto) noexcept override {
    const apply_result said = machine_->skip(upto);
    if (said == apply_result::applied) {
      events_.push_back({event::kind::skip, upto, {}});
    }
    return said;
  }
  void leadership_changed(const leadership& now) noexcept override {
    machine_->leadership_changed(now);
  }
  result<std::unique_ptr<snapshot_reader>> take_snapshot() noexcept override {
    return machine_->take_snapshot();
  }
  apply_result install(std::unique_ptr<snapshot_stage> finished,
                       log_position at) noexcept override {
    auto& stage = static_cast<recorded_stage&>(*finished);
    const apply_result said = machine_->install(std::move(stage.inner), at);
    if (said == apply_result::applied) {
      events_.push_back({event::kind::restore, at, std::move(stage.whole)});
    }
    return said;
  }
  void settled(proposal_token which, outcome how, settle_reason why) noexcept override {
    machine_->settled(which, how, why);
  }
  result<std::unique_ptr<snapshot_stage>> begin_restore() noexcept override {
    auto inner = machine_->begin_restore();
    if (!inner) {
      return fail(inner.error());
    }
    return std::unique_ptr<snapshot_stage>(std::make_unique<recorded_stage>(std::move(*inner)));
  }
  log_position applied() const noexcept override { return machine_->applied(); }
  log_position durable() const noexcept override { return machine_->durable(); }
  base_history base() const noexcept override { return machine_->base(); }
  history_position history() const noexcept override { return machine_->history(); }
  history_match matches(log_index at, std::uint64_t low) const noexcept override {
    return machine_->matches(at, low);
  }
  std::error_code flush(log_index upto) noexcept override { return machine_->flush(upto); }

 private:
  struct recorded_stage final : snapshot_stage {
    explicit recorded_stage(std::unique_ptr<snapshot_stage> stage) noexcept
        : inner(std::move(stage)) {}
    std::error_code append(bytes_view chunk) noexcept override {
      whole.insert(whole.end(), chunk.begin(), chunk.end());
      return inner->append(chunk);
    }
    std::error_code finish() noexcept override { return inner->finish(); }

    std::unique_ptr<snapshot_stage> inner;
    bytes whole;
  };

  std::vector<event>& events_;
  state_machine* machine_ = nullptr;
};

/// The test Raft with a tap on its machine.
class tapped_raft {
 public:
  static constexpr consensus_abilities abilities = quorlite::testing::test_raft::abilities;
  using signal_type = quorlite::testing::test_raft::signal_type;

  tapped_raft(quorlite::testing::simulation& cluster, server_id self, std::vector<event>& events)
      : raft_(cluster, self), tap_(events) {}

  [[nodiscard]] std::error_code start(state_machine& machine) noexcept {
    tap_.stand_before(machine);
    return raft_.start(tap_);
  }
  void stop() noexcept { raft_.stop(); }
  void propose(term expected, proposal_token token, bytes_view entry) noexcept {
    raft_.propose(expected, token, entry);
  }
  [[nodiscard]] std::size_t max_entry_bytes() const noexcept { return raft_.max_entry_bytes(); }
  [[nodiscard]] bool wait(signal_type& signal, milliseconds limit) noexcept {
    return raft_.wait(signal, limit);
  }
  void withdraw() noexcept { raft_.withdraw(); }
  void read_barrier(proposal_token token) noexcept { raft_.read_barrier(token); }
  void transfer_leadership() noexcept { raft_.transfer_leadership(); }
  void run(background_task& task) noexcept { raft_.run(task); }
  [[nodiscard]] clock_reading now() noexcept { return raft_.now(); }
  [[nodiscard]] std::uint64_t random() noexcept { return raft_.random(); }

 private:
  quorlite::testing::test_raft raft_;
  recording_tap tap_;
};

static_assert(consensus<tapped_raft>);

}  // namespace quorlite::tests
