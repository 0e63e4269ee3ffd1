/// @file
/// The replicated state machine: the one place where committed state changes.
///
/// A leader is a follower with an opinion. Its writers put versions on the tips of the databases
/// and propose what they did; nothing of it is visible before consensus hands the entry back to
/// `apply`, which then promotes the version that is already there. Everybody else builds the same
/// version from the entry. If the office is lost, the tips are dropped; nothing that a reader saw
/// has to be undone.
///
/// **Locks.** `mutex_` guards the position, the outcomes, the proposals and the office, and orders
/// every change of committed or tip versions. It is a leaf for callers: adapters may hold their own
/// locks while they call in, and this class never calls out with it held (signals are raised under
/// it; they call nobody).
#pragma once

#include <algorithm>
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

#include "quorlite/options.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/machine/base_image.hpp"
#include "quorlite/detail/machine/captured_state.hpp"
#include "quorlite/detail/codec/entry_codec.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/machine/damage_board.hpp"
#include "quorlite/detail/machine/frame_assembly.hpp"
#include "quorlite/detail/machine/outcome_table.hpp"
#include "quorlite/detail/machine/prepared_frames.hpp"
#include "quorlite/detail/machine/proposal_table.hpp"
#include "quorlite/detail/pages/registry.hpp"
#include "quorlite/replica_status.hpp"
#include "quorlite/detail/machine/restore_target.hpp"
#include "quorlite/detail/machine/staged_restore.hpp"
#include "quorlite/storage.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

using namespace detail;  // NOLINT: until the plain parts of this class are plain

/// A version to put on the tip of one database, for a proposal.
struct tip_install {
  detail::tip_claim claim;                ///< `version`: the one to be made, base + 1
  std::vector<detail::page_block> pages;  ///< see page_store::install_tip
  std::uint64_t page_count = 0;
  std::uint64_t hash = 0;
  std::optional<detail::page_store::pin> standing;  ///< out: a pin on the new version
};

/// @tparam Codec which entries and snapshots it takes besides its own: codec/entry_codec.hpp
template <consensus Consensus, storage Storage, detail::entry_codec Codec = detail::native_codec>
class fsm final : public state_machine, private detail::damage_listener {
 public:
  using proposal_type = proposal<typename Consensus::signal_type>;
  using row = std::shared_ptr<proposal_type>;

  explicit fsm(Storage& storage, fsm_options options = {})
      : options_(options),
        databases_(options.lock_byte),
        board_(std::make_shared<detail::damage_board>(static_cast<detail::damage_listener&>(*this))),
        base_(storage, options.lock_byte, databases_.gauge(), board_),
        assembly_(options.lock_byte),
        outcomes_(options.cluster_id) {}
  ~fsm() { board_->detach(); }

  /// Finds the base in the storage. Once, before the adapter starts. Blocks.
  /// @returns errc::corrupt (health() says where), errc::malformed (another cluster's), storage
  ///   errors: do not start
  [[nodiscard]] std::error_code load();

  // ---- the lane

  verdict apply(const log_entry& entry) noexcept override {
    const lane_visit lane(in_lane_);
    {
      const std::lock_guard guard(mutex_);
      if (health_.halted) {
        return verdict::halted;
      }
      // Behind staged_up_to_ a replay touches nothing; from there on every entry counts.
      if (Consensus::abilities.contiguous && entry.at.index > staged_up_to_.next()) {
        return halt(errc::corrupt, "the engine skipped entries before", entry.at.index);
      }
      if (entry.at.index <= applied_.index) {
        stage_again(entry);
        return verdict::already;
      }
      if (entry.bytes.empty()) {
        advance(entry.at);
        return end_of_redo(verdict::applied);
      }
    }
    if constexpr (Codec::foreign) {
      if (Codec::admits(entry.bytes)) {
        return checked(apply_foreign(entry));
      }
    }
    const result<command> decoded = native::decode(entry.bytes, options_.lock_byte);
    {
      const std::lock_guard guard(mutex_);
      if (!decoded) {
        return end_of_redo(undecodable(entry, decoded.error()));
      }
      assembly_.overtake(decoded->id.term);
    }
    return checked(std::visit([&](const auto& body) { return carry_out(entry, decoded->id, body); },
                              decoded->body));
  }

