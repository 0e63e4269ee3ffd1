/// @file
/// The chains of page versions of one database, and the rule that prunes them.
///
/// A chain runs from the newest version of a page to the oldest. Everything above committed stays:
/// it may be taken back. Of the rest the newest stays, and any other version v whose next newer one
/// is n stays exactly as long as a pin lies in [v, n): that pin sees v. New pins are never taken
/// below committed, so what may go now may go for ever, and each superseded version has to be
/// looked at again only when the one pinned state that keeps it loses its last pin.
///
/// Below the chains lies the base, in a storage. Whoever finds no version at or below their own
/// looks there. So two things may happen to a chain because of the base:
/// * the oldest version goes although it is needed, if the base holds it (evict);
/// * before a flush overwrites a page in the base, whoever stands on an older state gets what they
///   would have read there: the old image is linked below the chain, with version 0, and patches
///   become images (keep_base).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "quorlite/detail/codec/page_delta.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"
#include "quorlite/detail/pages/page_table.hpp"
#include "quorlite/detail/pages/page_version.hpp"
#include "quorlite/detail/pages/pin_ledger.hpp"
#include "quorlite/detail/pages/reclaim.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Owns every page version of a store. `find` and `visit` run on any thread under a read_guard; all
/// else under the store's mutex, `find` without a guard as well.
class version_chains {
 public:
  explicit version_chains(reclaimer& limbo) noexcept : limbo_(limbo) {}
  version_chains(const version_chains&) = delete;
  version_chains& operator=(const version_chains&) = delete;
  ~version_chains() {
    table_.visit(0, version_number{}, limits::page_count_max, [this](page_number number) {
      for (page_version* node = table_.head(number); node != nullptr;) {
        page_version* const older = node->older_.load(std::memory_order_relaxed);
        page_deleter{}(node);
        node = older;
      }
      return true;
    });
  }

  /// The newest version of a page at or below `at`; nullptr: there is none, or the page is cut off.
  [[nodiscard]] const page_version* find(version_number at, page_number number) const noexcept {
    const page_version* const node = newest(at, number);
    return node == nullptr || node->is_tombstone() ? nullptr : node;
  }

  /// See page_table.
  template <class Visit>
  void visit(version_number since, std::uint64_t last, Visit visit) const {
    table_.visit(0, since, last, visit);
  }
  [[nodiscard]] std::uint64_t base_hash(page_number number) const noexcept {
    return table_.base_hash(number);
  }
  /// @pre make_room(number) was called once
  void set_base_hash(page_number number, std::uint64_t hash) noexcept {
    table_.set_base_hash(number, hash);
  }

  /// Makes sure that link() of this page cannot fail. @throws std::bad_alloc
  void make_room(page_number number) { table_.make_room(number); }

  /// A tombstone for link(). @throws std::bad_alloc
  [[nodiscard]] static page_block make_tombstone(page_number number) {
    return page_version::allocate(number, 0);
  }

