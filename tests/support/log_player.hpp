// A Raft of one server whose log is a list that was read from a file, or is to be written to one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/adapter_kit.hpp"
#include "quorlite/quorlite.hpp"
#include "quorlite/storage/memory.hpp"
#include "support/golden.hpp"
#include "support/started_replica.hpp"

namespace quorlite::tests {

using namespace quorlite::detail;  // NOLINT: tests of this library only

// start() installs the snapshot, if there is one, plays the entries behind it (behind what the
// machine has, if none are told at first; else they are those from 1 on), and leads then, in a term
// after all of them. What is proposed is committed before propose() returns. A copy may be started
// where the first one ended.
class log_player {
 public:
  static constexpr consensus_abilities abilities{.entry_terms = true, .contiguous = true};
  using signal_type = thread_signal;

  log_player() = default;
  explicit log_player(std::vector<golden_entry> log, bytes snapshot = {})
      : log_(std::move(log)), snapshot_(std::move(snapshot)) {}

  // So many more proposals are committed. The others are kept, and nobody is told their fate.
  std::size_t passes = std::numeric_limits<std::size_t>::max();
  std::vector<golden_entry> kept;

  [[nodiscard]] std::error_code start(state_machine& machine) noexcept {
    machine_ = &machine;
    if (!snapshot_.empty()) {
      if (const std::error_code error = install()) {
        return error;
      }
      first_ = machine.applied().index.next();
    } else if (log_.empty()) {
      first_ = machine.durable().index.next();
    }
    for (std::size_t i = 0; i < log_.size(); ++i) {
      const log_index index{first_.value + i};
      term_ = std::max(term_, log_[i].in_term);
      if (index > machine.durable().index) {
        play(index, log_[i]);
      }
    }
    lead_in(term{std::max(term_, machine.applied().term).value + 1});
    return {};
  }
  void stop() noexcept {}

  void lead_in(term now) noexcept {
    term_ = now;
    machine_->leadership_changed({term_, true, "here"});
  }

  void propose(term expected, proposal_token token, bytes_view entry) noexcept {
    golden_entry one{expected, {entry.begin(), entry.end()}};
    if (expected != term_ || withdrawn_) {
      machine_->settled(token, outcome::not_applied, settle_reason::stale_term);
    } else if (passes == 0) {
      kept.push_back(std::move(one));
      machine_->settled(token, outcome::unknown, settle_reason::leadership_lost);
    } else {
      --passes;
      append(std::move(one));
      machine_->settled(token, outcome::committed, settle_reason::none);
    }
  }
  [[nodiscard]] std::size_t max_entry_bytes() const noexcept { return std::size_t{1} << 20U; }
  [[nodiscard]] bool wait(signal_type& signal, milliseconds) noexcept {
    return signal.wait(milliseconds{0});  // what does not come at once never comes
  }

  void withdraw() noexcept { withdrawn_ = true; }

  // An entry that no proposer of this replica made.
  void append(golden_entry one) {
    log_.push_back(std::move(one));
    play(log_index{first_.value + log_.size() - 1}, log_.back());
  }
  [[nodiscard]] const std::vector<golden_entry>& log() const noexcept { return log_; }
  [[nodiscard]] term present_term() const noexcept { return term_; }

 private:
  // With the term of leadership, if that is later: the terms of a log never fall.
  void play(log_index index, const golden_entry& one) {
    const term in_term = std::max({one.in_term, machine_->applied().term});
    static_cast<void>(machine_->apply({{index, in_term}, one.content}));
  }

  [[nodiscard]] std::error_code install() noexcept {
    auto stage = machine_->begin_restore();
    if (!stage) {
      return stage.error();
    }
    if (const std::error_code error = (*stage)->append(snapshot_)) {
      return error;
    }
    if (const std::error_code error = (*stage)->finish()) {
      return error;
    }
    static_cast<void>(machine_->install(std::move(*stage), {}));
    return {};
  }

  std::vector<golden_entry> log_;
  bytes snapshot_;
  bool withdrawn_ = false;
  state_machine* machine_ = nullptr;
  log_index first_{1};
  term term_;
};

static_assert(consensus<log_player>);

// All bytes of a snapshot of the present state.
template <class Replica>
bytes snapshot_of(Replica& from) {
  auto reader = from.machine().take_snapshot();
  REQUIRE(reader.has_value());
  bytes whole(static_cast<std::size_t>((*reader)->size_bytes()));
  REQUIRE_FALSE((*reader)->read(0, whole));
  return whole;
}

// What is in a snapshot, once the entries of `kept` came as well. Every page of it is read.
inline golden_content content_of_snapshot(const bytes& snapshot,
                                          const std::vector<golden_entry>& kept = {}) {
  log_player player({}, snapshot);
  memory_storage storage;
  started_replica<log_player, memory_storage> in(player, storage);
  REQUIRE_FALSE(in.status());
  for (const golden_entry& one : kept) {
    player.append(one);
  }
  REQUIRE_FALSE(in.health().halted);
  return content_of(in);
}

}  // namespace quorlite::tests
