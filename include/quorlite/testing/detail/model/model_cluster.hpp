/// @file
/// A small honest cluster in one process: what the consensus suite itself is tested with, and, for
/// who writes an adapter, a model of all that one has to do.
///
/// There is one log for all servers; a server *holds* a prefix of it. The simulation advances in
/// steps, each the smallest thing that can happen next: an election, one entry to one server, one
/// entry applied. No chance, and no clock but that each step takes a millisecond: the same calls
/// give the same run. Whoever leads keeps leadership until it is moved, cut off or gone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "quorlite/adapter_kit.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/model/model_server.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// All servers, and their engine. What is virtual is a step that one can get wrong: the tests of
/// the suite do, one at a time, and see which law says so.
class QUORLITE_API model_cluster {
 public:
  /// @param threaded false: clients that wait make the steps; true: a thread makes them, see
  ///   model_harness.hpp
  explicit model_cluster(std::size_t servers, bool threaded = false);
  model_cluster(const model_cluster&) = delete;
  model_cluster& operator=(const model_cluster&) = delete;
  virtual ~model_cluster() = default;

  [[nodiscard]] std::size_t size() const noexcept { return servers_.size(); }
  [[nodiscard]] model_consensus& node(std::size_t server) noexcept { return nodes_[server]; }

  /// The next small event. @returns false if nothing can happen
  bool step();

  // ---- what may happen to servers

  void isolate(std::size_t server);
  void heal();
  void crash(std::size_t server);
  void compact(std::size_t server);
  void fail_log_write(std::size_t server);

 protected:
  friend class model_consensus;

  // ---- what adapters ask, under the mutex

  virtual void start(std::size_t server, state_machine& machine);
  void stop(std::size_t server);
  virtual void propose(std::size_t server, term expected, proposal_token token, bytes_view payload);
  virtual void ask_barrier(std::size_t server, proposal_token token);
  void transfer(std::size_t server);
  virtual void accept(std::size_t server, background_task& task);

  // ---- what they ask, not under the mutex

  virtual bool wait(thread_signal& signal, milliseconds limit);
  /// Each step takes a millisecond; with a thread, the computer's clocks.
  virtual clock_reading now(std::size_t server);
  /// Numbers of one sequence for all servers, the same in every cluster.
  virtual std::uint64_t random(std::size_t server);

  // ---- events

  virtual bool advance();
  virtual void leave(std::size_t server);
  virtual void elect(std::size_t winner);
  virtual void lose(std::size_t server, settle_reason why);
  virtual void append(std::size_t server, model_entry entry);
  [[nodiscard]] virtual bool receives(std::size_t server) const { return reachable(server); }
  virtual void drop_transfer(std::size_t server);
  [[nodiscard]] virtual bool may_apply(std::size_t server) const;
  virtual apply_result deliver(std::size_t server, log_position at, const model_entry& entry);
  virtual void settle_applied(model_boot& boot, const model_entry& entry);
  virtual void end(model_boot& boot);
  [[nodiscard]] virtual std::uint64_t compactable(const model_server& server) const;
  virtual void install(std::size_t server);

  void forget(std::size_t server);
  bool elect_if_needed();
  bool elect_longest(std::optional<std::size_t> but);
  bool spread_news();
  bool replicate();
  void note_committed();
  void send_chunk(model_server& source, std::size_t target);
  bool apply_next();
  bool apply_one(std::size_t server);
  bool settle_a_barrier();
  bool run_a_task();

  /// Votes, acknowledges, and is sent what the others have.
  [[nodiscard]] virtual bool reachable(std::size_t server) const;
  [[nodiscard]] bool has_quorum() const;
  [[nodiscard]] bool leads(std::size_t server) const;

  const bool threaded_;
  std::mutex mutex_;
  std::vector<model_server> servers_;
  std::deque<model_consensus> nodes_;
  std::vector<model_entry> log_;
  std::optional<std::size_t> leader_;
  quorlite::term term_;
  std::uint64_t commit_ = 0;
  model_outside outside_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/model/model_cluster.ipp"  // IWYU pragma: keep
#endif
