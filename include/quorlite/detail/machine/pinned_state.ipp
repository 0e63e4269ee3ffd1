/// @file
/// Bodies of pinned_state.hpp.
#pragma once

#include <cstring>
#include <new>
#include <system_error>

#include "quorlite/config.hpp"
#include "quorlite/detail/machine/pinned_state.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL pinned_state::pinned_state() = default;
QUORLITE_DECL pinned_state::pinned_state(pinned_state&& other) noexcept = default;
QUORLITE_DECL pinned_state& pinned_state::operator=(pinned_state&& other) noexcept = default;
QUORLITE_DECL pinned_state::~pinned_state() = default;

QUORLITE_DECL std::error_code copy_page(const captured_database& from, page_store::reader& reader,
                                        page_number number, bytes_span into) noexcept try {
  const auto guard = reader.enter();
  const result<bytes_view> image = reader.image(guard, from.pin, number);
  if (!image) {
    return image.error();
  }
  if (image->empty()) {
    std::memset(into.data(), 0, into.size());
  } else {
    std::memcpy(into.data(), image->data(), into.size());
  }
  return {};
} catch (const std::bad_alloc&) {
  return make_error_code(errc::out_of_memory);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
