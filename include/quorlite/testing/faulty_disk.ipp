/// @file
/// Bodies of faulty_disk and faulty_file_system.
#pragma once

#include <algorithm>
#include <map>
#include <mutex>

#include "quorlite/config.hpp"
#include "quorlite/testing/detail/simulation/random.hpp"
#include "quorlite/testing/faulty_disk.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

/// Everything of a disk; each call of faulty_disk holds the mutex.
struct faulty_disk::state {
  [[nodiscard]] const detail::disk_tree& live() const noexcept { return tree.live(); }
  [[nodiscard]] result<opened> open_file(disk_call_kind kind, std::string_view path,
                                         open_mode mode);
  [[nodiscard]] std::error_code why_not_rename(const result<detail::disk_tree::location>& from,
                                               const result<detail::disk_tree::location>& to,
                                               std::string_view old_path,
                                               std::string_view path) const;

  std::mutex mutex;
  detail::disk_faults faults;
  detail::unsynced_tree tree;
  std::map<detail::node_id, std::uint64_t> locks;  // and the user that has it
  std::uint64_t users = 0;
};

QUORLITE_DECL result<faulty_disk::opened> faulty_disk::state::open_file(disk_call_kind kind,
                                                                        std::string_view path,
                                                                        open_mode mode) {
  const auto place = live().find(path);
  const bool creates = mode != open_mode::existing && place && place->node == 0;
  const auto fault_choice = faults.judge(kind, path, creates ? 1 : 0);
  if (!fault_choice.happens) {
    return fail(fault_choice.error);
  }
  if (!place) {
    return fail(place.error());
  }
  opened file{place->node, std::string(path)};
  if (creates) {
    file.node = tree.make(*place, path, false);
  } else if (file.node == 0) {
    return fail(std::make_error_code(std::errc::no_such_file_or_directory));
  } else if (live().at(file.node).is_directory) {
    return fail(std::make_error_code(std::errc::is_a_directory));
  } else if (mode == open_mode::truncated && live().at(file.node).content.size() != 0) {
    tree.resize(file.node, file.path, 0);
  }
  if (fault_choice.error) {
    return fail(fault_choice.error);
  }
  return file;
}

QUORLITE_DECL std::error_code faulty_disk::state::why_not_rename(
    const result<detail::disk_tree::location>& from, const result<detail::disk_tree::location>& to,
    std::string_view old_path, std::string_view path) const {
  if (!from || !to) {
    return from ? to.error() : from.error();
  }
  if (from->node == 0) {
    return std::make_error_code(std::errc::no_such_file_or_directory);
  }
  if (path.starts_with(std::string(old_path) + "/")) {
    return std::make_error_code(std::errc::invalid_argument);
  }
  if (to->node == 0 || to->node == from->node) {
    return {};
  }
  const bool is_directory = live().at(from->node).is_directory;
  const detail::disk_node& replaced = live().at(to->node);
  if (is_directory != replaced.is_directory) {
    return std::make_error_code(is_directory ? std::errc::not_a_directory
                                             : std::errc::is_a_directory);
  }
  return replaced.names.empty() ? std::error_code{}
                                : std::make_error_code(std::errc::directory_not_empty);
}

QUORLITE_DECL faulty_disk::faulty_disk() : state_(std::make_unique<state>()) {}

QUORLITE_DECL faulty_disk::faulty_disk(detail::unsynced_tree tree) : faulty_disk() {
  state_->tree = std::move(tree);
}

QUORLITE_DECL faulty_disk::faulty_disk(const faulty_disk& other) : faulty_disk() {
  const std::lock_guard lock(other.state_->mutex);
  state_->tree = other.state_->tree;
}

QUORLITE_DECL faulty_disk::~faulty_disk() = default;

QUORLITE_DECL std::uint64_t faulty_disk::calls() const {
  const std::lock_guard lock(state_->mutex);
  return state_->faults.calls();
}

QUORLITE_DECL disk_call faulty_disk::call(std::uint64_t ordinal) const {
  const std::lock_guard lock(state_->mutex);
  return state_->faults.call(ordinal);
}

QUORLITE_DECL void faulty_disk::fail_at(std::uint64_t ordinal, std::errc error,
                                        fault_duration how_long) {
  const std::lock_guard lock(state_->mutex);
  state_->faults.fail_at(ordinal, error, how_long);
}

QUORLITE_DECL void faulty_disk::short_write_at(std::uint64_t ordinal, std::errc error) {
  const std::lock_guard lock(state_->mutex);
  state_->faults.short_write_at(ordinal, error);
}

QUORLITE_DECL void faulty_disk::full_from(std::uint64_t ordinal, std::uint64_t left) {
  const std::lock_guard lock(state_->mutex);
  state_->faults.full_from(ordinal, left);
}

QUORLITE_DECL void faulty_disk::rot_read_at(std::uint64_t ordinal) {
  const std::lock_guard lock(state_->mutex);
  state_->faults.rot_read_at(ordinal);
}

QUORLITE_DECL void faulty_disk::heal() {
  const std::lock_guard lock(state_->mutex);
  state_->faults.heal();
}

