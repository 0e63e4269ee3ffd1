/// @file
/// A folder that goes when the benchmark goes.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#include "owned_fd.hpp"

namespace bench {

class scratch_folder {
 public:
  /// Makes a folder of a name of its own below `parent`. @throws std::system_error
  explicit scratch_folder(const std::filesystem::path& parent) {
    std::string name = std::filesystem::absolute(parent) / "quorlite-bench-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) {
      throw_errno("cannot make a folder in " + parent.string());
    }
    path_ = name;
  }
  scratch_folder(const scratch_folder&) = delete;
  scratch_folder& operator=(const scratch_folder&) = delete;
  ~scratch_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace bench
