/// @file
/// The consensus concept: get these bytes into the log, and tell us who leads.
///
/// An adapter is a class of yours that wraps an engine. It drives one `state_machine` (ours) and
/// offers `propose`, `wait`, `withdraw` and, as far as it declares them, the abilities below. How
/// to write one: docs/how-to/consensus_adapter.md.
///
/// **The strand.** `apply`, `skip`, `leadership_changed`, `take_snapshot` and `install` of one
/// machine never overlap. The strand is a mutual exclusion, not a thread. Strand calls are short:
/// they read no storage and wait for nobody.
///
/// **One answer.** The library answers a COMMIT when it meets its own transaction in `apply`. What
/// an adapter says in `settled` is only ever bad news, so it may come before, during or after the
/// apply, or from inside `propose`.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

namespace detail {

/// A std::chrono::duration of whole numbers, each of which is a whole number of milliseconds.
template <class D>
concept whole_milliseconds = requires(const D& span) {
  typename D::period;
  requires std::integral<typename D::rep>;
  requires(D::period::num * 1000) % D::period::den == 0;
  { span.count() } -> std::same_as<typename D::rep>;
};

}  // namespace detail

/// A span of the adapter's clock. Virtual where the adapter's time is.
struct milliseconds : detail::strong_integer<milliseconds> {
  using strong_integer::strong_integer;

  /// Any duration of <chrono> that converts without loss: `std::chrono::seconds{2}`, `500ms`. A
  /// negative one is 0.
  template <detail::whole_milliseconds Duration>
  // NOLINTNEXTLINE(google-explicit-constructor): nothing is lost
  constexpr milliseconds(const Duration& span) noexcept
      : strong_integer(span.count() < 0
                           ? 0
                           : static_cast<std::uint64_t>(span.count()) *
                                 static_cast<std::uint64_t>(Duration::period::num * 1000 /
                                                            Duration::period::den)) {}
};

/// What an adapter's clock shows: two readings for two purposes, never to be mixed.
struct clock_reading {
  /// For spans: microseconds since a moment of the adapter's choice. Never goes back as long as the
  /// process lives, whatever is done to the time of day; it is what `wait` counts. Readings of two
  /// servers, or from before and after a restart, say nothing about each other
  std::uint64_t steady_us = 0;
  /// For people and SQL: microseconds since 1970-01-01T00:00Z, leap seconds not counted. May be
  /// wrong, and may jump either way
  std::uint64_t utc_us = 0;
};

/// One committed entry, handed to `state_machine::apply`.
struct log_entry {
  log_position at;   ///< term 0 where abilities.entry_terms is false
  bytes_view bytes;  ///< exactly what propose() was given; valid during the call only
};

/// What `apply`, `skip` and `install` answer.
enum class apply_result : std::uint8_t {
  applied,  ///< the machine moved (or knew the entry by other means: the same to you)
  already,  ///< at or below applied(): nothing was touched
  halted,   ///< this replica must not go on: no further strand call but the loss. See `withdraws`
};

/// What an adapter knows of a proposal's fate. In doubt: unknown.
enum class outcome : std::uint8_t {
  committed,    ///< in the log for good; the local apply came, comes, or lies in a snapshot
  not_applied,  ///< it can never be committed: safe to propose again
  unknown,      ///< it may be committed now or later
};

/// Why, for messages and metrics.
enum class settle_reason : std::uint8_t {
  none,             ///< nothing went wrong
  not_leader,       ///< this server does not lead
  stale_term,       ///< it leads, in another term than the expected one
  busy,             ///< the engine has no room now
  too_large,        ///< more than max_entry_bytes()
  leadership_lost,  ///< it led, and does not any more
  log_failed,       ///< the log could not be written
  timed_out,        ///< the engine gave up waiting
  stopped,          ///< the adapter was stopped
  no_room,          ///< this server leaves for want of room on its disk
  no_memory,        ///< the engine had no memory for it
};

