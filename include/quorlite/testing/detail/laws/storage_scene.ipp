/// @file
/// Bodies of the model of what a storage should hold.
#pragma once

#include "quorlite/testing/detail/laws/storage_scene.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/storage.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL model_database& model_database::write(std::uint32_t first, std::uint32_t last,
                                                    std::uint64_t seed) {
  for (std::uint32_t page = first; page <= last; ++page) {
    seeds[page] = seed;
  }
  page_count = page_count < last ? last : page_count;
  return *this;
}

QUORLITE_DECL model_database& model_database::resize(std::uint64_t count) {
  page_count = count;
  std::erase_if(seeds, [count](const auto& page) { return page.first > count; });
  return *this;
}

QUORLITE_DECL bytes page_image(std::uint64_t seed, std::uint32_t number, std::uint32_t page_size) {
  bytes image(page_size);
  std::uint64_t state = seed * 0x9E3779B97F4A7C15ULL + number;
  for (std::byte& place : image) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    place = static_cast<std::byte>(state >> 56U);
  }
  return image;
}

QUORLITE_DECL model_position::model_position(model_content content) : content_(std::move(content)) {
  for (const auto& [name, database] : content_.databases) {
    lines_.push_back({name, database.page_size, database.page_count, hash_of(database),
                      version_number{database.version}});
  }
}

QUORLITE_DECL std::uint64_t model_position::hash_of(const model_database& database) {
  std::uint64_t sum = 0;
  for (const auto& [number, seed] : database.seeds) {
    sum += quorlite::detail::page_hash(page_number{number},
                                       page_image(seed, number, database.page_size));
  }
  return sum;
}

QUORLITE_DECL history_hash history_as_of(log_index index) noexcept {
  return index.value < 10 ? history_hash{}
                          : history_hash{index.value * 0x9E3779B97F4A7C15ULL, ~index.value};
}

QUORLITE_DECL model_database before_flush(const model_content& old, const std::string& name,
                                          std::uint32_t page_size) {
  const auto known = old.databases.find(name);
  const bool goes_on = known != old.databases.end() && known->second.page_size == page_size;
  return goes_on ? known->second : model_database{};
}

QUORLITE_DECL std::string difference_in_position(const recovery& found,
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

QUORLITE_DECL std::string difference_in_history(const recovery& found) {
  const bool exact = found.ahead == found.at.index;
  const history_hash expected = exact ? history_hash{} : history_as_of(found.ahead);
  return found.ahead_history == expected
             ? std::string()
             : "recover() tells " + std::string(exact ? "a" : "another") +
                   " history as of ahead = " + std::to_string(found.ahead.value);
}

QUORLITE_DECL model_content sample_content(std::uint64_t index, std::uint64_t seed) {
  model_content content;
  content.at = {log_index{index}, term{1 + index / 10}};
  content.replay_from = content.at.index;
  content.databases["app.db"].write(1, 9, seed).version = index;
  content.databases["logs_2.db"].page_size = 1024;
  content.databases["logs_2.db"].write(1, 5, seed + 1).version = index;
  content.notes = page_image(seed, 0, 300);
  return content;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
