/// @file
/// Bodies of page_store.hpp: finding pages, without a lock where they are in memory, else in the
/// base; and what a flush does to those who read.
///
/// A page that is being flushed is overwritten in the base while it is read. So after a read the
/// reader looks into memory once more: before its first byte was overwritten, whatever somebody
/// still needs of the old image was put there (keep_base). If memory says the same as before, what
/// was read is whole, or a patch sets every byte that may not be.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <system_error>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/codec/page_delta.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/pages/page_store.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL page_store::lease::lease(const page_store& store) noexcept : store_(store) {
  const std::lock_guard lock(store_.mutex_);
  store_.limbo_.attach(slot_);
}

QUORLITE_DECL page_store::lease::~lease() {
  const std::lock_guard lock(store_.mutex_);
  store_.limbo_.detach(slot_);
}

QUORLITE_DECL std::error_code page_store::reader::read_base(const page_version* patch,
                                                            page_number number) {
  const page_source* const base = store_->source_.load(std::memory_order_acquire);
  if (const std::error_code error = base->read(number, scratch_)) {
    return error;
  }
  return patch == nullptr ? std::error_code{} : apply_delta(patch->patch(), scratch_);
}

QUORLITE_DECL result<bytes_view> page_store::reader::image(const guard& proof, const pin& at,
                                                           page_number number) {
  if (number.value > at.page_count()) {
    return bytes_view{};
  }
  for (const page_version* found = find(proof, at.version(), number);;) {
    if (found != nullptr && !found->is_patch()) {
      // A pin is told before anything that it saw is unlinked: so this is the page of its state, or
      // it knows. And what is found does not change any more.
      return at.invalidated() ? result<bytes_view>{fail(at.why())} : found->image();
    }
    const std::uint64_t hash =
        found != nullptr ? found->hash() : store_->line_.chains().base_hash(number);
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
    } else if (!error && !at.invalidated()) {
      return hash == 0 ? bytes_view{} : bytes_view{scratch_};
    } else {
      {
        const std::lock_guard lock(store_->mutex_);  // whoever let the page go has told the pin
        if (at.invalidated()) {
          return fail(at.why());
        }
      }
      if (const page_source* const base = store_->source_.load(std::memory_order_acquire)) {
        base->damaged(number, error);
      }
      return fail(error);
    }
  }
}

QUORLITE_DECL bool page_store::has_older_pins(const pin& target) const {
  const std::lock_guard lock(mutex_);
  return has_base() &&
         line_.chains().pins().any_within(version_number{}, target.version()) != nullptr;
}

QUORLITE_DECL std::error_code page_store::keep_base(page_number number, const pin& target,
                                                    reader& through) {
  version_chains::base_need need;
  {
    const std::lock_guard lock(mutex_);
    if (!is_in_base(number)) {
      return {};
    }
    need = line_.chains().need_of_base(number, target.version());
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
    error = line_.chains().keep_base(number, target.version(), need, through.scratch_);
    gauge_.work();
  }
  gauge_.enforce();
  if (error) {
    base_->damaged(number, error);
  }
  return error;
}

QUORLITE_DECL void page_store::flushed(version_number after, const pin& at) {
  line_.chains().visit(version_number{after.value + 1}, at.page_count(), [&](page_number number) {
    const std::lock_guard lock(mutex_);
    const page_version* const now = line_.chains().find(at.version(), number);
    if (now != nullptr && now->version() > after) {
      line_.chains().settle_base(number, at.version());
      gauge_.work();
    }
    return true;
  });
  const std::lock_guard lock(mutex_);
  for (std::uint64_t gone = at.page_count() + 1; gone <= base_pages_; ++gone) {
    line_.chains().set_base_hash(page_number{static_cast<std::uint32_t>(gone)}, 0);
  }
  base_pages_ = at.page_count();
}

QUORLITE_DECL void page_store::evict(std::size_t at_most) {
  constexpr std::size_t pages_at_once = 4096;  // looked at under one hold of the mutex
  std::size_t left = at_most;
  for (int rounds = 0; left != 0 && rounds < 2;) {
    const std::lock_guard lock(mutex_);
    const std::size_t before = line_.chains().size_bytes();
    evict_hand_ = line_.chains().evict_some(evict_hand_, left, pages_at_once);
    gauge_.work();
    left -= std::min(left, before - line_.chains().size_bytes());
    rounds += evict_hand_ == 0 ? 1 : 0;
  }
  // What is left lies above versions that somebody stands on: it goes with them, or the memory that
  // they took is not free before the next flush, which may never be due.
  const std::lock_guard lock(mutex_);
  const std::size_t taken = line_.chains().size_bytes();
  line_.chains().evict_above(left == 0 ? ~std::size_t{0} : taken - std::min(left, taken));
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
