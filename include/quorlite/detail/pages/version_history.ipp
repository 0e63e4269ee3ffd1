/// @file
/// Bodies of version_history.hpp: how versions are made, committed and taken back.
#pragma once

#include "quorlite/detail/pages/version_history.hpp"

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/pages/page_version.hpp"
#include "quorlite/detail/pages/pin_ledger.hpp"
#include "quorlite/detail/pages/reclaim.hpp"
#include "quorlite/detail/pages/version_chains.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL version_history::version_history(const database_state& from, std::uint64_t lock_byte,
                                               reclaimer& limbo)
    : lock_byte_(lock_byte), committed_(from), chains_(limbo) {
  QUORLITE_ASSERT(from.page_size == 0 || is_page_size(from.page_size));
  QUORLITE_ASSERT(from.page_count == 0 || (from.page_size != 0 && from.version.value != 0));
  QUORLITE_ASSERT(from.page_count <= limits::page_count_max);
}

QUORLITE_DECL const database_state& version_history::state_at(
    version_number version) const noexcept {
  const std::uint64_t above = version.value - committed_.version.value;
  QUORLITE_ASSERT(above <= pending_.size());
  return above == 0 ? committed_ : pending_[static_cast<std::size_t>(above - 1)].at;
}

QUORLITE_DECL void version_history::load(page_block page) {
  QUORLITE_ASSERT(page != nullptr && !page->is_patch() && pending_.empty());
  QUORLITE_ASSERT(page->page_size() == committed_.page_size);
  QUORLITE_ASSERT(page->number().value <= committed_.page_count);
  QUORLITE_ASSERT(page->number().value != lock_page(committed_.page_size, lock_byte_));
  chains_.make_room(page->number());
  node_list loaded;
  chains_.link(std::move(page), committed_.version, loaded);
  chains_.settle(loaded);
}

QUORLITE_DECL void version_history::append(std::vector<page_block>& pages, std::uint64_t page_count,
                                           std::uint64_t hash, transaction_id by, bool restart) {
  const database_state old = head();
  const std::uint32_t page_size =
      old.page_size != 0 || pages.empty() ? old.page_size : pages.front()->page_size();
  const database_state next{.version = version_number{old.version.value + 1},
                            .page_count = page_count,
                            .hash = hash,
                            .page_size = page_size,
                            .uncounted = restart ? old.version.value : old.uncounted,
                            .made_by = by};
  check(pages, next);
  // First everything that may throw …
  std::vector<page_block> cut;
  for (std::uint64_t gone = page_count + 1; gone <= old.page_count; ++gone) {
    const page_number number{static_cast<std::uint32_t>(gone)};
    if (chains_.find(old.version, number) != nullptr) {
      cut.push_back(version_chains::make_tombstone(number));
    }
  }
  for (const page_block& page : pages) {
    chains_.make_room(page->number());
  }
  pending_.push_back({.at = next, .nodes = {}});
  // … then everything that readers see.
  for (page_block& page : pages) {
    chains_.link(std::move(page), next.version, pending_.back().nodes);
  }
  for (page_block& mark : cut) {
    chains_.link(std::move(mark), next.version, pending_.back().nodes);
  }
  pages.clear();
}

QUORLITE_DECL void version_history::set_maker(transaction_id by) noexcept {
  QUORLITE_ASSERT(pending_.empty());
  committed_.made_by = by;
}

QUORLITE_DECL std::size_t version_history::commit_next() noexcept {
  QUORLITE_ASSERT(!pending_.empty());
  const pending_version oldest = pending_.front();
  pending_.pop_front();
  committed_ = oldest.at;
  chains_.settle(oldest.nodes);
  return oldest.nodes.size();
}

QUORLITE_DECL void version_history::discard() noexcept {
  chains_.pins().invalidate_above(committed_.version);
  for (; !pending_.empty(); pending_.pop_back()) {
    chains_.pop(pending_.back().nodes);
  }
}

QUORLITE_DECL void version_history::check(const std::vector<page_block>& pages,
                                          const database_state& next) const noexcept {
  const database_state& old = head();
  QUORLITE_ASSERT(next.page_count <= limits::page_count_max);
  QUORLITE_ASSERT(next.page_count == 0 || next.page_size != 0);
  const std::uint64_t never_data = next.page_size == 0 ? 0 : lock_page(next.page_size, lock_byte_);
  std::uint64_t last = 0;
  std::uint64_t added = 0;
  for (const page_block& page : pages) {
    QUORLITE_ASSERT(page != nullptr && page->number().value > last);
    last = page->number().value;
    QUORLITE_ASSERT(last != never_data);
    QUORLITE_ASSERT(page->is_patch() ? last <= old.page_count
                                     : page->page_size() == next.page_size);
    added += last > old.page_count ? 1 : 0;
  }
  QUORLITE_ASSERT(last <= next.page_count);
  if (next.page_count > old.page_count) {
    const bool over_lock = never_data > old.page_count && never_data <= next.page_count;
    QUORLITE_ASSERT(added == next.page_count - old.page_count - (over_lock ? 1 : 0));
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
