/// @file
/// Bodies of page_store.hpp: the store, its pins, and who makes versions.
#pragma once

#include "quorlite/detail/pages/page_store.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/core/memory_gauge.hpp"
#include "quorlite/detail/pages/page_source.hpp"
#include "quorlite/detail/pages/page_version.hpp"
#include "quorlite/detail/pages/pin_ledger.hpp"
#include "quorlite/detail/pages/reclaim.hpp"
#include "quorlite/detail/pages/version_chains.hpp"
#include "quorlite/detail/pages/version_history.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL std::shared_ptr<page_store> page_store::make(const state& from,
                                                           history_number history,
                                                           std::uint64_t lock_byte,
                                                           std::shared_ptr<memory_gauge> gauge) {
  return std::shared_ptr<page_store>(new page_store(from, history, lock_byte, std::move(gauge)));
}

QUORLITE_DECL page_store::page_store(const state& from, history_number history,
                                     std::uint64_t lock_byte, std::shared_ptr<memory_gauge> gauge)
    : history_(history.value),
      line_(from, lock_byte, limbo_),
      gauge_(mutex_, line_, limbo_, std::move(gauge)) {}

QUORLITE_DECL void page_store::load_page(page_block page) {
  const std::lock_guard lock(mutex_);
  line_.load(std::move(page));
}

QUORLITE_DECL void page_store::set_base(std::shared_ptr<const page_source> base,
                                        std::uint64_t page_count) {
  const std::lock_guard lock(mutex_);
  QUORLITE_ASSERT(base != nullptr && base_ == nullptr);
  base_ = std::move(base);
  base_pages_ = page_count;
  source_.store(base_.get(), std::memory_order_release);
}

QUORLITE_DECL bool page_store::has_base() const noexcept {
  return source_.load(std::memory_order_acquire) != nullptr;
}

QUORLITE_DECL std::uint64_t page_store::base_hash(page_number number) const noexcept {
  return line_.chains().base_hash(number);
}

QUORLITE_DECL bool page_store::is_in_base(page_number number) const noexcept {
  return has_base() && base_hash(number) != 0;
}

QUORLITE_DECL void page_store::set_base_hash(page_number number, std::uint64_t hash) {
  const std::lock_guard lock(mutex_);
  line_.chains().make_room(number);
  line_.chains().set_base_hash(number, hash);
}

QUORLITE_DECL void page_store::set_maker(transaction_id by) {
  const std::lock_guard lock(mutex_);
  line_.set_maker(by);
}

QUORLITE_DECL page_store::state page_store::committed() const noexcept {
  const std::lock_guard lock(mutex_);
  return line_.committed();
}

QUORLITE_DECL page_store::state page_store::head() const noexcept {
  const std::lock_guard lock(mutex_);
  return line_.head();
}

QUORLITE_DECL std::error_code page_store::install_head(history_number expected,
                                                       std::vector<page_block>&& pages,
                                                       std::uint64_t page_count, std::uint64_t hash,
                                                       transaction_id by) {
  const std::lock_guard lock(mutex_);
  if (expected != history()) {
    return make_error_code(errc::stale_term);
  }
  line_.append(pages, page_count, hash, by, /*restart=*/false);
  gauge_.work();
  return {};
}

QUORLITE_DECL void page_store::commit_next() noexcept {
  {
    const std::lock_guard lock(mutex_);
    commit_oldest();
  }
  gauge_.enforce();
}

QUORLITE_DECL void page_store::install_committed(std::vector<page_block>&& pages,
                                                 std::uint64_t page_count, std::uint64_t hash,
                                                 transaction_id by, bool restart) {
  {
    const std::lock_guard lock(mutex_);
    QUORLITE_ASSERT(line_.pending_size() == 0);
    line_.append(pages, page_count, hash, by, restart);
    commit_oldest();
  }
  gauge_.enforce();
}

QUORLITE_DECL void page_store::discard_head(bool for_good) noexcept {
  const std::lock_guard lock(mutex_);
  gauge_.retire(for_good);
  history_.fetch_add(1, std::memory_order_seq_cst);
  line_.discard();
  gauge_.work();
}

QUORLITE_DECL bool page_store::trim() noexcept {
  const auto trimmed = [this]() noexcept {
    const std::lock_guard lock(mutex_);
    return gauge_.work(store_share::batch, 1) != 0;
  };
  const bool any = trimmed();
  gauge_.enforce();
  return any;
}

QUORLITE_DECL page_store_usage page_store::usage() const noexcept {
  const std::lock_guard lock(mutex_);
  return {.images = line_.chains().images(),
          .tombstones = line_.chains().tombstones(),
          .held = line_.chains().held().nodes,
          .backlog = line_.chains().backlog_size(),
          .limbo = limbo_.limbo_size(),
          .bytes = line_.chains().size_bytes() + limbo_.limbo_bytes(),
          .dirty_bytes = line_.chains().dirty_bytes(),
          .pinned_bytes = gauge_.pinned_bytes(),
          .pending = line_.pending_size(),
          .pins = line_.chains().pins().size()};
}

