/// @file
/// The replicated state machine: the one place where committed state changes.
///
/// A leader is a follower with an opinion. Its writers put versions on the tips of the databases and propose what
/// they did; nothing of it is visible before consensus hands the entry back to `apply`, which then promotes the
/// version that is already there. Everybody else builds the same version from the entry. If the office is lost, the
/// tips are dropped; nothing that a reader saw has to be undone.
///
/// **Locks.** `mutex_` guards the position, the outcomes, the proposals and the office, and orders every change of
/// committed or tip versions. It is a leaf for callers: adapters may hold their own locks while they call in, and this
/// class never calls out with it held (signals are raised under it; they call nobody).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "quorlite/base_image.hpp"
#include "quorlite/captured_state.hpp"
#include "quorlite/codec/native.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/frame_assembly.hpp"
#include "quorlite/outcome_table.hpp"
#include "quorlite/prepared_frames.hpp"
#include "quorlite/proposal_table.hpp"
#include "quorlite/registry.hpp"
#include "quorlite/replica_status.hpp"
#include "quorlite/staged_restore.hpp"
#include "quorlite/storage.hpp"

namespace quorlite {
inline namespace v0 {

/// Settings that every replica of a cluster shares.
struct fsm_options {
  std::uint64_t cluster_id = 0;  ///< a snapshot of another cluster is refused
  std::uint64_t lock_byte = limits::lock_byte_default;
};

/// A version to put on the tip of one database, for a proposal.
struct tip_install {
  tip_claim claim;                         ///< `version`: the one to be made, base + 1
  std::vector<page_block> pages;           ///< see page_store::install_tip
  std::uint64_t page_count = 0;
  std::uint64_t hash = 0;
  std::optional<page_store::pin> standing;  ///< out: a pin on the new version
};

template <consensus Consensus, storage Storage>
class fsm final : public state_machine {
 public:
  using proposal_type = proposal<typename Consensus::signal_type>;
  using row = std::shared_ptr<proposal_type>;

  explicit fsm(Storage& storage, fsm_options options = {})
      : options_(options),
        databases_(options.lock_byte),
        base_(storage),
        assembly_(options.lock_byte),
        outcomes_(options.cluster_id) {}
  ~fsm() = default;

  /// Reads the base from the storage. Once, before the adapter starts. Blocks.
  /// @returns errc::corrupt, errc::malformed (another cluster's), storage errors: do not start
  [[nodiscard]] std::error_code load() {
    result<loaded_base> base = base_.load(options_.lock_byte);
    if (!base) {
      return base.error();
    }
    const std::lock_guard guard(mutex_);
    if (!base->found.notes.empty()) {
      result<outcome_table> outcomes = outcome_table::decode(base->found.notes);
      if (!outcomes || outcomes->cluster_id() != options_.cluster_id) {
        return outcomes ? make_error_code(errc::malformed) : outcomes.error();
      }
      outcomes_ = std::move(*outcomes);
    }
    for (std::size_t i = 0; i < base->stores.size(); ++i) {
      const auto target = databases_.find_or_make(base->found.databases[i].name);
      if (!target) {
        return target.error();
      }
      (*target)->replace_store(base->stores[i]);
      (*target)->set_exists(true);
    }
    applied_ = base->found.at;
    staged_up_to_ = base->found.replay_from;
    durable_ = base->found.replay_from == applied_.index ? applied_ : log_position{base->found.replay_from, {}};
    return {};
  }

  // ---- the lane

  verdict apply(const log_entry& entry) noexcept override {
    const lane_visit lane(in_lane_);
    {
      const std::lock_guard guard(mutex_);
      if (health_.halted) {
        return verdict::halted;
      }
      if (entry.at.index <= applied_.index) {
        stage_again(entry);
        return verdict::already;
      }
      if (Consensus::abilities.contiguous && entry.at.index != applied_.index.next()) {
        return halt(errc::corrupt, "the engine skipped entries before", entry.at.index);
      }
      if (entry.bytes.empty()) {
        advance(entry.at);
        return verdict::applied;
      }
    }
    const result<command> decoded = native::decode(entry.bytes, options_.lock_byte);
    if (!decoded) {
      const std::lock_guard guard(mutex_);
      return undecodable(entry, decoded.error());
    }
    return std::visit([&](const auto& body) { return carry_out(entry, decoded->id, body); }, decoded->body);
  }

  verdict skip(log_position upto) noexcept override {
    const lane_visit lane(in_lane_);
    const std::lock_guard guard(mutex_);
    if (health_.halted) {
      return verdict::halted;
    }
    if (upto.index <= applied_.index) {
      return verdict::already;
    }
    advance(upto);
    return verdict::applied;
  }

  void leadership_changed(const leadership& now) noexcept override {
    const lane_visit lane(in_lane_);
    const std::lock_guard guard(mutex_);
    const bool led = office_.leading;
    const term was = office_.term;
    office_.leading = now.leading && !health_.halted;
    office_.term = now.term;
    office_.leader_hint = now.leader_hint;
    if (led && !(office_.leading && was == now.term)) {
      drop_tips();
      proposals_.lose_office(was);
    }
    if (office_.leading && was != now.term) {
      next_sequence_ = 1;
    }
  }

  [[nodiscard]] result<std::unique_ptr<snapshot_reader>> take_snapshot() noexcept override {
    const lane_visit lane(in_lane_);
    const std::lock_guard guard(mutex_);
    if (health_.halted) {
      return failed(errc::halted);
    }
    ++counters_.snapshots_taken;
    return pinned_snapshot::make(capture(), options_.lock_byte);
  }

  verdict install(std::unique_ptr<snapshot_stage> finished, log_position engine_at) noexcept override {
    const lane_visit lane(in_lane_);
    auto* const stage = dynamic_cast<staged_restore*>(finished.get());
    QUORLITE_ASSERT(stage != nullptr && stage->finished_for(this));
    const std::lock_guard guard(mutex_);
    if (health_.halted) {
      return verdict::halted;
    }
    const bool newer = stage->at().index > applied_.index;
    if (newer) {
      if (!swap_in(stage->take())) {
        return halt(errc::too_many_databases, "cannot hold the databases of the snapshot at", stage->at().index);
      }
      ++counters_.snapshots_installed;
    }
    if (engine_at.index > applied_.index) {
      advance(engine_at);  // entries after the content held nothing for us
    }
    return newer ? verdict::applied : verdict::already;
  }

  // ---- any thread

  void settled(proposal_token which, outcome how, reason why) noexcept override {
    const std::lock_guard guard(mutex_);
    const row one = proposals_.take(which);
    if (one != nullptr && one->barrier) {
      proposals_.answer(one, how == outcome::committed ? answer::applied : answer::not_applied, why);
      return;
    }
    if (one == nullptr || how == outcome::committed || one->answer != answer::waiting) {
      return;  // good news is for apply to tell
    }
    if (how == outcome::not_applied) {
      drop_claims(*one);
      proposals_.answer(one, answer::not_applied, why);
    } else {
      proposals_.doubt(one, why);
    }
  }

  [[nodiscard]] result<std::unique_ptr<snapshot_stage>> begin_restore() noexcept override {
    return std::unique_ptr<snapshot_stage>(
        std::make_unique<staged_restore>(this, options_.cluster_id, options_.lock_byte));
  }

  [[nodiscard]] log_position applied() const noexcept override {
    const std::lock_guard guard(mutex_);
    return applied_;
  }
  [[nodiscard]] log_position durable() const noexcept override {
    const std::lock_guard guard(mutex_);
    return durable_;
  }

  [[nodiscard]] std::error_code flush(log_index upto) noexcept override {
    const std::lock_guard one_at_a_time(flush_mutex_);
    std::optional<captured_state> state;
    {
      const std::lock_guard guard(mutex_);
      if (health_.halted) {
        return make_error_code(errc::halted);
      }
      if (durable_.index >= upto || durable_.index == applied_.index) {
        return {};
      }
      if (assembly_.staged().any_from_snapshot()) {
        return {};  // their entries cannot be replayed: until they end, the engine's snapshot is the base
      }
      state.emplace(capture());
    }
    const std::error_code error = base_.flush(*state);
    const std::lock_guard guard(mutex_);
    if (!error) {
      ++counters_.flushes;
      durable_ = state->replay_from == state->at.index ? state->at : log_position{state->replay_from, {}};
    } else if (error != errc::storage_full) {
      halt(errc::storage_broken, "a flush failed (" + error.message() + ") at", state->at.index);
    }
    return error;
  }

  // ---- for the proposer: application threads

  [[nodiscard]] registry& databases() noexcept { return databases_; }
  [[nodiscard]] const fsm_options& options() const noexcept { return options_; }

  [[nodiscard]] quorlite::office office() const {
    const std::lock_guard guard(mutex_);
    return office_;
  }
  [[nodiscard]] quorlite::health health() const {
    const std::lock_guard guard(mutex_);
    return health_;
  }
  [[nodiscard]] machine_counters counters() const {
    const std::lock_guard guard(mutex_);
    return counters_;
  }

  /// A fresh name for a transaction of this office. @returns errc::not_leader, stale_term, halted
  [[nodiscard]] result<transaction_id> next_id(term expected) {
    const std::lock_guard guard(mutex_);
    if (const std::error_code error = may_propose(expected)) {
      return failed(error);
    }
    return transaction_id{expected, next_sequence_++};
  }

  /// Puts the versions on the tips and the row into the table, together, before propose() is called.
  /// @param entries of the transaction; their tokens are consecutive from the one returned
  /// @returns errc::not_leader, stale_term, halted: nothing was changed
  [[nodiscard]] result<proposal_token> enter(const row& proposed, std::span<tip_install> installs,
                                             std::uint32_t entries) {
    const std::lock_guard guard(mutex_);
    if (const std::error_code error = may_propose(proposed->id.term)) {
      return failed(error);
    }
    for (const tip_install& one : installs) {
      const bool fits = one.claim.target->store() == one.claim.store && one.claim.store->epoch() == one.claim.epoch &&
                        one.claim.store->tip().version.next() == one.claim.version;
      if (!fits) {
        return failed(errc::stale_term);
      }
    }
    for (tip_install& one : installs) {
      page_store& store = *one.claim.store;
      const std::error_code error = store.install_tip(one.claim.epoch, std::move(one.pages), one.page_count, one.hash);
      QUORLITE_ASSERT(!error);  // versions change under mutex_ only
      one.standing.emplace(std::move(*store.pin_version(one.claim.epoch, one.claim.version)));
      proposed->claims.push_back(one.claim);
    }
    return proposals_.add(proposed, entries);
  }

  /// A row for a read barrier of the engine.
  [[nodiscard]] proposal_token enter_barrier(const row& asked) {
    const std::lock_guard guard(mutex_);
    return proposals_.add_barrier(asked);
  }

  /// propose() has returned for every entry.
  void handed_over(const row& proposed) {
    const std::lock_guard guard(mutex_);
    proposals_.hand_over(proposed);
  }

  /// The waiter's look at its row: what it may conclude now (R7). Call it once, after the wait.
  struct conclusion {
    quorlite::answer answer = answer::waiting;
    reason why = reason::none;
    log_position at;
  };
  [[nodiscard]] conclusion conclude(const row& proposed) const {
    const std::lock_guard guard(mutex_);
    return {proposed->answer, proposed->why, proposed->at};
  }

  /// What is known of a transaction by its id. Exact on a replica that has applied an entry of a later term.
  [[nodiscard]] transaction_fate fate_of(transaction_id id) const {
    const std::lock_guard guard(mutex_);
    if (outcomes_.find(id)) {
      return transaction_fate::committed;
    }
    if (id <= outcomes_.floor()) {
      return transaction_fate::expired;
    }
    const bool overtaken = Consensus::abilities.entry_terms && id.term < applied_.term;
    return overtaken ? transaction_fate::not_committed : transaction_fate::open;
  }

  /// True if nothing of ours waits for consensus on this database.
  [[nodiscard]] bool quiet(const database& target) const {
    const std::shared_ptr<page_store> store = target.store();
    const std::lock_guard guard(mutex_);
    return store->tip().version == store->committed().version;
  }

 private:
  /// Adapters promise that lane calls never overlap; a second one is their error, not an outcome.
  class lane_visit {
   public:
    explicit lane_visit(std::atomic<bool>& busy) noexcept : busy_(busy) {
      QUORLITE_ASSERT(!busy_.exchange(true, std::memory_order_acquire));
    }
    lane_visit(const lane_visit&) = delete;
    lane_visit& operator=(const lane_visit&) = delete;
    ~lane_visit() { busy_.store(false, std::memory_order_release); }

   private:
    std::atomic<bool>& busy_;
  };

  // ---- entries. Each returns with the position moved on, unless it halts.

  verdict carry_out(const log_entry& entry, transaction_id id, const frames_command& frames);
  verdict commit(const log_entry& entry, transaction_id id, const assembled_transaction& whole);
  verdict carry_out(const log_entry& entry, transaction_id id, const open_command& open);
  verdict carry_out(const log_entry& entry, transaction_id id, const drop_command& drop);
  verdict carry_out(const log_entry& entry, transaction_id id, const undo_command& undo);
  verdict carry_out(const log_entry& entry, transaction_id id, const checkpoint_command&) { return done(entry, id); }
  verdict carry_out(const log_entry& entry, transaction_id id, const barrier_command&) { return done(entry, id); }

  verdict done(const log_entry& entry, transaction_id id);
  verdict refuse(const log_entry& entry, transaction_id id, std::error_code why);
  verdict undecodable(const log_entry& entry, std::error_code why);
  bool promote_claims(const proposal_type& own, const assembled_transaction& whole);
  void stage_again(const log_entry& entry);

  // ---- with mutex_ held

  void advance(log_position to);
  void drop_tips();
  void drop_claims(const proposal_type& lost);
  verdict halt(errc why, const std::string& what, log_index at);
  bool swap_in(restored_state state);
  [[nodiscard]] captured_state capture() const;
  [[nodiscard]] std::error_code may_propose(term expected) const;

  const fsm_options options_;
  registry databases_;
  std::atomic<bool> in_lane_{false};
  std::mutex flush_mutex_;
  base_image<Storage> base_;  // under flush_mutex_

  mutable std::mutex mutex_;
  frame_assembly assembly_;
  outcome_table outcomes_;
  proposal_table<typename Consensus::signal_type> proposals_;
  log_position applied_;
  log_position durable_;
  log_index staged_up_to_;  // entries above it, up to applied_, are replayed for what they staged
  quorlite::office office_;
  std::uint64_t next_sequence_ = 1;
  quorlite::health health_;
  machine_counters counters_;
};

}  // namespace v0
}  // namespace quorlite

#include "quorlite/fsm_apply.hpp"  // IWYU pragma: export
