/// @file
/// What every storage refuses, whatever it is made of.
#pragma once

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

/// errc::invalid_name, errc::malformed for a page size that SQLite has not, or nothing.
[[nodiscard]] inline std::error_code refusal_of(std::string_view name,
                                                std::uint32_t page_size) noexcept {
  if (!is_database_name(name)) {
    return make_error_code(errc::invalid_name);
  }
  return is_page_size(page_size) ? std::error_code{} : make_error_code(errc::malformed);
}

/// A line of a database that has no page, and no page size either.
[[nodiscard]] inline bool is_blank(const database_image& image) noexcept {
  return image.page_size == 0 && image.page_count == 0;
}

/// What a position can be refused for without knowing the storage: errc::invalid_name,
/// errc::malformed. Throws std::bad_alloc.
[[nodiscard]] inline std::error_code refusal_of(const base_position& position) {
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

/// True if a line says what a flush or stage wrote.
[[nodiscard]] inline bool tells_of(const database_image& image, std::uint32_t page_size,
                                   std::uint64_t page_count) noexcept {
  return image.page_count == page_count && (is_blank(image) || image.page_size == page_size);
}

/// True if a line may follow what is stored: a database keeps its page size until it is born again,
/// which a blank line says as well.
[[nodiscard]] inline bool may_follow(const database_image& image,
                                     std::uint32_t page_size) noexcept {
  return page_size == 0 || page_size == image.page_size || is_blank(image);
}

/// True if the pages ascend, lie inside `page_count` and have the right size.
template <class Pages>
[[nodiscard]] bool ascend(const Pages& sorted, std::uint32_t page_size,
                          std::uint64_t page_count) noexcept {
  std::uint32_t last = 0;
  for (const auto& page : sorted) {
    if (page.number.value <= last || page.number.value > page_count ||
        page.image.size() != page_size) {
      return false;
    }
    last = page.number.value;
  }
  return page_count <= limits::page_count_max;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