QUORLITE_DECL void page_store::commit_oldest() noexcept {
  const std::size_t superseding = line_.commit_next();
  // As many pages as this supersedes come back from pins some day: twice as many keep pace.
  gauge_.work(store_share::batch + 2 * superseding);
}

QUORLITE_DECL page_store::pin::pin(pin&& other) noexcept
    : store_(std::move(other.store_)),
      record_(std::exchange(other.record_, nullptr)),
      history_(other.history_),
      kind_(other.kind_) {}

QUORLITE_DECL page_store::pin& page_store::pin::operator=(pin&& other) noexcept {
  if (this != &other) {
    reset();
    store_ = std::move(other.store_);
    record_ = std::exchange(other.record_, nullptr);
    history_ = other.history_;
    kind_ = other.kind_;
  }
  return *this;
}

QUORLITE_DECL void page_store::pin::reset() noexcept {
  if (record_ != nullptr) {
    {
      const std::lock_guard lock(store_->mutex_);
      version_chains& chains = store_->line_.chains();
      chains.look_again(chains.pins().remove(std::exchange(record_, nullptr), kind_));
      store_->gauge_.work();
    }
    store_->gauge_.enforce();  // what it had kept may be somebody else's now
    store_.reset();            // perhaps the last to hold the store: after its mutex
  }
}

QUORLITE_DECL void page_store::pin::become(pin_kind kind) noexcept {
  {
    const std::lock_guard lock(store_->mutex_);
    store_->line_.chains().pins().change(*record_, std::exchange(kind_, kind), kind);
    store_->gauge_.work();
  }
  store_->gauge_.enforce();
}

QUORLITE_DECL page_store::pin page_store::pin_committed(pin_kind kind) {
  std::shared_ptr<page_store> self = shared_from_this();
  const std::lock_guard lock(mutex_);
  line_.chains().pins().make_room();
  gauge_.work();
  return pin{std::move(self), gauge_.add_pin(line_.committed(), kind), history(), kind};
}

QUORLITE_DECL page_store::pin page_store::pin_head(pin_kind kind) {
  std::shared_ptr<page_store> self = shared_from_this();
  const std::lock_guard lock(mutex_);
  line_.chains().pins().make_room();
  gauge_.work();
  return pin{std::move(self), gauge_.add_pin(line_.head(), kind), history(), kind};
}

QUORLITE_DECL result<page_store::pin> page_store::pin_version(history_number expected,
                                                              version_number version,
                                                              pin_kind kind) {
  std::shared_ptr<page_store> self = shared_from_this();
  const std::lock_guard lock(mutex_);
  if (expected != history() || version < line_.committed().version) {
    return fail(errc::stale_term);
  }
  const state& at = line_.state_at(version);
  line_.chains().pins().make_room();
  gauge_.work();
  return pin{std::move(self), gauge_.add_pin(at, kind), expected, kind};
}

QUORLITE_DECL std::error_code page_store::install_head(pin& writer, std::vector<page_block>&& pages,
                                                       std::uint64_t page_count,
                                                       std::uint64_t hash) {
  QUORLITE_ASSERT(writer.store_.get() == this);
  const std::lock_guard lock(mutex_);
  if (writer.history() != history()) {
    return make_error_code(errc::stale_term);
  }
  QUORLITE_ASSERT(writer.version() == line_.head().version);
  line_.chains().pins().make_room();
  line_.append(pages, page_count, hash, {}, /*restart=*/false);
  pin_record* const next = gauge_.add_pin(line_.head(), writer.kind_);
  pin_record* const before = std::exchange(writer.record_, next);
  line_.chains().look_again(line_.chains().pins().remove(before, writer.kind_));
  gauge_.work();
  return {};
}

QUORLITE_DECL std::uint64_t page_store::hash_after(std::span<const page_block> pages,
                                                   std::uint64_t page_count, const pin& on) const {
  lease readers(*this);
  const auto hash_before = [&](page_number number) noexcept -> std::uint64_t {
    if (number.value > on.page_count()) {
      return 0;
    }
    const auto guard = readers.enter();
    const page_version* const page = line_.chains().find(on.version(), number);
    return page == nullptr ? line_.chains().base_hash(number) : page->hash();
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

QUORLITE_DECL std::uint64_t page_store::sum_of_hashes() const {
  const std::lock_guard lock(mutex_);
  const state& at = line_.committed();
  std::uint64_t sum = 0;
  line_.chains().visit(version_number{}, at.page_count, [&](page_number number) {
    const page_version* const page = line_.chains().find(at.version, number);
    sum += page == nullptr ? line_.chains().base_hash(number) : page->hash();
    return true;
  });
  return sum;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
