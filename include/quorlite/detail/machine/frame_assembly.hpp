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
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "quorlite/detail/codec/entry_codec.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/codec/snapshot.hpp"
#include "quorlite/detail/codec/command.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/error.hpp"
#include "quorlite/detail/legacy/foreign_staging.hpp"
#include "quorlite/detail/machine/transaction.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

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
  [[nodiscard]] foreign_staging& foreign() noexcept { return foreign_; }
  [[nodiscard]] const foreign_staging& foreign() const noexcept { return foreign_; }

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
      foreign_.drop(one.name);
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
    if (!has_room_for(entry.bytes.size(), open == nullptr)) {
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

  /// Takes frames of a foreign format that do not commit. `entry` holds what they point to.
  /// @returns errc::malformed, too_large: refuse() them
  [[nodiscard]] std::error_code stage(transaction::part entry, foreign_frames frames,
                                      log_index at) {
    if (!has_room_for(entry->size(), false)) {
      return make_error_code(errc::too_large);
    }
    foreign_.stage(std::move(entry), std::move(frames), at);
    return {};
  }
  /// What comes before stage(), and before the frames that commit.
  [[nodiscard]] std::error_code admit(const foreign_frames& next) {
    staged_.drop_others(next.name, {});
    return foreign_.admit(next);
  }
  /// Frames of a foreign format were not taken.
  void refuse(const foreign_frames& refused, log_index at) {
    foreign_.refuse(refused, at);
    note_refusal(at);
  }
  /// An entry was refused for what stands around it, so a replay that starts late may not refuse
  /// it.
  void note_refusal(log_index at) noexcept { last_refusal_ = at; }

  /// Entries that wait, of either format: what a snapshot carries.
  [[nodiscard]] std::size_t entries_held() const noexcept {
    return staged_.entries_held() + foreign_.entries_held();
  }
  /// True if some of them came with a snapshot, so that no replay of the log would bring them
  /// again.
  [[nodiscard]] bool any_from_snapshot() const noexcept {
    return staged_.any_from_snapshot() || foreign_.any_from_snapshot();
  }
  /// All of them begin after this entry. `applied` if there is none.
  [[nodiscard]] log_index replay_from(log_index applied) const noexcept {
    return foreign_.replay_from(staged_.replay_from(applied));
  }

  /// Nothing more is to come of this transaction.
  void end(transaction_id id) noexcept { staged_.drop(id); }

  /// A leader of `now` speaks in the log: what leaders of older terms left unfinished stays so.
  void overtake(term now) noexcept { staged_.drop_older(now); }

  /// The last entry that was refused for want of room, or noted. A replay that starts after the
  /// transactions that took the room away would not refuse it.
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
  /// @param begins the entry is the first of a native transaction
  [[nodiscard]] bool has_room_for(std::size_t entry_bytes, bool begins) const noexcept {
    return foreign_.entries_held() + staged_.entries_held() < snapshot_staged_entries &&
           staged_.has_room_for(entry_bytes + foreign_.bytes_held(), begins);
  }

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
  foreign_staging foreign_;
  log_index last_refusal_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
