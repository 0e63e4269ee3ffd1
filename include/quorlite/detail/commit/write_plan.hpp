/// @file
/// From the pages that a writer changed to the entries that say so: deltas against the state it
/// built on, cut to the size that the engine takes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <system_error>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/codec/command.hpp"
#include "quorlite/detail/machine/database_write.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The page records of one transaction, database by database, and the entries that carry them. Its
/// records point to deltas that it owns, so it stays where it is, and to the images of the pages
/// themselves. One thread.
class write_plan {
 public:
  write_plan() = default;
  write_plan(const write_plan&) = delete;
  write_plan& operator=(const write_plan&) = delete;

  /// What the same pages are in full, in bytes.
  [[nodiscard]] std::uint64_t full_page_bytes() const noexcept { return full_page_bytes_; }

  /// Adds one database. Sets in `write` the hash of each page, the hash of the result, and the
  /// version that the commit makes. Pages that are what they were are taken out, except for one if
  /// there is no other: a commit is a version, whatever it changes.
  ///
  /// Blocks on the storage where a page of the base is not in memory.
  /// @param write its pages outlive entries() @pre at least one page, images filled; called
  ///   ascending by name
  /// @returns errors of page_store::reader::image(); errc::stale_term means that the base was taken
  ///   back. After any error the plan is of no use.
  [[nodiscard]] std::error_code add(database_write& write);

  /// The entries, in order; the last one commits.
  /// @param witness of what they were planned on; none: they are of format 1
  /// @param at_most bytes of one entry
  /// @returns errc::too_large: a page does not fit into one entry, or all entries together do not
  ///   fit into limits::staged_bytes; errc::malformed: a rule of the format is broken
  [[nodiscard]] result<std::vector<bytes>> entries(transaction_id id, std::size_t at_most,
                                                   std::uint64_t lock_byte,
                                                   const history_witness& witness = {});

 private:
  struct cursor {
    std::size_t database = 0;
    std::size_t page = 0;
  };

  [[nodiscard]] result<bool> record_page(const page_version& page, bool needed,
                                         const page_store::pin& base, page_store::reader& reader,
                                         std::vector<page_record>& into);
  void set_payloads();
  [[nodiscard]] bool take_part(cursor& next, std::size_t at_most,
                               std::vector<database_write_set>& into) const;

  std::vector<database_write_set> databases_;
  bytes payloads_;                        ///< of deltas
  std::vector<std::size_t> delta_bytes_;  ///< of each, in the order of the records
  std::uint64_t full_page_bytes_ = 0;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/commit/write_plan.ipp"  // IWYU pragma: keep
#endif