QUORLITE_DECL void faulty_disk::crash_at(std::uint64_t ordinal) {
  const std::lock_guard lock(state_->mutex);
  state_->faults.crash_at(ordinal);
}

QUORLITE_DECL bool faulty_disk::crashed() const {
  const std::lock_guard lock(state_->mutex);
  return state_->faults.crashed();
}

// ---- crashes ----

QUORLITE_DECL std::size_t faulty_disk::pending() const {
  const std::lock_guard lock(state_->mutex);
  return state_->tree.pending().size();
}

QUORLITE_DECL std::vector<pending_unit> faulty_disk::pending_units() const {
  const std::lock_guard lock(state_->mutex);
  return state_->tree.pending();
}

QUORLITE_DECL faulty_disk faulty_disk::after_crash(std::span<const unit_fate> fates,
                                                   std::uint64_t seed) const {
  const std::lock_guard lock(state_->mutex);
  return faulty_disk(state_->tree.after_crash(fates, seed));
}

QUORLITE_DECL faulty_disk faulty_disk::after_crash(std::uint64_t survivors) const {
  const std::size_t count = pending();
  QUORLITE_ASSERT(count <= 64);
  std::vector<unit_fate> fates(count, unit_fate::lost);
  for (std::size_t i = 0; i < count; ++i) {
    fates[i] = (survivors >> i & 1U) != 0 ? unit_fate::survived : unit_fate::lost;
  }
  return after_crash(fates);
}

// ---- what is there, and damage to it; none of this counts as a call ----

QUORLITE_DECL std::vector<std::string> faulty_disk::files() const {
  const std::lock_guard lock(state_->mutex);
  return state_->live().files();
}

QUORLITE_DECL sparse_bytes faulty_disk::content(std::string_view path) const {
  const std::lock_guard lock(state_->mutex);
  const auto place = state_->live().find(path);
  return place && place->node != 0 ? state_->live().at(place->node).content : sparse_bytes{};
}

QUORLITE_DECL bool faulty_disk::damage(std::string_view path, std::uint64_t offset,
                                       std::byte mask) {
  const std::lock_guard lock(state_->mutex);
  const auto place = state_->live().find(path);
  if (!place || place->node == 0 || offset >= state_->live().at(place->node).content.size()) {
    return false;
  }
  state_->tree.flip(place->node, offset, mask);
  return true;
}

// ---- the calls of faulty_file_system ----

QUORLITE_DECL std::uint64_t faulty_disk::add_user() {
  const std::lock_guard lock(state_->mutex);
  return ++state_->users;
}

QUORLITE_DECL void faulty_disk::remove_user(std::uint64_t user) {
  const std::lock_guard lock(state_->mutex);
  std::erase_if(state_->locks, [user](const auto& entry) { return entry.second == user; });
}

QUORLITE_DECL result<faulty_disk::opened> faulty_disk::open(std::string_view path, open_mode mode) {
  const std::lock_guard lock(state_->mutex);
  return state_->open_file(disk_call_kind::open, path, mode);
}

QUORLITE_DECL std::error_code faulty_disk::lock(std::string_view path, std::uint64_t user) {
  const std::lock_guard lock(state_->mutex);
  const auto file = state_->open_file(disk_call_kind::lock, path, open_mode::or_create);
  if (!file) {
    return file.error();
  }
  const bool is_new = state_->locks.try_emplace(file->node, user).second;
  return is_new ? std::error_code{} : std::make_error_code(std::errc::device_or_resource_busy);
}

QUORLITE_DECL std::error_code faulty_disk::make_directory(std::string_view path) {
  const std::lock_guard lock(state_->mutex);
  const auto place = state_->live().find(path);
  const auto fault_choice =
      state_->faults.judge(disk_call_kind::make_directory, path, place && place->node == 0 ? 1 : 0);
  if (!fault_choice.happens || path.empty()) {
    return fault_choice.error;
  }
  if (!place) {
    return place.error();
  }
  if (place->node == 0) {
    state_->tree.make(*place, path, true);
  } else if (!state_->live().at(place->node).is_directory) {
    return std::make_error_code(std::errc::file_exists);
  }
  return fault_choice.error;
}

QUORLITE_DECL std::error_code faulty_disk::remove(std::string_view path) {
  const std::lock_guard lock(state_->mutex);
  const auto fault_choice = state_->faults.judge(disk_call_kind::remove, path, 0);
  const auto place = state_->live().find(path);
  if (!fault_choice.happens || (place && place->node == 0)) {
    return fault_choice.error;
  }
  if (!place) {
    const bool gone = place.error() == std::errc::no_such_file_or_directory;
    return gone ? fault_choice.error : place.error();
  }
  if (!state_->live().at(place->node).names.empty()) {
    return std::make_error_code(std::errc::directory_not_empty);
  }
  state_->tree.change_names(place->directory, path, place->name, "", 0);
  return fault_choice.error;
}

