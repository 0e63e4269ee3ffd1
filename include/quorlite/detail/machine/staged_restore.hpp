/// @file
/// A snapshot on its way in: built beside the state, verified, then swapped in by the machine.
/// Native ones are known by their magic; what is not is of the policy's format, if it has one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/detail/codec/entry_codec.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/codec/snapshot.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/error.hpp"
#include "quorlite/detail/machine/frame_assembly.hpp"
#include "quorlite/limits.hpp"
#include "quorlite/detail/machine/outcome_table.hpp"
#include "quorlite/detail/pages/page_store.hpp"
#include "quorlite/detail/machine/restore_target.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Verified content, ready to take the place of the present one.
struct restored_state {
  std::unique_ptr<restore_target> target;  ///< holds the pages
  snapshot_header header;
  std::vector<std::shared_ptr<page_store>> stores;  ///< one per database of the header
  outcome_table outcomes;
  frame_assembly assembly;  ///< what the header staged
};

/// Stages one entry of a foreign format that waits for its commit. Copies it.
/// @returns errc::malformed: the entry holds no such frames; or what frame_assembly::stage() says
template <entry_codec Codec>
[[nodiscard]] std::error_code stage_foreign(frame_assembly& assembly, const log_entry& entry,
                                            std::uint64_t lock_byte) {
  auto own = std::make_shared<const bytes>(entry.bytes.begin(), entry.bytes.end());
  result<foreign_command> decoded = Codec::decode(*own, lock_byte);
  auto* const frames = decoded ? std::get_if<foreign_frames>(&*decoded) : nullptr;
  if (frames == nullptr || frames->commit) {
    return make_error_code(errc::malformed);
  }
  return assembly.stage(std::move(own), std::move(*frames), entry.at.index);
}

/// The stage that the machine hands out.
template <entry_codec Codec>
class staged_restore final : public snapshot_stage {
 public:
  /// @param owner who may install it @param target takes the pages
  staged_restore(const void* owner, std::unique_ptr<restore_target> target,
                 std::uint64_t cluster_id, std::uint64_t lock_byte)
      : owner_(owner),
        cluster_id_(cluster_id),
        lock_byte_(lock_byte),
        parser_(lock_byte),
        foreign_parser_(lock_byte),
        state_{std::move(target), {}, {}, outcome_table(cluster_id), frame_assembly(lock_byte)} {}

  [[nodiscard]] std::error_code append(bytes_view chunk) noexcept override try {
    finished_ = false;
    if constexpr (Codec::foreign) {
      while (!error_ && kind_ == kind::open && !chunk.empty()) {
        start_.push_back(chunk.front());
        chunk = chunk.subspan(1);
        if (start_.size() == start_bytes) {
          kind_ = is_native_snapshot(start_) ? kind::native : kind::foreign;
          error_ = parse(start_);
        }
      }
    }
    return error_ ? error_ : error_ = parse(chunk);
  } catch (const std::bad_alloc&) {
    return error_ = make_error_code(errc::storage_full);
  }

  [[nodiscard]] std::error_code finish() noexcept override try {
    if (!error_) {
      error_ = end();
    }
    if (!error_) {
      error_ = state_.target->finish();
    }
    finished_ = !error_;
    return error_;
  } catch (const std::bad_alloc&) {
    return error_ = make_error_code(errc::storage_full);
  }

  [[nodiscard]] bool finished_for(const void* owner) const noexcept {
    return finished_ && owner == owner_;
  }
  /// @param installed_at where the engine says it stands then. A foreign snapshot does not tell its
  ///   term, which is this one's; nor outcomes, so those of all transactions up to it are hidden
  [[nodiscard]] restored_state take(log_position installed_at) {
    if (is_foreign()) {
      state_.outcomes.forget_up_to({installed_at.term, ~std::uint64_t{0}});
      if (installed_at.index == state_.header.at.index) {
        state_.header.at.term = installed_at.term;
      }
    }
    return std::move(state_);
  }
  [[nodiscard]] log_position at() const noexcept { return state_.header.at; }

