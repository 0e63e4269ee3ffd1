/// @file
/// How large the entries in a log of libraft are: its segment files, format 1, read from disk.
///
/// A segment is the word 1, then batches: two checksums of 4 bytes, a word with the number of
/// entries, two words for each (term; type and size), their bytes. An open segment ends in zeros.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

namespace bench {

/// The commands among the entries that a folder still holds.
class raft_log_entries {
 public:
  /// Files that are no segments, and what cannot be read, are passed over.
  explicit raft_log_entries(const std::filesystem::path& folder) {
    std::error_code ignored;
    for (const auto& one : std::filesystem::directory_iterator(folder, ignored)) {
      const std::string name = one.path().filename();
      const bool open = name.rfind("open-", 0) == 0;
      const bool closed = name.find_first_not_of("0123456789-") == std::string::npos;
      if (open || closed) {
        std::ifstream file(one.path(), std::ios::binary);
        add_segment({std::istreambuf_iterator<char>(file), {}});
      }
    }
  }

  [[nodiscard]] std::uint64_t count() const { return count_; }
  /// 0 if there are none.
  [[nodiscard]] double mean_bytes() const {
    return count_ == 0 ? 0 : static_cast<double>(bytes_) / static_cast<double>(count_);
  }

 private:
  static constexpr std::size_t word = 8;
  static constexpr std::uint8_t command_type = 1;

  void add_segment(const std::string& bytes) {
    if (bytes.size() < word || number<std::uint64_t>(bytes, 0) != 1) {
      return;
    }
    std::size_t at = word;
    while (at + 2 * word <= bytes.size()) {
      const auto entries = number<std::uint64_t>(bytes, at + word);
      const std::size_t headers = at + 2 * word;
      if (entries == 0 || entries > (bytes.size() - headers) / (2 * word)) {
        return;
      }
      at = headers + entries * 2 * word;
      for (std::size_t i = 0; i < entries; ++i) {
        const std::size_t header = headers + i * 2 * word + word;
        const auto size = number<std::uint32_t>(bytes, header + 4);
        if (static_cast<std::uint8_t>(bytes[header]) == command_type) {
          ++count_;
          bytes_ += size;
        }
        at += size;
      }
    }
  }

  template <class Number>
  static Number number(const std::string& from, std::size_t at) {
    Number value{};
    std::memcpy(&value, from.data() + at, sizeof value);
    return value;
  }

  std::uint64_t count_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace bench
