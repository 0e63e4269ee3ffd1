/// @file
/// The chains of page versions of one database, and the rule that prunes them.
///
/// A chain runs from the newest version of a page to the oldest. Everything above committed stays:
/// it may be taken back. Of the rest the newest stays, and any other version v whose next newer one
/// is n stays exactly as long as a pin lies in [v, n): that pin sees v. New pins are never taken
/// below committed, so what may go now may go for ever, and each superseded version has to be
/// looked at again only when the one pinned state that keeps it loses its last pin.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"
#include "quorlite/page_table.hpp"
#include "quorlite/page_version.hpp"
#include "quorlite/pin_ledger.hpp"
#include "quorlite/reclaim.hpp"

namespace quorlite {
inline namespace v0 {
/// What a store keeps in memory. All numbers are of the same moment.
struct page_store_usage {
  std::size_t images = 0;      ///< page images that somebody can find
  std::size_t tombstones = 0;  ///< marks of pages that were cut off
  std::size_t held = 0;        ///< of both: superseded, but seen by a pin
  std::size_t backlog = 0;     ///< of both: superseded, to be pruned by and by
  std::size_t limbo = 0;       ///< unlinked, freed as soon as no reader can stand on them
  std::size_t bytes = 0;       ///< all of the above and the page table
  std::size_t pending = 0;     ///< versions above committed
  std::uint64_t pins = 0;      ///< pins alive, doomed ones included
};

namespace detail {

/// Owns every page version of a store. `find` and `visit` run on any thread under a read_guard; all
/// else under the store's mutex, `find` without a guard as well.
class version_chains {
 public:
  explicit version_chains(reclaimer& limbo) noexcept : limbo_(limbo) {}
  version_chains(const version_chains&) = delete;
  version_chains& operator=(const version_chains&) = delete;
  ~version_chains() {
    table_.visit(version_number{}, limits::page_count_max, [this](page_number number) {
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
    const page_version* node = table_.head(number);
    while (node != nullptr && node->version_ > at) {
      node = node->older_.load(std::memory_order_acquire);
    }
    return node == nullptr || node->is_tombstone() ? nullptr : node;
  }

  /// See page_table::visit.
  template <class Visit>
  void visit(version_number since, std::uint64_t last, Visit visit) const {
    table_.visit(since, last, visit);
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
    ++(node->is_tombstone() ? tombstones_ : images_);
    bytes_ += sizeof(page_version) + node->image_size_;
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
  /// Superseded versions: kept by a pin, and waiting to be looked at again.
  [[nodiscard]] std::size_t held_size() const noexcept { return held_; }
  [[nodiscard]] std::size_t backlog_size() const noexcept { return backlog_.size(); }

 private:
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
    bytes_ -= sizeof(page_version) + node->image_size_;
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
  std::size_t held_ = 0;
  std::size_t unlinked_ = 0;  // since the last look at limbo
};

/// The states of one lineage on top of their chains: committed, and the pending ones above it.
/// Under the store's mutex.
class lineage {
 public:
  lineage(const database_state& from, std::uint64_t lock_byte, reclaimer& limbo) noexcept
      : lock_byte_(lock_byte), committed_(from), chains_(limbo) {
    QUORLITE_ASSERT(from.page_size == 0 || is_page_size(from.page_size));
    QUORLITE_ASSERT(from.page_count == 0 || (from.page_size != 0 && from.version.value != 0));
    QUORLITE_ASSERT(from.page_count <= limits::page_count_max);
  }

  [[nodiscard]] const database_state& committed() const noexcept { return committed_; }
  [[nodiscard]] const database_state& tip() const noexcept {
    return pending_.empty() ? committed_ : pending_.back().at;
  }
  /// @pre version in [committed, tip]
  [[nodiscard]] const database_state& state_at(version_number version) const noexcept {
    const std::uint64_t above = version.value - committed_.version.value;
    QUORLITE_ASSERT(above <= pending_.size());
    return above == 0 ? committed_ : pending_[static_cast<std::size_t>(above - 1)].at;
  }
  [[nodiscard]] std::size_t pending_size() const noexcept { return pending_.size(); }

  [[nodiscard]] version_chains& chains() noexcept { return chains_; }
  [[nodiscard]] const version_chains& chains() const noexcept { return chains_; }

  /// See page_store::load_page.
  void load(page_block page) {
    QUORLITE_ASSERT(page != nullptr && pending_.empty());
    QUORLITE_ASSERT(page->page_size() == committed_.page_size);
    QUORLITE_ASSERT(page->number().value <= committed_.page_count);
    QUORLITE_ASSERT(page->number().value != lock_page(committed_.page_size, lock_byte_));
    chains_.make_room(page->number());
    node_list loaded;
    chains_.link(std::move(page), committed_.version, loaded);
    chains_.settle(loaded);
  }

  /// Makes the version after the tip, pending. See page_store::install_tip.
  /// @param restart the log counts versions from this one on, which is 1
  void append(std::vector<page_block>& pages, std::uint64_t page_count, std::uint64_t hash,
              bool restart = false) {
    const database_state old = tip();
    const std::uint32_t page_size =
        old.page_size != 0 || pages.empty() ? old.page_size : pages.front()->page_size();
    const database_state next{.version = version_number{old.version.value + 1},
                              .page_count = page_count,
                              .hash = hash,
                              .page_size = page_size,
                              .uncounted = restart ? old.version.value : old.uncounted};
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

  /// Commits the oldest pending version. @returns how many nodes it has @pre there is one
  std::size_t promote() noexcept {
    QUORLITE_ASSERT(!pending_.empty());
    const pending_version oldest = pending_.front();
    pending_.pop_front();
    committed_ = oldest.at;
    chains_.settle(oldest.nodes);
    return oldest.nodes.size();
  }

  /// Takes everything above committed back. Pins first: whoever reads without a lock copies a page
  /// and then looks at its pin.
  void discard() noexcept {
    chains_.pins().doom_above(committed_.version);
    for (; !pending_.empty(); pending_.pop_back()) {
      chains_.pop(pending_.back().nodes);
    }
  }

 private:
  struct pending_version {
    database_state at;
    node_list nodes;
  };

  /// Only a programmer's mistakes are found here: entries from outside were validated before.
  void check(const std::vector<page_block>& pages, const database_state& next) const noexcept {
    const database_state& old = tip();
    QUORLITE_ASSERT(next.page_count <= limits::page_count_max);
    QUORLITE_ASSERT(next.page_count == 0 || next.page_size != 0);
    const std::uint64_t never_data =
        next.page_size == 0 ? 0 : lock_page(next.page_size, lock_byte_);
    std::uint64_t last = 0;
    std::uint64_t added = 0;
    for (const page_block& page : pages) {
      QUORLITE_ASSERT(page != nullptr && page->number().value > last);
      last = page->number().value;
      QUORLITE_ASSERT(page->page_size() == next.page_size && last != never_data);
      added += last > old.page_count ? 1 : 0;
    }
    QUORLITE_ASSERT(last <= next.page_count);
    if (next.page_count > old.page_count) {
      const bool over_lock = never_data > old.page_count && never_data <= next.page_count;
      QUORLITE_ASSERT(added == next.page_count - old.page_count - (over_lock ? 1 : 0));
    }
  }

  const std::uint64_t lock_byte_;
  database_state committed_;
  std::deque<pending_version> pending_;  // ascending, without gaps, from committed + 1
  version_chains chains_;
};

}  // namespace detail
}  // namespace v0
}  // namespace quorlite
