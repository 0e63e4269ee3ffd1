/// @file
/// Finding pages: without a lock where they are in memory, else in the base. A part of
/// page_store.hpp; include that.
///
/// A page that is being flushed is overwritten in the base while it is read. So after a read the
/// reader looks into memory once more: before its first byte was overwritten, whatever somebody
/// still needs of the old image was put there (keep_base). If memory says the same as before, what
/// was read is whole, or a patch sets every byte that may not be.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <system_error>
#include <type_traits>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/detail/codec/page_delta.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/pages/page_store.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

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

  /// The newest version of a page at or below `at` that is in memory, a patch perhaps: valid as
  /// long as the guard. nullptr: it is in the base, or not part of that state.
  /// @param at a version that a pin of the caller stands on; or committed itself, on the thread
  ///   that alone advances it. With a pin above committed: copy, then ask the pin if it is doomed.
  [[nodiscard]] const page_version* find([[maybe_unused]] const guard& proof, version_number at,
                                         page_number number) const noexcept {
    QUORLITE_ASSERT(lease_.gave(proof));
    return store_->chains().find(at, number);
  }

  /// The image of a page in the state of `at`, from memory or from the base. Valid as long as the
  /// guard, and until the next call. Empty: the state has no such page (the lock page, one beyond
  /// the page count). May block on the storage; nothing that was read is believed before its hash
  /// is right. @throws std::bad_alloc
  /// @returns errc::corrupt: the page in the base is damaged, and the base was told;
  ///   errc::stale_term: the pin is doomed; errors of the storage
  [[nodiscard]] result<bytes_view> image(const guard& proof, const pin& at, page_number number);

  [[nodiscard]] const std::shared_ptr<page_store>& store() const noexcept { return store_; }

 private:
  friend class page_store;
  [[nodiscard]] std::error_code read_base(const page_version* patch, page_number number);

  std::shared_ptr<page_store> store_;  // before the lease: it must outlive it
  lease lease_;
  bytes scratch_;  // the last page that came from the base
};

inline std::error_code page_store::reader::read_base(const page_version* patch,
                                                     page_number number) {
  const page_source* const base = store_->source_.load(std::memory_order_acquire);
  if (const std::error_code error = base->read(number, scratch_)) {
    return error;
  }
  return patch == nullptr ? std::error_code{} : apply_delta(patch->patch(), scratch_);
}

inline result<bytes_view> page_store::reader::image(const guard& proof, const pin& at,
                                                    page_number number) {
  if (number.value > at.page_count()) {
    return bytes_view{};
  }
  for (const page_version* found = find(proof, at.version(), number);;) {
    if (found != nullptr && !found->is_patch()) {
      return found->image();
    }
    const std::uint64_t hash =
        found != nullptr ? found->hash() : store_->chains().base_hash(number);
    std::error_code error;
    if (store_->is_in_base(number)) {
      scratch_.resize(at.page_size());
      error = read_base(found, number);
      if (!error && page_hash(number, scratch_) != hash) {
        error = make_error_code(errc::corrupt);
      }
    } else if (found != nullptr) {
      error = make_error_code(errc::corrupt);  // a patch of nothing
    }
    const page_version* const again = find(proof, at.version(), number);
    if (again != found) {
      found = again;
    } else if (!error) {
      return hash == 0 ? bytes_view{} : bytes_view{scratch_};
    } else if (at.doomed()) {
      return failed(errc::stale_term);
    } else {
      if (const page_source* const base = store_->source_.load(std::memory_order_acquire)) {
        base->damaged(number, error);
      }
      return failed(error);
    }
  }
}

inline std::uint64_t page_store::hash_after(std::span<const page_block> pages,
                                            std::uint64_t page_count, const pin& on) const {
  lease readers(*this);
  const auto hash_before = [&](page_number number) noexcept -> std::uint64_t {
    if (number.value > on.page_count()) {
      return 0;
    }
    const auto guard = readers.enter();
    const page_version* const page = chains().find(on.version(), number);
    return page == nullptr ? chains().base_hash(number) : page->hash();
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

inline std::uint64_t page_store::sum_of_hashes() const {
  const std::lock_guard lock(mutex_);
  const state& at = line_.committed();
  std::uint64_t sum = 0;
  chains().visit(version_number{}, at.page_count, [&](page_number number) {
    const page_version* const page = chains().find(at.version, number);
    sum += page == nullptr ? chains().base_hash(number) : page->hash();
    return true;
  });
  return sum;
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

inline bool page_store::has_older_pins(const pin& target) const {
  const std::lock_guard lock(mutex_);
  return has_base() && chains().pins().any_within(version_number{}, target.version()) != nullptr;
}

inline std::error_code page_store::keep_base(page_number number, const pin& target,
                                             reader& through) {
  detail::version_chains::base_need need;
  {
    const std::lock_guard lock(mutex_);
    if (!is_in_base(number)) {
      return {};
    }
    need = chains().need_of_base(number, target.version());
  }
  if (!need.image && !need.patches) {
    return {};
  }
  // Nobody but the caller writes the base, so nothing here is torn. But a flush that failed may
  // have written the page before: then its old image was kept, and is needed no more.
  through.scratch_.resize(target.page_size());
  std::error_code error = through.read_base(nullptr, number);
  if (!error && need.image && page_hash(number, through.scratch_) != base_hash(number)) {
    error = make_error_code(errc::corrupt);
  }
  if (!error) {
    const std::lock_guard lock(mutex_);
    error = chains().keep_base(number, target.version(), need, through.scratch_);
    work();
  }
  if (error) {
    base_->damaged(number, error);
  }
  return error;
}

inline void page_store::flushed(version_number after, const pin& at) {
  chains().visit(version_number{after.value + 1}, at.page_count(), [&](page_number number) {
    const std::lock_guard lock(mutex_);
    const page_version* const now = chains().find(at.version(), number);
    if (now != nullptr && now->version() > after) {
      chains().settle_base(number, at.version());
      work();
    }
    return true;
  });
  const std::lock_guard lock(mutex_);
  for (std::uint64_t gone = at.page_count() + 1; gone <= base_pages_; ++gone) {
    chains().set_base_hash(page_number{static_cast<std::uint32_t>(gone)}, 0);
  }
  base_pages_ = at.page_count();
}

inline void page_store::evict(std::size_t at_most) {
  bool came_round = false;
  for (std::size_t left = at_most; left != 0;) {
    const std::lock_guard lock(mutex_);
    const std::size_t before = chains().size_bytes();
    evict_hand_ = chains().evict_some(evict_hand_, left, evict_pages);
    const std::size_t dropped = before - chains().size_bytes();
    work();
    left -= std::min(left, dropped);
    if (evict_hand_ == 0 && std::exchange(came_round, true)) {
      return;
    }
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
