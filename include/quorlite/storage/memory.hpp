/// @file
/// Base images in the heap: a model of the storage concept for tests, caches and replicas without a
/// disk.
///
/// The storage outlives its replica: giving it to a new state machine is what a restart from disk
/// is for `file_storage`.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"
#include "quorlite/storage.hpp"
#include "quorlite/detail/storage_rules/position_rules.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

/// Pages and position, all of it in the heap. Atomic: `ahead == at` always, and a flush or stage
/// that is dropped leaves no trace.
///
/// Threads: `read`, `read_hashes` and `open` from any thread, also during a flush or a stage; the
/// rest as the concept says. Nothing blocks, except for the moment in which a commit moves pages.
///
/// Errors, everywhere: errc::storage_full when memory runs out (nothing has changed; try again),
/// errc::invalid_name for a name that is not a database's, errc::malformed for anything else that
/// the storage contract forbids the caller (nothing has changed), errc::storage_broken for a read
/// of what is not stored.
class memory_storage {
  struct stored_page {
    std::uint64_t hash = 0;
    std::unique_ptr<std::byte[]> image;  // page_size bytes
  };
  // One content of a name. Pages that were never written are absent, and are read as zeros.
  struct page_set {
    explicit page_set(std::string_view of) : name(of) {}
    const std::string name;
    mutable std::shared_mutex mutex;  // guards what follows
    std::uint32_t page_size = 0;
    std::uint64_t page_count = 0;
    std::uint64_t hash = 0;
    version_number version;
    std::unordered_map<std::uint32_t, stored_page> pages;
  };
  // What a flush or stage does to one name.
  struct batch {
    std::shared_ptr<page_set> target;
    std::shared_ptr<page_set> written;  // the target itself if it was begun here

    [[nodiscard]] bool begun_here() const noexcept { return target == written; }
  };
  using batches = std::map<std::string, batch, std::less<>>;
  using shelf = std::map<std::string, std::shared_ptr<page_set>, std::less<>>;
  class writer;

 public:
  static constexpr storage_abilities abilities{.page_hashes = true};

  /// One content of a name, shared with the storage: it can be read until the handle is destroyed,
  /// whatever happens to the name. Cheap to copy.
  class database_type {
    friend class memory_storage;
    friend class writer;
    database_type(std::shared_ptr<page_set> set, std::uint32_t page_size)
        : set_(std::move(set)), page_size_(page_size) {}
    std::shared_ptr<page_set> set_;
    std::uint32_t page_size_;
  };

 private:
  class writer {
   public:
    /// Begins a database without pages. Its handle reads what was written to it at once.
    [[nodiscard]] result<database_type> open(std::string_view name,
                                             std::uint32_t page_size) noexcept try {
      if (const std::error_code refused = detail::refusal_of(name, page_size)) {
        return failed(refused);
      }
      auto set = std::make_shared<page_set>(name);
      set->page_size = page_size;
      batches_.insert_or_assign(std::string(name), batch{set, set});
      return database_type{std::move(set), page_size};
    } catch (const std::bad_alloc&) {
      return failed(errc::storage_full);
    }

    /// Copies the images. Pages ascend; a later call may bring a page again. Refused: a handle on
    /// another content of the name than was written to before.
    /// @param page_count the database's pages afterwards; the last call's counts
    [[nodiscard]] std::error_code write(const database_type& database,
                                        std::span<const page_view> sorted,
                                        std::uint64_t page_count) noexcept try {
      auto found = batches_.find(database.set_->name);
      if (found == batches_.end()) {
        batch fresh{database.set_, std::make_shared<page_set>(database.set_->name)};
        fresh.written->page_size = database.page_size_;
        found = batches_.emplace(database.set_->name, std::move(fresh)).first;
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
                                             stored_page{page.hash, std::move(image)});
      }
      into.written->page_count = page_count;
      return {};
    } catch (const std::bad_alloc&) {
      return make_error_code(errc::storage_full);
    }

   private:
    friend class memory_storage;

