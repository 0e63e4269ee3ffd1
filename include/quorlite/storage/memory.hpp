/// @file
/// Base images in the heap: a model of the storage concept for tests, caches and replicas without a
/// disk.
///
/// The storage outlives its replica: giving it to a new state machine is what a restart from disk
/// is for `file_storage`.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/storage_rules/content_catalogue.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/storage.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

/// Pages and position, all of it in the heap. Atomic: `ahead == at` always, and a flush or stage
/// that is dropped leaves no trace.
///
/// Threads: `read`, `read_hashes` and `open` from any thread, also during a flush or a stage; the
/// rest as the concept says. Nothing blocks, except for the moment in which a commit moves pages.
///
/// Errors, everywhere: errc::out_of_memory when it runs out (nothing has changed; try again),
/// errc::invalid_name for a name that is not a database's, errc::malformed for anything else that
/// the storage contract forbids the caller (nothing has changed), errc::storage_broken for a read
/// of what is not stored.
class QUORLITE_API memory_storage {
 public:
  /// Hashes are kept with the pages.
  static constexpr storage_abilities abilities{.page_hashes = true};

  class database_type;
  class flush_type;
  class stage_type;

  memory_storage() = default;
  memory_storage(const memory_storage&) = delete;
  memory_storage& operator=(const memory_storage&) = delete;

  /// The last committed position; the databases ascend by name. May be called again, by each new
  /// owner.
  [[nodiscard]] result<recovery> recover() noexcept;

  /// Names a database. One that does not exist has no page to read; a flush that writes to it, or a
  /// position that names it, begins it. errc::malformed: a page size that SQLite has not, or not
  /// the recorded one.
  [[nodiscard]] result<database_type> open(std::string_view name, std::uint32_t page_size) noexcept;

  /// Copies one page. @pre into holds page_size bytes
  /// @returns errc::storage_broken for a page that is not there, or for another size than the
  /// database's
  [[nodiscard]] std::error_code read(const database_type& database, page_number page,
                                     bytes_span into) const noexcept;

  /// The hashes given to write(), of pages first, first + 1, …; 0 for a page that was never
  /// written.
  /// @returns errc::storage_broken if one of them is not there
  [[nodiscard]] std::error_code read_hashes(const database_type& database, page_number first,
                                            std::span<std::uint64_t> into) const noexcept;

  /// A commit moves everything at once, so `ahead` need not be remembered.
  [[nodiscard]] result<flush_type> begin_flush(const history_position& ahead) noexcept;

  /// Makes the written pages and the position true together. Databases that the position does not
  /// list are gone. errc::malformed: a position before the current one, one that contradicts itself
  /// or the pages, or pages for a content that is not the name's any more.
  [[nodiscard]] std::error_code commit(flush_type flush, const base_position& position) noexcept;

  /// A stage starts empty, whatever the storage holds.
  [[nodiscard]] result<stage_type> begin_stage() noexcept;

  /// Replaces everything by the stage. The position may be before the current one: a restore can go
  /// back.
  [[nodiscard]] std::error_code publish(stage_type&& stage, const base_position& position) noexcept;

 private:
  struct page_set;  // one content of a name
  class writer;
  struct batch;  // what a flush or stage does to one name
  using batches = std::map<std::string, batch, std::less<>>;
  using catalogue = detail::content_catalogue<page_set>;

  [[nodiscard]] static batch* content_of(const database_image& image, batches& written);
  [[nodiscard]] std::error_code advance(batches& written, const base_position& position,
                                        bool allowed) noexcept;

  mutable std::shared_mutex mutex_;
  catalogue catalogue_;
  log_position at_;
  log_index replay_from_;
  bytes notes_;
};

/// One content of a name, shared with the storage: it can be read until the handle is destroyed,
/// whatever happens to the name. Cheap to copy.
class memory_storage::database_type {
  friend class memory_storage;
  friend writer;
  database_type(std::shared_ptr<page_set> set, std::uint32_t page_size) noexcept;
  std::shared_ptr<page_set> set_;
  std::uint32_t page_size_;
};

struct memory_storage::batch {
  std::shared_ptr<page_set> target;
  std::shared_ptr<page_set> written;  // the target itself if it was begun here

  [[nodiscard]] bool begun_here() const noexcept { return target == written; }
};

/// Takes pages for a flush or a stage; what it took is seen by nobody before.
class memory_storage::writer {
 public:
  /// Begins a database without pages. Its handle reads what was written to it at once.
  [[nodiscard]] result<database_type> open(std::string_view name, std::uint32_t page_size) noexcept;

  /// Copies the images. Pages ascend; a later call may bring a page again. Refused: a handle on
  /// another content of the name than was written to before.
  /// @param page_count the database's pages afterwards; the last call's counts
  [[nodiscard]] std::error_code write(const database_type& database,
                                      std::span<const page_view> sorted,
                                      std::uint64_t page_count) noexcept;

 private:
  friend class memory_storage;

  batches batches_;
};

/// Pages on their way in, private until commit.
class memory_storage::flush_type : public writer {
  friend class memory_storage;
  flush_type() = default;
};

/// A whole new content, private until publish. It writes only what it has opened itself.
class memory_storage::stage_type : public writer {
  friend class memory_storage;
  stage_type() = default;
};

static_assert(storage<memory_storage>);

}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/storage/memory.ipp"  // IWYU pragma: keep
#endif
