/// @file
/// The consensus adapter for libraft 0.15 (Debian's libraft-dev), with a libuv loop of its own.
///
/// ```
/// libraft raft({.id = server_id{1}, .address = "127.0.0.1:7001", .directory = "/var/lib/app/raft",
///               .found = true});  // the first server, once; the others: .join = true, always
/// memory_storage storage;
/// replica node = replica::start(raft, storage).value();
/// ```
///
/// What it promises and what libraft does not: docs/how-to/consensus_adapter.md. Link with `raft`
/// and `uv`. The network between the servers must be private: libraft neither encrypts nor
/// authenticates, and trusts what it reads from a peer.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "quorlite/adapter_kit.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/libraft/boots.hpp"
#include "quorlite/detail/libraft/withdrawal.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

namespace detail {
class libraft_identity;
struct libraft_folder_facts;
struct libraft_folder_plan;
struct libraft_request;
struct libraft_server_file;
}  // namespace detail

/// One server. start() and stop() from one thread; everything else from any, at any time, but, save
/// withdraw(), never from inside a call into the machine.
class QUORLITE_API libraft {
 public:
  /// All of them.
  static constexpr consensus_abilities abilities{.entry_terms = true,
                                                 .contiguous = true,
                                                 .read_barrier = true,
                                                 .leadership_transfer = true,
                                                 .background_work = true,
                                                 .now = true,
                                                 .random = true};
  /// A follower cannot ask libraft where the leader's log ends: read_barrier() there is refused.
  static constexpr bool supports_follower_read_barrier = false;
  /// Clients are threads: each blocks in wait().
  using signal_type = thread_signal;

  /// Options are looked at by start(): id above 0, and at most libraft_number_max where a folder is
  /// new; of found, join and bootstrap one at most; heartbeat below election_timeout, both above 0;
  /// an entry fits into a segment, into in_flight_bytes and into half of log_bytes.
  explicit libraft(libraft_options options);
  libraft(const libraft&) = delete;
  libraft& operator=(const libraft&) = delete;
  ~libraft();

  /// Decides by the folder who this server is, examines the log (see check()), clears away what a
  /// power cut has left, restores the snapshot if the machine is behind it, and listens. Blocks on
  /// the disk. May be called again after stop(), with a machine that loaded what the last one
  /// flushed; then libraft_options::found was said already.
  /// @returns errc::busy: the directory is another's; errc::log_damaged, errc::log_too_short,
  ///   errc::log_starts_late, errc::needs_upgrade, errc::not_founded, errc::already_founded,
  ///   errc::another_server, errc::another_cluster, errc::copied: log_report() says where and what
  ///   can be done; errc::corrupt: the content of the snapshot is damaged; errc::diverged: the log
  ///   and the machine's files part, log_report() says where; or a cluster is to begin here, but
  ///   the machine has a history already. What was found by reading the folder has changed nothing
  ///   there; where entries had to be looked at, what log_report() calls leftovers is gone, and
  ///   segments that were open are closed, as every start does;
  ///   std::errc::invalid_argument: an address, or options that cannot be;
  ///   std::errc::address_in_use, address_not_available, or what else the system says: nobody can
  ///   be heard there, and the folder is whole; std::errc::io_error: the system does not let the
  ///   engine read or write the folder, log_report() has its words; storage errors. Of the strand,
  ///   at most install was called then.
  [[nodiscard]] std::error_code start(state_machine& machine) noexcept;

  /// What the last start() has read, before it cleared anything away. A server that did start has
  /// no defect in it, or the one that it does without: a snapshot that it makes anew. From its
  /// thread. A server that comes back (`comes_back`) reads again: so ask before the first
  /// replica::maintain().
  [[nodiscard]] const libraft_log_report& log_report() const noexcept { return report_; }

