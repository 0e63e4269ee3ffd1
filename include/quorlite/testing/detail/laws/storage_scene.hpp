/// @file
/// What the storage laws are told with: a harness for your storage, a model of what it should hold,
/// and the moves between the two.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/storage.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// What you write to have a storage examined.
///
/// - `storage_type`: the storage.
/// - `atomic`: true if a flush without commit leaves no trace, whatever happens (law D7).
/// - `make()`: a storage on an empty place of its own.
/// - `reopen(old)`: ends `old` as a process would end, and opens the same place again; a storage in
///   memory may simply return what it was given.
template <class H>
concept storage_harness = storage<typename H::storage_type> &&
    requires(H& harness, std::unique_ptr<typename H::storage_type> old) {
  { H::atomic } -> std::convertible_to<bool>;
  { harness.make() } -> std::same_as<std::unique_ptr<typename H::storage_type>>;
  { harness.reopen(std::move(old)) } -> std::same_as<std::unique_ptr<typename H::storage_type>>;
};

/// What one database should hold. A page is known by the seed of its image; pages without one were
/// never written.
struct QUORLITE_API model_database {
  std::uint32_t page_size = 4096;
  std::uint64_t page_count = 0;
  std::uint64_t version = 0;
  std::map<std::uint32_t, std::uint64_t> seeds;

  /// Writes pages first … last with images made of `seed`; grows the database if needed.
  model_database& write(std::uint32_t first, std::uint32_t last, std::uint64_t seed);
  model_database& resize(std::uint64_t count);
};

/// What a storage should hold.
struct model_content {
  log_position at;
  log_index replay_from;
  std::map<std::string, model_database> databases;
  bytes notes;
};

/// The image that `seed` stands for; another one for each page and each seed, without a repeated
/// block.
[[nodiscard]] QUORLITE_API QUORLITE_DECL bytes page_image(std::uint64_t seed, std::uint32_t number,
                                                          std::uint32_t page_size);

/// Writes the pages of `next` that `old` has not, in two calls, so that the storage meets more than
/// one.
template <class Writer, class Database>
[[nodiscard]] std::error_code write_pages(Writer& writer, const Database& database,
                                          const model_database& old, const model_database& next) {
  std::vector<bytes> images;
  std::vector<page_view> pages;
  images.reserve(next.seeds.size());
  for (const auto& [number, seed] : next.seeds) {
    const auto known = old.seeds.find(number);
    if (known == old.seeds.end() || known->second != seed) {
      images.push_back(page_image(seed, number, next.page_size));
      const page_number page{number};
      pages.push_back({page, quorlite::detail::page_hash(page, images.back()), images.back()});
    }
  }
  const std::span<const page_view> all(pages);
  const std::size_t half = all.size() / 2;
  if (const std::error_code error = writer.write(database, all.first(half), next.page_count)) {
    return error;
  }
  return writer.write(database, all.subspan(half), next.page_count);
}

/// A base position with the memory that it views.
class QUORLITE_API model_position {
 public:
  explicit model_position(model_content content);
  [[nodiscard]] base_position view() const noexcept {
    return {content_.at, content_.replay_from, lines_, content_.notes};
  }

  [[nodiscard]] static std::uint64_t hash_of(const model_database& database);

 private:
  model_content content_;
  std::vector<database_image> lines_;
};

/// The history as of an index, in every scene: another one for each index; none below 10, where it
/// has not begun.
[[nodiscard]] QUORLITE_API QUORLITE_DECL history_hash history_as_of(log_index index) noexcept;

/// What a flush that knows the page size `page_size` finds under a name: nothing if it must begin
/// anew.
[[nodiscard]] QUORLITE_API QUORLITE_DECL model_database before_flush(const model_content& old,
                                                                     const std::string& name,
                                                                     std::uint32_t page_size);

/// Moves `storage` from one content to the next: begins a flush and writes all that differs. A
/// database whose page size changes is begun anew.
template <class S>
[[nodiscard]] result<typename S::flush_type> fill_flush(S& storage, const model_content& old,
                                                        const model_content& next) {
  auto flush = storage.begin_flush({next.at.index, history_as_of(next.at.index)});
  if (!flush) {
    return fail(flush.error());
  }
  for (const auto& [name, database] : next.databases) {
    const model_database from = before_flush(old, name, database.page_size);
    const auto known = old.databases.find(name);
    const bool anew = known != old.databases.end() && known->second.page_size != database.page_size;
    const auto handle =
        anew ? flush->open(name, database.page_size) : storage.open(name, database.page_size);
    if (!handle) {
      return fail(handle.error());
    }
    if (const std::error_code error = write_pages(*flush, *handle, from, database)) {
      return fail(error);
    }
  }
  return flush;
}