  // ---- called by the native parser

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
    return {};
  }

  [[nodiscard]] std::error_code on_page(std::size_t ordinal, page_number number, std::uint64_t hash,
                                        bytes_view image) {
    const std::error_code error = begin_up_to(ordinal + 1);
    return error ? error : state_.target->put(number, hash, image);
  }

  // ---- called by the other one

  [[nodiscard]] std::error_code on_index(log_index index) noexcept {
    state_.header.at.index = index;
    return {};
  }
  [[nodiscard]] std::error_code on_page(std::size_t, page_number number, bytes_view image) {
    page_block page = make_page(number, static_cast<std::uint32_t>(image.size()));
    std::memcpy(page->image().data(), image.data(), image.size());
    pages_.insert_or_assign(number.value, std::move(page));
    return {};
  }
  template <class Database>
  [[nodiscard]] std::error_code on_database(std::size_t, const Database& read) {
    std::uint64_t hash = 0;
    const std::uint64_t hole = read.page_size == 0 ? 0 : lock_page(read.page_size, lock_byte_);
    for (std::uint64_t number = 1; number <= read.page_count; ++number) {
      page_block& page = pages_[static_cast<std::uint32_t>(number)];
      if (number == hole) {
        pages_.erase(static_cast<std::uint32_t>(number));
        continue;
      }
      if (page == nullptr) {
        page = make_page(page_number{static_cast<std::uint32_t>(number)}, read.page_size);
        std::memset(page->image().data(), 0, read.page_size);
      }
      page->set_hash(page_hash(page->number(), page->image()));
      hash += page->hash();
    }
    const version_number version{read.page_count == 0 ? 0U : 1U};
    state_.header.databases.push_back(
        {std::string(read.name), read.page_size, read.page_count, version, hash});
    std::error_code error = begin_up_to(state_.header.databases.size());
    for (auto& [number, page] : pages_) {
      if (!error && number <= read.page_count) {
        error = state_.target->put(page->number(), page->hash(), page->image());
      }
    }
    pages_.clear();
    return error;
  }

 private:
  enum class kind : std::uint8_t { open, native, foreign };
  static constexpr std::size_t start_bytes = 8;

  struct no_parser {
    explicit no_parser(std::uint64_t) noexcept {}
  };
  template <class Any, bool Foreign>
  struct parser_of {
    using type = no_parser;
  };
  template <class Any>
  struct parser_of<Any, true> {
    using type = typename Any::snapshot_parser;
  };

  [[nodiscard]] bool is_foreign() const noexcept { return kind_ == kind::foreign; }
  [[nodiscard]] std::error_code parse(bytes_view chunk) {
    if constexpr (Codec::foreign) {
      if (is_foreign()) {
        return foreign_parser_.append(chunk, *this);
      }
    }
    return parser_.append(chunk, *this);
  }
  [[nodiscard]] std::error_code end() {
    if constexpr (Codec::foreign) {
      if (is_foreign()) {
        return foreign_parser_.finish();
      }
    }
    const std::error_code error = parser_.finish();
    return error ? error : begin_up_to(state_.header.databases.size());
  }

  /// Begins the databases in the target, in their order, also those that have no page.
  [[nodiscard]] std::error_code begin_up_to(std::size_t count) {
    while (state_.stores.size() < count) {
      const snapshot_database& one = state_.header.databases[state_.stores.size()];
      auto store =
          state_.target->begin(one.name, {one.version, one.page_count, one.hash, one.page_size});
      if (!store) {
        return store.error();
      }
      state_.stores.push_back(std::move(*store));
    }
    return {};
  }

  /// No database gets there by counting; below it, counting on never overflows.
  static constexpr std::uint64_t versions_end = std::uint64_t{1} << 62U;

  /// @returns false if one of them is not what a machine stages
  [[nodiscard]] bool stage(const std::vector<bytes>& entries) {
    for (const bytes& raw : entries) {
      if constexpr (Codec::foreign) {
        if (Codec::admits(raw)) {
          if (!stage_other(raw)) {
            return false;
          }
          continue;
        }
      }
      const result<command> part = native::decode(raw, lock_byte_);
      const auto* const frames = part ? std::get_if<frames_command>(&part->body) : nullptr;
      if (frames == nullptr || frames->commit ||
          !state_.assembly.take(part->id, *frames, {log_position{}, raw})) {
        return false;
      }
    }
    return state_.assembly.entries_held() == entries.size();  // none pushed another out
  }

  [[nodiscard]] bool stage_other(const bytes& raw) {
    const result<foreign_command> part = Codec::decode(raw, lock_byte_);
    if (const auto* const mark = part ? std::get_if<foreign_mark>(&*part) : nullptr) {
      state_.assembly.foreign().doom(*mark, log_index{0});
      return is_database_name(mark->name);
    }
    const auto* const frames = part ? std::get_if<foreign_frames>(&*part) : nullptr;
    return frames != nullptr && !state_.assembly.admit(*frames) &&
           !stage_foreign<Codec>(state_.assembly, {log_position{}, raw}, lock_byte_);
  }

  const void* owner_;
  std::uint64_t cluster_id_;
  std::uint64_t lock_byte_;
  kind kind_ = kind::open;
  bytes start_;  // until the kind is known
  snapshot_parser parser_;
  [[no_unique_address]] typename parser_of<Codec, Codec::foreign>::type foreign_parser_;
  std::map<std::uint32_t, page_block> pages_;  // of a foreign database that is being read
  restored_state state_;
  std::error_code error_;
  bool finished_ = false;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
