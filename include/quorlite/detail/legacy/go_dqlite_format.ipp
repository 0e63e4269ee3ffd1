/// @file
/// Bodies of go_dqlite_format.hpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/legacy/foreign_staging.hpp"
#include "quorlite/detail/legacy/go_dqlite.hpp"
#include "quorlite/detail/legacy/go_dqlite_format.hpp"
#include "quorlite/detail/legacy/go_dqlite_snapshot.hpp"
#include "quorlite/detail/legacy/go_dqlite_snapshot_parser.hpp"
#include "quorlite/detail/machine/hashed_entry.hpp"
#include "quorlite/detail/machine/machine_state.hpp"
#include "quorlite/detail/machine/pinned_snapshot.hpp"
#include "quorlite/detail/machine/prepare_frames.hpp"
#include "quorlite/detail/machine/staged_restore.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

namespace go_dqlite {

/// From the words of the format to those of a machine.
struct translation {
  [[nodiscard]] static transaction_id id_of(std::uint64_t txid) noexcept { return {term{0}, txid}; }

  [[nodiscard]] foreign_command operator()(const open_command& open) const {
    return quorlite::detail::open_command{open.name};
  }
  [[nodiscard]] foreign_command operator()(const begin_command& begin) const {
    return foreign_mark{id_of(begin.txid), begin.name};
  }
  [[nodiscard]] foreign_command operator()(const frames_command& frames) const {
    foreign_frames same{
        id_of(frames.txid), frames.database_name(), static_cast<std::uint32_t>(frames.page_size),
        frames.truncate,    frames.commits(),       {}};
    same.pages.reserve(frames.page_count());
    for (std::size_t i = 0; i < frames.page_count(); ++i) {
      const page_view page = frames.page(i);
      same.pages.push_back({page.number, page.data});
    }
    return same;
  }
  [[nodiscard]] foreign_command operator()(const undo_command& undo) const {
    return foreign_undo{id_of(undo.txid)};
  }
  [[nodiscard]] foreign_command operator()(const end_command&) const { return foreign_nothing{}; }
  [[nodiscard]] foreign_command operator()(const checkpoint_command& checkpoint) const {
    return quorlite::detail::checkpoint_command{checkpoint.name};
  }
};

/// Appends an entry that decode() reads as this mark.
inline void encode_mark(const foreign_mark& mark, bytes& out) {
  static_cast<void>(encode(begin_command{mark.id.sequence, mark.name}, out));
}

}  // namespace go_dqlite

/// Builds what a transaction of a foreign format makes of `target` (as prepare_frames() does with a
/// native one): its pages replace those of the committed state, whatever that is. The last image of
/// a page counts; those beyond the page count are left out.
///
/// @param earlier frames that waited, in the order of the log
/// @param last those that commit
/// @returns errc::malformed: another page size than the database's, or more growth than pages for
///   it; the same on every replica
[[nodiscard]] QUORLITE_DECL result<database_write> prepare_foreign(
    std::span<const foreign_frames> earlier, const foreign_frames& last,
    std::shared_ptr<database> target, std::uint64_t lock_byte) {
  database_write ready;
  ready.store = target->store();
  ready.target = std::move(target);
  ready.page_count = last.page_count;
  const page_store::pin pinned = ready.store->pin_committed();
  if (pinned.page_size() != 0 && pinned.page_size() != last.page_size) {
    return fail(errc::malformed);
  }
  std::map<page_number, bytes_view> newest;
  const auto collect = [&](const foreign_frames& some) {
    for (const foreign_page& page : some.pages) {
      newest.insert_or_assign(page.number, page.image);
    }
  };
  std::for_each(earlier.begin(), earlier.end(), collect);
  collect(last);
  for (const auto& [number, image] : newest) {
    if (number.value > last.page_count) {
      break;
    }
    page_block page = make_page(number, last.page_size);
    const bytes_span filled = page->image();
    std::memset(filled.data(), 0, filled.size());
    std::memcpy(filled.data(), image.data(), std::min(image.size(), filled.size()));
    page->set_hash(page_hash(number, filled));
    ready.pages.push_back(std::move(page));
  }
  if (!fill_growth(ready.pages, pinned.page_count(), last.page_count, last.page_size, lock_byte)) {
    return fail(errc::malformed);
  }
  ready.hash = ready.store->hash_after(ready.pages, last.page_count, pinned);
  return ready;
}

/// What waits in an assembly: go_dqlite_log::make_staging() has made it.
[[nodiscard]] inline foreign_staging& staging_of(transaction_assembly& assembly) noexcept {
  return static_cast<foreign_staging&>(assembly.legacy());
}