  /// Reads the folder of a server that is stopped, as start() does, and changes nothing: its log is
  /// held against itself and log_end, and then its entries against the databases, and the cluster
  /// that they name against the folder's. What hangs on libraft_options (number, address, moved) is
  /// not looked at. Blocks on the disk. Any thread. Memory: a few MiB, and one entry.
  /// @param machine loaded from the server's storage, as start() gets it: an fsm (fsm.hpp). One
  ///   without anything, where the databases are in memory
  /// @returns errc::busy: a server runs there; errc::out_of_memory; what the system says of a
  ///   folder that cannot be read. Damage, and what else a start refuses, is in the report, and so
  ///   is a file that the disk does not give
  [[nodiscard]] static result<libraft_log_report> check(const std::string& directory,
                                                        const state_machine& machine) noexcept;
  /// Reads the log alone, and no entry but its head. Else as the other one.
  /// @param files_at up to where the server's databases stand, as its machine counts; 0: not told
  [[nodiscard]] static result<libraft_log_report> check(const std::string& directory,
                                                        log_index files_at = {}) noexcept;

  /// Gives up leadership, if any, without handing it over: transfer() first where that matters.
  /// Blocks until the disk is quiet and every task has run. Idempotent. An engine that cannot close
  /// (0.15, after a write that the kernel did not take) is left after some seconds; its memory is
  /// lost, and start() says errc::busy until the process ends.
  void stop() noexcept;

  /// Whatever waits when the loop wakes up becomes one entry. Settled busy beyond in_flight_bytes,
  /// or while the log in memory is at log_bytes; a large one as soon as less than an eighth of that
  /// is left, which is for small ones.
  /// @pre started once
  void propose(term expected, proposal_token token, bytes_view entry) noexcept;

  /// As libraft_options::entry_bytes says.
  [[nodiscard]] std::size_t max_entry_bytes() const noexcept { return options_.entry_bytes; }

  /// Half of libraft_options::log_bytes. What is in the log with it, and what comes while a
  /// snapshot is written, has the other half.
  [[nodiscard]] transaction_limit largest_transaction() const noexcept;

  /// Blocks the calling thread.
  [[nodiscard]] bool wait(signal_type& signal, milliseconds limit) noexcept {
    return signal.wait(limit);
  }

  /// The server gives up: status().error is errc::halted from here on. A leader hands over first,
  /// to a voter that is up to date, for election_timeout at most. Then the engine is closed, and
  /// only stop() and another start() bring the server back.
  void withdraw() noexcept;

  /// There is no room for what comes: this server takes no part for a while. A leader hands over,
  /// what is under way is answered, within election_timeout; then the engine is closed, and
  /// engine_error() tells `why`. The machine goes on, and so do those who read it.
  void leave(std::error_code why) noexcept;
  /// The engine starts again, on the machine that it has, if it had left for want of room and there
  /// is some: libraft_options::room_bytes, or two segments, and four segments more. Tried once in
  /// an election_timeout: then a file of that size is allocated, and is gone again, for a quota may
  /// not give what the disk has. Blocks on the disk. Not while start() or stop() run.
  /// @returns nothing: it takes part again. errc::busy: it did all the time, or has not left yet;
  ///   errc::storage_full, out_of_memory: not yet; else as start(): then it does not come back
  [[nodiscard]] std::error_code come_back() noexcept;

  /// Settled like a proposal. All barriers that wait when the loop wakes up share one entry, with
  /// the proposals that wait there if there are any. On a follower: not_applied, not_leader. Busy
  /// while the log in memory is at log_bytes.
  /// @pre started once
  void read_barrier(proposal_token token) noexcept;

  /// To any voter. While it is tried, up to election_timeout, proposals are refused.
  void transfer_leadership() noexcept;

  /// On libuv's thread pool, which the log uses too: one at a time.
  void run(background_task& task) noexcept;

  /// The clocks of the computer: CLOCK_MONOTONIC, which the time of a suspended computer does not
  /// move, and CLOCK_REALTIME.
  [[nodiscard]] clock_reading now() noexcept;
  /// From the kernel (getentropy), which waits only until it has been seeded after the computer's
  /// start. A kernel that refuses ends the process: a number that came twice could harm a cluster.
  [[nodiscard]] std::uint64_t random() noexcept;

  /// Asks for a snapshot soon, and for a log that keeps almost nothing before it. On a follower it
  /// is taken at the next entry.
  void compact() noexcept;

