/// @file
/// What adapters with threads have in common, whatever their engine is. Take what fits:
///
/// - `thread_signal`: what clients wait for, where clients are threads;
/// - `pending_proposals`: each proposal is settled once, however the engine answers;
/// - `leadership_tracker`: what the engine says of leadership, as the machine may be told it;
/// - `gated_strand`: calls of the machine that never overlap and end with `halted`; with a tracker;
/// - `background_worker`: each background task runs once, off the strand, before the stop.
///
/// Nothing here starts a thread: the calls come from threads of the engine, and background work is
/// done by a thread that the adapter brings. docs/how-to/consensus_adapter.md puts them together.
/// Each may be opened again after it was closed, so an adapter can be started after a stop.
///
/// **Locks.** Each class that is for several threads has one mutex of its own, and lets others wait
/// while it calls the machine, which calls nobody but withdraw() of the adapter. So its functions
/// may be called with locks of the engine held; nothing here calls the engine.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

/// A sticky flag with a blocking wait. Any thread may raise it, any number may wait.
class QUORLITE_API thread_signal {
 public:
  /// Lets every wait return, those that come later too. Does not block.
  void raise() noexcept;

  /// Blocks the calling thread. @returns true once raised, false after `limit`
  [[nodiscard]] bool wait(milliseconds limit) noexcept;

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool raised_ = false;
};

static_assert(raisable_signal<thread_signal>);

/// The proposals, and read barriers, that the engine has and nobody has answered. Each is settled
/// once: whoever comes second finds nothing. Any thread, several at once; no call waits for more
/// than a short lock.
///
/// Engines answer in one of two ways. Where the answer names the proposal (a callback that captured
/// the token), call settle(). Where the engine only tells an index, tell place() what it gave the
/// proposal, and commit() each entry that it commits; the two may come in either order.
class QUORLITE_API pending_proposals {
 public:
  /// In start(): from here on proposals are taken. @pre nothing is pending @param machine outlives
  /// this, or the last call
  void open(state_machine& machine) noexcept;

  /// A proposal is on its way. Before the engine hears of it: the answer may be faster than append.
  /// @returns false: it was settled not_applied (this is closed, or memory ran out: busy), and the
  ///   engine is not to hear of it
  [[nodiscard]] bool add(proposal_token token) noexcept;

  /// Settles one, unless it was settled. @returns true: this call did it
  bool settle(proposal_token token, outcome how, settle_reason why = settle_reason::none) noexcept;

  /// The engine has put it there in its log. Nothing if it was settled.
  /// @param at its term is the one that the engine wrote into the entry; 0 if it tells none, then
  ///   call lose() at each loss of leadership
  void place(proposal_token token, log_position at) noexcept;

  /// This entry, a client's or the engine's own, is in the log for good. In log order. What was
  /// placed there is `committed`; if its term is another one, `not_applied`, since an entry never
  /// moves. What was placed below it and passed over is `unknown`.
  void commit(log_position at) noexcept;

  /// A snapshot took the place of the log up to there: what was placed in it is `unknown`.
  void jump(log_index upto) noexcept;

  /// Settles all that is pending `unknown`: leadership was lost, or the log failed, and the engine
  /// will not say what becomes of them. On the strand, before a new gain can be announced.
  void lose(settle_reason why = settle_reason::leadership_lost) noexcept;

  /// In stop(): settles what is left `unknown`, and from now on refuses. On return no call of this
  /// class into the machine runs, and the only later one refuses a proposal that came too late.
  void close(settle_reason why = settle_reason::stopped) noexcept;

  /// Proposals that are not settled yet.
  [[nodiscard]] std::size_t size() const noexcept;

 private:
  struct placed_proposal {
    quorlite::term term;
    proposal_token token;
  };

  void tell(proposal_token token, outcome how, settle_reason why) noexcept;
  void settle_below(log_index limit) noexcept;
  void settle_all(settle_reason why) noexcept;
  void note_committed(log_position at) noexcept;

  mutable std::mutex mutex_;
  state_machine* machine_ = nullptr;
  bool open_ = false;
  settle_reason closed_because_ = settle_reason::stopped;
  std::unordered_map<std::uint64_t, log_index> pending_;        // by token; 0: without a place
  std::multimap<std::uint64_t, placed_proposal> places_;        // by index
  std::map<std::uint64_t, quorlite::term> committed_unplaced_;  // while some have no place
  std::size_t unplaced_ = 0;
  log_index reached_;
};

/// What an engine says of leadership, turned into what the machine may be told [L1 to L3]: a gain
/// only once every entry of older terms is applied, each in a higher term; a loss with the term
/// that is lost; another leader with its own term, once. Plain state: one thread at a time.
/// gated_strand has one; use it alone where the strand is the engine's loop.
class QUORLITE_API leadership_tracker {
 public:
  /// At start(). @param applied where the machine stands @param own_hint of gains
  void restart(log_position applied, std::string_view own_hint = {});

  /// The engine leads in `now`. The gain is due once an entry (or a skip) of that term is applied:
  /// for engines that begin a term with an entry of their own.
  /// @pre now is not 0, and no term in which this server led before, in the last process neither:
  ///   an engine that goes on in its old term after a restart must begin a new one first
  void elected(term now) noexcept;
  /// The same for engines that do not. @param behind the last index of the log at the election: the
  ///   gain is due once it is applied. 0: at once, for engines that say "leader" only then
  void elected(term now, log_index behind) noexcept;
  /// The engine does not lead any more.
  void deposed() noexcept;
  /// Another server leads, or nobody known does (`now` 0 or no hint).
  void follows(term now, std::string_view leader_hint);
  /// An entry or a skip was applied, or a snapshot installed, up to there.
  void passed(log_position at) noexcept;

  /// What is to be told next, or nothing. Ask until there is nothing: a loss comes before what
  /// follows from it. The hint is valid until the next call.
  [[nodiscard]] std::optional<leadership> next();

  /// The term of the leadership that was told and not taken back; 0: none.
  [[nodiscard]] term announced() const noexcept { return announced_; }

 private:
  [[nodiscard]] bool is_due() const noexcept;

  term announced_;
  term last_gain_;
  term elected_;  // 0: the engine does not lead
  std::optional<log_index> behind_;
  log_position passed_;
  bool news_ = false;  // of another leader
  term leader_term_;
  std::string leader_hint_;
  std::string own_hint_;
};

/// The strand of one machine: mutual exclusion for engines that call from several threads, and a
/// gate. After the machine answered `halted`, withdraw() or close(), nothing passes but the loss of
/// leadership [A3, A4]; the loss is told in the same call. Any thread, several at once; calls wait
/// for each other and for nothing else. @pre of whatever may call the machine: it was opened once.
class QUORLITE_API gated_strand {
 public:
  /// In start(), before the engine runs. @param machine outlives the last call
  /// @param own_hint what clients are told of this server while it leads, e.g. its address
  void open(state_machine& machine, std::string_view own_hint = {});

  // ---- as the machine's functions; `halted`: the gate is closed, stop the engine

  /// state_machine::apply, alone in the machine. @pre the index is not 0: entries count from 1
  apply_result apply(const log_entry& entry) noexcept;
  /// state_machine::skip, likewise. @pre the same
  apply_result skip(log_position upto) noexcept;
  /// state_machine::install, likewise.
  apply_result install(std::unique_ptr<snapshot_stage> finished, log_position engine_at) noexcept;
  /// @returns errors of the machine; errc::halted, errc::stopped: the gate is closed
  [[nodiscard]] result<std::unique_ptr<snapshot_reader>> take_snapshot() noexcept;

  // ---- as the tracker's functions; what is due is told before they return

  /// The engine leads, and every entry of older terms is applied here.
  void elected(term now) noexcept;
  /// The engine leads; the gain is announced once the entry at `behind` is applied.
  void elected(term now, log_index behind) noexcept;
  /// The engine leads no more: the loss is announced, if a gain was.
  void deposed() noexcept;
  /// The engine hears of a leader elsewhere. Ends a leadership of this server.
  void follows(term now, std::string_view leader_hint) noexcept;

  // ---- without waiting

  /// Why a proposal at `expected` is to be refused: not_leader or stale_term; none: it is not. The
  /// engine must still check the term when it appends: leadership may end in between.
  [[nodiscard]] settle_reason refusal(term expected) const noexcept;
  /// The term of the leadership that is announced; 0: none.
  [[nodiscard]] term announced() const noexcept;
  /// The machine answered `halted`, or withdraw() was called: stop the engine.
  [[nodiscard]] bool halted() const noexcept { return halted_.load(); }

  /// In withdraw(): shuts the gate for good. Also from inside a call of the machine, and with any
  /// lock held. If somebody is in the machine, the loss is told when that call returns; else here.
  void withdraw() noexcept;

  /// In stop(): announces the loss of what is announced. On return no strand call runs or will run.
  /// Idempotent.
  void close() noexcept;

 private:
  class visit;  // one at a time; the others wait

  template <class Call>
  apply_result pass(log_position upto, Call&& call) noexcept;
  template <class Change>
  void track(Change&& change) noexcept;
  void tell() noexcept;
  void shut() noexcept;
  void leave() noexcept;

  std::mutex mutex_;  // of who is in; not held while the machine is called
  std::condition_variable free_;
  bool busy_ = false;
  // of who is in
  state_machine* machine_ = nullptr;
  bool open_ = false;
  leadership_tracker tracker_;
  std::atomic<std::uint64_t> announced_{0};
  std::atomic<bool> halted_{false};
};

/// Background tasks on their way to a thread of the adapter's: each is run exactly once, before
/// stop() returns [T1].
///
/// @code
/// worker_.open();  thread_ = std::thread([this] { worker_.serve(); });   // in start()
/// worker_.close(); thread_.join();                                       // in stop()
/// @endcode
///
/// Any thread. Tasks run one after the other per thread that serves, and with no lock held.
class QUORLITE_API background_worker {
 public:
  /// In start(), before the first task: from here on tasks are kept for a thread that serves.
  void open() noexcept;

  /// Never blocks while this is open and there is memory; otherwise the task runs on the caller.
  /// Callers of `run()` are off the strand. Tasks of your own that callbacks of the engine put are
  /// not to run there: close this after the engine.
  void put(background_task& task) noexcept;

  /// The body of a thread: runs tasks as they come. @returns after close(), when none is left
  void serve() noexcept;

  /// Runs one task that waits, on the calling thread, which must be off the strand: for adapters
  /// that have a pool or a loop. @returns false: none waited
  bool run_one() noexcept;

  /// Lets serve() return. Where no thread serves, call serve() after it: it runs what is left.
  void close() noexcept;

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<background_task*> tasks_;
  bool open_ = false;
};

}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/adapter_kit.ipp"  // IWYU pragma: keep
#endif