  verdict skip(log_position upto) noexcept override {
    const lane_visit lane(in_lane_);
    const std::lock_guard guard(mutex_);
    if (health_.halted) {
      return verdict::halted;
    }
    if (upto.index <= applied_.index) {
      staged_up_to_ = staged_up_to_ < upto.index ? upto.index : staged_up_to_;
      return verdict::already;
    }
    advance(upto);
    return end_of_redo(verdict::applied);
  }

  void leadership_changed(const leadership& now) noexcept override;
  [[nodiscard]] result<std::unique_ptr<snapshot_reader>> take_snapshot() noexcept override;
  /// The present state in the foreign format. That tells neither versions, outcomes nor the term,
  /// so it is for a cluster of its own: all of its members start from it. Otherwise used as
  /// take_snapshot().
  /// @returns errc::unsupported: the policy has none, or a transaction waits for its commit (try
  ///   later)
  [[nodiscard]] result<std::unique_ptr<snapshot_reader>> take_foreign_snapshot() noexcept;
  verdict install(std::unique_ptr<snapshot_stage> finished,
                  log_position engine_at) noexcept override;

  // ---- any thread

  void settled(proposal_token which, outcome how, reason why) noexcept override;
  [[nodiscard]] result<std::unique_ptr<snapshot_stage>> begin_restore() noexcept override;

  [[nodiscard]] log_position applied() const noexcept override {
    const std::lock_guard guard(mutex_);
    return applied_;
  }
  [[nodiscard]] log_position durable() const noexcept override {
    const std::lock_guard guard(mutex_);
    return durable_;
  }

  [[nodiscard]] std::error_code flush(log_index upto) noexcept override;

  /// Flushes, if so much is dirty that more would not fit into the memory. Blocks on the storage;
  /// for threads that are about to make more. @returns as flush()
  [[nodiscard]] std::error_code relieve() noexcept {
    if (databases_.gauge()->dirty_bytes() <= options_.memory_bytes / 2) {
      return {};
    }
    return flush_now(log_index{~std::uint64_t{0}}, options_.memory_bytes / 2);
  }
  /// The memory of all pages.
  [[nodiscard]] const detail::memory_gauge& memory() const noexcept { return *databases_.gauge(); }
  /// True from a start on a base that a crash left between two positions until the log has been
  /// replayed to the later one: pages mean nothing so long.
  [[nodiscard]] bool is_redoing() const noexcept {
    const std::lock_guard guard(mutex_);
    return redo_until_.value != 0;
  }

  // ---- for the proposer: application threads

  [[nodiscard]] detail::registry& databases() noexcept { return databases_; }
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
  [[nodiscard]] result<transaction_id> next_id(term expected);

