/// @file
/// Bodies of registry.hpp.
#pragma once

#include "quorlite/detail/pages/registry.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/detail/pages/page_store.hpp"
#include "quorlite/error.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL database::database(std::string name, std::uint64_t lock_byte,
                                 std::shared_ptr<memory_gauge> gauge,
                                 std::shared_ptr<std::atomic<std::size_t>> existing)
    : name_(std::move(name)),
      lock_byte_(lock_byte),
      gauge_(std::move(gauge)),
      existing_(std::move(existing)),
      store_(make_store({})) {
  QUORLITE_ASSERT(is_database_name(name_));
}

QUORLITE_DECL std::shared_ptr<page_store> database::store() const {
  const std::lock_guard guard(mutex_);
  return store_;
}

QUORLITE_DECL bool database::exists() const {
  const std::lock_guard guard(mutex_);
  return exists_;
}

QUORLITE_DECL void database::set_exists(bool exists) {
  const std::lock_guard guard(mutex_);
  if (std::exchange(exists_, exists) != exists && existing_ != nullptr) {
    exists ? ++*existing_ : --*existing_;
  }
}

QUORLITE_DECL std::shared_ptr<page_store> database::replace_store(
    std::shared_ptr<page_store> next) {
  store()->discard_head(/*for_good=*/true);
  const std::lock_guard guard(mutex_);
  return std::exchange(store_, std::move(next));
}

QUORLITE_DECL std::shared_ptr<database> registry::find(std::string_view name) const {
  const std::lock_guard guard(mutex_);
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

QUORLITE_DECL result<std::shared_ptr<database>> registry::find_or_make(std::string_view name) {
  if (!is_database_name(name)) {
    return fail(errc::invalid_name);
  }
  const std::lock_guard guard(mutex_);
  if (by_name_.size() >= names_max && by_name_.find(name) == by_name_.end()) {
    forget_unused();
    if (by_name_.size() >= names_max) {
      return fail(errc::too_many_databases);
    }
  }
  return made(name);
}

QUORLITE_DECL std::shared_ptr<database> registry::take_in(std::string_view name) {
  const std::lock_guard guard(mutex_);
  return made(name);
}

QUORLITE_DECL registry::list registry::existing() const {
  const std::lock_guard guard(mutex_);
  list found;
  for (const auto& [name, one] : by_name_) {
    if (one->exists()) {
      found.push_back(one);
    }
  }
  return found;
}

QUORLITE_DECL registry::list registry::all() const {
  const std::lock_guard guard(mutex_);
  list found;
  found.reserve(by_name_.size());
  for (const auto& [name, one] : by_name_) {
    found.push_back(one);
  }
  return found;
}

QUORLITE_DECL void registry::discard_heads() noexcept {
  const std::lock_guard guard(mutex_);
  for (const auto& [name, one] : by_name_) {
    one->store()->discard_head();
  }
}

QUORLITE_DECL std::shared_ptr<database> registry::made(std::string_view name) {
  auto found = by_name_.find(name);
  if (found == by_name_.end()) {
    auto fresh = std::make_shared<database>(std::string(name), lock_byte_, gauge_, existing_);
    found = by_name_.emplace(std::string(name), std::move(fresh)).first;
  }
  return found->second;
}

QUORLITE_DECL void registry::forget_unused() {
  for (auto one = by_name_.begin(); one != by_name_.end();) {
    const bool unused = one->second.use_count() == 1 && !one->second->exists();
    one = unused ? by_name_.erase(one) : std::next(one);
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
