/// @file
/// How a server leaves its cluster for a while, for it has no room for what comes.
#pragma once

#include <cstdint>
#include <string>
#include <system_error>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/error.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

class libraft_io;
class libraft_members;
class libraft_proposals;

/// With less than this on the disk of its log a server leaves; 0: nobody looks. The engine makes
/// two segments before it writes to them, and a leader who leaves writes what is under way.
[[nodiscard]] QUORLITE_DECL std::uint64_t libraft_least_room(
    const libraft_options& options) noexcept;

/// What a server tells that left for this reason. none: it is not back by itself
[[nodiscard]] QUORLITE_DECL settle_reason libraft_reason_away(std::error_code why) noexcept;

/// On the loop. First what is under way is answered, for who steps down cannot tell what became of
/// it; then a leader hands over; in the end nothing is on its way to the disk. (What was applied is
/// there anyhow: 0.15 commits nothing here that its own disk does not have.) It takes as long as
/// the entries under way, which may be slow; where nobody answers, until the engine sees that: two
/// election timeouts at most.
class libraft_departure {
 public:
  explicit libraft_departure(const libraft_options& options);

  /// All of them outlive this.
  void attach(const ::raft& engine, libraft_proposals& proposals, libraft_members& members,
              const libraft_io& io) noexcept;

  /// Nothing is proposed here any more. The first reason stays.
  void leave(std::error_code why) noexcept;
  /// Leaves if the disk has less than libraft_least_room(); looks ten times a second. On the loop,
  /// as the engine writes its term: where a remote disk hangs, so does the server, and another one
  /// leads. A leader with such a disk commits nothing, and would go on being followed.
  void look_for_room() noexcept;

  [[nodiscard]] bool is_under_way() const noexcept { return static_cast<bool>(why_); }
  /// Why it leaves. None: it does not
  [[nodiscard]] std::error_code why() const noexcept { return why_; }
  /// The same, for who proposes.
  [[nodiscard]] settle_reason reason() const noexcept {
    return why_ == errc::out_of_memory ? settle_reason::no_memory : settle_reason::no_room;
  }
  /// It leaves, and nothing keeps the engine any more: to be asked again and again. Hands over.
  [[nodiscard]] bool is_over() noexcept;

 private:
  const std::string directory_;  // empty: there is no disk
  const std::uint64_t least_room_;
  const ::raft* engine_ = nullptr;
  libraft_proposals* proposals_ = nullptr;
  libraft_members* members_ = nullptr;
  const libraft_io* io_ = nullptr;
  std::error_code why_;
  raft_time looked_at_ = 0;
  bool has_handed_over_ = false;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/departure.ipp"  // IWYU pragma: keep
#endif