  /// Puts the versions on the tips and the row into the table, together, before propose() is
  /// called.
  /// @param entries of the transaction; their tokens are consecutive from the one returned
  /// @returns errc::not_leader, stale_term, halted: nothing was changed
  [[nodiscard]] result<proposal_token> enter(const row& proposed, std::span<tip_install> installs,
                                             std::uint32_t entries);

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
    quorlite::detail::answer answer = answer::waiting;
    reason why = reason::none;
    log_position at;
  };
  [[nodiscard]] conclusion conclude(const row& proposed) const {
    const std::lock_guard guard(mutex_);
    return {proposed->answer, proposed->why, proposed->at};
  }

  /// What is known of a transaction by its id. Exact on a replica that has applied an entry of a
  /// later term.
  [[nodiscard]] transaction_fate fate_of(transaction_id id) const;

  /// True if nothing of ours waits for consensus on this database.
  [[nodiscard]] bool quiet(const database& target) const {
    const std::shared_ptr<detail::page_store> store = target.store();
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

  /// What an entry did, unless it was the last of a redo and the pages are wrong all the same.
  verdict checked(verdict said) {
    const std::lock_guard guard(mutex_);
    return end_of_redo(said);
  }
  verdict carry_out(const log_entry& entry, transaction_id id, const detail::frames_command& frames);
  verdict commit(const log_entry& entry, transaction_id id, const detail::assembled_transaction& whole);
  verdict carry_out(const log_entry& entry, transaction_id id, const detail::open_command& open);
  verdict carry_out(const log_entry& entry, transaction_id id, const detail::drop_command& drop);
  verdict carry_out(const log_entry& entry, transaction_id id, const detail::undo_command& undo);
  verdict carry_out(const log_entry& entry, transaction_id id, const detail::checkpoint_command&) {
    const std::lock_guard guard(mutex_);
    return done(entry, id);
  }
  verdict carry_out(const log_entry& entry, transaction_id id, const detail::barrier_command&) {
    const std::lock_guard guard(mutex_);
    return done(entry, id);
  }
  [[nodiscard]] result<detail::prepared_frames> prepare(const detail::database_frames& frames, bool redo) const;

  // ---- entries of a foreign format

  verdict apply_foreign(const log_entry& entry);
  verdict carry_out_foreign(const log_entry& entry, const detail::foreign_frames& frames);
  verdict carry_out_foreign(const log_entry& entry, const detail::open_command& open) {
    return carry_out(entry, {}, open);
  }
  verdict carry_out_foreign(const log_entry& entry, const detail::foreign_undo& undo);
  verdict carry_out_foreign(const log_entry& entry, const detail::checkpoint_command& checkpoint);
  verdict carry_out_foreign(const log_entry& entry, const detail::foreign_mark&) {
    const std::lock_guard guard(mutex_);
    return done(entry, {});
  }
  verdict carry_out_foreign(const log_entry& entry, const detail::foreign_nothing&) {
    const std::lock_guard guard(mutex_);
    return done(entry, {});
  }
  [[nodiscard]] std::error_code take_foreign(const log_entry& entry, const detail::foreign_frames& frames);
  void stage_foreign_again(const log_entry& entry);

  // ---- with mutex_ held. What an entry changes and the position move in one hold of it.

  verdict done(const log_entry& entry, transaction_id id);
  verdict committed(const log_entry& entry, transaction_id id);
  verdict refuse(const log_entry& entry, transaction_id id, std::error_code why);
  verdict undecodable(const log_entry& entry, std::error_code why);
  bool promote_claims(const proposal_type& own, const detail::assembled_transaction& whole);
  void stage_again(const log_entry& entry);
  void advance(log_position to);
  verdict end_of_redo(verdict said);
  void drop_tips();
  void drop_claims(const proposal_type& lost);
  verdict halt(errc why, const std::string& what, log_index at);
  /// @param replaced out: freed after mutex_, for that takes a while
  void swap_in(detail::restored_state state, std::vector<std::shared_ptr<detail::page_store>>& replaced);
  [[nodiscard]] detail::captured_state capture() const;
  [[nodiscard]] result<detail::captured_state> capture_whole();  // takes mutex_ itself
  void on_damage(const std::string& database, page_number number,
                 std::error_code why) noexcept override;
  /// @param unless_dirty no flush if less than this is dirty by the time that others are done
  [[nodiscard]] std::error_code flush_now(log_index upto, std::size_t unless_dirty) noexcept;
  void evict();
  /// What is staged came with a snapshot, or a replay would stage what was refused here: until it
  /// ends, no base may say that the log brings it again.
  [[nodiscard]] bool replay_would_differ() const;
  [[nodiscard]] std::error_code may_propose(term expected) const;
  [[nodiscard]] static log_position position_to_replay_after(log_position at,
                                                             log_index replay_from) noexcept {
    return replay_from == at.index ? at : log_position{replay_from, {}};
  }

  const fsm_options options_;
  detail::registry databases_;
  std::atomic<bool> in_lane_{false};
  std::shared_ptr<detail::damage_board> board_;
  std::mutex flush_mutex_;
  detail::base_image<Storage> base_;  // under flush_mutex_, but for begin_restore()

  mutable std::mutex mutex_;
  detail::frame_assembly assembly_;
  detail::outcome_table outcomes_;
  detail::proposal_table<typename Consensus::signal_type> proposals_;
  log_position applied_;
  log_position durable_;
  std::unique_ptr<detail::restore_target> installed_;  // the pages of a restore, for the next flush
  log_index redo_until_;                       // 0: the base stood at one position, or does again
  log_index staged_up_to_;  // entries above it, up to applied_, are replayed for what they staged
  quorlite::office office_;
  std::uint64_t next_sequence_ = 1;
  quorlite::health health_;
  machine_counters counters_;
};

}  // namespace QUORLITE_ABI
}  // namespace quorlite

#include "quorlite/detail/machine/fsm_apply.hpp"      // IWYU pragma: export
#include "quorlite/detail/legacy/fsm_foreign.hpp"    // IWYU pragma: export
#include "quorlite/detail/machine/fsm_proposals.hpp"  // IWYU pragma: export
#include "quorlite/detail/machine/fsm_state.hpp"      // IWYU pragma: export
