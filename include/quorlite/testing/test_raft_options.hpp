/// @file
/// Everything about a simulated cluster that can be chosen, with defaults that suit most tests.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/simulation/client_engine.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

/// How one link treats what is sent over it. Every direction of every pair of servers is a link.
struct network_options {
  std::uint64_t delay_min_us = 500;   ///< one way, microseconds
  std::uint64_t delay_max_us = 1500;  ///< at least delay_min_us
  double drop = 0.0;                  ///< probability that a message is lost
  double duplicate = 0.0;             ///< probability that it arrives twice
  double reorder = 0.0;  ///< probability that it may be overtaken; else a link keeps the order
};

/// The protocol's own settings.
struct raft_options {
  milliseconds election_timeout_min{
      150};  ///< each server draws from [min, max] anew (Raft paper, 5.2)
  milliseconds election_timeout_max{300};
  milliseconds heartbeat_interval{50};                  ///< well below election_timeout_min
  std::size_t max_entry_bytes = std::size_t{1} << 20U;  ///< a larger proposal is too_large
  std::size_t max_in_flight = 0;  ///< proposals not yet applied; more are busy. 0: no limit
  std::size_t batch_bytes = std::size_t{64}
                            << 10U;  ///< of payload in one message; one entry always fits
  std::size_t window_entries = 512;  ///< sent to a follower and not yet answered for
  std::size_t chunk_bytes = 4096;    ///< of a snapshot in one message
};

/// When a server takes a snapshot of its machine, and how much log it keeps below it.
struct compaction_options {
  std::uint64_t threshold_entries = 0;  ///< applied since the last snapshot. 0: never
  std::uint64_t trailing_entries =
      16;  ///< kept below the snapshot, for followers that are a little behind
  std::size_t read_bytes =
      4096;  ///< read from the pinned snapshot per event; writes go on in between
};

/// How long an append takes to be durable. At 0 it is at once; else a crash loses entries that are
/// younger, and the server neither acknowledges nor applies them before. Term and vote are always
/// durable at once.
struct disk_options {
  std::uint64_t sync_min_us = 0;
  std::uint64_t sync_max_us = 0;
};

/// A whole simulated cluster.
struct world_options {
  std::uint64_t seed = 1;      ///< two worlds with equal options and equal clients run alike
  std::uint32_t replicas = 3;  ///< servers 1 … replicas, all of them voters
  engine_kind engine = engine_kind::fiber;
  network_options network{};
  raft_options raft{};
  compaction_options compaction{};
  disk_options disk{};
  std::uint64_t background_max_us = 500;  ///< a background task starts within this time
};

/// A point in the life of a leader's command.
enum class milestone : std::uint8_t {
  enqueued,   ///< in the leader's log, sent to nobody
  appended,   ///< on a quorum, as the leader has just learnt; its commit index is still below
  committed,  ///< below the leader's commit index; applied nowhere, and nobody else knows
};

/// How a leader loses its office at a milestone.
enum class deposition : std::uint8_t {
  step_down,  ///< it becomes a follower at once and stays connected; it may win again
  isolate,    ///< it is cut off and steps down when it notices; it commits nothing beyond the
              ///< milestone
  crash,      ///< as world::crash
};

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
