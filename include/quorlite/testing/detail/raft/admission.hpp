/// @file
/// Which messages a server of the test Raft takes: what came from another one is held against the
/// history that stands here, before anything of it counts (docs/design/history.md, section 6).
#pragma once

#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/codec/history_judge.hpp"
#include "quorlite/detail/core/history_trail.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/raft/log.hpp"
#include "quorlite/testing/detail/raft/message.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// A server from which nothing is taken any more, and why: its history is another one.
struct refused_peer {
  server_id peer{};
  quorlite::detail::history_objection why{};
};

/// Of one server, since its start. Values only.
class raft_admission {
 public:
  /// @param disk, machine of that server, the same each time
  /// @returns false: the message is dropped, as if it was lost
  [[nodiscard]] bool admits(const message& what, const server_disk& disk,
                            const state_machine& machine);
  /// The log was cut: this entry and all behind it are gone.
  void cut(log_index from) noexcept { trail_.cut(from.value); }
  /// This peer is heard again.
  void readmit(server_id peer) noexcept;
  /// In the order in which they were refused.
  [[nodiscard]] const std::vector<refused_peer>& refused() const noexcept { return refused_; }

 private:
  [[nodiscard]] bool admits_entries(const message& envelope, const append_request& ask,
                                    const server_disk& disk, const state_machine& machine);
  [[nodiscard]] bool admits_snapshot(const message& envelope, const snapshot_request& ask,
                                     const server_disk& disk, const state_machine& machine);
  [[nodiscard]] bool carry_trail(log_index upto, const raft_log& log, const state_machine& machine);
  bool refuse(server_id peer, const quorlite::detail::history_objection& why);

  quorlite::detail::history_trail trail_;  // along the log, as far as it was needed
  std::vector<refused_peer> refused_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/raft/admission.ipp"  // IWYU pragma: keep
#endif
