/// @file
/// What an entry of the log means, as values. The bytes are the business of codec/.
///
/// A decoded command borrows: every view in it points into the bytes that were decoded.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// How a page record carries its image.
enum class page_encoding : std::uint8_t {
  full = 0,   ///< payload: the page, page_size bytes
  delta = 1,  ///< payload: SET ranges on the image at the base version (page_delta.hpp)
  zero = 2,   ///< no payload: page_size zero bytes
};

/// One changed page.
struct page_record {
  page_number number;
  page_encoding encoding = page_encoding::full;
  std::uint64_t hash = 0;  ///< of the new image (page_hash.hpp)
  bytes_view payload;
};

/// What one transaction does to one database. `base_*`, `builds_on`, `page_size`, `page_count` and
/// `result_hash` are the same in every entry of the transaction.
struct database_write_set {
  std::string_view name;
  version_number base_version;    ///< the state that the transaction was built on …
  std::uint64_t base_hash = 0;    ///< … and its hash: a version alone can name two histories
  transaction_id builds_on{};     ///< … and who made it. {0, 0}: nobody whose name is known
  std::uint32_t page_size = 0;    ///< bytes
  std::uint64_t page_count = 0;   ///< pages after the commit
  std::uint64_t result_hash = 0;  ///< of the database after the commit
  /// Ascending, each at most once in a transaction; never the lock page.
  std::vector<page_record> pages;
};

/// A database of this name exists from here on. Idempotent.
struct open_command {
  std::string_view name;
};
/// Pages of a transaction. One that needs several entries sends part 0, 1, … and commits with the
/// last; until then its pages are staged, visible to nobody.
struct write_set_command {
  std::uint32_t part = 0;
  bool commit = true;
  std::vector<database_write_set> databases;  ///< ascending by name, at least one
};
/// The staged parts of this transaction are dropped.
struct undo_command {
  transaction_id target;
};
/// A hint: a good moment to flush. Changes nothing.
struct checkpoint_command {
  std::string_view name;  ///< empty: all databases
};
/// The database and its pages are gone. Idempotent.
struct drop_command {
  std::string_view name;
  transaction_id builds_on{};  ///< as in database_write_set
};
/// Holds nothing. Whoever proposed it knows, once it is applied, that everything before it is.
struct barrier_command {};

/// The history begins here: from now on entries are hashed, and say what they build on. The first
/// one counts.
struct identity_command {
  std::uint32_t format = 2;  ///< of the entries that are written from here on
  cluster_identity cluster;
};

/// What an entry tells of the history that its proposer had applied.
struct history_witness {
  log_index index;        ///< applied by the proposer; 0 in format 1, which tells nothing
  std::uint64_t low = 0;  ///< half of the hash as of that index

  friend constexpr bool operator==(const history_witness&,
                                   const history_witness&) noexcept = default;
};

/// One entry. `id` is what its proposer waits for.
struct command {
  transaction_id id;
  std::variant<open_command, write_set_command, undo_command, checkpoint_command, drop_command,
               barrier_command, identity_command>
      body;
  std::uint8_t format = 1;  ///< 2: with a witness, and with what its write sets and drops build on
  history_witness witness{};  ///< none in an identity entry
};

/// A command as its proposer sends it: of format 2 once there is a witness, or if it begins the
/// history.
[[nodiscard]] inline command command_of(transaction_id id, const history_witness& witness,
                                        decltype(command::body) body) {
  const bool begins = std::holds_alternative<identity_command>(body);
  const bool is_first_format = !begins && witness.index.value == 0;
  return {id, std::move(body), static_cast<std::uint8_t>(is_first_format ? 1 : 2),
          begins ? history_witness{} : witness};
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