    batches batches_;
  };

 public:
  /// Pages on their way in, private until commit.
  class flush_type : public writer {
    friend class memory_storage;
    flush_type() = default;
  };
  /// A whole new content, private until publish. It writes only what it has opened itself.
  class stage_type : public writer {
    friend class memory_storage;
    stage_type() = default;
  };

  memory_storage() = default;
  memory_storage(const memory_storage&) = delete;
  memory_storage& operator=(const memory_storage&) = delete;

  /// The last committed position; the databases ascend by name. May be called again, by each new
  /// owner.
  [[nodiscard]] result<recovery> recover() noexcept try {
    const std::shared_lock guard(mutex_);
    recovery found;
    found.at = at_;
    found.replay_from = replay_from_;
    found.ahead = at_.index;
    found.notes = notes_;
    found.databases.reserve(shelf_.size());
    for (const auto& [name, set] : shelf_) {
      found.databases.push_back({name, set->page_size, set->page_count, set->hash, set->version});
    }
    return found;
  } catch (const std::bad_alloc&) {
    return failed(errc::storage_full);
  }

  /// Names a database. One that does not exist has no page to read; a flush that writes to it, or a
  /// position that names it, begins it. errc::malformed: a page size that SQLite has not, or not
  /// the recorded one.
  [[nodiscard]] result<database_type> open(std::string_view name, std::uint32_t page_size) noexcept
      try {
    if (const std::error_code refused = detail::refusal_of(name, page_size)) {
      return failed(refused);
    }
    const std::unique_lock guard(mutex_);
    auto set = find(name);
    if (!set) {
      std::erase_if(unborn_, [](const auto& line) { return line.second.expired(); });
      set = std::make_shared<page_set>(name);
      unborn_.insert_or_assign(std::string(name), set);
    }
    if (set->page_size != 0 && set->page_size != page_size) {
      return failed(errc::malformed);
    }
    return database_type{std::move(set), page_size};
  } catch (const std::bad_alloc&) {
    return failed(errc::storage_full);
  }

  /// Copies one page. @pre into holds page_size bytes
  /// @returns errc::storage_broken for a page that is not there, or for another size than the
  /// database's
  [[nodiscard]] std::error_code read(const database_type& database, page_number page,
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

  /// The hashes given to write(), of pages first, first + 1, …; 0 for a page that was never
  /// written.
  /// @returns errc::storage_broken if one of them is not there
  [[nodiscard]] std::error_code read_hashes(const database_type& database, page_number first,
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

  /// A commit moves everything at once, so `ahead` need not be remembered.
  [[nodiscard]] result<flush_type> begin_flush(log_index /*ahead*/) noexcept {
    return flush_type{};
  }

  /// Makes the written pages and the position true together. Databases that the position does not
  /// list are gone. errc::malformed: a position before the current one, one that contradicts itself
  /// or the pages, or pages for a content that is not the name's any more.
  [[nodiscard]] std::error_code commit(flush_type flush, const base_position& position) noexcept {
    return advance(flush.batches_, position, position.at.index >= at_.index);
  }

  /// A stage starts empty, whatever the storage holds.
  [[nodiscard]] result<stage_type> begin_stage() noexcept { return stage_type{}; }

  /// Replaces everything by the stage. The position may be before the current one: a restore can go
  /// back.
  [[nodiscard]] std::error_code publish(stage_type&& stage, const base_position& position) noexcept
      try {
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
    return make_error_code(errc::storage_full);
  }

 private:
  /// The content of a name, or the one that an open handle waits for; null if there is neither.
  [[nodiscard]] std::shared_ptr<page_set> find(std::string_view name) const noexcept {
    if (const auto living = shelf_.find(name); living != shelf_.end()) {
      return living->second;
    }
    const auto waiting = unborn_.find(name);
    return waiting == unborn_.end() ? nullptr : waiting->second.lock();
  }

  /// What was written for a line. A blank one has no content, whatever was written before it was.
  [[nodiscard]] static batches::iterator content_of(const database_image& image, batches& written) {
    return detail::is_blank(image) ? written.end() : written.find(image.name);
  }

  [[nodiscard]] std::error_code advance(batches& written, const base_position& position,
                                        bool allowed) noexcept try {
    if (const std::error_code refused = detail::refusal_of(position)) {
      return refused;
    }
    const std::unique_lock guard(mutex_);
    bytes notes(position.notes.begin(), position.notes.end());
    shelf next;
    for (const database_image& image : position.databases) {  // all that can fail comes first
      const auto mine = content_of(image, written);
      std::shared_ptr<page_set> set = find(image.name);
      if (mine != written.end()) {
        const batch& change = mine->second;
        allowed = allowed && (change.begun_here() || change.target == set) &&
                  detail::tells_of(image, change.written->page_size, change.written->page_count);
        set = change.target;
        if (!change.begun_here()) {
          const std::unique_lock changing(set->mutex);
          set->pages.reserve(set->pages.size() + change.written->pages.size());
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
      const auto mine = content_of(image, written);
      become(*next.find(image.name)->second, image,
             mine == written.end() ? nullptr : mine->second.written.get());
    }
    shelf_.swap(next);  // what the position does not name lives on in its handles only
    std::erase_if(unborn_, [this](const auto& line) { return shelf_.contains(line.first); });
    at_ = position.at;
    replay_from_ = position.replay_from;
    notes_ = std::move(notes);
    return {};
  } catch (const std::bad_alloc&) {
    return make_error_code(errc::storage_full);
  }

  /// Moves nodes only: room was made before, so nothing here can fail.
  static void become(page_set& set, const database_image& image, page_set* written) noexcept {
    const std::unique_lock guard(set.mutex);
    while (written != nullptr && written != &set && !written->pages.empty()) {
      auto page = written->pages.extract(written->pages.begin());
      set.pages.erase(page.key());
      set.pages.insert(std::move(page));
    }
    set.page_size = image.page_size;
    set.page_count = image.page_count;
    set.hash = image.hash;
    set.version = image.version;
    // Pages above the count go now: they must not come back when the database grows again.
    std::erase_if(set.pages, [&](const auto& page) { return page.first > image.page_count; });
  }

  mutable std::shared_mutex mutex_;
  shelf shelf_;
  std::map<std::string, std::weak_ptr<page_set>, std::less<>> unborn_;  // opened, not yet begun
  log_position at_;
  log_index replay_from_;
  bytes notes_;
};

static_assert(storage<memory_storage>);

}  // namespace QUORLITE_ABI
}  // namespace quorlite
