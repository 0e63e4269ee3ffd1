/// @file
/// Bodies of version_chains.hpp: how chains grow, are pruned, and meet the base.
#pragma once

#include "quorlite/detail/pages/version_chains.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/detail/codec/page_delta.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/pages/page_version.hpp"
#include "quorlite/detail/pages/pin_ledger.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL version_chains::~version_chains() {
  table_.visit(0, version_number{}, limits::page_count_max, [this](page_number number) {
    for (page_version* node = table_.head(number); node != nullptr;) {
      page_version* const older = node->older_.load(std::memory_order_relaxed);
      page_deleter{}(node);
      node = older;
    }
    return true;
  });
}

QUORLITE_DECL void version_chains::set_base_hash(page_number number, std::uint64_t hash) noexcept {
  table_.set_base_hash(number, hash);
}

QUORLITE_DECL page_block version_chains::make_tombstone(page_number number) {
  return page_version::allocate(number, 0);
}

QUORLITE_DECL void version_chains::link(page_block page, version_number version,
                                        node_list& of_version) noexcept {
  page_version* const node = page.release();
  page_version* const head = table_.head(node->number_);
  QUORLITE_ASSERT(head == nullptr || head->version_ < version);
  node->version_ = version;
  node->older_.store(head, std::memory_order_relaxed);
  if (head != nullptr) {
    head->newer_ = node;
  }
  count(*node);
  of_version.push_back(node, page_place::pending);
  table_.set_head(node->number_, node);
}

QUORLITE_DECL void version_chains::settle(node_list nodes) noexcept {
  while (!nodes.empty()) {
    page_version* const node = nodes.pop_front();
    node->place_ = page_place::settled;
    page_version* const older = node->older_.load(std::memory_order_relaxed);
    if (older != nullptr) {
      QUORLITE_ASSERT(older->place_ == page_place::settled);
      examine(older);
    } else if (node->is_tombstone()) {
      unlink(node);  // the page went into the base only, while this was pending
    }
  }
}

QUORLITE_DECL void version_chains::pop(node_list nodes) noexcept {
  while (!nodes.empty()) {
    page_version* const node = nodes.pop_front();
    QUORLITE_ASSERT(node->newer_ == nullptr);
    unlink(node);
  }
}

QUORLITE_DECL void version_chains::settle_base(page_number number, version_number upto) noexcept {
  page_version* const now = newest(upto, number);
  for (page_version* node = now; node != nullptr;
       node = node->older_.load(std::memory_order_relaxed)) {
    set_clean(*node);
  }
  table_.set_base_hash(number, now == nullptr ? 0 : now->hash_);
  if (now != nullptr && now->patch_) {
    static_cast<void>(evict(now));
  }
}

QUORLITE_DECL std::uint64_t version_chains::evict_some(std::uint64_t hand, std::size_t enough_bytes,
                                                       std::size_t most_pages) {
  const std::size_t before = bytes_;
  std::uint64_t next = 0;
  table_.visit(hand, version_number{}, limits::page_count_max, [&](page_number number) {
    if (before - bytes_ >= enough_bytes || most_pages == 0) {
      next = number.value;
      return false;
    }
    --most_pages;
    page_version* node = table_.head(number);
    while (node != nullptr && node->place_ == page_place::pending) {
      node = node->older_.load(std::memory_order_relaxed);
    }
    if (node != nullptr) {
      static_cast<void>(evict(node));
    }
    return true;
  });
  return next;
}

QUORLITE_DECL version_chains::base_need version_chains::need_of_base(
    page_number number, version_number upto) const noexcept {
  base_need need;
  const page_version* node = newest(upto, number);
  const page_version* lowest = node;
  for (; node != nullptr; node = node->older_.load(std::memory_order_relaxed)) {
    need.patches = need.patches || (node->patch_ && is_seen(*node, upto));
    lowest = node;
  }
  const version_number before = lowest == nullptr ? upto : lowest->version_;
  need.image = pins_.any_with_page(number, before);
  return need;
}

QUORLITE_DECL void version_chains::look_again(node_list kept) noexcept {
  held_.nodes -= kept.size();
  held_.bytes -= kept.size_bytes();
  backlog_.splice_back(kept);
}

QUORLITE_DECL std::size_t version_chains::work(std::size_t most,
                                               std::size_t worth_a_scan) noexcept {
  std::size_t done = 0;
  for (; done < most && !backlog_.empty(); ++done) {
    examine(backlog_.pop_front());
  }
  if (limbo_.limbo_size() >= worth_a_scan) {
    done += limbo_.collect(2 * most + std::exchange(unlinked_, 0));
  }
  return done;
}

QUORLITE_DECL bool version_chains::is_seen(const page_version& node,
                                           version_number upto) const noexcept {
  return node.newer_ != nullptr && node.newer_->version_ <= upto &&
         pins_.any_within(node.version_, node.newer_->version_) != nullptr;
}

QUORLITE_DECL page_version* version_chains::lowest(page_number number) const noexcept {
  page_version* node = table_.head(number);
  for (page_version* older = node; older != nullptr;
       older = older->older_.load(std::memory_order_relaxed)) {
    node = older;
  }
  return node;
}

