/// @file
/// Which messages the engine gets: what came from another server is held against the history that
/// stands here before the engine can acknowledge it (docs/design/history.md, section 6).
///
/// A message that is dropped is lost on the way, as far as anybody is told. A peer whose history is
/// another one is refused: everything of it is dropped from then on, until the operator says
/// otherwise or this process ends.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/codec/history_judge.hpp"
#include "quorlite/detail/core/history_trail.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/strand.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Of one server. On its loop.
class libraft_admission {
 public:
  /// @param engine, strand, trail outlive this; the trail is along the log that is stored
  void attach(const ::raft& engine, const libraft_strand& strand, history_trail& trail) noexcept;
  /// The log was loaded.
  /// @param settled up to this entry of it all are known to be committed
  /// @param of_folder the cluster that the folder names; all zero: none yet
  void begin(std::uint64_t settled, const cluster_identity& of_folder) noexcept {
    settled_at_start_ = settled;
    cluster_of_folder_ = of_folder;
  }

  /// Before the engine looks at it. @returns false: it is to be dropped
  [[nodiscard]] bool admits(const raft_message& message) noexcept;
  /// The engine has looked at what was admitted last.
  void received() noexcept;

  /// This server is heard again.
  void readmit(server_id id) noexcept;

  /// In the order in which they were refused.
  [[nodiscard]] const std::vector<libraft_refused>& refused() const noexcept { return refused_; }
  /// Who answered in the place of a member, and is none yet: the newest for each, until that member
  /// is heard, or another server leads.
  [[nodiscard]] std::vector<libraft_stranger> strangers() const;
  /// Messages that were dropped here.
  [[nodiscard]] std::uint64_t dropped() const noexcept { return dropped_; }

 private:
  void note_stranger(const raft_message& message);
  void forget_stranger(server_id member) noexcept;
  [[nodiscard]] bool leads_beside_us(const raft_message& message) const noexcept;
  [[nodiscard]] bool leads_beside_another(const raft_message& message) const noexcept;
  [[nodiscard]] bool admits_entries(server_id from, const raft_append_entries& message);
  [[nodiscard]] bool admits_snapshot(server_id from, const raft_install_snapshot& message);
  /// The engine would put it in the place of its log.
  [[nodiscard]] bool is_to_install(const raft_install_snapshot& message) const noexcept;
  [[nodiscard]] const char* folder_objection(const snapshot_history& told,
                                             std::uint64_t last) const noexcept;
  [[nodiscard]] history_verdict judge(const raft_append_entries& message, std::uint64_t behind);
  [[nodiscard]] history_verdict judge(const raft_entry& entry, std::uint64_t index);
  bool refuse(server_id from, const history_objection& why);

  /// Entries up to here are committed: every leader has them.
  [[nodiscard]] std::uint64_t settled_upto() const noexcept;
  /// @returns the first entry that is not the one which was committed here; 0: none is known
  [[nodiscard]] std::uint64_t contradicts_log(const raft_append_entries& message) const noexcept;
  [[nodiscard]] std::uint64_t contradicts_entry(const raft_append_entries& message) const noexcept;
  /// @returns false: our log begins later, or cannot be read
  [[nodiscard]] bool carry_trail(std::uint64_t upto);
  void begin_trail() noexcept;
  void cut_trail(const raft_append_entries& message) noexcept;

  const ::raft* engine_ = nullptr;
  const libraft_strand* strand_ = nullptr;
  history_trail* trail_ = nullptr;
  std::uint64_t settled_at_start_ = 0;
  cluster_identity cluster_of_folder_;  // at the start
  /// Who was heard as a leader last.
  struct heard_leader {
    std::uint64_t in = 0;  // its term
    server_id leader;
    std::uint64_t at_ms = 0;  // of the engine's clock
  };
  heard_leader heard_;
  std::optional<history_judge> judge_;  // of the message that is looked at
  std::uint64_t told_upto_ = 0;  // of a message whose entries all come behind the end of our log
  std::vector<libraft_refused> refused_;
  std::vector<libraft_stranger> strangers_;
  std::uint64_t dropped_ = 0;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/admission.ipp"  // IWYU pragma: keep
#endif
