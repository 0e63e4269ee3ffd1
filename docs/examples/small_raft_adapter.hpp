/// @file
/// A whole consensus adapter for an engine with threads, elections and snapshots (small_raft.hpp),
/// written from docs/how-to/consensus_adapter.md.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "quorlite/adapter_kit.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/ids.hpp"
#include "small_raft.hpp"

namespace ql = quorlite;

class small_raft_adapter final : private small_raft::user {
 public:
  static constexpr ql::consensus_abilities abilities{.entry_terms = true,
                                                     .contiguous = true,
                                                     .leadership_transfer = true,
                                                     .background_work = true,
                                                     .now = true,
                                                     .random = true};
  using signal_type = ql::thread_signal;

  /// @param net, disk outlive it
  /// @param compact_every so many entries it compacts by itself; 0: only when told
  small_raft_adapter(std::size_t id, small_raft::network& net, small_raft::disk& disk,
                     std::uint64_t compact_every = 0)
      : name_(name_of(id)), compact_every_(compact_every), engine_(id, net, disk) {}
  ~small_raft_adapter() { stop(); }

  // [start]
  std::error_code start(ql::state_machine& machine) noexcept {
    machine_ = &machine;
    pending_.open(machine);
    strand_.open(machine, name_);
    worker_.open();
    thread_ = std::thread([this] { worker_.serve(); });
    const std::uint64_t applied = machine.durable().index.value;
    if (!strand_.halted()) {  // or it halted as it was asked: no vote may go out
      engine_.start(*this, applied);
    }
    if (strand_.halted()) {
      engine_.retire();  // it was told while it began, and has forgotten that
    }
    return {};
  }

  void stop() noexcept {
    engine_.stop();    // nothing calls us any more
    strand_.close();   // the loss
    pending_.close();  // the answers
    worker_.close();   // after the engine, whose callbacks put tasks
    if (thread_.joinable()) {
      thread_.join();
    }
    stage_.reset();  // stages and readers do not outlive the machine
    drop_readers();
  }
  // [/start]

  void propose(ql::term expected, ql::proposal_token token, ql::bytes_view entry) noexcept {
    if (!pending_.add(token)) {
      return;
    }
    ql::settle_reason refusal = strand_.refusal(expected);
    if (entry.size() > max_entry_bytes()) {
      refusal = ql::settle_reason::too_large;
    }
    if (refusal == ql::settle_reason::none) {
      if (const auto at = engine_.append(expected.value, text_of(entry))) {
        pending_.place(token, position_of(*at));
        return;
      }
      refusal = ql::settle_reason::stale_term;
    }
    pending_.settle(token, ql::outcome::not_applied, refusal);
  }

  [[nodiscard]] std::size_t max_entry_bytes() const noexcept { return std::size_t{1} << 20U; }
  bool wait(signal_type& signal, ql::milliseconds limit) noexcept { return signal.wait(limit); }
  void transfer_leadership() noexcept { engine_.hand_over(); }

  // [halted]
  /// The machine has halted. Any thread, and from inside its own calls: retire() leaves a flag.
  void withdraw() noexcept {
    strand_.withdraw();
    engine_.retire();
  }
  // [/halted]

  void run(ql::background_task& task) noexcept { worker_.put(task); }

  // [time]
  /// Two clocks: one that nobody sets, which thread_signal waits by too, and the time of day.
  [[nodiscard]] ql::clock_reading now() noexcept {
    const auto us_of = [](auto moment) {
      const auto since = std::chrono::floor<std::chrono::microseconds>(moment.time_since_epoch());
      return static_cast<std::uint64_t>(since.count());
    };
    return {.steady_us = us_of(std::chrono::steady_clock::now()),
            .utc_us = us_of(std::chrono::system_clock::now())};
  }

  /// From the system: a generator of one's own would draw again what it drew before a restart.
  [[nodiscard]] std::uint64_t random() noexcept {
    std::random_device system;
    return std::uint64_t{system()} << 32U | system();
  }
  // [/time]

  // [compact]
  /// Flush, then cut. Blocks on the storage; not from a callback of the engine.
  void compact() noexcept {
    if (!machine_->flush(machine_->applied().index)) {
      engine_.forget(machine_->durable().index.value);
    }
  }
  // [/compact]

  [[nodiscard]] small_raft::server& engine() noexcept { return engine_; }

 private:
  // ---- what the engine calls, on its thread, under its lock

  void leads(small_raft::number term) override { strand_.elected(ql::term{term}); }