/// Frames that were not taken.
inline void refuse_frames(transaction_assembly& assembly, const foreign_frames& refused,
                          log_index at) {
  staging_of(assembly).refuse(refused, at);
  assembly.note_refusal(at);
}

/// Stages one entry that waits for its commit. Copies it.
/// @returns errc::malformed: the entry holds no such frames; errc::too_large: no room
[[nodiscard]] QUORLITE_DECL std::error_code stage_foreign(transaction_assembly& assembly,
                                                          const log_entry& entry) {
  auto own = std::make_shared<const bytes>(entry.bytes.begin(), entry.bytes.end());
  result<foreign_command> decoded = go_dqlite_log::decode(*own, assembly.lock_byte());
  auto* const frames = decoded ? std::get_if<foreign_frames>(&*decoded) : nullptr;
  if (frames == nullptr || frames->commit) {
    return make_error_code(errc::malformed);
  }
  if (!assembly.has_room_for(own->size(), false)) {
    return make_error_code(errc::too_large);
  }
  staging_of(assembly).stage(std::move(own), std::move(*frames), entry.at.index);
  return {};
}

/// Whether what stands around these frames lets them go on.
[[nodiscard]] inline std::error_code admit_frames(transaction_assembly& assembly,
                                                  const foreign_frames& next) {
  assembly.staged().drop_others(next.name, {});
  return staging_of(assembly).admit(next);
}

/// What frames do to what waits, short of the commit itself.
[[nodiscard]] inline std::error_code take_frames(transaction_assembly& assembly,
                                                 const log_entry& entry,
                                                 const foreign_frames& frames) {
  std::error_code error = admit_frames(assembly, frames);
  if (!error && !frames.commit) {
    error = stage_foreign(assembly, entry);
  }
  if (error) {
    refuse_frames(assembly, frames, entry.at.index);
  }
  return error;
}

/// What each kind of entry does: the rows of the table in go_dqlite_format.hpp.
struct foreign_entry_visitor {
  apply_result operator()(const open_command& open) const {
    const auto held = machine.hold();
    registry& databases = machine.databases();
    const std::shared_ptr<database> known = databases.find(open.name);
    if (known == nullptr || !known->exists()) {
      if (databases.existing_count() >= limits::databases_before_history) {
        return machine.refuse(entry, {}, make_error_code(errc::too_many_databases));
      }
      databases.take_in(open.name)->set_exists(true);
    }
    return machine.done(entry, {});
  }

  apply_result operator()(const foreign_frames& frames) const {
    std::shared_ptr<database> target = machine.databases().find(frames.name);
    {
      const auto held = machine.hold();
      machine.count_frames(entry, std::uint64_t{frames.page_size} * frames.pages.size());
      if (target == nullptr || !target->exists()) {
        machine.assembly().note_refusal(entry.at.index);
        return machine.refuse(entry, frames.id, make_error_code(errc::no_such_database));
      }
      if (const std::error_code error = take_frames(machine.assembly(), entry, frames)) {
        return machine.refuse(entry, frames.id, error);
      }
      if (!frames.commit) {
        machine.advance(entry);
        return apply_result::applied;
      }
    }
    return commit(frames, std::move(target));
  }

  apply_result operator()(const foreign_undo& undo) const {
    const auto held = machine.hold();
    if (const std::error_code error = staging_of(machine.assembly()).undo(undo.target)) {
      machine.assembly().note_refusal(entry.at.index);
      return machine.refuse(entry, {}, error);
    }
    return machine.done(entry, {});
  }

  apply_result operator()(const checkpoint_command& checkpoint) const {
    const std::shared_ptr<database> target = machine.databases().find(checkpoint.name);
    const auto held = machine.hold();
    if (target == nullptr || !target->exists()) {
      return machine.refuse(entry, {}, make_error_code(errc::no_such_database));
    }
    return machine.done(entry, {});
  }

  apply_result operator()(const foreign_mark&) const {
    const auto held = machine.hold();
    return machine.done(entry, {});
  }
  apply_result operator()(const foreign_nothing&) const {
    const auto held = machine.hold();
    return machine.done(entry, {});
  }

  /// Builds the pages off the lock, and installs them.
  apply_result commit(const foreign_frames& frames, std::shared_ptr<database> target) const {
    const staged_foreign* const waiting = staging_of(machine.assembly()).find(frames.name);
    const std::span<const foreign_frames> earlier =
        waiting == nullptr ? std::span<const foreign_frames>{} : waiting->frames;
    result<database_write> ready =
        prepare_foreign(earlier, frames, std::move(target), machine.options().lock_byte);
    const auto held = machine.hold();
    if (machine.is_recovering()) {
      // These entries do not say which hash their result has, and the base cannot be asked for one.
      return machine.halt(errc::corrupt,
                          "a crash tore the base, and a foreign log cannot mend it, at",
                          entry.at.index);
    }
    if (!ready) {
      refuse_frames(machine.assembly(), frames, entry.at.index);
      return machine.refuse(entry, frames.id, ready.error());
    }
    machine.install(*ready, frames.id, /*restart=*/true);
    staging_of(machine.assembly()).drop(frames.name);
    return machine.committed(entry, frames.id);
  }

