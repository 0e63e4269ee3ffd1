/// @file
/// Bodies of transaction_assembly.hpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/codec/snapshot.hpp"
#include "quorlite/detail/machine/transaction_assembly.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// How the parts of one transaction become one.
struct frame_merge {
  /// @returns false if the two tell different things of one database, or one page twice
  [[nodiscard]] static bool merge(const write_set_command& from,
                                  std::vector<database_write_set>& into) {
    for (const database_write_set& some : from.databases) {
      const auto place = std::lower_bound(
          into.begin(), into.end(), some.name,
          [](const database_write_set& a, std::string_view name) { return a.name < name; });
      if (place == into.end() || place->name != some.name) {
        into.insert(place, some);
      } else if (!same_header(*place, some) || !merge_pages(some.pages, place->pages)) {
        return false;
      }
    }
    return true;
  }

 private:
  [[nodiscard]] static bool same_header(const database_write_set& a,
                                        const database_write_set& b) noexcept {
    return a.base_version == b.base_version && a.base_hash == b.base_hash &&
           a.builds_on == b.builds_on && a.page_size == b.page_size &&
           a.page_count == b.page_count && a.result_hash == b.result_hash;
  }

  [[nodiscard]] static bool merge_pages(const std::vector<page_record>& from,
                                        std::vector<page_record>& into) {
    const auto by_number = [](const page_record& a, const page_record& b) {
      return a.number < b.number;
    };
    if (into.empty() || from.empty() || into.back().number < from.front().number) {
      into.insert(into.end(), from.begin(), from.end());  // as a leader cuts them
      return true;
    }
    const auto middle = static_cast<std::ptrdiff_t>(into.size());
    into.insert(into.end(), from.begin(), from.end());
    std::inplace_merge(into.begin(), into.begin() + middle, into.end(), by_number);
    return std::adjacent_find(into.begin(), into.end(),
                              [](const page_record& a, const page_record& b) {
                                return a.number == b.number;
                              }) == into.end();
  }
};

QUORLITE_DECL result<std::optional<assembled_transaction>> transaction_assembly::take(
    transaction_id id, const write_set_command& frames, const log_entry& entry,
    const history_hash& before) {
  for (const database_write_set& some : frames.databases) {
    staged_.drop_others(some.name, id);
    if (legacy_ != nullptr) {
      legacy_->drop(some.name);
    }
  }
  transaction* open = staged_.find(id);
  const std::size_t expected = open == nullptr ? 0 : open->parts().size();
  if (frames.part != expected) {
    staged_.drop(id);
    return fail(errc::malformed);
  }
  std::string why;
  if (frames.commit) {
    const bool legal = open == nullptr || open->become(transaction_state::written, why);
    QUORLITE_ASSERT(legal);
    return whole_of(open, frames);
  }
  if (!has_room_for(entry.bytes.size(), open == nullptr)) {
    staged_.drop(id);
    last_refusal_ = entry.at.index;
    return fail(errc::too_large);
  }
  if (open == nullptr) {
    open = &staged_.begin(id, entry.at.index, before);
  }
  const bool legal = open->become(transaction_state::writing, why);
  QUORLITE_ASSERT(legal);
  for (const database_write_set& some : frames.databases) {
    open->touch(some.name);
  }
  open->stage(std::make_shared<const bytes>(entry.bytes.begin(), entry.bytes.end()));
  return std::optional<assembled_transaction>{};
}

QUORLITE_DECL result<std::optional<assembled_transaction>> transaction_assembly::whole_of(
    const transaction* staged, const write_set_command& last) const {
  assembled_transaction all;
  if (staged != nullptr) {
    all.parts = staged->parts();
  }
  for (const transaction::part& part : all.parts) {
    const result<command> earlier = native::decode(*part, lock_byte_);
    const auto* const frames = earlier ? std::get_if<write_set_command>(&earlier->body) : nullptr;
    if (frames == nullptr || !frame_merge::merge(*frames, all.databases)) {
      return fail(errc::malformed);
    }
  }
  if (!frame_merge::merge(last, all.databases)) {
    return fail(errc::malformed);
  }
  return std::optional(std::move(all));
}

QUORLITE_DECL bool transaction_assembly::undo(transaction_id target) {
  transaction* const open = staged_.find(target);
  if (open == nullptr) {
    return false;
  }
  std::string why;
  const bool legal = open->become(transaction_state::undone, why);
  QUORLITE_ASSERT(legal);
  staged_.drop(target);
  return true;
}

QUORLITE_DECL void transaction_assembly::drop_all() {
  staged_.drop_all();
  legacy_ = legacy_format_ == nullptr ? nullptr : legacy_format_->make_staging();
}

QUORLITE_DECL void transaction_assembly::drop_database(std::string_view name) {
  if (legacy_ != nullptr) {
    legacy_->drop(name);
  }
}

QUORLITE_DECL bool transaction_assembly::has_room_for(std::size_t entry_bytes,
                                                      bool begins) const noexcept {
  const std::size_t others_bytes =
      legacy_ == nullptr ? 0 : static_cast<std::size_t>(legacy_->bytes_held());
  return entries_held() < snapshot_staged_entries &&
         staged_.has_room_for(entry_bytes + others_bytes, begins);
}

QUORLITE_DECL std::size_t transaction_assembly::entries_held() const noexcept {
  return staged_.entries_held() + (legacy_ == nullptr ? 0 : legacy_->entries_held());
}

QUORLITE_DECL std::uint64_t transaction_assembly::bytes_held() const noexcept {
  return staged_.bytes_held() + (legacy_ == nullptr ? 0 : legacy_->bytes_held());
}

QUORLITE_DECL void transaction_assembly::capture(std::vector<transaction::part>& into) const {
  for (const auto& [id, open] : staged_.all()) {
    into.insert(into.end(), open.parts().begin(), open.parts().end());
  }
  if (legacy_ != nullptr) {
    legacy_->capture(into);
  }
}

QUORLITE_DECL bool transaction_assembly::any_from_snapshot() const noexcept {
  return staged_.any_from_snapshot() || (legacy_ != nullptr && legacy_->any_from_snapshot());
}

QUORLITE_DECL history_position
transaction_assembly::replay_from(history_position applied) const noexcept {
  const history_position native = staged_.replay_from(applied);
  if (legacy_ == nullptr) {
    return native;
  }
  const log_index from = legacy_->replay_from(native.index);
  return from == native.index ? native : history_position{from, {}};  // before there was a hash
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
