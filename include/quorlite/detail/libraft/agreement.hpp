/// @file
/// How far is our log known to be a leader's? As far as it has told its own, and we agreed.
///
/// libraft 0.15 tells its leader where the log ends, even if that end is left over from an older
/// term and the leader has not spoken of it yet. A leader that has entries there by then, of its
/// own term, takes them for stored here: it counts a vote for a commit that nobody gave.
#pragma once

#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/engine.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// On the engine's loop.
class libraft_agreement {
 public:
  /// @param engine outlives this
  void attach(const ::raft& engine) noexcept { engine_ = &engine; }

  /// A message that the engine gets.
  void note(const raft_message& message) noexcept;
  /// One that told of what is committed here alone. @param upto its last entry
  void note_below(const raft_message& message, raft_index upto) noexcept;

  /// An answer to a leader tells no more than is so.
  void cap(raft_message& answer) const noexcept;

 private:
  /// A term should have one leader; if it had two, each is answered what it has told itself.
  struct teller {
    raft_term in = 0;
    raft_id leader = 0;

    friend bool operator==(const teller&, const teller&) = default;
  };

  void agree(const teller& with, raft_index upto) noexcept;

  const ::raft* engine_ = nullptr;
  teller with_;
  raft_index upto_ = 0;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/agreement.ipp"  // IWYU pragma: keep
#endif