/// A change of leadership, or news of who holds it.
struct leadership {
  /// Of a gain: ours, higher than that of any gain before, also before a restart; of a loss: the
  /// one that is lost; of news: the leader's
  quorlite::term term;
  /// True: propose(term, …) is open, and all entries of older terms are applied here
  bool leading = false;
  /// For redirects: opaque text, may be empty; valid during the call
  std::string_view leader_hint;
};

/// What a machine's files say of the log that they were made from; a start holds its log against
/// it. A hash of zero: it is not written down, or the history has not begun there.
struct base_history {
  history_identity begun;        ///< the history that stands here now; all zero: it has not begun
  history_position replay_from;  ///< entries behind it are needed again
  history_position at;           ///< what the files hold
  /// After a crash in a flush: how far pages may have been written, so the log must reach to there.
  /// Else as `at`
  history_position ahead;
};

/// What a machine says of the history as of an index.
enum class history_match : std::uint8_t {
  equal,      ///< the same half of the hash stands here
  differs,    ///< another one does: two histories
  not_known,  ///< above applied(), too far below it, or before the history begins: no news
};

/// The history that a snapshot contains. All zero: it has not begun there, or nobody tells.
struct snapshot_history {
  static constexpr std::size_t marks_max = 64;  ///< no snapshot has more

  history_identity begun;  ///< the term may be 0: not told
  history_position at;     ///< of the snapshot, and the hash there
  /// Hashes at fixed, older indices, which servers that are far apart can compare: ascending
  std::array<history_position, marks_max> marks{};
  std::size_t mark_count = 0;  ///< so many of `marks`, from the first one on

  friend constexpr bool operator==(const snapshot_history&,
                                   const snapshot_history&) noexcept = default;
};

/// A state of the machine, pinned. Any thread may read, several at once. Lives as long as you like,
/// beyond the machine too, but not beyond the storage, nor the start of another machine on it. It
/// holds memory.
class snapshot_reader {
 public:
  snapshot_reader() = default;
  snapshot_reader(const snapshot_reader&) = delete;
  snapshot_reader& operator=(const snapshot_reader&) = delete;
  virtual ~snapshot_reader() = default;

  /// Where the machine stood: after its last entry, skip or install, with the term that was told.
  [[nodiscard]] virtual log_position at() const noexcept = 0;
  /// All of it, in bytes. Known from the start.
  [[nodiscard]] virtual std::uint64_t size_bytes() const noexcept = 0;
  /// Fills all of `into` with the bytes from `offset` on; same offset, same bytes, for ever.
  /// @pre offset + into.size() <= size_bytes()
  /// @returns storage errors only
  [[nodiscard]] virtual std::error_code read(std::uint64_t offset, bytes_span into) noexcept = 0;
  /// The history as of at(), for a header that is judged before the content has come. The content
  /// tells it as well. All zero: none has begun.
  [[nodiscard]] virtual snapshot_history history() const noexcept { return {}; }
};

/// A restore on its way in. One thread at a time, not necessarily the strand. Destroyed unfinished:
/// abandoned, with the old state untouched.
class snapshot_stage {
 public:
  snapshot_stage() = default;
  snapshot_stage(const snapshot_stage&) = delete;
  snapshot_stage& operator=(const snapshot_stage&) = delete;
  virtual ~snapshot_stage() = default;

  /// Takes the next bytes, in order, cut anywhere. The chunk is borrowed for the call.
  /// @returns errc::corrupt, malformed, needs_upgrade, too_large or a storage error; the stage is
  /// then useless
  [[nodiscard]] virtual std::error_code append(bytes_view chunk) noexcept = 0;
  /// The last byte was given: verifies everything. Only a finished stage may be installed.
  [[nodiscard]] virtual std::error_code finish() noexcept = 0;
};

/// What the library offers to adapters. `fsm<Consensus, Storage>` implements it; adapters only ever
/// see this.
class state_machine {
 public:
  state_machine(const state_machine&) = delete;
  state_machine& operator=(const state_machine&) = delete;

