/// @file
/// Bodies of native.hpp: what a command of the native format must keep to, whoever made it.
///
/// One function says so at both ends: a proposer asks before the entry exists, the decoder asks
/// after the bytes were read. So nothing that a replica would refuse is ever proposed by us, and
/// what others propose is refused alike everywhere: the rules look at nothing but the command and
/// the constants of limits.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <system_error>
#include <variant>

#include "quorlite/config.hpp"
#include "quorlite/detail/codec/command.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/codec/page_delta.hpp"
#include "quorlite/error.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The rules of each kind of command; true is fine.
struct native_rules {
  std::uint64_t lock_byte;

  [[nodiscard]] bool operator()(const open_command& open) const noexcept {
    return is_database_name(open.name);
  }
  [[nodiscard]] bool operator()(const undo_command& undo) const noexcept {
    return undo.target.sequence != 0;  // of term 0 are the transactions of foreign formats
  }
  [[nodiscard]] bool operator()(const checkpoint_command& checkpoint) const noexcept {
    return checkpoint.name.empty() || is_database_name(checkpoint.name);
  }
  [[nodiscard]] bool operator()(const drop_command& drop) const noexcept {
    return is_database_name(drop.name);
  }
  [[nodiscard]] bool operator()(const barrier_command&) const noexcept { return true; }

  [[nodiscard]] bool operator()(const write_set_command& frames) const noexcept {
    if (frames.databases.empty() || frames.databases.size() > limits::databases_per_transaction) {
      return false;
    }
    const database_write_set* before = nullptr;
    std::size_t records = 0;
    for (const database_write_set& one : frames.databases) {
      // All pages of a database may lie in earlier parts; a first part without one says nothing.
      const bool fine = (before == nullptr || before->name < one.name) && is_fine(one) &&
                        (frames.part > 0 || !one.pages.empty());
      if (!fine || one.pages.size() > limits::pages_per_entry - records) {
        return false;
      }
      records += one.pages.size();
      before = &one;
    }
    return true;
  }

 private:
  [[nodiscard]] bool is_fine(const database_write_set& frames) const noexcept {
    if (!is_database_name(frames.name) || !is_page_size(frames.page_size) ||
        frames.page_count == 0 || frames.page_count > limits::page_count_max) {
      return false;
    }
    page_number before;  // 0, which no page may be
    for (const page_record& page : frames.pages) {
      const bool fine = page.number > before && page.number.value <= frames.page_count &&
                        page.number.value != lock_page(frames.page_size, lock_byte) &&
                        is_fine(page, frames.page_size);
      if (!fine) {
        return false;
      }
      before = page.number;
    }
    return true;
  }

  [[nodiscard]] static bool is_fine(const page_record& page, std::uint32_t page_size) noexcept {
    switch (page.encoding) {
      case page_encoding::full: return page.payload.size() == page_size;
      case page_encoding::delta:
        return page.payload.size() < page_size && !check_delta(page.payload, page_size);
      case page_encoding::zero: return page.payload.empty();
    }
    return false;
  }
};

namespace native {

QUORLITE_DECL std::error_code validate(const command& checked, std::uint64_t lock_byte) noexcept {
  const bool named = checked.id.term.value != 0 && checked.id.sequence != 0;
  const bool fine = named && !checked.body.valueless_by_exception() &&
                    std::visit(native_rules{lock_byte}, checked.body);
  return fine ? std::error_code{} : make_error_code(errc::malformed);
}

}  // namespace native
}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
