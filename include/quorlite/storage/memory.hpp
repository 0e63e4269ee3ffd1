/// @file
/// Base images in the heap: a model of the storage concept for tests, caches and replicas without a
/// disk.
///
/// The storage outlives its replica. Destroying the state machine and giving the same
/// `memory_storage` to a new one is what a restart from disk is for `file_storage`: `recover()`
/// tells the last committed position.
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

#include "quorlite/bytes.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"
#include "quorlite/storage.hpp"

namespace quorlite {
inline namespace v0 {

/// Pages and position, all of it in the heap. Atomic: `ahead == at` always, and a flush or stage
/// that is dropped leaves no trace.
///
/// Threads: `read` and `read_hashes` from any thread, also during a flush or a stage; the rest one
/// thread at a time. Nothing blocks, except for the moment in which a commit swaps its pages in.
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
  // Unwritten pages inside page_count are absent from `pages`, and are read as zeros: the lock page
  // costs nothing.
  struct page_set {
    std::uint32_t page_size = 0;
    std::uint64_t page_count = 0;
    std::uint64_t hash = 0;
    version_number version;
    std::unordered_map<std::uint32_t, stored_page> pages;
    std::uint32_t last_written = 0;  // of a flush or stage: pages arrive in ascending order
  };
  using shelf = std::map<std::string, page_set, std::less<>>;

 public:
  static constexpr storage_abilities abilities{.page_hashes = true};

  /// Names a database: valid as long as its storage, whatever happens to the database. Cheap to
  /// copy.
  class database_type {
    friend class memory_storage;
    database_type(std::string_view name, std::uint32_t page_size)
        : name_(name), page_size_(page_size) {}
    std::string name_;
    std::uint32_t page_size_;
  };

  /// Pages on their way in, private until commit.
  class flush_type {
   public:
    /// Copies the images. A page written twice must come in a later flush; pages ascend over all
    /// calls.
    /// @param page_count the database's pages after the flush; the last call's counts
    [[nodiscard]] std::error_code write(const database_type& database,
                                        std::span<const page_view> sorted,
                                        std::uint64_t page_count) noexcept {
      return put(written_, database, sorted, page_count);
    }

   private:
    friend class memory_storage;
    flush_type() = default;
    shelf written_;
  };

  /// A whole new content, private until publish.
  class stage_type {
   public:
    /// Names a database of the stage. The handle serves the storage too, once the stage is
    /// published.
    [[nodiscard]] result<database_type> open(std::string_view name,
                                             std::uint32_t page_size) noexcept {
      return name_database(written_, name, page_size);
    }
    /// Like flush_type::write.
    [[nodiscard]] std::error_code write(const database_type& database,
                                        std::span<const page_view> sorted,
                                        std::uint64_t page_count) noexcept {
      return put(written_, database, sorted, page_count);
    }

   private:
    friend class memory_storage;
    stage_type() = default;
    shelf written_;
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
      found.databases.push_back({name, set.page_size, set.page_count, set.hash, set.version});
    }
    return found;
  } catch (const std::bad_alloc&) {
    return failed(errc::storage_full);
  }

  /// Names a database, existing or not. errc::malformed: a page size that SQLite has not, or not
  /// the recorded one.
  [[nodiscard]] result<database_type> open(std::string_view name,
                                           std::uint32_t page_size) noexcept {
    const std::shared_lock guard(mutex_);
    return name_database(shelf_, name, page_size);
  }