  // ---- the strand: these calls never overlap each other (which thread makes them is free)

  /// A committed entry, in log order. Replays at or below applied() are `already`.
  virtual apply_result apply(const log_entry& entry) noexcept = 0;
  /// Entries up to here hold nothing for us (no-ops, configurations). Optional to call; term 0: not
  /// told.
  virtual apply_result skip(log_position upto) noexcept = 0;
  /// Leadership gained or lost, or another leader heard of (leading is false then, again). A gain
  /// is announced only after every entry of older terms was applied here.
  virtual void leadership_changed(const leadership& now) noexcept = 0;
  /// Pins the state as of applied(). O(databases).
  [[nodiscard]] virtual result<std::unique_ptr<snapshot_reader>> take_snapshot() noexcept = 0;
  /// Swaps in a finished stage. O(databases). Not durable before a flush(). `engine_at`: where the
  /// engine says it stands; index 0: not told.
  virtual apply_result install(std::unique_ptr<snapshot_stage> finished,
                               log_position engine_at) noexcept = 0;

  // ---- any thread, at any time between start and stop, also from inside propose() and the strand

  /// The fate of a proposal, once per token. `committed` may come before or after the apply.
  virtual void settled(proposal_token token, outcome answer, settle_reason reason) noexcept = 0;
  /// Starts a restore beside the current state.
  [[nodiscard]] virtual result<std::unique_ptr<snapshot_stage>> begin_restore() noexcept = 0;
  /// The last entry, skip or snapshot that the state contains.
  [[nodiscard]] virtual log_position applied() const noexcept = 0;
  /// Replay after a restart may start after this entry; the log must be kept above it. Rely on the
  /// index alone: the term is 0 where it is not known, while parts of a transaction wait for the
  /// rest.
  [[nodiscard]] virtual log_position durable() const noexcept = 0;

  // ---- the same threads and times, for engines that compare histories before they acknowledge or
  // start. Copies, made under a short lock. The defaults know nothing: machines of tests have none

  /// Of the base as it was loaded or flushed last; the identity is that of now.
  [[nodiscard]] virtual base_history base() const noexcept { return {}; }
  /// How far the log was brought, again or for the first time, and the history there: applied(),
  /// but for a replay, which comes behind. A hash of zero: it is not known yet, or has not begun.
  [[nodiscard]] virtual history_position history() const noexcept { return {}; }
  /// Compares with the history as of `at`, the last hashed entry at or below it.
  /// @param low the low half of what another one has there: a witness, or a snapshot's
  [[nodiscard]] virtual history_match matches(log_index /*at*/,
                                              std::uint64_t /*low*/) const noexcept {
    return history_match::not_known;
  }

  // ---- any thread but the strand; blocks on the storage

  /// Makes the state durable at least up to `upto` (or as far as it is applied), but for parts of a
  /// transaction that wait for the rest: durable() says how far. One at a time; others wait.
  /// @returns nothing: so much is durable, or nothing was due. errc::storage_full or out_of_memory:
  ///   nothing is lost, try again later. errc::storage_broken or corrupt: the replica has halted
  ///   with it. errc::halted: it had halted before
  [[nodiscard]] virtual std::error_code flush(log_index upto) noexcept = 0;

 protected:
  state_machine() = default;
  ~state_machine() = default;
};

/// Work that the library wants done off the strand. The library owns it and keeps it alive until
/// run() has returned.
class background_task {
 public:
  background_task() = default;
  background_task(const background_task&) = delete;
  background_task& operator=(const background_task&) = delete;
  /// Does it. Once, on any thread but the strand; blocks.
  virtual void run() noexcept = 0;

 protected:
  ~background_task() = default;
};

