/// @file
/// The versions of one database: a committed state, pending ones above it, pins below, and the base
/// under all of them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/core/memory_gauge.hpp"
#include "quorlite/detail/pages/database_state.hpp"
#include "quorlite/detail/pages/page_source.hpp"
#include "quorlite/detail/pages/page_version.hpp"
#include "quorlite/detail/pages/pin_ledger.hpp"
#include "quorlite/detail/pages/reclaim.hpp"
#include "quorlite/detail/pages/store_share.hpp"
#include "quorlite/detail/pages/version_chains.hpp"
#include "quorlite/detail/pages/version_history.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The page versions of one database, of one history.
///
/// `committed` is what consensus confirmed; `head` is at or above it. Versions in (committed, head]
/// are *pending*: the leader's writer installed them, and they are committed in order (commit_next)
/// or all taken back (discard_head). A follower has none (install_committed).
///
/// A store may have a base (set_base): a storage that holds the pages as of some committed state.
/// What is not in memory is read from there. Without one every page is in memory.
///
/// Every call may be made on any thread. One mutex orders whatever changes something and is held
/// for O(pages of the call) at most; reading a page takes no lock. No call waits for a reader, and
/// none but page_store::reader::image() reads the base.
///
/// Memory: the versions that the base does not hold, those of its own that evict() left, and what
/// the pins see beyond them; 16 bytes for each page that ever was.
///
/// Always held by a shared_ptr: pins and readers keep the store, so that a handle may outlive one
/// that was replaced. A call may throw std::bad_alloc; then it changed nothing.
class page_store : public std::enable_shared_from_this<page_store> {
  class lease;

 public:
  using state = database_state;
  class reader;
  class pin;

  /// A store that stands at `from`, its pages still to be loaded (load_page), and none by default.
  /// @param history larger than that of any store which this one replaces
  /// @param lock_byte offset of the page that is never data; tests move it
  /// @param gauge is told of the memory that the store takes
  [[nodiscard]] static std::shared_ptr<page_store> make(
      const state& from = {}, history_number history = history_number{1},
      std::uint64_t lock_byte = limits::lock_byte_default,
      std::shared_ptr<memory_gauge> gauge = nullptr);

  page_store(const page_store&) = delete;
  page_store& operator=(const page_store&) = delete;

  /// Adds a page of the state that the store was made with; any order, each at most once.
  /// @pre no version was installed yet; within page_count, of the state's page size, hash set
  void load_page(page_block page);
  /// Tells who made the state that the store was made with. @pre no version was installed yet
  void set_maker(transaction_id by);

  // ---- the base. set_base once; the rest by whoever flushes, one thread at a time.

  /// Pages that are not in memory are read from `base` from now on. @pre it has no base yet
  /// @param page_count pages that the base holds
  void set_base(std::shared_ptr<const page_source> base, std::uint64_t page_count);
  [[nodiscard]] bool has_base() const noexcept;
  /// The hash of a page in the base, for loading: flushed() keeps them up to date afterwards.
  /// @throws std::bad_alloc
  void set_base_hash(page_number number, std::uint64_t hash);
  [[nodiscard]] std::uint64_t base_hash(page_number number) const noexcept;
  /// True if the base has this page; then it is not lost when no version is in memory.
  [[nodiscard]] bool is_in_base(page_number number) const noexcept;

  /// The base is about to be overwritten with the state of `target`: whoever stands on an older
  /// state keeps what they would have read there. Call it for each page that will be written, and
  /// for each that will be cut off, before the first byte changes. Reads the base if somebody does.
  /// @throws std::bad_alloc @returns errors of reader::image()
  [[nodiscard]] std::error_code keep_base(page_number number, const pin& target, reader& through);
  /// True if keep_base() has something to do for any page at all.
  [[nodiscard]] bool has_older_pins(const pin& target) const;

  /// The base holds the state of `at`, having held that of version `after` before. O(1024 pages for
  /// each that changed). @pre every page that changed in between was written, or is cut off
  void flushed(version_number after, const pin& at);

  /// Drops up to `at_most` bytes of versions that the base holds as well, going on where the last
  /// call ended. Where somebody stands below such a version it goes when they do, unless the store
  /// takes so much less by then, or the next call asks for less. O(pages in memory), in holds of
  /// the mutex of 4096 pages each.
  void evict(std::size_t at_most);

  /// The sum of the hashes of the pages of the committed state, each looked at. O(pages).
  [[nodiscard]] std::uint64_t sum_of_hashes() const;

  [[nodiscard]] state committed() const noexcept;
  [[nodiscard]] state head() const noexcept;
  /// The history number: grows with every discard_head(). Lock-free.
  [[nodiscard]] history_number history() const noexcept;