  machine_state& machine;
  const hashed_entry& entry;
};

/// Puts a snapshot of the format into a restore.
class go_dqlite_restore final : public legacy_restore {
 public:
  go_dqlite_restore(restored_state& into, std::uint64_t lock_byte)
      : into_(into), lock_byte_(lock_byte), parser_(lock_byte) {}

  [[nodiscard]] std::error_code append(bytes_view chunk) override {
    return parser_.append(chunk, *this);
  }
  [[nodiscard]] std::error_code finish() override { return parser_.finish(); }

  // ---- called by the parser

  [[nodiscard]] std::error_code on_index(log_index index) noexcept {
    into_.header.at.index = index;
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
    into_.header.databases.push_back(
        {std::string(read.name), read.page_size, read.page_count, version, hash});
    std::error_code error = into_.begin_up_to(into_.header.databases.size());
    for (auto& [number, page] : pages_) {
      if (!error && number <= read.page_count) {
        error = into_.target->put(page->number(), page->hash(), page->image());
      }
    }
    pages_.clear();
    return error;
  }

 private:
  restored_state& into_;
  const std::uint64_t lock_byte_;
  go_dqlite::snapshot_parser parser_;
  std::map<std::uint32_t, page_block> pages_;  // of the database that is being read
};

QUORLITE_DECL bool go_dqlite_log::admits(bytes_view entry) const noexcept {
  return !native::is_ours(entry);
}

QUORLITE_DECL std::unique_ptr<legacy_staging> go_dqlite_log::make_staging() const {
  return std::make_unique<foreign_staging>(&go_dqlite::encode_mark);
}

QUORLITE_DECL result<foreign_command> go_dqlite_log::decode(bytes_view entry,
                                                            std::uint64_t lock_byte) {
  const result<go_dqlite::command> decoded = go_dqlite::decode(entry);
  if (!decoded) {
    return fail(decoded.error());
  }
  if (const std::error_code error = go_dqlite::validate(*decoded, lock_byte)) {
    return fail(error);
  }
  return std::visit(go_dqlite::translation{}, *decoded);
}

QUORLITE_DECL apply_result go_dqlite_log::apply(machine_state& machine,
                                                const hashed_entry& entry) const {
  const result<foreign_command> decoded = decode(entry.bytes, machine.options().lock_byte);
  if (!decoded) {
    const auto held = machine.hold();
    return machine.undecodable(entry, decoded.error());
  }
  return std::visit(foreign_entry_visitor{machine, entry}, *decoded);
}

QUORLITE_DECL void go_dqlite_log::stage_again(transaction_assembly& assembly,
                                              const log_entry& entry) const {
  const result<foreign_command> decoded = decode(entry.bytes, assembly.lock_byte());
  if (!decoded) {
    return;
  }
  if (const auto* const frames = std::get_if<foreign_frames>(&*decoded)) {
    if (!take_frames(assembly, entry, *frames) && frames->commit) {
      staging_of(assembly).drop(frames->name);
    }
  } else if (const auto* const undo = std::get_if<foreign_undo>(&*decoded)) {
    static_cast<void>(staging_of(assembly).undo(undo->target));
  }
}

QUORLITE_DECL bool go_dqlite_log::stage_restored(transaction_assembly& assembly,
                                                 bytes_view entry) const {
  const result<foreign_command> part = decode(entry, assembly.lock_byte());
  if (const auto* const mark = part ? std::get_if<foreign_mark>(&*part) : nullptr) {
    staging_of(assembly).doom(*mark, log_index{0});
    return is_database_name(mark->name);
  }
  const auto* const frames = part ? std::get_if<foreign_frames>(&*part) : nullptr;
  return frames != nullptr && !admit_frames(assembly, *frames) &&
         !stage_foreign(assembly, {log_position{}, entry});
}

QUORLITE_DECL std::unique_ptr<legacy_restore> go_dqlite_log::begin_restore(
    restored_state& into, std::uint64_t lock_byte) const {
  return std::make_unique<go_dqlite_restore>(into, lock_byte);
}

QUORLITE_DECL result<std::unique_ptr<snapshot_reader>> go_dqlite_log::snapshot_of(
    pinned_state&& state, std::uint64_t lock_byte) const {
  state.history = {};  // the format does not tell it, so who starts from it has none
  return pinned_snapshot<go_dqlite::snapshot_layout>::make(std::move(state), lock_byte);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