/// What an adapter declares, and is then held to at compile time. Name it `abilities`, static
/// constexpr.
struct consensus_abilities {
  /// apply() carries true terms: an unknown outcome can become "not applied"
  bool entry_terms = false;
  bool contiguous = false;  ///< apply, skip and install together cover every index: a hole halts us
  bool read_barrier = false;         ///< linearizable reads without a log entry
  bool leadership_transfer = false;  ///< hand over to anyone fit
  /// Runs the library's flushes; else the application calls maintain()
  bool background_work = false;
  /// A clock for the library, and for SQL; else SQL asks the VFS below, and the library none
  bool now = false;
  bool random = false;  ///< random numbers for the library; else the VFS below is asked
};

/// Has `abilities`, as a constant.
template <class C>
concept declares_abilities = requires {
  { C::abilities } -> std::same_as<const consensus_abilities&>;
  typename std::bool_constant<C::abilities.read_barrier>;  // it must be a constant expression
};

/// C1 `start`: from here on the adapter may call the machine (also from inside start). An error:
/// nothing was called and nothing will be. Another machine may be started after a stop; an adapter
/// that cannot says an error.
///
/// C2 `stop`: on return no call into the machine runs or will run, every unsettled proposal was
/// settled, and a loss was announced if it was leading. Other members may be called at the same
/// time, and later: a proposal that comes too late is settled not_applied.
template <class C>
concept runs_a_state_machine = requires(C& consensus, state_machine& machine) {
  { consensus.start(machine) }
  noexcept->std::same_as<std::error_code>;
  { consensus.stop() }
  noexcept->std::same_as<void>;
};

/// C3 `propose`: fenced by term, never blocks on a quorum, copies or consumes the bytes before it
/// returns. Any thread, several at once. May call back (settled, even apply) before it returns.
/// Every call is settled once.
///
/// C4 `max_entry_bytes`: constant between start and stop; a larger proposal is settled too_large.
/// At least the largest page of a database and 1 KiB: a page is never cut up, and a COMMIT that
/// writes one which fits in no entry is refused as too large.
template <class C>
concept proposes = requires(C& consensus, const C& view, term expected, proposal_token token,
                            bytes_view entry) {
  { consensus.propose(expected, token, entry) }
  noexcept->std::same_as<void>;
  { view.max_entry_bytes() }
  noexcept->std::same_as<std::size_t>;
};

/// A flag that one thread raises and others wait for. raise() from any thread, also from the
/// strand; sticky.
template <class S>
concept raisable_signal = std::default_initializable<S> && std::destructible<S> &&
    requires(S& signal) {
  { signal.raise() }
  noexcept->std::same_as<void>;
};

/// C5 `wait`: true once the signal is raised, false after `limit` of the adapter's clock. A
/// threaded adapter blocks the caller, a deterministic one runs its simulation meanwhile. Called
/// with no lock of the library held. Behind a stop it may give false before the limit; an engine
/// whose callers take turns on one thread lets the others have theirs even then, for some calls
/// must go on waiting: for who runs their part of a group.
template <class C>
concept waits = raisable_signal<typename C::signal_type> &&
    requires(C& consensus, typename C::signal_type& signal, milliseconds limit) {
  { consensus.wait(signal, limit) }
  noexcept->std::same_as<bool>;
};

/// C6 `withdraw`: the machine has halted, for whatever reason. This server is to give up leadership
/// and to take no further part (no vote, no acknowledgement, no entry) until another start().
///
/// Any thread, at any time between start and stop, several at once, again and again: the second
/// call changes nothing, nor does one after the stop. It comes from inside calls into the machine,
/// and so from inside start(), propose(), background tasks, the strand; the machine's lock is free
/// then, but other locks of the library, and yours, may be held by the caller. So it returns at
/// once: it waits for nobody and takes no lock that you hold while you call the machine. Of the
/// machine it may call settled(), and leadership_changed() if no strand call is under way. What
/// takes longer is done by the engine afterwards:
///
/// - From its return on proposals and barriers are settled not_applied, not_leader.
/// - The loss is announced, and no gain comes after it. Strand calls that were on their way are
///   answered `halted`.
/// - A leader hands over first, if somebody can take over, for an election timeout at most; but not
///   where the machine answered an entry with `halted`, for that entry may be damaged in its log,
///   which it is not to send on. Then the engine falls silent. So another server leads within about
///   two election timeouts, if a majority is left.
/// - What had been proposed is settled as ever: committed or not_applied where that is certain,
///   else unknown. (COMMITs that wait have been answered: unknown.)
/// - Tasks are run, and stop() works, as before; wait() may do as behind a stop.
template <class C>
concept withdraws = requires(C& consensus) {
  { consensus.withdraw() }
  noexcept->std::same_as<void>;
};

