/// @file
/// The state machine of the consensus suite: it keeps every entry, checks what one server can see
/// of the laws, and tells the ledger the rest.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <system_error>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/laws/consensus_ledger.hpp"
#include "quorlite/testing/detail/laws/recorded_disk.hpp"
#include "quorlite/testing/detail/laws/recorded_state.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// In which call a machine halts by itself.
enum class halts_in : std::uint8_t {
  none,
  any_call,     ///< the first that its adapter makes, also one that only asks
  strand_call,  ///< the first on its strand
};

/// A halt that a machine comes to by itself, in a call of its adapter. Any thread.
class QUORLITE_API due_halt {
 public:
  /// @param halt called then, once
  void set(halts_in call, std::function<void()> halt);
  /// A call is there: strand_call, or any_call for others.
  void meet(halts_in call);

 private:
  std::mutex mutex_;
  halts_in due_ = halts_in::none;
  std::function<void()> halt_;
};

/// What a recording machine has of its end.
struct recorded_halt {
  bool answered = false;  ///< it said `halted`
  bool at_next = false;   ///< it will, to the next entry
  bool told = false;      ///< it halted by itself, on whatever thread
};

/// One server's machine. Any thread, as its base class says; the rest (hooks, questions) from any
/// thread too. As with a real one, what an install brought is durable after a flush only.
class QUORLITE_API recording_machine final : public state_machine {
 public:
  /// @param disk where it starts: what a former machine of this server had made durable
  recording_machine(std::size_t server, consensus_ledger& ledger, consensus_abilities abilities,
                    recorded_state disk = {}, bool restarted = false);

  // ---- the strand

  apply_result apply(const log_entry& entry) noexcept override;

  apply_result skip(log_position upto) noexcept override;

  void leadership_changed(const leadership& now) noexcept override;

  [[nodiscard]] result<std::unique_ptr<snapshot_reader>> take_snapshot() noexcept override;

  apply_result install(std::unique_ptr<snapshot_stage> finished,
                       log_position engine_at) noexcept override;

  // ---- any thread

  void settled(proposal_token which, outcome how, settle_reason why) noexcept override;
  [[nodiscard]] result<std::unique_ptr<snapshot_stage>> begin_restore() noexcept override;
  [[nodiscard]] log_position applied() const noexcept override;
  [[nodiscard]] log_position durable() const noexcept override;
  [[nodiscard]] std::error_code flush(log_index upto) noexcept override;

  // ---- for the suite

  [[nodiscard]] bool leading() const { return copy_of(leading_); }
  [[nodiscard]] quorlite::term gained() const { return copy_of(gained_); }
  [[nodiscard]] bool halted() const;
  [[nodiscard]] bool restarted() const noexcept { return restarted_; }
  [[nodiscard]] recorded_state state() const { return copy_of(state_); }
  [[nodiscard]] recorded_state stored() const;
  [[nodiscard]] bool holds(log_index index) const;
  [[nodiscard]] stage_counters& stages() noexcept { return *counters_; }

  /// Called at the end of each apply that moved the machine, on the strand. Must not call the
  /// adapter, but for now(), random() and withdraw().
  void on_apply(std::function<void(const log_entry&)> hook);
  /// The next entry is answered with `halted`.
  void halt_at_next();
  /// Halts now, also off the strand: what the strand asks next is answered with `halted`, and no
  /// gain may follow. Telling the adapter is the caller's part.
  void halt_now();
  [[nodiscard]] due_halt& own_halt() noexcept { return own_halt_; }
  /// From now on.
  void flush_in(flush_manner manner);
  [[nodiscard]] flush_manner flushes() const;
  /// Runs in the middle of each strand call that moved the machine: room for another call to
  /// overlap.
  void linger_with(std::function<void()> pause);
  /// The server was stopped or crashed: any further call is a broken law.
  void expect_silence() noexcept { gone_ = true; }

 private:
  // A3: strand calls never overlap, whatever their threads.
  struct strand_call {
    strand_call(recording_machine& owner, const char* what);
    strand_call(const strand_call&) = delete;
    strand_call& operator=(const strand_call&) = delete;
    ~strand_call();
    void linger() const;
    recording_machine& machine;
    const bool alone;
  };

  template <class T>
  T copy_of(const T& place) const {
    const std::lock_guard guard(mutex_);
    return place;
  }

  apply_result take(const log_entry& entry);
  void note_replay(log_index at);

  const std::size_t server_;
  consensus_ledger& ledger_;
  const consensus_abilities abilities_;
  const bool restarted_;
  std::shared_ptr<stage_counters> counters_ = std::make_shared<stage_counters>();
  std::atomic_flag strand_ = ATOMIC_FLAG_INIT;
  std::atomic<bool> gone_{false};
  mutable due_halt own_halt_;

  mutable std::mutex mutex_;  // of everything below
  recorded_state state_;
  recorded_disk disk_;
  bool leading_ = false;
  recorded_halt halt_;
  quorlite::term gained_;
  std::function<void(const log_entry&)> on_apply_;
  std::function<void()> linger_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/laws/recording_machine.ipp"  // IWYU pragma: keep
#endif
