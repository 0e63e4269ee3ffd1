/// @file
/// What every storage refuses.
#pragma once

#include "quorlite/detail/storage_rules/position_rules.hpp"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <system_error>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/limits.hpp"
#include "quorlite/storage.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL std::error_code refusal_of(std::string_view name, std::uint32_t page_size) noexcept {
  if (!is_database_name(name)) {
    return make_error_code(errc::invalid_name);
  }
  return is_page_size(page_size) ? std::error_code{} : make_error_code(errc::malformed);
}

QUORLITE_DECL std::error_code refusal_of(const base_position& position) {
  if (position.replay_from > position.at.index || position.notes.size() > limits::notes_bytes ||
      position.databases.size() > limits::databases) {
    return make_error_code(errc::malformed);
  }
  std::vector<std::string_view> names;
  names.reserve(position.databases.size());
  for (const database_image& image : position.databases) {
    const std::uint32_t page_size = is_blank(image) ? limits::page_size_min : image.page_size;
    if (const std::error_code refused = refusal_of(image.name, page_size)) {
      return refused;
    }
    if (image.page_count > limits::page_count_max) {
      return make_error_code(errc::malformed);
    }
    names.push_back(image.name);
  }
  std::sort(names.begin(), names.end());
  const bool twice = std::adjacent_find(names.begin(), names.end()) != names.end();
  return twice ? make_error_code(errc::malformed) : std::error_code{};
}

QUORLITE_DECL bool tells_of(const database_image& image, std::uint32_t page_size,
                            std::uint64_t page_count) noexcept {
  return image.page_count == page_count && (is_blank(image) || image.page_size == page_size);
}

QUORLITE_DECL bool may_follow(const database_image& image, std::uint32_t page_size) noexcept {
  return page_size == 0 || page_size == image.page_size || is_blank(image);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
