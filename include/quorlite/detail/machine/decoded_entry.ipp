/// @file
/// Bodies of decoded_entry.hpp.
#pragma once

#include <variant>

#include "quorlite/config.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/machine/decoded_entry.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL decoded_entry::decoded_entry(bytes_view entry, std::uint64_t lock_byte)
    : decoded_(native::decode(entry, lock_byte)) {}
QUORLITE_DECL decoded_entry::~decoded_entry() = default;

QUORLITE_DECL std::error_code decoded_entry::error() const noexcept {
  return decoded_ ? std::error_code{} : decoded_.error();
}

QUORLITE_DECL const write_set_command* decoded_entry::frames() const noexcept {
  return decoded_ ? std::get_if<write_set_command>(&decoded_->body) : nullptr;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
