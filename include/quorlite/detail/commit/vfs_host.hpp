/// @file
/// What the VFS asks of the replica that it works for.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/commit/writer_queue.hpp"
#include "quorlite/detail/machine/database_write.hpp"
#include "quorlite/detail/pages/page_store.hpp"
#include "quorlite/detail/pages/registry.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The answer to a commit.
struct commit_result {
  std::error_code error;  ///< none: committed by a quorum and applied here
  transaction_id id;      ///< what outcome() can be asked about; {0, 0} if nothing was proposed
  std::string text{};     ///< of the error, where more is known than explain() can say
};

/// Implemented by the replica. Every call from application threads, with no lock of the VFS held.
class vfs_host {
 public:
  vfs_host() = default;
  vfs_host(const vfs_host&) = delete;
  vfs_host& operator=(const vfs_host&) = delete;

  /// The object behind a name; does not block.
  /// @returns errc::invalid_name, errc::too_many_databases
  [[nodiscard]] virtual result<std::shared_ptr<database>> database_named(
      std::string_view name) noexcept = 0;

  /// May this replica write `store` now, on top of `base`? Does not block, but for the first writer
  /// of a cluster that is being founded: up to the limit of a COMMIT, until its history has begun.
  /// @returns errc::not_leader, errc::halted, errc::stopped, errc::out_of_memory; errc::stale_term
  ///   if `base` is no longer the head; of the founding what submit() says, but never that an
  ///   outcome is unknown, for nothing of the writer's was proposed
  [[nodiscard]] virtual result<write_ticket> begin_write(const page_store& store,
                                                         const page_store::pin& base) noexcept = 0;

  /// Whose turn it is to write.
  [[nodiscard]] virtual writer_queue& writers() noexcept = 0;

  /// Blocks until nothing is pending on `store`, or `slice` has passed.
  virtual void wait_for_quiet(database& target, milliseconds slice) noexcept = 0;

  /// Proposes all changes as one transaction and blocks until it is answered. The writer slots are
  /// released as soon as the entry is on its way, so that the next writer builds on this one.
  ///
  /// @param changes one for each database, filled as far as database_write says "writer"; pages and
  ///   slots are taken away, except with errc::busy
  /// @returns in `error`: nothing: a quorum has committed it, and it is applied here.
  ///   errc::busy: nothing was touched, pages and slots are still the caller's; try again.
  ///   Any other: the slots were released and the pages are gone. failure::not_applied: run the
  ///   transaction again; failure::outcome_unknown: ask outcome(id) first; failure::fatal: this
  ///   replica cannot go on; errc::too_large: it never fits.
  [[nodiscard]] virtual commit_result commit(std::span<database_write> changes) noexcept = 0;

  /// A sentence for people: what went wrong and what to do, with the leader's name where it is
  /// known.
  [[nodiscard]] virtual std::string explain(std::error_code error) const = 0;

  // ---- the adapter's clock and random numbers; any thread, a lock of the VFS may be held

  /// What the adapter declares.
  [[nodiscard]] virtual const consensus_abilities& abilities() const noexcept = 0;
  /// See `tells_the_time`. @pre it declares now
  [[nodiscard]] virtual clock_reading now() noexcept = 0;
  /// See `draws_random_numbers`. @pre it declares random
  [[nodiscard]] virtual std::uint64_t random() noexcept = 0;
  /// Blocks the caller for so long, by the adapter's clock. No lock of the VFS is held.
  virtual void sleep(milliseconds span) noexcept = 0;

 protected:
  ~vfs_host() = default;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
