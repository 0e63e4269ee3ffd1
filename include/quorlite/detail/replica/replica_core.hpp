/// @file
/// What a replica is made of, shared with its connections.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/connection.hpp"
#include "quorlite/detail/commit/proposer.hpp"
#include "quorlite/detail/core/consensus_port.hpp"
#include "quorlite/detail/machine/flush_port.hpp"
#include "quorlite/detail/machine/machine_state.hpp"
#include "quorlite/detail/sqlite/group/group_writer.hpp"
#include "quorlite/detail/sqlite/vfs.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/options.hpp"
#include "quorlite/replica_status.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

class connection;

namespace detail {

/// The ports of the models, and the machine between them. `keeps` owns all of it.
struct replica_models {
  std::shared_ptr<void> keeps;
  consensus_port& engine;
  state_machine& applier;
  flush_port& flushes;
  machine_state& machine;
  std::vector<std::string> folders;  ///< that SQLite has to stay out of
};

/// A replica, whatever its engine and storage are: what its members say is told at `replica`. Lives
/// until the last connection is gone; from close() on it touches neither engine nor storage.
class replica_core {
 public:
  /// Loads the base, then starts the engine. Blocks.
  /// @returns std::errc::invalid_argument, errc::name_taken, errc::single_threaded_sqlite,
  ///   errc::out_of_memory; errors of load() and of the engine
  [[nodiscard]] static result<std::shared_ptr<replica_core>> start(replica_models models,
                                                                   const replica_options& options);

  replica_core(replica_models models, replica_options options);
  replica_core(const replica_core&) = delete;
  replica_core& operator=(const replica_core&) = delete;
  ~replica_core();

  /// The end of the replica. Blocks.
  void close() noexcept;
  std::error_code stop();

  [[nodiscard]] result<connection> open(std::string_view name, const connection_options& options);
  void write(std::string_view name, write_task& task);
  [[nodiscard]] std::error_code drop(std::string_view name);
  [[nodiscard]] std::error_code upgrade();
  [[nodiscard]] std::error_code read_barrier(milliseconds limit);

  [[nodiscard]] transaction_outcome outcome(transaction_id id) const;
  [[nodiscard]] leader_info leader() const;
  [[nodiscard]] quorlite::health health();
  [[nodiscard]] bool wait_for_leadership_change(const leader_info& seen, milliseconds limit);
  [[nodiscard]] replica_metrics metrics() const;
  [[nodiscard]] std::vector<database_status> databases() const;
  [[nodiscard]] log_position applied() const noexcept { return models_.applier.applied(); }
  [[nodiscard]] log_position durable() const noexcept { return models_.applier.durable(); }

  std::error_code maintain();
  [[nodiscard]] std::error_code flush();
  void run_maintenance(const std::atomic<bool>& stop, milliseconds pause);

  [[nodiscard]] const vfs& files() const noexcept { return parts_->files; }
  [[nodiscard]] replica_models& models() noexcept { return models_; }

 private:
  class upkeep;
  struct parts {
    parts(replica_core& owner, const std::shared_ptr<replica_core>& shared);

    proposer commits;
    vfs files;
    group_writers writers;
    std::unique_ptr<upkeep> flush;
  };

  [[nodiscard]] std::error_code readiness() const;
  [[nodiscard]] bool is_flush_due();
  [[nodiscard]] bool is_crowded() const noexcept;
  void come_back();
  [[nodiscard]] std::error_code notice_engine_error();
  [[nodiscard]] bool stop_engine() noexcept;

  replica_models models_;
  const replica_options options_;
  std::unique_ptr<parts> parts_;
  std::atomic<std::uint64_t> flushed_at_{0};
  std::atomic<bool> is_flushing_{false};
  std::atomic<bool> has_told_of_engine_{false};
  std::atomic<bool> was_sent_away_{false};  // the engine, for a flush found no room
  std::mutex stop_mutex_;
  bool running_ = false;  // under stop_mutex_
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/replica/replica_core.ipp"  // IWYU pragma: keep
#endif
