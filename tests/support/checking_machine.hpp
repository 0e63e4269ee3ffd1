// A state machine that remembers what it was told, and a cluster of them on the test Raft.
//
// Between them they check, at every call, what the laws say: A1 (order), A2 (same bytes at the same
// index), A3 (the strand), A4 (silence after halted), A6 (skips), P1 to P5 (proposals), L1 to L4
// (leadership), S1 (no hole after a restart). What is broken is collected in record::faults.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "quorlite/testing/detail/raft/node.hpp"
#include "quorlite/testing/test_raft.hpp"

namespace quorlite::tests {

using namespace quorlite;  // NOLINT: tests of this library only

using namespace quorlite::detail;  // NOLINT: tests of this library only
using testing::simulation;
using testing::simulation_options;
using testing::test_raft;
using testing::detail::client_signal;

inline bytes text_bytes(std::string_view text) {
  const auto* const first = reinterpret_cast<const std::byte*>(text.data());
  return {first, first + text.size()};
}

// The first eight bytes of every command of these tests: its token.
inline bytes command_bytes(std::uint64_t token, std::size_t size_bytes = 8) {
  bytes command(std::max<std::size_t>(size_bytes, 8), std::byte{0x5A});
  std::memcpy(command.data(), &token, 8);
  return command;
}

struct applied_entry {
  std::uint64_t index = 0;
  std::uint64_t term = 0;
  bytes payload{};  // empty for a skip
  friend bool operator==(const applied_entry&, const applied_entry&) = default;
};

// What all machines of a cluster know together.
struct record {
  std::vector<std::string> faults;
  std::map<std::uint64_t, applied_entry> log;           // the committed log, as first applied
  std::map<std::uint64_t, std::uint64_t> gains;         // term -> server
  std::map<std::uint64_t, std::uint64_t> applied_at;    // token -> index
  std::map<std::uint64_t, outcome> settled;             // token -> answer
  std::map<std::uint64_t, std::uint64_t> proposed_for;  // token -> expected term
  std::uint64_t tokens = 0;

  void fault(std::string what) {
    if (faults.size() < 20) {
      faults.push_back(std::move(what));
    }
  }
  void settle(std::uint64_t token, outcome how) {
    if (!settled.emplace(token, how).second) {
      fault("P1: settled twice: " + std::to_string(token));
    }
    if (how == outcome::not_applied && applied_at.contains(token)) {
      fault("P3: not_applied, but applied before: " + std::to_string(token));
    }
    if (how == outcome::committed && proposed_for.contains(token) && !applied_at.contains(token)) {
      fault("P2: committed, but applied nowhere: " + std::to_string(token));
    }
  }
  void apply(const applied_entry& entry) {
    const auto [known, is_new] = log.emplace(entry.index, entry);
    if (known->second != entry) {
      fault("A2: another entry was applied at " + std::to_string(entry.index));
    }
    if (!is_new || entry.payload.empty()) {
      return;
    }
    std::uint64_t token = 0;
    std::memcpy(&token, entry.payload.data(), 8);
    if (!applied_at.emplace(token, entry.index).second) {
      fault("P2: applied at two places: " + std::to_string(token));
    }
    if (const auto answer = settled.find(token);
        answer != settled.end() && answer->second == outcome::not_applied) {
      fault("P3: applied after not_applied: " + std::to_string(token));
    }
    if (const auto term = proposed_for.find(token);
        term != proposed_for.end() && term->second != entry.term) {
      fault("P5: applied in another term than it was proposed for: " + std::to_string(token));
    }
  }
};

// What survives of a machine when its server crashes.
struct kept_state {
  std::vector<applied_entry> entries;
  std::size_t again =
      0;  // so many of the last ones must be replayed: not all that they say is kept
};

// An answer that somebody waits for.
struct pending_answer {
  client_signal signal;
  std::optional<outcome> how;
  settle_reason why = settle_reason::none;
};

class checking_machine final : public state_machine {
 public:
  checking_machine(server_id self, record& shared, kept_state& kept)
      : self_(self), record_(shared), kept_(kept), entries_(kept.entries) {}

