/// @file
/// Which calls on a disk for tests go wrong, and how. Calls are counted, so that a test can let
/// each one fail in turn.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "quorlite/config.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// The calls of the concepts `file_system` and `file`, each by its name there.
enum class disk_call_kind : std::uint8_t {
  open,            ///< of a file
  lock,            ///< of a file
  make_directory,  ///< or find it
  remove,          ///< of a file or an empty directory
  rename,          ///< within the disk
  list,            ///< of a directory
  sync_directory,  ///< makes its names durable
  read,            ///< of a file
  size,            ///< of a file
  write,           ///< of a file
  resize,          ///< of a file
  sync,            ///< makes bytes and size of a file durable
};

[[nodiscard]] constexpr std::string_view name_of(disk_call_kind kind) noexcept {
  constexpr std::string_view names[] = {"open",   "lock",  "make_directory", "remove",
                                        "rename", "list",  "sync_directory", "read",
                                        "size",   "write", "resize",         "sync"};
  return names[static_cast<std::size_t>(kind)];
}

/// One call that was made.
struct disk_call {
  disk_call_kind kind = disk_call_kind::open;  ///< which one
  std::string path;                            ///< of what; of a rename the old name
};

/// How long a fault lasts.
enum class fault_duration : std::uint8_t {
  once,        ///< for that call
  persistent,  ///< from that call on, every call, until heal()
};

/// The faults of one disk. Ordinals of calls start with 1. One thread at a time.
class disk_faults {
 public:
  /// What becomes of a call. `happens` with an error: it does its work (a write possibly the first
  /// half of it), and says that it failed.
  struct fault_choice {
    bool happens = true;
    bool halved = false;
    bool rotten = false;  ///< a read gives a wrong byte
    std::error_code error;
  };

  /// The call with this ordinal does nothing and gives `why`; a sync loses what it was for.
  void fail_at(std::uint64_t ordinal, std::errc why, fault_duration how_long);
  /// A write with this ordinal writes the first half of its bytes and gives `why`; any other call
  /// fails.
  void short_write_at(std::uint64_t ordinal, std::errc why);
  /// From this call on there is next to no room: everything that may need more than `left` bytes
  /// fails, until heal().
  void full_from(std::uint64_t ordinal, std::uint64_t left = 0);
  /// Ends all failures.
  void heal() noexcept { failures_.clear(); }
  /// The power fails during the call with this ordinal: whatever it changes is issued but not
  /// synced, it gives std::errc::io_error, and so do all later ones, which do nothing.
  void crash_at(std::uint64_t ordinal) noexcept { crash_at_ = ordinal; }
  /// A read with this ordinal gives one wrong byte; the disk is as before.
  void rot_read_at(std::uint64_t ordinal) { rotten_.push_back(ordinal); }

  [[nodiscard]] bool crashed() const noexcept { return calls_.size() >= crash_at_; }
  /// Calls so far.
  [[nodiscard]] std::uint64_t calls() const noexcept { return calls_.size(); }
  /// @pre 1 <= ordinal <= calls()
  [[nodiscard]] disk_call call(std::uint64_t ordinal) const;

  /// Counts a call.
  /// @param room_bytes that it may need on the disk; 0: none
  [[nodiscard]] fault_choice judge(disk_call_kind kind, std::string_view path,
                                   std::uint64_t room_bytes);

 private:
  static constexpr std::uint64_t no_call = std::numeric_limits<std::uint64_t>::max();
  static constexpr std::uint64_t no_room_asked = no_call;  ///< room does not matter

  struct failure {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    std::error_code error;
    bool halves = false;
    std::uint64_t left = no_room_asked;  ///< bytes: a call that needs no more is spared
  };

  struct counted_call {
    disk_call_kind kind;
    const std::string* path;  // in paths_
  };

  std::vector<counted_call> calls_;
  std::set<std::string, std::less<>> paths_;  // there are few, and many calls
  std::vector<failure> failures_;
  std::vector<std::uint64_t> rotten_;
  std::uint64_t crash_at_ = no_call;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/disk/faults.ipp"  // IWYU pragma: keep
#endif
