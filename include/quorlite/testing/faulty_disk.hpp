/// @file
/// A disk in memory that forgets what was not synced. It outlives the "processes" that use it,
/// fails and crashes at any call that a test names, and shows what a crash may have left.
///
/// The rules are those at the top of storage/file_system.hpp. What `sync` and `sync_directory` made
/// durable stays. Everything else is a list of units: sectors of 512 bytes, changes of a size,
/// changes of a directory. A crash keeps any of them and loses the others; what it keeps takes
/// effect in the order of the calls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/storage/file_system.hpp"
#include "quorlite/testing/detail/disk/disk_faults.hpp"
#include "quorlite/testing/detail/disk/disk_tree.hpp"
#include "quorlite/testing/detail/simulation/random.hpp"
#include "quorlite/testing/detail/disk/sparse_bytes.hpp"
#include "quorlite/testing/detail/disk/unsynced_tree.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

/// Outlives every faulty_file_system on it. Any thread; nothing blocks for long. Copying is cheap:
/// files share what they have in common.
class faulty_disk {
 public:
  faulty_disk() = default;
  /// What the next process finds when the last one was killed and the power stayed on: all that was
  /// written, the unsynced part still pending. The calls start at 0, without locks or faults.
  faulty_disk(const faulty_disk& other) : faulty_disk(other, std::lock_guard(other.mutex_)) {}
  faulty_disk& operator=(const faulty_disk&) = delete;

  // ---- calls and faults: see disk_faults.hpp for what each one means ----

  /// Calls so far: the next one has the ordinal `calls() + 1`.
  [[nodiscard]] std::uint64_t calls() const {
    const std::lock_guard lock(mutex_);
    return faults_.calls().size();
  }
  /// @param ordinal 1 … calls()
  [[nodiscard]] disk_call call(std::uint64_t ordinal) const {
    const std::lock_guard lock(mutex_);
    return faults_.calls().at(static_cast<std::size_t>(ordinal - 1));
  }
  void fail_at(std::uint64_t ordinal, std::errc why,
               fault_duration how_long = fault_duration::once) {
    const std::lock_guard lock(mutex_);
    faults_.fail_at(ordinal, why, how_long);
  }
  void short_write_at(std::uint64_t ordinal, std::errc why = std::errc::no_space_on_device) {
    const std::lock_guard lock(mutex_);
    faults_.short_write_at(ordinal, why);
  }
  void full_from(std::uint64_t ordinal) {
    const std::lock_guard lock(mutex_);
    faults_.full_from(ordinal);
  }
  void rot_read_at(std::uint64_t ordinal) {
    const std::lock_guard lock(mutex_);
    faults_.rot_read_at(ordinal);
  }
  void heal() {
    const std::lock_guard lock(mutex_);
    faults_.heal();
  }
  void crash_at(std::uint64_t ordinal) {
    const std::lock_guard lock(mutex_);
    faults_.crash_at(ordinal);
  }
  [[nodiscard]] bool crashed() const {
    const std::lock_guard lock(mutex_);
    return faults_.crashed();
  }

  // ---- crashes ----

  /// Units that a crash now would keep or lose.
  [[nodiscard]] std::size_t pending() const {
    const std::lock_guard lock(mutex_);
    return tree_.pending().size();
  }
  /// The pending units, in the order of the calls.
  [[nodiscard]] std::vector<pending_unit> pending_units() const {
    const std::lock_guard lock(mutex_);
    return tree_.pending();
  }
  /// The disk as the next process finds it after a crash now. This one stays as it is.
  /// @param fates of the pending units; those beyond its end are lost
  /// @param seed of the garbage
  [[nodiscard]] faulty_disk after_crash(std::span<const unit_fate> fates,
                                        std::uint64_t seed = 0) const {
    const std::lock_guard lock(mutex_);
    return faulty_disk(tree_.after_crash(fates, seed));
  }
  /// The same for a set: bit i is set if unit i survives. @pre pending() <= 64
  [[nodiscard]] faulty_disk after_crash(std::uint64_t survivors) const {
    const std::size_t count = pending();
    QUORLITE_ASSERT(count <= 64);
    std::vector<unit_fate> fates(count, unit_fate::lost);
    for (std::size_t i = 0; i < count; ++i) {
      fates[i] = (survivors >> i & 1U) != 0 ? unit_fate::survived : unit_fate::lost;
    }
    return after_crash(fates);
  }

  // ---- what is there, and damage to it; none of this counts as a call ----

  /// The paths of all files, ascending.
  [[nodiscard]] std::vector<std::string> files() const {
    const std::lock_guard lock(mutex_);
    return live().files();
  }
  /// What a process would read; empty if there is no such file.
  [[nodiscard]] sparse_bytes content(std::string_view path) const {
    const std::lock_guard lock(mutex_);
    const auto place = live().find(path);
    return place && place->node != 0 ? live().at(place->node).content : sparse_bytes{};
  }
  /// Changes a byte at rest, and what is read of it from now on.
  /// @param mask bits to flip
  /// @returns false if there is no such byte
  bool damage(std::string_view path, std::uint64_t offset, std::byte mask = std::byte{1}) {
    const std::lock_guard lock(mutex_);
    const auto place = live().find(path);
    if (!place || place->node == 0 || offset >= live().at(place->node).content.size()) {
      return false;
    }
    tree_.flip(place->node, offset, mask);
    return true;
  }

  // ---- the calls of faulty_file_system ----

  /// An open file.
  struct opened {
    node_id node = 0;
    std::string path;
  };
  /// One user of the disk, to tell whose lock it is.
  [[nodiscard]] std::uint64_t add_user() {
    const std::lock_guard lock(mutex_);
    return ++users_;
  }
  /// Gives up its locks.
  void remove_user(std::uint64_t user) {
    const std::lock_guard lock(mutex_);
    std::erase_if(locks_, [user](const auto& entry) { return entry.second == user; });
  }
  [[nodiscard]] result<opened> open(std::string_view path, open_mode mode) {
    const std::lock_guard lock(mutex_);
    return open_file(disk_call_kind::open, path, mode);
  }
  [[nodiscard]] std::error_code lock(std::string_view path, std::uint64_t user) {
    const std::lock_guard lock(mutex_);
    const auto file = open_file(disk_call_kind::lock, path, open_mode::or_create);
    if (!file) {
      return file.error();
    }
    const bool is_new = locks_.try_emplace(file->node, user).second;
    return is_new ? std::error_code{} : error_of(std::errc::device_or_resource_busy);
  }

  [[nodiscard]] std::error_code make_directory(std::string_view path) {
    const std::lock_guard lock(mutex_);
    const auto place = live().find(path);
    const auto verdict =
        faults_.judge(disk_call_kind::make_directory, path, place && place->node == 0);
    if (!verdict.happens || path.empty()) {
      return verdict.error;
    }
    if (!place) {
      return place.error();
    }
    if (place->node == 0) {
      tree_.make(*place, path, true);
    } else if (!live().at(place->node).is_directory) {
      return error_of(std::errc::file_exists);
    }
    return verdict.error;
  }

  [[nodiscard]] std::error_code remove(std::string_view path) {
    const std::lock_guard lock(mutex_);
    const auto verdict = faults_.judge(disk_call_kind::remove, path, false);
    const auto place = live().find(path);
    if (!verdict.happens || (place && place->node == 0)) {
      return verdict.error;
    }
    if (!place) {
      const bool gone = place.error() == std::errc::no_such_file_or_directory;
      return gone ? verdict.error : place.error();
    }
    if (!live().at(place->node).names.empty()) {
      return error_of(std::errc::directory_not_empty);
    }
    tree_.change_names(place->directory, path, place->name, "", 0);
    return verdict.error;
  }

  [[nodiscard]] std::error_code rename(std::string_view from, std::string_view to) {
    const std::lock_guard lock(mutex_);
    const auto verdict = faults_.judge(disk_call_kind::rename, from, false);
    if (!verdict.happens) {
      return verdict.error;
    }
    const auto old_place = live().find(from);
    const auto place = live().find(to);
    if (const std::error_code error = why_not_rename(old_place, place, from, to)) {
      return error;
    }
    if (old_place->node == place->node) {
      return verdict.error;
    }
    if (old_place->directory == place->directory) {
      tree_.change_names(place->directory, to, old_place->name, place->name, old_place->node);
    } else {  // in two directories, each durable by a sync of its own
      tree_.change_names(place->directory, to, "", place->name, old_place->node);
      tree_.change_names(old_place->directory, from, old_place->name, "", 0);
    }
    return verdict.error;
  }

  [[nodiscard]] result<std::vector<std::string>> list(std::string_view path) {
    const std::lock_guard lock(mutex_);
    const auto verdict = faults_.judge(disk_call_kind::list, path, false);
    const auto node = live().find_directory(path);
    if (verdict.error || !node) {
      return failed(verdict.error ? verdict.error : node.error());
    }
    std::vector<std::string> names;
    for (const auto& entry : live().at(*node).names) {
      names.push_back(entry.first);
    }
    return names;
  }

  /// After a failure the changes are still pending: a later sync may save them, other than those of
  /// a file.
  [[nodiscard]] std::error_code sync_directory(std::string_view path) {
    const std::lock_guard lock(mutex_);
    const auto verdict = faults_.judge(disk_call_kind::sync_directory, path, false);
    const auto node = live().find_directory(path);
    if (verdict.error || !node) {
      return verdict.error ? verdict.error : node.error();
    }
    tree_.settle(*node);
    return {};
  }