  apply_result apply(const log_entry& entry) noexcept override {
    return take({.index = entry.at.index.value,
                 .term = entry.at.term.value,
                 .payload = bytes(entry.bytes.begin(), entry.bytes.end())});
  }
  apply_result skip(log_position upto) noexcept override {
    return take({.index = upto.index.value, .term = upto.term.value});
  }

  void leadership_changed(const leadership& now) noexcept override {
    const strand_hold hold(*this);
    if (now.leading && leading_) {
      record_.fault("L3: two gains in a row");
    }
    leading_ = now.leading;
    if (!now.leading) {
      return;
    }
    if (now.term <= gained_) {
      record_.fault("L2: a gain without a higher term");
    }
    gained_ = now.term;
    if (!record_.gains.emplace(now.term.value, self_.value).second) {
      record_.fault("L4: two gains in term " + std::to_string(now.term.value));
    }
    for (auto last = record_.log.rbegin(); last != record_.log.rend(); ++last) {
      if (last->second.term < now.term.value) {
        if (last->first > entries_.size()) {
          record_.fault("L1: a gain before entry " + std::to_string(last->first) + " is applied");
        }
        break;
      }
    }
  }

  result<std::unique_ptr<snapshot_reader>> take_snapshot() noexcept override {
    const strand_hold hold(*this);
    ++snapshots_taken;
    return std::make_unique<reader>(position(), encode(entries_));
  }

  apply_result install(std::unique_ptr<snapshot_stage> finished,
                       log_position at) noexcept override {
    const strand_hold hold(*this);
    auto& stage = static_cast<stage_of&>(*finished);
    if (!stage.is_finished) {
      record_.fault("S6: an unfinished stage was installed");
    }
    std::vector<applied_entry> arrived = decode(stage.content);
    if (arrived.size() != at.index.value) {
      record_.fault("S4: a snapshot holds other entries than its position says");
    }
    if (arrived.size() <= entries_.size()) {
      return apply_result::already;
    }
    entries_ = std::move(arrived);
    for (const applied_entry& each : entries_) {
      record_.apply(each);
    }
    kept_.entries = entries_;
    ++installs;
    return apply_result::applied;
  }

  void settled(proposal_token which, outcome how, settle_reason why) noexcept override {
    record_.settle(which.value, how);
    if (const auto found = waiting_.find(which.value); found != waiting_.end()) {
      found->second->how = how;
      found->second->why = why;
      found->second->signal.raise();
    }
  }
  result<std::unique_ptr<snapshot_stage>> begin_restore() noexcept override {
    ++stages_begun;
    if (std::exchange(refuse_stages, refuse_stages > 0 ? refuse_stages - 1 : 0) > 0) {
      return fail(errc::storage_full);
    }
    return std::make_unique<stage_of>(*this);
  }
  log_position applied() const noexcept override { return position(); }
  log_position durable() const noexcept override {
    const std::size_t count = kept_.entries.size() - std::min(kept_.again, kept_.entries.size());
    return count == 0 ? log_position{}
                      : log_position{log_index{kept_.entries[count - 1].index},
                                     term{kept_.entries[count - 1].term}};
  }
  std::error_code flush(log_index /*upto*/) noexcept override {
    kept_.entries = entries_;
    return {};
  }

  [[nodiscard]] bool leading() const noexcept { return leading_; }
  [[nodiscard]] term gained() const noexcept { return gained_; }
  [[nodiscard]] const std::vector<applied_entry>& entries() const noexcept { return entries_; }
  void expect(proposal_token token, pending_answer* answer) { waiting_[token.value] = answer; }
  void forget(proposal_token token) { waiting_.erase(token.value); }

  int snapshots_taken = 0;
  int installs = 0;
  int stages_begun = 0;
  int refuse_stages = 0;      // so many begin_restore fail
  int damage_stages = 0;      // so many finish() fail
  int replayed = 0;           // entries that came again
  std::uint64_t halt_at = 0;  // answers halted at this index

