/// @file
/// The versions of one database: a committed state, pending ones above it, and pins below.
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

#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"
#include "quorlite/page_version.hpp"
#include "quorlite/pin_ledger.hpp"
#include "quorlite/reclaim.hpp"
#include "quorlite/version_chains.hpp"

namespace quorlite {
inline namespace v0 {

/// The page versions of one database, of one lineage.
///
/// `committed` is what consensus confirmed; `tip` is at or above it. Versions in (committed, tip]
/// are *pending*: the leader's writer installed them, and they are committed in order (promote) or
/// all taken back (discard_tip). A follower has none (install_committed).
///
/// Every call may be made on any thread. One mutex orders whatever changes something and is held
/// for O(pages of the call) at most; reading a page takes no lock. No call waits for a reader.
/// Memory: one version of each page, the pending ones, and what the pins see beyond them.
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
  /// @param epoch larger than that of any store which this one replaces
  /// @param lock_byte offset of the page that is never data; tests move it
  [[nodiscard]] static std::shared_ptr<page_store> make(
      const state& from = {}, epoch_number epoch = epoch_number{1},
      std::uint64_t lock_byte = limits::lock_byte_default) {
    return std::shared_ptr<page_store>(new page_store(from, epoch, lock_byte));
  }

  page_store(const page_store&) = delete;
  page_store& operator=(const page_store&) = delete;
  ~page_store() = default;

  /// Adds a page of the state that the store was made with; any order, each at most once.
  /// @pre no version was installed yet; within page_count, of the state's page size, hash set
  void load_page(page_block page) {
    const std::lock_guard lock(mutex_);
    line_.load(std::move(page));
  }

  [[nodiscard]] state committed() const noexcept {
    const std::lock_guard lock(mutex_);
    return line_.committed();
  }
  [[nodiscard]] state tip() const noexcept {
    const std::lock_guard lock(mutex_);
    return line_.tip();
  }
  /// The lineage: grows with every discard_tip(). Lock-free.
  [[nodiscard]] epoch_number epoch() const noexcept {
    return epoch_number{epoch_.load(std::memory_order_seq_cst)};
  }

  /// Stands on the committed state as it is now.
  [[nodiscard]] pin pin_committed();
  /// Stands on the tip as it is now: what a writer builds on.
  [[nodiscard]] pin pin_tip();
  /// Stands on a version in [committed, tip]. @returns errc::stale_term: the epoch moved, or
  /// committed did, beyond `version`
  [[nodiscard]] result<pin> pin_version(epoch_number expected, version_number version);

  /// The database's hash after `pages` are installed on the state of `on`: theirs are added, those
  /// of the pages they replace and of the pages that are cut off are taken away. Pages in between
  /// that do not exist (the lock page) count nothing. O(pages); takes no lock for them.
  /// @pre every page has its hash. Of a doomed pin the result means nothing.
  [[nodiscard]] std::uint64_t hash_after(std::span<const page_block> pages,
                                         std::uint64_t page_count, const pin& on) const;

  /// The leader's writer: makes a version on top of the tip, pending. Moves the images, copies
  /// none.
  /// @param pages ascending by number, each at most once, none beyond `page_count`, never the lock
  ///   page; all of the database's page size (the first install fixes it). Every page between the
  ///   old and a larger new count is there: SQLite need not write them, so the caller adds zero
  ///   pages. Empty afterwards.
  /// @param page_count pages after the install; the rest is cut off
  /// @param hash of the database after the install
  /// @returns errc::stale_term: the epoch is not `expected` any more; nothing changed, `pages` too
  [[nodiscard]] std::error_code install_tip(epoch_number expected, std::vector<page_block>&& pages,
                                            std::uint64_t page_count, std::uint64_t hash) {
    const std::lock_guard lock(mutex_);
    if (expected != epoch()) {
      return make_error_code(errc::stale_term);
    }
    line_.append(pages, page_count, hash);
    work();
    return {};
  }

  /// The same for a writer with a pin on the tip, which moves on to the version it made: a pin left
  /// behind would keep the old image of every page until it goes.
  /// @pre `writer` stands on the tip, unless the epoch moved since it was taken (errc::stale_term)
  [[nodiscard]] std::error_code install_tip(pin& writer, std::vector<page_block>&& pages,
                                            std::uint64_t page_count, std::uint64_t hash);

  /// The oldest pending version is committed. O(its pages).
  /// @pre there is one
  void promote() noexcept {
    const std::lock_guard lock(mutex_);
    promote_oldest();
  }

  /// A follower's apply: makes a version and commits it, in one step for everybody who pins.
  /// @pre nothing is pending; the rest as for install_tip
  /// @param restart a transaction that does not say which version it makes: its state counts as
  ///   version 1, however a replica came to it, by the log or by a snapshot
  void install_committed(std::vector<page_block>&& pages, std::uint64_t page_count,
                         std::uint64_t hash, bool restart = false) {
    const std::lock_guard lock(mutex_);
    QUORLITE_ASSERT(line_.pending_size() == 0);
    line_.append(pages, page_count, hash, restart);
    promote_oldest();
  }

  /// Leadership was lost: everything above committed is taken back, and the next epoch starts. Its
  /// version numbers will be used again; pins above committed are doomed for ever.
  /// O(pages taken back).
  void discard_tip() noexcept {
    const std::lock_guard lock(mutex_);
    epoch_.fetch_add(1, std::memory_order_seq_cst);
    line_.discard();
    work();
  }

  /// Calls `visit(const page_version&)` for every page of the state of `at` that changed after
  /// version `after`, in ascending order, without holding a lock. If visit returns a bool, false
  /// ends it. O(1024 pages for each that changed).
  /// @pre `at` stands on a committed version; it keeps the visited pages in place
  template <class Visit>
  void for_each_changed(version_number after, const pin& at, Visit visit) const;

  /// One bounded share of the pruning and freeing that calls leave to later ones: for idle moments.
  /// @returns true if it did something, so that another call may do more
  bool trim() noexcept {
    const std::lock_guard lock(mutex_);
    return chains().work(batch, 1) != 0;
  }

  [[nodiscard]] page_store_usage usage() const noexcept {
    const std::lock_guard lock(mutex_);
    return {.images = chains().images(),
            .tombstones = chains().tombstones(),
            .held = chains().held_size(),
            .backlog = chains().backlog_size(),
            .limbo = limbo_.limbo_size(),
            .bytes = chains().size_bytes() + limbo_.limbo_bytes(),
            .pending = line_.pending_size(),
            .pins = chains().pins().size()};
  }

 private:
  static constexpr std::size_t batch = 256;        // how much of others' work one call does
  static constexpr std::size_t worth_a_scan = 32;  // so many nodes in limbo, before slots are read

  page_store(const state& from, epoch_number epoch, std::uint64_t lock_byte) noexcept
      : epoch_(epoch.value), line_(from, lock_byte, limbo_) {}

  void promote_oldest() noexcept {
    const std::size_t superseding = line_.promote();
    // As many pages as this supersedes come back from pins some day: twice as many keep pace.
    chains().work(batch + 2 * superseding, worth_a_scan);
  }
  [[nodiscard]] detail::version_chains& chains() noexcept { return line_.chains(); }
  [[nodiscard]] const detail::version_chains& chains() const noexcept { return line_.chains(); }
  void work() noexcept { chains().work(batch, worth_a_scan); }

  mutable std::mutex mutex_;
  std::atomic<std::uint64_t> epoch_;
  mutable detail::reclaimer limbo_;  // mutable: who reads announces itself
  detail::lineage line_;
};

/// A slot among the readers, for as long as it lives.
class page_store::lease {
 public:
  explicit lease(const page_store& store) noexcept : store_(store) {
    const std::lock_guard lock(store_.mutex_);
    store_.limbo_.attach(slot_);
  }
  lease(const lease&) = delete;
  lease& operator=(const lease&) = delete;
  ~lease() {
    const std::lock_guard lock(store_.mutex_);
    store_.limbo_.detach(slot_);
  }

