/// @file
/// One database's share in a transaction, on its whole way: from the pages that a writer changed,
/// or that an entry says, to the version that the commit makes true.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/pages/page_store.hpp"
#include "quorlite/detail/pages/registry.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The right to propose, taken when a transaction takes its write lock. It is void once leadership
/// changes hands: the term fences the proposal, the history fences the pages.
struct write_ticket {
  quorlite::term term;
  history_number history;
};

/// What a transaction does to one database. Who fills a member stands beside it: the writer, then
/// the plan (write_plan), then the install. A proposal on its way keeps all of it but the pages.
/// Movable.
struct database_write {
  std::shared_ptr<database> target;
  std::shared_ptr<page_store> store;      ///< the content that the transaction was built on
  const page_store::pin* base = nullptr;  ///< writer: the state it was built on; stays the caller's
  const void* writer = nullptr;           ///< writer: who holds the writer slot
  write_ticket ticket;                    ///< writer
  std::vector<page_block> pages;  ///< ascending, each once, all of one size; moved away at install
  std::uint64_t page_count = 0;   ///< pages after the commit
  std::uint64_t hash = 0;         ///< plan: of the database after the commit
  version_number version;         ///< plan: that the commit makes
  std::optional<page_store::pin> committed;  ///< out: that version, once it is installed
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