 private:
  struct strand_hold {
    explicit strand_hold(checking_machine& owner) : machine(owner) {
      if (machine.strand_.test_and_set()) {
        machine.record_.fault("A3: two calls on the strand");
      }
    }
    ~strand_hold() { machine.strand_.clear(); }
    checking_machine& machine;
  };

  class reader final : public snapshot_reader {
   public:
    reader(log_position at, bytes content) : at_(at), content_(std::move(content)) {}
    log_position at() const noexcept override { return at_; }
    std::uint64_t size_bytes() const noexcept override { return content_.size(); }
    std::error_code read(std::uint64_t offset, bytes_span into) noexcept override {
      if (!into.empty()) {
        std::memcpy(into.data(), content_.data() + offset, into.size());
      }
      return {};
    }

   private:
    log_position at_;
    bytes content_;
  };

  class stage_of final : public snapshot_stage {
   public:
    explicit stage_of(checking_machine& owner) : owner_(owner) {}
    std::error_code append(bytes_view chunk) noexcept override {
      content.insert(content.end(), chunk.begin(), chunk.end());
      return {};
    }
    std::error_code finish() noexcept override {
      if (owner_.damage_stages > 0) {
        --owner_.damage_stages;
        return make_error_code(errc::corrupt);
      }
      is_finished = true;
      return {};
    }
    bytes content;
    bool is_finished = false;

   private:
    checking_machine& owner_;
  };

  apply_result take(applied_entry entry) {
    const strand_hold hold(*this);
    if (halted_) {
      record_.fault("A4: a strand call after halted");
    }
    if (entry.index <= entries_.size()) {
      if (entries_[entry.index - 1] != entry) {
        record_.fault("A2: a replay differs at " + std::to_string(entry.index));
      }
      ++replayed;
      return apply_result::already;
    }
    if (entry.index == halt_at) {
      halted_ = true;
      return apply_result::halted;
    }
    if (entry.index != entries_.size() + 1) {
      record_.fault("A1, A6: a hole before " + std::to_string(entry.index));
    }
    if (entry.term < position().term.value) {
      record_.fault("A1: a term decreases at " + std::to_string(entry.index));
    }
    record_.apply(entry);
    entries_.push_back(std::move(entry));
    return apply_result::applied;
  }

  static log_position position_of(const std::vector<applied_entry>& entries) noexcept {
    return entries.empty()
               ? log_position{}
               : log_position{log_index{entries.back().index}, term{entries.back().term}};
  }
  [[nodiscard]] log_position position() const noexcept { return position_of(entries_); }

  static bytes encode(const std::vector<applied_entry>& entries) {
    bytes content;
    for (const applied_entry& each : entries) {
      const std::uint64_t head[3] = {each.index, each.term, each.payload.size()};
      const auto* const first = reinterpret_cast<const std::byte*>(head);
      content.insert(content.end(), first, first + sizeof head);
      content.insert(content.end(), each.payload.begin(), each.payload.end());
    }
    return content;
  }
  static std::vector<applied_entry> decode(const bytes& content) {
    std::vector<applied_entry> entries;
    for (std::size_t offset = 0; offset < content.size();) {
      std::uint64_t head[3] = {};
      std::memcpy(head, content.data() + offset, sizeof head);
      offset += sizeof head;
      const auto size = static_cast<std::size_t>(head[2]);
      const auto first = content.begin() + static_cast<std::ptrdiff_t>(offset);
      entries.push_back(
          {head[0], head[1], bytes(first, first + static_cast<std::ptrdiff_t>(size))});
      offset += size;
    }
    return entries;
  }

