/// @file
/// What you write to have a consensus adapter examined: a cluster of servers in a test's hands.
///
/// A harness builds `n` servers on empty places, none of them started. The suite gives each a state
/// machine and lets the simulation go on. What else a harness can do to its servers it declares in
/// `faults`; a law that needs more is reported as skipped, by name.
#pragma once

#include <concepts>
#include <cstddef>
#include <functional>
#include <system_error>
#include <type_traits>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// What a harness can do. Name it `faults`, static constexpr. What is declared must exist.
struct harness_faults {
  bool partition = false;  ///< isolate(i), heal()
  /// crash(i): no more calls into the machine, not even settled; only the disk stays
  bool crash = false;
  /// restart(i, machine), after crash(i) or node(i).stop(): comes back from the disk
  bool restart = false;
  bool compact = false;  ///< compact(i): server i drops as much of its log as its machine lets it
  bool fail_log_write = false;  ///< fail_log_write(i): the next append to the log of server i fails
  /// The adapter is made for many threads, and the simulation goes on by itself
  bool threads = false;
  bool clients = false;  ///< spawn(body): code that waits must run inside a client of the harness
  bool repeatable = false;  ///< two that are made alike and treated alike run alike
};

template <class H>
concept declares_faults = requires {
  { H::faults } -> std::same_as<const harness_faults&>;
  typename std::bool_constant<H::faults.partition>;
};

template <class H>
concept partitions = requires(H& harness, std::size_t server) {
  { harness.isolate(server) } -> std::same_as<void>;
  { harness.heal() } -> std::same_as<void>;
};

template <class H>
concept crashes = requires(H& harness, std::size_t server) {
  { harness.crash(server) } -> std::same_as<void>;
};

template <class H>
concept restarts = requires(H& harness, std::size_t server, state_machine& machine) {
  { harness.restart(server, machine) } -> std::same_as<std::error_code>;
};

template <class H>
concept compacts = requires(H& harness, std::size_t server) {
  { harness.compact(server) } -> std::same_as<void>;
};

template <class H>
concept fails_log_writes = requires(H& harness, std::size_t server) {
  { harness.fail_log_write(server) } -> std::same_as<void>;
};

template <class H>
concept spawns_clients = requires(H& harness, std::function<void()> body) {
  { harness.spawn(std::move(body)) } -> std::same_as<void>;
};

// ---- a fault and its members go together: each has a name of its own, for the compiler to say

/// True if the fault is not declared, or the members are there.
template <class H>
concept partition_has_its_members = !H::faults.partition || partitions<H>;
/// The same for crash.
template <class H>
concept crash_has_its_member = !H::faults.crash || crashes<H>;
/// The same for restart.
template <class H>
concept restart_has_its_member = !H::faults.restart || restarts<H>;
/// The same for compact.
template <class H>
concept compact_has_its_member = !H::faults.compact || compacts<H>;
/// The same for fail_log_write.
template <class H>
concept fail_log_write_has_its_member = !H::faults.fail_log_write || fails_log_writes<H>;
/// The same for clients.
template <class H>
concept clients_has_its_member = !H::faults.clients || spawns_clients<H>;

/// - H1 `size()`: how many servers.
/// - H2 `node(i)`: the adapter of server i, counted from 0.
/// - H3 `start(i, machine)`: makes server i run `machine` for the first time; usually
///   `node(i).start(machine)`.
/// - H4 `pump()`: lets the simulation go on until all that is under way without further faults has
///   arrived.
/// - H5 `run_until(condition)`: lets it go on until the condition, which is cheap and asked often,
///   holds; gives up in bounded time and says whether it holds.
///
/// A harness with threads pumps by sleeping. Its destructor ends what still runs; every adapter was
/// stopped or crashed before.
template <class H>
concept consensus_harness = consensus<typename H::adapter_type> && declares_faults<H> &&
    requires(H& harness, const H& view, std::size_t server, state_machine& machine,
             bool (*condition)()) {
  { view.size() } -> std::same_as<std::size_t>;
  { harness.node(server) } -> std::same_as<typename H::adapter_type&>;
  { harness.start(server, machine) } -> std::same_as<std::error_code>;
  { harness.pump() } -> std::same_as<void>;
  { harness.run_until(condition) } -> std::same_as<bool>;
} && partition_has_its_members<H> && crash_has_its_member<H> && restart_has_its_member<H> &&
    compact_has_its_member<H> && fail_log_write_has_its_member<H> && clients_has_its_member<H>;

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
