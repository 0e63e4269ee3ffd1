/// @file
/// Puts the parts of transactions together: in comes one frames command at a time, out comes a
/// whole transaction.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "quorlite/codec/native.hpp"
#include "quorlite/command.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/error.hpp"
#include "quorlite/transaction.hpp"

namespace quorlite {
inline namespace v0 {

/// All frames of one transaction that is being committed. The views point into the last entry and
/// into `parts`.
struct assembled_transaction {
  std::vector<database_frames> databases;  ///< ascending by name, pages ascending
  std::vector<transaction::part> parts;    ///< keeps earlier entries alive
};

/// Lane only. What it answers depends on the log alone, so every replica answers alike.
class frame_assembly {
 public:
  explicit frame_assembly(std::uint64_t lock_byte) noexcept : lock_byte_(lock_byte) {}

  [[nodiscard]] staged_transactions& staged() noexcept { return staged_; }
  [[nodiscard]] const staged_transactions& staged() const noexcept { return staged_; }

  /// Takes one entry of transaction `id`.
  /// @returns the whole transaction if this entry commits it: what was staged of it stays until
  ///   end(), so that a flush meanwhile knows that its entries are needed. Nothing if the entry was
  ///   staged. errc::malformed: a part is missing, or parts contradict each other; errc::too_large:
  ///   no room to stage it. The transaction is over then, for whoever calls end()
  [[nodiscard]] result<std::optional<assembled_transaction>> take(transaction_id id,
                                                                  const frames_command& frames,
                                                                  const log_entry& entry) {
    for (const database_frames& one : frames.databases) {
      staged_.drop_others(one.name, id);
    }
    transaction* open = staged_.find(id);
    const std::size_t expected = open == nullptr ? 0 : open->parts().size();
    if (frames.part != expected) {
      staged_.drop(id);
      return failed(errc::malformed);
    }
    std::string why;
    if (frames.commit) {
      QUORLITE_ASSERT(open == nullptr || open->become(transaction_state::written, why));
      return whole_of(open, frames);
    }
    if (!staged_.has_room_for(entry.bytes.size(), open == nullptr)) {
      staged_.drop(id);
      last_refusal_ = entry.at.index;
      return failed(errc::too_large);
    }
    if (open == nullptr) {
      open = &staged_.begin(id, entry.at.index);
    }
    QUORLITE_ASSERT(open->become(transaction_state::writing, why));
    for (const database_frames& one : frames.databases) {
      open->touch(one.name);
    }
    open->stage(std::make_shared<const bytes>(entry.bytes.begin(), entry.bytes.end()));
    return std::optional<assembled_transaction>{};
  }

  /// Nothing more is to come of this transaction.
  void end(transaction_id id) noexcept { staged_.drop(id); }

  /// A leader of `now` speaks in the log: what leaders of older terms left unfinished stays so.
  void overtake(term now) noexcept { staged_.drop_older(now); }

  /// The last entry that was refused for want of room. A replay that starts after the transactions
  /// that took the room away would not refuse it.
  [[nodiscard]] log_index last_refusal() const noexcept { return last_refusal_; }

  /// Takes back what is staged of a transaction. @returns false if nothing is
  bool undo(transaction_id target) {
    transaction* const open = staged_.find(target);
    if (open == nullptr) {
      return false;
    }
    std::string why;
    QUORLITE_ASSERT(open->become(transaction_state::undone, why));
    staged_.drop(target);
    return true;
  }

 private:
  [[nodiscard]] result<std::optional<assembled_transaction>> whole_of(
      const transaction* staged, const frames_command& last) const {
    assembled_transaction all;
    if (staged != nullptr) {
      all.parts = staged->parts();
    }
    for (const transaction::part& part : all.parts) {
      const result<command> earlier = native::decode(*part, lock_byte_);
      const auto* const frames = earlier ? std::get_if<frames_command>(&earlier->body) : nullptr;
      if (frames == nullptr || !merge(*frames, all.databases)) {
        return failed(errc::malformed);
      }
    }
    if (!merge(last, all.databases)) {
      return failed(errc::malformed);
    }
    return std::optional(std::move(all));
  }

  /// @returns false if the two tell different things of one database, or one page twice
  [[nodiscard]] static bool merge(const frames_command& from, std::vector<database_frames>& into) {
    for (const database_frames& one : from.databases) {
      const auto place = std::lower_bound(
          into.begin(), into.end(), one.name,
          [](const database_frames& a, std::string_view name) { return a.name < name; });
      if (place == into.end() || place->name != one.name) {
        into.insert(place, one);
      } else if (!same_header(*place, one) || !merge_pages(one.pages, place->pages)) {
        return false;
      }
    }
    return true;
  }

  [[nodiscard]] static bool same_header(const database_frames& a,
                                        const database_frames& b) noexcept {
    return a.base_version == b.base_version && a.base_hash == b.base_hash &&
           a.page_size == b.page_size && a.page_count == b.page_count &&
           a.result_hash == b.result_hash;
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

  std::uint64_t lock_byte_;
  staged_transactions staged_;
  log_index last_refusal_;
};

}  // namespace v0
}  // namespace quorlite