  /// Puts a page in front of its chain, as part of `version`, and into the list of that version.
  /// @pre make_room was called, and every version in the chain is older
  void link(page_block page, version_number version, node_list& of_version) noexcept {
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

  /// The version of these nodes was committed just now: what they supersede goes, or is held.
  /// @param nodes all of that version, as link() listed them
  void settle(node_list nodes) noexcept {
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

  /// Takes the newest version back. @param nodes all of that version, as link() listed them
  void pop(node_list nodes) noexcept {
    while (!nodes.empty()) {
      page_version* const node = nodes.pop_front();
      QUORLITE_ASSERT(node->newer_ == nullptr);
      unlink(node);
    }
  }

  /// The base holds this page as of `upto` from now on. A patch goes: the base is as good.
  void settle_base(page_number number, version_number upto) noexcept {
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

  /// Drops versions that the base holds, from page `hand` on, until `enough_bytes` are gone or
  /// `most_pages` were looked at. @returns where to go on; 0: it has come to the end
  std::uint64_t evict_some(std::uint64_t hand, std::size_t enough_bytes, std::size_t most_pages) {
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

  /// What a flush of this page as of `upto` would take from those who stand below it.
  struct base_need {
    bool image = false;    ///< the image in the base itself
    bool patches = false;  ///< what patches make of it
  };
  [[nodiscard]] base_need need_of_base(page_number number, version_number upto) const noexcept {
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

  /// Keeps for those who stand below `upto` what they find in the base only.
  /// @param need as need_of_base() said, or more @param base what the base holds: the page's old
  ///   image if that is needed; else that or any mixture with images up to `upto`
  /// @throws std::bad_alloc: what was kept so far stays @returns errc::corrupt: a patch does not
  ///   make of it what it should
  [[nodiscard]] std::error_code keep_base(page_number number, version_number upto,
                                          const base_need& need, bytes_view base);

  /// The pinned states. A pin is taken with pins().add() and given back with unpin().
  [[nodiscard]] pin_ledger& pins() noexcept { return pins_; }
  [[nodiscard]] const pin_ledger& pins() const noexcept { return pins_; }

  /// A pin ends. What it alone had kept waits for work(): a long pin may have kept a whole
  /// database, and no single call shall pay for that.
  void unpin(pin_record* record) noexcept {
    node_list kept = pins_.remove(record);
    held_ -= kept.size();
    backlog_.splice_back(kept);
  }

  /// Looks at no more than `most` versions again that lost their pin, and frees no more than twice
  /// that and what was unlinked since the last call. Leaves limbo alone below `worth_a_scan` nodes.
  /// @returns how much it did
  std::size_t work(std::size_t most, std::size_t worth_a_scan) noexcept {
    std::size_t done = 0;
    for (; done < most && !backlog_.empty(); ++done) {
      examine(backlog_.pop_front());
    }
    if (limbo_.limbo_size() >= worth_a_scan) {
      done += limbo_.collect(2 * most + std::exchange(unlinked_, 0));
    }
    return done;
  }

  /// Versions in the chains, and what they and the table take.
  [[nodiscard]] std::size_t images() const noexcept { return images_; }
  [[nodiscard]] std::size_t tombstones() const noexcept { return tombstones_; }
  [[nodiscard]] std::size_t size_bytes() const noexcept { return bytes_ + table_.size_bytes(); }
  /// Of the versions that the base does not hold.
  [[nodiscard]] std::size_t dirty_bytes() const noexcept { return dirty_bytes_; }
  /// Superseded versions: kept by a pin, and waiting to be looked at again.
  [[nodiscard]] std::size_t held_size() const noexcept { return held_; }
  [[nodiscard]] std::size_t backlog_size() const noexcept { return backlog_.size(); }

 private:
  /// The newest version at or below `at`, a tombstone perhaps.
  [[nodiscard]] page_version* newest(version_number at, page_number number) const noexcept {
    page_version* node = table_.head(number);
    while (node != nullptr && node->version_ > at) {
      node = node->older_.load(std::memory_order_acquire);
    }
    return node;
  }

  /// True if somebody stands where this node is the newest, below `upto`.
  [[nodiscard]] bool is_seen(const page_version& node, version_number upto) const noexcept {
    return node.newer_ != nullptr && node.newer_->version_ <= upto &&
           pins_.any_within(node.version_, node.newer_->version_) != nullptr;
  }
  [[nodiscard]] page_version* lowest(page_number number) const noexcept {
    page_version* node = table_.head(number);
    for (page_version* older = node; older != nullptr;
         older = older->older_.load(std::memory_order_relaxed)) {
      node = older;
    }
    return node;
  }
  [[nodiscard]] static page_block copy_of(page_number number, std::uint64_t hash,
                                          bytes_view image) {
    page_block page = make_page(number, static_cast<std::uint32_t>(image.size()));
    std::memcpy(page->image().data(), image.data(), image.size());
    page->set_hash(hash);
    return page;
  }
  void mark_cut(page_number number, version_number upto);

  void count(page_version& node) noexcept {
    ++(node.is_tombstone() ? tombstones_ : images_);
    bytes_ += node.size_bytes();
    dirty_bytes_ += node.clean_ ? 0 : node.size_bytes();
  }
  void set_clean(page_version& node) noexcept {
    dirty_bytes_ -= node.clean_ ? 0 : node.size_bytes();
    node.clean_ = true;
  }

  /// Drops a version that the base holds, if nothing lies below it: then the base shows it to
  /// everybody who sees it. @pre committed
  bool evict(page_version* node) noexcept {
    const bool fits = node->clean_ && node->place_ == page_place::settled &&
                      node->older_.load(std::memory_order_relaxed) == nullptr;
    if (fits) {
      unlink(node);
    }
    return fits;
  }

  /// Puts a node between `newer` and what is below that, as something superseded.
  void link_below(page_version* newer, page_block page, version_number version) noexcept {
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
    if (newer->place_ != page_place::pending) {
      examine(node);
    }
  }

  /// Prunes a superseded version, or gives it to a pin that sees it.
  /// @pre its next newer version is committed, and it is in no list
  void examine(page_version* node) noexcept {
    page_version* const newer = node->newer_;
    const bool bottom = node->older_.load(std::memory_order_relaxed) == nullptr;
    // A tombstone with nothing older says what no version at all says: nobody needs it.
    if (!(bottom && node->is_tombstone())) {
      pin_record* const keeper = pins_.any_within(node->version_, newer->version_);
      if (keeper != nullptr) {
        keeper->held.push_back(node, page_place::superseded);
        ++held_;
        return;
      }
    }
    unlink(node);
    if (bottom && newer->is_tombstone() && newer->place_ == page_place::settled) {
      unlink(newer);  // if it is in a list, it goes when its turn comes
    }
  }

  /// Takes a node that is in no list out of its chain, for good.
  void unlink(page_version* node) noexcept {
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

  reclaimer& limbo_;
  page_table table_;
  pin_ledger pins_;
  node_list backlog_;
  std::size_t images_ = 0;
  std::size_t tombstones_ = 0;
  std::size_t bytes_ = 0;
  std::size_t dirty_bytes_ = 0;
  std::size_t held_ = 0;
  std::size_t unlinked_ = 0;  // since the last look at limbo
};

/// The page was cut off while no version of it was in memory to say so: says it now.
inline void version_chains::mark_cut(page_number number, version_number upto) {
  page_block mark = make_tombstone(number);
  page_version* const above = lowest(number);
  if (above != nullptr) {
    link_below(above, std::move(mark), upto);
    return;
  }
  page_version* const node = mark.release();
  node->version_ = upto;
  node->clean_ = true;
  node->place_ = page_place::settled;
  count(*node);
  table_.set_head(number, node);
}

inline std::error_code version_chains::keep_base(page_number number, version_number upto,
                                                 const base_need& need, bytes_view base) {
  if (need.image && newest(upto, number) == nullptr) {
    mark_cut(number, upto);
  }
  page_version* const now = newest(upto, number);
  if (now == nullptr) {
    return {};  // nobody who needed it is left
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