  // ---- the cluster. On its leader; each blocks until it is committed, one at a time.
  //
  // errc::not_leader; errc::busy: another change is under way, or this server has only just begun
  // to lead (try again), or promote() and transfer() did not succeed in time; errc::stopped: not
  // started, or stopped before; errc::leadership_lost, errc::stopped_in_flight: it may happen or
  // not, see status(); std::errc::invalid_argument: no such server, or one there already.

  /// Adds a server that was started with libraft_options::join, by the id that its status() tells.
  /// It is sent nothing before it is promoted.
  [[nodiscard]] std::error_code add(const libraft_server& server);
  /// Makes it a voter, once it has caught up with the log. Already one: nothing to do.
  [[nodiscard]] std::error_code promote(server_id id);
  /// The leader may remove itself: it then gives up its leadership. A server that is gone from the
  /// cluster does not hear of it. std::errc::operation_not_permitted: it is the only voter, and
  /// without it nothing could be committed any more.
  [[nodiscard]] std::error_code remove(server_id id);
  /// Hands leadership to this voter; 0: to any.
  [[nodiscard]] std::error_code transfer(server_id id);

  /// This server listens to that one again, which it had refused (libraft_status::refused): once
  /// the right folder is back there.
  void readmit(server_id id) noexcept;
  /// What libraft_status::refused tells, in words; empty: it refuses nobody.
  [[nodiscard]] std::string refused_peers() const;
  /// Why this server gave up, if it did: status().error.
  [[nodiscard]] std::error_code engine_error() const noexcept;
  /// What this server knew when its loop last went round.
  [[nodiscard]] libraft_status status() const;
  /// Where the leader is, if that is known; else empty.
  [[nodiscard]] std::string leader_address() const;
  /// The directory of the log: a replica keeps SQLite out of there.
  [[nodiscard]] std::string_view folder() const noexcept { return options_.directory; }
  /// A cluster begins at this server, and its identity is not in the log yet. Any thread, once it
  /// was started.
  [[nodiscard]] bool founds() const noexcept { return founds_; }
  /// What it was made with.
  [[nodiscard]] const libraft_options& options() const noexcept { return options_; }

 private:
  /// Blocks until it is answered.
  [[nodiscard]] std::error_code ask(std::shared_ptr<detail::libraft_request> request);

  /// What is there, and who this server is by it. What a power cut has left is cleared away.
  [[nodiscard]] result<detail::libraft_identity> examine_folder(const state_machine& machine);
  [[nodiscard]] std::error_code read_folder(const state_machine& machine,
                                            detail::libraft_folder_facts& facts);
  [[nodiscard]] std::error_code clear_away();
  [[nodiscard]] std::error_code clear_founding(const state_machine& machine, bool has_file);
  [[nodiscard]] result<detail::libraft_server_file> settle(
      const detail::libraft_folder_plan& plan, const detail::libraft_folder_facts& facts,
      const state_machine& machine);
  [[nodiscard]] std::error_code run(detail::libraft_identity identity, state_machine& machine);

  const libraft_options options_;
  detail::libraft_boots boots_;
  detail::libraft_withdrawal withdrawal_;
  libraft_log_report report_;
  std::optional<libraft_log_defect> spoiled_;  // the snapshot, which the machine does without
  bool started_ = false;
  bool has_id_ = false;  // the folder is in use, by us
  std::atomic<bool> founds_{false};
  detail::libraft_folder_lock lock_;
};

static_assert(consensus<libraft>);

}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if defined(QUORLITE_SEPARATE_COMPILATION)
// A replica over it is compiled with it: a unit that starts one would spend half of its time on
// that, and get the same.
#include "quorlite/options.hpp"
#include "quorlite/replica.hpp"
#include "quorlite/storage/file.hpp"
#include "quorlite/storage/memory.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

extern template result<replica> replica::start(libraft& engine, file_storage& storage,
                                               const replica_options& options);
extern template result<replica> replica::start(libraft& engine, memory_storage& storage,
                                               const replica_options& options);

}  // namespace QUORLITE_ABI
}  // namespace quorlite
#endif

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/raft/libraft.ipp"  // IWYU pragma: keep
#endif
