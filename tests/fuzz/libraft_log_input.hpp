// How a folder is written down for libraft_log_fuzz.cpp.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "quorlite/bytes.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/log_format.hpp"
#include "quorlite/detail/libraft/proposals.hpp"
#include "support/memory_log_folder.hpp"

namespace quorlite::tests {

inline constexpr std::array<const char*, 18> log_file_names{
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
    "server",
};
inline constexpr std::size_t log_file_head_bytes = 4;

/// Visits the batches of a segment, as far as its counts and sizes are right: where one begins,
/// where its data does, and how many bytes that has.
template <class Visit>
void for_each_batch(const bytes& segment, Visit&& visit) {
  std::size_t at = detail::libraft_format_bytes;
  while (segment.size() >= at + detail::libraft_preamble_bytes) {
    const auto count = detail::load_little_endian<std::uint64_t>(segment.data() + at + 8);
    const std::size_t heads_at = at + detail::libraft_preamble_bytes;
    if (count == 0 || count > (segment.size() - heads_at) / detail::libraft_head_bytes) {
      return;
    }
    const std::size_t data_at = heads_at + count * detail::libraft_head_bytes;
    std::size_t left = segment.size() - data_at;
    std::size_t data = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const auto size = detail::load_little_endian<std::uint32_t>(
          segment.data() + heads_at + i * detail::libraft_head_bytes + 12);
      if (size > left) {
        return;
      }
      left -= size;
      data += size;
    }
    visit(at, data_at, data);
    at = data_at + data;
  }
}

/// The checks of libraft in a segment.
inline void put_batches_right(bytes& segment) {
  for_each_batch(segment, [&](std::size_t at, std::size_t data_at, std::size_t data) {
    const bytes_view whole = segment;
    detail::store_little_endian(segment.data() + at,
                                detail::libraft_crc(whole.subspan(at + 8, data_at - at - 8)));
    detail::store_little_endian(segment.data() + at + 4,
                                detail::libraft_crc(whole.subspan(data_at, data)));
  });
}

/// The checks of a batch of commands, and of its commands, as far as they are such.
inline void put_commands_right(bytes_span batch) {
  using detail::libraft_batch;
  if (libraft_batch::count_in(batch) == 0) {
    return;
  }
  const std::size_t sizes_at = libraft_batch::entry_in(batch) == 0
                                   ? libraft_batch::header_bytes
                                   : libraft_batch::header_bytes_max;
  const std::size_t count = libraft_batch::count_in(batch);
  if (batch.size() < sizes_at + 4 * count) {
    return;
  }
  std::size_t at = sizes_at + 4 * count;
  for (std::size_t i = 0; i < count; ++i) {
    const auto size = detail::load_little_endian<std::uint32_t>(batch.data() + sizes_at + 4 * i);
    if (size > batch.size() - at) {
      return;
    }
    if (const bytes_span command = batch.subspan(at, size); detail::native::is_ours(command)) {
      detail::store_little_endian(command.data() + detail::entry_crc_offset,
                                  detail::entry_crc(command));
    }
    at += size;
  }
  const bytes_view head = batch.first(sizes_at + 4 * count);
  detail::store_little_endian(
      batch.data() + 4,
      detail::libraft_check(head.subspan(8), detail::libraft_check(head.first(4))));
}

/// The same of each batch of commands in a segment; then those of libraft.
inline void put_entries_right(bytes& segment) {
  for_each_batch(segment, [&](std::size_t at, std::size_t data_at, std::size_t) {
    for (std::size_t head = at + detail::libraft_preamble_bytes, data = data_at; head < data_at;
         head += detail::libraft_head_bytes) {
      const auto told = detail::libraft_entry_head::decode(
          bytes_view(segment).subspan(head, detail::libraft_head_bytes));
      if (told.type == detail::libraft_entry_head::command) {
        put_commands_right(bytes_span(segment).subspan(data, told.data_bytes));
      }
      data += told.data_bytes;
    }
  });
  put_batches_right(segment);
}

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
