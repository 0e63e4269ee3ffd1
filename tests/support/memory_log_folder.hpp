// The folder of a log in memory, so that each bit of it can be changed.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/detail/libraft/log_reader.hpp"
#include "quorlite/error.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite::tests {

using namespace quorlite::detail;  // NOLINT: tests of this library only

// A file of bytes.
class memory_log_file final : public libraft_file {
 public:
  explicit memory_log_file(const bytes& content) : content_(content) {}
  [[nodiscard]] std::uint64_t size() const noexcept override { return content_.size(); }
  [[nodiscard]] std::error_code read(std::uint64_t offset, bytes_span into) noexcept override {
    if (offset > content_.size() || into.size() > content_.size() - offset) {
      return std::make_error_code(std::errc::io_error);
    }
    std::copy_n(content_.begin() + static_cast<std::ptrdiff_t>(offset), into.size(), into.begin());
    return {};
  }

 private:
  const bytes& content_;
};

// A folder of them.
class memory_log_folder final : public libraft_folder {
 public:
  memory_log_folder() = default;
  memory_log_folder(const memory_log_folder& other) : files(other.files) {}
  memory_log_folder& operator=(const memory_log_folder& other) {
    files = other.files;
    return *this;
  }
  ~memory_log_folder() = default;

  [[nodiscard]] result<std::vector<std::string>> names() override {
    std::vector<std::string> found;
    for (const auto& [name, content] : files) {
      found.push_back(name);
    }
    return found;
  }
  [[nodiscard]] result<std::unique_ptr<libraft_file>> open(const std::string& name) override {
    const auto found = files.find(name);
    if (found == files.end()) {
      return fail(std::make_error_code(std::errc::no_such_file_or_directory));
    }
    return std::make_unique<memory_log_file>(found->second);
  }

  [[nodiscard]] libraft_log_report read(std::uint64_t files_at = 0) {
    auto report = libraft_log_reader(*this, log_index{files_at}).read();
    QUORLITE_ASSERT(report.has_value());
    return std::move(*report);
  }
  void clear_away(const libraft_log_report& report) {
    for (const libraft_log_leftover& one : report.leftovers) {
      if (one.whole) {
        const std::size_t gone = files.erase(one.file);
        QUORLITE_ASSERT(gone == 1);
      } else {
        QUORLITE_ASSERT(files.at(one.file).size() >= one.byte);
        files.at(one.file).resize(one.byte);
      }
      if (!one.becomes.empty()) {
        auto renamed = files.extract(one.file);
        renamed.key() = one.becomes;
        const bool is_new = files.insert(std::move(renamed)).inserted;
        QUORLITE_ASSERT(is_new);
      }
    }
  }

  std::map<std::string, bytes> files;
};

}  // namespace quorlite::tests
