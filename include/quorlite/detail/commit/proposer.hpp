/// @file
/// A writer's way to the log: its pages become entries, its versions go on the heads, and it waits
/// for the answer.
///
/// Early lock release: the writer slot is free again as soon as the entries are on their way, so
/// the next connection builds on this one's head while this one waits. What it builds on may still
/// be taken back; then so is its own.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/codec/command.hpp"
#include "quorlite/detail/commit/vfs_host.hpp"
#include "quorlite/detail/commit/writer_queue.hpp"
#include "quorlite/detail/core/consensus_port.hpp"
#include "quorlite/detail/machine/flush_port.hpp"
#include "quorlite/detail/machine/machine_state.hpp"
#include "quorlite/detail/machine/proposals.hpp"
#include "quorlite/error.hpp"
#include "quorlite/options.hpp"
#include "quorlite/replica_status.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// See replica_options, which has the same names.
struct proposer_options {
  milliseconds commit_timeout{30'000};
  std::size_t entry_bytes = std::size_t{1} << 20U;
  std::size_t in_flight_bytes = std::size_t{64} << 20U;
  bool wait_until_certain = false;
  bool found = false;
  /// Names the history that this replica would begin, if the engine draws no random numbers.
  cluster_identity identity = {};
};

/// A commit on its way.
struct commit_under_way {
  machine_state::row own;
  std::size_t bytes = 0;  ///< what it counts for, of in_flight_bytes
  std::string refusal;    ///< why it is too large, if that is known
};

/// Application threads. Engine, machine and flushes outlive it.
class proposer final : public vfs_host {
 public:
  proposer(consensus_port& engine, machine_state& machine, flush_port& flushes,
           const proposer_options& options) noexcept
      : engine_(engine),
        machine_(machine),
        flushes_(flushes),
        options_(options),
        writers_(engine) {}
  ~proposer() = default;

  [[nodiscard]] result<std::shared_ptr<database>> database_named(
      std::string_view name) noexcept override;
  // NOLINTNEXTLINE(bugprone-exception-escape): a mutex that cannot be locked ends the process
  [[nodiscard]] result<write_ticket> begin_write(const page_store& store,
                                                 const page_store::pin& base) noexcept override;
  [[nodiscard]] writer_queue& writers() noexcept override { return writers_; }
  void wait_for_quiet(database& target, milliseconds slice) noexcept override;
  // NOLINTNEXTLINE(bugprone-exception-escape): a mutex that cannot be locked ends the process
  [[nodiscard]] commit_result commit(std::span<database_write> writes) noexcept override;
  [[nodiscard]] std::string explain(std::error_code error) const override;
  [[nodiscard]] const consensus_abilities& abilities() const noexcept override {
    return engine_.abilities();
  }
  [[nodiscard]] clock_reading now() noexcept override { return engine_.now(); }
  [[nodiscard]] std::uint64_t random() noexcept override { return engine_.random(); }
  void sleep(milliseconds span) noexcept override;

  /// Proposes a command that changes no page, and waits until it is applied here.
  /// @returns failure::not_applied, failure::outcome_unknown, failure::fatal
  [[nodiscard]] std::error_code submit(decltype(command::body) body);
  /// Proposes the entry that begins the history, and waits until one is applied here.
  /// @returns nothing: it has begun; as submit()
  [[nodiscard]] std::error_code begin_history();
  /// Where this replica leads and was told to found its cluster, and nothing has been written yet:
  /// proposes that entry, and does not wait.
  // NOLINTNEXTLINE(bugprone-exception-escape): a mutex that cannot be locked ends the process
  void found() noexcept;

  /// Asks the engine for a read barrier and waits for it. @pre the engine declares them
  /// @returns errc::not_leader, leadership_lost, timed_out, stopped, halted, overloaded, log_failed
  [[nodiscard]] std::error_code read_barrier(milliseconds limit);

  /// Where this replica leads, takes back what leaders that are gone left half-done: one at a time,
  /// and the entry that does it for one drops all of older terms. Proposes and does not wait; again
  /// at the next call if nothing came of it.
  // NOLINTNEXTLINE(bugprone-exception-escape): a mutex that cannot be locked ends the process
  void undo_orphans() noexcept;

  [[nodiscard]] proposer_counters counters() const;

 private:
  using row = machine_state::row;

  [[nodiscard]] row make_row() const;
  // NOLINTNEXTLINE(bugprone-exception-escape): a mutex that cannot be locked ends the process
  [[nodiscard]] std::error_code try_to_send(std::span<database_write> writes,
                                            commit_under_way& sent) noexcept;
  void release(std::span<database_write> writes) noexcept;
  [[nodiscard]] std::error_code plan(std::span<database_write> writes, proposal& own,
                                     std::vector<bytes>& entries, std::uint64_t& full_page_bytes);
  [[nodiscard]] std::error_code send(std::span<database_write> writes, commit_under_way& sent);
  [[nodiscard]] std::error_code send(term in_term, decltype(command::body) body, const row& own);
  [[nodiscard]] std::error_code propose(const row& own, std::span<database_write> writes,
                                        std::vector<bytes>& entries);
  [[nodiscard]] std::error_code propose(const row& own, decltype(command::body) body);
  [[nodiscard]] std::optional<transaction_id> adopt_orphan(const row& own);
  [[nodiscard]] bool is_founding_due(bool founds);
  // NOLINTNEXTLINE(bugprone-exception-escape): a mutex that cannot be locked ends the process
  [[nodiscard]] std::error_code await_founding() noexcept;
  [[nodiscard]] transaction_id maker_of(std::string_view name) const;
  void await_answer(const row& own) noexcept;
  void count(std::size_t entries, std::uint64_t entry_bytes, std::uint64_t full_page_bytes);
  [[nodiscard]] std::size_t window_for(std::size_t part) const noexcept;
  [[nodiscard]] std::error_code conclude(const row& own) const;

  consensus_port& engine_;
  machine_state& machine_;
  flush_port& flushes_;
  const proposer_options options_;
  std::atomic<std::size_t> in_flight_{0};
  writer_queue writers_;
  std::atomic<bool> is_founded_{false};
  std::weak_ptr<proposal> founding_;  ///< on its way while it is here and waits; the machine's lock
  std::weak_ptr<proposal> undo_;      ///< on its way while it is here and waits; the machine's lock
  mutable std::mutex counters_mutex_;
  proposer_counters counters_;
  std::atomic<std::uint64_t> waited_us_{0};
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/commit/proposer.ipp"  // IWYU pragma: keep
#endif
