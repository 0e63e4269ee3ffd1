/// @file
/// What every storage refuses, whatever it is made of.
#pragma once

#include <cstdint>
#include <string_view>
#include <system_error>

#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/limits.hpp"
#include "quorlite/storage.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// errc::invalid_name, errc::malformed for a page size that SQLite has not, or nothing.
[[nodiscard]] QUORLITE_DECL std::error_code refusal_of(std::string_view name,
                                                       std::uint32_t page_size) noexcept;

/// A line of a database that has no page, and no page size either.
[[nodiscard]] inline bool is_blank(const database_image& image) noexcept {
  return image.page_size == 0 && image.page_count == 0;
}

/// What a position can be refused for without knowing the storage: errc::invalid_name,
/// errc::malformed. Throws std::bad_alloc.
[[nodiscard]] QUORLITE_DECL std::error_code refusal_of(const base_position& position);

/// True if a line says what a flush or stage wrote.
[[nodiscard]] QUORLITE_DECL bool tells_of(const database_image& image, std::uint32_t page_size,
                                          std::uint64_t page_count) noexcept;

/// True if a line may follow what is stored: a database keeps its page size until it is born again,
/// which a blank line says as well.
[[nodiscard]] QUORLITE_DECL bool may_follow(const database_image& image,
                                            std::uint32_t page_size) noexcept;

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

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/storage_rules/position_rules.ipp"  // IWYU pragma: keep
#endif