  void follows(small_raft::number term, std::optional<std::size_t> leader) override {
    if (leader) {
      strand_.follows(ql::term{term}, name_of(*leader));
    } else {
      strand_.deposed();
    }
    pending_.lose();
  }

  void committed(small_raft::place at, const small_raft::entry& what) override {
    const ql::log_position position = position_of(at);
    const bool goes_on =
        go_on(what.blank ? strand_.skip(position) : strand_.apply({position, view_of(what.data)}));
    if (goes_on) {
      pending_.commit(position);
    }
    if (compact_every_ != 0 && at.index % compact_every_ == 0) {
      worker_.put(compaction_);
    }
  }

  bool go_on(ql::apply_result result) noexcept {
    if (result == ql::apply_result::halted) {
      engine_.retire();
    }
    return result != ql::apply_result::halted;
  }

  // [snapshot]
  std::unique_ptr<small_raft::snapshot_source> snapshot() override {
    auto reader = strand_.take_snapshot();
    if (!reader) {
      return nullptr;  // busy, mostly: the engine asks again
    }
    auto pinned = std::make_shared<pinned_reader>(std::move(*reader));
    readers_.push_back(pinned);
    return std::make_unique<source>(std::move(pinned));
  }

  bool receive(small_raft::number offset, const std::string& piece) override {
    if (offset == 0) {
      auto begun = machine_->begin_restore();
      stage_ = begun ? std::move(*begun) : nullptr;
    }
    if (stage_ != nullptr && stage_->append(view_of(piece))) {
      stage_.reset();
    }
    return stage_ != nullptr;
  }

  bool received(small_raft::place at) override {
    std::unique_ptr<ql::snapshot_stage> stage = std::move(stage_);
    if (stage == nullptr || stage->finish() ||
        !go_on(strand_.install(std::move(stage), position_of(at)))) {
      return false;
    }
    pending_.jump(ql::log_index{at.index});
    return !machine_->flush(ql::log_index{at.index});  // an install alone is not durable
  }
  // [/snapshot]

  /// The engine keeps a source as long as it likes; what is pinned goes with the machine.
  struct pinned_reader {
    explicit pinned_reader(std::unique_ptr<ql::snapshot_reader> pinned)
        : reader(std::move(pinned)), at(reader->at()), bytes(reader->size_bytes()) {}
    std::mutex mutex;
    std::unique_ptr<ql::snapshot_reader> reader;
    const ql::log_position at;
    const std::uint64_t bytes;
  };
  struct source final : small_raft::snapshot_source {
    explicit source(std::shared_ptr<pinned_reader> its_own) : pinned(std::move(its_own)) {}
    small_raft::place at() override { return {pinned->at.index.value, pinned->at.term.value}; }
    small_raft::number size() override { return pinned->bytes; }
    bool read(small_raft::number offset, std::string& into) override {
      const std::lock_guard guard(pinned->mutex);
      auto* const first = reinterpret_cast<std::byte*>(into.data());
      return pinned->reader != nullptr && !pinned->reader->read(offset, {first, into.size()});
    }
    std::shared_ptr<pinned_reader> pinned;
  };
  void drop_readers() {
    for (const std::weak_ptr<pinned_reader>& one : std::exchange(readers_, {})) {
      if (const std::shared_ptr<pinned_reader> kept = one.lock()) {
        const std::lock_guard guard(kept->mutex);
        kept->reader.reset();
      }
    }
  }

  struct own_task final : ql::background_task {
    own_task(small_raft_adapter& its_owner, void (small_raft_adapter::*its_work)())
        : owner(its_owner), work(its_work) {}
    void run() noexcept override { (owner.*work)(); }
    small_raft_adapter& owner;
    void (small_raft_adapter::*const work)();
  };
  void compact_now() { compact(); }

  static std::string name_of(std::size_t id) { return "server " + std::to_string(id); }
  static ql::log_position position_of(small_raft::place at) {
    return {ql::log_index{at.index}, ql::term{at.term}};
  }
  static std::string text_of(ql::bytes_view bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  static ql::bytes_view view_of(const std::string& text) {
    return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
  }

  const std::string name_;
  const std::uint64_t compact_every_;
  ql::state_machine* machine_ = nullptr;
  ql::gated_strand strand_;
  ql::pending_proposals pending_;
  ql::background_worker worker_;
  std::thread thread_;
  own_task compaction_{*this, &small_raft_adapter::compact_now};
  std::unique_ptr<ql::snapshot_stage> stage_;
  std::vector<std::weak_ptr<pinned_reader>> readers_;
  small_raft::server engine_;
};

static_assert(ql::consensus<small_raft_adapter>);