  detail::read_guard enter() noexcept { return store_.limbo_.enter(slot_); }
  [[nodiscard]] bool gave(const detail::read_guard& guard) const noexcept {
    return guard.belongs_to(slot_);
  }

 private:
  const page_store& store_;
  detail::reader_slot slot_;
};

/// Finds pages without a lock. One for each file handle or thread; one thread at a time.
class page_store::reader {
 public:
  using guard = detail::read_guard;

  /// Takes the store's mutex once, and once more at the end.
  explicit reader(std::shared_ptr<page_store> store) noexcept
      : store_(std::move(store)), lease_(*store_) {}

  /// Nothing that find() returns is freed while the guard lives; hold it for one copy, not longer.
  /// At most one at a time. Lock-free.
  guard enter() noexcept { return lease_.enter(); }

  /// The newest version of a page at or below `at`: valid as long as the guard, and also beyond it
  /// as long as a pin on a committed `at`. nullptr: the page is not part of that state.
  /// @param at a version that a pin of the caller stands on; or committed itself, on the thread
  ///   that alone advances it. With a pin above committed: copy, then ask the pin if it is doomed.
  [[nodiscard]] const page_version* find([[maybe_unused]] const guard& proof, version_number at,
                                         page_number number) const noexcept {
    QUORLITE_ASSERT(lease_.gave(proof));
    return store_->chains().find(at, number);
  }

  [[nodiscard]] const std::shared_ptr<page_store>& store() const noexcept { return store_; }