  server_id self_;
  record& record_;
  kept_state& kept_;
  std::vector<applied_entry> entries_;  // entry i at place i-1
  std::map<std::uint64_t, pending_answer*> waiting_;
  std::atomic_flag strand_ = ATOMIC_FLAG_INIT;
  bool leading_ = false;
  bool halted_ = false;
  term gained_;
};

// A cluster whose machines are recorded. Members are public: tests look everywhere.
class recorded_cluster {
 public:
  struct replica {
    std::unique_ptr<test_raft> raft;
    std::unique_ptr<checking_machine> machine;
    kept_state kept;
  };

  explicit recorded_cluster(const simulation_options& options = {}, bool start_all = true)
      : simulation(options), replicas(options.replicas + options.spares) {
    simulation.on_restart([this](server_id id) { start(id); });
    if (start_all) {
      for (const server_id id : simulation.servers()) {
        start(id);
      }
    }
  }
  ~recorded_cluster() { simulation.finish_clients(); }

  // Also after a crash: the old machine stays until the end, since clients may still be leaving it.
  std::error_code start(server_id id) {
    replica& each = at(id);
    if (each.raft != nullptr) {
      buried_.push_back({std::move(each.raft), std::move(each.machine), {}});
    }
    each.raft = std::make_unique<test_raft>(simulation, id);
    each.machine = std::make_unique<checking_machine>(id, shared, each.kept);
    return each.raft->start(*each.machine);
  }

  replica& at(server_id id) { return replicas[id.value - 1]; }
  checking_machine& machine(server_id id) { return *at(id).machine; }
  test_raft& raft(server_id id) { return *at(id).raft; }

  // 0: none within the limit.
  server_id elect(milliseconds limit = milliseconds{10000}) {
    simulation.run_until([this] { return simulation.leader().has_value(); }, limit);
    look_for_violation();
    return simulation.leader().value_or(server_id{});
  }

  // Proposes and returns at once.
  proposal_token propose(server_id id, term expected, std::size_t size_bytes = 8) {
    const proposal_token token{++shared.tokens};
    shared.proposed_for[token.value] = expected.value;
    raft(id).propose(expected, token, command_bytes(token.value, size_bytes));
    return token;
  }
  proposal_token propose(server_id id) { return propose(id, machine(id).gained()); }

  // Proposes and waits, as a client does. Nothing: no answer within the limit, or the server is
  // gone.
  std::optional<outcome> commit(server_id id, milliseconds limit = milliseconds{5000}) {
    test_raft& raft_then = raft(id);  // a restart meanwhile must not change whom we talk to
    checking_machine& machine_then = machine(id);
    const proposal_token token{++shared.tokens};
    const term expected = machine_then.gained();
    shared.proposed_for[token.value] = expected.value;
    pending_answer answer;
    machine_then.expect(token, &answer);
    raft_then.propose(expected, token, command_bytes(token.value));
    if (!raft_then.wait(answer.signal, limit)) {
      machine_then.forget(token);
      return std::nullopt;
    }
    machine_then.forget(token);
    return answer.how;
  }

  // Every running machine of a member has applied the same, and all that is committed.
  bool converged() {
    look_for_violation();
    const std::vector<applied_entry>* first = nullptr;
    for (const replica& each : replicas) {
      if (each.raft == nullptr || !simulation.running(each.raft->self()) ||
          !simulation.members().has(each.raft->self())) {
        continue;
      }
      if (each.machine->entries().size() != shared.log.size() ||
          (first != nullptr && *first != each.machine->entries())) {
        return false;
      }
      first = &each.machine->entries();
    }
    return first != nullptr;
  }
  bool settle_down(milliseconds limit = milliseconds{20000}) {
    return simulation.run_until(
        [this] {
          return simulation.leader() && simulation.unfinished_clients() == 0 && converged();
        },
        limit);
  }

  record shared;
  testing::simulation simulation;
  std::vector<replica> replicas;

 private:
  void look_for_violation() {
    if (simulation.violation() && !seen_violation_) {
      seen_violation_ = true;
      shared.fault(*simulation.violation());
    }
  }

  bool seen_violation_ = false;
  std::vector<replica> buried_;
};

}  // namespace quorlite::tests