/// fill_flush and commit.
template <class S>
[[nodiscard]] std::error_code commit_change(S& storage, const model_content& old,
                                            const model_content& next) {
  auto flush = fill_flush(storage, old, next);
  if (!flush) {
    return flush.error();
  }
  return storage.commit(std::move(*flush), model_position(next).view());
}

/// Begins a stage and writes all of `next`.
template <class S>
[[nodiscard]] result<typename S::stage_type> fill_stage(S& storage, const model_content& next) {
  auto stage = storage.begin_stage();
  if (!stage) {
    return fail(stage.error());
  }
  for (const auto& [name, database] : next.databases) {
    const auto handle = stage->open(name, database.page_size);
    if (!handle) {
      return fail(handle.error());
    }
    if (const std::error_code error = write_pages(*stage, *handle, model_database{}, database)) {
      return fail(error);
    }
  }
  return stage;
}

/// True if the page is exactly the image of `seed`.
template <class S>
[[nodiscard]] bool reads(const S& storage, const typename S::database_type& database,
                         std::uint32_t number, std::uint32_t page_size, std::uint64_t seed) {
  bytes into(page_size, std::byte{0xA5});
  return !storage.read(database, page_number{number}, into) &&
         into == page_image(seed, number, page_size);
}

/// True if a read is refused as a broken promise; zeros or old bytes are not a refusal.
template <class S>
[[nodiscard]] bool refuses(const S& storage, const typename S::database_type& database,
                           std::uint64_t number, std::size_t size) {
  bytes into(size);
  const page_number page{static_cast<std::uint32_t>(number)};
  return storage.read(database, page, into) == failure::fatal;
}

/// What differs between the pages of a living storage and the model; empty if nothing does.
template <class S>
[[nodiscard]] std::string difference_in_pages(S& storage, const model_content& content) {
  for (const auto& [name, database] : content.databases) {
    const auto handle = storage.open(name, database.page_size);
    if (!handle) {
      return "cannot open '" + name + "': " + handle.error().message();
    }
    for (const auto& [number, seed] : database.seeds) {
      if (!reads(storage, *handle, number, database.page_size, seed)) {
        return "page " + std::to_string(number) + " of '" + name +
               "' is not the image that was committed";
      }
    }
    if (!refuses(storage, *handle, database.page_count + 1, database.page_size)) {
      return "a page beyond the page count of '" + name + "' is readable";
    }
  }
  return {};
}

/// What differs between a recovery and the model; empty if nothing does.
[[nodiscard]] QUORLITE_API QUORLITE_DECL std::string difference_in_position(
    const recovery& found, const model_content& content);

/// What is wrong with the history that goes with `ahead`; empty if nothing is.
[[nodiscard]] QUORLITE_API QUORLITE_DECL std::string difference_in_history(const recovery& found);

/// Position and pages, after reopening. `ahead` must equal `at` where nothing was left unfinished.
template <storage_harness H>
[[nodiscard]] std::string difference_after_reopen(
    H& harness, std::unique_ptr<typename H::storage_type>& storage, const model_content& content,
    bool exact = true) {
  storage = harness.reopen(std::move(storage));
  const auto found = storage->recover();
  if (!found) {
    return "recover() failed: " + found.error().message();
  }
  std::string difference = difference_in_position(*found, content);
  if (difference.empty() && exact && found->ahead != found->at.index) {
    difference = "recover() says that pages may be ahead of the position, after a whole commit";
  }
  return difference.empty() && exact ? difference_in_pages(*storage, content) : difference;
}

/// A content with two databases of several pages, standing at `index`.
[[nodiscard]] QUORLITE_API QUORLITE_DECL model_content sample_content(std::uint64_t index,
                                                                      std::uint64_t seed);

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/laws/storage_scene.ipp"  // IWYU pragma: keep
#endif
