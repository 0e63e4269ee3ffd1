// Damages the folders of a minority: which kind, of whom, and what is to be expected of it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "damage.hpp"
#include "servers.hpp"

namespace simulate {

class damager {
 public:
  explicit damager(servers& cluster)
      : cluster_(cluster), dice_(random{cluster.options().seed}.fork(0xDA3A)) {}

  /// Keeps an older state of somebody's folder.
  void remember() {
    const std::vector<server_id> ids = cluster_.ids();
    const server_id id = ids[dice_.below(ids.size())];
    if (dice_.chance(0.5) && is_usable(id)) {
      older_.push_back({id, cluster_.folder_of(id)});
      if (older_.size() > 6) {
        older_.pop_front();
      }
    }
  }

  /// A server goes down, and its folder becomes another one; sometimes two of them change theirs.
  /// @returns who is down now
  [[nodiscard]] std::vector<server_id> strike() {
    std::vector<server_id> ids = cluster_.ids();
    const std::size_t at_most = std::max<std::size_t>(1, (ids.size() - 1) / 2);
    if (cluster_.damaged_count() >= at_most) {
      return {};
    }
    dice_.shuffle(ids);
    const server_id whom = ids[0];
    if (!is_usable(whom)) {
      return {};
    }
    others_ = std::vector<server_id>(ids.begin() + 1, ids.end());
    auto kind = static_cast<damage_kind>(dice_.below(damage_kinds));
    if (others_.empty() && checks() == start_check::folder && dice_.chance(0.4)) {
      kind = damage_kind::log_cut;
    }
    if (kind == damage_kind::folders_swapped || kind == damage_kind::storages_swapped) {
      const bool fits = ids.size() > 2 && cluster_.damaged_count() + 2 <= at_most &&
                        is_usable(others_[0]) && (kind == damage_kind::folders_swapped || files());
      return fits ? swap(kind, whom, others_[0]) : std::vector<server_id>{};
    }
    take_down(whom);
    folder now = cluster_.folder_of(whom);
    damaged what;
    what.kind = kind;
    what.before = now;
    what.is_guarded = is_guarded(now.log);
    if (change(kind, whom, now, what)) {
      cluster_.damage(whom, now, std::move(what));
    }
    return {whom};
  }

 private:
  using start_check = quorlite::testing::start_check;
  struct older_folder {
    server_id of;
    folder what;
  };

  [[nodiscard]] start_check checks() const { return cluster_.options().world.raft.checks; }
  [[nodiscard]] bool files() const { return cluster_.has_files(); }
  /// Its history has begun, and nothing else is wrong with it.
  [[nodiscard]] bool is_usable(server_id id) {
    return !cluster_.is_damaged(id) && !cluster_.is_rotten(id) &&
           cluster_.world().members().has_voter(id) &&
           cluster_.world().node(id).disk().note.begun.begins_at != log_index{};
  }
  void take_down(server_id id) {
    if (dice_.chance(0.3)) {
      cluster_.stop(id);
    }
    cluster_.crash(id, dice_.chance(0.5) ? crash_kind::power_lost : crash_kind::killed);
  }
  [[nodiscard]] std::vector<server_id> swap(damage_kind kind, server_id one, server_id other) {
    take_down(one);
    take_down(other);
    const folder first = cluster_.folder_of(one);
    const folder second = cluster_.folder_of(other);
    const bool whole = kind == damage_kind::folders_swapped;
    for (const auto& [id, own, its] :
         {std::tuple(one, &first, &second), std::tuple(other, &second, &first)}) {
      damaged what;
      what.kind = kind;
      what.before = *own;
      cluster_.damage(id, {whole ? its->log : own->log, its->storage}, std::move(what));
    }
    return {one, other};
  }

  // ---- what is to be expected

