/// @file
/// Bodies of sparse_bytes, disk_tree and unsynced_tree.
#pragma once

#include "quorlite/testing/detail/disk/tree.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/testing/detail/simulation/random.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL std::size_t sparse_bytes::read(std::uint64_t offset, bytes_span into) const {
  const std::uint64_t left = offset < size_ ? size_ - offset : 0;
  into = into.first(static_cast<std::size_t>(std::min<std::uint64_t>(left, into.size())));
  for (std::size_t done = 0; done < into.size();) {
    const piece next(offset + done, into.size() - done);
    const auto found = blocks_.find(next.block);
    const bytes_span part = into.subspan(done, next.count);
    if (found == blocks_.end()) {
      std::fill(part.begin(), part.end(), std::byte{});
    } else {
      std::copy_n(found->second->begin() + next.start, next.count, part.begin());
    }
    done += next.count;
  }
  return into.size();
}

QUORLITE_DECL void sparse_bytes::write(std::uint64_t offset, bytes_view data) {
  for (std::size_t done = 0; done < data.size();) {
    const piece next(offset + done, data.size() - done);
    std::copy_n(data.begin() + static_cast<std::ptrdiff_t>(done), next.count,
                own(next.block).begin() + next.start);
    done += next.count;
  }
  if (!data.empty()) {
    size_ = std::max<std::uint64_t>(size_, offset + data.size());
  }
}

QUORLITE_DECL void sparse_bytes::resize(std::uint64_t size) {
  if (size < size_) {
    blocks_.erase(blocks_.lower_bound((size + block_bytes - 1) / block_bytes), blocks_.end());
    const piece last(size, block_bytes);
    if (last.start != 0 && blocks_.contains(last.block)) {
      block& cut = own(last.block);
      std::fill(cut.begin() + last.start, cut.end(), std::byte{});  // must not come back
    }
  }
  size_ = size;
}

QUORLITE_DECL sparse_bytes::piece::piece(std::uint64_t offset, std::size_t left) noexcept
    : block(offset / block_bytes),
      start(static_cast<std::ptrdiff_t>(offset % block_bytes)),
      count(std::min(left, block_bytes - static_cast<std::size_t>(start))) {}

QUORLITE_DECL sparse_bytes::block& sparse_bytes::own(std::uint64_t number) {
  std::shared_ptr<block>& found = blocks_[number];
  if (!found) {
    found = std::make_shared<block>();
  } else if (found.use_count() > 1) {
    found = std::make_shared<block>(*found);
  }
  return *found;
}

QUORLITE_DECL result<disk_tree::location> disk_tree::find(std::string_view path) const {
  location place;
  place.node = root_node;
  for (bool more = true; more;) {
    const std::size_t slash = path.find('/');
    more = slash != std::string_view::npos;
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || part == "." || part == ".." || part.find('\0') != std::string_view::npos) {
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

QUORLITE_DECL result<node_id> disk_tree::find_directory(std::string_view path) const {
  if (path.empty()) {
    return root_node;
  }
  const auto place = find(path);
  if (!place) {
    return fail(place.error());
  }
  if (place->node == 0) {
    return refused(std::errc::no_such_file_or_directory);
  }
  if (!at(place->node).is_directory) {
    return refused(std::errc::not_a_directory);
  }
  return place->node;
}

QUORLITE_DECL void disk_tree::apply(const pending_unit& unit) {
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

QUORLITE_DECL void disk_tree::spoil(pending_unit unit, std::uint64_t seed) {
  random noise(mix_bits(seed) ^ unit.number);
  for (std::byte& place : unit.image) {
    place = static_cast<std::byte>(noise.next() >> 56U);
  }
  apply(unit);
}

QUORLITE_DECL std::vector<std::string> disk_tree::files() const {
  std::vector<std::string> found;
  collect(root_node, "", found);
  std::sort(found.begin(), found.end());
  return found;
}

QUORLITE_DECL void disk_tree::reach(node_id start, std::set<node_id>& reached) const {
  if (reached.insert(start).second) {
    for (const auto& entry : at(start).names) {
      reach(entry.second, reached);
    }
  }
}

QUORLITE_DECL void disk_tree::forget_nameless() {
  std::set<node_id> reached;
  reach(root_node, reached);
  std::erase_if(nodes_, [&](const auto& entry) { return !reached.contains(entry.first); });
}

QUORLITE_DECL void disk_tree::collect(node_id directory, const std::string& prefix,
                                      std::vector<std::string>& into) const {
  for (const auto& [name, node] : at(directory).names) {
    if (at(node).is_directory) {
      collect(node, prefix + name + "/", into);
    } else {
      into.push_back(prefix + name);
    }
  }
}

QUORLITE_DECL node_id unsynced_tree::make(const disk_tree::location& place, std::string_view path,
                                          bool is_directory) {
  const node_id node = next_node_++;
  live_.add(node, is_directory);
  durable_.add(node, is_directory);
  change_names(place.directory, path, "", place.name, node);
  return node;
}

QUORLITE_DECL void unsynced_tree::change_names(node_id directory, std::string_view path,
                                               std::string_view unlink, std::string_view link,
                                               node_id target) {
  issue({unit_kind::names,
         directory,
         std::string(path),
         0,
         {},
         std::string(unlink),
         std::string(link),
         target});
}

QUORLITE_DECL void unsynced_tree::write(node_id file, std::string_view path, std::uint64_t offset,
                                        bytes_view data) {
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

QUORLITE_DECL void unsynced_tree::settle(node_id node) {
  for (const pending_unit& unit : pending_) {
    if (unit.node == node) {
      durable_.apply(unit);
    }
  }
  drop(node);
  forget_unreachable();
}

QUORLITE_DECL void unsynced_tree::flip(node_id file, std::uint64_t offset, std::byte mask) {
  for (disk_tree* const tree : {&live_, &durable_}) {
    std::byte value{};
    sparse_bytes& content = tree->at(file).content;
    if (content.read(offset, {&value, 1}) == 1) {
      value ^= mask;
      content.write(offset, bytes_view(&value, 1));
    }
  }
}

QUORLITE_DECL unsynced_tree unsynced_tree::after_crash(std::span<const unit_fate> fates,
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

QUORLITE_DECL void unsynced_tree::issue(pending_unit unit) {
  live_.apply(unit);
  pending_.push_back(std::move(unit));
}

QUORLITE_DECL void unsynced_tree::forget_unreachable() {
  if (pending_.empty()) {
    return;
  }
  std::set<node_id> reached;
  durable_.reach(root_node, reached);
  for (const pending_unit& unit : pending_) {
    if (!unit.link.empty()) {
      live_.reach(unit.target, reached);
      durable_.reach(unit.target, reached);
    }
  }
  std::erase_if(pending_, [&](const pending_unit& unit) { return !reached.contains(unit.node); });
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