  /// Stands on the committed state as it is now.
  /// @param kind a reader may be ended, once committed has moved on, if readers keep too much
  [[nodiscard]] pin pin_committed(pin_kind kind = pin_kind::kept);
  /// Stands on the head as it is now: what a writer builds on.
  [[nodiscard]] pin pin_head(pin_kind kind = pin_kind::kept);
  /// Stands on a version in [committed, head]. @returns errc::stale_term: the history moved, or
  /// committed did, beyond `version`
  [[nodiscard]] result<pin> pin_version(history_number expected, version_number version,
                                        pin_kind kind = pin_kind::kept);

  /// The database's hash after `pages` are installed on the state of `on`: theirs are added, those
  /// of the pages they replace and of the pages that are cut off are taken away. Pages in between
  /// that do not exist (the lock page) count nothing. O(pages); reads no image.
  /// @pre every page has its hash. Of an invalidated pin the result means nothing.
  [[nodiscard]] std::uint64_t hash_after(std::span<const page_block> pages,
                                         std::uint64_t page_count, const pin& on) const;

  /// The leader's writer: makes a version on top of the head, pending. Moves the images, copies
  /// none.
  /// @param pages ascending by number, each at most once, none beyond `page_count`, never the lock
  ///   page; all of the database's page size (the first install fixes it). Every page between the
  ///   old and a larger new count is there: SQLite need not write them, so the caller adds zero
  ///   pages. Empty afterwards.
  /// @param page_count pages after the install; the rest is cut off
  /// @param hash of the database after the install
  /// @param by the transaction that makes it, once a history is hashed
  /// @returns errc::stale_term: the history is not `expected` any more; nothing changed, `pages`
  ///   too
  [[nodiscard]] std::error_code install_head(history_number expected,
                                             std::vector<page_block>&& pages,
                                             std::uint64_t page_count, std::uint64_t hash,
                                             transaction_id by = {});

  /// The same for a writer with a pin on the head, which moves on to the version it made: a pin
  /// left behind would keep the old image of every page until it goes.
  /// @pre `writer` stands on the head, unless the history moved since it was taken:
  ///   errc::stale_term
  [[nodiscard]] std::error_code install_head(pin& writer, std::vector<page_block>&& pages,
                                             std::uint64_t page_count, std::uint64_t hash);

  /// The oldest pending version is committed. O(its pages).
  /// @pre there is one
  void commit_next() noexcept;

  /// A follower's apply: makes a version and commits it, in one step for everybody who pins.
  /// @pre nothing is pending; the rest as for install_head
  /// @param restart a transaction that does not say which version it makes: its state counts as
  ///   version 1, however a replica came to it, by the log or by a snapshot
  void install_committed(std::vector<page_block>&& pages, std::uint64_t page_count,
                         std::uint64_t hash, transaction_id by = {}, bool restart = false);

  /// Leadership was lost: everything above committed is taken back, and the next history starts.
  /// Its version numbers will be used again; pins above committed are invalidated for ever.
  /// O(pages taken back).
  /// @param for_good another store takes its place: it is there for those alone who stand on it
  void discard_head(bool for_good = false) noexcept;

  /// Calls `visit(const page_version&)` for every page of the state of `at` that changed after
  /// version `after`, in ascending order, without holding a lock. If visit returns a bool, false
  /// ends it. O(1024 pages for each that changed).
  /// @pre `at` stands on a committed version; it keeps the visited pages in place
  template <class Visit>
  void for_each_changed(version_number after, const pin& at, Visit visit) const;

  /// One bounded share of the pruning and freeing that calls leave to later ones: for idle moments.
  /// @returns true if it did something, so that another call may do more
  bool trim() noexcept;

  [[nodiscard]] page_store_usage usage() const noexcept;

 private:
  page_store(const state& from, history_number history, std::uint64_t lock_byte,
             std::shared_ptr<memory_gauge> gauge);

  void commit_oldest() noexcept;

  mutable std::mutex mutex_;
  std::atomic<std::uint64_t> history_;
  mutable reclaimer limbo_;  // mutable: who reads announces itself
  version_history line_;
  std::shared_ptr<const page_source> base_;  // set once; before that there is none
  std::atomic<const page_source*> source_{nullptr};
  std::uint64_t base_pages_ = 0;  // under the mutex
  std::uint64_t evict_hand_ = 0;
  store_share gauge_;  // last: the rest outlives it
};

inline history_number page_store::history() const noexcept {
  return history_number{history_.load(std::memory_order_seq_cst)};
}

/// Stands on a state, so that its pages stay. Movable; one thread at a time, but invalidated() any.
/// An empty one (default, moved from, reset) stands nowhere: only bool, reset and assignment work.
class page_store::pin {
 public:
  pin() = default;
  pin(pin&& other) noexcept;
  pin& operator=(pin&& other) noexcept;
  ~pin() { reset(); }

  explicit operator bool() const noexcept { return record_ != nullptr; }

  /// Stands nowhere from now on. Takes the mutex; does a bounded share of the pruning.
  void reset() noexcept;

  /// Is of another kind from now on; if it was invalidated it stays so. Takes the mutex.
  void become(pin_kind kind) noexcept;