  /// Copies one page. @pre into holds page_size bytes
  /// @returns errc::storage_broken for a page that is not there, or for another size than the
  /// database's
  [[nodiscard]] std::error_code read(const database_type& database, page_number page,
                                     bytes_span into) const noexcept {
    const std::shared_lock guard(mutex_);
    const auto found = shelf_.find(database.name_);
    if (found == shelf_.end() || page.value == 0 || page.value > found->second.page_count ||
        into.size() != found->second.page_size) {
      return make_error_code(errc::storage_broken);
    }
    const auto stored = found->second.pages.find(page.value);
    if (stored == found->second.pages.end()) {
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
    const std::shared_lock guard(mutex_);
    const auto found = shelf_.find(database.name_);
    if (found == shelf_.end() || first.value == 0 || first.value > found->second.page_count ||
        into.size() > found->second.page_count - first.value + 1) {
      return make_error_code(errc::storage_broken);
    }
    for (std::size_t i = 0; i < into.size(); ++i) {
      const auto stored = found->second.pages.find(static_cast<std::uint32_t>(first.value + i));
      into[i] = stored == found->second.pages.end() ? 0 : stored->second.hash;
    }
    return {};
  }

  /// A commit swaps everything at once, so `ahead` need not be remembered.
  [[nodiscard]] result<flush_type> begin_flush(log_index /*ahead*/) noexcept {
    return flush_type{};
  }

  /// Makes the written pages and the position true together. Databases that the position does not
  /// list are gone. errc::malformed: a position before the current one, or one that contradicts
  /// itself or the pages.
  [[nodiscard]] std::error_code commit(flush_type flush, const base_position& position) noexcept
      try {
    if (const std::error_code refused = refusal(flush.written_, position)) {
      return refused;
    }
    const std::unique_lock guard(mutex_);
    if (position.at.index < at_.index || contradicts_shelf(position)) {
      return make_error_code(errc::malformed);
    }
    bytes notes(position.notes.begin(), position.notes.end());
    for (const database_image& image :
         position.databases) {  // all allocations, before any change is seen
      const auto written = flush.written_.find(image.name);
      if (written == flush.written_.end()) {
        // A database without pages of its own still needs its line, and an old one waits for its
        // new count.
        flush.written_.try_emplace(std::string(image.name)).first->second.page_size =
            image.page_size;
      } else if (const auto kept = shelf_.find(image.name); kept != shelf_.end()) {
        kept->second.pages.reserve(kept->second.pages.size() + written->second.pages.size());
      }
    }
    merge(flush.written_, position);
    stand_at(position, std::move(notes));
    return {};
  } catch (const std::bad_alloc&) {
    return make_error_code(errc::storage_full);
  }

  /// A stage starts empty, whatever the storage holds.
  [[nodiscard]] result<stage_type> begin_stage() noexcept { return stage_type{}; }

  /// Replaces everything by the stage. The position may be before the current one: a restore can go
  /// back.
  [[nodiscard]] std::error_code publish(stage_type stage, const base_position& position) noexcept
      try {
    if (const std::error_code refused = refusal(stage.written_, position)) {
      return refused;
    }
    bytes notes(position.notes.begin(), position.notes.end());
    shelf replacement;
    for (const database_image& image : position.databases) {
      const auto written = stage.written_.find(image.name);
      page_set set;
      if (written != stage.written_.end()) {
        set = std::move(written->second);
      }
      set.page_size = image.page_size;
      describe(set, image);
      replacement.emplace(std::string(image.name), std::move(set));
    }
    const std::unique_lock guard(mutex_);
    shelf_.swap(replacement);
    stand_at(position, std::move(notes));
    return {};
  } catch (const std::bad_alloc&) {
    return make_error_code(errc::storage_full);
  }

 private:
  [[nodiscard]] static result<database_type> name_database(const shelf& where,
                                                           std::string_view name,
                                                           std::uint32_t page_size) noexcept try {
    if (!is_database_name(name)) {
      return failed(errc::invalid_name);
    }
    const auto found = where.find(name);
    const bool other_size = found != where.end() && found->second.page_size != 0 &&
                            found->second.page_size != page_size;
    if (!is_page_size(page_size) || other_size) {
      return failed(errc::malformed);
    }
    return database_type{name, page_size};
  } catch (const std::bad_alloc&) {
    return failed(errc::storage_full);
  }

  /// Checks a whole batch, then copies it.
  [[nodiscard]] static std::error_code put(shelf& where, const database_type& database,
                                           std::span<const page_view> sorted,
                                           std::uint64_t page_count) noexcept try {
    page_set& set = where[database.name_];
    if (set.page_size != 0 && set.page_size != database.page_size_) {
      return make_error_code(errc::malformed);
    }
    set.page_size = database.page_size_;
    std::uint32_t last = set.last_written;
    for (const page_view& page : sorted) {
      if (page.number.value <= last || page.number.value > page_count ||
          page.image.size() != database.page_size_) {
        return make_error_code(errc::malformed);
      }
      last = page.number.value;
    }
    if (page_count > limits::page_count_max) {
      return make_error_code(errc::malformed);
    }
    for (const page_view& page : sorted) {
      auto image = std::make_unique<std::byte[]>(page.image.size());
      std::memcpy(image.get(), page.image.data(), page.image.size());
      set.pages.insert_or_assign(page.number.value, stored_page{page.hash, std::move(image)});
    }
    set.last_written = last;
    set.page_count = page_count;
    return {};
  } catch (const std::bad_alloc&) {
    return make_error_code(errc::storage_full);
  }

  /// What a position can be refused for without knowing the storage.
  [[nodiscard]] static std::error_code refusal(const shelf& written,
                                               const base_position& position) {
    if (position.replay_from > position.at.index || position.notes.size() > limits::notes_bytes ||
        position.databases.size() > limits::databases) {
      return make_error_code(errc::malformed);
    }
    std::vector<std::string_view> names;
    names.reserve(position.databases.size());
    for (const database_image& image : position.databases) {
      if (!is_database_name(image.name)) {
        return make_error_code(errc::invalid_name);
      }
      const bool empty = image.page_size == 0 && image.page_count == 0;
      if ((!empty && !is_page_size(image.page_size)) || image.page_count > limits::page_count_max) {
        return make_error_code(errc::malformed);
      }
      const auto found = written.find(image.name);
      if (found != written.end() && (found->second.page_size != image.page_size ||
                                     found->second.page_count != image.page_count)) {
        return make_error_code(errc::malformed);
      }
      names.push_back(image.name);
    }
    std::sort(names.begin(), names.end());
    const bool twice = std::adjacent_find(names.begin(), names.end()) != names.end();
    return twice ? make_error_code(errc::malformed) : std::error_code{};
  }

  /// A stored database keeps its page size until a position without it, or a publish, ends it.
  [[nodiscard]] bool contradicts_shelf(const base_position& position) const noexcept {
    return std::any_of(position.databases.begin(), position.databases.end(),
                       [this](const auto& image) {
                         const auto kept = shelf_.find(image.name);
                         return kept != shelf_.end() && kept->second.page_size != 0 &&
                                kept->second.page_size != image.page_size;
                       });
  }

  static void describe(page_set& set, const database_image& image) noexcept {
    set.page_size = image.page_size;
    set.page_count = image.page_count;
    set.hash = image.hash;
    set.version = image.version;
    set.last_written = 0;
    // Pages above the count go now: they must not come back when the database grows again.
    std::erase_if(set.pages, [&](const auto& page) { return page.first > image.page_count; });
  }

  /// Moves nodes only: room was made before, so nothing here can fail.
  void merge(shelf& written, const base_position& position) noexcept {
    shelf next;
    for (const database_image& image : position.databases) {
      auto fresh = written.extract(written.find(image.name));
      if (const auto kept = shelf_.find(image.name); kept != shelf_.end()) {
        auto& pages = kept->second.pages;
        while (!fresh.mapped().pages.empty()) {
          auto page = fresh.mapped().pages.extract(fresh.mapped().pages.begin());
          pages.erase(page.key());
          pages.insert(std::move(page));
        }
        fresh.mapped().pages.swap(pages);
      }
      describe(fresh.mapped(), image);
      next.insert(std::move(fresh));
    }
    shelf_.swap(next);  // what the position does not name goes with the old shelf
  }

  void stand_at(const base_position& position, bytes notes) noexcept {
    at_ = position.at;
    replay_from_ = position.replay_from;
    notes_ = std::move(notes);
  }

  mutable std::shared_mutex mutex_;
  shelf shelf_;
  log_position at_;
  log_index replay_from_;
  bytes notes_;
};

static_assert(storage<memory_storage>);

}  // namespace v0
}  // namespace quorlite
