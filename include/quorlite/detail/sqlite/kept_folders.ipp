/// @file
/// Bodies of kept_folders.hpp.
#pragma once

#include "quorlite/detail/sqlite/kept_folders.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Device and number of what stands at a path.
using file_identity = std::pair<dev_t, ino_t>;

[[nodiscard]] inline std::optional<file_identity> identity_of(const std::string& path) noexcept {
  struct stat found {};
  if (::stat(path.c_str(), &found) != 0) {
    return std::nullopt;
  }
  return file_identity{found.st_dev, found.st_ino};
}

/// The folder that a path stands in, as a path.
[[nodiscard]] inline std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash + 1);
}

/// Where a file would be opened, or made: what symbolic links say, also if nothing is there.
[[nodiscard]] inline std::string end_of_links(std::string path) {
  constexpr int most = 40;  // as the kernel
  std::vector<char> target(PATH_MAX);
  for (int i = 0; i < most; ++i) {
    const ssize_t size = ::readlink(path.c_str(), target.data(), target.size());
    if (size <= 0) {
      break;  // no link
    }
    const std::string named(target.data(), static_cast<std::size_t>(size));
    path = named[0] == '/' ? named : folder_of(path).append(named);
  }
  return path;
}

QUORLITE_DECL kept_folders::kept_folders(std::vector<std::string> folders)
    : folders_(std::move(folders)) {
  std::vector<char> present(PATH_MAX);
  for (std::string& one : folders_) {
    const bool is_relative = one.empty() || one[0] != '/';
    if (is_relative && ::getcwd(present.data(), present.size()) != nullptr) {
      one.insert(0, "/").insert(0, present.data());
    }
  }
}

QUORLITE_DECL bool kept_folders::hold(const std::string& path) const {
  std::vector<file_identity> kept;
  for (const std::string& one : folders_) {
    if (const auto known = identity_of(one)) {
      kept.push_back(*known);
    }
  }
  if (kept.empty()) {
    return false;
  }
  for (std::string folder : {folder_of(path), folder_of(end_of_links(path))}) {
    auto at = identity_of(folder);
    while (at) {
      if (std::find(kept.begin(), kept.end(), *at) != kept.end()) {
        return true;
      }
      folder += "/..";
      const auto above = identity_of(folder);
      at = above == at ? std::nullopt : above;  // the root is above itself
    }
  }
  return false;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
