/// @file
/// What an entry of the 2018 format means to a machine.
#pragma once

#include <cstdint>
#include <string_view>
#include <variant>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/codec/command.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// A page of a foreign transaction.
struct foreign_page {
  page_number number;
  bytes_view image;  ///< page_size bytes at most; zeros follow a shorter one
};

/// Whole pages for one database, on whatever state it has: no base, no hash. They wait, visible to
/// nobody, for the frames of the same id and database that commit.
struct foreign_frames {
  transaction_id id;  ///< of term 0
  std::string_view name;
  std::uint32_t page_size = 0;   ///< bytes, a valid one
  std::uint64_t page_count = 0;  ///< pages after the commit; else without meaning
  bool commit = false;
  std::vector<foreign_page> pages;  ///< any order; of a page that comes twice the last one counts
};
/// What waits of this transaction is dropped. It may be one that nobody knows.
struct foreign_undo {
  transaction_id target;
};
/// Names a transaction of a database. In the log it changes nothing; among what a snapshot stages
/// it stands for a transaction that was refused, so that no later frames of it may commit.
struct foreign_mark {
  transaction_id id;
  std::string_view name;
};
/// Changes nothing.
struct foreign_nothing {};

/// Views point into the entry.
using foreign_command = std::variant<open_command, foreign_frames, foreign_undo, foreign_mark,
                                     checkpoint_command, foreign_nothing>;

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