/// Settled `committed`: everything committed before the call is applied here.
template <class C>
concept reads_behind_a_barrier = requires(C& consensus, proposal_token token) {
  { consensus.read_barrier(token) }
  noexcept->std::same_as<void>;
};

/// Best effort, no answer: the announced loss is the answer.
template <class C>
concept transfers_leadership = requires(C& consensus) {
  { consensus.transfer_leadership() }
  noexcept->std::same_as<void>;
};

/// Runs the task exactly once, off the strand, before stop() returns.
template <class C>
concept works_in_the_background = requires(C& consensus, background_task& task) {
  { consensus.run(task) }
  noexcept->std::same_as<void>;
};

/// What the clock shows. Any thread, also from the strand; at any time from the construction on,
/// before start() and after stop() too. Waits for nobody and calls nobody back, SQLite neither.
template <class C>
concept tells_the_time = requires(C& consensus) {
  { consensus.now() }
  noexcept->std::same_as<clock_reading>;
};

/// 64 bits that nobody can foretell: no two draws are alike, of one server or of two, before or
/// after a restart. In a simulation a function of its seed, of the server and of how often it was
/// started. Threads and times as for now().
template <class C>
concept draws_random_numbers = requires(C& consensus) {
  { consensus.random() }
  noexcept->std::same_as<std::uint64_t>;
};

/// Optional, and no ability: why the engine gave up, if it did; health() shows it. Any thread, also
/// after stop().
template <class C>
concept tells_why_it_gave_up = requires(const C& view) {
  { view.engine_error() }
  noexcept->std::same_as<std::error_code>;
};

/// Optional, and no ability: an engine that takes no part while this server has no room, and comes
/// back by itself. Any thread between start and stop.
///
/// `leave`: neither memory nor the storage has room for what comes. As a withdrawal, but the
/// machine goes on: entries that come before the engine has left are applied, and what waits is
/// answered by them. A leader hands over first. engine_error() tells `why` from then on.
///
/// `come_back`: asked now and then while engine_error() is errc::storage_full or out_of_memory,
/// whether the engine left because it was told to or by itself. It starts again, on the machine
/// that it has: that knows all up to applied(), and answers `already` there. Blocks on the disk.
/// One at a time, and never during stop().
/// @returns nothing: it takes part again. errc::storage_full, out_of_memory, busy: not yet. Else:
///   it does not come back, and engine_error() says so
template <class C>
concept comes_back = requires(C& consensus, std::error_code why) {
  { consensus.leave(why) }
  noexcept->std::same_as<void>;
  { consensus.come_back() }
  noexcept->std::same_as<std::error_code>;
};

/// Optional, and no ability: from whom the engine takes nothing any more, for they have another
/// history, and where that showed; health() shows it. In words, for people; empty: from nobody. Any
/// thread, also after stop().
template <class C>
concept tells_whom_it_refuses = requires(const C& view) {
  { view.refused_peers() } -> std::same_as<std::string>;
};

/// Optional, and no ability: whether this server was told to found its cluster, as
/// replica_options::found says for engines that are not asked. Any thread, after start().
template <class C>
concept tells_whether_it_founds = requires(const C& view) {
  { view.founds() }
  noexcept->std::same_as<bool>;
};

/// How much one transaction may take of an engine's log.
struct transaction_limit {
  std::uint64_t bytes = ~std::uint64_t{0};  ///< of all its entries together
  const char* option = "";                  ///< what sets it, for people; never freed
};

