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
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The rules of each kind of command; true is fine.
struct native_rules {
  std::uint64_t lock_byte = 0;
  transaction_id own;       ///< of the command
  std::uint8_t format = 1;  ///< of the command

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
    return is_database_name(drop.name) && is_base(drop.builds_on);
  }
  [[nodiscard]] bool operator()(const barrier_command&) const noexcept { return true; }
  /// A later format is fine here: a machine that does not write it must not go on, nor skip it.
  [[nodiscard]] bool operator()(const identity_command& identity) const noexcept {
    return format >= 2 && identity.format >= 2 && identity.cluster != cluster_identity{};
  }

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
  /// What something builds on: nothing, or a transaction that was there before it. In a term ids
  /// only rise; a distance that is twice too far for a number has no encoding.
  [[nodiscard]] bool is_base(transaction_id builds_on) const noexcept {
    constexpr std::uint64_t farthest = UINT64_MAX / 2;
    if (builds_on == transaction_id{}) {
      return true;
    }
    const bool named = builds_on.term.value != 0 && builds_on.sequence != 0;
    const bool before =
        builds_on.term != own.term ||
        (builds_on.sequence < own.sequence && own.sequence - builds_on.sequence <= farthest);
    return format >= 2 && named && before;
  }

  [[nodiscard]] bool is_fine(const database_write_set& frames) const noexcept {
    if (!is_base(frames.builds_on) ||
        (frames.base_version.value == 0 && frames.builds_on != transaction_id{})) {
      return false;
    }
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

/// A witness is in every entry of format 2 but the one that begins the history.
QUORLITE_DECL bool has_right_witness(const command& checked) noexcept {
  const bool none = checked.format == 1 || std::holds_alternative<identity_command>(checked.body);
  return none ? checked.witness == history_witness{} : checked.witness.index.value != 0;
}

namespace native {

QUORLITE_DECL std::error_code validate(const command& checked, std::uint64_t lock_byte) noexcept {
  const bool known = checked.format == 1 || checked.format == entry_version_max;
  const bool named = checked.id.term.value != 0 && checked.id.sequence != 0;
  const bool fine = known && named && !checked.body.valueless_by_exception() &&
                    has_right_witness(checked) &&
                    std::visit(native_rules{lock_byte, checked.id, checked.format}, checked.body);
  return fine ? std::error_code{} : make_error_code(errc::malformed);
}

}  // namespace native
}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
