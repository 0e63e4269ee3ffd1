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
#include <system_error>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/pages/page_table.hpp"
#include "quorlite/detail/pages/page_version.hpp"
#include "quorlite/detail/pages/pin_ledger.hpp"
#include "quorlite/detail/pages/reclaim.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Some nodes, and their memory.
struct node_count {
  std::size_t nodes = 0;
  std::size_t bytes = 0;
};

/// Owns every page version of a store. `find` and `visit` run on any thread under a read_guard; all
/// else under the store's mutex, `find` without a guard as well.
class version_chains {
 public:
  explicit version_chains(reclaimer& limbo) noexcept : limbo_(limbo) {}
  version_chains(const version_chains&) = delete;
  version_chains& operator=(const version_chains&) = delete;
  ~version_chains();

  /// The newest version of a page at or below `at`; nullptr: there is none, or the page is cut off.
  [[nodiscard]] const page_version* find(version_number at, page_number number) const noexcept;

  /// See page_table.
  template <class Visit>
  void visit(version_number since, std::uint64_t last, Visit visit) const;
  [[nodiscard]] std::uint64_t base_hash(page_number number) const noexcept {
    return table_.base_hash(number);
  }
  /// @pre make_room(number) was called once
  void set_base_hash(page_number number, std::uint64_t hash) noexcept;

  /// Makes sure that link() of this page cannot fail. @throws std::bad_alloc
  void make_room(page_number number) { table_.make_room(number); }

  /// A tombstone for link(). @throws std::bad_alloc
  [[nodiscard]] static page_block make_tombstone(page_number number);

  /// Puts a page in front of its chain, as part of `version`, and into the list of that version.
  /// @pre make_room was called, and every version in the chain is older
  void link(page_block page, version_number version, node_list& of_version) noexcept;

  /// The version of these nodes was committed just now: what they supersede goes, or is held.
  /// @param nodes all of that version, as link() listed them
  void settle(node_list nodes) noexcept;

  /// Takes the newest version back. @param nodes all of that version, as link() listed them
  void pop(node_list nodes) noexcept;

  /// The base holds this page as of `upto` from now on. A patch goes: the base is as good.
  void settle_base(page_number number, version_number upto) noexcept;

  /// Drops versions that the base holds, from page `hand` on, until `enough_bytes` are gone or
  /// `most_pages` were looked at. @returns where to go on; 0: it has come to the end
  std::uint64_t evict_some(std::uint64_t hand, std::size_t enough_bytes, std::size_t most_pages);

  /// While chains and table take more than this, a version that the base holds goes as soon as the
  /// last one below it does: evict_some() could not drop it while somebody stood there.
  void evict_above(std::size_t bytes) noexcept { evict_above_ = bytes; }

  /// What a flush of this page as of `upto` would take from those who stand below it.
  struct base_need {
    bool image = false;    ///< the image in the base itself
    bool patches = false;  ///< what patches make of it
  };
  [[nodiscard]] base_need need_of_base(page_number number, version_number upto) const noexcept;

  /// Keeps for those who stand below `upto` what they find in the base only.
  /// @param need as need_of_base() said, or more @param base what the base holds: the page's old
  ///   image if that is needed; else that or any mixture with images up to `upto`
  /// @throws std::bad_alloc: what was kept so far stays @returns errc::corrupt: a patch does not
  ///   make of it what it should
  [[nodiscard]] std::error_code keep_base(page_number number, version_number upto,
                                          const base_need& need, bytes_view base);

  /// The pinned states. A pin is taken with pins().add(); what pins().remove() and
  /// pins().end() give goes to look_again().
  [[nodiscard]] pin_ledger& pins() noexcept { return pins_; }
  [[nodiscard]] const pin_ledger& pins() const noexcept { return pins_; }

  /// A pin is gone, or was ended. What it alone had kept waits for work(): a long pin may have kept
  /// a whole database, and no single call shall pay for that.
  void look_again(node_list kept) noexcept;

  /// Looks at no more than `most` versions again that lost their pin, and frees no more than twice
  /// that and what was unlinked since the last call. Leaves limbo alone below `worth_a_scan` nodes.
  /// @returns how much it did
  std::size_t work(std::size_t most, std::size_t worth_a_scan) noexcept;

  /// Versions in the chains, and what they and the table take.
  [[nodiscard]] std::size_t images() const noexcept { return images_; }
  [[nodiscard]] std::size_t tombstones() const noexcept { return tombstones_; }
  [[nodiscard]] std::size_t size_bytes() const noexcept { return bytes_ + table_.size_bytes(); }
  /// Of the versions that the base does not hold.
  [[nodiscard]] std::size_t dirty_bytes() const noexcept { return dirty_bytes_; }
  /// Superseded versions: kept by a pin, and waiting to be looked at again.
  [[nodiscard]] const node_count& held() const noexcept { return held_; }
  [[nodiscard]] std::size_t backlog_size() const noexcept { return backlog_.size(); }

 private:
  /// The newest version at or below `at`, a tombstone perhaps.
  [[nodiscard]] page_version* newest(version_number at, page_number number) const noexcept;

  /// True if somebody stands where this node is the newest, below `upto`.
  [[nodiscard]] bool is_seen(const page_version& node, version_number upto) const noexcept;
  [[nodiscard]] page_version* lowest(page_number number) const noexcept;
  [[nodiscard]] static page_block copy_of(page_number number, std::uint64_t hash, bytes_view image);
  void keep_cut(page_number number, version_number upto, bytes_view base);

  void count(page_version& node) noexcept;
  void set_clean(page_version& node) noexcept;

  /// Drops a version that the base holds, if nothing lies below it: then the base shows it to
  /// everybody who sees it. @pre committed
  bool evict(page_version* node) noexcept;

  /// Puts a node between `newer` and what is below that, as something superseded.
  void link_below(page_version* newer, page_block page, version_number version) noexcept;

  /// The same, to be looked at by the caller.
  page_version* insert_below(page_version* newer, page_block page, version_number version) noexcept;

  /// Prunes a superseded version, or gives it to a pin that sees it.
  /// @pre its next newer version is committed, and it is in no list
  void examine(page_version* node) noexcept;

  /// Takes a node that is in no list out of its chain, for good.
  void unlink(page_version* node) noexcept;

  reclaimer& limbo_;
  page_table table_;
  pin_ledger pins_;
  node_list backlog_;
  std::size_t images_ = 0;
  std::size_t tombstones_ = 0;
  std::size_t bytes_ = 0;
  std::size_t dirty_bytes_ = 0;
  std::size_t evict_above_ = ~std::size_t{0};
  node_count held_;
  std::size_t unlinked_ = 0;  // since the last look at limbo
};

inline const page_version* version_chains::find(version_number at,
                                                page_number number) const noexcept {
  const page_version* const node = newest(at, number);
  return node == nullptr || node->is_tombstone() ? nullptr : node;
}

template <class Visit>
void version_chains::visit(version_number since, std::uint64_t last, Visit visit) const {
  table_.visit(0, since, last, visit);
}

inline page_version* version_chains::newest(version_number at, page_number number) const noexcept {
  page_version* node = table_.head(number);
  while (node != nullptr && node->version_ > at) {
    node = node->older_.load(std::memory_order_acquire);
  }
  return node;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/pages/version_chains.ipp"  // IWYU pragma: keep
#endif
