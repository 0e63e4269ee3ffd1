/// @file
/// How a file handle comes to be the writer of its database.
#pragma once

#include <cstdint>
#include <system_error>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/commit/vfs_host.hpp"
#include "quorlite/detail/sqlite/view.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The writer slot of a database, as one handle has it or waits for it. One thread.
///
/// A plain connection learns at its write lock that the state it stands on is not the head. SQLite
/// then unlocks, asks the busy handler, and starts over with a read lock, which cannot be told from
/// that of a plain read. A plain read must never stand on the head: it would show what consensus
/// may yet refuse. So the handle is only a *candidate* after the write lock failed, and the busy
/// handler, which SQLite asks on behalf of a writer, turns it into one that *wants the head*. A
/// write lock that SQLite does not ask for again makes no candidate: what comes next is a read.
class writer_slot {
 public:
  writer_slot(vfs_host& host, const database_view& view) noexcept : host_(host), view_(view) {}
  writer_slot(const writer_slot&) = delete;
  writer_slot& operator=(const writer_slot&) = delete;

  [[nodiscard]] bool holds() const noexcept { return holds_; }
  [[nodiscard]] const write_ticket& ticket() const noexcept { return ticket_; }
  /// It has the slot since its read lock, and its write lock has not come yet.
  [[nodiscard]] bool is_early() const noexcept { return early_; }

  [[nodiscard]] bool wants_head() const noexcept { return wants_head_; }
  void want_head() noexcept;
  void stop_wanting() noexcept;
  void become_candidate(std::uint64_t now) noexcept { candidate_since_ = now; }
  /// When the write lock failed, by the order of the VFS; 0: it did not. Taken once.
  [[nodiscard]] std::uint64_t take_candidacy() noexcept;
  /// It wanted the head, and waited for it in vain.
  void has_waited() noexcept { waited_ = true; }
  /// Taken once.
  [[nodiscard]] bool take_wait() noexcept;

  /// Waits for the slot, a slice at a time, for as long as others come and go; when one of them
  /// just sits there the caller's own timeout counts.
  [[nodiscard]] bool acquire_early();

  /// Waits until nothing is pending, within the same bounds. @pre holds()
  [[nodiscard]] bool await_quiet();

  /// Asks for the right to write on top of the view. Keeps the slot on success only.
  /// @returns errc::busy: another one writes; errc::stale_term: the view is not the head;
  /// errc::not_leader, errc::halted
  [[nodiscard]] std::error_code begin();

  /// Would a writer be refused, whatever it stands on?
  [[nodiscard]] bool is_refused(const page_store::pin& head) noexcept;
  /// The same of one who holds no lock yet.
  [[nodiscard]] bool would_be_refused() const noexcept;

  /// The host has released the slot with the commit.
  void was_released() noexcept;
  void give_back() noexcept;
  /// Identifies this handle to the database and the host.
  [[nodiscard]] const void* owner() const noexcept { return this; }

 private:
  static constexpr int rounds = 16;

  bool try_acquire();
  [[nodiscard]] writer_queue::waited await_turn() noexcept;
  bool got(bool it) noexcept;
  [[nodiscard]] std::error_code may_write() noexcept;

  vfs_host& host_;
  const database_view& view_;
  write_ticket ticket_;
  std::uint64_t candidate_since_ = 0;
  std::uint32_t waits_ = 0;  // in vain, for this turn
  bool wants_head_ = false;
  bool waited_ = false;
  bool holds_ = false;
  bool early_ = false;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/sqlite/writer_slot.ipp"  // IWYU pragma: keep
#endif
