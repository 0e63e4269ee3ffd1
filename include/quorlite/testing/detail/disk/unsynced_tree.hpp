/// @file
/// Files and directories twice: as processes see them, and as the disk has them whatever happens;
/// and what lies between the two.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/testing/detail/disk/disk_tree.hpp"
#include "quorlite/testing/detail/disk/sparse_bytes.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

/// A value; copies share file contents. One thread at a time.
class unsynced_tree {
 public:
  /// As processes see it.
  [[nodiscard]] const disk_tree& live() const noexcept { return live_; }
  /// What a crash now keeps or loses, in the order of the calls.
  [[nodiscard]] const std::vector<pending_unit>& pending() const noexcept { return pending_; }

  /// A new file or directory. The node is on the disk at once: without a name nobody finds it.
  node_id make(const disk_tree::location& place, std::string_view path, bool is_directory) {
    const node_id node = next_node_++;
    live_.add(node, is_directory);
    durable_.add(node, is_directory);
    change_names(place.directory, path, "", place.name, node);
    return node;
  }

  /// Ends the name `unlink` and begins the name `link`, in one step; either may be empty.
  void change_names(node_id directory, std::string_view path, std::string_view unlink,
                    std::string_view link, node_id target) {
    issue({unit_kind::names,
           directory,
           std::string(path),
           0,
           {},
           std::string(unlink),
           std::string(link),
           target});
  }

  void resize(node_id file, std::string_view path, std::uint64_t size) {
    issue({unit_kind::size, file, std::string(path), size, {}, "", "", 0});
  }

  void write(node_id file, std::string_view path, std::uint64_t offset, bytes_view data) {
    sparse_bytes& content = live_.at(file).content;
    content.write(offset, data);
    const std::uint64_t end = data.empty() ? 0 : offset + data.size();
    for (std::uint64_t sector = offset / sector_bytes; sector * sector_bytes < end; ++sector) {
      // The whole sector goes to the disk, with what earlier writes left in it.
      bytes image(sector_bytes);
      image.resize(content.read(sector * sector_bytes, image));
      pending_.push_back(
          {unit_kind::sector, file, std::string(path), sector, std::move(image), "", "", 0});
    }
  }

  /// What is pending for a file or directory is on the disk now.
  void settle(node_id node) {
    for (const pending_unit& unit : pending_) {
      if (unit.node == node) {
        durable_.apply(unit);
      }
    }
    drop(node);
    forget_unreachable();
  }
  /// What is pending for a file or directory never gets to the disk, though processes see it.
  void drop(node_id node) {
    std::erase_if(pending_, [node](const pending_unit& unit) { return unit.node == node; });
  }

  /// Flips bits at rest. @pre the file is longer than `offset`
  void flip(node_id file, std::uint64_t offset, std::byte mask) {
    for (disk_tree* const tree : {&live_, &durable_}) {
      std::byte value{};
      sparse_bytes& content = tree->at(file).content;
      if (content.read(offset, {&value, 1}) == 1) {
        value ^= mask;
        content.write(offset, bytes_view(&value, 1));
      }
    }
  }

  /// What a crash leaves.
  /// @param fates of the pending units; those beyond its end are lost
  /// @param seed of the garbage
  [[nodiscard]] unsynced_tree after_crash(std::span<const unit_fate> fates,
                                          std::uint64_t seed) const {
    unsynced_tree next;
    next.durable_ = durable_;
    next.next_node_ = next_node_;
    for (std::size_t i = 0; i < pending_.size() && i < fates.size(); ++i) {
      if (fates[i] == unit_fate::survived) {
        next.durable_.apply(pending_[i]);
      } else if (fates[i] == unit_fate::garbage && pending_[i].kind == unit_kind::sector) {
        next.durable_.spoil(pending_[i], seed + i);
      }
    }
    next.durable_.forget_nameless();
    next.live_ = next.durable_;
    return next;
  }

 private:
  void issue(pending_unit unit) {
    live_.apply(unit);
    pending_.push_back(std::move(unit));
  }

  /// What can have no name after any crash makes no difference: those units would only multiply the
  /// cases.
  void forget_unreachable() {
    std::set<node_id> reached;
    durable_.reach(root_node, reached);
    for (const pending_unit& unit : pending_) {
      if (!unit.link.empty()) {
        live_.reach(unit.target, reached);
        durable_.reach(unit.target, reached);
      }
    }
    std::erase_if(pending_,
                  [&](const pending_unit& unit) { return reached.count(unit.node) == 0; });
  }

  disk_tree live_;
  disk_tree durable_;
  std::vector<pending_unit> pending_;
  node_id next_node_ = root_node + 1;
};

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