QUORLITE_DECL page_block version_chains::copy_of(page_number number, std::uint64_t hash,
                                                 bytes_view image) {
  page_block page = make_page(number, static_cast<std::uint32_t>(image.size()));
  std::memcpy(page->image().data(), image.data(), image.size());
  page->set_hash(hash);
  return page;
}

QUORLITE_DECL void version_chains::count(page_version& node) noexcept {
  ++(node.is_tombstone() ? tombstones_ : images_);
  bytes_ += node.size_bytes();
  dirty_bytes_ += node.clean_ ? 0 : node.size_bytes();
}

QUORLITE_DECL void version_chains::set_clean(page_version& node) noexcept {
  dirty_bytes_ -= node.clean_ ? 0 : node.size_bytes();
  node.clean_ = true;
}

QUORLITE_DECL bool version_chains::evict(page_version* node) noexcept {
  const bool fits = node->clean_ && node->place_ == page_place::settled &&
                    node->older_.load(std::memory_order_relaxed) == nullptr;
  if (fits) {
    unlink(node);
  }
  return fits;
}

QUORLITE_DECL void version_chains::link_below(page_version* newer, page_block page,
                                              version_number version) noexcept {
  page_version* const node = insert_below(newer, std::move(page), version);
  if (newer->place_ != page_place::pending) {
    examine(node);
  }
}

QUORLITE_DECL page_version* version_chains::insert_below(page_version* newer, page_block page,
                                                         version_number version) noexcept {
  page_version* const node = page.release();
  page_version* const older = newer->older_.load(std::memory_order_relaxed);
  node->version_ = version;
  node->clean_ = true;
  node->place_ = page_place::settled;
  node->newer_ = newer;
  node->older_.store(older, std::memory_order_relaxed);
  if (older != nullptr) {
    older->newer_ = node;
  }
  count(*node);
  newer->older_.store(node, std::memory_order_release);
  return node;
}

QUORLITE_DECL void version_chains::examine(page_version* node) noexcept {
  page_version* const newer = node->newer_;
  const bool bottom = node->older_.load(std::memory_order_relaxed) == nullptr;
  // A tombstone with nothing older says what no version at all says: nobody needs it.
  if (!(bottom && node->is_tombstone())) {
    pin_record* const keeper = pins_.any_within(node->version_, newer->version_);
    if (keeper != nullptr) {
      pins_.hold(*keeper, node);
      ++held_.nodes;
      held_.bytes += node->size_bytes();
      return;
    }
  }
  unlink(node);
  if (bottom && newer->is_tombstone() && newer->place_ == page_place::settled) {
    unlink(newer);  // if it is in a list, it goes when its turn comes
  } else if (bottom && size_bytes() > evict_above_) {
    static_cast<void>(evict(newer));
  }
}

QUORLITE_DECL void version_chains::unlink(page_version* node) noexcept {
  page_version* const newer = node->newer_;
  page_version* const older = node->older_.load(std::memory_order_relaxed);
  if (older != nullptr) {
    older->newer_ = newer;
  }
  if (newer != nullptr) {
    newer->older_.store(older, std::memory_order_release);
  } else {
    table_.set_head(node->number_, older);
  }
  --(node->is_tombstone() ? tombstones_ : images_);
  bytes_ -= node->size_bytes();
  dirty_bytes_ -= node->clean_ ? 0 : node->size_bytes();
  ++unlinked_;
  limbo_.retire(node);
}

/// The page was cut off while no version of it was in memory to say so: says it now, and keeps what
/// the base has of it for those who stand below. @pre somebody does
QUORLITE_DECL void version_chains::keep_cut(page_number number, version_number upto,
                                            bytes_view base) {
  page_block image = copy_of(number, table_.base_hash(number), base);
  page_block tombstone = make_tombstone(number);
  page_version* const above = lowest(number);
  page_version* const mark = tombstone.get();
  if (above != nullptr) {
    insert_below(above, std::move(tombstone), upto);
  } else {
    mark->version_ = upto;
    mark->clean_ = true;
    mark->place_ = page_place::settled;
    count(*mark);
    table_.set_head(number, tombstone.release());
  }
  link_below(mark, std::move(image), version_number{});
  // Not before it has something below it: as the last of its chain it would go at once.
  if (above != nullptr && above->place_ != page_place::pending) {
    examine(mark);
  }
}

QUORLITE_DECL std::error_code version_chains::keep_base(page_number number, version_number upto,
                                                        const base_need& need, bytes_view base) {
  page_version* const now = newest(upto, number);
  if (now == nullptr) {
    if (need.image && pins_.any_with_page(number, upto)) {
      keep_cut(number, upto, base);
    }
    return {};
  }
  for (page_version* node = now->older_.load(std::memory_order_relaxed); node != nullptr;) {
    page_version* const older = node->older_.load(std::memory_order_relaxed);
    if (node->patch_ && is_seen(*node, upto)) {
      page_block whole = copy_of(number, node->hash_, base);
      const std::error_code error = apply_delta(node->patch(), whole->image());
      if (error || page_hash(number, whole->image()) != node->hash_) {
        return make_error_code(errc::corrupt);
      }
      link_below(node->newer_, std::move(whole), node->version_);
    }
    node = older;
  }
  page_version* const last = lowest(number);
  if (need.image && last != nullptr && pins_.any_with_page(number, last->version_)) {
    link_below(last, copy_of(number, table_.base_hash(number), base), version_number{});
  }
  return {};
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
