/// @file
/// What runs on a simulated server between a start and a crash: a replica as in production, over
/// the test Raft and a storage, both of them watched.
#pragma once

#include <memory>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/detail/file_storage/basic_file_storage.hpp"
#include "quorlite/options.hpp"
#include "quorlite/replica.hpp"
#include "quorlite/storage.hpp"
#include "quorlite/testing/detail/simulation/process_watch.hpp"
#include "quorlite/testing/detail/simulation/unique_function.hpp"
#include "quorlite/testing/detail/simulation/watched_machine.hpp"
#include "quorlite/testing/detail/simulation/watched_storage.hpp"
#include "quorlite/testing/faulty_disk.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// Files on a disk that they keep.
struct disk_holder {
  std::shared_ptr<faulty_disk> kept;
};
struct files_on_disk : disk_holder, quorlite::detail::basic_file_storage<faulty_file_system> {
  files_on_disk(std::shared_ptr<faulty_disk> disk, const file_options& options)
      : disk_holder{std::move(disk)},
        quorlite::detail::basic_file_storage<faulty_file_system>(faulty_file_system(*kept),
                                                                 options) {}
};

/// Its connections may outlive it.
class server_process {
 public:
  /// Starts it. @param storage its type is forgotten
  template <storage Storage>
  server_process(simulation& cluster, const std::shared_ptr<process_watch>& watch,
                 std::shared_ptr<Storage> storage, const replica_options& options)
      : raft_(cluster, watch) {
    auto watched = std::make_shared<watched_storage<Storage>>(std::move(storage), watch);
    close_ = [watched] { return watched->close(); };
    if (auto started = quorlite::replica::start(raft_, *watched, options)) {
      replica_ = std::move(*started);
    } else {
      why_not_ = started.error();
    }
  }
  server_process(const server_process&) = delete;
  server_process& operator=(const server_process&) = delete;

  /// Why it does not run, if so.
  [[nodiscard]] std::error_code status() const noexcept { return why_not_; }
  [[nodiscard]] quorlite::replica& replica() noexcept { return replica_; }
  /// Of a replica that has stopped.
  [[nodiscard]] std::error_code close_storage() { return close_(); }

 private:
  unique_function<std::error_code()> close_;  // keeps the storage
  watched_raft raft_;
  quorlite::replica replica_;
  std::error_code why_not_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
