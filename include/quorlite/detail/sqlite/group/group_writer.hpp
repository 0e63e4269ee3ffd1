/// @file
/// Group commit: closures that are waiting at the same time share a transaction.
///
/// No thread of its own: whoever comes to an idle writer, or is the first to wait when a group goes
/// to its COMMIT, runs the next group for all who wait by then. While one group is on its way to a
/// quorum the next one runs, on another connection and on top of it; so under load a group is as
/// large as what comes in during half a round trip.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/core/consensus_port.hpp"
#include "quorlite/detail/sqlite/group/write_task.hpp"
#include "quorlite/error.hpp"
#include "quorlite/options.hpp"
#include "quorlite/replica_status.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

class group_executor;
class vfs;

/// See replica_options::group_closures and what follows it. closures and groups are 1 or more.
struct group_options {
  std::size_t closures = 512;
  std::size_t waiting = 65536;
  std::size_t groups = 2;
  milliseconds timeout{30'000};
  connection_options connections{};
};

/// The closures of one database. Any thread. Engine and VFS outlive it.
class group_writer {
 public:
  group_writer(consensus_port& engine, vfs& through, std::string name,
               const group_options& options);
  group_writer(const group_writer&) = delete;
  group_writer& operator=(const group_writer&) = delete;
  ~group_writer();

  /// Blocks until the task has its answer.
  void write(write_task& task);

  [[nodiscard]] group_counters counters() const;

 private:
  enum class stage { queued, leads, taken };

  /// Of one caller, on its stack. Under the mutex, and its own after `turn` was raised: which
  /// happens once, and nobody else touches it afterwards.
  struct place {
    write_task& task;
    port_signal turn;
    stage at;
  };

  [[nodiscard]] bool enter(place& own);
  [[nodiscard]] bool give_up(place& own);
  void appoint();
  void lead(place& own) noexcept;
  void step_back(place& own) noexcept;
  [[nodiscard]] std::unique_ptr<group_executor> take(std::vector<place*>& group,
                                                     std::vector<write_task*>& tasks);
  void give_back(std::unique_ptr<group_executor> executor, bool leading);

  consensus_port& engine_;
  vfs& through_;
  const std::string name_;
  const group_options options_;
  mutable std::mutex mutex_;
  std::deque<place*> queue_;
  std::vector<std::unique_ptr<group_executor>> idle_;
  std::size_t busy_ = 0;  ///< connections in use
  bool is_led_ = false;   ///< somebody runs closures, or was told to
  group_counters counters_;
};

/// The writers of a replica, by database. Any thread.
class group_writers {
 public:
  group_writers(consensus_port& engine, vfs& through, const group_options& options);

  /// @returns errc::invalid_name, errc::too_many_databases
  [[nodiscard]] result<group_writer*> of(std::string_view name);
  [[nodiscard]] group_counters counters() const;
  /// Closes the connections. @pre nobody writes, or will
  void close() noexcept;

 private:
  consensus_port& engine_;
  vfs& through_;
  const group_options options_;
  mutable std::mutex mutex_;
  std::map<std::string, std::unique_ptr<group_writer>, std::less<>> writers_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/sqlite/group/group_writer.ipp"  // IWYU pragma: keep
#endif
