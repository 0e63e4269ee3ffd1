/// @file
/// The members of the cluster as the log names them: those of its last entry that names any, be it
/// committed or not. When that entry is cut off, those before it hold again. (Raft thesis, 4.1.)
///
/// libraft 0.15 means to do this, but
/// - to take a change back it reads the entry before it, which a snapshot may have replaced: then
///   it reads through a null pointer;
/// - what it finds in its log at a start it never takes back;
/// - it puts members into a snapshot that are those of a later entry, which may be cut off yet;
/// - it heeds an entry that came when that is written, and not at all if it is no follower by then;
/// - after a snapshot came, it waits for a change that is gone with the log, and allows no other.
///
/// So this is done here. The engine is not told that a change could be taken back, but for a
/// leader's own, which holds the next one up.
#pragma once

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/engine.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The members that an entry names. 0.15 exports no such function.
/// @param entry any bytes may be given @param into empty; the caller closes it in any case
/// @returns RAFT_MALFORMED, RAFT_NOMEM
[[nodiscard]] QUORLITE_DECL int libraft_decode_members(bytes_view entry,
                                                       raft_configuration& into) noexcept;

/// Of one engine, which outlives this. On its loop; told by the guard of its disk what becomes of
/// the log. Codes are RAFT_NOMEM, and RAFT_MALFORMED for an entry that is none.
class libraft_log_members {
 public:
  libraft_log_members() noexcept { raft_configuration_init(&before_); }
  libraft_log_members(const libraft_log_members&) = delete;
  libraft_log_members& operator=(const libraft_log_members&) = delete;
  ~libraft_log_members() { raft_configuration_close(&before_); }

  void attach(::raft& engine) noexcept { engine_ = &engine; }

  /// The engine has read its log.
  void begin() noexcept { newest_ = newest_below(raft_last_index(engine_) + 1); }

  /// A snapshot was read, or is to be written, that stands for what the log has before its index.
  [[nodiscard]] int keep(const raft_snapshot& snapshot) noexcept;
  /// One came: the log has nothing but that.
  [[nodiscard]] int replace(const raft_snapshot& snapshot) noexcept;

  /// The last entries of the log are on their way to the disk.
  void appended(const raft_entry entries[], unsigned count) noexcept;
  /// The log loses its entries from there on, in a moment.
  void cut(raft_index from) noexcept;

  /// Sees to it that a follower has the members of its log. Before the engine decides anything.
  [[nodiscard]] int follow() noexcept;
  /// The engine leads no more in a moment, and what it appended may be taken back.
  void leads_no_more() noexcept { engine_->configuration_uncommitted_index = 0; }

  /// The disk has them. Who leads by its own vote alone does so once that is kept.
  [[nodiscard]] bool are_stored() const noexcept { return newest_ <= engine_->last_stored; }

  /// The engine has the members as of what it has applied: a snapshot may name them.
  [[nodiscard]] bool are_applied() const noexcept {
    return !is_behind_ && newest_ <= engine_->last_applied;
  }

 private:
  /// The last entry that names members, before that one.
  [[nodiscard]] raft_index newest_below(raft_index end) const noexcept;
  [[nodiscard]] int adopt() noexcept;

  ::raft* engine_ = nullptr;
  raft_configuration before_{};  // as of the snapshot that the log begins with
  raft_index before_index_ = 0;  // of the entry that named them
  raft_index newest_ = 0;        // of all entries that name members
  bool is_behind_ = false;       // the engine may have others than those
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/log_members.ipp"  // IWYU pragma: keep
#endif
