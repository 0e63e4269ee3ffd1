/// @file
/// The simulated wires: how long a message takes, whether it arrives, how often, and who is cut off
/// from whom.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/raft/options_fwd.hpp"
#include "quorlite/testing/detail/simulation/random.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// Decides the fate of messages, and nothing else: it keeps none. Servers are 1 … n.
class simulated_network {
 public:
  simulated_network(std::uint32_t servers, const network_options& options, random source);
  simulated_network(const simulated_network&) = delete;
  simulated_network& operator=(const simulated_network&) = delete;
  ~simulated_network();

  /// When the copies of one message arrive: none, one or two.
  struct arrivals {
    std::size_t count = 0;
    std::array<std::uint64_t, 2> at_us{};
  };

  [[nodiscard]] arrivals send(server_id from, server_id to, std::uint64_t now_us);
  /// Also asked when a message arrives: what was on its way when a link was cut is lost.
  [[nodiscard]] bool connected(server_id from, server_id to) const noexcept;

  /// The next one, with no link cut.
  void add_server(const network_options& options);

  void set(server_id from, server_id to, const network_options& options);
  void set_all(const network_options& options);

  void cut(server_id from, server_id to);
  /// Cuts every link to and from this server.
  void isolate(server_id whom);
  /// Only servers of one group hear each other; a server in no group hears nobody. Replaces earlier
  /// cuts.
  void partition(const std::vector<std::vector<server_id>>& groups);
  /// No link is cut. Probabilities and delays stay.
  void heal();

 private:
  struct link;

  [[nodiscard]] std::size_t place(server_id from, server_id to) const noexcept;
  [[nodiscard]] link& at(server_id from, server_id to) noexcept;

  std::uint32_t servers_;
  random random_;
  std::vector<link> links_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/raft/network.ipp"  // IWYU pragma: keep
#endif
