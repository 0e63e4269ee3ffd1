/// @file
/// What the storage laws are told with: a harness for your storage, a model of what it should hold,
/// and the moves between the two.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/storage.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

/// What you write to have a storage examined.
///
/// `storage_type`: the storage. `atomic`: true if a flush without commit leaves no trace, whatever
/// happens (law D7). `make()`: a storage on an empty place of its own. `reopen(old)`: ends `old` as
/// a process would end, and opens the same place again; a storage in memory may simply return what
/// it was given.
template <class H>
concept storage_harness = storage<typename H::storage_type> &&
    requires(H& harness, std::unique_ptr<typename H::storage_type> old) {
  { H::atomic } -> std::convertible_to<bool>;
  { harness.make() } -> std::same_as<std::unique_ptr<typename H::storage_type>>;
  { harness.reopen(std::move(old)) } -> std::same_as<std::unique_ptr<typename H::storage_type>>;
};

/// What one database should hold. A page is known by the seed of its image; pages without one were
/// never written.
struct model_database {
  std::uint32_t page_size = 4096;
  std::uint64_t page_count = 0;
  std::uint64_t version = 0;
  std::map<std::uint32_t, std::uint64_t> seeds;

  /// Writes pages first … last with images made of `seed`; grows the database if needed.
  model_database& write(std::uint32_t first, std::uint32_t last, std::uint64_t seed) {
    for (std::uint32_t page = first; page <= last; ++page) {
      seeds[page] = seed;
    }
    page_count = page_count < last ? last : page_count;
    return *this;
  }
  model_database& resize(std::uint64_t count) {
    page_count = count;
    std::erase_if(seeds, [count](const auto& page) { return page.first > count; });
    return *this;
  }
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
[[nodiscard]] inline bytes page_image(std::uint64_t seed, std::uint32_t number,
                                      std::uint32_t page_size) {
  bytes image(page_size);
  std::uint64_t state = seed * 0x9E3779B97F4A7C15ULL + number;
  for (std::byte& place : image) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    place = static_cast<std::byte>(state >> 56U);
  }
  return image;
}

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
class model_position {
 public:
  explicit model_position(const model_content& content) : content_(content) {
    for (const auto& [name, database] : content_.databases) {
      lines_.push_back({name, database.page_size, database.page_count, hash_of(database),
                        version_number{database.version}});
    }
  }
  [[nodiscard]] base_position view() const noexcept {
    return {content_.at, content_.replay_from, lines_, content_.notes};
  }

  [[nodiscard]] static std::uint64_t hash_of(const model_database& database) {
    std::uint64_t sum = 0;
    for (const auto& [number, seed] : database.seeds) {
      sum += quorlite::detail::page_hash(page_number{number}, page_image(seed, number, database.page_size));
    }
    return sum;
  }

 private:
  model_content content_;
  std::vector<database_image> lines_;
};

/// What a flush that knows the page size `page_size` finds under a name: nothing if it must begin
/// anew.
[[nodiscard]] inline model_database before_flush(const model_content& old, const std::string& name,
                                                 std::uint32_t page_size) {
  const auto known = old.databases.find(name);
  const bool goes_on = known != old.databases.end() && known->second.page_size == page_size;
  return goes_on ? known->second : model_database{};
}

/// Moves `storage` from one content to the next: begins a flush and writes all that differs. A
/// database whose page size changes is begun anew.
template <class S>
[[nodiscard]] result<typename S::flush_type> fill_flush(S& storage, const model_content& old,
                                                        const model_content& next) {
  auto flush = storage.begin_flush(next.at.index);
  if (!flush) {
    return failed(flush.error());
  }
  for (const auto& [name, database] : next.databases) {
    const model_database from = before_flush(old, name, database.page_size);
    const auto known = old.databases.find(name);
    const bool anew = known != old.databases.end() && known->second.page_size != database.page_size;
    const auto handle =
        anew ? flush->open(name, database.page_size) : storage.open(name, database.page_size);
    if (!handle) {
      return failed(handle.error());
    }
    if (const std::error_code error = write_pages(*flush, *handle, from, database)) {
      return failed(error);
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
    return failed(stage.error());
  }
  for (const auto& [name, database] : next.databases) {
    const auto handle = stage->open(name, database.page_size);
    if (!handle) {
      return failed(handle.error());
    }
    if (const std::error_code error = write_pages(*stage, *handle, model_database{}, database)) {
      return failed(error);
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
[[nodiscard]] inline std::string difference_in_position(const recovery& found,
                                                        const model_content& content) {
  if (found.at != content.at || found.replay_from != content.replay_from) {
    return "recover() stands at index " + std::to_string(found.at.index.value) + " (replay from " +
           std::to_string(found.replay_from.value) + "), not at " +
           std::to_string(content.at.index.value);
  }
  if (found.notes != content.notes) {
    return "the notes differ";
  }
  if (found.databases.size() != content.databases.size()) {
    return "recover() lists " + std::to_string(found.databases.size()) + " databases, not " +
           std::to_string(content.databases.size());
  }
  for (const auto& line : found.databases) {
    const auto known = content.databases.find(line.name);
    if (known == content.databases.end()) {
      return "recover() lists '" + line.name + "', which is not in the position";
    }
    const model_database& database = known->second;
    if (line.page_size != database.page_size || line.page_count != database.page_count ||
        line.version.value != database.version || line.hash != model_position::hash_of(database)) {
      return "the line of '" + line.name + "' is not the one that was committed";
    }
  }
  return {};
}

/// Both of the above, after reopening. `ahead` must equal `at` where nothing was left unfinished.
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
[[nodiscard]] inline model_content sample_content(std::uint64_t index, std::uint64_t seed) {
  model_content content;
  content.at = {log_index{index}, term{1 + index / 10}};
  content.replay_from = content.at.index;
  content.databases["app.db"].write(1, 9, seed).version = index;
  content.databases["logs_2.db"].page_size = 1024;
  content.databases["logs_2.db"].write(1, 5, seed + 1).version = index;
  content.notes = page_image(seed, 0, 300);
  return content;
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