 private:
  std::shared_ptr<page_store> store_;  // before the lease: it must outlive it
  lease lease_;
};

/// Stands on a state, so that its pages stay. Movable; one thread at a time, but doomed() any. An
/// empty one (default, moved from, reset) stands nowhere: only bool, reset and assignment work.
class page_store::pin {
 public:
  pin() = default;
  pin(pin&& other) noexcept
      : store_(std::move(other.store_)),
        record_(std::exchange(other.record_, nullptr)),
        epoch_(other.epoch_) {}
  pin& operator=(pin&& other) noexcept {
    if (this != &other) {
      reset();
      store_ = std::move(other.store_);
      record_ = std::exchange(other.record_, nullptr);
      epoch_ = other.epoch_;
    }
    return *this;
  }
  ~pin() { reset(); }

  explicit operator bool() const noexcept { return record_ != nullptr; }

  /// Stands nowhere from now on. Takes the mutex; does a bounded share of the pruning.
  void reset() noexcept {
    if (record_ != nullptr) {
      {
        const std::lock_guard lock(store_->mutex_);
        store_->chains().unpin(std::exchange(record_, nullptr));
        store_->work();
      }
      store_.reset();  // perhaps the last to hold the store: after its mutex
    }
  }

  [[nodiscard]] const state& at() const noexcept { return record_->at; }
  [[nodiscard]] version_number version() const noexcept { return at().version; }
  [[nodiscard]] std::uint64_t page_count() const noexcept { return at().page_count; }
  [[nodiscard]] std::uint32_t page_size() const noexcept { return at().page_size; }
  [[nodiscard]] std::uint64_t hash() const noexcept { return at().hash; }
  /// The store's epoch when the pin was taken.
  [[nodiscard]] epoch_number epoch() const noexcept { return epoch_; }

  /// True once its state was taken back: whatever was read through it since may be anything. If it
  /// is false after a copy, the copy is right.
  [[nodiscard]] bool doomed() const noexcept {
    return record_->doomed.load(std::memory_order_seq_cst);
  }

 private:
  friend class page_store;
  pin(std::shared_ptr<page_store> store, detail::pin_record* record, epoch_number epoch) noexcept
      : store_(std::move(store)), record_(record), epoch_(epoch) {}

  std::shared_ptr<page_store> store_;
  detail::pin_record* record_ = nullptr;
  epoch_number epoch_;
};

inline page_store::pin page_store::pin_committed() {
  std::shared_ptr<page_store> self = shared_from_this();
  const std::lock_guard lock(mutex_);
  chains().pins().make_room();
  work();
  return pin{std::move(self), chains().pins().add(line_.committed()), epoch()};
}

inline page_store::pin page_store::pin_tip() {
  std::shared_ptr<page_store> self = shared_from_this();
  const std::lock_guard lock(mutex_);
  chains().pins().make_room();
  work();
  return pin{std::move(self), chains().pins().add(line_.tip()), epoch()};
}

inline result<page_store::pin> page_store::pin_version(epoch_number expected,
                                                       version_number version) {
  std::shared_ptr<page_store> self = shared_from_this();
  const std::lock_guard lock(mutex_);
  if (expected != epoch() || version < line_.committed().version) {
    return failed(errc::stale_term);
  }
  const state& at = line_.state_at(version);
  chains().pins().make_room();
  work();
  return pin{std::move(self), chains().pins().add(at), expected};
}

inline std::uint64_t page_store::hash_after(std::span<const page_block> pages,
                                            std::uint64_t page_count, const pin& on) const {
  lease readers(*this);
  const auto hash_before = [&](page_number number) noexcept {
    const auto guard = readers.enter();
    const page_version* const page = chains().find(on.version(), number);
    return page == nullptr ? 0 : page->hash();
  };
  std::uint64_t hash = on.hash();
  for (const page_block& page : pages) {
    hash += page->hash() - hash_before(page->number());
  }
  for (std::uint64_t cut = page_count + 1; cut <= on.page_count(); ++cut) {
    hash -= hash_before(page_number{static_cast<std::uint32_t>(cut)});
  }
  return hash;
}

inline std::error_code page_store::install_tip(pin& writer, std::vector<page_block>&& pages,
                                               std::uint64_t page_count, std::uint64_t hash) {
  QUORLITE_ASSERT(writer.store_.get() == this);
  const std::lock_guard lock(mutex_);
  if (writer.epoch() != epoch()) {
    return make_error_code(errc::stale_term);
  }
  QUORLITE_ASSERT(writer.version() == line_.tip().version);
  chains().pins().make_room();
  line_.append(pages, page_count, hash);
  chains().unpin(std::exchange(writer.record_, chains().pins().add(line_.tip())));
  work();
  return {};
}

template <class Visit>
void page_store::for_each_changed(version_number after, const pin& at, Visit visit) const {
  QUORLITE_ASSERT(!at.doomed() && at.version() <= committed().version);
  lease readers(*this);
  const auto changed = [&](page_number number) noexcept -> const page_version* {
    const auto guard = readers.enter();
    const page_version* const page = chains().find(at.version(), number);
    return page != nullptr && page->version() > after ? page : nullptr;
  };
  chains().visit(version_number{after.value + 1}, at.page_count(), [&](page_number number) {
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

}  // namespace v0
}  // namespace quorlite
