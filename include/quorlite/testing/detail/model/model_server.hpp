/// @file
/// One server of the model cluster (model_cluster.hpp): what it has while it runs, and what a crash
/// leaves.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <system_error>
#include <vector>

#include "quorlite/adapter_kit.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/ids.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

class model_cluster;

/// The adapter of one server: all it does is to pass on, for the cluster is the engine. Any thread,
/// if the cluster's simulation runs in a thread of its own.
class QUORLITE_API model_consensus {
 public:
  static constexpr consensus_abilities abilities{.entry_terms = true,
                                                 .contiguous = true,
                                                 .read_barrier = true,
                                                 .leadership_transfer = true,
                                                 .background_work = true,
                                                 .now = true,
                                                 .random = true};
  using signal_type = thread_signal;

  model_consensus(model_cluster& cluster, std::size_t server)
      : cluster_(cluster), server_(server) {}

  std::error_code start(state_machine& machine) noexcept;
  void stop() noexcept;
  void propose(term expected, proposal_token token, bytes_view entry) noexcept;
  [[nodiscard]] std::size_t max_entry_bytes() const noexcept { return std::size_t{1} << 16U; }
  bool wait(signal_type& signal, milliseconds limit) noexcept;
  /// From inside calls into the machine too, with the mutex of the cluster held: it leaves a note.
  void withdraw() noexcept { withdrawn_ = true; }
  void read_barrier(proposal_token token) noexcept;
  void transfer_leadership() noexcept;
  void run(background_task& task) noexcept;
  [[nodiscard]] clock_reading now() noexcept;
  [[nodiscard]] std::uint64_t random() noexcept;

  /// Since the last start. The cluster's next step carries it out.
  [[nodiscard]] bool has_withdrawn() const noexcept { return withdrawn_.load(); }

 private:
  friend model_cluster;

  model_cluster& cluster_;
  std::size_t server_;
  std::atomic<bool> withdrawn_{false};
};

static_assert(consensus<model_consensus>);

struct model_entry {
  quorlite::term term;
  bool no_op = false;
  bytes payload;
  proposal_token token;
  std::size_t proposer = 0;
};

/// From start to stop or crash. Destroyed without a stop it tells nobody anything, as a crash.
struct model_boot {
  explicit model_boot(state_machine& its_machine) : machine(its_machine) {}

  struct barrier {
    proposal_token token;
    std::uint64_t target = 0;  ///< what was committed when it was asked
  };

  state_machine& machine;
  gated_strand strand;
  pending_proposals pending;  ///< barriers, too
  background_worker worker;
  std::uint64_t committed = 0;  ///< entries that it knows to be
  std::uint64_t applied = 0;
  bool has_left = false;                        ///< it withdrew, and everybody knows
  quorlite::term heard;                         ///< the latest leadership that it was told of
  std::map<std::uint64_t, model_entry> strays;  ///< by token: proposals that wait for a quorum
  std::vector<barrier> barriers;
  std::unique_ptr<snapshot_reader> reader;  ///< of the leader: a snapshot is on its way here
  std::unique_ptr<snapshot_stage> stage;
  std::uint64_t sent_bytes = 0;
};

struct model_server {
  /// False: what lies before its log is to come with a snapshot. Until then it could not apply what
  /// it would append.
  [[nodiscard]] bool reaches_its_log() const noexcept { return boot->applied >= compacted; }

  // its disk
  std::uint64_t held = 0;       ///< entries of the log that it holds
  std::uint64_t compacted = 0;  ///< of these, no longer there
  // what a test does to it
  bool isolated = false;
  bool log_fails = false;  ///< at the next proposal

  std::unique_ptr<model_boot> boot;   ///< null: it does not run
  std::unique_ptr<model_boot> ended;  ///< the last that was stopped, for calls that come too late

  /// Calls may come after a stop: the parts of that boot are closed, and refuse.
  [[nodiscard]] model_boot& latest() const noexcept {
    QUORLITE_ASSERT(boot != nullptr || ended != nullptr);
    return boot != nullptr ? *boot : *ended;
  }
};

/// What all servers of a cluster get from outside of it. Any thread, also under the mutex of the
/// cluster.
struct model_outside {
  std::atomic<std::uint64_t> passed_ms{0};
  std::atomic<std::uint64_t> draws{0};  ///< numbers that were drawn so far
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