  [[nodiscard]] static bool has(const raft_log& log, quorlite::log_position sought) {
    return log.synced_index() >= sought.index &&
           (sought.index <= log.base().index || log.term_at(sought.index) == sought.term);
  }
  /// A quorum of others has all of this log, and whoever campaigns does so in a later term than the
  /// one that this server may have voted in: it may forget all of it.
  [[nodiscard]] bool is_guarded(const server_disk& its) {
    std::size_t holders = 0;
    bool votes_are_over = true;
    for (const server_id id : others_) {
      const auto& node = cluster_.world().node(id);
      const bool is_whole = !cluster_.is_damaged(id) && cluster_.world().members().has_voter(id);
      holders += is_whole && has(node.disk().log, its.log.last()) ? 1 : 0;
      votes_are_over = votes_are_over && node.term() >= its.term &&
                       node.role() != quorlite::testing::detail::raft_role::candidate;
    }
    return votes_are_over && holders >= its.log.configured().members.quorum();
  }
  /// Entries in there are held against an anchor of the files behind them.
  [[nodiscard]] std::optional<log_index> any_anchored(server_id whom, const server_disk& its) {
    const log_index snapshot = its.snapshot == nullptr ? log_index{} : its.snapshot->at.index;
    const log_index from =
        std::max({snapshot, its.log.base().index, its.note.begun.begins_at}).next();
    const log_index to = std::min(cluster_.durable_of(whom), its.log.last_index());
    return from <= to ? std::optional{log_index{dice_.between(from.value, to.value)}}
                      : std::nullopt;
  }
  [[nodiscard]] std::optional<log_index> any_entry(const server_disk& its) {
    const std::uint64_t from = its.log.first_index().value;
    const std::uint64_t to = its.log.last_index().value;
    return from <= to ? std::optional{log_index{dice_.between(from, to)}} : std::nullopt;
  }
  /// An entry that the checks of this cluster see the loss of.
  [[nodiscard]] std::optional<log_index> any_seen(server_id whom, const server_disk& its) {
    return checks() == start_check::log_end   ? any_entry(its)
           : checks() == start_check::history ? any_anchored(whom, its)
                                              : std::nullopt;
  }
  /// The hash skips what is no command: without one up to the anchor it is the same as before.
  [[nodiscard]] bool is_shift_seen(server_id whom, const server_disk& its, log_index lost) {
    using quorlite::testing::detail::entry_kind;
    const log_index to = std::min(cluster_.durable_of(whom).next(), its.log.last_index());
    bool is_seen = checks() == start_check::log_end;  // each entry tells its index
    for (log_index at = lost; at <= to && !is_seen; at = at.next()) {
      is_seen = its.log.at(at).kind == entry_kind::command;
    }
    return is_seen;
  }

  // ---- the damage

