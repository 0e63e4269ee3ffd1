/// @file
/// Bodies of store_share.hpp.
#pragma once

#include "quorlite/detail/pages/store_share.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/detail/core/memory_gauge.hpp"
#include "quorlite/detail/core/pin_limit.hpp"
#include "quorlite/detail/pages/pin_ledger.hpp"
#include "quorlite/detail/pages/reclaim.hpp"
#include "quorlite/detail/pages/version_chains.hpp"
#include "quorlite/detail/pages/version_history.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL store_share::store_share(std::mutex& mutex, version_history& line, reclaimer& limbo,
                                       std::shared_ptr<memory_gauge> gauge) noexcept
    : mutex_(mutex), line_(line), limbo_(limbo), told_(std::move(gauge)) {
  if (pin_limit* const limit = told_.readers()) {
    limit->attach(*this);
  }
}

QUORLITE_DECL store_share::~store_share() {
  if (pin_limit* const limit = told_.readers()) {
    limit->detach(*this);
  }
}

QUORLITE_DECL std::size_t store_share::work(std::size_t most, std::size_t worth_a_scan) noexcept {
  const version_chains& chains = line_.chains();
  const std::size_t done = line_.chains().work(most, worth_a_scan);
  told_.tell(chains.size_bytes() + limbo_.limbo_bytes(), chains.dirty_bytes(), chains.held().bytes);
  if (pin_limit* const limit = told_.readers()) {
    limit->tell(*this, chains.pins().readers_bytes());
  }
  return done;
}

QUORLITE_DECL pin_record* store_share::add_pin(const database_state& at, pin_kind kind) noexcept {
  pin_limit* const limit = told_.readers();
  return line_.chains().pins().add(at, kind, limit == nullptr ? 0 : limit->next_moment());
}

QUORLITE_DECL void store_share::enforce() noexcept {
  if (pin_limit* const limit = told_.readers()) {
    limit->enforce();
  }
}

QUORLITE_DECL std::uint64_t store_share::oldest_reader() const noexcept {
  const std::lock_guard lock(mutex_);
  const pin_record* const oldest = line_.chains().pins().oldest_reader();
  return oldest == nullptr ? 0 : oldest->since;
}

QUORLITE_DECL bool store_share::end_reader(std::uint64_t since) noexcept {
  const std::lock_guard lock(mutex_);
  pin_record* const oldest = line_.chains().pins().oldest_reader();
  if (oldest == nullptr || oldest->since != since) {
    return false;
  }
  // What it keeps is superseded by a committed version. So it is no head, and nobody will ever pin
  // that version again: nothing is committed that was built on it.
  QUORLITE_ASSERT(oldest->at.version < line_.committed().version);
  line_.chains().look_again(line_.chains().pins().end(*oldest));
  work();
  return true;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
