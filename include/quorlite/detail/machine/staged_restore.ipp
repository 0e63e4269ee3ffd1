/// @file
/// Bodies of staged_restore.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/machine/machine_notes.hpp"
#include "quorlite/detail/machine/machine_state.hpp"
#include "quorlite/detail/machine/staged_restore.hpp"
#include "quorlite/error.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL std::error_code restored_state::begin_up_to(std::size_t count) {
  while (stores.size() < count) {
    const snapshot_database& next = header.databases[stores.size()];
    auto store =
        target->begin(next.name, {next.version, next.page_count, next.hash, next.page_size, 0,
                                  makers.empty() ? transaction_id{} : makers[stores.size()]});
    if (!store) {
      return store.error();
    }
    stores.push_back(std::move(*store));
  }
  return {};
}

QUORLITE_DECL staged_restore::staged_restore(const void* owner,
                                             std::unique_ptr<restore_target> target,
                                             const machine_state& machine)
    : owner_(owner),
      machine_(machine),
      options_(machine.options()),
      is_open_(options_.legacy != nullptr),
      parser_(options_.lock_byte),
      state_{std::move(target),
             {},
             {},
             outcome_table(options_.cluster_id),
             {},
             {},
             transaction_assembly(options_.lock_byte, options_.legacy)} {}

QUORLITE_DECL std::error_code staged_restore::append(bytes_view chunk) noexcept try {
  constexpr std::size_t start_bytes = 8;
  finished_ = false;
  while (!error_ && is_open_ && !chunk.empty()) {
    start_.push_back(chunk.front());
    chunk = chunk.subspan(1);
    if (start_.size() == start_bytes) {
      is_open_ = false;
      if (!is_native_snapshot(start_)) {
        legacy_ = options_.legacy->begin_restore(state_, options_.lock_byte);
      }
      refused(parse(start_));
    }
  }
  return error_ ? error_ : refused(parse(chunk));
} catch (const std::bad_alloc&) {
  return refused(make_error_code(errc::out_of_memory));
}

QUORLITE_DECL std::error_code staged_restore::finish() noexcept try {
  if (!error_) {
    refused(end());
  }
  if (!error_) {
    refused(state_.target->finish());
  }
  if (!error_) {
    const auto held = machine_.hold();
    if (machine_.contradicts(state_.history, state_.header.at.index)) {
      error_ = make_error_code(errc::diverged);
    }
  }
  if (error_ == errc::diverged) {
    refused(error_);
  }
  finished_ = !error_;
  return error_;
} catch (const std::bad_alloc&) {
  return refused(make_error_code(errc::out_of_memory));
}

/// Takes the first error, and tells people. @returns `why`, which may be none
QUORLITE_DECL std::error_code staged_restore::refused(std::error_code why) noexcept {
  error_ = why;
  if (why && why != errc::stopped && options_.log != nullptr) {
    try {
      const std::string text = "a snapshot was refused: " + why.message();
      options_.log(options_.log_context, text);
    } catch (const std::bad_alloc&) {  // then it stays unsaid
    }
  }
  return why;
}

QUORLITE_DECL restored_state staged_restore::take(log_position installed_at) {
  if (legacy_ != nullptr) {
    state_.outcomes.forget_up_to({installed_at.term, ~std::uint64_t{0}});
    if (installed_at.index == state_.header.at.index) {
      state_.header.at.term = installed_at.term;
    }
  }
  return std::move(state_);
}

QUORLITE_DECL std::error_code staged_restore::parse(bytes_view chunk) {
  return legacy_ != nullptr ? legacy_->append(chunk) : parser_.append(chunk, *this);
}

QUORLITE_DECL std::error_code staged_restore::end() {
  if (legacy_ != nullptr) {
    return legacy_->finish();
  }
  const std::error_code error = parser_.finish();
  return error ? error : state_.begin_up_to(state_.header.databases.size());
}

QUORLITE_DECL std::error_code staged_restore::on_header(const snapshot_header& header) {
  // No database gets there by counting; below it, counting on never overflows.
  constexpr std::uint64_t versions_end = std::uint64_t{1} << 62U;
  result<machine_notes> notes =
      decode_notes(header.notes, header.at.index, header.databases.size());
  if (!notes) {
    return notes.error();
  }
  if (notes->outcomes.cluster_id() != options_.cluster_id) {
    return make_error_code(errc::malformed);  // another cluster's history is not ours to take
  }
  for (const snapshot_database& line : header.databases) {
    const bool counted =
        (line.page_count == 0 || line.version.value != 0) && line.version.value < versions_end;
    if (!counted) {
      return make_error_code(errc::malformed);
    }
  }
  if (!stage(header.staged)) {
    return make_error_code(errc::malformed);
  }
  state_.outcomes = std::move(notes->outcomes);
  state_.history = notes->history;
  state_.makers = std::move(notes->last_ids);
  state_.header = header;
  state_.header.staged.clear();
  return {};
}

QUORLITE_DECL std::error_code staged_restore::on_page(std::size_t ordinal, page_number number,
                                                      std::uint64_t hash, bytes_view image) {
  const std::error_code error = state_.begin_up_to(ordinal + 1);
  return error ? error : state_.target->put(number, hash, image);
}

/// @returns false if one of them is not what a machine stages
QUORLITE_DECL bool staged_restore::stage(const std::vector<transaction::part>& entries) {
  for (const transaction::part& entry : entries) {
    const bytes& raw = *entry;
    if (options_.legacy != nullptr && options_.legacy->admits(raw)) {
      if (!options_.legacy->stage_restored(state_.assembly, raw)) {
        return false;
      }
      continue;
    }
    const result<command> part = native::decode(raw, options_.lock_byte);
    const auto* const frames = part ? std::get_if<write_set_command>(&part->body) : nullptr;
    if (frames == nullptr || frames->commit ||
        !state_.assembly.take(part->id, *frames, {log_position{}, raw})) {
      return false;
    }
  }
  return state_.assembly.entries_held() == entries.size();  // none pushed another out
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
