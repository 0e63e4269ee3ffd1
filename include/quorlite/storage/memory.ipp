/// @file
/// Bodies of memory_storage: its contents, and how a commit or a publish moves them.
#pragma once

#include <cstddef>
#include <cstring>
#include <mutex>
#include <new>
#include <unordered_map>
#include <utility>

#include "quorlite/detail/storage_rules/position_rules.hpp"
#include "quorlite/limits.hpp"
#include "quorlite/storage/memory.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

/// Pages that were never written are absent, and are read as zeros.
struct memory_storage::page_set {
  struct stored_page {
    std::uint64_t hash = 0;
    std::unique_ptr<std::byte[]> image;  // page_size bytes
  };

  explicit page_set(std::string_view name) : name_(name) {}
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  void become(const database_image& image, page_set* written) noexcept;

  mutable std::shared_mutex mutex;  // guards what follows
  std::uint32_t page_size = 0;
  std::uint64_t page_count = 0;
  std::uint64_t hash = 0;
  version_number version;
  std::unordered_map<std::uint32_t, stored_page> pages;

 private:
  const std::string name_;
};

/// Moves nodes only: room was made before, so nothing here can fail.
QUORLITE_DECL void memory_storage::page_set::become(const database_image& image,
                                                    page_set* written) noexcept {
  const std::unique_lock guard(mutex);
  while (written != nullptr && written != this && !written->pages.empty()) {
    auto page = written->pages.extract(written->pages.begin());
    pages.erase(page.key());
    pages.insert(std::move(page));
  }
  page_size = image.page_size;
  page_count = image.page_count;
  hash = image.hash;
  version = image.version;
  // Pages above the count go now: they must not come back when the database grows again.
  std::erase_if(pages, [&](const auto& page) { return page.first > image.page_count; });
}

// ---- handles, flushes, stages

QUORLITE_DECL memory_storage::database_type::database_type(std::shared_ptr<page_set> set,
                                                           std::uint32_t page_size) noexcept
    : set_(std::move(set)), page_size_(page_size) {}

QUORLITE_DECL result<memory_storage::database_type> memory_storage::writer::open(
    std::string_view name, std::uint32_t page_size) noexcept try {
  if (const std::error_code refused = detail::refusal_of(name, page_size)) {
    return fail(refused);
  }
  auto set = std::make_shared<page_set>(name);
  set->page_size = page_size;
  batches_.insert_or_assign(std::string(name), batch{set, set});
  return database_type{std::move(set), page_size};
} catch (const std::bad_alloc&) {
  return fail(errc::out_of_memory);
}

QUORLITE_DECL std::error_code memory_storage::writer::write(const database_type& database,
                                                            std::span<const page_view> sorted,
                                                            std::uint64_t page_count) noexcept try {
  const std::string& name = database.set_->name();
  auto found = batches_.find(name);
  if (found == batches_.end()) {
    batch fresh{database.set_, std::make_shared<page_set>(name)};
    fresh.written->page_size = database.page_size_;
    found = batches_.emplace(name, std::move(fresh)).first;
  }
  batch& into = found->second;
  if (into.target != database.set_ || into.written->page_size != database.page_size_ ||
      !detail::ascend(sorted, database.page_size_, page_count)) {
    return make_error_code(errc::malformed);
  }
  const std::unique_lock guard(into.written->mutex);
  for (const page_view& page : sorted) {
    auto image = std::make_unique<std::byte[]>(page.image.size());
    std::memcpy(image.get(), page.image.data(), page.image.size());
    into.written->pages.insert_or_assign(page.number.value,
                                         page_set::stored_page{page.hash, std::move(image)});
  }
  into.written->page_count = page_count;
  return {};
} catch (const std::bad_alloc&) {
  return make_error_code(errc::out_of_memory);
}

// ---- reading

QUORLITE_DECL result<recovery> memory_storage::recover() noexcept try {
  const std::shared_lock guard(mutex_);
  recovery found;
  found.at = at_;
  found.replay_from = replay_from_;
  found.ahead = at_.index;
  found.notes = notes_;
  found.databases.reserve(catalogue_.living().size());
  for (const auto& [name, set] : catalogue_.living()) {
    found.databases.push_back({name, set->page_size, set->page_count, set->hash, set->version});
  }
  return found;
} catch (const std::bad_alloc&) {
  return fail(errc::out_of_memory);
}

QUORLITE_DECL result<memory_storage::database_type> memory_storage::open(
    std::string_view name, std::uint32_t page_size) noexcept try {
  if (const std::error_code refused = detail::refusal_of(name, page_size)) {
    return fail(refused);
  }
  const std::unique_lock guard(mutex_);
  auto set = catalogue_.open(name);
  if (set->page_size != 0 && set->page_size != page_size) {
    return fail(errc::malformed);
  }
  return database_type{std::move(set), page_size};
} catch (const std::bad_alloc&) {
  return fail(errc::out_of_memory);
}