/// Optional, and no ability: a larger transaction is refused before its first entry is proposed.
/// Constant between start and stop. An engine without it has room for any, or makes some: the parts
/// of a transaction that it settles busy inside propose() are proposed again until they are taken.
template <class C>
concept limits_a_transaction = requires(const C& view) {
  { view.largest_transaction() }
  noexcept->std::same_as<transaction_limit>;
};

// ---- an ability and its member go together: each has a name of its own, for the compiler to say

/// True if the ability is not declared, or the member is there.
template <class C>
concept read_barrier_has_its_member = !C::abilities.read_barrier || reads_behind_a_barrier<C>;
/// True if the ability is not declared, or the member is there.
template <class C>
concept leadership_transfer_has_its_member =
    !C::abilities.leadership_transfer || transfers_leadership<C>;
/// True if the ability is not declared, or the member is there.
template <class C>
concept background_work_has_its_member =
    !C::abilities.background_work || works_in_the_background<C>;
/// True if the ability is not declared, or the member is there.
template <class C>
concept now_has_its_member = !C::abilities.now || tells_the_time<C>;
/// True if the ability is not declared, or the member is there.
template <class C>
concept random_has_its_member = !C::abilities.random || draws_random_numbers<C>;

/// A member named read_barrier that no ability declares would never be called.
template <class C>
concept read_barrier_is_declared =
    C::abilities.read_barrier || !requires(C & consensus, proposal_token token) {
  consensus.read_barrier(token);
};
/// The same for transfer_leadership.
template <class C>
concept leadership_transfer_is_declared =
    C::abilities.leadership_transfer || !requires(C & consensus) {
  consensus.transfer_leadership();
};
/// The same for run.
template <class C>
concept background_work_is_declared =
    C::abilities.background_work || !requires(C & consensus, background_task& task) {
  consensus.run(task);
};
/// The same for now.
template <class C>
concept now_is_declared = C::abilities.now || !requires(C & consensus) {
  consensus.now();
};
/// The same for random.
template <class C>
concept random_is_declared = C::abilities.random || !requires(C & consensus) {
  consensus.random();
};

/// An engine_error that is not as tells_why_it_gave_up wants it would never be called.
template <class C>
concept engine_error_fits = tells_why_it_gave_up<C> || !requires(C & consensus) {
  consensus.engine_error();
};
/// A leave, or a come_back, that is not as comes_back wants it, or alone, would never be called.
template <class C>
concept come_back_fits = comes_back<C> ||(
    !requires(C & consensus, std::error_code why) { consensus.leave(why); } &&
    !requires(C & consensus) { consensus.come_back(); });
/// The same for refused_peers.
template <class C>
concept refused_peers_fits = tells_whom_it_refuses<C> || !requires(C & consensus) {
  consensus.refused_peers();
};
/// The same for founds.
template <class C>
concept founds_fits = tells_whether_it_founds<C> || !requires(C & consensus) {
  consensus.founds();
};
/// The same for largest_transaction.
template <class C>
concept largest_transaction_fits = limits_a_transaction<C> || !requires(C & consensus) {
  consensus.largest_transaction();
};

/// A consensus adapter. What the compiler cannot see (the laws P, A, L, S, W, B, T, N) is checked
/// by testing/consensus_conformance.hpp: run it on yours.
template <class C>
concept consensus = declares_abilities<C> && runs_a_state_machine<C> && proposes<C> && waits<C> &&
    withdraws<C> && read_barrier_has_its_member<C> && leadership_transfer_has_its_member<C> &&
    background_work_has_its_member<C> && now_has_its_member<C> && random_has_its_member<C> &&
    read_barrier_is_declared<C> && leadership_transfer_is_declared<C> &&
    background_work_is_declared<C> && now_is_declared<C> && random_is_declared<C> &&
    engine_error_fits<C> && come_back_fits<C> && refused_peers_fits<C> && founds_fits<C> &&
    largest_transaction_fits<C>;

}  // namespace QUORLITE_ABI
}  // namespace quorlite
