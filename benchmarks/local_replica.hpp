/// @file
/// A replica of its own, over the immediate consensus: a database of quorlite without a cluster.
#pragma once

#include <fmt/format.h>
#include <sqlite3.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "counting_storage.hpp"
#include "immediate_consensus.hpp"
#include "quorlite/quorlite.hpp"
#include "workload.hpp"

namespace bench {

template <quorlite::storage Storage>
class local_replica {
 public:
  /// @param place what the storage is made of @throws std::runtime_error
  template <class... Place>
  explicit local_replica(quorlite::replica_options options, Place&&... place)
      : storage_(std::forward<Place>(place)...) {
    auto started = quorlite::replica::start(consensus_, storage_, options);
    must(started ? std::error_code{} : started.error(), "start");
    replica_ = std::move(*started);
    quorlite::result<quorlite::connection> opened = replica_.open(workload::database);
    must(opened ? std::error_code{} : opened.error(), "open");
    connection_ = std::move(*opened);
  }

  [[nodiscard]] sqlite3* get() const { return connection_; }
  [[nodiscard]] std::uint64_t pages_flushed() const { return storage_.pages_flushed(); }
  [[nodiscard]] quorlite::machine_counters counters() const { return replica_.metrics().machine; }

  void flush() { must(replica_.flush(), "flush"); }
  /// Flushes if it is time to.
  void maintain() { must(replica_.maintain(), "maintain"); }

  /// What the replica says the database is.
  [[nodiscard]] quorlite::database_status state() {
    for (const auto& one : replica_.databases()) {
      if (one.name == workload::database) {
        return one;
      }
    }
    throw std::runtime_error("quorlite does not have its database");
  }

 private:
  static void must(std::error_code error, const char* what) {
    if (error) {
      throw std::runtime_error(fmt::format("quorlite, {}: {}", what, error.message()));
    }
  }

  immediate_consensus consensus_;
  counting_storage<Storage> storage_;
  quorlite::replica replica_;
  quorlite::connection connection_;
};

}  // namespace bench