QUORLITE_DECL std::error_code memory_storage::read(const database_type& database, page_number page,
                                                   bytes_span into) const noexcept {
  const page_set& set = *database.set_;
  const std::shared_lock guard(set.mutex);
  if (page.value == 0 || page.value > set.page_count || into.size() != set.page_size) {
    return make_error_code(errc::storage_broken);
  }
  const auto stored = set.pages.find(page.value);
  if (stored == set.pages.end()) {
    std::memset(into.data(), 0, into.size());
  } else {
    std::memcpy(into.data(), stored->second.image.get(), into.size());
  }
  return {};
}

QUORLITE_DECL std::error_code memory_storage::read_hashes(
    const database_type& database, page_number first,
    std::span<std::uint64_t> into) const noexcept {
  const page_set& set = *database.set_;
  const std::shared_lock guard(set.mutex);
  if (first.value == 0 || first.value > set.page_count ||
      into.size() > set.page_count - first.value + 1) {
    return make_error_code(errc::storage_broken);
  }
  for (std::size_t i = 0; i < into.size(); ++i) {
    const auto stored = set.pages.find(static_cast<std::uint32_t>(first.value + i));
    into[i] = stored == set.pages.end() ? 0 : stored->second.hash;
  }
  return {};
}

// ---- moving on

QUORLITE_DECL result<memory_storage::flush_type> memory_storage::begin_flush(
    const history_position& /*ahead*/) noexcept {
  return flush_type{};
}

QUORLITE_DECL std::error_code memory_storage::commit(flush_type flush,
                                                     const base_position& position) noexcept {
  return advance(flush.batches_, position, position.at.index >= at_.index);
}

QUORLITE_DECL result<memory_storage::stage_type> memory_storage::begin_stage() noexcept {
  return stage_type{};
}

QUORLITE_DECL std::error_code memory_storage::publish(stage_type&& stage,
                                                      const base_position& position) noexcept try {
  for (const auto& [name, written] : stage.batches_) {
    if (!written.begun_here()) {
      return make_error_code(errc::malformed);
    }
  }
  for (const database_image& image : position.databases) {
    if (is_database_name(image.name) && !detail::is_blank(image) &&
        !stage.batches_.contains(image.name)) {
      auto set = std::make_shared<page_set>(image.name);
      set->page_size = image.page_size;
      set->page_count = image.page_count;
      stage.batches_.emplace(std::string(image.name), batch{set, set});
    }
  }
  return advance(stage.batches_, position, true);
} catch (const std::bad_alloc&) {
  return make_error_code(errc::out_of_memory);
}

/// What was written for a line. A blank one has no content, whatever was written before it was.
QUORLITE_DECL memory_storage::batch* memory_storage::content_of(const database_image& image,
                                                                batches& written) {
  const auto found = detail::is_blank(image) ? written.end() : written.find(image.name);
  return found == written.end() ? nullptr : &found->second;
}

QUORLITE_DECL std::error_code memory_storage::advance(batches& written,
                                                      const base_position& position,
                                                      bool allowed) noexcept try {
  if (const std::error_code refused = detail::refusal_of(position)) {
    return refused;
  }
  const std::unique_lock guard(mutex_);
  bytes notes(position.notes.begin(), position.notes.end());
  catalogue::contents next;
  for (const database_image& image : position.databases) {  // all that can fail comes first
    const batch* const mine = content_of(image, written);
    std::shared_ptr<page_set> set = catalogue_.find(image.name);
    if (mine != nullptr) {
      allowed = allowed && (mine->begun_here() || mine->target == set) &&
                detail::tells_of(image, mine->written->page_size, mine->written->page_count);
      set = mine->target;
      if (!mine->begun_here()) {
        const std::unique_lock changing(set->mutex);
        set->pages.reserve(set->pages.size() + mine->written->pages.size());
      }
    } else if (!set || (set->page_size != 0 && detail::is_blank(image))) {
      set = std::make_shared<page_set>(image.name);
    }
    allowed = allowed && detail::may_follow(image, set->page_size);
    next.emplace(std::string(image.name), std::move(set));
  }
  if (!allowed) {
    return make_error_code(errc::malformed);
  }
  for (const database_image& image : position.databases) {
    const batch* const mine = content_of(image, written);
    next.find(image.name)->second->become(image, mine == nullptr ? nullptr : mine->written.get());
  }
  catalogue_.replace(next);  // what the position does not name lives on in its handles only
  at_ = position.at;
  replay_from_ = position.replay_from;
  notes_ = std::move(notes);
  return {};
} catch (const std::bad_alloc&) {
  return make_error_code(errc::out_of_memory);
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite
