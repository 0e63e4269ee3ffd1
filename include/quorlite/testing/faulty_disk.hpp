/// @file
/// A disk in memory that forgets what was not synced. It outlives the "processes" that use it,
/// fails and crashes at any call that a test names, and shows what a crash may have left.
///
/// The rules are those at the top of storage/file_system.hpp. What `sync` and `sync_directory` made
/// durable stays. Everything else is a list of units: sectors of 512 bytes, changes of a size,
/// changes of a directory. A crash keeps any of them and loses the others; what it keeps takes
/// effect in the order of the calls.
///
/// @code
/// quorlite::testing::faulty_disk disk;
/// disk.crash_at(17);
/// { your_storage storage(quorlite::testing::faulty_file_system{disk}); … }  // until it fails
/// quorlite::testing::crash_images(disk, 256, [](auto& image, const auto& fates) {
///   your_storage storage(quorlite::testing::faulty_file_system{image});  // what does it find?
/// });
/// @endcode
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
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
#include "quorlite/testing/detail/disk/faults.hpp"
#include "quorlite/testing/detail/disk/images.hpp"
#include "quorlite/testing/detail/disk/tree.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

/// Which calls there are, and how long a fault lasts.
using detail::disk_call;
using detail::disk_call_kind;
using detail::fault_duration;

/// The units that a crash keeps or loses, and what is in a file.
using detail::pending_unit;
using detail::sector_bytes;
using detail::sparse_bytes;
using detail::unit_fate;
using detail::unit_kind;

/// What may become of all of them, and how that is chosen.
using detail::choose_crash_fates;
using detail::crash_fates;
using detail::crash_options;

/// Outlives every faulty_file_system on it. Any thread; nothing blocks for long. Copying is cheap:
/// files share what they have in common.
class QUORLITE_API faulty_disk {
 public:
  /// An empty one: no file, no fault.
  faulty_disk();
  /// What the next process finds when the last one was killed and the power stayed on: all that was
  /// written, the unsynced part still pending. The calls start at 0, without locks or faults.
  faulty_disk(const faulty_disk& other);
  faulty_disk& operator=(const faulty_disk&) = delete;
  ~faulty_disk();

  // ---- calls and faults

  /// Calls so far: the next one has the ordinal `calls() + 1`.
  [[nodiscard]] std::uint64_t calls() const;
  /// @param ordinal 1 … calls()
  [[nodiscard]] disk_call call(std::uint64_t ordinal) const;
  /// The call with this ordinal does nothing and gives `error`; a sync loses what it was for.
  void fail_at(std::uint64_t ordinal, std::errc error,
               fault_duration how_long = fault_duration::once);
  /// A write with this ordinal writes the first half of its bytes and gives `error`; any other call
  /// fails.
  void short_write_at(std::uint64_t ordinal, std::errc error = std::errc::no_space_on_device);
  /// From this call on there is next to no room: whatever may need more than `left` bytes fails,
  /// until heal(). What gets through takes none of them: who removes and writes again is let go on.
  void full_from(std::uint64_t ordinal, std::uint64_t left = 0);
  /// A read with this ordinal gives one wrong byte; the disk is as before.
  void rot_read_at(std::uint64_t ordinal);
  /// Ends all failures.
  void heal();
  /// The power fails during the call with this ordinal: whatever it changes is issued but not
  /// synced, it gives std::errc::io_error, and so do all later ones, which do nothing.
  void crash_at(std::uint64_t ordinal);
  /// True from the call of crash_at() on.
  [[nodiscard]] bool crashed() const;

  // ---- crashes

  /// Units that a crash now would keep or lose.
  [[nodiscard]] std::size_t pending() const;
  /// The pending units, in the order of the calls.
  [[nodiscard]] std::vector<pending_unit> pending_units() const;
  /// The disk as the next process finds it after a crash now. This one stays as it is.
  /// @param fates of the pending units; those beyond its end are lost
  /// @param seed of the garbage
  [[nodiscard]] faulty_disk after_crash(std::span<const unit_fate> fates,
                                        std::uint64_t seed = 0) const;
  /// The same for a set: bit i is set if unit i survives. @pre pending() <= 64
  [[nodiscard]] faulty_disk after_crash(std::uint64_t survivors) const;

  // ---- what is there, and damage to it; none of this counts as a call

  /// The paths of all files, ascending.
  [[nodiscard]] std::vector<std::string> files() const;
  /// What a process would read; empty if there is no such file.
  [[nodiscard]] sparse_bytes content(std::string_view path) const;
  /// Changes a byte at rest, and what is read of it from now on.
  /// @param mask bits to flip
  /// @returns false if there is no such byte
  bool damage(std::string_view path, std::uint64_t offset, std::byte mask = std::byte{1});

  // ---- the calls of faulty_file_system

