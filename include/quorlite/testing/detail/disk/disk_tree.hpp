/// @file
/// Files and directories in memory, and the units in which changes of them reach a disk.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/testing/detail/simulation/random.hpp"
#include "quorlite/testing/detail/disk/sparse_bytes.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

/// A file or directory, whatever its name. Never used again on the same disk.
using node_id = std::uint64_t;
inline constexpr node_id root_node = 1;

struct disk_node {
  bool is_directory = false;
  sparse_bytes content;                               ///< of a file
  std::map<std::string, node_id, std::less<>> names;  ///< of a directory
};

enum class unit_kind : std::uint8_t { sector, size, names };

/// A change that a crash either keeps or loses, as a whole.
struct pending_unit {
  unit_kind kind = unit_kind::sector;
  node_id node = 0;          ///< the file, or for `names` the directory
  std::string path;          ///< of the node, for messages
  std::uint64_t number = 0;  ///< the sector's place in the file, in sectors; or the new size, bytes
  bytes image;               ///< of the sector, up to the end of the file
  std::string unlink;        ///< a name that goes, or empty
  std::string link;          ///< a name that comes, or empty: with `unlink` a rename in one step
  node_id target = 0;        ///< what `link` leads to
};

/// What a crash does to a pending unit. `garbage`: the sector was in flight and holds neither the
/// old nor the new bytes; other units are lost then.
enum class unit_fate : std::uint8_t { lost, survived, garbage };

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
  [[nodiscard]] result<location> find(std::string_view path) const {
    location place;
    place.node = root_node;
    for (bool more = true; more;) {
      const std::size_t slash = path.find('/');
      more = slash != path.npos;
      const std::string_view part = path.substr(0, slash);
      if (part.empty() || part == "." || part == ".." || part.find('\0') != part.npos) {
        return refused(std::errc::invalid_argument);
      }
      if (place.node == 0) {
        return refused(std::errc::no_such_file_or_directory);
      }
      const disk_node& directory = at(place.node);
      if (!directory.is_directory) {
        return refused(std::errc::not_a_directory);
      }
      const auto found = directory.names.find(part);
      place.directory = place.node;
      place.name = part;
      place.node = found == directory.names.end() ? 0 : found->second;
      path.remove_prefix(more ? slash + 1 : 0);
    }
    return place;
  }

  [[nodiscard]] result<node_id> find_directory(std::string_view path) const {
    if (path.empty()) {
      return root_node;
    }
    const auto place = find(path);
    if (!place) {
      return failed(place.error());
    }
    if (place->node == 0) {
      return refused(std::errc::no_such_file_or_directory);
    }
    if (!at(place->node).is_directory) {
      return refused(std::errc::not_a_directory);
    }
    return place->node;
  }

  /// Makes a change. Units before it may be missing: names go where they lead, a sector or size
  /// that survives alone leaves zeros before it.
  void apply(const pending_unit& unit) {
    disk_node& node = at(unit.node);
    if (unit.kind == unit_kind::sector) {
      node.content.write(unit.number * sector_bytes, unit.image);
    } else if (unit.kind == unit_kind::size) {
      node.content.resize(unit.number);
    } else {
      node.names.erase(unit.unlink);
      if (!unit.link.empty()) {
        node.names[unit.link] = unit.target;
      }
    }
  }

  /// What the disk wrote is neither the old nor the new sector.
  void spoil(pending_unit unit, std::uint64_t seed) {
    random noise(mix_bits(seed) ^ unit.number);
    for (std::byte& place : unit.image) {
      place = static_cast<std::byte>(noise.next() >> 56U);
    }
    apply(unit);
  }

  /// Every file that has a name, by its path, ascending.
  [[nodiscard]] std::vector<std::string> files() const {
    std::vector<std::string> found;
    collect(root_node, "", found);
    std::sort(found.begin(), found.end());
    return found;
  }

  /// Adds the nodes that can be reached from `start`.
  void reach(node_id start, std::set<node_id>& reached) const {
    if (reached.insert(start).second) {
      for (const auto& entry : at(start).names) {
        reach(entry.second, reached);
      }
    }
  }

  /// Frees all nodes that have no name.
  void forget_nameless() {
    std::set<node_id> reached;
    reach(root_node, reached);
    std::erase_if(nodes_, [&](const auto& entry) { return reached.count(entry.first) == 0; });
  }

 private:
  static tl::unexpected<std::error_code> refused(std::errc why) noexcept {
    return failed(std::make_error_code(why));
  }

  void collect(node_id directory, const std::string& prefix, std::vector<std::string>& into) const {
    for (const auto& [name, node] : at(directory).names) {
      if (at(node).is_directory) {
        collect(node, prefix + name + "/", into);
      } else {
        into.push_back(prefix + name);
      }
    }
  }

  std::map<node_id, disk_node> nodes_;
};

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