  [[nodiscard]] result<std::size_t> read(const opened& file, std::uint64_t offset,
                                         bytes_span into) const {
    const std::lock_guard lock(mutex_);
    const auto verdict = faults_.judge(disk_call_kind::read, file.path, false);
    if (verdict.error) {
      return failed(verdict.error);
    }
    const std::size_t count = live().at(file.node).content.read(offset, into);
    if (verdict.rotten && count > 0) {
      into[static_cast<std::size_t>(mix_bits(offset + count) % count)] ^= std::byte{0x10};
    }
    return count;
  }

  [[nodiscard]] result<std::uint64_t> size(const opened& file) const {
    const std::lock_guard lock(mutex_);
    const auto verdict = faults_.judge(disk_call_kind::size, file.path, false);
    if (verdict.error) {
      return failed(verdict.error);
    }
    return live().at(file.node).content.size();
  }

  [[nodiscard]] std::error_code write(const opened& file, std::uint64_t offset,
                                      std::span<const bytes_view> parts) {
    const std::lock_guard lock(mutex_);
    const auto verdict = faults_.judge(disk_call_kind::write, file.path, true);
    if (!verdict.happens) {
      return verdict.error;
    }
    bytes all;
    for (const bytes_view part : parts) {
      all.insert(all.end(), part.begin(), part.end());
    }
    all.resize(verdict.halved ? all.size() / 2 : all.size());
    tree_.write(file.node, file.path, offset, all);
    return verdict.error;
  }

  [[nodiscard]] std::error_code resize(const opened& file, std::uint64_t size) {
    const std::lock_guard lock(mutex_);
    const bool grows = size > live().at(file.node).content.size();
    const auto verdict = faults_.judge(disk_call_kind::resize, file.path, grows);
    if (verdict.happens) {
      tree_.resize(file.node, file.path, size);
    }
    return verdict.error;
  }

  /// A failure drops what was written: it can still be read, and the next sync is a success, but
  /// the disk never gets it. So do real systems.
  [[nodiscard]] std::error_code sync(const opened& file) {
    const std::lock_guard lock(mutex_);
    const auto verdict = faults_.judge(disk_call_kind::sync, file.path, false);
    if (!verdict.error) {
      tree_.settle(file.node);
    } else if (!faults_.crashed()) {
      tree_.drop(file.node);
    }
    return verdict.error;
  }

 private:
  explicit faulty_disk(unsynced_tree tree) : tree_(std::move(tree)) {}
  faulty_disk(const faulty_disk& other, const std::lock_guard<std::mutex>& /*held*/)
      : tree_(other.tree_) {}

  [[nodiscard]] const disk_tree& live() const noexcept { return tree_.live(); }
  [[nodiscard]] static std::error_code error_of(std::errc why) noexcept {
    return std::make_error_code(why);
  }

  [[nodiscard]] result<opened> open_file(disk_call_kind kind, std::string_view path,
                                         open_mode mode) {
    const auto place = live().find(path);
    const bool creates = mode != open_mode::existing && place && place->node == 0;
    const auto verdict = faults_.judge(kind, path, creates);
    if (!verdict.happens) {
      return failed(verdict.error);
    }
    if (!place) {
      return failed(place.error());
    }
    opened file{place->node, std::string(path)};
    if (creates) {
      file.node = tree_.make(*place, path, false);
    } else if (file.node == 0) {
      return failed(error_of(std::errc::no_such_file_or_directory));
    } else if (live().at(file.node).is_directory) {
      return failed(error_of(std::errc::is_a_directory));
    } else if (mode == open_mode::truncated && live().at(file.node).content.size() != 0) {
      tree_.resize(file.node, file.path, 0);
    }
    if (verdict.error) {
      return failed(verdict.error);
    }
    return file;
  }

  [[nodiscard]] std::error_code why_not_rename(const result<disk_tree::location>& from,
                                               const result<disk_tree::location>& to,
                                               std::string_view old_path,
                                               std::string_view path) const {
    if (!from || !to) {
      return from ? to.error() : from.error();
    }
    if (from->node == 0) {
      return error_of(std::errc::no_such_file_or_directory);
    }
    if (path.starts_with(std::string(old_path) + "/")) {
      return error_of(std::errc::invalid_argument);
    }
    if (to->node == 0 || to->node == from->node) {
      return {};
    }
    const bool is_directory = live().at(from->node).is_directory;
    const disk_node& replaced = live().at(to->node);
    if (is_directory != replaced.is_directory) {
      return error_of(is_directory ? std::errc::not_a_directory : std::errc::is_a_directory);
    }
    return replaced.names.empty() ? std::error_code{} : error_of(std::errc::directory_not_empty);
  }

  mutable std::mutex mutex_;
  mutable disk_faults faults_;
  unsynced_tree tree_;
  std::map<node_id, std::uint64_t> locks_;  // and the user that has it
  std::uint64_t users_ = 0;
};

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