QUORLITE_DECL std::error_code faulty_disk::rename(std::string_view from, std::string_view to) {
  const std::lock_guard lock(state_->mutex);
  const auto fault_choice = state_->faults.judge(disk_call_kind::rename, from, 0);
  if (!fault_choice.happens) {
    return fault_choice.error;
  }
  const auto old_place = state_->live().find(from);
  const auto place = state_->live().find(to);
  if (const std::error_code error = state_->why_not_rename(old_place, place, from, to)) {
    return error;
  }
  if (old_place->node == place->node) {
    return fault_choice.error;
  }
  if (old_place->directory == place->directory) {
    state_->tree.change_names(place->directory, to, old_place->name, place->name, old_place->node);
  } else {  // in two directories, each durable by a sync of its own
    state_->tree.change_names(place->directory, to, "", place->name, old_place->node);
    state_->tree.change_names(old_place->directory, from, old_place->name, "", 0);
  }
  return fault_choice.error;
}

QUORLITE_DECL result<std::vector<std::string>> faulty_disk::list(std::string_view path) {
  const std::lock_guard lock(state_->mutex);
  const auto fault_choice = state_->faults.judge(disk_call_kind::list, path, 0);
  const auto node = state_->live().find_directory(path);
  if (fault_choice.error || !node) {
    return fail(fault_choice.error ? fault_choice.error : node.error());
  }
  std::vector<std::string> names;
  for (const auto& entry : state_->live().at(*node).names) {
    names.push_back(entry.first);
  }
  return names;
}

QUORLITE_DECL std::error_code faulty_disk::sync_directory(std::string_view path) {
  const std::lock_guard lock(state_->mutex);
  const auto fault_choice = state_->faults.judge(disk_call_kind::sync_directory, path, 0);
  const auto node = state_->live().find_directory(path);
  if (fault_choice.error || !node) {
    return fault_choice.error ? fault_choice.error : node.error();
  }
  state_->tree.settle(*node);
  return {};
}

QUORLITE_DECL result<std::size_t> faulty_disk::read(const opened& file, std::uint64_t offset,
                                                    bytes_span into) const {
  const std::lock_guard lock(state_->mutex);
  const auto fault_choice = state_->faults.judge(disk_call_kind::read, file.path, 0);
  if (fault_choice.error) {
    return fail(fault_choice.error);
  }
  const std::size_t count = state_->live().at(file.node).content.read(offset, into);
  if (fault_choice.rotten && count > 0) {
    into[static_cast<std::size_t>(detail::mix_bits(offset + count) % count)] ^= std::byte{0x10};
  }
  return count;
}

QUORLITE_DECL result<std::uint64_t> faulty_disk::size(const opened& file) const {
  const std::lock_guard lock(state_->mutex);
  const auto fault_choice = state_->faults.judge(disk_call_kind::size, file.path, 0);
  if (fault_choice.error) {
    return fail(fault_choice.error);
  }
  return state_->live().at(file.node).content.size();
}

QUORLITE_DECL std::error_code faulty_disk::write(const opened& file, std::uint64_t offset,
                                                 std::span<const bytes_view> parts) {
  const std::lock_guard lock(state_->mutex);
  bytes all;
  for (const bytes_view part : parts) {
    all.insert(all.end(), part.begin(), part.end());
  }
  const std::uint64_t room_bytes = std::max<std::uint64_t>(1, all.size());
  const auto fault_choice = state_->faults.judge(disk_call_kind::write, file.path, room_bytes);
  if (!fault_choice.happens) {
    return fault_choice.error;
  }
  all.resize(fault_choice.halved ? all.size() / 2 : all.size());
  state_->tree.write(file.node, file.path, offset, all);
  return fault_choice.error;
}

QUORLITE_DECL std::error_code faulty_disk::resize(const opened& file, std::uint64_t size) {
  const std::lock_guard lock(state_->mutex);
  // A hole takes no room but for what says that it is there.
  const bool grows = size > state_->live().at(file.node).content.size();
  const auto fault_choice = state_->faults.judge(disk_call_kind::resize, file.path, grows ? 1 : 0);
  if (fault_choice.happens) {
    state_->tree.resize(file.node, file.path, size);
  }
  return fault_choice.error;
}

QUORLITE_DECL std::error_code faulty_disk::sync(const opened& file) {
  const std::lock_guard lock(state_->mutex);
  const auto fault_choice = state_->faults.judge(disk_call_kind::sync, file.path, 0);
  if (!fault_choice.error) {
    state_->tree.settle(file.node);
  } else if (!state_->faults.crashed()) {
    state_->tree.drop(file.node);
  }
  return fault_choice.error;
}

// ---- faulty_file_system

QUORLITE_DECL faulty_file_system& faulty_file_system::operator=(
    faulty_file_system&& other) noexcept {
  std::swap(disk_, other.disk_);
  std::swap(user_, other.user_);
  return *this;
}

QUORLITE_DECL faulty_file_system::~faulty_file_system() {
  if (user_ != 0) {
    disk_->remove_user(user_);
  }
}

QUORLITE_DECL result<faulty_file> faulty_file_system::open(std::string_view path,
                                                           open_mode mode) noexcept {
  auto file = disk_->open(path, mode);
  if (!file) {
    return fail(file.error());
  }
  return file_type(*disk_, std::move(*file));
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
