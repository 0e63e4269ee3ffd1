/// @file
/// A native snapshot on its way in: built beside the state, verified, then swapped in by the
/// machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/codec/native.hpp"
#include "quorlite/codec/snapshot.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/frame_assembly.hpp"
#include "quorlite/outcome_table.hpp"
#include "quorlite/page_store.hpp"

namespace quorlite {
inline namespace v0 {

/// Verified content, ready to take the place of the present one.
struct restored_state {
  snapshot_header header;
  std::vector<std::shared_ptr<page_store>> stores;  ///< one per database of the header
  outcome_table outcomes;
  frame_assembly assembly;  ///< what the header staged
};

/// The stage that the machine hands out.
class staged_restore final : public snapshot_stage {
 public:
  /// @param owner who may install it
  staged_restore(const void* owner, std::uint64_t cluster_id, std::uint64_t lock_byte)
      : owner_(owner),
        cluster_id_(cluster_id),
        lock_byte_(lock_byte),
        parser_(lock_byte),
        state_{{}, {}, outcome_table(cluster_id), frame_assembly(lock_byte)} {}

  [[nodiscard]] std::error_code append(bytes_view chunk) noexcept override {
    finished_ = false;
    return error_ ? error_ : error_ = parser_.append(chunk, *this);
  }

  [[nodiscard]] std::error_code finish() noexcept override {
    if (!error_) {
      error_ = parser_.finish();
    }
    finished_ = !error_;
    return error_;
  }

  [[nodiscard]] bool finished_for(const void* owner) const noexcept {
    return finished_ && owner == owner_;
  }
  [[nodiscard]] restored_state take() { return std::move(state_); }
  [[nodiscard]] log_position at() const noexcept { return state_.header.at; }

  // ---- called by the parser

  [[nodiscard]] std::error_code on_header(const snapshot_header& header) {
    result<outcome_table> outcomes = outcome_table::decode(header.notes);
    if (!outcomes) {
      return outcomes.error();
    }
    if (outcomes->cluster_id() != cluster_id_) {
      return make_error_code(errc::malformed);  // another cluster's history is not ours to take
    }
    for (const snapshot_database& one : header.databases) {
      const bool counted =
          (one.page_count == 0 || one.version.value != 0) && one.version.value < versions_end;
      if (!counted) {
        return make_error_code(errc::malformed);
      }
    }
    if (!stage(header.staged)) {
      return make_error_code(errc::malformed);
    }
    state_.outcomes = std::move(*outcomes);
    state_.header = header;
    state_.header.staged.clear();
    for (const snapshot_database& one : header.databases) {
      state_.stores.push_back(page_store::make(
          {one.version, one.page_count, one.hash, one.page_size}, epoch_number{1}, lock_byte_));
    }
    return {};
  }

  [[nodiscard]] std::error_code on_page(std::size_t ordinal, page_number number, std::uint64_t hash,
                                        bytes_view image) {
    page_block page = make_page(number, static_cast<std::uint32_t>(image.size()));
    std::memcpy(page->image().data(), image.data(), image.size());
    page->set_hash(hash);
    state_.stores[ordinal]->load_page(std::move(page));
    return {};
  }

 private:
  /// No database gets there by counting; below it, counting on never overflows.
  static constexpr std::uint64_t versions_end = std::uint64_t{1} << 62U;

  /// @returns false if one of them is not what a machine stages
  [[nodiscard]] bool stage(const std::vector<bytes>& entries) {
    for (const bytes& raw : entries) {
      const result<command> part = native::decode(raw, lock_byte_);
      const auto* const frames = part ? std::get_if<frames_command>(&part->body) : nullptr;
      if (frames == nullptr || frames->commit ||
          !state_.assembly.take(part->id, *frames, {log_position{}, raw})) {
        return false;
      }
    }
    return state_.assembly.staged().entries_held() == entries.size();  // none pushed another out
  }

  const void* owner_;
  std::uint64_t cluster_id_;
  std::uint64_t lock_byte_;
  snapshot_parser parser_;
  restored_state state_;
  std::error_code error_;
  bool finished_ = false;
};

}  // namespace v0
}  // namespace quorlite