  /// An open file.
  struct opened {
    detail::node_id node = 0;  ///< the file, whatever becomes of its name
    std::string path;          ///< that it was opened by
  };
  /// One user of the disk, to tell whose lock it is.
  [[nodiscard]] std::uint64_t add_user();
  /// Gives up its locks.
  void remove_user(std::uint64_t user);
  /// As file_system says of all that follow.
  [[nodiscard]] result<opened> open(std::string_view path, open_mode mode);
  /// For one user.
  [[nodiscard]] std::error_code lock(std::string_view path, std::uint64_t user);
  /// No error if it is there.
  [[nodiscard]] std::error_code make_directory(std::string_view path);
  /// No error if it is gone.
  [[nodiscard]] std::error_code remove(std::string_view path);
  /// Replaces the target in one step.
  [[nodiscard]] std::error_code rename(std::string_view from, std::string_view to);
  /// The names in a directory, ascending.
  [[nodiscard]] result<std::vector<std::string>> list(std::string_view path);
  /// After a failure the changes are still pending: a later sync may save them, other than those of
  /// a file.
  [[nodiscard]] std::error_code sync_directory(std::string_view path);
  /// Bytes read: fewer only where the file ends.
  [[nodiscard]] result<std::size_t> read(const opened& file, std::uint64_t offset,
                                         bytes_span into) const;
  /// Bytes.
  [[nodiscard]] result<std::uint64_t> size(const opened& file) const;
  /// All parts, one behind the other. After an error some may be written.
  [[nodiscard]] std::error_code write(const opened& file, std::uint64_t offset,
                                      std::span<const bytes_view> parts);
  /// Cuts, or adds zeros.
  [[nodiscard]] std::error_code resize(const opened& file, std::uint64_t size);
  /// A failure drops what was written: it can still be read, and the next sync is a success, but
  /// the disk never gets it. So do real systems.
  [[nodiscard]] std::error_code sync(const opened& file);

 private:
  struct state;

  explicit faulty_disk(detail::unsynced_tree tree);

  const std::unique_ptr<state> state_;
};

/// An open file. Stays readable and writable when its name goes.
class faulty_file {
 public:
  /// @param disk outlives it
  faulty_file(faulty_disk& disk, faulty_disk::opened file) : disk_(&disk), file_(std::move(file)) {}

  /// As faulty_disk::read().
  [[nodiscard]] result<std::size_t> read(std::uint64_t offset, bytes_span into) const noexcept {
    return disk_->read(file_, offset, into);
  }
  /// Bytes.
  [[nodiscard]] result<std::uint64_t> size() const noexcept { return disk_->size(file_); }
  /// As faulty_disk::write().
  [[nodiscard]] std::error_code write(std::uint64_t offset,
                                      std::span<const bytes_view> parts) noexcept {
    return disk_->write(file_, offset, parts);
  }
  /// Cuts, or adds zeros.
  [[nodiscard]] std::error_code resize(std::uint64_t size) noexcept {
    return disk_->resize(file_, size);
  }
  /// As faulty_disk::sync().
  [[nodiscard]] std::error_code sync() noexcept { return disk_->sync(file_); }

 private:
  faulty_disk* disk_;
  faulty_disk::opened file_;
};

/// One process. Destroying it gives up its locks, nothing else. The disk outlives it and its files.
class QUORLITE_API faulty_file_system {
 public:
  /// What open() gives.
  using file_type = faulty_file;

  /// A new user of the disk.
  explicit faulty_file_system(faulty_disk& disk) : disk_(&disk), user_(disk.add_user()) {}
  faulty_file_system(faulty_file_system&& other) noexcept
      : disk_(other.disk_), user_(std::exchange(other.user_, 0)) {}
  faulty_file_system& operator=(faulty_file_system&& other) noexcept;
  ~faulty_file_system();

  /// This call and all that follow are the disk's.
  [[nodiscard]] result<file_type> open(std::string_view path, open_mode mode) noexcept;
  /// For this process, until it is destroyed.
  [[nodiscard]] std::error_code lock(std::string_view path) noexcept {
    return disk_->lock(path, user_);
  }
  /// No error if it is there.
  [[nodiscard]] std::error_code make_directory(std::string_view path) noexcept {
    return disk_->make_directory(path);
  }
  /// No error if it is gone.
  [[nodiscard]] std::error_code remove(std::string_view path) noexcept {
    return disk_->remove(path);
  }
  /// Replaces the target in one step.
  [[nodiscard]] std::error_code rename(std::string_view from, std::string_view to) noexcept {
    return disk_->rename(from, to);
  }
  /// The names in a directory, ascending.
  [[nodiscard]] result<std::vector<std::string>> list(std::string_view path) noexcept {
    return disk_->list(path);
  }
  /// As faulty_disk::sync_directory().
  [[nodiscard]] std::error_code sync_directory(std::string_view path) noexcept {
    return disk_->sync_directory(path);
  }

 private:
  faulty_disk* disk_;
  std::uint64_t user_;
};

static_assert(file_system<faulty_file_system>);

/// Calls `visit(faulty_disk& image, const crash_fates& fates)` for what a crash now may leave of
/// `disk`, which stays as it is.
/// @returns how many there were
template <class Visit>
std::size_t crash_images(const faulty_disk& disk, std::size_t at_most, Visit&& visit,
                         crash_options options = {}) {
  const std::vector<crash_fates> chosen = choose_crash_fates(disk.pending(), at_most, options);
  for (const crash_fates& fates : chosen) {
    faulty_disk image = disk.after_crash(fates, options.seed);
    visit(image, fates);
  }
  return chosen.size();
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/faulty_disk.ipp"  // IWYU pragma: keep
#endif