  /// @returns false: not of this folder, or not without a loss that nobody promised to notice
  [[nodiscard]] bool change(damage_kind kind, server_id whom, folder& now, damaged& what) {
    switch (kind) {
      case damage_kind::folder_wiped: now = {{}, empty_storage()}; return true;
      case damage_kind::folder_copied: return take_folder_of_another(now, true, true);
      case damage_kind::folder_foreign: return take_foreign_folder(whom, now);
      case damage_kind::folder_rolled_back: return roll_back_folder(whom, now, what);
      case damage_kind::folder_restored: return restore(whom, now);
      case damage_kind::storage_copied: return files() && take_folder_of_another(now, false, true);
      case damage_kind::storage_foreign: return take_foreign_storage(now);
      case damage_kind::storage_rolled_back: return roll_back_storage(whom, now);
      case damage_kind::log_cut: return cut_log(whom, now.log, what);
      case damage_kind::log_shifted: return shift_log(whom, now.log);
      case damage_kind::log_bits: return flip_log(now.log);
      case damage_kind::log_entry_replaced: return replace_in_log(whom, now.log);
      case damage_kind::log_copied: return take_folder_of_another(now, true, false);
      case damage_kind::log_foreign: return splice_log(now.log, what);
      case damage_kind::log_rolled_back: return roll_back_log(whom, now.log, what);
      case damage_kind::snapshot_lost: return lose_snapshot(now.log);
      default: return false;
    }
  }
  [[nodiscard]] std::shared_ptr<const quorlite::testing::faulty_disk> empty_storage() const {
    return files() ? std::make_shared<const quorlite::testing::faulty_disk>() : nullptr;
  }
  [[nodiscard]] bool take_folder_of_another(folder& now, bool log, bool storage) {
    if (others_.empty() || !is_usable(others_[0])) {
      return false;
    }
    const folder other = cluster_.folder_of(others_[0]);
    now = {log ? other.log : now.log, storage ? other.storage : now.storage};
    return true;
  }
  /// In terms that no cluster has come to.
  [[nodiscard]] folder any_foreign() {
    const folder& drawn = foreign_folders()[dice_.below(foreign_folders().size())];
    return {in_later_terms(drawn.log, 1'000'000 * ++strangers_), drawn.storage};
  }
  /// It has the right name, as old folders have, which tell no more than a number.
  [[nodiscard]] bool take_foreign_folder(server_id whom, folder& now) {
    if (others_.size() < 2) {
      return false;  // nobody is there to contradict
    }
    const folder foreign = any_foreign();
    now.log = foreign.log;
    now.log.note.owner = whom;
    now.log.note.seal = quorlite::testing::detail::seal_of(whom);
    now.storage = !files() || dice_.chance(0.3) ? empty_storage() : foreign.storage;
    return true;
  }
  [[nodiscard]] bool take_foreign_storage(folder& now) {
    if (!files() || checks() < start_check::history) {
      return false;
    }
    now.storage = any_foreign().storage;
    return true;
  }
  [[nodiscard]] const folder* older_of(server_id whom, const folder& now) {
    std::vector<const folder*> found;
    for (const older_folder& each : older_) {
      if (each.of == whom && each.what.log.log.last_index() < now.log.log.last_index()) {
        found.push_back(&each.what);
      }
    }
    return found.empty() ? nullptr : found[dice_.below(found.size())];
  }
  [[nodiscard]] bool roll_back_folder(server_id whom, folder& now, damaged& what) {
    const folder* const older = older_of(whom, now);
    what.may_be_unseen = true;
    if (older == nullptr || !(what.is_guarded || dice_.chance(0.05))) {
      return false;
    }
    now = *older;
    return true;
  }
  [[nodiscard]] bool restore(server_id whom, folder& now) {
    const folder* const older = older_of(whom, now);
    now = older == nullptr ? now : *older;
    ++now.log.note.seal;
    return true;
  }
  [[nodiscard]] bool roll_back_storage(server_id whom, folder& now) {
    const folder* const older = files() ? older_of(whom, now) : nullptr;
    if (older == nullptr) {
      return false;
    }
    now.storage = older->storage;
    return true;
  }
  [[nodiscard]] bool cut_log(server_id whom, server_disk& log, damaged& what) {
    std::optional<log_index> from = any_entry(log);
    if (!from) {
      return false;
    }
    if (dice_.chance(0.5)) {
      from = log_index{std::max(from->value, log.log.last_index().value - dice_.below(3))};
    }
    const log_index durable = cluster_.durable_of(whom);
    what.may_be_unseen = checks() == start_check::log_end && *from > log.note.end.index;
    // Who is alone makes an entry in a term of its own before its machine can tell: that one must
    // not fill the gap. Several may, if a crash comes behind each (docs/design/history.md, 15).
    what.filled_at =
        others_.empty() && checks() == start_check::folder ? durable : quorlite::log_index{};
    const bool is_seen = checks() == start_check::log_end ||
                         (checks() == start_check::history && *from <= durable) ||
                         (others_.empty() && *from < durable);
    if (!is_seen && !what.is_guarded) {
      return false;
    }
    cut(log, *from);
    return true;
  }
  [[nodiscard]] bool shift_log(server_id whom, server_disk& log) {
    const std::optional<log_index> at = any_seen(whom, log);
    if (!at || *at == log.log.last_index() || !is_shift_seen(whom, log, *at)) {
      return false;
    }
    lose_entry(log, *at);
    return true;
  }
  [[nodiscard]] bool flip_log(server_disk& log) {
    const std::optional<log_index> at = any_entry(log);
    return at && checks() >= start_check::history && flip_bits(log, *at, dice_);
  }
  [[nodiscard]] bool replace_in_log(server_id whom, server_disk& log) {
    const std::optional<log_index> at = any_seen(whom, log);
    return at && replace_entry(log, *at, *any_entry(log));
  }
  [[nodiscard]] bool splice_log(server_disk& log, damaged& what) {
    const std::optional<log_index> from = any_entry(log);
    const server_disk other = any_foreign().log;
    if (!from || checks() < start_check::history || *from < other.log.first_index() ||
        *from > other.log.last_index()) {
      return false;
    }
    what.may_be_unseen = checks() == start_check::log_end && *from > log.note.end.index;
    if (checks() == start_check::history && !what.is_guarded) {
      return false;
    }
    splice(log, *from, other);
    log.term = dice_.chance(0.7) ? other.term : log.term;
    return true;
  }
  [[nodiscard]] bool roll_back_log(server_id whom, server_disk& log, damaged& what) {
    const folder* const older = older_of(whom, {log, nullptr});
    if (older == nullptr || (checks() < start_check::log_end && !what.is_guarded)) {
      return false;
    }
    what.may_be_unseen = true;  // of what was noted of the log since, nothing is missing
    const auto note = log.note;
    log = older->log;
    log.note = note;
    return true;
  }
  [[nodiscard]] bool lose_snapshot(server_disk& log) {
    if (checks() < start_check::history || log.log.base().index == log_index{}) {
      return false;
    }
    log.snapshot.reset();
    return true;
  }

  servers& cluster_;
  random dice_;
  std::vector<server_id> others_;
  std::deque<older_folder> older_;
  std::uint64_t strangers_ = 0;
};

}  // namespace simulate
