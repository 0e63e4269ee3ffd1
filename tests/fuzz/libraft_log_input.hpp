// How a folder is written down for libraft_log_fuzz.cpp.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "quorlite/bytes.hpp"
#include "support/memory_log_folder.hpp"

namespace quorlite::tests {

inline constexpr std::array<const char*, 17> log_file_names{
    "metadata1",
    "metadata2",
    "open-1",
    "open-2",
    "open-3",
    "0000000000000001-0000000000000001",
    "0000000000000002-0000000000000003",
    "0000000000000002-0000000000000004",
    "0000000000000004-0000000000000004",
    "0000000000000005-0000000000000006",
    "snapshot-1-2-1000",
    "snapshot-1-2-1000.meta",
    "snapshot-2-5-2000",
    "snapshot-2-5-2000.meta",
    "quorlite.log",
    "open-01",
    "log_end",
};
inline constexpr std::size_t log_file_head_bytes = 4;

[[nodiscard]] inline memory_log_folder log_folder_of(bytes_view input) {
  memory_log_folder made;
  while (input.size() >= log_file_head_bytes) {
    const auto number = [&](std::size_t at) { return std::to_integer<std::size_t>(input[at]); };
    const std::string name = log_file_names[number(0) % log_file_names.size()];
    const std::size_t size =
        std::min(number(1) + (number(2) << 8U), input.size() - log_file_head_bytes);
    const std::size_t zeros = number(3) * 512;
    const bytes_view content = input.subspan(log_file_head_bytes, size);
    bytes& file = made.files[name];
    file.assign(content.begin(), content.end());
    file.resize(size + zeros);
    input = input.subspan(log_file_head_bytes + size);
  }
  return made;
}

/// The other way; names that have no number are left out, and zeros beyond 255 sectors.
[[nodiscard]] inline bytes log_input_of(const memory_log_folder& folder) {
  bytes made;
  for (std::size_t i = 0; i < log_file_names.size(); ++i) {
    const auto found = folder.files.find(log_file_names[i]);
    if (found == folder.files.end()) {
      continue;
    }
    bytes content = found->second;
    std::size_t zeros = 0;
    const auto ends_in_zeros = [&] {
      return content.size() >= 512 &&
             std::all_of(content.end() - 512, content.end(),
                         [](std::byte one) { return one == std::byte{0}; });
    };
    while (zeros < 255 && ends_in_zeros()) {
      content.resize(content.size() - 512);
      ++zeros;
    }
    for (const std::size_t number : {i, content.size() & 0xFFU, content.size() >> 8U, zeros}) {
      made.push_back(static_cast<std::byte>(number));
    }
    made.insert(made.end(), content.begin(), content.end());
  }
  return made;
}

}  // namespace quorlite::tests
