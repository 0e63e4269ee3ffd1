/// @file
/// Files and directories on a disk that exists in memory only: their bytes, where holes cost
/// nothing and copies share what they have in common; the tree of them, and the units in which
/// changes reach the disk; and the tree twice, as processes see it and as the disk has it whatever
/// happens.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// What survives a crash survives in units of this many bytes.
inline constexpr std::size_t sector_bytes = 512;

/// A value: copies are independent. One thread at a time.
class QUORLITE_API sparse_bytes {
 public:
  /// Bytes.
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  /// Fills `into` from `offset` on, holes with zeros.
  /// @returns bytes read, fewer than asked for only where the file ends
  std::size_t read(std::uint64_t offset, bytes_span into) const;

  /// Makes the file as long as it must be; what is skipped reads as zeros.
  void write(std::uint64_t offset, bytes_view data);

  /// Cuts, or adds zeros.
  void resize(std::uint64_t size);

  /// True if this part of the file takes no room: it was never written, or cut.
  [[nodiscard]] bool is_hole(std::uint64_t offset) const noexcept {
    return !blocks_.contains(offset / block_bytes);
  }

 private:
  static constexpr std::size_t block_bytes = 4096;
  using block = std::array<std::byte, block_bytes>;

  /// The part of a transfer that is in one block.
  struct piece {
    std::uint64_t block;
    std::ptrdiff_t start;  // in the block, bytes
    std::size_t count;     // bytes
    piece(std::uint64_t offset, std::size_t left) noexcept;
  };

  /// Blocks are shared with copies, so the first write to one makes it anew.
  block& own(std::uint64_t number);

  std::uint64_t size_ = 0;
  std::map<std::uint64_t, std::shared_ptr<block>> blocks_;
};

/// A file or directory, whatever its name. Never used again on the same disk.
using node_id = std::uint64_t;
inline constexpr node_id root_node = 1;

struct disk_node {
  bool is_directory = false;
  sparse_bytes content;                               ///< of a file
  std::map<std::string, node_id, std::less<>> names;  ///< of a directory
};

/// What changes.
enum class unit_kind : std::uint8_t {
  sector,  ///< of a file
  size,    ///< of a file
  names,   ///< of a directory
};

/// A change that a crash either keeps or loses, as a whole.
struct pending_unit {
  unit_kind kind = unit_kind::sector;  ///< what changes
  node_id node = 0;                    ///< the file, or for `names` the directory
  std::string path;                    ///< of the node, for messages
  std::uint64_t number = 0;  ///< the sector's place in the file, in sectors; or the new size, bytes
  bytes image;               ///< of the sector, up to the end of the file
  std::string unlink;        ///< a name that goes, or empty
  std::string link;          ///< a name that comes, or empty: with `unlink` a rename in one step
  node_id target = 0;        ///< what `link` leads to
};

/// What a crash does to a pending unit.
enum class unit_fate : std::uint8_t {
  lost,      ///< the disk is as before
  survived,  ///< it is on the disk
  garbage,   ///< a sector in flight: neither the old nor the new bytes; other units are lost
};

/// A value; copies share file contents. One thread at a time.
class disk_tree {
 public:
  disk_tree() { nodes_[root_node].is_directory = true; }

  [[nodiscard]] disk_node& at(node_id node) { return nodes_.at(node); }
  [[nodiscard]] const disk_node& at(node_id node) const { return nodes_.at(node); }
  void add(node_id node, bool is_directory) { nodes_[node].is_directory = is_directory; }

  /// A place for a name.
  struct location {
    node_id directory = 0;
    std::string name;
    node_id node = 0;  ///< what is there; 0: nothing
  };

  /// Walks down to the directory that holds the last part of `path`.
  [[nodiscard]] result<location> find(std::string_view path) const;

  [[nodiscard]] result<node_id> find_directory(std::string_view path) const;

  /// Makes a change. Units before it may be missing: names go where they lead, a sector or size
  /// that survives alone leaves zeros before it.
  void apply(const pending_unit& unit);

  /// What the disk wrote is neither the old nor the new sector.
  void spoil(pending_unit unit, std::uint64_t seed);

  /// Every file that has a name, by its path, ascending.
  [[nodiscard]] std::vector<std::string> files() const;

  /// Adds the nodes that can be reached from `start`.
  void reach(node_id start, std::set<node_id>& reached) const;

  /// Frees all nodes that have no name.
  void forget_nameless();

 private:
  static tl::unexpected<std::error_code> refused(std::errc why) noexcept {
    return fail(std::make_error_code(why));
  }

  void collect(node_id directory, const std::string& prefix, std::vector<std::string>& into) const;

  std::map<node_id, disk_node> nodes_;
};

/// A value; copies share file contents. One thread at a time.
class unsynced_tree {
 public:
  /// As processes see it.
  [[nodiscard]] const disk_tree& live() const noexcept { return live_; }
  /// What a crash now keeps or loses, in the order of the calls.
  [[nodiscard]] const std::vector<pending_unit>& pending() const noexcept { return pending_; }

  /// A new file or directory. The node is on the disk at once: without a name nobody finds it.
  node_id make(const disk_tree::location& place, std::string_view path, bool is_directory);

  /// Ends the name `unlink` and begins the name `link`, in one step; either may be empty.
  void change_names(node_id directory, std::string_view path, std::string_view unlink,
                    std::string_view link, node_id target);

  void resize(node_id file, std::string_view path, std::uint64_t size) {
    issue({unit_kind::size, file, std::string(path), size, {}, "", "", 0});
  }

  void write(node_id file, std::string_view path, std::uint64_t offset, bytes_view data);

  /// What is pending for a file or directory is on the disk now.
  void settle(node_id node);
  /// What is pending for a file or directory never gets to the disk, though processes see it.
  void drop(node_id node) {
    std::erase_if(pending_, [node](const pending_unit& unit) { return unit.node == node; });
  }

  /// Flips bits at rest. @pre the file is longer than `offset`
  void flip(node_id file, std::uint64_t offset, std::byte mask);

  /// What a crash leaves.
  /// @param fates of the pending units; those beyond its end are lost
  /// @param seed of the garbage
  [[nodiscard]] unsynced_tree after_crash(std::span<const unit_fate> fates,
                                          std::uint64_t seed) const;

 private:
  void issue(pending_unit unit);

  /// What can have no name after any crash makes no difference: those units would only multiply the
  /// cases.
  void forget_unreachable();

  disk_tree live_;
  disk_tree durable_;
  std::vector<pending_unit> pending_;
  node_id next_node_ = root_node + 1;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/disk/tree.ipp"  // IWYU pragma: keep
#endif