  [[nodiscard]] const state& at() const noexcept { return record_->at; }
  [[nodiscard]] version_number version() const noexcept { return at().version; }
  [[nodiscard]] std::uint64_t page_count() const noexcept { return at().page_count; }
  [[nodiscard]] std::uint32_t page_size() const noexcept { return at().page_size; }
  [[nodiscard]] std::uint64_t hash() const noexcept { return at().hash; }
  /// The store's history when the pin was taken.
  [[nodiscard]] history_number history() const noexcept { return history_; }

  /// What became of its state. If it is sound after a copy, the copy is right.
  [[nodiscard]] pin_fate fate() const noexcept {
    return record_->fate.load(std::memory_order_seq_cst);
  }
  /// True once its state was taken back, or it was ended: whatever was read through it since may be
  /// anything. If it is false after a copy, the copy is right.
  [[nodiscard]] bool invalidated() const noexcept { return fate() != pin_fate::sound; }
  /// Why: errc::stale_term, errc::snapshot_ended. @pre invalidated()
  [[nodiscard]] std::error_code why() const noexcept {
    return make_error_code(fate() == pin_fate::ended ? errc::snapshot_ended : errc::stale_term);
  }

 private:
  friend class page_store;
  pin(std::shared_ptr<page_store> store, pin_record* record, history_number history,
      pin_kind kind) noexcept
      : store_(std::move(store)), record_(record), history_(history), kind_(kind) {}

  std::shared_ptr<page_store> store_;
  pin_record* record_ = nullptr;
  history_number history_;
  pin_kind kind_ = pin_kind::kept;
};

/// A slot among the readers, for as long as it lives.
class page_store::lease {
 public:
  explicit lease(const page_store& store) noexcept;
  lease(const lease&) = delete;
  lease& operator=(const lease&) = delete;
  ~lease();

  read_guard enter() noexcept { return store_.limbo_.enter(slot_); }
  [[nodiscard]] bool gave(const read_guard& guard) const noexcept {
    return guard.belongs_to(slot_);
  }

 private:
  const page_store& store_;
  reader_slot slot_;
};

/// Finds pages without a lock. One for each file handle or thread; one thread at a time.
class page_store::reader {
 public:
  using guard = read_guard;

  /// Takes the store's mutex once, and once more at the end.
  explicit reader(std::shared_ptr<page_store> store) noexcept
      : store_(std::move(store)), lease_(*store_) {}

  /// Nothing that find() returns is freed while the guard lives; hold it for one copy, not longer.
  /// At most one at a time. Lock-free.
  guard enter() noexcept { return lease_.enter(); }

  /// The newest version of a page at or below `at` that is in memory, a patch perhaps: valid as
  /// long as the guard. nullptr: it is in the base, or not part of that state.
  /// @param at a version that a pin of the caller stands on; or committed itself, on the thread
  ///   that alone advances it. With a pin above committed: copy, then ask the pin if it is
  ///   invalidated.
  [[nodiscard]] const page_version* find([[maybe_unused]] const guard& proof, version_number at,
                                         page_number number) const noexcept {
    QUORLITE_ASSERT(lease_.gave(proof));
    return store_->line_.chains().find(at, number);
  }

  /// The image of a page in the state of `at`, from memory or from the base. Valid as long as the
  /// guard, and until the next call. Empty: the state has no such page (the lock page, one beyond
  /// the page count). May block on the storage; nothing that was read is believed before its hash
  /// is right. @throws std::bad_alloc
  /// @returns errc::corrupt: the page in the base is damaged, and the base was told;
  ///   errc::stale_term, errc::snapshot_ended: the pin is invalidated; errors of the storage
  [[nodiscard]] result<bytes_view> image(const guard& proof, const pin& at, page_number number);

  [[nodiscard]] const std::shared_ptr<page_store>& store() const noexcept { return store_; }

 private:
  friend class page_store;
  [[nodiscard]] std::error_code read_base(const page_version* patch, page_number number);

  std::shared_ptr<page_store> store_;  // before the lease: it must outlive it
  lease lease_;
  bytes scratch_;  // the last page that came from the base
};

template <class Visit>
void page_store::for_each_changed(version_number after, const pin& at, Visit visit) const {
  QUORLITE_ASSERT(!at.invalidated() && at.version() <= committed().version);
  lease readers(*this);
  const auto changed = [&](page_number number) noexcept -> const page_version* {
    const auto guard = readers.enter();
    const page_version* const page = line_.chains().find(at.version(), number);
    return page != nullptr && page->version() > after ? page : nullptr;
  };
  line_.chains().visit(version_number{after.value + 1}, at.page_count(), [&](page_number number) {
    const page_version* const page = changed(number);
    if (page == nullptr) {
      return true;
    }
    if constexpr (std::is_void_v<decltype(visit(*page))>) {
      visit(*page);
      return true;
    } else {
      return static_cast<bool>(visit(*page));
    }
  });
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/pages/page_reader.ipp"  // IWYU pragma: keep
#include "quorlite/detail/pages/page_store.ipp"   // IWYU pragma: keep
#endif
